//! The seqno floor: why a node may have to wait before it joins the mesh.
//!
//! gossipsub numbers a peer's messages, and rust-libp2p starts at the wall clock in nanoseconds. Kubo remembers the highest number of
//! each author on its disk and silently drops what is not above it (ipfs/kubo#11304). A Pi has no battery clock, so after a
//! power cut it may wake up in its own past, and every Kubo subscriber would ignore it, with no error anywhere. So the highest
//! number that may have been used is kept on disk, and while the wall clock is below it the mesh waits for a time server, for
//! a bounded time.
//!
//! A file that a dying card lost ends no start. Its number is then taken from the latest time at which anything in the state
//! directory was written: the numbers of a run begin at the wall clock, and the node writes its directory all the time that it runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tracing::warn;

use crate::file;

/// How long the mesh waits for a clock that is behind. A node with no time server at all goes on after this, reported as degraded:
/// our own subscribers hear it, whatever its seqno.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Room for the messages of one run above its first seqno. Numbers count up by one a message while the clock runs a thousand million
/// a second, so this only matters to a clock that is set back to the very moment of the last start; ten million messages are
/// then covered, and a node that is restarted at once need not wait for its own last start.
const ROOM_NS: u64 = 10_000_000;

/// The last write before a run may be this much older than its first number: a file system's clock ticks in up to 10 ms, and the mesh
/// starts a few later.
const WRITE_ROOM_NS: u64 = 1_000_000_000;
/// Files that are looked at for the last write: the node has a dozen.
const MAX_FILES: usize = 1000;
/// No number is longer.
const MAX_BYTES: u64 = 64;

/// What to do about the mesh now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The clock is past every number that was used.
    Start,
    /// The clock is behind by this much, and a time server may still come.
    Wait(Duration),
    /// The clock is behind by this much, and nobody came.
    StartBehind(Duration),
}

/// Decides from the clock, the floor and how long the node has waited.
pub fn verdict(now_ns: u64, floor_ns: u64, waited: Duration) -> Verdict {
    match floor_ns.checked_sub(now_ns) {
        None | Some(0) => Verdict::Start,
        Some(behind) if waited < LONGEST_WAIT => Verdict::Wait(Duration::from_nanos(behind)),
        Some(behind) => Verdict::StartBehind(Duration::from_nanos(behind)),
    }
}

/// The floor in its file.
#[derive(Debug)]
pub struct SeqnoFloor {
    path: PathBuf,
    floor_ns: u64,
}

impl SeqnoFloor {
    /// Reads the floor; there is none before the first run, which is when nothing else is in its directory either.
    ///
    /// Where the file is lost, the last write to the directory stands in for it, and is kept as the floor. A file that makes no sense is
    /// moved aside.
    pub fn load(path: &Path) -> Self {
        let problem = match read(path) {
            Ok(Some(floor_ns)) => return Self { path: path.to_owned(), floor_ns },
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        let last_write_ns = path.parent().and_then(last_write_ns);
        let floor_ns = last_write_ns.map_or(0, |ns| ns.saturating_add(WRITE_ROOM_NS));
        let floor = Self { path: path.to_owned(), floor_ns };
        if let Some(problem) = problem {
            warn!(
                "the node's highest message number is lost: {} {problem}; the last write to its directory stands in for it",
                path.display()
            );
            if let Err(error) = file::set_aside(path) {
                warn!("cannot move {} aside: {error}; remove it", path.display());
                return floor;
            }
        }
        // The node's next writes may be those of a clock that is behind.
        if floor_ns > 0
            && let Err(error) = floor.write()
        {
            warn!("cannot keep the node's highest message number in {}: {error}", path.display());
        }
        floor
    }

    /// The floor, ns since 1970.
    pub fn ns(&self) -> u64 {
        self.floor_ns
    }

    /// Notes that a run starts its numbers at `first_ns`. Never lowers the floor. Written whole or not at all.
    pub fn raise(&mut self, first_ns: u64) -> io::Result<()> {
        let floor_ns = first_ns.saturating_add(ROOM_NS);
        if floor_ns <= self.floor_ns {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.floor_ns, floor_ns);
        self.write().inspect_err(|_| self.floor_ns = before)
    }

    fn write(&self) -> io::Result<()> {
        file::replace(&self.path, format!("{}\n", self.floor_ns).as_bytes(), 0o644)
    }
}

/// What the file says; `None` where there is none.
fn read(path: &Path) -> Result<Option<u64>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    // The end of the line belongs to it: a number that was cut short is a number, too, and far too low.
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok());
    number.map(Some).ok_or_else(|| {
        let text: String = String::from_utf8_lossy(&bytes).chars().take(40).collect();
        format!("holds {text:?} where one number is wanted")
    })
}

