//! What was missed, fetched from whoever keeps it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh::{
    Answering, Backfill, Batch, Config, GapLimits, History, HistoryError, MeshEvent, Sight, Since, Standing, Summary,
};
use reading::{Epoch, Frame, FrameId, NodeId};
use tokio::time::timeout;

use crate::shelf::{Shelf, past, serving};
use crate::support::{LOOPBACK, PATIENCE, Running, config, eventually, member, subscriber};
use crate::testing::{Node, previous};

const AREA: &str = "magpie/1/seoul/jung";

/// A subscriber that fetches, and everything that was delivered to it.
struct Follower {
    running: Running,
    backfill: Backfill,
    delivered: Vec<Frame>,
    repeats: usize,
}

impl Follower {
    async fn start(seed: u8, connect: &[&Running], limits: GapLimits) -> Self {
        let connect = connect.iter().map(|running| running.address.clone()).collect();
        let config = Config { connect, listen: vec![LOOPBACK.to_owned()], ..subscriber(seed, "seoul/jung/#") };
        let running = Running::start(config).await;
        let backfill = Backfill::new(running.mesh.clone(), limits, seed.into());
        Self { running, backfill, delivered: Vec::new(), repeats: 0 }
    }

    /// Turns until `enough`.
    async fn follow(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !enough(self) {
            assert!(tokio::time::Instant::now() < until, "never {what}: {} delivered", self.delivered.len());
            tokio::select! {
                event = self.running.events.next() => {
                    let event = event.expect("the mesh ended");
                    match (self.backfill.hear(&event), event) {
                        (Sight::First, MeshEvent::Frame { frame, .. }) => self.delivered.push(frame),
                        (Sight::Repeat, _) => self.repeats += 1,
                        _ => {}
                    }
                }
                frame = self.backfill.next() => self.delivered.push(frame.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    /// Everything that was delivered is what there is, once.
    fn has_exactly(&self, shelf: &Shelf) {
        let ids: BTreeSet<FrameId> = self.delivered.iter().map(Frame::id).collect();
        assert_eq!(ids.len(), self.delivered.len(), "something came twice");
        assert_eq!(ids, shelf.ids());
    }
}

fn standing(follower: &Follower, node: NodeId) -> Standing {
    follower.backfill.standing(&node)
}

#[tokio::test]
async fn who_comes_late_gets_everything_once_and_goes_on_live() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 3000);
    let author = Running::start(serving(member(&node), &shelf)).await;
    let announcement = shelf.of(node.author.node())[0].clone();
    author.mesh.publish(announcement).await.unwrap();
    let mut follower = Follower::start(2, &[&author], GapLimits::default()).await;
    follower.backfill.want(node.author.node(), Since::Beginning);
    author.is_followed(AREA).await;
    for _ in 0..50 {
        let frame = shelf.keep(node.readings(1));
        author.mesh.publish(frame).await.unwrap();
        follower.follow("a moment", |follower| !follower.delivered.is_empty()).await;
    }
    let id = node.author.node();
    follower.follow("all of it", |follower| follower.delivered.len() == 3050).await;
    follower.follow("the end of it", |follower| standing(follower, id) == Standing::Complete).await;
    follower.has_exactly(&shelf);
    assert_eq!(follower.backfill.gaps().missing(&id), []);
    assert!(author.metric("history_frames_served_total", "") >= 2900);
}

#[tokio::test]
async fn what_was_measured_while_the_way_was_cut_comes_afterwards_over_a_restart_too() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 20);
    let author = Running::start(serving(member(&node), &shelf)).await;
    author.mesh.publish(shelf.of(node.author.node())[0].clone()).await.unwrap();
    let mut follower = Follower::start(2, &[&author], GapLimits::default()).await;
    let id = node.author.node();
    follower.backfill.want(id, Since::Beginning);
    follower.follow("the first run", |follower| standing(follower, id) == Standing::Complete).await;
    follower.has_exactly(&shelf);
    let address = author.address.clone();
    author.mesh.stop(Duration::from_secs(5)).await.unwrap();
    for _ in 0..30 {
        shelf.keep(node.readings(1));
    }
    let last = shelf.of(id).pop().unwrap();
    let mut restarted = node.restart();
    restarted.previous = Some(previous(&last));
    let announcement = shelf.keep(restarted.announcement());
    let back = Running::start(serving(Config { listen: vec![address], ..member(&restarted) }, &shelf)).await;
    back.mesh.publish(announcement).await.unwrap();
    follower.follow("both runs", |follower| follower.delivered.len() == 51).await;
    follower.has_exactly(&shelf);
}

#[tokio::test]
async fn a_holder_that_lies_is_caught_and_another_is_asked() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 100);
    let id = node.author.node();
    let other = Node::new(5, "seoul", "jung").readings(1);
    let forger = Shelf { instead: Some(other), ..shelf.clone() };
    let boaster =
        Shelf { frames: Arc::new(Mutex::new(vec![shelf.of(id)[0].clone()])), boasts: 100, ..Shelf::default() };
    let forger = Running::start(serving(config(11), &forger)).await;
    let boaster = Running::start(serving(config(12), &boaster)).await;
    let mut follower = Follower::start(2, &[&forger, &boaster], GapLimits::default()).await;
    follower.backfill.want(id, Since::Beginning);
    let asked = |liar: &Running| liar.metric("history_requests_total", "side=\"served\"") >= 2;
    follower.follow("both liars asked for frames", |_| asked(&forger) && asked(&boaster)).await;
    follower.follow("the only frame that they have", |follower| !follower.delivered.is_empty()).await;
    let honest = Config { connect: vec![follower.running.address.clone()], ..serving(config(13), &shelf) };
    let _honest = Running::start(honest).await;
    follower.follow("all of it", |follower| follower.delivered.len() == 100).await;
    follower.has_exactly(&shelf);
}

