//! A disk that fails: at one write, at every one, for want of room, or by not being there. What was stored stays, and when it is over,
//! the store goes on by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use fuser::Errno;
use reading::Frame;
use store::{Options, Store, StoreError, StoreHandle};

use crate::Node;
use crate::disk::{Disk, Fault, store_on};
use crate::tail::in_memory;

const QUICK: Options = Options { max_bytes: u64::MAX, sync_interval: Duration::from_millis(10) };

fn held(store: &Store, node: &Node) -> Vec<Frame> {
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).unwrap();
    assert!(batch.damaged.is_empty() && !batch.more);
    batch.frames
}

/// Without looking at each.
fn count(store: &Store, node: &Node) -> u64 {
    store.epochs(node.author.node()).unwrap().first().map_or(0, |range| range.frames)
}

fn open(disk: &Disk, memory: Option<&Path>) -> Result<Store, StoreError> {
    let mut store = Store::open(&store_on(disk), Options::default())?;
    if let Some(memory) = memory {
        store.keep_tail(memory)?;
    }
    Ok(store)
}

/// Tries until it goes well. The faults of these tests end.
fn at_last<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> T {
    for _ in 0..20 {
        match attempt() {
            Ok(done) => return done,
            // What a user is told names the disk, and no damage.
            Err(error) => assert!(!error.is_damaged(), "{error}"),
        }
    }
    panic!("still fails after the fault is over: {:?}", attempt().err())
}

/// A store's life in which so many changes of the disk fail from some point on; says how many did.
fn live_with(fault: Fault, tail: bool) -> u64 {
    let (disk, memory) = (Disk::new(), in_memory());
    let memory = tail.then_some(memory.path());
    let mut node = Node::new(1, 1);
    let frames = node.frames(24);
    disk.set_fault(Some(fault));
    let mut store = at_last(|| open(&disk, memory));
    for (number, part) in frames.chunks(3).enumerate() {
        // What is refused is not there, and what is stored is, whatever happens next.
        let before = store.frames();
        at_last(|| store.append(part).inspect_err(|_| assert_eq!(count(&store, &node), before)));
        assert_eq!(count(&store, &node), 3 * (number as u64 + 1), "{fault:?}");
        if number % 3 == 2 {
            at_last(|| store.sync());
        }
    }
    // A process that is killed, and one that ends in order.
    drop(store);
    let mut store = at_last(|| open(&disk, memory));
    assert_eq!(held(&store, &node), frames, "{fault:?}");
    let last = node.readings(1);
    at_last(|| store.append(std::slice::from_ref(&last)));
    let _ = store.close();
    disk.set_fault(None);
    let store = open(&disk, memory).unwrap();
    assert_eq!(held(&store, &node), [frames, vec![last]].concat(), "{fault:?}");
    disk.failures()
}

fn fail_at_every_change(errno: Errno, tail: bool) {
    for failing in [1, 4] {
        let mut after = 0;
        while live_with(Fault::Changes { after, failing, errno }, tail) > 0 {
            after += if failing == 1 { 1 } else { 3 };
        }
        assert!(after > 40, "{after}");
    }
}

#[test]
fn an_input_output_error_at_any_change_costs_nothing() {
    fail_at_every_change(Errno::EIO, false);
    fail_at_every_change(Errno::EIO, true);
}

#[test]
fn no_room_for_any_change_costs_nothing() {
    fail_at_every_change(Errno::ENOSPC, false);
}

#[test]
fn a_disk_that_became_read_only_at_any_change_costs_nothing() {
    fail_at_every_change(Errno::EROFS, false);
}

#[tokio::test]
async fn while_nothing_works_each_append_says_so_and_then_it_goes_on() {
    let disk = Disk::new();
    let mut node = Node::new(1, 1);
    let frames = node.frames(4);
    let store = StoreHandle::spawn(Store::open(&store_on(&disk), QUICK).unwrap()).unwrap();
    store.append(frames.clone()).await.unwrap();
    for errno in [Errno::EIO, Errno::EROFS, Errno::ENODEV] {
        disk.set_fault(Some(Fault::Everything(errno)));
        let error = store.append(vec![node.readings(1)]).await.unwrap_err();
        assert!(!error.is_damaged(), "{error}");
        assert_eq!(store.stats().last_error, Some(error));
        disk.set_fault(None);
        store.append(vec![node.readings(1)]).await.unwrap();
        store.sync().await.unwrap();
        assert_eq!(store.stats().last_error, None);
    }
    store.close().await.unwrap();
    let store = open(&disk, None).unwrap();
    assert_eq!(held(&store, &node).iter().map(Frame::seq).collect::<Vec<_>>(), [1, 2, 3, 4, 6, 8, 10]);
}

