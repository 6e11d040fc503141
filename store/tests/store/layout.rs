//! A store that an earlier program wrote.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use store::{Options, Store};

use crate::full_disk::{SmallDisk, fill_up};
use crate::{Folder, Node};

/// As a node wrote it whose rows had no checksums.
const LAYOUT_1: &[u8] = include_bytes!("layout1.db");
const FRAMES: usize = 39;

fn layout(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// How many frames the store gives, and how many it says are damaged.
fn all(store: &Store) -> (usize, usize) {
    let (mut frames, mut damaged) = (0, 0);
    for node in store.nodes().unwrap() {
        for run in store.epochs(node).unwrap() {
            let batch = store.range(node, run.epoch, 1..=u64::MAX, usize::MAX).unwrap();
            (frames, damaged) = (frames + batch.frames.len(), damaged + batch.damaged.len());
        }
    }
    (frames, damaged)
}

#[test]
fn its_frames_are_all_there_and_more_can_come() {
    let folder = Folder::new();
    fs::write(folder.path(), LAYOUT_1).unwrap();
    assert_eq!(layout(&folder.path()), 1);
    let mut store = folder.open();
    assert_eq!(all(&store), (FRAMES, 0));
    store.append(&Node::new(1, 1).frames(10)).unwrap();
    store.close().unwrap();
    assert_eq!(layout(&folder.path()), 2, "an older program is told that there is something newer");
    assert_eq!(all(&folder.open()), (FRAMES + 10, 0));
}

#[test]
fn a_damaged_frame_without_checksum_is_found_by_its_signature() {
    let folder = Folder::new();
    fs::write(folder.path(), LAYOUT_1).unwrap();
    let db = Connection::open(folder.path()).unwrap();
    let flip = "UPDATE frame SET bytes = substr(bytes, 1, 20) || x'ff' || substr(bytes, 22) WHERE key & 0xff = 5";
    assert_eq!(db.execute(flip, []).unwrap(), 1);
    drop(db);
    assert_eq!(all(&folder.open()), (FRAMES - 1, 1));
}

#[test]
fn it_can_be_read_where_the_disk_is_full() {
    let disk = SmallDisk::new(64);
    let path = disk.path().join("frames.db");
    fs::write(&path, LAYOUT_1).unwrap();
    let ballast = disk.path().join("ballast");
    fill_up(&ballast);
    let store = Store::open(&path, Options::default()).unwrap();
    assert_eq!(all(&store), (FRAMES, 0));
    drop(store);
    fs::remove_file(&ballast).unwrap();
    drop(Store::open(&path, Options::default()).unwrap());
    assert_eq!(layout(&path), 2);
}
