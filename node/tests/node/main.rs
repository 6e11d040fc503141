//! Whole nodes with simulated chips, and somebody on the mesh who wants all that they ever measured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must end")]

mod broken;
mod fire;
mod support;

use mesh::{Since, Standing};
use reading::{EpochRange, Kind, Payload};

use crate::support::{Follower, Site, free_address};

/// Frames that make a past worth fetching.
const SOME: usize = 20;

#[tokio::test]
async fn who_comes_late_gets_everything_that_a_node_ever_kept() {
    let site = Site::new("roof");
    let (meeting, nobody) = (free_address(), free_address());

    // The node measures while nobody listens, is stopped, and starts again.
    let first = site.start(std::slice::from_ref(&nobody)).await;
    first.keeps(SOME).await;
    first.stop().await;
    let second = site.start(std::slice::from_ref(&meeting)).await;
    second.keeps(SOME).await;

    let mut follower = Follower::start(&meeting).await;
    let id = second.id();
    follower.backfill.want(id, Since::Beginning);
    follower.follow("the past of both runs", |follower| follower.delivered.len() > 2 * SOME).await;
    follower.follow("the end of it", |follower| follower.backfill.standing(&id) == Standing::Complete).await;

    let peer = id.to_string();
    let runs: Vec<EpochRange> = follower.mesh.history_summary(&peer, id, None).await.unwrap().runs;
    assert_eq!(runs.len(), 2, "{runs:?}");
    for run in &runs {
        let seqs = follower.seqs(run.epoch);
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<u64>>(), "each once, without a hole");
    }
    assert_eq!(follower.seqs(runs[0].epoch).last(), Some(&runs[0].last_seq));
    let announcement = follower.delivered.iter().find(|frame| frame.epoch() == runs[1].epoch && frame.seq() == 1);
    let Ok(Payload::Announcement(announcement)) = announcement.unwrap().payload() else { panic!("no announcement") };
    let previous = announcement.previous.unwrap();
    assert_eq!((previous.epoch, previous.last_seq), (runs[0].epoch, runs[0].last_seq));
    assert_eq!(follower.backfill.gaps().missing(&id), []);
    second.stop().await;
}

#[tokio::test]
async fn frames_of_a_node_survive_its_death_if_a_neighbour_heard_them() {
    let (victim, witness) = (Site::new("victim"), Site::new("witness"));
    let (meeting, later) = (free_address(), free_address());
    let neighbour = witness.start_listening(&meeting, std::slice::from_ref(&later)).await;
    let dying = victim.start(std::slice::from_ref(&meeting)).await;
    let id = dying.id();
    dying.keeps(SOME).await;
    let heard = neighbour.neighbours_kept(SOME).await;
    dying.stop().await;
    drop(victim);

    let mut follower = Follower::start(&later).await;
    follower.backfill.want(id, Since::Beginning);
    follower.follow("what the neighbour heard", |follower| follower.delivered.len() >= heard).await;
    let epoch = follower.delivered[0].epoch();
    let seqs = follower.seqs(epoch);
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "each once: {seqs:?}");
    assert!(follower.delivered.iter().any(|frame| frame.kind() == Kind::ANNOUNCEMENT));
    neighbour.stop().await;
}
