//! Fetching what is missing: [`Gaps`] decides, the mesh asks, and what comes is handed over once.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use reading::{Epoch, Frame, Kind, NodeId, Payload};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::gaps::{Answer, Ask, GapLimits, Gaps, Question, Sight, Since, Standing, Ticket};
use crate::handle::{Mesh, MeshEvent};
use crate::history::{Batch, HistoryError, Summary};

/// Fetched frames that wait to be taken; beyond, nothing more is asked until the program has taken some. What was asked before that comes on
/// top: at most 64 KiB for each question.
const MAX_FETCHED: usize = 1024;
/// While nothing is to be asked, it is looked so often whether that is still so.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The frames of some nodes, without a hole as far as anybody has them, and each once.
///
/// The program gives it every event of the mesh ([`hear`](Self::hear)), which says of live frames whether they are new, and takes what is
/// fetched from [`next`](Self::next). Live frames come in between: whoever wants a node's frames in order looks at what is
/// [missing](Gaps::missing).
#[derive(Debug)]
pub struct Backfill {
    mesh: Mesh,
    gaps: Gaps,
    started: Instant,
    asked: JoinSet<(NodeId, Ticket, Result<Fetched, HistoryError>)>,
    fetched: VecDeque<Frame>,
    repeats: u64,
    /// Connections may have come and gone unheard.
    look_up_peers: bool,
}

#[derive(Debug)]
enum Fetched {
    Summary(Summary),
    Batch(Batch),
}

impl Backfill {
    /// Wants nothing yet. The seed spreads pauses; no two programs need the same.
    pub fn new(mesh: Mesh, limits: GapLimits, seed: u64) -> Self {
        Self {
            mesh,
            gaps: Gaps::new(limits, seed),
            started: Instant::now(),
            asked: JoinSet::new(),
            fetched: VecDeque::new(),
            repeats: 0,
            look_up_peers: true,
        }
    }

    /// As [`Gaps::want`].
    pub fn want(&mut self, node: NodeId, since: Since) -> bool {
        self.gaps.want(node, since)
    }

    /// As [`Gaps::forget`].
    pub fn forget(&mut self, node: &NodeId) {
        self.gaps.forget(node);
    }

    /// As [`Gaps::hold`].
    pub fn hold(&mut self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>) {
        self.gaps.hold(node, epoch, seqs);
    }

    /// As [`Gaps::standing`], and `Waiting` while fetched frames of the node wait to be taken.
    pub fn standing(&self, node: &NodeId) -> Standing {
        if self.fetched.iter().any(|frame| frame.node() == *node) {
            return Standing::Waiting;
        }
        self.gaps.standing(node)
    }

    /// What is missing and what is gone. What waits to be taken counts as held.
    pub fn gaps(&self) -> &Gaps {
        &self.gaps
    }

    /// Takes note of an event. Of a frame, it says whether to deliver it.
    pub fn hear(&mut self, event: &MeshEvent) -> Sight {
        match event {
            MeshEvent::Frame { frame, .. } => return self.see(frame),
            MeshEvent::PeerConnected { peer, .. } => self.gaps.connected(peer),
            MeshEvent::PeerDisconnected { peer } => self.gaps.disconnected(peer),
            MeshEvent::Lagged { .. } => self.look_up_peers = true,
            _ => {}
        }
        Sight::Unwanted
    }

    /// The next frame that was fetched and is new, by seq within one answer. It waits for ever while nothing is missing: ask for it beside the
    /// mesh's events. Nothing is lost when the wait is given up.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            if let Some(frame) = self.fetched.pop_front() {
                return Ok(frame);
            }
            self.turn().await?;
        }
    }

    /// Asks what is to be asked, and waits until an answer has come, which is said to be about this node, or it is time to ask again.
    pub(crate) async fn turn(&mut self) -> Result<Option<NodeId>, Error> {
        if self.look_up_peers {
            let peers = self.mesh.peers().await?;
            self.gaps.peers_are(peers.iter().map(|peer| peer.id.as_str()));
            self.look_up_peers = false;
        }
        self.ask();
        let wake = self.gaps.ask_at().map(|at| tokio::time::Instant::from_std(self.started + at));
        let wake = wake.unwrap_or_else(|| tokio::time::Instant::now() + LOOK_AGAIN);
        tokio::select! {
            Some(answered) = self.asked.join_next() => match answered {
                Ok((node, ticket, answer)) => self.take(ticket, answer).map(|()| Some(node)),
                // Only the end of the runtime ends such a task.
                Err(_) => Err(Error::Stopped),
            },
            () = tokio::time::sleep_until(wake) => Ok(None),
        }
    }

    /// What was fetched and not taken yet.
    pub(crate) fn take_fetched(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.fetched.drain(..)
    }

    pub(crate) fn gaps_mut(&mut self) -> &mut Gaps {
        &mut self.gaps
    }

    /// Frames that came more than once.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn ask(&mut self) {
        while self.fetched.len() < MAX_FETCHED
            && let Some(ask) = self.gaps.ask(self.started.elapsed())
        {
            let mesh = self.mesh.clone();
            self.asked.spawn(async move { (ask.node, ask.ticket, fetch(&mesh, ask).await) });
        }
    }

    fn take(&mut self, ticket: Ticket, answer: Result<Fetched, HistoryError>) -> Result<(), Error> {
        let answer = match answer {
            Ok(Fetched::Summary(summary)) => Answer::Summary(summary),
            Ok(Fetched::Batch(batch)) => {
                let (next_seq, frames) = (batch.next_seq, batch.frames.len() as u64);
                for frame in batch.frames {
                    if self.see(&frame) == Sight::First {
                        self.fetched.push_back(frame);
                    }
                }
                Answer::Frames { next_seq, frames }
            }
            Err(HistoryError::Busy { retry_after }) => Answer::Busy { retry_after },
            Err(HistoryError::Unsupported) => Answer::Unsupported,
            Err(HistoryError::Wrong(problem)) => {
                tracing::debug!(ticket, problem, "a peer's answer about history is wrong");
                Answer::Wrong
            }
            Err(HistoryError::Stopped) => return Err(Error::Stopped),
            Err(HistoryError::NotConnected(_) | HistoryError::Failed(_) | HistoryError::TooMany(_)) => Answer::Failed,
        };
        self.gaps.answered(ticket, answer, self.started.elapsed());
        Ok(())
    }

    pub(crate) fn see(&mut self, frame: &Frame) -> Sight {
        if frame.kind() != Kind::ANNOUNCEMENT {
            let sight = self.gaps.see(frame.id());
            self.repeats += u64::from(sight == Sight::Repeat);
            return sight;
        }
        // The latest is sent again now and then, and stands in every directory.
        let sight = self.gaps.see_aside(frame.id());
        if sight == Sight::First
            && let Ok(Payload::Announcement(announcement)) = frame.payload()
            && let Some(previous) = announcement.previous
        {
            self.gaps.announced(frame.node(), frame.epoch(), previous);
        }
        sight
    }
}

async fn fetch(mesh: &Mesh, ask: Ask) -> Result<Fetched, HistoryError> {
    match ask.question {
        Question::Summary { since } => {
            let since_us = match since {
                Since::Time { time_us } => Some(time_us),
                Since::Beginning | Since::Frame { .. } => None,
            };
            mesh.history_summary(&ask.peer, ask.node, since_us).await.map(Fetched::Summary)
        }
        Question::Frames { epoch, seqs } => {
            mesh.history_frames(&ask.peer, ask.node, epoch, seqs).await.map(Fetched::Batch)
        }
    }
}
