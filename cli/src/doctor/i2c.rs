//! Whether there are I2C buses, and whether this user may open them.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ::node::SensorsConfig;

use super::finding::Finding;
use super::sys::Sys;

/// The buses that can be opened, and what there is to say of all of them.
pub fn look(sys: &Sys, config: &SensorsConfig) -> (Vec<PathBuf>, Vec<Finding>) {
    let (buses, missing): (Vec<PathBuf>, Vec<PathBuf>) = if config.buses.is_empty() {
        (names(sys).map(|name| sys.path("dev").join(name)).collect(), Vec::new())
    } else {
        config.buses.iter().cloned().partition(|bus| bus.exists())
    };
    let mut findings: Vec<Finding> = missing.iter().map(|bus| not_there(bus, sys)).collect();
    if buses.is_empty() && findings.is_empty() {
        findings.push(none(sys));
    }
    let mut usable = Vec::new();
    for bus in buses {
        match OpenOptions::new().read(true).write(true).open(&bus) {
            Ok(_) => {
                findings.push(Finding::ok("i2c", format!("{}{}", bus.display(), speed(sys, &bus))));
                usable.push(bus);
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => findings.push(not_allowed(sys, &bus)),
            Err(error) => findings.push(Finding::problem(
                "i2c",
                format!("{} cannot be opened: {error}", bus.display()),
                "see the kernel's log: dmesg | grep i2c",
            )),
        }
    }
    (usable, findings)
}

fn names(sys: &Sys) -> impl Iterator<Item = String> {
    sys.names("dev").into_iter().filter(|name| name.strip_prefix("i2c-").is_some_and(|n| n.parse::<u32>().is_ok()))
}

const TURN_ON: &str =
    "turn I2C on: sudo raspi-config nonint do_i2c 0 (or dtparam=i2c_arm=on in /boot/firmware/config.txt), then restart";
const LOAD: &str =
    "sudo modprobe i2c-dev; to have it after each start: echo i2c-dev | sudo tee /etc/modules-load.d/i2c.conf";

/// Why there is no bus at all, as far as the kernel shows.
fn none(sys: &Sys) -> Finding {
    let adapters = sys.names("sys/bus/i2c/devices").into_iter().any(|name| name.starts_with("i2c-"));
    if adapters {
        let found = "the kernel drives an I2C bus, but there is no /dev/i2c-*: the module i2c-dev is not loaded";
        return Finding::problem("i2c", found, LOAD);
    }
    if sys.exists("proc/device-tree/model") {
        return Finding::problem("i2c", "I2C is off: there is no /dev/i2c-*", TURN_ON);
    }
    Finding::problem(
        "i2c",
        "this machine has no I2C bus",
        "run the node on a Raspberry Pi, or without hardware: magpie node --simulate",
    )
}

fn not_there(bus: &Path, sys: &Sys) -> Finding {
    let others: Vec<String> = names(sys).map(|name| format!("/dev/{name}")).collect();
    let fix = if others.is_empty() {
        none(sys).fix.unwrap_or_default()
    } else {
        format!("there is {}; correct `buses` under [sensors]", others.join(", "))
    };
    Finding::problem("i2c", format!("{} is configured but does not exist", bus.display()), fix)
}

fn not_allowed(sys: &Sys, bus: &Path) -> Finding {
    let user = rustix::process::geteuid().as_raw();
    let found = format!("the user (uid {user}) may not open {}", bus.display());
    let group = std::fs::metadata(bus).ok().and_then(|metadata| group_name(sys, metadata.gid()));
    let fix = match group {
        Some(group) if group != "root" => format!(
            "sudo usermod -aG {group} $USER, then log in again; a systemd service wants SupplementaryGroups={group}"
        ),
        _ => format!(
            "let a group have it: sudo chgrp i2c {0} && sudo chmod g+rw {0}, and be in that group",
            bus.display()
        ),
    };
    Finding::problem("permission", found, fix)
}

fn group_name(sys: &Sys, gid: u32) -> Option<String> {
    let groups = sys.text("etc/group")?;
    let mut fields = groups.lines().map(|line| line.split(':'));
    fields.find_map(|mut line| {
        let name = line.next()?;
        (line.nth(1)? == gid.to_string()).then(|| name.to_owned())
    })
}

/// The clock of the bus, Hz, where the device tree says it.
pub fn clock_hz(sys: &Sys, bus: &Path) -> Option<u32> {
    let name = bus.file_name()?;
    let file = Path::new("sys/bus/i2c/devices").join(name).join("of_node/clock-frequency");
    Some(u32::from_be_bytes(sys.bytes(file).ok()?.try_into().ok()?))
}

fn speed(sys: &Sys, bus: &Path) -> String {
    clock_hz(sys, bus).map(|hz| format!(", {} kHz", hz / 1000)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn fix_of(prepare: &[&str], buses: &[&str]) -> (String, String) {
        let root = tempfile::tempdir().unwrap();
        for path in prepare {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let config = SensorsConfig { buses: buses.iter().map(PathBuf::from).collect(), ..SensorsConfig::default() };
        let (usable, findings) = look(&Sys::below(root.path()), &config);
        assert_eq!((usable.len(), findings.len()), (0, 1));
        (findings[0].found.clone(), findings[0].fix.clone().unwrap())
    }

    #[test]
    fn a_missing_bus_has_its_reason() {
        assert!(fix_of(&["proc/device-tree/model"], &[]).1.contains("raspi-config"));
        assert!(fix_of(&["proc/device-tree/model", "sys/bus/i2c/devices/i2c-1"], &[]).1.contains("modprobe i2c-dev"));
        assert!(fix_of(&[], &[]).1.contains("--simulate"));
        let (found, fix) = fix_of(&["dev/i2c-3"], &["/dev/i2c-4711"]);
        assert!(found.contains("/dev/i2c-4711") && fix.contains("/dev/i2c-3"), "{found} {fix}");
    }

    #[test]
    fn a_group_is_called_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\ni2c:x:998:pi\n").unwrap();
        let sys = Sys::below(root.path());
        assert_eq!(group_name(&sys, 998).as_deref(), Some("i2c"));
        assert_eq!(group_name(&sys, 7), None);
    }
}
