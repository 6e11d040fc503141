//! What `magpie verify` says of files that were tampered with.

use proptest::prelude::*;
use reading::{
    Announcement, ArchiveWriter, Author, BootId, ClockFix, ClockState, Epoch, Flag, Frame, Label, NodeKey, Payload,
    Place, Previous, Quantity, Reading, Readings, Reason, Stamp, Text,
};
use serde_json::json;

use super::audit::Report;
use super::{Verdict, examine, in_json, in_words};

/// A node that was started twice. Seeds 1, 2 and 3 give keys in another order than the seeds.
struct Node {
    seed: u8,
    frames: Vec<Frame>,
}

impl Node {
    /// Two runs: announcement, three readings; and announcement, two readings of an unknown time, a fix, two readings.
    fn new(seed: u8) -> Self {
        let mut node = Self { seed, frames: Vec::new() };
        node.run(1, &[ClockState::SYNCED; 3], None);
        node.run(2, &[ClockState::UNKNOWN, ClockState::UNKNOWN], Some(&[ClockState::SYNCED, ClockState::FREE_RUNNING]));
        node
    }

    fn run(&mut self, number: u8, before: &[ClockState], behind_fix: Option<&[ClockState]>) {
        let previous = self.frames.last().map(|last| Previous { epoch: last.epoch(), last_seq: last.seq() });
        let boot = BootId([number; 8]);
        let mut author = Author::new(NodeKey::from_seed([self.seed; 32]), Epoch([number; 8]), boot);
        let mut sign = |clock, payload| {
            let uptime_ms = author.last_seq() * 1000;
            self.frames
                .push(author.sign(Stamp { uptime_ms, time_us: 1_764_000_000_000_000, clock }, &payload).unwrap());
        };
        sign(before[0], announcement(self.seed, previous));
        before.iter().for_each(|clock| sign(*clock, readings(1)));
        if let Some(behind) = behind_fix {
            let fix = ClockFix { boot, wall_at_zero_us: 1_764_000_000_000_000, uncertainty_ms: 10 };
            sign(behind[0], Payload::ClockFix(fix));
            behind.iter().for_each(|clock| sign(*clock, readings(1)));
        }
    }
}

fn announcement(seed: u8, previous: Option<Previous>) -> Payload {
    let label = |text: &str| Label::new(text).unwrap();
    Payload::Announcement(Announcement {
        place: Place { city: label("seoul"), area: label("jung"), node: label(&format!("roof-{seed}")) },
        addresses: Vec::new(),
        sensors: Vec::new(),
        firmware: Text::default(),
        position: None,
        previous,
        certificate: Vec::new(),
    })
}

fn readings(announcement: u64) -> Payload {
    let (flag, reason) = (Flag::GOOD, Reason::NONE);
    let reading = Reading { sensor: 0, quantity: Quantity::TEMPERATURE, value: Some(21.5), raw: None, flag, reason };
    Payload::Readings(Readings { announcement, readings: vec![reading] })
}

/// Twenty frames of two nodes, in order.
fn good() -> Vec<Frame> {
    let mut nodes = [Node::new(1), Node::new(2)];
    nodes.sort_by_key(|node| node.frames[0].node());
    nodes.into_iter().flat_map(|node| node.frames).collect()
}

/// Frames of a node that is not in the file.
fn foreign() -> Vec<Frame> {
    Node::new(3).frames
}

fn file(frames: &[Frame]) -> Vec<u8> {
    let mut writer = ArchiveWriter::begin(Vec::new()).unwrap();
    frames.iter().for_each(|frame| writer.write(frame).unwrap());
    writer.end().unwrap()
}

fn verify(bytes: &[u8]) -> Report {
    examine(bytes).unwrap()
}

/// What comes of a file whose end was made to fit.
fn verdict(frames: &[Frame]) -> Verdict {
    verify(&file(frames)).verdict()
}

fn without(frames: &[Frame], index: usize) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames.remove(index);
    frames
}

fn with(frames: &[Frame], index: usize, frame: &Frame) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames.insert(index, frame.clone());
    frames
}

