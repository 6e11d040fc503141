//! Who is where: the latest announcement of every node that was heard of.
//!
//! The mesh serves it to whoever connects, so that one address is enough to learn cities, areas and addresses. A subscriber keeps one of its
//! own, to know what the sensors in a frame of readings are.
//!
//! Two announcements of one node come in any order and by many ways. Within one epoch the higher seq is the later. Between two epochs their
//! frames say it when one names the other as its predecessor, or when both are of one boot, or when both clocks were synchronised. Where
//! nothing says it, what the node itself gossips just now is the later, and of two that came by hearsay the one with the later stamp: a rule
//! that does not depend on who was asked first, or two peers would swap their answers for ever.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use reading::{Announcement, ClockState, Epoch, Frame, Kind, Label, NodeId, Payload};

/// Announcements of one node that are kept decoded: frames of readings may refer to one that was replaced a moment ago.
const DESCRIBED: usize = 4;

/// The latest announcement of every node that was heard of.
#[derive(Debug)]
pub struct Directory {
    nodes: HashMap<NodeId, Entry>,
    /// By when an entry last changed: what a peer that was here before has not seen yet.
    changes: BTreeMap<u64, NodeId>,
    last_change: u64,
    last_heard: u64,
    max_nodes: usize,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    announcement: Arc<Announcement>,
    /// Earlier ones, the latest included, newest last.
    described: VecDeque<(Epoch, u64, Arc<Announcement>)>,
    changed: u64,
    heard: u64,
    /// Whether the node gossiped it itself, and so was alive with it.
    live: bool,
}

/// What an announcement was to the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The latest of its node so far.
    New,
    /// The very one that is held.
    Known,
    /// Older than the one that is held; still good for describing the frames that refer to it.
    Older,
    /// No announcement that can be read.
    Nothing,
}

/// Announcements for a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) frames: Vec<Frame>,
    /// Where the next page begins.
    pub(crate) next: u64,
    pub(crate) more: bool,
}

impl Directory {
    /// An empty directory for at most `max_nodes` nodes; beyond, the one not heard of for longest is forgotten.
    pub fn new(max_nodes: usize) -> Self {
        Self {
            nodes: HashMap::new(),
            changes: BTreeMap::new(),
            last_change: 0,
            last_heard: 0,
            max_nodes: max_nodes.max(1),
        }
    }

    /// Takes note of an announcement that came by hearsay: out of a neighbour's directory, a file, a store.
    pub fn observe(&mut self, frame: &Frame) -> Observed {
        self.note(frame, false)
    }

    /// Takes note of an announcement that the node itself has just gossiped.
    pub fn observe_live(&mut self, frame: &Frame) -> Observed {
        self.note(frame, true)
    }

    /// What describes a frame: the announcement that its readings refer to, or for other kinds the latest of its epoch up to it.
    pub fn describe(&self, frame: &Frame) -> Option<Arc<Announcement>> {
        match frame.payload().ok()? {
            Payload::Readings(readings) => self.described(&frame.node(), frame.epoch(), readings.announcement),
            _ => {
                let described = &self.nodes.get(&frame.node())?.described;
                let earlier = described.iter().filter(|(epoch, seq, _)| *epoch == frame.epoch() && *seq <= frame.seq());
                earlier.max_by_key(|(_, seq, _)| *seq).map(|(.., announcement)| announcement)
            }
        }
        .cloned()
    }

    /// The announcement with this number.
    pub(crate) fn described(&self, node: &NodeId, epoch: Epoch, seq: u64) -> Option<&Arc<Announcement>> {
        let described = &self.nodes.get(node)?.described;
        described.iter().find(|known| (known.0, known.1) == (epoch, seq)).map(|(.., announcement)| announcement)
    }

    /// The latest announcement of a node.
    pub fn latest(&self, node: &NodeId) -> Option<&Arc<Announcement>> {
        self.nodes.get(node).map(|entry| &entry.announcement)
    }

