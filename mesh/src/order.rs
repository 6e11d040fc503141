//! Frames of each node in the order in which it made them.
//!
//! Live frames and fetched ones come as they may; [`Order`] holds back what has to wait for an earlier one. It goes by what [`Gaps`] knows to be
//! missing, and by what peers offer. It asks no clock and opens no socket.
//!
//! - Runs come one after another, frames of a run by seq. An announcement that frames refer to comes before them, if anybody has it.
//! - What is missing is waited for as long as somebody offers it. What nobody offers is waited for [`OrderLimits::patience`] long; then the order is
//!   given up for all that was missing then, and what comes of it yet comes late.
//! - Memory is bounded: beyond the limits a live frame is not taken but noted as existing, so that it is fetched in its turn, and nothing is asked
//!   for but what comes before all that is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use reading::{Epoch, FrameId, NodeId};

use crate::gaps::Gaps;

/// How much is held back, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderLimits {
    /// Frames of one node that are held back for an earlier one; answers that are on their way come on top. Beyond, only earlier ones are
    /// taken.
    pub frames_per_node: usize,
    /// Bytes of all frames that are held back; answers that are on their way come on top. Beyond, of every node only earlier ones are taken.
    pub bytes: usize,
    /// What nobody offers is waited for this long.
    pub patience: Duration,
    /// A node that is not connected is waited for this long from the moment on that it is wanted: only it knows what there is. Others' frames wait
    /// meanwhile.
    pub author_patience: Duration,
}

impl Default for OrderLimits {
    fn default() -> Self {
        Self {
            frames_per_node: 1024,
            bytes: 16 * 1024 * 1024,
            patience: Duration::from_secs(20),
            author_patience: Duration::from_secs(5),
        }
    }
}

/// What is held back of every node.
#[derive(Debug)]
pub struct Order<T> {
    limits: OrderLimits,
    nodes: BTreeMap<NodeId, Line<T>>,
    /// Nodes of which something is to come, as far as is known.
    restless: BTreeSet<NodeId>,
    bytes: usize,
}

/// A frame whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// The frame.
    pub item: T,
    /// A later one of its node was released before it: the order had been given up.
    pub late: bool,
}

/// What is held back of one node.
#[derive(Debug)]
struct Line<T> {
    held: BTreeMap<Epoch, BTreeMap<u64, (T, usize)>>,
    frames: usize,
    wanted_at: Duration,
    /// Since when the same frame has been waited for that nobody offers; `None` in its place while it is not known what there is.
    stuck: Option<(Duration, Option<(Epoch, u64)>)>,
    /// Up to this frame nothing that nobody offers is waited for.
    given_up: Option<(Epoch, u64)>,
    /// What there is was waited for long enough.
    assumed: bool,
    last: Option<(Epoch, u64)>,
}

impl<T> Order<T> {
    /// Nothing wanted yet.
    pub fn new(limits: OrderLimits) -> Self {
        Self { limits, nodes: BTreeMap::new(), restless: BTreeSet::new(), bytes: 0 }
    }

    /// A node is wanted from now on, of the engine as well.
    pub fn want(&mut self, node: NodeId, now: Duration) {
        self.nodes.entry(node).or_insert_with(|| Line::new(now));
        self.restless.insert(node);
    }

    /// Whether there is room for a live frame. Otherwise it is for [`Gaps::note`].
    pub fn takes(&self, gaps: &Gaps, id: FrameId) -> bool {
        let Some(line) = self.nodes.get(&id.node) else { return false };
        if line.frames < self.limits.frames_per_node && self.bytes < self.limits.bytes {
            return true;
        }
        // What everything else waits for is let through.
        let place = |at| gaps.place(&id.node, at);
        next_to_come(gaps, &id.node, line.given_up).is_some_and(|next| place((id.epoch, id.seq)) <= place(next))
    }

    /// A frame that the engine says is new.
    pub fn put(&mut self, id: FrameId, item: T, bytes: usize) {
        let Some(line) = self.nodes.get_mut(&id.node) else { return };
        if line.held.entry(id.epoch).or_default().insert(id.seq, (item, bytes)).is_none() {
            line.frames += 1;
            self.bytes += bytes;
        }
        self.restless.insert(id.node);
    }

