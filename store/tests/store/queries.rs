//! What was appended is read again, once, in order.

use std::ops::RangeInclusive;

use reading::{Author, BootId, ClockState, Epoch, Frame, Kind, NodeKey, Payload};
use store::{Store, StoreError};

use crate::{BOOT_US, Folder, Node};

fn seqs(store: &Store, node: &Node, seqs: RangeInclusive<u64>, max_bytes: usize) -> (Vec<u64>, bool, u64) {
    let batch = store.range(node.author.node(), node.author.epoch(), seqs, max_bytes).unwrap();
    assert!(batch.damaged.is_empty());
    (batch.frames.iter().map(Frame::seq).collect(), batch.more, batch.next_seq)
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    let frames = node.frames(100);
    let (key, epoch) = (node.author.node(), node.author.epoch());
    let mut store = folder.open();
    assert_eq!(store.next_seq(key, epoch).unwrap(), 1);
    assert_eq!(store.append(&frames[..60]).unwrap(), 60);
    assert_eq!(store.unsynced(), 60);
    store.sync().unwrap();
    assert_eq!(store.unsynced(), 0);
    // The same again, and more: each is kept once.
    assert_eq!(store.append(&frames).unwrap(), 40);
    assert_eq!(store.append(&frames).unwrap(), 0);
    drop(store);

    let store = folder.open();
    assert_eq!(store.frames(), 100);
    assert_eq!(store.nodes().unwrap(), [key]);
    assert_eq!(store.last_seq(key, epoch).unwrap(), 100);
    assert_eq!(store.range(key, epoch, 1..=u64::MAX, usize::MAX).unwrap().frames, frames);
    assert_eq!(store.get(node.id(42)).unwrap().as_ref(), Some(&frames[41]));
    assert_eq!(store.get(node.id(101)).unwrap(), None);
    assert_eq!(store.get(node.id(u64::MAX)).unwrap(), None);
}

#[test]
fn a_range_comes_in_batches_that_always_get_on() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut node = Node::new(1, 1);
    let frames = node.frames(10);
    store.append(&frames).unwrap();
    let size = frames[9].bytes().len();
    assert_eq!(seqs(&store, &node, 5..=9, 3 * size), (vec![5, 6, 7], true, 8));
    assert_eq!(seqs(&store, &node, 8..=9, 3 * size), (vec![8, 9], false, 10));
    assert_eq!(seqs(&store, &node, 5..=9, 1), (vec![5], true, 6));
    assert_eq!(seqs(&store, &node, 10..=u64::MAX, 1), (vec![10], false, u64::MAX));
    assert_eq!(seqs(&store, &node, 11..=u64::MAX, 1).0, Vec::<u64>::new());
    assert_eq!(seqs(&store, &node, 0..=1, 0).0, [1]);
    #[expect(clippy::reversed_empty_ranges)]
    let backwards = 9..=5;
    assert_eq!(seqs(&store, &node, backwards, 1000).0, Vec::<u64>::new());
    assert_eq!(seqs(&store, &Node::new(2, 1), 1..=9, 1000).0, Vec::<u64>::new());
}

#[test]
fn epochs_tell_what_is_there_and_what_is_missing() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut first = Node::new(1, 1);
    let frames = first.frames(3000);
    let missing = |frame: &&Frame| !(1000..1007).contains(&frame.seq());
    let held: Vec<Frame> = frames.iter().filter(missing).cloned().collect();
    for part in held.chunks(700) {
        store.append(part).unwrap();
    }
    let mut second = Node::new(1, 2);
    store.append(&second.frames(2)).unwrap();
    let key = first.author.node();
    let ranges = store.epochs(key).unwrap();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[0].epoch, Epoch([1; 8]));
    assert_eq!((ranges[0].first_seq, ranges[0].last_seq, ranges[0].frames, ranges[0].gone_to), (1, 3000, 2993, 0));
    assert_eq!((ranges[1].first_seq, ranges[1].last_seq, ranges[1].frames), (1, 2, 2));
    assert_eq!(store.latest_epoch(key).unwrap(), Some((Epoch([2; 8]), 2)));
    assert_eq!(store.latest_epoch(Node::new(9, 1).author.node()).unwrap(), None);
    // What was missing comes late.
    assert_eq!(store.append(&frames).unwrap(), 7);
    assert_eq!(store.epochs(key).unwrap()[0].frames, 3000);
    assert_eq!(store.frames(), 3002);
    drop(store);
    assert_eq!(folder.open().frames(), 3002);
}

#[test]
fn frames_of_unknown_kinds_are_kept_like_any_other() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut node = Node::new(1, 1);
    let frame = node.sign(&Payload::Unknown(Kind(4711), [1, 2, 3].into()));
    let large = node.sign(&Payload::Unknown(Kind(4711), vec![7; 8000].into()));
    store.append(&[frame.clone(), large.clone()]).unwrap();
    assert_eq!(store.get(frame.id()).unwrap(), Some(frame));
    assert_eq!(store.get(large.id()).unwrap(), Some(large));
}

