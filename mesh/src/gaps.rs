//! Which frames of whom are missing, and whom to ask for them.
//!
//! [`Gaps`] is told what happens (frames, announcements, peers that come and go, answers) and says what to ask of whom. It asks no clock
//! and opens no socket: the same events with the same seed give the same questions.
//!
//! What it goes by:
//!
//! - *Proof* is what the author signed or says itself: a frame, an announcement's word on the run before, the author's own summary. Only what
//!   is proven to exist can be missing. What other holders claim is asked for, never missed, and a claim that was not kept is forgotten.
//! - *Gone* is what the author itself no longer has. Nobody else's lack means more than that another is to be asked. A frame that is gone is
//!   taken all the same when some holder still has it.
//! - *Held* only grows: a frame is [`Sight::First`] once, whatever is asked, answered or repeated.
//! - A peer is never asked again for what it said it lacks, until it says that it has more.

mod agenda;
mod choice;
mod holder;
mod limits;
mod node;
mod peer;
mod question;
mod ranges;
mod run;
mod standing;
mod succession;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use reading::{Epoch, FrameId, NodeId, Previous};

use self::agenda::Agenda;
use self::choice::Look;
pub use self::limits::{GapLimits, GapSize};
use self::node::{Kept, Node};
use self::peer::{Peer, Peers};
pub use self::question::{Answer, Ask, Question, Since, Ticket};
pub use self::ranges::Ranges;
pub use self::standing::{Gone, Standing};
use crate::random::Random;

/// What is missing of the nodes that are wanted, and whom to ask.
#[derive(Debug)]
pub struct Gaps {
    limits: GapLimits,
    random: Random,
    nodes: BTreeMap<NodeId, Node>,
    peers: Peers,
    open: BTreeMap<Ticket, Open>,
    last_ticket: u64,
    agenda: Agenda,
    /// Ranges of all runs, and claims of all holders.
    parts: usize,
    claims: usize,
}

/// What a frame is to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// New: deliver it.
    First,
    /// Delivered before, or given up.
    Repeat,
    /// Of a node that nobody wants.
    Unwanted,
}

impl Sight {
    fn of(first: Option<bool>) -> Self {
        match first {
            None => Self::Unwanted,
            Some(true) => Self::First,
            Some(false) => Self::Repeat,
        }
    }
}

/// A question that was not answered yet.
#[derive(Debug)]
struct Open {
    peer: Arc<str>,
    node: NodeId,
    question: Question,
}

impl Gaps {
    /// Nothing wanted yet. The seed spreads pauses.
    pub fn new(limits: GapLimits, seed: u64) -> Self {
        Self {
            limits,
            random: Random::new(seed),
            nodes: BTreeMap::new(),
            peers: Peers::default(),
            open: BTreeMap::new(),
            last_ticket: 0,
            agenda: Agenda::default(),
            parts: 0,
            claims: 0,
        }
    }

    /// Wants a node's frames from now on. False where there are too many nodes; wanting one again changes nothing.
    pub fn want(&mut self, node: NodeId, since: Since) -> bool {
        if !self.nodes.contains_key(&node) {
            if self.nodes.len() >= self.limits.nodes {
                return false;
            }
            self.nodes.insert(node, Node::new(node.to_string().into(), since));
            self.queue(node);
        }
        true
    }

    /// Wants a node no more, and forgets what was held of it.
    pub fn forget(&mut self, node: &NodeId) {
        let asked = |open: &Open| open.node == *node;
        self.close_all(asked);
        let Some(gone) = self.nodes.remove(node) else { return };
        self.parts -= gone.parts;
        self.claims -= gone.claims;
        self.agenda.forget(node);
    }

    /// The program has these frames already.
    pub fn hold(&mut self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>) {
        self.change(node, |node, limits| node.hold(epoch, seqs, limits));
    }

    /// A verified frame came, by whatever way.
    pub fn see(&mut self, id: FrameId) -> Sight {
        Sight::of(self.change(id.node, |node, limits| node.see(id.epoch, id.seq, limits)))
    }

    /// The same for a frame that may come out of its turn, as announcements do out of directories: that it was heard is no reason to want what
    /// was made after it.
    pub fn see_aside(&mut self, id: FrameId) -> Sight {
        Sight::of(self.change(id.node, |node, limits| node.see_aside(id.epoch, id.seq, limits)))
    }

