use prometheus_client::registry::Registry;

use super::*;
use crate::testing::{Neighbour, eventually};

const MIB: u64 = 1 << 20;

fn own() -> NodeId {
    Neighbour::new(0).id()
}

/// A directory in memory. Where there is none, these tests have nothing to test, and say so.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("a tmpfs at /dev/shm")
}

fn open_in(directory: &Path, max_bytes: u64) -> (Neighbours, Keeper, Registry) {
    let mut registry = Registry::default();
    let metrics = Arc::new(Metrics::new(&mut registry));
    let (neighbours, keeper) = open(Some(directory), own(), max_bytes, metrics).unwrap();
    (neighbours, keeper, registry)
}

/// The sum of the samples of a metric whose labels contain `labels`.
fn metric(registry: &Registry, name: &str, labels: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text.lines()
        .filter(|line| line.starts_with(&format!("magpie_node_{name}")) && line.contains(labels))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn what_was_heard_outlives_its_author_and_this_process() {
    let directory = directory();
    let mut authors: Vec<Neighbour> = (1..=20).map(Neighbour::new).collect();
    let mut heard = Vec::new();
    let (neighbours, keeper, registry) = open_in(directory.path(), 16 * MIB);
    let stop = CancellationToken::new();
    let keeping = tokio::spawn(keeper.run(stop.clone()));
    for author in &mut authors {
        heard.push(author.announcement());
        heard.extend((0..20).map(|_| author.readings()));
    }
    for frame in &heard {
        neighbours.heard(frame.clone());
        neighbours.heard(frame.clone());
    }
    eventually("all is kept", async || metric(&registry, "neighbours_kept", "") == heard.len() as u64).await;
    assert_eq!(metric(&registry, "neighbours_dropped", ""), 0);
    stop.cancel();
    keeping.await.unwrap().unwrap();

    let (_, keeper, _) = open_in(directory.path(), 16 * MIB);
    for author in &authors {
        let batch = keeper.store().range(author.id(), author.epoch(), 1..=99, 1 << 20).await.unwrap();
        assert_eq!(batch.frames, heard.iter().filter(|frame| frame.node() == author.id()).cloned().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn one_that_floods_does_not_push_the_others_out() {
    let directory = directory();
    let (_neighbours, mut keeper, registry) = open_in(directory.path(), MIB);
    let (mut quiet, mut loud) = (Neighbour::new(1), Neighbour::new(2));
    let quiet_frames = [quiet.announcement(), quiet.readings()];
    keeper.keep(quiet_frames.to_vec()).await;
    // As much as the whole cache has room for.
    let flood: Vec<Frame> = (0..7000).map(|_| loud.readings()).collect();
    for frames in flood.chunks(500) {
        keeper.keep(frames.to_vec()).await;
    }
    assert!(metric(&registry, "neighbours_dropped", "share") > 6000);
    let kept = keeper.store.range(quiet.id(), quiet.epoch(), 1..=99, 1 << 20).await.unwrap().frames;
    assert_eq!(kept, quiet_frames);
}

#[tokio::test]
async fn who_is_too_slow_holds_nobody_up() {
    let directory = directory();
    let (neighbours, keeper, registry) = open_in(directory.path(), MIB);
    let frame = Neighbour::new(1).announcement();
    // Nobody takes them.
    for _ in 0..QUEUE + 10 {
        neighbours.heard(frame.clone());
    }
    assert_eq!(metric(&registry, "neighbours_dropped", "behind"), 10);
    drop(keeper);
}

#[tokio::test]
async fn a_damaged_cache_is_begun_anew() {
    let directory = directory();
    let path = directory.path().join(format!("{}-neighbours.db", own()));
    std::fs::write(&path, [0xa5; 5000]).unwrap();
    let (_, mut keeper, _) = open_in(directory.path(), MIB);
    let mut author = Neighbour::new(1);
    keeper.keep(vec![author.announcement()]).await;
    assert_eq!(keeper.store.last_seq(author.id(), author.epoch()).await, Ok(1));
}

#[test]
fn a_directory_on_a_disk_is_not_worn_by_what_others_say() {
    let metrics = || Arc::new(Metrics::new(&mut Registry::default()));
    assert!(matches!(open(None, own(), MIB, metrics()), Err(Off::NoDirectory)));
    assert!(matches!(open(Some(Path::new("/proc")), own(), MIB, metrics()), Err(Off::OnDisk(_))));
    assert!(matches!(open(Some(Path::new("/no/such")), own(), MIB, metrics()), Err(Off::Directory { .. })));
}
