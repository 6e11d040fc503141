//! What the card has to take. The tables in the store's documentation are these tests' output.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use reading::Frame;
use store::{Options, Store};

use crate::tail::in_memory;
use crate::{Folder, Node};

/// Readings in each of [`Node`]'s frames.
const READINGS: u64 = 7;
/// Four hours of them, at one in ten seconds.
const FRAMES: usize = 1500;
/// A full store of this size has 64 KiB less after it was emptied in part.
const FULL: u64 = 2 * 1024 * 1024;

/// A counter of proc_pid_io(5) for this thread.
fn counter(name: &str) -> Option<u64> {
    let io = fs::read_to_string("/proc/thread-self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches(':').trim().parse().ok()
}

/// Bytes handed to the kernel, and bytes for the disk by the kernel's account; `None` where it keeps none.
fn counters() -> Option<(u64, u64)> {
    counter("wchar").zip(counter("write_bytes"))
}

/// A store that has been in use for some time, synced.
fn used_store(folder: &Folder, node: &mut Node, max_bytes: u64, memory: Option<&Path>) -> Store {
    // After a week, numbers are as long as they will be.
    node.uptime_ms = 7 * 86_400_000;
    let mut store = Store::open(&folder.path(), Options { max_bytes, ..Options::default() }).unwrap();
    let mut before = node.frames(2000);
    if max_bytes < u64::MAX {
        // More than there is room for.
        before.extend((0..max_bytes / 150).map(|_| node.readings(1)));
    }
    for frames in before.chunks(500) {
        store.append(frames).unwrap();
    }
    store.sync().unwrap();
    if let Some(memory) = memory {
        store.keep_tail(memory).unwrap();
    }
    store
}

/// Bytes per reading as fast as it goes, before the kernel begins to write back by itself.
fn bytes_per_reading(frames_per_sync: usize, max_bytes: u64, memory: Option<&Path>) -> Option<(u64, u64)> {
    let (folder, mut node) = (Folder::new(), Node::new(1, 1));
    let mut store = used_store(&folder, &mut node, max_bytes, memory);
    let frames: Vec<Frame> = (0..FRAMES).map(|_| node.readings(1)).collect();
    let before = counters()?;
    for frames in frames.chunks(frames_per_sync) {
        for frame in frames {
            store.append(std::slice::from_ref(frame)).unwrap();
        }
        store.sync().unwrap();
    }
    let after = counters()?;
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
    let memory = in_memory();
    println!("tail   frames/sync  to the kernel  to the disk  (bytes per reading; growing | full)");
    for memory in [None, Some(memory.path())] {
        for frames_per_sync in [1, 6, 12, 30] {
            let (Some(growing), Some(full)) = (
                bytes_per_reading(frames_per_sync, u64::MAX, memory),
                bytes_per_reading(frames_per_sync, FULL, memory),
            ) else {
                println!("this kernel does not count");
                return;
            };
            let tail = memory.is_some();
            println!("{tail:5}  {frames_per_sync:11}  {:6} | {:4}  {:4} | {:4}", growing.0, full.0, growing.1, full.1);
            // The account is the kernel's, and says nothing where the folder is in memory.
            let most = if tail && frames_per_sync >= 12 { (150, 200) } else { (300, 1000) };
            for (kernel, disk) in [growing, full] {
                assert!(kernel < most.0 && disk < most.1, "{growing:?} {full:?}, expected less than {most:?}");
            }
        }
    }
}

/// With what the kernel writes back by itself meanwhile. No log is carried over in so short a time.
#[test]
#[ignore = "takes twenty minutes, and measures: cargo test -p magpie-store --test store in_real_time -- --ignored --nocapture"]
fn appends_in_real_time() {
    const TIME: Duration = Duration::from_secs(20 * 60);
    let memory = in_memory();
    std::thread::scope(|scope| {
        for memory in [None, Some(memory.path())] {
            for sync_s in [10, 60, 120, 300] {
                scope.spawn(move || {
                    let (kernel, disk) = bytes_per_reading_at(Duration::from_secs(sync_s), TIME, memory);
                    let tail = memory.is_some();
                    println!("tail {tail:5}, sync {sync_s:3} s: to the kernel {kernel}, to the disk {disk}, a reading");
                    assert!(!tail || sync_s < 120 || disk < 200);
                });
            }
        }
    });
}

/// Bytes per reading at one frame in ten seconds.
fn bytes_per_reading_at(sync_interval: Duration, time: Duration, memory: Option<&Path>) -> (u64, u64) {
    let (folder, mut node) = (Folder::new(), Node::new(1, 1));
    let mut store = used_store(&folder, &mut node, u64::MAX, memory);
    let before = counters().unwrap();
    let (start, mut synced, mut readings) = (Instant::now(), Instant::now(), 0);
    while start.elapsed() < time {
        store.append(&[node.readings(1)]).unwrap();
        readings += READINGS;
        std::thread::sleep(Duration::from_secs(10));
        if synced.elapsed() >= sync_interval {
            synced = Instant::now();
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    let after = counters().unwrap();
    ((after.0 - before.0) / readings, (after.1 - before.1) / readings)
}
