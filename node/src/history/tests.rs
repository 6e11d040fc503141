use std::time::Duration;

use reading::{Frame, FrameId, MAX_FRAME_BYTES};
use store::{Options, Store};

use super::*;
use crate::testing::{Disk, MINUTE_US, Neighbour};

const MIB: u64 = 1 << 20;

/// An announcement and readings.
fn past(node: &mut Neighbour, count: usize) -> Vec<Frame> {
    let mut frames = vec![node.announcement()];
    frames.extend((1..count).map(|_| node.readings()));
    frames
}

#[tokio::test]
async fn a_peer_can_have_all_that_the_node_keeps_bit_by_bit() {
    let (disk, mut node) = (Disk::new(), Neighbour::new(1));
    let storage = disk.storage(node.id(), MIB).await;
    let history = Kept::new(node.id(), storage.clone(), None);
    let frames = past(&mut node, 501);
    storage.store().unwrap().append(frames.clone()).await.unwrap();

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
}

#[tokio::test]
async fn what_retention_took_is_said() {
    let (disk, mut node) = (Disk::new(), Neighbour::new(1));
    let storage = disk.storage(node.id(), 64 << 10).await;
    let (history, store) = (Kept::new(node.id(), storage.clone(), None), storage.store().unwrap());
    for frames in past(&mut node, 2000).chunks(100) {
        store.append(frames.to_vec()).await.unwrap();
    }
    let run = history.summary(node.id(), None).await.unwrap().runs[0];
    assert!(run.gone_to > 1 && run.frames < run.last_seq && run.first_seq == 1, "{run:?}");
    // Below it there is nothing but the announcement that what is left refers to.
    let batch = history.frames(node.id(), node.epoch(), 1..=run.gone_to, MIB as usize).await.unwrap();
    let ids: Vec<FrameId> = batch.frames.iter().map(Frame::id).collect();
    assert_eq!(ids, [FrameId { node: node.id(), epoch: node.epoch(), seq: 1 }]);
}

#[tokio::test]
async fn a_store_that_is_not_there_gives_no_answer_rather_than_an_empty_one() {
    let (disk, node) = (Disk::new(), Neighbour::new(1));
    let not_open = Kept::new(node.id(), Storage::default(), None);
    assert_eq!(not_open.summary(node.id(), None).await, None);
    assert_eq!(not_open.frames(node.id(), node.epoch(), 1..=9, 100).await, None);

    let storage = disk.storage(node.id(), MIB).await;
    let stopped = Kept::new(node.id(), storage.clone(), None);
    storage.store().unwrap().clone().close().await.unwrap();
    assert_eq!(stopped.summary(node.id(), None).await, None);
    assert_eq!(stopped.frames(node.id(), node.epoch(), 1..=9, 100).await, None);
}

#[tokio::test]
async fn others_frames_are_served_where_they_are_kept() {
    let (disk, own, mut other) = (Disk::new(), Neighbour::new(1).id(), Neighbour::new(2));
    let storage = disk.storage(own, MIB).await;
    let (id, epoch) = (other.id(), other.epoch());
    let without = Kept::new(own, storage.clone(), None);
    assert_eq!(without.summary(id, None).await, Some(Summary::default()));
    assert_eq!(without.frames(id, epoch, 3..=9, 100).await, Some(Batch { frames: vec![], next_seq: 10 }));

    let options = Options { max_bytes: MIB, sync_interval: Duration::from_secs(60) };
    let cache = StoreHandle::spawn(Store::open(&disk.folder.path().join("neighbours.db"), options).unwrap()).unwrap();
    let frames = past(&mut other, 5);
    cache.append(frames[2..].to_vec()).await.unwrap();
    let with = Kept::new(own, storage, Some(cache));
    let [run] = with.summary(id, None).await.unwrap().runs[..] else { panic!("one run") };
    assert_eq!((run.first_seq, run.last_seq, run.frames), (3, 5, 3));
    assert_eq!(with.frames(id, epoch, 1..=9, MIB as usize).await.unwrap().frames, frames[2..]);
    assert_eq!(with.summary(own, None).await, Some(Summary::default()), "nothing of its own so far");
}
