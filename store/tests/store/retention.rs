//! The oldest leave first, and announcements that are still referred to stay.

use std::time::Duration;

use reading::{ClockState, Frame, Kind, Payload};
use store::{Options, Store};

use crate::{Folder, Node};

const SMALL: Options = Options { max_bytes: 64 * 1024, sync_interval: Duration::from_secs(60) };

fn held(store: &Store, node: &Node) -> Vec<Frame> {
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).unwrap();
    assert!(batch.damaged.is_empty() && !batch.more);
    batch.frames
}

/// Every readings frame can still be understood.
fn assert_described(frames: &[Frame]) {
    for frame in frames {
        if let Payload::Readings(readings) = frame.payload().unwrap() {
            let announcement = frames.iter().find(|frame| frame.seq() == readings.announcement);
            assert_eq!(announcement.map(Frame::kind), Some(Kind::ANNOUNCEMENT), "of frame {}", frame.seq());
        }
    }
}

#[test]
fn a_full_store_keeps_the_newest_and_their_announcements() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    let mut node = Node::new(1, 1);
    let first = node.frames(500);
    for frame in &first {
        store.append(std::slice::from_ref(frame)).unwrap();
    }
    let frames = held(&store, &node);
    assert!(frames.len() < 450 && frames.len() > 200, "{}", frames.len());
    assert_eq!((frames[0].seq(), frames.last().unwrap().seq()), (1, 500));
    assert_described(&frames);
    // All between the announcement and the cut is gone, and nothing after it.
    let range = store.epochs(node.author.node()).unwrap()[0];
    assert_eq!(range.gone_to + 1, frames[1].seq());
    assert_eq!(range.frames, frames.len() as u64);
    assert_eq!(store.frames(), frames.len() as u64);
    assert_eq!(frames.len() as u64, 1 + 500 - range.gone_to);

    // The node changes, and tells so: the first announcement leaves when the last frame that it describes has left.
    let second = node.announcement();
    store.append(std::slice::from_ref(&second)).unwrap();
    let mut dropped = false;
    for _ in 0..40 {
        store.append(&(0..15).map(|_| node.readings(second.seq())).collect::<Vec<_>>()).unwrap();
        let frames = held(&store, &node);
        let needed =
            frames.iter().any(|frame| matches!(frame.payload(), Ok(Payload::Readings(r)) if r.announcement == 1));
        dropped |= frames[0].seq() != 1;
        assert_described(&frames);
        assert!(!dropped || !needed);
    }
    assert!(dropped);
    assert_eq!(store.append(&first[1..40]).unwrap(), 0, "what retention took does not come back");
    let bytes = std::fs::metadata(folder.path()).unwrap().len();
    assert!(bytes <= SMALL.max_bytes + 16 * 512, "{bytes}");
    assert!(store.bytes_on_disk() < SMALL.max_bytes + 300 * 1024);
    drop(store);
    let store = Store::open(&folder.path(), SMALL).unwrap();
    assert_eq!(store.frames(), held(&store, &node).len() as u64);
}

#[test]
fn late_references_to_an_older_announcement_are_kept_too() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    let mut node = Node::new(1, 1);
    let mut announcement = node.announcement().seq();
    let mut frames = vec![Node::new(1, 1).announcement()];
    for i in 1..1500 {
        if i % 50 == 0 {
            let next = node.announcement();
            // Three frames were made before it took effect.
            let late: Vec<Frame> = (0..3).map(|_| node.readings(announcement)).collect();
            announcement = next.seq();
            frames.push(next);
            frames.extend(late);
        }
        frames.push(node.readings(announcement));
    }
    for (number, part) in frames.chunks(7).enumerate() {
        store.append(part).unwrap();
        if number % 6 == 0 {
            assert_described(&held(&store, &node));
        }
    }
    let kept = held(&store, &node).iter().filter(|frame| frame.kind() == Kind::ANNOUNCEMENT).count();
    assert!(kept < 12, "{kept} announcements");
}

