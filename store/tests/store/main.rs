//! The store as its users see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_files;
mod crash;
mod disk;
mod faults;
mod full_disk;
mod handle;
mod layout;
mod million;
mod model;
mod power;
mod queries;
mod retention;
mod tail;
mod wear;

use std::path::PathBuf;

use reading::{
    Announcement, Author, BootId, ClockState, Epoch, Flag, Frame, FrameId, Label, NodeKey, Payload, Place, Quantity,
    Reading, Readings, Reason, Stamp, Text,
};
use store::{Options, Store};
use tempfile::TempDir;

/// A folder that is gone after the test, and a store's path in it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("frames.db")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), Options::default()).unwrap()
    }
}

/// An author and its next stamp: ten seconds from frame to frame, after a boot at a known time.
struct Node {
    author: Author,
    uptime_ms: u64,
    clock: ClockState,
}

/// Wall time at uptime 0 of every [`Node`], us.
const BOOT_US: i64 = 1_764_000_000_000_000;

impl Node {
    fn new(key: u8, epoch: u8) -> Self {
        let author = Author::new(NodeKey::from_seed([key; 32]), Epoch([epoch; 8]), BootId([epoch; 8]));
        Self { author, uptime_ms: 0, clock: ClockState::SYNCED }
    }

    fn sign(&mut self, payload: &Payload) -> Frame {
        self.uptime_ms += 10_000;
        let time_us = match self.clock {
            ClockState::UNKNOWN => 0,
            _ => BOOT_US + self.uptime_ms as i64 * 1000,
        };
        let stamp = Stamp { uptime_ms: self.uptime_ms, time_us, clock: self.clock };
        self.author.sign(stamp, payload).unwrap()
    }

    fn announcement(&mut self) -> Frame {
        self.sign(&Payload::Announcement(Announcement {
            place: Place {
                city: Label::new("seoul").unwrap(),
                area: Label::new("seongbuk").unwrap(),
                node: Label::new("roof-3").unwrap(),
            },
            addresses: vec![Text::new("/ip4/192.168.0.17/tcp/4710").unwrap()],
            sensors: Vec::new(),
            firmware: Text::new("0.1.0").unwrap(),
            position: None,
            previous: None,
            certificate: Vec::new(),
        }))
    }

    /// Seven readings, as a node with a BME280, a PMSA003I and an SCD41 has them.
    fn readings(&mut self, announcement: u64) -> Frame {
        let readings = [Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE, Quantity::PM1, Quantity::PM2_5]
            .into_iter()
            .chain([Quantity::PM10, Quantity::CO2])
            .map(|quantity| Reading {
                sensor: 0,
                quantity,
                value: Some(21.5 + self.uptime_ms as f32),
                raw: None,
                flag: Flag::GOOD,
                reason: Reason::NONE,
            })
            .collect();
        self.sign(&Payload::Readings(Readings { announcement, readings }))
    }

    fn id(&self, seq: u64) -> FrameId {
        FrameId { node: self.author.node(), epoch: self.author.epoch(), seq }
    }

    /// An announcement and `count - 1` readings frames.
    fn frames(&mut self, count: usize) -> Vec<Frame> {
        let first = self.announcement();
        let announcement = first.seq();
        [first].into_iter().chain((1..count).map(|_| self.readings(announcement))).collect()
    }
}
