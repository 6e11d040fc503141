//! A node whose store does not do what it should.

use std::fs;

use mesh::Since;
use reading::{Kind, Payload};

use crate::support::{Follower, Site, free_address};

/// How many frames of readings a follower has.
fn readings(follower: &Follower) -> usize {
    follower.delivered.iter().filter(|frame| frame.kind() == Kind::READINGS).count()
}

#[tokio::test]
async fn a_node_without_a_store_goes_on_live_says_so_and_recovers() {
    let (site, meeting) = (Site::new("attic"), free_address());
    let store = site.state().join("frames.db");
    // Something that is no store, and that nobody may throw away.
    fs::create_dir(&store).unwrap();
    let mut follower = Follower::start(&meeting).await;
    let node = site.start(std::slice::from_ref(&meeting)).await;
    follower.backfill.want(node.id(), Since::Beginning);
    node.answers(503, "not kept").await;
    follower.follow("live readings", |follower| readings(follower) >= 5).await;

    fs::remove_dir(&store).unwrap();
    node.answers(200, "").await;
    node.keeps(10).await;
    let (id, before) = (node.id(), readings(&follower));
    follower.follow("more of it", |follower| readings(follower) >= before + 10).await;
    let run = follower.mesh.history_summary(&id.to_string(), id, None).await.unwrap().runs[0];
    assert!(run.frames < run.last_seq, "what was live only has a number, and is not in the store: {run:?}");
    let kept = follower.mesh.history_frames(&id.to_string(), id, run.epoch, 1..=run.last_seq).await.unwrap().frames;
    for frame in &kept {
        if let Ok(Payload::Readings(readings)) = frame.payload() {
            assert!(kept.iter().any(|frame| frame.seq() == readings.announcement), "{frame:?} is not described");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_damaged_store_costs_the_past_and_nothing_else() {
    let (site, nobody) = (Site::new("shed"), free_address());
    let first = site.start(std::slice::from_ref(&nobody)).await;
    first.keeps(10).await;
    first.stop().await;
    let store = site.state().join("frames.db");
    let mut bytes = fs::read(&store).unwrap();
    bytes.iter_mut().skip(512).for_each(|byte| *byte = 0xa5);
    fs::write(&store, &bytes).unwrap();

    let second = site.start(std::slice::from_ref(&nobody)).await;
    second.keeps(10).await;
    second.answers(200, "").await;
    assert_eq!(fs::read(site.state().join("frames.db.damaged")).unwrap(), bytes, "kept for whoever can read it");
    second.stop().await;
}