#[test]
fn the_oldest_of_all_nodes_leave_first_and_a_quiet_node_is_remembered() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    let mut quiet = Node::new(1, 1);
    store.append(&quiet.frames(20)).unwrap();
    let (mut long, mut busy) = (Node::new(2, 1), Node::new(3, 1));
    store.append(&long.frames(10)).unwrap();
    store.append(&busy.frames(10)).unwrap();
    for _ in 0..400 {
        store.append(&[busy.readings(1), busy.readings(1), busy.readings(1)]).unwrap();
        store.append(&[long.readings(1)]).unwrap();
    }
    // The two that go on have lost what is equally old; the quiet one has lost everything.
    assert_eq!(held(&store, &quiet), []);
    assert_eq!(store.epochs(quiet.author.node()).unwrap(), []);
    assert_eq!(store.latest_epoch(quiet.author.node()).unwrap(), Some((quiet.author.epoch(), 20)));
    let (long_held, busy_held) = (held(&store, &long), held(&store, &busy));
    assert_described(&long_held);
    assert_described(&busy_held);
    let share = busy_held.len() as f64 / long_held.len() as f64;
    assert!((2.0..4.5).contains(&share), "{share}");
    assert_eq!(store.frames(), (long_held.len() + busy_held.len()) as u64);
    // Restarts leave no rows behind.
    for epoch in 2..200 {
        store.append(&Node::new(4, epoch).frames(10)).unwrap();
    }
    assert!(store.epochs(Node::new(4, 1).author.node()).unwrap().len() < 60);
}

#[test]
fn a_store_that_was_made_smaller_shrinks_bit_by_bit() {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    let mut store = folder.open();
    store.append(&node.frames(3000)).unwrap();
    drop(store);
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    let mut last = store.frames();
    for _ in 0..15 {
        store.append(&[node.readings(1)]).unwrap();
        assert!(last.saturating_sub(store.frames()) <= 300);
        last = store.frames();
    }
    assert!(last < 450, "{last}");
    assert_described(&held(&store, &node));
}

#[test]
fn a_new_run_is_younger_than_one_that_was_just_counted() {
    let folder = Folder::new();
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    let (mut before, mut after) = (Node::new(1, 1), Node::new(1, 2));
    // The run is counted when it has 1024 frames, and ends with that.
    for frames in before.frames(1024).chunks(8) {
        store.append(frames).unwrap();
    }
    drop(store);
    let mut store = Store::open(&folder.path(), SMALL).unwrap();
    for frame in after.frames(100) {
        store.append(&[frame]).unwrap();
    }
    assert_eq!(held(&store, &after).len(), 100);
    assert!(held(&store, &before).len() < 400);
}

/// Ten seconds from frame to frame.
const HOUR: usize = 360;

#[test]
fn what_is_too_old_leaves_by_its_own_nodes_clock() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.limit_age(Duration::from_secs(3600));
    let (mut quiet, mut node) = (Node::new(2, 1), Node::new(1, 1));
    store.append(&quiet.frames(50)).unwrap();
    let mut frames = node.frames(5 * HOUR);
    for part in frames.chunks(4) {
        store.append(part).unwrap();
    }
    let kept = held(&store, &node);
    // And the announcement, which they refer to.
    assert!((HOUR..HOUR + 60).contains(&kept.len()), "{}", kept.len());
    assert_eq!((kept[0].seq(), kept.last().unwrap().seq()), (1, 5 * HOUR as u64));
    assert_described(&kept);
    assert_eq!(held(&store, &quiet).len(), 50);
    assert_eq!(store.frames(), 50 + kept.len() as u64);

    // A clock that was never set tells nobody's time, and what came before it was is dated when it is.
    let mut restarted = Node::new(1, 2);
    restarted.uptime_ms = node.uptime_ms;
    restarted.clock = ClockState::UNKNOWN;
    frames = restarted.frames(2 * HOUR);
    restarted.clock = ClockState::SYNCED;
    frames.extend((0..8).map(|_| restarted.readings(1)));
    let (before, after) = frames.split_at(2 * HOUR);
    for part in before.chunks(4) {
        store.append(part).unwrap();
    }
    assert_eq!((held(&store, &node).len(), held(&store, &restarted).len()), (kept.len(), 2 * HOUR));
    for frame in after {
        store.append(std::slice::from_ref(frame)).unwrap();
    }
    let kept = held(&store, &restarted);
    assert!(held(&store, &node).is_empty() && (HOUR..HOUR + 60).contains(&kept.len()), "{}", kept.len());
    assert_described(&kept);
}

#[test]
fn a_run_that_never_knew_the_time_leaves_with_the_one_after_it() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.limit_age(Duration::from_secs(3600));
    let mut lost = Node::new(1, 1);
    lost.clock = ClockState::UNKNOWN;
    store.append(&lost.frames(100)).unwrap();
    let mut node = Node::new(1, 2);
    for part in node.frames(HOUR).chunks(4) {
        store.append(part).unwrap();
    }
    assert_eq!((held(&store, &lost).len(), held(&store, &node).len()), (100, HOUR));
    for _ in 0..60 {
        store.append(&[node.readings(1)]).unwrap();
    }
    assert_eq!(held(&store, &lost), []);
    assert!(held(&store, &node).len() > HOUR - 40);
}
