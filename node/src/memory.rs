//! What chips have learned, kept over restarts of the program: a gas sensor's baseline, a laser's hours.
//!
//! Drivers say with each sample what should survive (at most 64 bytes). It is written at an orderly stop, each hour where it
//! changed, and else once a day, so that its age is known; whole or not at all. A crash costs an hour of learning.
//!
//! A file of twenty chips has 6 to 10 KB, one of one chip 300 bytes. So a day costs the card at most 24 such files, a quarter of a
//! megabyte, and about as much again for the file system's own blocks.
//!
//! What was learned belongs to one chip at one place: bus, port, address, model, serial number. How old it is is told where the
//! clocks allow it, and never guessed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal::driver::MAX_MEMORY_BYTES;
use reading::{BootId, ClockState, Stamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::file;
use crate::sensors::NodeSensor;

/// Between two writes of something new.
const WRITE_INTERVAL: Duration = Duration::from_secs(3600);
/// Between two writes where nothing is new but the time at which it was still so.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(86_400);
/// Chips that are remembered, those included that are not there now. When they are more, what is forgotten is a chip that was not
/// seen in this run.
const MAX_CHIPS: usize = 128;
/// A file that is longer was not written here.
const MAX_FILE_BYTES: u64 = 256 * 1024;
const VERSION: u32 = 1;

/// The memory of all chips of a node.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    clock: Clock,
    chips: BTreeMap<Key, Kept>,
    /// Positions of the sensors that were given back what they had learned, or that nothing is known of.
    restored: BTreeSet<usize>,
    /// Chips of this run.
    seen: BTreeSet<Key>,
    /// What came since the last write.
    news: News,
    /// Uptime at the last write, ms; at the start of the program before the first one.
    written_ms: u64,
}

/// What a write would add to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Nothing,
    /// That what is in it was still so later.
    Confirmed,
    Changed,
}

/// Which chip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    /// With the port, where there is one: `i2c-1/0x70.3`.
    bus: String,
    address: u8,
    model: String,
    serial: String,
}

/// What it had learned, and when that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    memory: Vec<u8>,
    boot: BootId,
    uptime_ms: u64,
    time_us: i64,
    synced: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    chips: Vec<Chip>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chip {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    kept: Kept,
}

/// A file to be written, by a thread that may wait for the card.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    text: String,
}

impl Memory {
    /// Reads what an earlier run left. A file that makes no sense is said and moved aside.
    pub fn load(path: PathBuf, mut clock: Clock) -> Self {
        let chips = read(&path).unwrap_or_else(|error| {
            warn!("what the chips had learned is lost: {} {error}; they learn anew", path.display());
            if let Err(error) = file::set_aside(&path) {
                warn!("cannot move {} aside: {error}; remove it", path.display());
            }
            BTreeMap::new()
        });
        let written_ms = clock.stamp().uptime_ms;
        let (restored, seen) = (BTreeSet::new(), BTreeSet::new());
        Self { path, clock, chips, restored, seen, news: News::Nothing, written_ms }
    }

    /// Gives the chips that a scan found since the last call back what they had learned. To be called before they are sampled.
    pub fn restore(&mut self, sensors: &[NodeSensor]) {
        for (index, sensor) in sensors.iter().enumerate().filter(|(_, sensor)| sensor.was_found()) {
            if self.restored.contains(&index) {
                continue;
            }
            if let Some(kept) = self.chips.get(&Key::of(sensor)) {
                let age = kept.age(self.clock.boot(), self.clock.stamp());
                // A bus that takes no command now is asked again after the next scan.
                if sensor.bus.restore(sensor.chip, kept.memory.clone(), age).is_err() {
                    continue;
                }
                info!(sensor = index, chip = %sensor.chip, ?age, "goes on with what it had learned");
            }
            self.restored.insert(index);
        }
    }

    /// Notes what a chip has learned by now.
    pub fn keep(&mut self, sensor: &NodeSensor, memory: &[u8]) {
        let stamp = self.clock.stamp();
        self.keep_at(Key::of(sensor), memory, stamp);
    }

    fn keep_at(&mut self, key: Key, memory: &[u8], stamp: Stamp) {
        self.seen.insert(key.clone());
        if !self.chips.contains_key(&key) && self.chips.len() >= MAX_CHIPS {
            let Some(absent) = self.chips.keys().find(|key| !self.seen.contains(key)).cloned() else { return };
            self.chips.remove(&absent);
        }
        let before = self.chips.insert(key, Kept::new(memory, self.clock.boot(), stamp));
        let is_same = before.is_some_and(|before| before.memory == memory);
        self.news = self.news.max(if is_same { News::Confirmed } else { News::Changed });
    }

