//! Whether frames can be kept.

use std::io;
use std::path::{Path, PathBuf};

use ::node::Config;
use rustix::fs::statvfs;

use super::finding::Finding;
use super::node::Running;
use super::sys::Sys;

/// A store of the default size, and as much again for the system.
const ENOUGH_BYTES: u64 = 512 * 1024 * 1024;

pub fn look(sys: &Sys, config: &Config, running: Option<&Running>) -> Vec<Finding> {
    // A node that runs says in its health whether it can write, and may be another user than who asks here.
    let mut findings: Vec<Finding> = running.is_none().then(|| writable(&config.state)).into_iter().collect();
    findings.extend(space(&config.state));
    findings.push(runtime_directory(sys, config.store.runtime_directory.as_deref()));
    findings.extend(wear(sys));
    if let Some(bytes) = running.and_then(|running| running.metric("magpie_node_store_bytes_written")) {
        findings.push(Finding::ok(
            "disk",
            format!("the running node has written {} since its start", mebibytes(bytes as u64)),
        ));
    }
    findings
}

/// The deepest directory on the way to `path` that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn writable(state: &Path) -> Finding {
    let directory = existing(state);
    match tempfile::NamedTempFile::new_in(&directory) {
        Ok(_) => Finding::ok("disk", format!("{} can be written", state.display())),
        Err(error) => {
            let fix = match error.kind() {
                io::ErrorKind::PermissionDenied if directory == state => {
                    format!(
                        "run as the node's user, or give the directory away: sudo chown -R $USER {}",
                        state.display()
                    )
                }
                io::ErrorKind::PermissionDenied => {
                    format!(
                        "run as the node's user, or make the directory: sudo install -d -o $USER {}",
                        state.display()
                    )
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    "the file system is read-only, often because the card fails: see dmesg, then replace the card"
                        .to_owned()
                }
                io::ErrorKind::StorageFull => "make room, or set a smaller `max_bytes` under [store]".to_owned(),
                _ => "choose another directory: `state` in the configuration".to_owned(),
            };
            Finding::problem("disk", format!("{} cannot be written: {error}", directory.display()), fix)
        }
    }
}

fn space(state: &Path) -> Option<Finding> {
    let directory = existing(state);
    let free = statvfs(&directory).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))?;
    let found = format!("{} free on the disk of {}", mebibytes(free), directory.display());
    Some(if free < ENOUGH_BYTES {
        Finding::warning("disk", found, "make room, or set a smaller `max_bytes` under [store]")
    } else {
        Finding::ok("disk", found)
    })
}

/// Where systemd makes it for a unit with `RuntimeDirectory=magpie`.
const OF_SYSTEMD: &str = "run/magpie";
const SET_RUNTIME_DIRECTORY: &str = "RuntimeDirectory=magpie and RuntimeDirectoryPreserve=yes in the systemd unit, as in \
                                     packaging/magpie.service; without systemd `runtime_directory` under [store], a directory on a tmpfs";

/// Where frames wait in memory for the next sync. What systemd gives the node is not in this program's environment, but on the disk: and
/// it may be closed to this user, as that of a `DynamicUser` is.
fn runtime_directory(sys: &Sys, configured: Option<&Path>) -> Finding {
    let warning = |found: String| Finding::warning("wear", found, SET_RUNTIME_DIRECTORY);
    let Some(directory) = configured else {
        return if sys.path(OF_SYSTEMD).symlink_metadata().is_ok() {
            Finding::ok("wear", format!("frames wait in /{OF_SYSTEMD}, in memory, for the next sync"))
        } else {
            warning(
                "no runtime directory: each frame goes to the card at once, which wears it twice as fast".to_owned(),
            )
        };
    };
    let shown = directory.display();
    match store::is_in_memory(directory) {
        Ok(true) => Finding::ok("wear", format!("frames wait in {shown}, in memory, for the next sync")),
        Ok(false) => {
            warning(format!("the runtime directory {shown} is not in memory: each frame goes to the card at once"))
        }
        Err(error) => warning(format!(
            "the runtime directory {shown} cannot be used: {error}; each frame goes to the card at once"
        )),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / 1024 / 1024)
}

/// Only eMMC tells how worn it is (JEDEC JESD84-B51, EXT_CSD 267 to 269); SD cards do not.
fn wear(sys: &Sys) -> Vec<Finding> {
    sys.names("sys/block").iter().filter_map(|name| wear_of(sys, name)).collect()
}

fn wear_of(sys: &Sys, name: &str) -> Option<Finding> {
    let life = sys.text(format!("sys/block/{name}/device/life_time"))?;
    let tenths =
        life.split_whitespace().filter_map(|part| u8::from_str_radix(part.trim_start_matches("0x"), 16).ok()).max()?;
    Some(match tenths {
        0 => return None,
        1..=8 => Finding::ok("wear", format!("{name} has used up to {} % of its rated writes", u16::from(tenths) * 10)),
        _ => Finding::warning(
            "wear",
            format!("{name} has used {} % or more of its rated writes", (u16::from(tenths) - 1) * 10),
            "replace it soon; a longer `sync_interval` under [store] spares the next one",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_directory_that_is_yet_to_be_made_is_looked_for_above() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        assert_eq!(existing(&deep), root.path());
        assert_eq!(writable(&deep).state, State::Ok);
        assert!(space(&deep).is_some());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let finding = writable(Path::new("/proc/self/state"));
        assert_eq!(finding.state, State::Problem);
        assert!(finding.found.contains("cannot be written"), "{}", finding.found);
    }

    #[test]
    fn a_store_without_a_runtime_directory_is_told() {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::below(root.path());
        let finding = runtime_directory(&sys, None);
        assert_eq!(finding.state, State::Warning);
        let fix = finding.fix.unwrap();
        assert!(fix.contains("RuntimeDirectory=magpie") && fix.contains("`runtime_directory` under [store]"), "{fix}");

        // As systemd leaves it for a dynamic user: a link to where nobody else may look.
        std::fs::create_dir(root.path().join("run")).unwrap();
        std::os::unix::fs::symlink("private/magpie", sys.path(OF_SYSTEMD)).unwrap();
        assert_eq!(runtime_directory(&sys, None).state, State::Ok);
    }

    #[test]
    fn a_runtime_directory_that_is_not_in_memory_is_told() {
        let sys = Sys::of_this_machine();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        assert_eq!(runtime_directory(&sys, Some(memory.path())).state, State::Ok);
        for (directory, says) in [("/proc", "is not in memory"), ("/nowhere/magpie", "cannot be used")] {
            let finding = runtime_directory(&sys, Some(Path::new(directory)));
            assert_eq!(finding.state, State::Warning);
            assert!(finding.found.contains(says), "{}", finding.found);
        }
    }

    #[test]
    fn wear_is_told_where_the_medium_knows_it() {
        let root = tempfile::tempdir().unwrap();
        let sys = Sys::below(root.path());
        let file = sys.path("sys/block/mmcblk0/device/life_time");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (text, state) in [("0x02 0x01\n", State::Ok), ("0x01 0x0a\n", State::Warning)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(wear(&sys)[0].state, state);
        }
        std::fs::write(&file, "0x00 0x00\n").unwrap();
        assert!(wear(&sys).is_empty());
    }
}
