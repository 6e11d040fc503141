//! A node that signs frames, for the tests of this crate.

use libp2p::PeerId;
use reading::{
    Announcement, Author, BootId, ClockState, Epoch, Flag, Frame, Kind, Label, NodeKey, Payload, Place, Previous,
    Quantity, Reading, Readings, Reason, SIGNATURE_BYTES, Stamp, Text,
};

pub(crate) struct Node {
    pub(crate) seed: u8,
    pub(crate) author: Author,
    pub(crate) stamp: Stamp,
    pub(crate) place: Place,
    pub(crate) addresses: Vec<String>,
    pub(crate) previous: Option<Previous>,
    run: u8,
    boot: u8,
}

impl Node {
    pub(crate) fn new(seed: u8, city: &str, area: &str) -> Self {
        Self::run(seed, place(city, area, &format!("n{seed}")), 1, 1)
    }

    fn run(seed: u8, place: Place, run: u8, boot: u8) -> Self {
        let uptime_ms = u64::from(run) * 1_000;
        let time_us = 1_700_000_000_000_000 + i64::from(run) * 1_000_000;
        Self {
            seed,
            author: Author::new(key(seed), Epoch([run; 8]), BootId([boot; 8])),
            stamp: Stamp { uptime_ms, time_us, clock: ClockState::SYNCED },
            place,
            addresses: Vec::new(),
            previous: None,
            run,
            boot,
        }
    }

    /// The same node in its next run.
    pub(crate) fn restart(&self) -> Self {
        let mut next = Self::run(self.seed, self.place.clone(), self.run + 1, self.boot);
        next.stamp.clock = self.stamp.clock;
        next
    }

    /// As if the kernel had been started anew as well.
    pub(crate) fn boot(&mut self) {
        self.boot += 1;
        self.author = Author::new(key(self.seed), self.author.epoch(), BootId([self.boot; 8]));
    }

    pub(crate) fn moved_to(&mut self, area: &str) -> &mut Self {
        self.place.area = label(area);
        self
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(&self.author.node().peer_id_bytes()).unwrap()
    }

    pub(crate) fn announcement(&mut self) -> Frame {
        let announcement = Announcement {
            place: self.place.clone(),
            addresses: self.addresses.iter().map(|address| Text::new(address.as_str()).unwrap()).collect(),
            sensors: vec![],
            firmware: Text::new("test").unwrap(),
            position: None,
            previous: self.previous,
            certificate: vec![],
        };
        self.sign(&Payload::Announcement(announcement))
    }

    pub(crate) fn readings(&mut self, announcement: u64) -> Frame {
        let reading = Reading {
            sensor: 0,
            quantity: Quantity::TEMPERATURE,
            value: Some(21.5),
            raw: None,
            flag: Flag::GOOD,
            reason: Reason(0),
        };
        self.sign(&Payload::Readings(Readings { announcement, readings: vec![reading] }))
    }

    pub(crate) fn unknown_kind(&mut self) -> Frame {
        self.sign(&Payload::Unknown(Kind(200), Box::from(&b"from a newer program"[..])))
    }

    /// Properly signed, but its payload is none.
    pub(crate) fn broken_readings(&mut self) -> Frame {
        let frame = self.sign(&Payload::Unknown(Kind(100), Box::from(&[0xff; 20][..])));
        let mut bytes = frame.bytes()[..frame.bytes().len() - SIGNATURE_BYTES].to_vec();
        let kind = bytes.len() - 20 - 2;
        assert_eq!(bytes[kind], 100);
        bytes[kind] = 2;
        let signed = [b"magpie/frame/1\0", &bytes[..]].concat();
        let key = libp2p::identity::Keypair::ed25519_from_bytes([self.seed; 32]).unwrap();
        bytes.extend(key.sign(&signed).unwrap());
        Frame::verify(&bytes).unwrap()
    }

    fn sign(&mut self, payload: &Payload) -> Frame {
        self.author.sign(self.stamp, payload).unwrap()
    }
}

pub(crate) fn key(seed: u8) -> NodeKey {
    NodeKey::from_seed([seed; 32])
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub(crate) fn place(city: &str, area: &str, node: &str) -> Place {
    Place { city: label(city), area: label(area), node: label(node) }
}

pub(crate) fn previous(frame: &Frame) -> Previous {
    Previous { epoch: frame.epoch(), last_seq: frame.seq() }
}