    /// What is to be written now, if anything; `stops` where there will be no other time.
    pub fn due(&mut self, stops: bool) -> Option<Snapshot> {
        let now_ms = self.clock.stamp().uptime_ms;
        self.due_at(now_ms, stops)
    }

    fn due_at(&mut self, now_ms: u64, stops: bool) -> Option<Snapshot> {
        let interval = match self.news {
            News::Nothing => return None,
            _ if stops => Duration::ZERO,
            News::Confirmed => CONFIRM_INTERVAL,
            News::Changed => WRITE_INTERVAL,
        };
        let since = Duration::from_millis(now_ms.saturating_sub(self.written_ms));
        if since < interval {
            return None;
        }
        (self.news, self.written_ms) = (News::Nothing, now_ms);
        Some(self.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        let chips = self.chips.iter().map(|(key, kept)| Chip { key: key.clone(), kept: kept.clone() }).collect();
        // Names and numbers: there is nothing in it that JSON could not say.
        let text = serde_json::to_string(&Contents { version: VERSION, chips }).unwrap_or_default();
        Snapshot { path: self.path.clone(), text }
    }
}

impl Key {
    fn of(sensor: &NodeSensor) -> Self {
        Self {
            bus: sensor.bus_name(),
            address: sensor.chip.address,
            model: sensor.chip.model.name().to_owned(),
            serial: sensor.serial.clone(),
        }
    }
}

impl Kept {
    fn new(memory: &[u8], boot: BootId, stamp: Stamp) -> Self {
        let Stamp { uptime_ms, time_us, clock } = stamp;
        Self { memory: memory.to_vec(), boot, uptime_ms, time_us, synced: clock == ClockState::SYNCED }
    }

