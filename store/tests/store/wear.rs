//! What the card has to take. The table in the store's documentation is this test's output.

use std::fs;

use store::{Options, Store};

use crate::{Folder, Node};

/// Readings in each of [`Node`]'s frames.
const READINGS: u64 = 7;
const FRAMES: usize = 1500;

/// A counter of proc_pid_io(5) for this thread.
fn counter(name: &str) -> Option<u64> {
    let io = fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches(':').trim().parse().ok()
}

/// Bytes per reading: handed to the kernel, and for the disk by the kernel's account.
fn bytes_per_reading(frames_per_sync: usize, max_bytes: u64) -> Option<(u64, u64)> {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    // After a week, numbers are as long as they will be.
    node.uptime_ms = 7 * 86_400_000;
    let first = node.announcement();
    let mut store = Store::open(&folder.path(), Options { max_bytes, ..Options::default() }).unwrap();
    store.append(&[first]).unwrap();
    store.append(&(0..2000).map(|_| node.readings(1)).collect::<Vec<_>>()).unwrap();
    store.sync().unwrap();
    let frames: Vec<_> = (0..FRAMES).map(|_| node.readings(1)).collect();
    let before = (counter("wchar")?, counter("write_bytes")?);
    for (number, frame) in frames.iter().enumerate() {
        store.append(std::slice::from_ref(frame)).unwrap();
        if (number + 1).is_multiple_of(frames_per_sync) {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    let after = (counter("wchar")?, counter("write_bytes")?);
    let readings = FRAMES as u64 * READINGS;
    Some(((after.0 - before.0) / readings, (after.1 - before.1) / readings))
}

#[test]
fn three_frames_fit_on_a_page() {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    node.uptime_ms = 7 * 86_400_000;
    let frames = node.frames(3000);
    println!("{} bytes a frame", frames[1].bytes().len());
    let mut store = folder.open();
    store.append(&frames).unwrap();
    store.close().unwrap();
    let pages = fs::metadata(folder.path()).unwrap().len() / 512;
    println!("{pages} pages for {} frames", frames.len());
    assert!(pages < 1050);
}

#[test]
fn an_append_is_cheap_for_the_card() {
    println!("frames/sync  to the kernel  to the disk  (bytes per reading; growing | full)");
    for frames_per_sync in [1, 3, 6, 30] {
        let (Some(growing), Some(full)) =
            (bytes_per_reading(frames_per_sync, u64::MAX), bytes_per_reading(frames_per_sync, 400 * 1024))
        else {
            println!("this kernel does not count");
            return;
        };
        println!("{frames_per_sync:11}  {:6} | {:4}  {:4} | {:4}", growing.0, full.0, growing.1, full.1);
        assert!(growing.0 < 250 && full.0 < 400, "{growing:?} {full:?}");
    }
}
