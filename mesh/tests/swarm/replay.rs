//! The past in order, and then live.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh::{Config, Next, OrderLimits, Replay, ReplayConfig, Since};
use reading::{Frame, NodeId};
use tokio::time::timeout;

use crate::shelf::{Shelf, past, serving};
use crate::support::{PATIENCE, Running, config, eventually, member, subscriber};
use crate::testing::{Node, previous};

const AREA: &str = "magpie/1/seoul/jung";

/// A late subscriber, and what it was given.
struct Reader {
    replay: Replay,
    frames: Vec<Frame>,
    late: usize,
    settled: bool,
    /// How many frames had come when the past of the first one's node was called complete.
    past: Option<usize>,
}

impl Reader {
    async fn start(seed: u8, connect: &[&Running], since: Since) -> Self {
        let connect = connect.iter().map(|running| running.address.clone()).collect();
        let Running { mesh, events, .. } = Running::start(Config { connect, ..subscriber(seed, "seoul/jung/#") }).await;
        let order = OrderLimits { patience: Duration::from_secs(2), ..OrderLimits::default() };
        let selectors = vec!["seoul/jung/#".parse().unwrap()];
        let replay = Replay::new(mesh, events, ReplayConfig { selectors, since, order, ..ReplayConfig::default() });
        Self { replay, frames: Vec::new(), late: 0, settled: false, past: None }
    }

    /// Reads until `enough`.
    async fn read(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let reading = async {
            while !enough(self) {
                match self.replay.next().await.unwrap() {
                    Next::Frame { frame, late } => {
                        self.late += usize::from(late);
                        let complete = self.replay.is_settled(&frame.node());
                        self.frames.push(frame);
                        if complete {
                            self.past.get_or_insert(self.frames.len());
                        }
                    }
                    Next::Settled => self.settled = true,
                    Next::Event(_) => {}
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            panic!("never {what}: {} frames", self.frames.len());
        }
    }

    fn missing(&self, node: NodeId) -> Vec<(u64, u64)> {
        let account = self.replay.accounts().find(|(known, _)| *known == node).unwrap().1;
        account.missing.into_iter().map(|(_, seqs)| seqs.into_inner()).collect()
    }
}

/// Lets two peers learn of a node that dies then.
async fn heard_by(node: &Node, announcement: Frame, holders: &[&Running]) {
    let connect = holders.iter().map(|holder| holder.address.clone()).collect();
    let author = Running::start(Config { connect, ..member(node) }).await;
    author.mesh.publish(announcement).await.unwrap();
    for holder in holders {
        eventually("it is known", async || !holder.mesh.nodes().await.unwrap().is_empty()).await;
    }
    author.mesh.stop(Duration::from_secs(5)).await.unwrap();
}

fn part_of(shelf: &Shelf, keeps: impl Fn(u64) -> bool) -> Shelf {
    let all = shelf.frames.lock().unwrap();
    let frames = all.iter().filter(|frame| keeps(frame.seq())).cloned().collect();
    Shelf { frames: Arc::new(Mutex::new(frames)), ..Shelf::default() }
}

#[tokio::test]
async fn a_dead_nodes_past_comes_in_order_from_two_who_each_have_holes() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 700);
    let one = Running::start(serving(config(11), &part_of(&shelf, |seq| seq % 2 == 1))).await;
    let two = Running::start(serving(config(12), &part_of(&shelf, |seq| seq % 2 == 0 || seq == 1))).await;
    let id = node.author.node();
    heard_by(&node, shelf.of(id)[0].clone(), &[&one, &two]).await;
    let mut reader = Reader::start(2, &[&one, &two], Since::Beginning).await;
    reader.read("all of it", |reader| reader.frames.len() == 700).await;
    assert_eq!(reader.frames, shelf.of(id));
    assert_eq!(reader.late, 0);
    reader.read("the end of it", |reader| reader.settled).await;
    assert_eq!(reader.missing(id), []);
}

#[tokio::test]
async fn what_nobody_has_is_passed_over_and_told() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 300);
    let kept = part_of(&shelf, |seq| !(20..=29).contains(&seq) && seq != 250);
    let holder = Running::start(serving(config(11), &kept)).await;
    let id = node.author.node();
    heard_by(&node, shelf.of(id)[0].clone(), &[&holder]).await;
    let mut reader = Reader::start(2, &[&holder], Since::Beginning).await;
    reader.read("the end of it", |reader| reader.settled).await;
    assert_eq!(reader.frames, kept.of(id));
    assert_eq!((reader.late, reader.missing(id)), (0, vec![(20, 29), (250, 250)]));
    assert!(!reader.replay.accounts().next().unwrap().1.confirmed);
}

