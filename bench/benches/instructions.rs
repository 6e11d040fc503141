//! How many instructions the steps on a frame's way take. `tools/count-instructions` runs this and compares with
//! `instructions.txt`. Everything that is random elsewhere (keys, epochs, times) is fixed here.

// What gungraun's macros make has none.
#![allow(missing_docs)]
// A step that does not do what it should is not counted: gungraun reports the panic and fails.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use bench::load;
use gungraun::prelude::*;
use gungraun::{Callgrind, main};
use mesh::Gate;
use reading::{Author, BootId, ClockState, Epoch, Frame, Label, NodeKey, Payload, Place, Stamp};
use store::{Options, Store};
use tempfile::TempDir;

/// Appends in a row, since not every one fills a page. The count is that of all of them.
const APPENDS: usize = 64;
/// Frames that a store holds before: a tree of pages, no longer one page.
const STORED: usize = 256;

/// A node that has announced itself.
struct Node {
    author: Author,
    announcement: Frame,
}

impl Node {
    fn new() -> Self {
        let mut author = Author::new(NodeKey::from_seed([1; 32]), Epoch([2; 8]), BootId([3; 8]));
        let (city, area) = load::place().unwrap();
        let place = Place { city, area, node: Label::new("bench").unwrap() };
        let announcement = author.sign(stamp(0), &load::announcement(place, &[])).unwrap();
        Self { author, announcement }
    }

    fn frame(&mut self) -> Frame {
        let stamp = stamp(self.author.last_seq());
        self.author.sign(stamp, &load::readings()).unwrap()
    }
}

/// One frame in ten seconds.
fn stamp(number: u64) -> Stamp {
    let uptime_ms = 60_000 + 10_000 * number;
    Stamp { uptime_ms, time_us: 1_767_225_600_000_000 + 1000 * uptime_ms as i64, clock: ClockState::SYNCED }
}

#[library_benchmark]
#[bench::seven_readings(load::readings())]
fn encode(payload: Payload) -> Vec<u8> {
    black_box(&payload).encode().unwrap()
}

#[library_benchmark]
#[bench::seven_readings((Node::new(), load::readings()))]
fn sign((mut node, payload): (Node, Payload)) -> (Node, Frame) {
    let frame = node.author.sign(black_box(stamp(1)), black_box(&payload)).unwrap();
    (node, frame)
}

#[library_benchmark]
#[bench::seven_readings(Node::new().frame())]
fn verify(frame: Frame) -> (Frame, Frame) {
    let verified = Frame::verify(black_box(frame.bytes())).unwrap();
    (frame, verified)
}

#[library_benchmark]
#[bench::seven_readings(Node::new().frame())]
fn decode(frame: Frame) -> (Frame, Payload) {
    let payload = black_box(&frame).payload().unwrap();
    (frame, payload)
}

fn used_store() -> (TempDir, Store, Vec<Frame>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("frames.db"), Options::default()).unwrap();
    let mut node = Node::new();
    let mut stored = vec![node.announcement.clone()];
    stored.extend((0..STORED).map(|_| node.frame()));
    assert_eq!(store.append(&stored).unwrap(), stored.len());
    (folder, store, (0..APPENDS).map(|_| node.frame()).collect())
}

#[library_benchmark]
#[bench::one_by_one(used_store())]
fn append((folder, mut store, frames): (TempDir, Store, Vec<Frame>)) -> (TempDir, Store, Vec<Frame>) {
    for frame in black_box(&frames) {
        assert_eq!(store.append(std::slice::from_ref(frame)).unwrap(), 1);
    }
    (folder, store, frames)
}

fn known_author() -> (Gate, Frame, Instant) {
    let mut node = Node::new();
    let mut gate = Gate::new(&node.announcement).unwrap();
    let now = Instant::now();
    assert!(gate.admits(node.frame().bytes(), now));
    (gate, node.frame(), now)
}

#[library_benchmark]
#[bench::known_author(known_author())]
fn admit((mut gate, frame, now): (Gate, Frame, Instant)) -> (Gate, Frame) {
    assert!(gate.admits(black_box(frame.bytes()), now));
    (gate, frame)
}

library_benchmark_group!(name = frame, benchmarks = [encode, sign, verify, decode, append, admit]);
// Instructions are all that is compared, so nothing else is simulated.
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = frame
);
