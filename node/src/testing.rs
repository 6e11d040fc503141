//! A node that signs frames, for the tests of this crate.

use reading::{
    Announcement, Author, BootId, ClockState, Epoch, Flag, Frame, Label, NodeId, NodeKey, Payload, Place, Quantity,
    Reading, Readings, Reason, Stamp, Text,
};

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

    fn sign(&mut self, payload: &Payload) -> Frame {
        self.stamp.uptime_ms += MINUTE_US as u64 / 1000;
        self.stamp.time_us += MINUTE_US;
        self.author.sign(self.stamp, payload).unwrap()
    }
}