#[tokio::test]
async fn the_past_goes_over_to_live_without_a_hole_or_a_repeat() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 2000);
    let author = Running::start(serving(member(&node), &shelf)).await;
    let id = node.author.node();
    author.mesh.publish(shelf.of(id)[0].clone()).await.unwrap();
    let mut reader = Reader::start(2, &[&author], Since::Beginning).await;
    let reading = tokio::spawn(async move {
        reader.read("all of it", |reader| reader.frames.len() == 2060).await;
        reader
    });
    author.is_followed(AREA).await;
    for number in 0..60 {
        let frame = shelf.keep(node.readings(1));
        // Some are not heard.
        if number % 7 != 2 {
            author.mesh.publish(frame).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let reader = reading.await.unwrap();
    assert_eq!(reader.frames, shelf.of(id));
    assert_eq!(reader.late, 0);
}

#[tokio::test]
async fn a_restart_in_between_is_a_run_after_the_other() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 40);
    let id = node.author.node();
    let last = shelf.of(id).pop().unwrap();
    let mut restarted = node.restart();
    restarted.previous = Some(previous(&last));
    past(&mut restarted, &shelf, 30);
    let author = Running::start(serving(member(&restarted), &shelf)).await;
    author.mesh.publish(shelf.of(id)[40].clone()).await.unwrap();
    let mut reader = Reader::start(2, &[&author], Since::Beginning).await;
    reader.read("both runs", |reader| reader.frames.len() == 70).await;
    assert_eq!(reader.frames, shelf.of(id));
    assert_eq!(reader.past, Some(70), "who waits for a node's past waits to its last frame");
}

#[tokio::test]
async fn what_came_since_a_time_comes_after_the_announcement_that_explains_it() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 500);
    let id = node.author.node();
    let since = Since::Time { time_us: shelf.of(id)[400].stamp().time_us };
    let author = Running::start(serving(member(&node), &shelf)).await;
    author.mesh.publish(shelf.of(id)[0].clone()).await.unwrap();
    let mut reader = Reader::start(2, &[&author], since).await;
    reader.read("the end of it", |reader| reader.settled).await;
    let seqs: Vec<u64> = reader.frames.iter().map(Frame::seq).collect();
    assert_eq!(seqs, [1].into_iter().chain(401..=500).collect::<Vec<_>>());
    assert_eq!(reader.missing(id), []);
}

#[tokio::test]
async fn a_node_that_came_back_elsewhere_is_dialled_for_what_only_it_has() {
    let (mut node, shelf) = (Node::new(1, "seoul", "jung"), Shelf::default());
    past(&mut node, &shelf, 40);
    let id = node.author.node();
    let author = Running::start(serving(member(&node), &shelf)).await;
    author.mesh.publish(shelf.of(id)[0].clone()).await.unwrap();
    // So many that nobody else is dialled for company.
    let mut peers = Vec::new();
    for seed in 11..26 {
        let interest = vec!["seoul/jung/#".parse().unwrap()];
        peers.push(Running::start(Config { interest, ..config(seed) }).await);
    }
    let connect: Vec<&Running> = peers.iter().chain([&author]).collect();
    let mut reader = Reader::start(2, &connect, Since::Beginning).await;
    reader.read("the first run", |reader| reader.frames.len() == 40).await;
    author.mesh.stop(Duration::from_secs(5)).await.unwrap();

    let mut restarted = node.restart();
    restarted.previous = Some(previous(&shelf.of(id)[39]));
    let connect = vec![peers[0].address.clone()];
    let back = Running::start(Config { connect, ..serving(member(&restarted), &shelf) }).await;
    restarted.addresses = vec![back.address.clone()];
    past(&mut restarted, &shelf, 30);
    // Its directory has the latest word; the 29 frames before it are on its own shelf only.
    back.mesh.publish(shelf.keep(restarted.announcement())).await.unwrap();
    reader.read("the second run", |reader| reader.frames.len() == 71).await;
    assert_eq!(reader.frames.iter().map(Frame::id).collect::<BTreeSet<_>>(), shelf.ids());
}