    /// A verified frame came for which there is no room now: it is wanted, and will be fetched in its turn.
    pub fn note(&mut self, id: FrameId) {
        self.change(id.node, |node, limits| node.note(id.epoch, id.seq, limits));
    }

    /// A frame refers to this one, which is wanted for that reason even if it was made before the beginning.
    pub fn need(&mut self, id: FrameId) {
        self.change(id.node, |node, limits| node.need(id.epoch, id.seq, limits));
    }

    /// What an announcement of the node says of the run before its own.
    pub fn announced(&mut self, node: NodeId, epoch: Epoch, previous: Previous) {
        self.change(node, |node, limits| node.announce(epoch, previous, limits));
    }

    /// A peer can be asked.
    pub fn connected(&mut self, peer: &str) {
        if !self.peers.connected.contains_key(peer) {
            self.peers.connected.insert(peer.into(), Peer::default());
            // The others come to it in their turn: nothing is missing of them that it could have.
            let keeper = self.peers.is_keeper(peer);
            let urgent = self.nodes.iter().filter(|(_, node)| keeper || node.seeks(peer)).map(|(id, _)| *id);
            urgent.collect::<Vec<_>>().into_iter().for_each(|id| self.queue(id));
        }
    }

    /// A peer can be asked no more. What it was being asked is over; an answer that comes yet changes nothing.
    pub fn disconnected(&mut self, peer: &str) {
        if self.peers.connected.remove(peer).is_none() {
            return;
        }
        self.close_all(|open| &*open.peer == peer);
        let asked = self.nodes.iter().filter(|(_, node)| node.holders.contains_key(peer)).map(|(id, _)| *id);
        for id in asked.collect::<Vec<_>>() {
            self.change(id, |node, _| node.leave(peer));
        }
    }

