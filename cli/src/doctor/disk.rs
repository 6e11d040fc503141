//! Whether frames can be kept.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::finding::Finding;
use super::node::Running;
use super::sys::Sys;

/// A store of the default size, and as much again for the system.
const ENOUGH_BYTES: u64 = 512 * 1024 * 1024;

pub fn look(sys: &Sys, state: &Path, running: Option<&Running>) -> Vec<Finding> {
    let mut findings = vec![writable(state)];
    findings.extend(space(state));
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
                io::ErrorKind::PermissionDenied => {
                    format!(
                        "run as the node's user, or give the directory away: sudo chown -R $USER {}",
                        directory.display()
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