#[test]
fn on_a_full_disk_the_store_goes_on_in_the_room_that_it_has() {
    for tail in [false, true] {
        let (disk, memory) = (Disk::new(), in_memory());
        let memory = tail.then_some(memory.path());
        let mut node = Node::new(1, 1);
        let mut store = open(&disk, memory).unwrap();
        store.append(&node.frames(1500)).unwrap();
        store.sync().unwrap();
        disk.fill_up();
        for number in 0..1000 {
            store.append(&(0..4).map(|_| node.readings(1)).collect::<Vec<_>>()).unwrap();
            if number % 10 == 9 {
                store.sync().unwrap();
            }
        }
        let kept = held(&store, &node);
        assert_eq!((kept[0].seq(), kept[kept.len() - 1].seq()), (1, 5500));
        assert!((1000..5000).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.len() as u64, store.frames());
        // Another process goes on as well.
        drop(store);
        let mut store = open(&disk, memory).unwrap();
        for _ in 0..1000 {
            store.append(&[node.readings(1)]).unwrap();
        }
        store.sync().unwrap();
        let before = store.frames();
        assert!(before > 1000, "{before}");
        // And with room again it grows again, as soon as the log is carried over.
        disk.set_capacity(None);
        for _ in 0..1000 {
            store.append(&(0..4).map(|_| node.readings(1)).collect::<Vec<_>>()).unwrap();
        }
        store.sync().unwrap();
        assert!(store.frames() > before + 2000, "{before} {}", store.frames());
        assert_eq!(held(&store, &node).len() as u64, store.frames());
    }
}

#[test]
fn while_the_file_cannot_be_written_the_log_grows_to_its_end_and_no_further() {
    let disk = Disk::new();
    let mut node = Node::new(1, 1);
    let mut store = open(&disk, None).unwrap();
    store.append(&node.frames(1)).unwrap();
    let fault = Fault::Write { name: "frames.db", errno: Errno::EIO };
    disk.set_fault(Some(fault));
    let mut stored = 1;
    let (refused, error) = loop {
        let frame = node.readings(1);
        match store.append(std::slice::from_ref(&frame)) {
            Ok(_) => stored += 1,
            Err(error) => break (frame, error),
        }
        assert!(stored < 10_000, "the log has no end");
    };
    assert!(stored > 1000 && matches!(error, StoreError::Disk { .. }) && !error.is_damaged(), "{stored} {error}");
    let log_bytes = std::fs::metadata(disk.path().join("frames.db-wal")).unwrap().len();
    assert!((4_000_000..5_000_000).contains(&log_bytes), "{log_bytes}");
    // Tried now and then, not at each append.
    assert!(disk.failures() < 100, "{}", disk.failures());
    // What is stored can be made safe all the same, and it is said that not all is well.
    assert_eq!((store.sync(), store.unsynced()), (Err(error), 0));

    disk.set_fault(None);
    store.append(&[refused]).unwrap();
    store.sync().unwrap();
    store.close().unwrap();
    let store = open(&disk, None).unwrap();
    assert_eq!((store.frames(), count(&store, &node)), (stored + 1, stored + 1));
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "not {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_disk_that_was_pulled_out_is_said_and_gone_on_with_when_it_is_back() {
    let (disk, memory) = (Disk::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(12);
    let options = Options { sync_interval: Duration::from_millis(500), ..QUICK };
    let mut store = Store::open(&store_on(&disk), options).unwrap();
    store.keep_tail(memory.path()).unwrap();
    let store = StoreHandle::spawn(store).unwrap();
    store.append(frames[..5].to_vec()).await.unwrap();
    store.sync().await.unwrap();
    let names = disk.pull_out();
    // Nobody knows yet; the tail has them.
    store.append(frames[5..8].to_vec()).await.unwrap();
    let gone = StoreError::Gone { path: store_on(&disk) };
    until("said", || store.stats().last_error == Some(gone.clone())).await;
    assert!(gone.is_transient() && !gone.is_damaged());
    assert_eq!(store.append(frames[8..].to_vec()).await, Err(gone.clone()));
    assert_eq!(store.get(node.id(1)).await, Err(gone.clone()));
    assert_eq!(store.sync().await, Err(gone));
    assert!(std::fs::read_dir(disk.path()).unwrap().next().is_none(), "no new store hides that the old one is gone");

    disk.put_back(&names);
    until("back", || store.stats().last_error.is_none()).await;
    assert_eq!(store.append(frames[8..].to_vec()).await, Ok(4));
    assert_eq!(store.range(node.author.node(), node.author.epoch(), 1..=99, usize::MAX).await.unwrap().frames, frames);
    store.close().await.unwrap();
    assert_eq!(held(&open(&disk, None).unwrap(), &node), frames);
}

#[tokio::test]
async fn another_disk_in_its_place_is_not_written_to_by_what_is_left_of_the_first() {
    let disk = Disk::new();
    let (mut node, mut other) = (Node::new(1, 1), Node::new(2, 1));
    let store = StoreHandle::spawn(Store::open(&store_on(&disk), QUICK).unwrap()).unwrap();
    store.append(node.frames(5)).await.unwrap();
    store.sync().await.unwrap();
    // The other store was in use when its machine was switched off: its log has what its file has not.
    let elsewhere = Disk::new();
    let mut second = open(&elsewhere, None).unwrap();
    second.append(&other.frames(7)).unwrap();
    disk.pull_out();
    for file in ["frames.db", "frames.db-wal"] {
        std::fs::copy(elsewhere.path().join(file), disk.path().join(file)).unwrap();
    }
    // What the first had not synced went with it.
    store.append(vec![node.readings(1)]).await.unwrap();
    until("said", || matches!(store.stats().last_error, Some(StoreError::Gone { .. })) || store.stats().frames == 7)
        .await;
    until("gone on with", || store.stats().frames == 7).await;
    assert_eq!(store.append(vec![other.readings(1)]).await, Ok(1));
    store.close().await.unwrap();
    let store = open(&disk, None).unwrap();
    assert_eq!((held(&store, &other).len(), held(&store, &node).len()), (8, 0));
}

#[test]
fn a_damaged_store_is_set_aside_and_the_larger_of_two_is_kept() {
    let disk = Disk::new();
    let (path, aside) = (store_on(&disk), disk.path().join("frames.db.damaged"));
    for (frames, kept) in [(50, 50), (400, 400), (5, 400), (600, 600)] {
        let mut store = open(&disk, None).unwrap();
        assert_eq!(store.frames(), 0, "a new store");
        store.append(&Node::new(1, 1).frames(frames)).unwrap();
        store.close().unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 512]).unwrap();
        let error = open(&disk, None).unwrap_err();
        assert!(error.is_damaged(), "{error}");
        assert_eq!(Store::set_aside(&path).unwrap(), aside);
        assert!(!path.exists());
        let bytes = std::fs::metadata(&aside).unwrap().len();
        assert!((bytes as f64 / kept as f64 - 160.0).abs() < 100.0, "{bytes} bytes of {kept} frames");
    }
    // A log that lost its file is set aside, and the file that was set aside before stays.
    std::fs::write(disk.path().join("frames.db-wal"), vec![1; 4000]).unwrap();
    assert!(open(&disk, None).unwrap_err().is_damaged());
    Store::set_aside(&path).unwrap();
    assert!(open(&disk, None).is_ok() && aside.exists() && disk.path().join("frames.db.damaged-wal").exists());
}