    /// Those that can be asked are these, whatever was said before.
    pub fn peers_are<'a>(&mut self, peers: impl IntoIterator<Item = &'a str>) {
        let now: BTreeSet<&str> = peers.into_iter().collect();
        let before: Vec<Arc<str>> = self.peers.connected.keys().cloned().collect();
        before.iter().filter(|peer| !now.contains(&***peer)).for_each(|peer| self.disconnected(peer));
        now.into_iter().for_each(|peer| self.connected(peer));
    }

    /// The next question, `None` until something happens or some time has passed. Call it until it says so, and again after every event and
    /// now and then, some times a second.
    pub fn ask(&mut self, now: Duration) -> Option<Ask> {
        self.agenda.tick(now);
        if self.open.len() >= self.limits.in_flight {
            return None;
        }
        let limit = self.limits.in_flight_per_peer;
        while let Some(id) = {
            let is_free = |name: &str| self.peers.get(name).is_none_or(|peer| peer.in_flight < limit);
            self.agenda.next(is_free)
        } {
            let Some(node) = self.nodes.get(&id) else { continue };
            match node.look(&self.peers, &self.limits, now) {
                Look::Ask(peer, question) => {
                    self.queue(id);
                    return Some(self.put(id, peer, question, now));
                }
                Look::Blocked(peer, wake) => {
                    self.agenda.wake(id, wake);
                    self.agenda.wait(id, peer);
                }
                Look::Until(wake) => self.agenda.wake(id, wake),
            }
        }
        None
    }

    /// When [`Gaps::ask`] may say something new though nothing happens.
    pub fn ask_at(&self) -> Option<Duration> {
        self.agenda.next_wake()
    }

    /// What came of a question.
    pub fn answered(&mut self, ticket: Ticket, answer: Answer, now: Duration) {
        let Some(open) = self.open.remove(&ticket) else { return };
        self.close(&open);
        let Open { peer: name, node: id, question } = open;
        let kept = match (&question, &answer) {
            (Question::Summary { .. }, Answer::Summary(summary)) => {
                let room = self.limits.claims.saturating_sub(self.claims);
                if !summary.runs.is_empty() && self.nodes.get(&id).is_some_and(|node| node.author != name) {
                    self.peers.keeps(&name);
                }
                self.change(id, |node, limits| node.summarise(&name, summary, room, limits));
                Some(Kept::None)
            }
            (Question::Frames { epoch, seqs }, Answer::Frames { next_seq, frames }) if next_seq > seqs.start() => {
                let looked_at = *seqs.start()..=(*seqs.end()).min(next_seq - 1);
                self.change(id, |node, limits| node.looked_at(&name, *epoch, looked_at, *frames, limits))
            }
            _ => None,
        };
        let Some(peer) = self.peers.connected.get_mut(&name) else { return };
        let mut hopeless = false;
        match (answer, kept) {
            (_, Some(Kept::Some)) => peer.delivered(),
            (Answer::Frames { .. }, Some(Kept::None)) => peer.had_nothing(),
            (_, Some(Kept::None)) => {}
            (Answer::Busy { retry_after }, _) => peer.busy(retry_after, &mut self.random, now),
            (Answer::Wrong, _) => hopeless = peer.lied(&mut self.random, now),
            (Answer::Unsupported, _) => hopeless = true,
            // Among them an answer to another question.
            _ => peer.failed(&mut self.random, now),
        }
        if hopeless {
            // Until it connects anew.
            self.disconnected(&name);
        }
    }

    /// Takes a question down as asked.
    fn put(&mut self, id: NodeId, name: Arc<str>, question: Question, now: Duration) -> Ask {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        if let Some(peer) = self.peers.connected.get_mut(&name) {
            peer.in_flight += 1;
            peer.chosen = ticket;
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            match &question {
                Question::Summary { .. } => {
                    node.summary_in_flight = true;
                    let before = node.claims;
                    node.explored(&name, &mut self.random, &self.limits, now);
                    self.claims = self.claims + node.claims - before;
                }
                Question::Frames { epoch, seqs } => {
                    node.frames_in_flight += 1;
                    node.asked.entry(*epoch).or_default().insert(seqs.clone());
                }
            }
        }
        self.open.insert(ticket, Open { peer: name.clone(), node: id, question: question.clone() });
        Ask { ticket, peer: name, node: id, question }
    }

    fn close_all(&mut self, over: impl Fn(&Open) -> bool) {
        let tickets: Vec<Ticket> = self.open.iter().filter(|(_, open)| over(open)).map(|(ticket, _)| *ticket).collect();
        for open in tickets.iter().filter_map(|ticket| self.open.remove(ticket)).collect::<Vec<_>>() {
            self.close(&open);
        }
    }

    /// A question is over.
    fn close(&mut self, open: &Open) {
        if let Some(peer) = self.peers.connected.get_mut(&open.peer) {
            peer.in_flight -= 1;
        }
        let Some(node) = self.nodes.get_mut(&open.node) else { return };
        match &open.question {
            Question::Summary { .. } => node.summary_in_flight = false,
            Question::Frames { epoch, seqs } => {
                node.frames_in_flight -= 1;
                if let Some(asked) = node.asked.get_mut(epoch) {
                    asked.remove(seqs.clone());
                    if asked.is_empty() {
                        node.asked.remove(epoch);
                    }
                }
            }
        }
        self.queue(open.node);
    }

    /// Changes what is known of a node, and keeps the books.
    fn change<T>(&mut self, id: NodeId, change: impl FnOnce(&mut Node, &GapLimits) -> T) -> Option<T> {
        let node = self.nodes.get_mut(&id)?;
        let (parts, claims) = (node.parts, node.claims);
        let changed = change(node, &self.limits);
        self.parts = self.parts + node.parts - parts;
        if self.claims + node.claims - claims > self.limits.claims {
            node.disbelieve();
        }
        self.claims = self.claims + node.claims - claims;
        if self.parts > self.limits.ranges {
            self.give_up();
        }
        self.queue(id);
        Some(changed)
    }

    fn give_up(&mut self) {
        if let Some(node) = self.nodes.values_mut().max_by_key(|node| node.parts) {
            let before = node.parts;
            node.give_up(&self.limits);
            self.parts = self.parts + node.parts - before;
        }
    }

    fn queue(&mut self, id: NodeId) {
        if self.nodes.contains_key(&id) {
            self.agenda.queue(id);
        }
    }
}
