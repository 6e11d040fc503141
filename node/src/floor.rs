//! The seqno floor: why a node may have to wait before it joins the mesh.
//!
//! gossipsub numbers a peer's messages, and rust-libp2p starts at the wall clock in nanoseconds. Kubo remembers the highest number of
//! each author on its disk and silently drops what is not above it (ipfs/kubo#11304). A Pi has no battery clock, so after a
//! power cut it may wake up in its own past, and every Kubo subscriber would ignore it, with no error anywhere. So the highest
//! number that may have been used is kept on disk, and while the wall clock is below it the mesh waits for a time server, for
//! a bounded time.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the mesh waits for a clock that is behind. A node with no time server at all goes on after this, reported as degraded:
/// our own subscribers hear it, whatever its seqno.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Room for the messages of one run above its first seqno. Numbers count up by one a message while the clock runs a thousand million
/// a second, so this only matters to a clock that is set back to the very moment of the last start; ten million messages are
/// then covered, and a node that is restarted at once need not wait for its own last start.
const ROOM_NS: u64 = 10_000_000;

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
    /// Reads the floor; there is none before the first run.
    pub fn load(path: &Path) -> io::Result<Self> {
        let floor_ns = match fs::read_to_string(path) {
            Ok(text) => text.trim().parse().map_err(|_| {
                let text: String = text.chars().take(40).collect();
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} holds {text:?} where one number is wanted; remove it", path.display()),
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))),
        };
        Ok(Self { path: path.to_owned(), floor_ns })
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
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        writeln!(file, "{floor_ns}")?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        self.floor_ns = floor_ns;
        Ok(())
    }
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
        let mut floor = SeqnoFloor::load(&path).unwrap();
        assert_eq!(floor.ns(), 0);
        floor.raise(NOW).unwrap();
        floor.raise(NOW - 5 * ROOM_NS).unwrap();
        assert_eq!(SeqnoFloor::load(&path).unwrap().ns(), NOW + ROOM_NS);
        fs::write(&path, "yesterday").unwrap();
        assert!(SeqnoFloor::load(&path).unwrap_err().to_string().contains("one number is wanted"));
    }
}
