//! Which node is looked at next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reading::NodeId;

/// Nodes to look at, in turn: nobody is served twice before another once.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    ready: VecDeque<NodeId>,
    is_ready: BTreeSet<NodeId>,
    /// Nodes that stand in line for a peer, each in one line only: that is enough to come to its turn.
    lines: BTreeMap<Arc<str>, VecDeque<NodeId>>,
    in_line: BTreeSet<NodeId>,
    timers: BTreeSet<(Duration, NodeId)>,
    wakes: BTreeMap<NodeId, Duration>,
}

impl Agenda {
    /// There may be something to do for a node.
    pub(crate) fn queue(&mut self, id: NodeId) {
        if self.is_ready.insert(id) {
            self.ready.push_back(id);
        }
    }

    /// A node stands in line for a peer that is asked as much as may be.
    pub(crate) fn wait(&mut self, id: NodeId, peer: Arc<str>) {
        if self.in_line.insert(id) {
            self.lines.entry(peer).or_default().push_back(id);
        }
    }

    /// When a node is to be looked at though nothing happens.
    pub(crate) fn wake(&mut self, id: NodeId, at: Option<Duration>) {
        if let Some(before) = self.wakes.remove(&id) {
            self.timers.remove(&(before, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
            self.wakes.insert(id, at);
        }
    }

    /// Those whose time has come are queued.
    pub(crate) fn tick(&mut self, now: Duration) {
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.wake(id, None);
            self.queue(id);
        }
    }

    /// The next node, taken out. Who stood in line for a peer that is free now goes before who was just served.
    pub(crate) fn next(&mut self, is_free: impl Fn(&str) -> bool) -> Option<NodeId> {
        self.next_in_line(is_free).or_else(|| {
            let id = self.ready.pop_front()?;
            self.is_ready.remove(&id);
            Some(id)
        })
    }

    /// When a timer ends.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn forget(&mut self, id: &NodeId) {
        self.wake(*id, None);
        if self.in_line.remove(id) {
            self.lines.values_mut().for_each(|line| line.retain(|waits| waits != id));
            self.lines.retain(|_, line| !line.is_empty());
        }
        if self.is_ready.remove(id) {
            self.ready.retain(|ready| ready != id);
        }
    }

    fn next_in_line(&mut self, is_free: impl Fn(&str) -> bool) -> Option<NodeId> {
        let name = self.lines.keys().find(|name| is_free(name)).cloned()?;
        let line = self.lines.get_mut(&name)?;
        let id = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&name);
        }
        self.in_line.remove(&id);
        Some(id)
    }
}