#[test]
fn a_whole_file_is_evidence_of_its_nodes() {
    let frames = good();
    let report = verify(&file(&frames));
    assert_eq!(report.verdict(), Verdict::Whole, "{report:?}");
    let words = in_words(&report).join("\n");
    for node in [frames[0].node(), frames[19].node()] {
        assert!(words.contains(&node.to_string()), "{words}");
    }
    assert!(words.contains("seoul/jung/roof-1"), "{words}");
    assert!(words.contains("whole and right: 20 frames of 2 nodes"), "{words}");
    let json: serde_json::Value = serde_json::from_str(&in_json(&report)).unwrap();
    assert_eq!(json["verdict"], "whole");
    assert_eq!(json["nodes"][0]["runs"][1]["previous"]["last_seq"], 4);
    // Of the second run: the announcement and two readings before the fix, and the fix and two readings.
    let clock = json!({ "synced": 2, "free_running": 1, "unknown": 3, "dated": 3 });
    assert_eq!(json["nodes"][1]["runs"][1]["clock"], clock);
}

#[test]
fn a_file_of_nothing_is_whole() {
    assert_eq!(verdict(&[]), Verdict::Whole);
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let frames: Vec<Frame> = good().into_iter().take(4).collect();
    let whole = file(&frames);
    // A length has two bytes here: where the frames lie.
    let (mut at, mut inside) = (8, vec![false; whole.len()]);
    for frame in &frames {
        at += 2;
        inside[at..at + frame.bytes().len()].fill(true);
        at += frame.bytes().len();
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        // What is no .magpie file any more is an error.
        let Ok(report) = examine(changed.as_slice()) else { continue };
        assert_ne!(report.verdict(), Verdict::Whole, "byte {at}");
        assert!(!inside[at] || report.verdict() == Verdict::Wrong, "byte {at}: {report:?}");
    }
}

#[test]
fn a_removed_frame_leaves_a_hole_with_a_number() {
    let frames = good();
    let report = verify(&file(&without(&frames, 2)));
    assert_eq!(report.verdict(), Verdict::Incomplete);
    assert_eq!((report.runs[0].missing, &report.runs[0].holes[..]), (1, &[3..=3][..]));
    assert!(in_words(&report).join("\n").contains("missing: frame 3 of run 0101010101010101"), "{report:?}");
    // The last frame of a run is missed by the next run, and an announcement by those who refer to it.
    for index in [3, 0, 4] {
        assert_eq!(verdict(&without(&frames, index)), Verdict::Incomplete, "frame {index}");
    }
    // Any other by the count at the end, unless that is forged too: such a file only begins later, or ends earlier.
    let count = file(&frames)[file(&frames).len() - 1];
    for index in 0..frames.len() {
        let mut bytes = file(&without(&frames, index));
        *bytes.last_mut().unwrap() = count;
        assert_eq!(verify(&bytes).verdict(), Verdict::Incomplete, "frame {index}");
    }
}

#[test]
fn of_many_holes_the_first_are_named_and_no_more_are_claimed_than_there_are() {
    let missing = |holes: u64| {
        let mut node = Node { seed: 1, frames: Vec::new() };
        node.run(1, &[ClockState::SYNCED; 60], None);
        let frames: Vec<Frame> = node
            .frames
            .into_iter()
            .filter(|frame| frame.seq() % 2 == 0 || frame.seq() == 1 || frame.seq() / 2 > holes)
            .collect();
        verify(&file(&frames)).missing.shown[0].clone()
    };
    assert!(missing(16).starts_with("16 frames") && missing(16).ends_with(", 33"), "{}", missing(16));
    assert!(missing(17).starts_with("17 frames") && missing(17).ends_with(", 33 and more"), "{}", missing(17));
}

