//! A past for a node that has none: its key, and a store full of the frames of an earlier run.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bench::clock::monotonic_us;
use bench::load;
use reading::{Author, BootId, ClockState, Epoch, Frame, Label, NodeKey, Place, Stamp};
use store::{Options, Store};

/// Frames that are stored at once.
const BATCH: u64 = 1000;
/// Between two frames, as a node makes them.
const PERIOD_MS: u64 = 10_000;
/// When the earlier run began: 2026-01-01 in us since 1970, a minute after the Pi was switched on.
const BEGUN_US: i64 = 1_767_225_600_000_000;
const BEGUN_UPTIME_MS: u64 = 60_000;

/// Writes so many frames into the state directory of a node that was never started: an announcement, then seven readings every ten seconds.
pub fn write(state: &Path, frames: u64) -> Result<()> {
    fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let mut seed = [0x4d; 32];
    seed[..8].copy_from_slice(&monotonic_us().to_le_bytes());
    let key_file = state.join("node.key");
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key_file);
    written
        .and_then(|mut file| file.write_all(&seed))
        .with_context(|| format!("cannot write {}", key_file.display()))?;

    let mut author = Author::new(NodeKey::from_seed(seed), Epoch(monotonic_us().to_le_bytes()), BootId([7; 8]));
    let (city, area) = load::place()?;
    let announcement = load::announcement(Place { city, area, node: Label::new("bench")? }, &[]);
    let readings = load::readings();
    let mut store = Store::open(&state.join("frames.db"), Options::default())?;
    store.append(&[author.sign(stamp(0)?, &announcement)?])?;
    while author.last_seq() < frames {
        let batch = (author.last_seq()..frames).take(usize::try_from(BATCH)?);
        let batch = batch.map(|number| Ok(author.sign(stamp(number)?, &readings)?)).collect::<Result<Vec<Frame>>>()?;
        store.append(&batch)?;
    }
    ensure!(
        store.frames() == frames,
        "the store keeps {} of {frames} frames: they are more than it may have",
        store.frames()
    );
    Ok(store.close()?)
}

fn stamp(number: u64) -> Result<Stamp> {
    let passed_ms = PERIOD_MS * number;
    let time_us = BEGUN_US + i64::try_from(passed_ms * 1000)?;
    Ok(Stamp { uptime_ms: BEGUN_UPTIME_MS + passed_ms, time_us, clock: ClockState::SYNCED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_is_whole_and_begins_with_what_explains_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 2300).unwrap();
        let store = Store::open(&folder.path().join("frames.db"), Options::default()).unwrap();
        let node = store.nodes().unwrap()[0];
        let [run] = store.epochs(node).unwrap()[..] else { panic!("one run") };
        assert_eq!((run.first_seq, run.last_seq, run.frames, run.gone_to), (1, 2300, 2300, 0));
        let first = store.range(node, run.epoch, 1..=2, 4096).unwrap().frames;
        assert_eq!([first[0].kind(), first[1].kind()], [reading::Kind::ANNOUNCEMENT, reading::Kind::READINGS]);
        assert!(first[1].bytes().len() <= 192, "{}", first[1].bytes().len());
    }
}
