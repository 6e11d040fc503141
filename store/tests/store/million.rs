//! A store with a million frames, as a gateway has it, or a node after four months.

use std::fs;
use std::time::{Duration, Instant};

use store::{Options, Store};

use crate::{Folder, Node};

const FRAMES: usize = 1_000_000;
/// What a node reads at once for a peer.
const BATCH_BYTES: usize = 64 * 1024;

/// Processor time of this thread: what one core can do, on a busy machine too.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A line of proc_pid_status(5), in KiB.
fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "takes a minute or two, and measures: cargo test --release -p magpie-store --test store million -- --ignored --nocapture"]
fn a_million_frames_are_opened_quickly_and_served_in_little_memory() {
    let (folder, mut node) = (Folder::new(), Node::new(1, 1));
    let options = Options { max_bytes: u64::MAX, ..Options::default() };
    let mut store = Store::open(&folder.path(), options).unwrap();
    let mut appending = Duration::ZERO;
    let mut frames = node.frames(1000);
    for _ in 0..FRAMES / 1000 {
        let before = worked();
        store.append(&frames).unwrap();
        appending += worked() - before;
        frames = (0..1000).map(|_| node.readings(1)).collect();
    }
    store.close().unwrap();
    let mib = fs::metadata(folder.path()).unwrap().len() / 1024 / 1024;
    println!(
        "{FRAMES} frames, {mib} MiB; appended {:.0} a second of processor time, 1000 at once",
        FRAMES as f64 / appending.as_secs_f64()
    );

    let (start, before) = (Instant::now(), worked());
    let store = Store::open(&folder.path(), options).unwrap();
    println!("opened in {:?}, {:?} of processor time", start.elapsed(), worked() - before);
    assert_eq!(store.frames(), FRAMES as u64);
    let start = Instant::now();
    let node = (node.author.node(), node.author.epoch());
    store.first_at_or_after(node.0, crate::BOOT_US + 5_000_000_000_000).unwrap().unwrap();
    println!("found a time in {:?}", start.elapsed());

    let (start, before) = (worked(), status_kib("VmRSS"));
    let (mut next, mut read, mut highest) = (1, 0, before);
    loop {
        let batch = store.range(node.0, node.1, next..=u64::MAX, BATCH_BYTES).unwrap();
        read += batch.frames.len();
        next = batch.next_seq;
        if read % 50_000 < batch.frames.len() {
            highest = highest.max(status_kib("VmRSS"));
        }
        if !batch.more {
            break;
        }
    }
    assert_eq!(read, FRAMES);
    let rate = FRAMES as f64 / (worked() - start).as_secs_f64();
    println!("served {rate:.0} a second of processor time, each checked; {before} KiB before, {highest} KiB at most");
    assert!(highest < before + 4 * 1024, "{before} KiB before, {highest} KiB while it served");
}