#[tokio::test]
async fn a_store_that_turns_out_to_be_damaged_in_use_makes_way_for_a_new_one() {
    let (disk, memory) = (Disk::new(), in_memory());
    let mut node = Node::new(1, 1);
    // More than SQLite keeps in memory, and full: each append removes some of the oldest.
    let options = Options { max_bytes: 900_000, ..Options::default() };
    let mut store = Store::open(&store_on(&disk), options).unwrap();
    for frames in node.frames(7000).chunks(500) {
        store.append(frames).unwrap();
    }
    store.sync().unwrap();
    store.keep_tail(memory.path()).unwrap();
    let store = StoreHandle::spawn(store).unwrap();
    let bytes = std::fs::metadata(store_on(&disk)).unwrap().len() as usize;
    let file = std::fs::OpenOptions::new().write(true).open(store_on(&disk)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xff; bytes - 1024], 1024).unwrap();
    let mut stored = Vec::new();
    let (refused, error) = loop {
        let frame = node.readings(1);
        match store.append(vec![frame.clone()]).await {
            Ok(_) => stored.push(frame),
            Err(error) => break (frame, error),
        }
        assert!(stored.len() < 1000, "the damage is never met");
    };
    assert!(error.is_damaged(), "{error}");
    let aside = store.set_aside().await.unwrap();
    assert_eq!(std::fs::metadata(&aside).unwrap().len() as usize, bytes);
    assert_eq!(store.append(vec![refused.clone()]).await, Ok(1));
    store.sync().await.unwrap();
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).await.unwrap();
    // What was in the tail came over.
    assert_eq!(batch.frames, [stored, vec![refused]].concat());
    assert_eq!(store.stats().last_error, None);
}