#[tokio::test]
async fn since_a_time_brings_what_came_from_then_on() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 500);
    let id = node.author.node();
    let since_us = shelf.of(id)[400].stamp().time_us;
    let author = Running::start(serving(member(&node), &shelf)).await;
    let mut follower = Follower::start(2, &[&author], GapLimits::default()).await;
    follower.backfill.want(id, Since::Time { time_us: since_us });
    follower.follow("the end of it", |follower| standing(follower, id) == Standing::Complete).await;
    follower.follow("all of it", |follower| follower.delivered.len() >= 100).await;
    let seqs: BTreeSet<u64> = follower.delivered.iter().map(Frame::seq).collect();
    assert_eq!(seqs, (401..=500).collect());
}

#[tokio::test]
async fn the_dead_are_remembered_by_who_heard_them() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 200);
    let id = node.author.node();
    let half = |odd| Shelf {
        frames: Arc::new(Mutex::new(shelf.of(id).into_iter().filter(|frame| (frame.seq() % 2 == 1) == odd).collect())),
        ..Shelf::default()
    };
    let one = Running::start(serving(config(11), &half(true))).await;
    let two = Running::start(serving(config(12), &half(false))).await;
    let mut follower = Follower::start(2, &[&one, &two], GapLimits::default()).await;
    follower.backfill.want(id, Since::Beginning);
    follower.follow("all of it", |follower| follower.delivered.len() == 200).await;
    follower.has_exactly(&shelf);
}

#[tokio::test]
async fn who_serves_nothing_says_so_and_who_asks_too_often_is_told_when_to_come_back() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 10);
    let id = node.author.node();
    let keeper = Running::start(serving(member(&node), &shelf)).await;
    let asker = Running::start(Config { connect: vec![keeper.address.clone()], ..config(2) }).await;
    eventually("they meet", async || keeper.mesh.peers().await.unwrap().len() == 1).await;
    let (keeper_id, asker_id) = (keeper.mesh.peer_id().to_owned(), asker.mesh.peer_id().to_owned());
    let refused = keeper.mesh.history_summary(&asker_id, id, None).await;
    assert_eq!(refused, Err(HistoryError::Unsupported));
    let stranger = Node::new(9, "seoul", "jung").author.node().to_string();
    let nobody = asker.mesh.history_summary(&stranger, id, None).await;
    assert_eq!(nobody, Err(HistoryError::NotConnected(stranger)));
    let mut answered = 0;
    let busy = timeout(PATIENCE, async {
        loop {
            let asks = (0..8).map(|_| {
                let (mesh, peer) = (asker.mesh.clone(), keeper_id.clone());
                tokio::spawn(async move { mesh.history_summary(&peer, id, None).await })
            });
            for ask in asks.collect::<Vec<_>>() {
                match ask.await.unwrap() {
                    Ok(summary) => {
                        assert_eq!(summary.runs[0].last_seq, 10);
                        answered += 1;
                    }
                    Err(busy) => return busy,
                }
            }
        }
    });
    assert!(matches!(busy.await.unwrap(), HistoryError::Busy { retry_after } if !retry_after.is_zero()));
    assert!(answered > 0, "none was answered");
    keeper.counts("history_requests_total", "side=\"served\",outcome=\"busy\"", 1).await;
    eventually("it is answered again", async || asker.mesh.history_summary(&keeper_id, id, None).await.is_ok()).await;
}

#[tokio::test]
async fn a_store_that_has_no_answer_is_told_as_no_time() {
    #[derive(Debug)]
    struct Broken;
    impl History for Broken {
        fn summary(&self, _: NodeId, _: Option<i64>) -> Answering<Summary> {
            Box::pin(async { None })
        }

        fn frames(&self, _: NodeId, _: Epoch, _: RangeInclusive<u64>, _: usize) -> Answering<Batch> {
            panic!("a fault of the program's")
        }
    }
    let keeper = Running::start(Config { history: Some(Arc::new(Broken)), ..config(1) }).await;
    let asker = Running::start(Config { connect: vec![keeper.address.clone()], ..config(2) }).await;
    eventually("they meet", async || keeper.mesh.peers().await.unwrap().len() == 1).await;
    let (peer, node) = (keeper.mesh.peer_id().to_owned(), Node::new(1, "seoul", "jung").author.node());
    assert!(matches!(asker.mesh.history_summary(&peer, node, None).await, Err(HistoryError::Busy { .. })));
    for _ in 0..4 {
        let answer = asker.mesh.history_frames(&peer, node, Epoch([1; 8]), 1..=5).await;
        assert!(matches!(answer, Err(HistoryError::Failed(_))), "{answer:?}");
    }
    assert!(matches!(asker.mesh.history_summary(&peer, node, None).await, Err(HistoryError::Busy { .. })));
}
