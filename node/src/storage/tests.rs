use std::fs;
use std::path::Path;

use prometheus_client::registry::Registry;
use reading::Frame;
use service::Health;

use super::*;
use crate::metrics::Metrics;
use crate::testing::{Disk, Neighbour, eventually};

const MIB: u64 = 1 << 20;
const INTERVAL: Duration = Duration::from_secs(60);

struct Bench {
    disk: Disk,
    node: Neighbour,
    storage: Storage,
    health: Health,
    component: Arc<Component>,
    writer: Writer,
}

impl Bench {
    fn new() -> Self {
        let (health, storage) = (Health::new(), Storage::default());
        let component = Arc::new(health.component("store"));
        let metrics = Arc::new(Metrics::new(&mut Registry::default()));
        let writer = Writer::new(storage.clone(), INTERVAL, component.clone(), metrics);
        Self { disk: Disk::new(), node: Neighbour::new(1), storage, health, component, writer }
    }

    fn location(&self) -> Location {
        self.disk.location(self.node.id(), MIB)
    }

    fn is_ready(&self) -> bool {
        self.health.report(std::time::Instant::now()).ready
    }

    fn says(&self) -> String {
        format!("{:?}", self.health.report(std::time::Instant::now()).components[0].condition)
    }

    async fn kept(&self) -> Vec<Frame> {
        let (id, epoch) = (self.node.id(), self.node.epoch());
        self.storage.store().unwrap().range(id, epoch, 1..=u64::MAX, 1 << 20).await.unwrap().frames
    }
}

/// As a card does that loses its charge: the first page still says that it is a store.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    assert!(bytes.len() > 512);
    bytes.iter_mut().skip(512).for_each(|byte| *byte = 0xa5);
    fs::write(path, bytes).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_opened_is_tried_until_it_can() {
    let mut bench = Bench::new();
    let location = bench.location();
    // What is in its place is somebody else's, and stays as it is until it is moved.
    fs::write(&location.path, "Dear diary").unwrap();
    let error = bench.storage.open(&location).await.unwrap_err();
    bench.component.not_ready(not_kept(&error));
    let announcement = bench.node.announcement();
    assert_eq!(bench.writer.keep(&announcement, &[]).await, Err(NotKept::NotOpen));
    assert!(!bench.is_ready() && bench.says().contains("is not a Magpie store"), "{}", bench.says());

    let stop = CancellationToken::new();
    let opening =
        tokio::spawn(open_in_time(bench.storage.clone(), location.clone(), bench.component.clone(), stop.clone()));
    fs::rename(&location.path, location.path.with_extension("txt")).unwrap();
    eventually("the store is open", async || bench.storage.store().is_some()).await;
    // The store's thread knows no paused clock.
    tokio::time::resume();
    let readings = bench.node.readings();
    bench.writer.keep(&readings, std::slice::from_ref(&announcement)).await.unwrap();
    assert!(bench.is_ready(), "{}", bench.says());
    assert_eq!(bench.kept().await, [announcement, readings], "with the announcement that it refers to");
    stop.cancel();
    opening.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_a_new_one_begun() {
    let mut bench = Bench::new();
    let location = bench.location();
    let before = bench.disk.storage(bench.node.id(), MIB).await;
    before.store().unwrap().append(vec![bench.node.announcement(), bench.node.readings()]).await.unwrap();
    before.store().unwrap().clone().close().await.unwrap();
    drop(before);
    damage(&location.path);
    bench.storage.open(&location).await.unwrap();
    assert_eq!(bench.storage.previous(), None, "nobody knows any more");
    let (announcement, readings) = (bench.node.announcement(), bench.node.readings());
    bench.writer.keep(&announcement, &[]).await.unwrap();
    bench.writer.keep(&readings, &[]).await.unwrap();
    assert_eq!(bench.kept().await, [announcement, readings]);
    let aside: Vec<_> = fs::read_dir(bench.disk.folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".damaged"))
        .collect();
    assert_eq!(aside, ["frames.db.damaged"]);
}

