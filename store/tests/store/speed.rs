//! How fast it is. Not a check: numbers to read, in a release build.

use std::time::Instant;

use crate::{Folder, Node};

#[test]
#[ignore = "prints frames per second; run it with --release --nocapture"]
fn frames_per_second() {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    let frames = node.frames(40_000);
    let mut store = folder.open();
    let mut rate = |name: &str, frames: &[reading::Frame], batch: usize| {
        let start = Instant::now();
        for part in frames.chunks(batch) {
            store.append(part).unwrap();
        }
        println!("{name}: {:.0} frames/s", frames.len() as f64 / start.elapsed().as_secs_f64());
    };
    rate("append one by one", &frames[..10_000], 1);
    rate("append by 64", &frames[10_000..], 64);
    let start = Instant::now();
    let (mut from, mut read) = (1, 0);
    loop {
        let batch = store.range(node.author.node(), node.author.epoch(), from..=u64::MAX, 64 * 1024).unwrap();
        read += batch.frames.len();
        if !batch.more {
            break;
        }
        from = batch.next_seq;
    }
    println!("read by 64 KiB, verified: {:.0} frames/s", read as f64 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    for second in 0..200 {
        store.first_at_or_after(node.author.node(), crate::BOOT_US + second * 2_000_000_000).unwrap();
    }
    println!("find a time: {:.2} ms", start.elapsed().as_secs_f64() * 1000.0 / 200.0);
    drop(store);
    let start = Instant::now();
    folder.open();
    println!(
        "open {} KiB: {:.1} ms",
        std::fs::metadata(folder.path()).unwrap().len() / 1024,
        start.elapsed().as_secs_f64() * 1000.0
    );
}
