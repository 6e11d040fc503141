//! With a tail, frames reach the disk only when it is synced, and no death of the process takes one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reading::Frame;
use store::{Options, Store, StoreError, StoreHandle};
use tempfile::TempDir;

use crate::full_disk::SmallDisk;
use crate::{Folder, Node};

/// A directory in memory.
pub fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(folder: &Folder, memory: &Path) -> Store {
    let mut store = folder.open();
    store.keep_tail(memory).unwrap();
    store
}

fn held(store: &Store, node: &Node) -> Vec<Frame> {
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).unwrap();
    assert!(batch.damaged.is_empty() && !batch.more);
    batch.frames
}

/// The only file in a directory.
fn tail(memory: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(memory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn log_bytes(folder: &Folder) -> u64 {
    fs::metadata(folder.path().with_extension("db-wal")).unwrap().len()
}

#[test]
fn the_disk_is_left_alone_until_the_sync_and_a_kill_takes_nothing() {
    let (folder, memory) = (Folder::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(30);
    let mut store = open(&folder, memory.path());
    let log_before = log_bytes(&folder);
    for frame in &frames {
        assert_eq!(store.append(std::slice::from_ref(frame)).unwrap(), 1);
        assert_eq!(store.append(std::slice::from_ref(frame)).unwrap(), 0);
    }
    assert_eq!(log_bytes(&folder), log_before);
    // They are there for whoever asks.
    assert_eq!((store.frames(), store.unsynced()), (30, 30));
    assert_eq!(held(&store, &node), frames);
    assert_eq!(store.epochs(node.author.node()).unwrap()[0].frames, 30);
    // What is open is lost with the process; nothing else happens here.
    drop(store);
    assert_eq!(folder.open().frames(), 0);

    let mut store = open(&folder, memory.path());
    assert_eq!((store.frames(), store.unsynced()), (30, 0));
    assert_eq!(held(&store, &node), frames);
    assert_eq!(fs::metadata(tail(memory.path())).unwrap().len(), 0);
    store.append(&[node.readings(1)]).unwrap();
    store.close().unwrap();
    assert_eq!(folder.open().frames(), 31);
}

#[test]
fn killed_between_any_two_steps_of_a_sync_each_frame_is_there_once() {
    let (folder, memory) = (Folder::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(9);
    let mut store = open(&folder, memory.path());
    store.append(&frames[..3]).unwrap();
    store.sync().unwrap();
    store.append(&frames[3..]).unwrap();
    let (path, log) = (folder.path(), folder.path().with_extension("db-wal"));
    let read = || (fs::read(&path).unwrap(), fs::read(&log).unwrap(), fs::read(tail(memory.path())).unwrap());
    let (before, log_before, tail_before) = read();
    store.sync().unwrap();
    let (after, log_after, tail_after) = read();
    assert!(log_after.len() > log_before.len() && tail_after.is_empty() && before == after);
    let name = tail(memory.path());
    drop(store);

    // While the transaction is written, the log ends somewhere; from the commit on until it is emptied, both have the frames.
    let cuts = (log_before.len()..log_after.len()).step_by(97).chain([log_after.len()]);
    for (log_bytes, tail_bytes) in
        cuts.map(|cut| (&log_after[..cut], &tail_before)).chain([(log_after.as_slice(), &tail_after)])
    {
        fs::write(&path, &before).unwrap();
        fs::write(&log, log_bytes).unwrap();
        fs::write(&name, tail_bytes).unwrap();
        let store = open(&folder, memory.path());
        assert_eq!((store.frames(), held(&store, &node)), (9, frames.clone()));
        drop(store);
        assert_eq!(folder.open().frames(), 9, "in the log, not only in the tail");
    }
}

#[test]
fn a_tail_cut_anywhere_gives_what_was_whole_and_goes_on() {
    let (folder, memory) = (Folder::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(4);
    let mut store = open(&folder, memory.path());
    for frame in &frames {
        store.append(std::slice::from_ref(frame)).unwrap();
    }
    let name = tail(memory.path());
    let whole = fs::read(&name).unwrap();
    drop(store);
    let mut counts = Vec::new();
    for cut in 0..=whole.len() {
        for file in fs::read_dir(folder.0.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        fs::write(&name, &whole[..cut]).unwrap();
        let mut store = open(&folder, memory.path());
        let found = held(&store, &node);
        assert_eq!(found, frames[..found.len()], "a prefix");
        counts.push(found.len());
        store.append(&frames).unwrap();
        drop(store);
        assert_eq!(held(&open(&folder, memory.path()), &node), frames);
    }
    assert!(counts.is_sorted() && counts.last() == Some(&4), "{counts:?}");
}

#[test]
fn a_damaged_frame_in_the_tail_takes_no_other_with_it() {
    let (folder, memory) = (Folder::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(5);
    let mut store = open(&folder, memory.path());
    store.append(&frames).unwrap();
    drop(store);
    let name = tail(memory.path());
    let mut bytes = fs::read(&name).unwrap();
    let end = bytes.len();
    // In the signature of the fourth, before the fifth and its length.
    bytes[end - frames[4].bytes().len() - 4 - 10] ^= 1;
    fs::write(&name, bytes).unwrap();
    let found = held(&open(&folder, memory.path()), &node);
    assert_eq!(found.iter().map(Frame::seq).collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn stores_may_share_a_directory() {
    let (one, two, memory) = (Folder::new(), Folder::new(), in_memory());
    let (mut first, mut second) = (open(&one, memory.path()), open(&two, memory.path()));
    first.append(&Node::new(1, 1).frames(3)).unwrap();
    second.append(&Node::new(2, 1).frames(5)).unwrap();
    drop((first, second));
    assert_eq!((open(&one, memory.path()).frames(), open(&two, memory.path()).frames()), (3, 5));
}

#[test]
fn a_tail_has_an_end_and_more_frames_do_not_wait_for_the_sync() {
    let (folder, memory) = (Folder::new(), in_memory());
    let mut node = Node::new(1, 1);
    let frames = node.frames(1000);
    let mut store = open(&folder, memory.path());
    let name = tail(memory.path());
    for (number, part) in frames.chunks(3).enumerate() {
        store.append(part).unwrap();
        assert!(fs::metadata(&name).unwrap().len() <= 64 * 1024);
        assert_eq!(store.unsynced(), frames.len().min(3 * (number + 1)) as u64);
    }
    assert!(log_bytes(&folder) > 50_000);
    drop(store);
    let mut store = open(&folder, memory.path());
    assert_eq!(held(&store, &node), frames);
    // What is larger than a tail is none of its business.
    let more: Vec<Frame> = (0..1000).map(|_| node.readings(1)).collect();
    store.append(&more).unwrap();
    drop(store);
    assert_eq!(folder.open().frames(), 2000);
}

#[test]
fn a_full_or_vanished_tail_costs_writes_and_no_frames() {
    let disk = SmallDisk::new(12);
    for vanished in [false, true] {
        let folder = Folder::new();
        let mut node = Node::new(1, 1);
        let frames = node.frames(80);
        let mut store = open(&folder, disk.path());
        let log_before = log_bytes(&folder);
        store.append(&frames[..1]).unwrap();
        assert_eq!(log_bytes(&folder), log_before);
        if vanished {
            fs::remove_file(tail(disk.path())).unwrap();
        }
        // Full after some 60 frames.
        for frame in &frames[1..] {
            assert_eq!(store.append(std::slice::from_ref(frame)).unwrap(), 1);
        }
        assert!(log_bytes(&folder) > log_before);
        drop(store);
        assert_eq!(held(&folder.open(), &node), frames);
        for file in fs::read_dir(disk.path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_full_disk_is_said_at_the_sync_and_the_tail_keeps_what_it_took() {
    let (disk, memory) = (SmallDisk::new(192), in_memory());
    let (path, ballast) = (disk.path().join("frames.db"), disk.path().join("ballast"));
    let mut node = Node::new(1, 1);
    let mut store = Store::open(&path, Options::default()).unwrap();
    store.append(&node.frames(1)).unwrap();
    store.keep_tail(memory.path()).unwrap();
    // As large as there is room for.
    let _ = fs::write(&ballast, vec![1; 256 * 1024]);
    let frames: Vec<Frame> = (0..100).map(|_| node.readings(1)).collect();
    for part in frames.chunks(10) {
        assert_eq!(store.append(part).unwrap(), 10);
    }
    assert_eq!(store.sync(), Err(StoreError::Full { path: path.clone() }));
    assert_eq!((store.frames(), store.unsynced(), held(&store, &node).len()), (101, 100 + 1, 101));
    // Killed, and started again while the disk is still full.
    drop(store);
    let mut store = Store::open(&path, Options::default()).unwrap();
    store.keep_tail(memory.path()).unwrap();
    assert_eq!((store.unsynced(), held(&store, &node).len()), (100, 101));
    store.append(&[node.readings(1)]).unwrap();
    assert!(store.sync().is_err());
    // More than the tail has room for is refused as a whole.
    let many: Vec<Frame> = (0..400).map(|_| node.readings(1)).collect();
    assert!(store.append(&many).is_err());
    assert_eq!(store.frames(), 102);

    fs::remove_file(&ballast).unwrap();
    store.sync().unwrap();
    assert_eq!(store.unsynced(), 0);
    drop(store);
    let store = Store::open(&path, Options::default()).unwrap();
    assert_eq!(held(&store, &node).iter().map(Frame::seq).collect::<Vec<_>>(), (1..=102).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_could_not_be_synced_at_the_start_is_synced_though_no_frame_comes() {
    let (disk, memory) = (SmallDisk::new(192), in_memory());
    let (path, ballast) = (disk.path().join("frames.db"), disk.path().join("ballast"));
    let options = Options { sync_interval: Duration::from_millis(20), ..Options::default() };
    let mut store = Store::open(&path, options).unwrap();
    store.keep_tail(memory.path()).unwrap();
    store.append(&Node::new(1, 1).frames(200)).unwrap();
    drop(store);
    let _ = fs::write(&ballast, vec![1; 256 * 1024]);
    let mut store = Store::open(&path, options).unwrap();
    store.keep_tail(memory.path()).unwrap();
    assert_eq!(store.unsynced(), 200);
    let store = StoreHandle::spawn(store).unwrap();
    fs::remove_file(&ballast).unwrap();
    let freed = Instant::now();
    while store.stats().unsynced > 0 {
        assert!(freed.elapsed() < Duration::from_secs(20), "not synced");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.close().await.unwrap();
    assert_eq!(Store::open(&path, options).unwrap().frames(), 200);
    assert!(fs::read_dir(memory.path()).unwrap().next().is_none(), "an orderly end leaves nothing behind");
}

#[test]
fn what_cannot_be_a_tail_is_refused_by_name_and_the_store_goes_on() {
    let (folder, memory) = (Folder::new(), in_memory());
    drop(open(&folder, memory.path()));
    let name = tail(memory.path());
    fs::write(&name, "somebody's notes").unwrap();
    let mut store = folder.open();
    let error = store.keep_tail(memory.path()).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("the store's tail {} cannot be used (it is", name.display())),
        "{error}"
    );
    assert_eq!(fs::read(&name).unwrap(), b"somebody's notes");
    for (directory, says) in [("/proc", "is on a disk: choose one on a tmpfs"), ("/missing", "No such file")] {
        let error = store.keep_tail(Path::new(directory)).unwrap_err();
        assert!(matches!(error, StoreError::Tail { .. }) && error.to_string().contains(says), "{error}");
    }
    store.append(&Node::new(1, 1).frames(3)).unwrap();
    drop(store);
    assert_eq!(folder.open().frames(), 3);
}