    /// Every node with its latest announcement, as it was signed and decoded, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&Frame, &Arc<Announcement>)> {
        self.nodes.values().map(|entry| (&entry.frame, &entry.announcement))
    }

    /// Whether an announcement of this run of a node is known.
    pub(crate) fn knows(&self, node: &NodeId, epoch: Epoch) -> bool {
        self.nodes.get(node).is_some_and(|entry| entry.frame.epoch() == epoch)
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether exactly these bytes are held as a node's latest announcement: then nothing about them needs checking again.
    pub(crate) fn holds(&self, bytes: &[u8]) -> bool {
        // The node's key stands right behind the version byte.
        bytes
            .get(1..33)
            .and_then(|key| key.try_into().ok())
            .and_then(|key| self.nodes.get(&NodeId(key)))
            .is_some_and(|entry| entry.frame.bytes() == bytes)
    }

    /// What changed after `after`, oldest change first, up to `max_bytes` of frames but at least one.
    pub(crate) fn page(&self, city: Option<&Label>, after: u64, max_bytes: usize) -> Page {
        let mut page = Page { next: after, ..Page::default() };
        let mut bytes = 0;
        for (&change, node) in self.changes.range(after.saturating_add(1)..) {
            let Some(entry) = self.nodes.get(node) else { continue };
            if city.is_none_or(|city| *city == entry.announcement.place.city) {
                bytes += entry.frame.bytes().len();
                if bytes > max_bytes && !page.frames.is_empty() {
                    page.more = true;
                    return page;
                }
                page.frames.push(entry.frame.clone());
            }
            page.next = change;
        }
        page
    }

    fn note(&mut self, frame: &Frame, live: bool) -> Observed {
        if frame.kind() != Kind::ANNOUNCEMENT {
            return Observed::Nothing;
        }
        self.last_heard += 1;
        let heard = self.last_heard;
        if let Some(entry) = self.nodes.get_mut(&frame.node())
            && entry.frame == *frame
        {
            entry.heard = heard;
            entry.live |= live;
            return Observed::Known;
        }
        let Ok(Payload::Announcement(announcement)) = frame.payload() else { return Observed::Nothing };
        let announcement = Arc::new(announcement);
        let description = (frame.epoch(), frame.seq(), announcement.clone());
        let described = match self.nodes.get_mut(&frame.node()) {
            None => {
                self.make_room();
                VecDeque::from([description])
            }
            Some(entry) => {
                remember(&mut entry.described, description);
                if !supersedes(frame, &announcement, live, entry) {
                    return Observed::Older;
                }
                self.changes.remove(&entry.changed);
                std::mem::take(&mut entry.described)
            }
        };
        self.last_change += 1;
        let changed = self.last_change;
        self.changes.insert(changed, frame.node());
        let entry = Entry { frame: frame.clone(), announcement, described, changed, heard, live };
        self.nodes.insert(frame.node(), entry);
        Observed::New
    }

    fn make_room(&mut self) {
        while self.nodes.len() >= self.max_nodes {
            let Some((&node, entry)) = self.nodes.iter().min_by_key(|(_, entry)| entry.heard) else { return };
            self.changes.remove(&entry.changed);
            self.nodes.remove(&node);
        }
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self::new(crate::Limits::default().directory_nodes)
    }
}

fn remember(described: &mut VecDeque<(Epoch, u64, Arc<Announcement>)>, description: (Epoch, u64, Arc<Announcement>)) {
    described.retain(|(epoch, seq, _)| (*epoch, *seq) != (description.0, description.1));
    described.push_back(description);
    if described.len() > DESCRIBED {
        described.pop_front();
    }
}