#[test]
fn a_reordered_file_is_wrong() {
    let frames = good();
    for one in 0..frames.len() {
        for other in one + 1..frames.len() {
            let mut swapped = frames.clone();
            swapped.swap(one, other);
            assert_eq!(verdict(&swapped), Verdict::Wrong, "{one} and {other}");
        }
    }
    let runs: Vec<&[Frame]> = frames.chunk_by(|one, next| one.epoch() == next.epoch()).collect();
    assert_eq!(verdict(&[runs[1], runs[0], runs[2], runs[3]].concat()), Verdict::Wrong, "runs of one node");
    assert_eq!(verdict(&[runs[2], runs[3], runs[0], runs[1]].concat()), Verdict::Wrong, "whole nodes");
}

#[test]
fn a_repeated_frame_is_wrong_wherever_it_stands() {
    let frames = good();
    for index in 0..=frames.len() {
        assert_eq!(verdict(&with(&frames, index, &frames[5])), Verdict::Wrong, "at {index}");
    }
    assert!(verify(&file(&with(&frames, 6, &frames[5]))).wrong.shown[0].contains("is there again"));
}

#[test]
fn a_frame_of_another_node_or_run_between_those_of_a_run_is_wrong() {
    let frames = good();
    let other = foreign();
    for (index, pair) in frames.windows(2).enumerate() {
        if (pair[0].node(), pair[0].epoch()) == (pair[1].node(), pair[1].epoch()) {
            assert_eq!(verdict(&with(&frames, index + 1, &other[1])), Verdict::Wrong, "behind {index}");
        }
    }
    let mut moved = frames.clone();
    let readings_of_the_second_run = moved.remove(6);
    moved.insert(2, readings_of_the_second_run);
    assert_eq!(verdict(&moved), Verdict::Wrong);
}

#[test]
fn a_run_that_is_not_there_is_missed_by_the_one_that_continues_it() {
    let mut node = Node::new(1);
    node.run(3, &[ClockState::SYNCED], None);
    let middle_left_out: Vec<Frame> =
        node.frames.iter().filter(|frame| frame.epoch() != Epoch([2; 8])).cloned().collect();
    let report = verify(&file(&middle_left_out));
    assert_eq!(report.verdict(), Verdict::Incomplete);
    assert!(report.missing.shown[0].starts_with("run 0202020202020202 of "), "{report:?}");
    // What came before the first run of a file is not in it, and need not be.
    assert_eq!(verdict(&node.frames[4..]), Verdict::Whole);
}

#[test]
fn a_run_that_names_none_before_it_leaves_open_what_lies_between() {
    let mut node = Node::new(1);
    let mut fresh = Node { seed: 1, frames: Vec::new() };
    fresh.run(9, &[ClockState::SYNCED], None);
    node.frames.append(&mut fresh.frames);
    let report = verify(&file(&node.frames));
    assert_eq!(report.verdict(), Verdict::Whole);
    let words = in_words(&report).join("\n");
    assert!(words.contains("unproven: run 0909090909090909 of ") && words.matches("unproven").count() == 1, "{words}");
}

#[test]
fn a_file_of_some_hours_may_begin_and_end_anywhere_and_be_explained_by_frames_from_elsewhere() {
    let second: Vec<Frame> = Node::new(1).frames.split_off(4);
    let pick = |seqs: &[usize]| seqs.iter().map(|seq| second[seq - 1].clone()).collect::<Vec<_>>();
    assert_eq!(verdict(&pick(&[1, 5, 6])), Verdict::Whole, "begins later");
    let ends_earlier = verify(&file(&pick(&[1, 2, 4])));
    assert_eq!(ends_earlier.verdict(), Verdict::Whole, "and has the fix that dates what it has");
    assert_eq!(ends_earlier.runs[0].clock.dated, 2);
    assert_eq!(verdict(&pick(&[1, 2, 4, 6])), Verdict::Incomplete, "a fix fills no hole");
}

#[test]
fn a_file_that_was_cut_off_is_right_as_far_as_it_goes() {
    let whole = file(&good());
    for length in (9..whole.len()).step_by(7) {
        assert_eq!(verify(&whole[..length]).verdict(), Verdict::Incomplete, "cut at {length}");
    }
}

