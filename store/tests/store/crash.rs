//! Killed at any moment, the store opens, and has what it said it had.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use store::{Options, Store};

use crate::tail::in_memory;
use crate::{Folder, Node};

/// Set for the process that is going to be killed: the epoch to write, the file, and the tail's directory where there is one.
const VICTIM: &str = "MAGPIE_TEST_VICTIM";
const KILLS: u8 = 40;

/// Not a test of its own: what the victim does.
#[test]
fn victim() {
    let Ok(task) = std::env::var(VICTIM) else { return };
    let mut task = task.split(' ');
    let mut node = Node::new(1, task.next().unwrap().parse().unwrap());
    let mut store = open(task.next().unwrap().as_ref(), task.next().map(Path::new));
    let mut frames = node.frames(1);
    loop {
        store.append(&frames).unwrap();
        // On a line of its own: the test's own output may stand before it.
        println!("\nstored {}", frames.last().unwrap().seq());
        if frames[0].seq().is_multiple_of(5) {
            store.sync().unwrap();
        }
        frames = (0..1 + frames[0].seq() % 9).map(|_| node.readings(1)).collect();
    }
}

fn open(path: &Path, memory: Option<&Path>) -> Store {
    let mut store = Store::open(path, Options { max_bytes: 128 * 1024, ..Options::default() }).unwrap();
    if let Some(memory) = memory {
        store.keep_tail(memory).unwrap();
    }
    store
}

#[test]
fn a_killed_store_opens_with_all_that_it_said_was_stored() {
    kill_again_and_again(None);
}

#[test]
fn a_killed_store_with_a_tail_does_too() {
    kill_again_and_again(Some(in_memory().path()));
}

fn kill_again_and_again(memory: Option<&Path>) {
    let folder = Folder::new();
    let program = std::env::current_exe().unwrap();
    for epoch in 1..=KILLS {
        let task = format!("{epoch} {} {}", folder.path().display(), memory.unwrap_or(Path::new("")).display());
        let mut victim = Command::new(&program)
            .args(["--exact", "crash::victim", "--nocapture"])
            .env(VICTIM, task.trim_end())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(victim.stdout.take().unwrap());
        // Some die while they create or open the file, the others after more and more frames.
        let patience = Duration::from_millis(u64::from(epoch) * 37 % 400);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(patience);
            victim.kill().unwrap();
            victim.wait().unwrap();
        });
        let lines = output.lines().map_while(Result::ok);
        let stored = lines.filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok()).last().unwrap_or(0);
        killer.join().unwrap();

        let store = open(&folder.path(), memory);
        let node = Node::new(1, epoch);
        let last = store.last_seq(node.author.node(), node.author.epoch()).unwrap();
        assert!(last >= stored, "said {stored}, has {last}");
        let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).unwrap();
        assert!(batch.damaged.is_empty());
        let seqs: Vec<u64> = batch.frames.iter().map(|frame| frame.seq()).collect();
        assert!(seqs.iter().skip(1).zip(seqs.iter().skip(2)).all(|(a, b)| a + 1 == *b), "no holes but retention's");
    }
}

/// What a power cut leaves: the file as it was when it was last carried over, and the log up to some byte.
#[test]
fn a_log_cut_anywhere_gives_a_prefix() {
    let folder = Folder::new();
    let mut node = Node::new(1, 1);
    let frames = node.frames(400);
    let mut store = folder.open();
    for part in frames.chunks(3) {
        store.append(part).unwrap();
    }
    let log = folder.path().with_extension("db-wal");
    let (file_bytes, log_bytes) = (fs::read(folder.path()).unwrap(), fs::read(&log).unwrap());
    drop(store);
    assert!(log_bytes.len() > 20_000);

    let copy = Folder::new();
    let mut counts = Vec::new();
    for cut in (0..=log_bytes.len()).step_by(2741).chain([log_bytes.len()]) {
        fs::write(copy.path(), &file_bytes).unwrap();
        let mut log_bytes = log_bytes[..cut].to_vec();
        // The last block did not reach the disk whole.
        let from = cut.saturating_sub(300);
        log_bytes[from..].fill(0);
        fs::write(copy.path().with_extension("db-wal"), &log_bytes).unwrap();
        let store = copy.open();
        let batch = store.range(node.author.node(), node.author.epoch(), 1..=u64::MAX, usize::MAX).unwrap();
        assert_eq!(batch.frames, frames[..batch.frames.len()], "a prefix");
        assert!(batch.damaged.is_empty());
        counts.push(batch.frames.len());
        store.close().unwrap();
        fs::remove_file(copy.path()).unwrap();
    }
    assert!(counts.is_sorted() && counts.last() > counts.first(), "{counts:?}");
}