    /// Lets go what of a node has nothing more to wait for. To be called when frames were put, when the engine had an answer about the node, and
    /// now and then ([`Self::tick`]).
    pub fn release(&mut self, gaps: &mut Gaps, node: NodeId, now: Duration, out: &mut VecDeque<Released<T>>) {
        let Some(line) = self.nodes.get_mut(&node) else { return };
        let before = self.bytes;
        loop {
            let waits_for_author = now.saturating_sub(line.wanted_at) < self.limits.author_patience;
            let known = line.assumed || gaps.is_confirmed(&node) || !waits_for_author && gaps.is_explored(&node);
            let next = next_to_come(gaps, &node, line.given_up);
            if known {
                self.bytes -= line.release_before(gaps, &node, next, out);
            }
            let stuck = !known || next.is_some() && next != gaps.first_offered(&node);
            if known && next.is_none() {
                self.restless.remove(&node);
            } else {
                self.restless.insert(node);
            }
            if !(stuck && line.loses_patience(known.then_some(next).flatten(), self.limits.patience, now)) {
                if !stuck {
                    line.stuck = None;
                }
                break;
            }
            (line.assumed, line.given_up, line.stuck) = (true, gaps.horizon(&node), None);
        }
        let full = line.frames >= self.limits.frames_per_node || self.bytes >= self.limits.bytes;
        gaps.ask_below(node, if full { line.first(gaps, &node) } else { None });
        if self.bytes >= self.limits.bytes && before < self.limits.bytes {
            self.restrain(gaps);
        }
    }

    /// Does so for every node of which something is to come. Once a second is enough.
    pub fn tick(&mut self, gaps: &mut Gaps, now: Duration, out: &mut VecDeque<Released<T>>) {
        for node in self.restless.iter().copied().collect::<Vec<_>>() {
            self.release(gaps, node, now, out);
        }
    }

    /// Whether nothing more is to come of a node but what is made from now on: all that anybody who can be asked has was released.
    pub fn is_settled(&self, node: &NodeId) -> bool {
        !self.restless.contains(node)
    }

    /// Whether that is so of every node that is wanted.
    pub fn all_settled(&self) -> bool {
        self.restless.is_empty()
    }

    /// The nodes of which something is to come.
    pub fn restless(&self) -> impl Iterator<Item = &NodeId> {
        self.restless.iter()
    }

    /// How many bytes of frames are held back.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames of a node are held back.
    pub fn held_frames(&self, node: &NodeId) -> usize {
        self.nodes.get(node).map_or(0, |line| line.frames)
    }

    fn restrain(&self, gaps: &mut Gaps) {
        for node in &self.restless {
            if let Some(first) = self.nodes.get(node).and_then(|line| line.first(gaps, node)) {
                gaps.ask_below(*node, Some(first));
            }
        }
    }
}

impl<T> Line<T> {
    fn new(now: Duration) -> Self {
        Self {
            held: BTreeMap::new(),
            frames: 0,
            wanted_at: now,
            stuck: None,
            given_up: None,
            assumed: false,
            last: None,
        }
    }

    /// The first that is held.
    fn first(&self, gaps: &Gaps, node: &NodeId) -> Option<(Epoch, u64)> {
        let firsts = self.held.iter().filter_map(|(epoch, frames)| Some((*epoch, *frames.first_key_value()?.0)));
        firsts.min_by_key(|at| gaps.place(node, *at))
    }

    /// Releases what comes before `next`, and says how many bytes that was.
    fn release_before(
        &mut self,
        gaps: &Gaps,
        node: &NodeId,
        next: Option<(Epoch, u64)>,
        out: &mut VecDeque<Released<T>>,
    ) -> usize {
        let next = next.map(|next| gaps.place(node, next));
        let mut runs: Vec<Epoch> = self.held.keys().copied().collect();
        runs.sort_by_key(|epoch| gaps.place(node, (*epoch, 0)));
        let mut released = 0;
        for epoch in runs {
            while let Some(first) = self.held.get_mut(&epoch).and_then(BTreeMap::first_entry) {
                let at = (epoch, *first.key());
                if next.is_some_and(|next| gaps.place(node, at) >= next) {
                    break;
                }
                let (item, bytes) = first.remove();
                let late = self.last.is_some_and(|last| gaps.place(node, at) < gaps.place(node, last));
                if !late {
                    self.last = Some(at);
                }
                out.push_back(Released { item, late });
                self.frames -= 1;
                released += bytes;
            }
        }
        self.held.retain(|_, frames| !frames.is_empty());
        released
    }

    /// Whether `next` has been waited for long enough.
    fn loses_patience(&mut self, next: Option<(Epoch, u64)>, patience: Duration, now: Duration) -> bool {
        match self.stuck {
            Some((since, waits_for)) if waits_for == next => now.saturating_sub(since) >= patience,
            _ => {
                self.stuck = Some((now, next));
                false
            }
        }
    }
}

/// The first frame that is to come before others may go.
fn next_to_come(gaps: &Gaps, node: &NodeId, given_up: Option<(Epoch, u64)>) -> Option<(Epoch, u64)> {
    let candidates = [gaps.first_missing(node, given_up), gaps.first_offered(node)];
    candidates.into_iter().flatten().min_by_key(|at| gaps.place(node, *at))
}

#[cfg(test)]
mod tests;
