//! A subscriber that notes what comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use mesh::{Account, Config, GapLimits, Next, OrderLimits, Replay, ReplayConfig, Since};
use prometheus_client::registry::Registry;
use reading::{Epoch, Frame, NodeId, NodeKey, Selector};
use tests::magpie::PLACE;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Less than the product's, so that it matters.
pub(super) const ORDER: OrderLimits = OrderLimits {
    frames_per_node: 16,
    bytes: 64 * 1024,
    patience: Duration::from_secs(20),
    author_patience: Duration::from_secs(5),
};
/// How often it is looked what is missing and what takes memory.
const LOOK: Duration = Duration::from_millis(500);

/// Frames of each run of each node.
pub(super) type Frames = BTreeMap<(NodeId, Epoch), BTreeSet<u64>>;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) frames: Frames,
    /// Delivered again.
    pub(super) twice: Vec<Frame>,
    /// Before an earlier one of their run, without being called late.
    pub(super) disordered: Vec<Frame>,
    pub(super) late: u64,
    /// Dropped as repeats.
    pub(super) repeats: u64,
    /// The most that was ever held back.
    pub(super) held_bytes: usize,
    pub(super) ranges: usize,
    pub(super) events_lost: u64,
    accounts: Vec<(NodeId, Account)>,
    error: Option<String>,
    last: BTreeMap<(NodeId, Epoch), u64>,
}

pub(super) struct Follower {
    pub(super) name: &'static str,
    pub(super) began: Instant,
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(super) fn new(
        name: &'static str,
        key: u8,
        connect: Vec<String>,
        since: Since,
        runtime: &Runtime,
    ) -> Result<Self> {
        let selectors: Vec<Selector> = vec![format!("{PLACE}/#").parse()?];
        let config = Config { connect, interest: selectors.clone(), ..Config::new(NodeKey::from_seed([key; 32])) };
        let (gaps, seed) = (GapLimits::default(), u64::from(key));
        let replay = ReplayConfig { selectors, since, gaps, order: ORDER, seed };
        let notes = Arc::new(Mutex::new(Notes::default()));
        let task = runtime.spawn(follow(config, replay, notes.clone()));
        Ok(Self { name, began: Instant::now(), notes, task })
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

async fn follow(config: Config, replay: ReplayConfig, notes: Arc<Mutex<Notes>>) {
    if let Err(error) = noting(config, replay, &notes).await {
        notes.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error.to_string());
    }
}

async fn noting(config: Config, replay: ReplayConfig, notes: &Mutex<Notes>) -> Result<()> {
    let (mesh, events) = mesh::start(config, &mut Registry::default()).await?;
    let mut replay = Replay::new(mesh, events, replay);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lock = || notes.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        tokio::select! {
            next = replay.next() => match next? {
                Next::Frame { frame, late } => lock().take(frame, late),
                Next::Event(mesh::MeshEvent::Lagged { dropped }) => lock().events_lost += dropped,
                Next::Settled | Next::Event(_) => {}
            },
            _ = looks.tick() => {
                let mut notes = lock();
                notes.accounts = replay.accounts().collect();
                notes.repeats = replay.repeats();
                notes.ranges = notes.ranges.max(replay.gaps().size().ranges);
            }
        }
        let held = replay.held_bytes();
        let mut notes = lock();
        notes.held_bytes = notes.held_bytes.max(held);
    }
}

impl Notes {
    fn take(&mut self, frame: Frame, late: bool) {
        let (run, seq) = ((frame.node(), frame.epoch()), frame.seq());
        self.late += u64::from(late);
        if !late && self.last.insert(run, seq).is_some_and(|last| last >= seq) {
            self.disordered.push(frame.clone());
        }
        if !self.frames.entry(run).or_default().insert(seq) {
            self.twice.push(frame);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.frames.values().map(BTreeSet::len).sum()
    }

    /// What of `wanted` did not come.
    pub(super) fn lacks(&self, wanted: &Frames) -> Frames {
        without(wanted, &self.frames)
    }

    /// What came of these runs, which have ended, and their nodes have not stored.
    pub(super) fn lost(&self, ended: &BTreeSet<(NodeId, Epoch)>, stored: &Frames) -> Frames {
        let came = self.frames.iter().filter(|(run, _)| ended.contains(run));
        without(&came.map(|(run, seqs)| (*run, seqs.clone())).collect(), stored)
    }

    /// For whoever has to find out why.
    pub(super) fn explain(&self, lacks: &Frames) -> String {
        let mut text = format!("{} frames, error {:?}", self.count(), self.error);
        for ((node, epoch), seqs) in lacks {
            let account = self.accounts.iter().find(|(known, _)| known == node).map(|(_, account)| account);
            // Writing to a string does not fail.
            let _ = write!(text, "\n  of {node} {epoch} it lacks {seqs:?}: {account:?}");
        }
        text
    }
}

/// What of some frames is not among others.
fn without(frames: &Frames, others: &Frames) -> Frames {
    let none = BTreeSet::new();
    let rest = frames.iter().map(|(run, seqs)| {
        let others = others.get(run).unwrap_or(&none);
        (*run, seqs.difference(others).copied().collect::<BTreeSet<u64>>())
    });
    rest.filter(|(_, seqs)| !seqs.is_empty()).collect()
}