#[tokio::test]
async fn what_is_older_than_the_owner_wants_to_keep_leaves() {
    let mut bench = Bench::new();
    let location = Location { max_age: Some(Duration::from_secs(86_400)), ..bench.location() };
    bench.storage.open(&location).await.unwrap();
    let announcement = bench.node.announcement();
    bench.writer.keep(&announcement, &[]).await.unwrap();
    for _ in 0..100 {
        let old = bench.node.readings();
        bench.writer.keep(&old, &[]).await.unwrap();
    }
    bench.node.wait(2 * 24 * 60);
    let new = bench.node.readings();
    bench.writer.keep(&new, &[]).await.unwrap();
    let kept = bench.kept().await;
    assert!(kept.len() < 50 && kept.contains(&new) && kept.contains(&announcement), "{} are left", kept.len());
}

#[tokio::test]
async fn where_the_key_is_gone_no_store_is_begun() {
    let bench = Bench::new();
    let location = bench.location();
    fs::remove_file(&location.key).unwrap();
    let error = bench.storage.open(&location).await.unwrap_err();
    assert!(error.to_string().contains("put its disk back"), "{error}");
    assert!(!location.path.exists(), "on what is left of a mount point");
}

#[tokio::test]
async fn a_file_that_is_gone_is_said_and_used_again_when_it_is_back() {
    let mut bench = Bench::new();
    let location = bench.location();
    bench.storage.open(&location).await.unwrap();
    let announcement = bench.node.announcement();
    bench.writer.keep(&announcement, &[]).await.unwrap();
    let store = bench.storage.store().unwrap().clone();
    store.sync().await.unwrap();

    let pulled = tempfile::tempdir_in(bench.disk.folder.path().parent().unwrap()).unwrap();
    for name in ["frames.db", "frames.db-wal"] {
        fs::rename(bench.disk.folder.path().join(name), pulled.path().join(name)).unwrap();
    }
    // Up to the next sync nobody knows.
    let unlucky = bench.node.readings();
    bench.writer.keep(&unlucky, &[]).await.unwrap();
    store.sync().await.unwrap_err();
    let readings = bench.node.readings();
    let error = bench.writer.keep(&readings, std::slice::from_ref(&announcement)).await.unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(!bench.is_ready() && bench.says().contains("not kept"), "{}", bench.says());

    for name in ["frames.db", "frames.db-wal"] {
        fs::rename(pulled.path().join(name), bench.disk.folder.path().join(name)).unwrap();
    }
    store.sync().await.unwrap();
    let after = bench.node.readings();
    bench.writer.keep(&after, std::slice::from_ref(&announcement)).await.unwrap();
    assert!(bench.is_ready(), "{}", bench.says());
    let kept = bench.kept().await;
    assert!(kept.contains(&announcement) && kept.contains(&after) && !kept.contains(&readings), "{kept:?}");
    let seqs: Vec<u64> = [&announcement, &unlucky, &readings, &after].map(Frame::seq).to_vec();
    assert_eq!(seqs, [1, 2, 3, 4], "what is missing has a number");
}

#[tokio::test]
async fn no_frame_waits_for_a_disk_that_hangs_and_the_first_after_it_is_kept() {
    let mut bench = Bench::new();
    let location = bench.location();
    bench.storage.open(&location).await.unwrap();
    let announcement = bench.node.announcement();
    bench.writer.keep(&announcement, &[]).await.unwrap();
    let answers = bench.writer.hang();
    let lost = bench.node.readings();
    assert_eq!(bench.writer.keep(&lost, &[]).await, Err(NotKept::Hangs));
    assert!(!bench.is_ready() && bench.says().contains("has not answered"), "{}", bench.says());
    answers.abort();
    eventually("the disk answers", async || answers.is_finished()).await;
    let readings = bench.node.readings();
    bench.writer.keep(&readings, std::slice::from_ref(&announcement)).await.unwrap();
    assert!(bench.is_ready(), "{}", bench.says());
    assert_eq!(bench.kept().await, [announcement, readings]);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_store_has_an_owner() {
    let bench = Bench::new();
    let location = bench.location();
    bench.storage.open(&location).await.unwrap();
    let second = Storage::default().open(&location).await.unwrap_err();
    assert!(matches!(second, OpenError::Store(StoreError::InUse { .. })), "{second}");
}
