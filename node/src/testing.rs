//! A node that signs frames, and a disk to keep them on, for the tests of this crate.

use std::time::Duration;

use reading::{
    Announcement, Author, BootId, ClockState, Epoch, Flag, Frame, Label, NodeId, NodeKey, Payload, Place, Quantity,
    Reading, Readings, Reason, Stamp, Text,
};
use store::Options;

use crate::storage::{Location, Storage};

/// A state directory with a key in it, as of a node that has been started before.
pub(crate) struct Disk {
    pub(crate) folder: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("node.key"), "a key").unwrap();
        Self { folder }
    }

    pub(crate) fn location(&self, node: NodeId, max_bytes: u64) -> Location {
        Location {
            path: self.folder.path().join("frames.db"),
            key: self.folder.path().join("node.key"),
            node,
            options: Options { max_bytes, sync_interval: Duration::from_secs(60) },
            max_age: None,
            runtime_directory: None,
        }
    }

    /// A storage that could be opened.
    pub(crate) async fn storage(&self, node: NodeId, max_bytes: u64) -> Storage {
        let storage = Storage::default();
        storage.open(&self.location(node, max_bytes)).await.unwrap();
        storage
    }
}

/// Looks again and again, for longer than anything here takes on a loaded machine.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const MINUTE_US: i64 = 60_000_000;

/// Somebody else's node: it measures once a minute.
pub(crate) struct Neighbour {
    author: Author,
    stamp: Stamp,
}

impl Neighbour {
    pub(crate) fn new(seed: u8) -> Self {
        let stamp = Stamp { uptime_ms: 1000, time_us: 1_764_000_000_000_000, clock: ClockState::SYNCED };
        Self { author: Author::new(NodeKey::from_seed([seed; 32]), Epoch([seed; 8]), BootId([seed; 8])), stamp }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.author.node()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.author.epoch()
    }

    pub(crate) fn announcement(&mut self) -> Frame {
        let label = |text: &str| Label::new(text).unwrap();
        self.sign(&Payload::Announcement(Announcement {
            place: Place { city: label("seoul"), area: label("jung"), node: label("roof") },
            addresses: vec![],
            sensors: vec![],
            firmware: Text::lossy("test"),
            position: None,
            previous: None,
            certificate: vec![],
        }))
    }

    pub(crate) fn readings(&mut self) -> Frame {
        let reading = Reading {
            sensor: 0,
            quantity: Quantity::TEMPERATURE,
            value: Some(21.5),
            raw: None,
            flag: Flag::GOOD,
            reason: Reason::NONE,
        };
        self.sign(&Payload::Readings(Readings { announcement: 1, readings: vec![reading] }))
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, minutes: u32) {
        self.stamp.uptime_ms += u64::from(minutes) * MINUTE_US as u64 / 1000;
        self.stamp.time_us += i64::from(minutes) * MINUTE_US;
    }

    fn sign(&mut self, payload: &Payload) -> Frame {
        self.wait(1);
        self.author.sign(self.stamp, payload).unwrap()
    }
}
