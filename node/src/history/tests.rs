use std::time::Duration;

use reading::{FrameId, MAX_FRAME_BYTES};
use store::{Options, Store};

use super::*;
use crate::testing::{MINUTE_US, Neighbour};

fn options(max_bytes: u64) -> Options {
    Options { max_bytes, sync_interval: Duration::from_secs(60) }
}

#[tokio::test]
async fn a_peer_can_have_all_that_the_node_keeps_bit_by_bit() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        StoreHandle::spawn(Store::open(&directory.path().join("frames.db"), options(1 << 20)).unwrap()).unwrap();
    let history = Kept::new(store.clone());
    let mut node = Neighbour::new(1);
    let mut frames = vec![node.announcement()];
    frames.extend((0..500).map(|_| node.readings()));
    store.append(frames.clone()).await.unwrap();

    let (id, epoch) = (node.id(), node.epoch());
    let half_way = frames[250].stamp().time_us;
    let summary = history.summary(id, Some(half_way)).await.unwrap();
    assert_eq!(summary.first, Some((epoch, frames[250].seq())));
    let [run] = summary.runs[..] else { panic!("{summary:?}") };
    assert_eq!((run.epoch, run.first_seq, run.last_seq, run.frames, run.gone_to), (epoch, 1, 501, 501, 0));
    assert_eq!(history.summary(id, Some(half_way + 1000 * MINUTE_US)).await.unwrap().first, None);

    let (mut from, mut got, mut answers) = (1, Vec::new(), 0);
    while from <= 501 {
        let batch = history.frames(id, epoch, from..=501, MAX_FRAME_BYTES).await.unwrap();
        assert!(batch.next_seq > from);
        (from, answers) = (batch.next_seq, answers + 1);
        got.extend(batch.frames);
    }
    assert!(got == frames && answers > 5, "{} frames in {answers} answers", got.len());

    let stranger = Neighbour::new(2).id();
    assert_eq!(history.summary(stranger, None).await, Some(Summary::default()));
    assert_eq!(history.frames(stranger, epoch, 1..=9, 100).await.unwrap().next_seq, 10);
}

#[tokio::test]
async fn what_retention_took_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        StoreHandle::spawn(Store::open(&directory.path().join("frames.db"), options(64 << 10)).unwrap()).unwrap();
    let history = Kept::new(store.clone());
    let mut node = Neighbour::new(1);
    store.append(vec![node.announcement()]).await.unwrap();
    for _ in 0..20 {
        store.append((0..100).map(|_| node.readings()).collect()).await.unwrap();
    }
    let run = history.summary(node.id(), None).await.unwrap().runs[0];
    assert!(run.gone_to > 1 && run.frames < run.last_seq && run.first_seq == 1, "{run:?}");
    // Below it there is nothing but the announcement that what is left refers to.
    let batch = history.frames(node.id(), node.epoch(), 1..=run.gone_to, 1 << 20).await.unwrap();
    let ids: Vec<FrameId> = batch.frames.iter().map(reading::Frame::id).collect();
    assert_eq!(ids, [FrameId { node: node.id(), epoch: node.epoch(), seq: 1 }]);
}

#[tokio::test]
async fn a_store_that_has_stopped_gives_no_answer_rather_than_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        StoreHandle::spawn(Store::open(&directory.path().join("frames.db"), options(1 << 20)).unwrap()).unwrap();
    let history = Kept::new(store.clone());
    store.close().await.unwrap();
    let node = Neighbour::new(1);
    assert_eq!(history.summary(node.id(), None).await, None);
    assert_eq!(history.frames(node.id(), node.epoch(), 1..=9, 100).await, None);
}