/// When anything in this directory was written last, ns since 1970.
fn last_write_ns(directory: &Path) -> Option<u64> {
    let entries = fs::read_dir(directory).ok()?.take(MAX_FILES).flatten();
    let written = entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    written.max().map(|since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_764_000_000_000_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_clock_that_is_right_starts_at_once() {
        assert_eq!(verdict(NOW, 0, Duration::ZERO), Verdict::Start);
        assert_eq!(verdict(NOW, NOW, Duration::ZERO), Verdict::Start);
    }

    #[test]
    fn a_clock_set_back_waits_for_a_bounded_time_and_then_says_so() {
        let behind = NOW - DAY.as_nanos() as u64;
        assert_eq!(verdict(behind, NOW, Duration::ZERO), Verdict::Wait(DAY));
        assert_eq!(verdict(behind, NOW, LONGEST_WAIT), Verdict::StartBehind(DAY));
        // A time server came while it waited.
        assert_eq!(verdict(NOW + 1, NOW, LONGEST_WAIT / 2), Verdict::Start);
    }

    #[test]
    fn the_floor_is_kept_and_never_sinks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seqno-floor");
        let mut floor = SeqnoFloor::load(&path);
        assert_eq!(floor.ns(), 0);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing to keep yet");
        floor.raise(NOW).unwrap();
        floor.raise(NOW - 5 * ROOM_NS).unwrap();
        assert_eq!(SeqnoFloor::load(&path).ns(), NOW + ROOM_NS);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    /// A state directory in which something was written last at `NOW`.
    fn used() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, written_ns) in [("node.key", NOW / 2), ("frames.db-wal", NOW), ("frames.db", NOW - 1)] {
            write_at(&directory.path().join(name), "", written_ns);
        }
        directory
    }

    fn write_at(path: &Path, text: &str, written_ns: u64) {
        fs::write(path, text).unwrap();
        File::open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_nanos(written_ns)).unwrap();
    }

    #[test]
    fn a_floor_that_is_lost_is_no_lower_than_the_last_write() {
        let number = NOW.to_string();
        for broken in ["", "\0\0\0\0\0\0\0\0", "yesterday\n", &number[..9], &number, &format!("{number}0\n{number}\n")]
        {
            let (directory, aside) = (used(), "seqno-floor.damaged");
            let path = directory.path().join("seqno-floor");
            write_at(&path, broken, NOW / 2);
            assert_eq!(SeqnoFloor::load(&path).ns(), NOW + WRITE_ROOM_NS, "{broken:?}");
            assert_eq!(fs::read_to_string(directory.path().join(aside)).unwrap(), broken);
            // What is written from now on may be older, and counts no more.
            write_at(&directory.path().join("frames.db-wal"), "", NOW / 2);
            assert_eq!(SeqnoFloor::load(&path).ns(), NOW + WRITE_ROOM_NS, "{broken:?}");
        }
    }

    #[test]
    fn the_time_of_the_broken_file_counts_too() {
        let directory = used();
        let path = directory.path().join("seqno-floor");
        write_at(&path, "", NOW + DAY.as_nanos() as u64);
        assert_eq!(SeqnoFloor::load(&path).ns(), NOW + DAY.as_nanos() as u64 + WRITE_ROOM_NS);
    }

    #[test]
    fn a_floor_that_is_gone_is_found_again_and_a_folder_in_its_place_moved_away() {
        let directory = used();
        let path = directory.path().join("seqno-floor");
        assert_eq!(SeqnoFloor::load(&path).ns(), NOW + WRITE_ROOM_NS);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let floor = SeqnoFloor::load(&path);
        assert!(floor.ns() > NOW + WRITE_ROOM_NS, "the folder was made just now");
        assert_eq!(SeqnoFloor::load(&path).ns(), floor.ns());
        assert!(directory.path().join("seqno-floor.damaged").is_dir());
    }
}