    /// How long ago this was. The same boot has one clock that always runs; over a restart of the machine there is only the wall
    /// clock, and only where it was right both times.
    fn age(&self, boot: BootId, now: Stamp) -> Option<Duration> {
        if self.boot == boot {
            return now.uptime_ms.checked_sub(self.uptime_ms).map(Duration::from_millis);
        }
        let us = now.time_us.checked_sub(self.time_us).filter(|_| self.synced && now.clock == ClockState::SYNCED)?;
        u64::try_from(us).ok().map(Duration::from_micros)
    }
}

impl Snapshot {
    /// Writes the file, whole or not at all; a failure is said.
    pub fn write(self) {
        let Self { path, text } = self;
        if let Err(error) = file::replace(&path, text.as_bytes(), 0o644) {
            warn!("cannot keep what the chips have learned in {}: {error}; it will be tried again", path.display());
        }
    }
}

fn read(path: &Path) -> Result<BTreeMap<Key, Kept>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    let contents: Contents = serde_json::from_str(&text).map_err(|error| format!("is damaged: {error}"))?;
    if contents.version != VERSION {
        return Err(format!("is of version {}, and this program knows {VERSION}", contents.version));
    }
    let known = contents.chips.into_iter().filter(|chip| chip.kept.memory.len() <= MAX_MEMORY_BYTES);
    Ok(known.take(MAX_CHIPS).map(|chip| (chip.key, chip.kept)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: BootId = BootId(*b"thisboot");
    const OTHER_BOOT: BootId = BootId(*b"thatboot");
    const HOUR_MS: u64 = 3_600_000;

    fn stamp(uptime_ms: u64, clock: ClockState) -> Stamp {
        Stamp { uptime_ms, time_us: 1_790_000_000_000_000 + uptime_ms as i64 * 1000, clock }
    }

    fn key(serial: &str) -> Key {
        Key { bus: "i2c-1/0x70.3".to_owned(), address: 0x59, model: "SGP40".to_owned(), serial: serial.to_owned() }
    }

    fn memory(path: &Path) -> Memory {
        Memory::load(path.to_owned(), Clock::new().unwrap())
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensors.json");
        let mut before = memory(&path);
        assert!(before.due(true).is_none(), "nothing learned, nothing written");
        before.keep_at(key("a"), &[1, 2, 250], stamp(5, ClockState::SYNCED));
        before.due(true).unwrap().write();
        let after = memory(&path);
        assert_eq!(after.chips, before.chips);
        assert_eq!(after.chips[&key("a")].memory, [1, 2, 250]);
        assert_eq!(after.chips.get(&key("b")), None, "another chip in its place has learned nothing");
    }

    #[test]
    fn it_is_written_hourly_where_it_changed_and_daily_where_not_and_at_a_stop() {
        let directory = tempfile::tempdir().unwrap();
        let mut memory = memory(&directory.path().join("sensors.json"));
        memory.written_ms = 0;
        let mut minutes_written = Vec::new();
        for minute in 1..=50 * 60 {
            // It learns for two hours and knows enough then.
            let learned = [(minute / 10).min(12) as u8];
            memory.keep_at(key("a"), &learned, stamp(minute * 60_000, ClockState::UNKNOWN));
            if memory.due_at(minute * 60_000, false).is_some() {
                minutes_written.push(minute);
            }
        }
        assert_eq!(minutes_written, [60, 120, 120 + 24 * 60, 120 + 48 * 60]);
        memory.keep_at(key("a"), &[12], stamp(51 * HOUR_MS, ClockState::UNKNOWN));
        assert!(memory.due_at(51 * HOUR_MS, false).is_none());
        let last = memory.due_at(51 * HOUR_MS, true).unwrap();
        assert!(last.text.contains(&format!("\"uptime_ms\":{}", 51 * HOUR_MS)), "{}", last.text);
        assert!(memory.due_at(51 * HOUR_MS, true).is_none(), "nothing new");
    }

    #[test]
    fn the_age_is_known_where_one_clock_spans_it() {
        let kept = |clock| Kept::new(&[1], BOOT, stamp(HOUR_MS, clock));
        let (known, unknown) = (ClockState::SYNCED, ClockState::UNKNOWN);
        let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
        assert_eq!(kept(unknown).age(BOOT, stamp(3 * HOUR_MS, unknown)), hours(2));
        assert_eq!(kept(unknown).age(BOOT, stamp(0, known)), None, "an uptime that ran backwards");
        assert_eq!(kept(known).age(OTHER_BOOT, stamp(3 * HOUR_MS, known)), hours(2));
        for (then, now) in [(known, unknown), (unknown, known), (known, ClockState::FREE_RUNNING)] {
            assert_eq!(kept(then).age(OTHER_BOOT, stamp(3 * HOUR_MS, now)), None);
        }
        assert_eq!(kept(known).age(OTHER_BOOT, stamp(0, known)), None, "a wall clock that was set back");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_moved_aside_and_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensors.json");
        let long = format!("{{\"version\":1,\"chips\":[],\"x\":\"{}\"}}", "y".repeat(MAX_FILE_BYTES as usize));
        for damaged in ["", "{\"version\":1,\"chips\":[{\"bus\":\"i2c-1\"", "{\"version\":7,\"chips\":[]}", &long] {
            std::fs::write(&path, damaged).unwrap();
            assert!(read(&path).is_err(), "{:.40}", damaged);
            let mut memory = memory(&path);
            assert!(memory.chips.is_empty());
            assert_eq!(std::fs::read_to_string(directory.path().join("sensors.json.damaged")).unwrap(), damaged);
            memory.keep_at(key("a"), &[9], stamp(0, ClockState::UNKNOWN));
            memory.due(true).unwrap().write();
            assert_eq!(read(&path).unwrap().len(), 1);
        }
        // More than a driver may ask for is nothing that a driver asked for.
        let mut memory = memory(&path);
        memory.keep_at(key("b"), &[0; MAX_MEMORY_BYTES + 1], stamp(0, ClockState::UNKNOWN));
        memory.due(true).unwrap().write();
        assert_eq!(read(&path).unwrap().into_keys().collect::<Vec<_>>(), [key("a")]);
    }

    #[test]
    fn chips_that_are_swapped_for_ever_do_not_fill_the_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensors.json");
        for run in 0..3 {
            let mut memory = memory(&path);
            for chip in 0..100 {
                memory.keep_at(key(&format!("{run}-{chip}")), &[0xff; MAX_MEMORY_BYTES], stamp(0, ClockState::UNKNOWN));
            }
            assert!(memory.chips.len() <= MAX_CHIPS);
            assert!(memory.chips.contains_key(&key(&format!("{run}-99"))), "those of this run are kept");
            let snapshot = memory.due(true).unwrap();
            assert!((snapshot.text.len() as u64) < MAX_FILE_BYTES);
            snapshot.write();
        }
        let fits = memory(&path).snapshot().text.len() * 20 / MAX_CHIPS;
        assert!(fits < 12_000, "twenty chips make {fits} bytes");
    }
}
