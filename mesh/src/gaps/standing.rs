//! What the engine knows: for programs, and for whoever puts frames in order.

use std::ops::RangeInclusive;

use reading::{Epoch, NodeId};

use super::node::Node;
use super::peer::Peer;
use super::{GapSize, Gaps, Open, Question};

/// How far a node's frames are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All that is known to exist is held or gone.
    Complete,
    /// Somebody is being asked, or can be.
    Waiting,
    /// Something is missing and nobody connected has it, or nobody has said anything of the node.
    Stuck,
}

/// What the author itself no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The run.
    pub epoch: Epoch,
    /// The frames.
    pub seqs: RangeInclusive<u64>,
    /// Its retention took them; otherwise it lost them, as to a power cut.
    pub by_retention: bool,
}

impl Gaps {
    /// What is known to exist, is wanted, and is neither held nor gone.
    pub fn missing(&self, node: &NodeId) -> Vec<(Epoch, RangeInclusive<u64>)> {
        self.nodes.get(node).map(Node::missing).unwrap_or_default()
    }

    /// What is wanted and no longer there.
    pub fn gone(&self, node: &NodeId) -> Vec<Gone> {
        self.nodes.get(node).map(Node::gone).unwrap_or_default()
    }

    /// Whether the node itself has said what it has: otherwise there may be frames that nobody has told of.
    pub fn is_confirmed(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| node.author_answered)
    }

    /// How many frames of the node were given up because its holes were too many ([`GapLimits::ranges_per_run`](crate::GapLimits::ranges_per_run)).
    pub fn given_up(&self, node: &NodeId) -> u64 {
        self.nodes.get(node).map_or(0, Node::given_up)
    }

    /// Whether the node had so many runs that the oldest was forgotten: what it missed of runs it never heard is not known any more.
    pub fn has_forgotten_runs(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(Node::has_forgotten_runs)
    }

    /// How far the node's frames are together; `Complete` for one that is not wanted.
    pub fn standing(&self, node: &NodeId) -> Standing {
        let Some(wanted) = self.nodes.get(node) else { return Standing::Complete };
        // A summary that is asked for as a matter of routine is not waited for.
        let matters = |open: &Open| matches!(open.question, Question::Frames { .. }) || !wanted.open.is_empty();
        let asks = self.open.values().any(|open| {
            open.node == *node && matters(open) && self.peers.get(&open.peer).is_some_and(Peer::is_hopeful)
        });
        wanted.standing(&self.peers, asks)
    }

    /// Asks for nothing of a node from this frame on, by run and seq, until told otherwise.
    pub(crate) fn ask_below(&mut self, id: NodeId, ceiling: Option<(Epoch, u64)>) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.ceiling != ceiling) {
            node.ceiling = ceiling;
            self.queue(id);
        }
    }

    /// The first frame of a node that is missing and stands above `given_up`.
    pub(crate) fn first_missing(&self, node: &NodeId, given_up: Option<(Epoch, u64)>) -> Option<(Epoch, u64)> {
        self.nodes.get(node)?.first_missing(given_up)
    }

    /// The first frame of a node that is to come from a peer that offers it.
    pub(crate) fn first_offered(&self, node: &NodeId) -> Option<(Epoch, u64)> {
        self.nodes.get(node)?.first_offered(&self.peers)
    }

    /// The nodes that are not connected and of which something is missing that nobody who is offers.
    pub(crate) fn orphaned(&self) -> impl Iterator<Item = &NodeId> {
        let orphaned = |node: &Node| {
            !node.open.is_empty()
                && !self.peers.connected.contains_key(&node.author)
                && node.first_offered(&self.peers).is_none()
        };
        self.nodes.iter().filter(move |(_, node)| orphaned(node)).map(|(id, _)| id)
    }

    /// The last frame of a node that is known or said to exist.
    pub(crate) fn horizon(&self, node: &NodeId) -> Option<(Epoch, u64)> {
        self.nodes.get(node)?.horizon()
    }

    /// Where a frame stands among all of its node's.
    pub(crate) fn place(&self, node: &NodeId, frame: (Epoch, u64)) -> (usize, u64) {
        self.nodes.get(node).map_or((usize::MAX, frame.1), |node| node.place(frame))
    }

    /// Whether so many peers were asked about a node that what is known of it may be acted on.
    pub(crate) fn is_explored(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_none_or(|node| node.is_explored(&self.peers))
    }

    /// The nodes that are wanted.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// What it takes memory for.
    pub fn size(&self) -> GapSize {
        let (nodes, in_flight) = (self.nodes.len(), self.open.len());
        GapSize { nodes, ranges: self.parts, claims: self.claims, in_flight }
    }
}