#[test]
fn what_is_no_archive_is_an_error() {
    assert!(examine(&b"time,value\n"[..]).is_err());
    assert!(examine(&b""[..]).is_err());
}

/// What somebody may do to a file.
#[derive(Clone, Debug)]
enum Tampering {
    Flip { at: usize, bit: u8 },
    Overwrite { at: usize, bytes: Vec<u8> },
    Insert { at: usize, bytes: Vec<u8> },
    Cut { from: usize, length: usize },
    Swap { one: usize, other: usize },
    Repeat { frame: usize, at: usize },
    Splice { frame: usize, at: usize },
    Remove { frame: usize },
    Move { from: usize, length: usize, to: usize },
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let (at, bytes) = (any::<usize>(), proptest::collection::vec(any::<u8>(), 1..40));
    prop_oneof![
        (at, 0..8_u8).prop_map(|(at, bit)| Tampering::Flip { at, bit }),
        (at, bytes.clone()).prop_map(|(at, bytes)| Tampering::Overwrite { at, bytes }),
        (at, bytes).prop_map(|(at, bytes)| Tampering::Insert { at, bytes }),
        (at, 1..400_usize).prop_map(|(from, length)| Tampering::Cut { from, length }),
        (at, at).prop_map(|(one, other)| Tampering::Swap { one, other }),
        (at, at).prop_map(|(frame, at)| Tampering::Repeat { frame, at }),
        (at, at).prop_map(|(frame, at)| Tampering::Splice { frame, at }),
        at.prop_map(|frame| Tampering::Remove { frame }),
        (at, 1..8_usize, at).prop_map(|(from, length, to)| Tampering::Move { from, length, to }),
    ]
}

/// The file afterwards. Whoever changes which frames there are also makes the end fit, but for what is left out: see
/// `a_removed_frame_leaves_a_hole_with_a_number`.
fn tampered(frames: &[Frame], tampering: &Tampering) -> Vec<u8> {
    let (whole, count) = (file(frames), frames.len());
    let (mut bytes, mut moved) = (whole.clone(), frames.to_vec());
    match tampering {
        Tampering::Flip { at, bit } => bytes[at % whole.len()] ^= 1 << bit,
        Tampering::Overwrite { at, bytes: new } => {
            let at = at % whole.len();
            let end = (at + new.len()).min(whole.len());
            bytes[at..end].copy_from_slice(&new[..end - at]);
        }
        Tampering::Insert { at, bytes: new } => {
            drop(bytes.splice(at % (whole.len() + 1)..at % (whole.len() + 1), new.clone()))
        }
        Tampering::Cut { from, length } => {
            let from = from % whole.len();
            bytes.drain(from..(from + length).min(whole.len()));
        }
        Tampering::Swap { one, other } => {
            moved.swap(one % count, other % count);
            bytes = file(&moved);
        }
        Tampering::Repeat { frame, at } => bytes = file(&with(frames, at % (count + 1), &frames[frame % count])),
        Tampering::Splice { frame, at } => {
            // Readings, that nobody can read alone.
            let foreign = foreign();
            bytes = file(&with(frames, at % (count + 1), &foreign[[1, 2, 3, 5, 6][frame % 5]]));
        }
        Tampering::Remove { frame } => {
            bytes = file(&without(frames, frame % count));
            *bytes.last_mut().unwrap() = u8::try_from(count).unwrap();
        }
        Tampering::Move { from, length, to } => {
            let from = from % count;
            let part: Vec<Frame> = moved.drain(from..(from + length).min(count)).collect();
            let to = to % (moved.len() + 1);
            moved.splice(to..to, part);
            bytes = file(&moved);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_file_that_was_tampered_with_never_passes_for_whole(tampering in tampering()) {
        let frames = good();
        let bytes = tampered(&frames, &tampering);
        prop_assume!(bytes != file(&frames));
        if let Ok(report) = examine(bytes.as_slice()) {
            prop_assert!(report.verdict() != Verdict::Whole, "{:?}", report);
        }
    }
}
