//! A store that an earlier program wrote.

use rusqlite::{Connection, params};
use store::Store;

use crate::{Folder, Node};

/// Marks of rows with a checksum, and what they are without one.
const CHECKED: u8 = 2;

/// Makes what a store has look as layout 1 has it: no checksums.
fn age(folder: &Folder) {
    let db = Connection::open(folder.path()).unwrap();
    for table in ["frame", "announcement"] {
        let mut rows = db.prepare(&format!("SELECT key, bytes FROM {table}")).unwrap();
        let rows: Vec<(i64, Vec<u8>)> =
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        for (key, bytes) in rows {
            let old = [&[bytes[0] - CHECKED], &bytes[5..]].concat();
            db.execute(&format!("UPDATE {table} SET bytes = ? WHERE key = ?"), params![old, key]).unwrap();
        }
    }
    db.pragma_update(None, "user_version", 1).unwrap();
}

fn layout(folder: &Folder) -> i64 {
    let db = Connection::open(folder.path()).unwrap();
    db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn all(store: &Store, node: &Node) -> (usize, usize) {
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=1000, usize::MAX).unwrap();
    (batch.frames.len(), batch.damaged.len())
}

#[test]
fn its_frames_are_all_there_and_those_that_come_have_checksums() {
    let (folder, mut node) = (Folder::new(), Node::new(1, 1));
    let frames = node.frames(20);
    let mut store = folder.open();
    store.append(&frames[..10]).unwrap();
    store.close().unwrap();
    age(&folder);
    let mut store = folder.open();
    assert_eq!(all(&store, &node), (10, 0));
    store.append(&frames[10..]).unwrap();
    assert_eq!(all(&store, &node), (20, 0));
    store.close().unwrap();
    assert_eq!(layout(&folder), 2, "an older program is told that there is something newer");
    let store = folder.open();
    let batch = store.range(node.author.node(), node.author.epoch(), 1..=1000, usize::MAX).unwrap();
    assert_eq!(batch.frames, frames);
}

#[test]
fn a_damaged_frame_without_checksum_is_found_by_its_signature() {
    let (folder, mut node) = (Folder::new(), Node::new(1, 1));
    let mut store = folder.open();
    store.append(&node.frames(10)).unwrap();
    store.close().unwrap();
    age(&folder);
    let db = Connection::open(folder.path()).unwrap();
    let flip = "UPDATE frame SET bytes = substr(bytes, 1, 20) || x'ff' || substr(bytes, 22) WHERE key & 0xff = 5";
    assert_eq!(db.execute(flip, []).unwrap(), 1);
    drop(db);
    assert_eq!(all(&folder.open(), &node), (9, 1));
}