#[test]
fn an_identity_is_kept_once_even_if_its_author_used_it_twice() {
    let folder = Folder::new();
    let mut store = folder.open();
    let announcement = Node::new(1, 1).announcement();
    let readings = Node::new(1, 1).readings(1);
    assert_eq!(announcement.id(), readings.id());
    assert_eq!(store.append(&[readings.clone(), announcement.clone()]).unwrap(), 1);
    assert_eq!(store.get(readings.id()).unwrap(), Some(readings));
    assert_eq!(store.append(&[announcement]).unwrap(), 0);
    assert_eq!(store.epochs(Node::new(1, 1).author.node()).unwrap()[0].frames, 1);
}

#[test]
fn many_appends_in_one_transaction_are_counted_apart() {
    let folder = Folder::new();
    let mut store = folder.open();
    let (mut one, mut two) = (Node::new(1, 1), Node::new(2, 2));
    let (one, two) = (one.frames(3), two.frames(2));
    assert_eq!(store.append_batches(&[&one, &two, &one, &[]]).unwrap(), [3, 2, 0, 0]);
    assert_eq!(store.frames(), 5);
}

#[test]
fn a_time_is_found_in_the_run_that_it_falls_into() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut node = Node::new(1, 1);
    let frames = node.frames(500);
    // Holes must not lead the search astray.
    let held: Vec<Frame> = frames.iter().filter(|frame| frame.seq() % 7 != 3).cloned().collect();
    store.append(&held).unwrap();
    let key = node.author.node();
    for second in (-5..5010).step_by(11) {
        let time_us = BOOT_US + second * 1_000_000;
        let expected = held.iter().find(|frame| frame.stamp().time_us >= time_us).map(Frame::id);
        assert_eq!(store.first_at_or_after(key, time_us).unwrap(), expected, "{second}");
    }
    assert_eq!(store.first_at_or_after(key, i64::MIN).unwrap(), Some(node.id(1)));
    assert_eq!(store.first_at_or_after(key, i64::MAX).unwrap(), None);
    assert_eq!(store.first_at_or_after(Node::new(2, 1).author.node(), 0).unwrap(), None);
}

#[test]
fn frames_from_before_the_clock_was_set_are_found_by_their_true_time() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut node = Node::new(1, 1);
    node.clock = ClockState::UNKNOWN;
    let early = node.frames(50);
    assert!(early.iter().all(|frame| frame.stamp().time_us == 0));
    store.append(&early).unwrap();
    // As long as the clock is not set, the whole run may be what is asked for.
    assert_eq!(store.first_at_or_after(early[0].node(), BOOT_US).unwrap(), Some(node.id(1)));
    node.clock = ClockState::SYNCED;
    store.append(&[node.readings(1)]).unwrap();
    // Frame n was made 10 n seconds after the boot, whatever its clock said.
    assert_eq!(store.first_at_or_after(early[0].node(), BOOT_US + 200_000_000).unwrap(), Some(node.id(20)));
}

#[test]
fn a_run_that_ended_before_the_clock_was_set_is_dated_by_a_later_one_of_its_boot() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut first = Node::new(1, 1);
    first.clock = ClockState::UNKNOWN;
    let early = first.frames(50);
    // The program was restarted, the machine was not.
    let (boot, key) = (BootId([1; 8]), NodeKey::from_seed([1; 32]));
    let mut second = Node { author: Author::new(key, Epoch([2; 8]), boot), ..first };
    second.clock = ClockState::SYNCED;
    let late = second.frames(50);
    store.append(&early).unwrap();
    store.append(&late).unwrap();
    let find = |second: i64| store.first_at_or_after(early[0].node(), BOOT_US + second * 1_000_000).unwrap();
    assert_eq!(find(0), Some(early[0].id()));
    assert_eq!(find(205), Some(early[20].id()));
    assert_eq!(find(505), Some(late[0].id()));
    assert_eq!(find(1000), Some(late[49].id()));
    assert_eq!(find(1001), None);
}

#[test]
fn runs_that_came_late_are_searched_by_time_and_not_by_arrival() {
    let folder = Folder::new();
    let mut store = folder.open();
    let mut yesterday = Node::new(1, 1);
    let mut today = Node::new(1, 2);
    let old = yesterday.frames(10);
    today.uptime_ms = 86_400_000;
    let new = today.frames(10);
    store.append(&new).unwrap();
    store.append(&old).unwrap();
    let key = new[0].node();
    let find = |time_us| store.first_at_or_after(key, time_us).unwrap();
    assert_eq!(find(BOOT_US + 50_000_000), Some(old[4].id()));
    assert_eq!(find(BOOT_US + 3_600_000_000), Some(new[0].id()));
    assert_eq!(find(BOOT_US + 86_400_000_000 + 35_000_000), Some(new[3].id()));
}

#[test]
fn a_number_beyond_the_store_is_refused_and_named() {
    // Signing 2^36 frames takes too long; the limit is what a key can hold.
    let error = StoreError::SeqTooLarge(Node::new(1, 1).id(1 << 36));
    assert!(!error.is_transient());
    assert!(error.to_string().ends_with("/68719476736 has a number beyond what a store can hold"), "{error}");
}