fn supersedes(frame: &Frame, announcement: &Announcement, live: bool, held: &Entry) -> bool {
    let epoch_before = |announcement: &Announcement| announcement.previous.map(|previous| previous.epoch);
    if frame.epoch() == held.frame.epoch() {
        return frame.seq() > held.frame.seq();
    }
    if epoch_before(announcement) == Some(held.frame.epoch()) {
        return true;
    }
    if epoch_before(&held.announcement) == Some(frame.epoch()) {
        return false;
    }
    let (stamp, held_stamp) = (frame.stamp(), held.frame.stamp());
    if frame.boot() == held.frame.boot() {
        return stamp.uptime_ms > held_stamp.uptime_ms;
    }
    if stamp.clock == ClockState::SYNCED && held_stamp.clock == ClockState::SYNCED {
        return stamp.time_us > held_stamp.time_us;
    }
    if live != held.live {
        return live;
    }
    live || (stamp.time_us, frame.epoch()) > (held_stamp.time_us, held.frame.epoch())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Node, label, previous};

    fn places(directory: &Directory) -> Vec<String> {
        let mut places: Vec<_> = directory.nodes().map(|(_, announcement)| announcement.place.to_string()).collect();
        places.sort();
        places
    }

    #[test]
    fn the_later_of_two_announcements_stays_in_whatever_order_they_come() {
        let mut node = Node::new(1, "seoul", "jung");
        let first = node.announcement();
        let second = node.moved_to("mapo").announcement();
        let mut restarted = node.restart();
        let third = restarted.moved_to("nowon").announcement();
        let all = [&first, &second, &third];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut directory = Directory::new(10);
            for index in order {
                directory.observe(all[index]);
            }
            assert_eq!(places(&directory), ["seoul/nowon/n1"], "{order:?}");
        }
    }

    #[test]
    fn a_predecessor_decides_against_a_clock_set_back() {
        let mut node = Node::new(1, "seoul", "jung");
        let first = node.announcement();
        let mut restarted = node.restart();
        restarted.stamp.time_us = 5;
        restarted.boot();
        restarted.previous = Some(previous(&first));
        let second = restarted.announcement();
        let mut directory = Directory::new(10);
        assert_eq!((directory.observe(&first), directory.observe(&second)), (Observed::New, Observed::New));
        assert_eq!(directory.observe_live(&first), Observed::Older);
    }

    #[test]
    fn where_nothing_tells_hearsay_agrees_and_the_node_itself_wins() {
        let mut one = Node::new(1, "seoul", "jung");
        one.stamp.clock = ClockState::UNKNOWN;
        let mut two = one.restart();
        two.boot();
        two.stamp.time_us = 5;
        let (old, new) = (one.announcement(), two.announcement());
        let (mut ours, mut theirs) = (Directory::new(10), Directory::new(10));
        for frame in [&old, &new] {
            ours.observe(frame);
        }
        for frame in [&new, &old] {
            theirs.observe(frame);
        }
        assert_eq!(ours.page(None, 0, 10_000).frames, theirs.page(None, 0, 10_000).frames);
        assert_eq!(ours.observe_live(&new), Observed::New);
        assert_eq!(ours.observe(&old), Observed::Older, "hearsay does not undo what the node said");
    }

    #[test]
    fn readings_are_described_by_the_announcement_that_they_name() {
        let mut node = Node::new(1, "seoul", "jung");
        let mut directory = Directory::new(10);
        let first = node.announcement();
        let early = node.readings(1);
        assert_eq!(directory.describe(&early), None);
        directory.observe(&first);
        let moved = node.moved_to("mapo").announcement();
        directory.observe(&moved);
        let late = node.readings(moved.seq());
        let area = |frame: &Frame| directory.describe(frame).map(|announcement| announcement.place.area.to_string());
        assert_eq!(area(&early).as_deref(), Some("jung"));
        assert_eq!(area(&late).as_deref(), Some("mapo"));
        assert_eq!(area(&node.unknown_kind()).as_deref(), Some("mapo"));
        assert_eq!(area(&node.restart().readings(1)), None);
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended_and_bring_what_changed_since() {
        let mut directory = Directory::new(100);
        let mut nodes: Vec<Node> = (0..10).map(|seed| Node::new(seed, "seoul", "jung")).collect();
        for node in &mut nodes {
            directory.observe(&node.announcement());
        }
        let (mut after, mut heard, mut pages) = (0, Vec::new(), 0);
        loop {
            let page = directory.page(None, after, 500);
            assert!(page.next > after || !page.more);
            heard.extend(page.frames);
            pages += 1;
            after = page.next;
            if !page.more {
                break;
            }
        }
        assert_eq!(heard.len(), 10);
        assert!(pages > 1, "{pages}");
        assert_eq!(directory.page(None, after, 500), Page { frames: vec![], next: after, more: false });
        let moved = nodes[3].moved_to("mapo").announcement();
        directory.observe(&moved);
        assert_eq!(directory.page(None, after, 500).frames, [moved]);
        assert!(directory.page(Some(&label("busan")), 0, 500).frames.is_empty());
        assert_eq!(directory.page(None, u64::MAX, 500).next, u64::MAX);
    }

    #[test]
    fn a_full_directory_forgets_whom_it_heard_of_longest_ago() {
        let mut directory = Directory::new(2);
        let announcements: Vec<_> = (0..3).map(|seed| Node::new(seed, "seoul", "jung").announcement()).collect();
        directory.observe(&announcements[0]);
        directory.observe(&announcements[1]);
        directory.observe(&announcements[0]);
        directory.observe(&announcements[2]);
        assert_eq!(places(&directory), ["seoul/jung/n0", "seoul/jung/n2"]);
        assert_eq!(directory.changes.len(), 2);
        assert!(directory.holds(announcements[0].bytes()) && !directory.holds(announcements[1].bytes()));
        assert!(!directory.holds(&[]) && !directory.holds(&announcements[0].bytes()[..40]));
    }
}
