//! Frames that wait for the time: a node that does not know it yet says later when its earlier frames were made.

use std::collections::{BTreeMap, VecDeque};

use reading::{Dating, Frame, NodeId};

/// Bytes of frames that wait. Beyond, the oldest of whoever adds to them goes on without a time.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Holds a node's frames from the first one on whose time is not known, as long as its past is still coming and may have the fix.
#[derive(Debug, Default)]
pub struct Undated {
    waiting: BTreeMap<NodeId, VecDeque<Frame>>,
    bytes: usize,
}

impl Undated {
    /// Takes a frame of which `dating` has learned; gives those that wait no longer, in the order in which they came. `past` says whether
    /// the node's past is still coming.
    pub fn take(&mut self, frame: Frame, past: bool, dating: &Dating) -> Vec<Frame> {
        let node = frame.node();
        if !self.waiting.contains_key(&node) && (!past || dating.time_us(&frame).is_some()) {
            return vec![frame];
        }
        self.bytes += frame.bytes().len();
        self.waiting.entry(node).or_default().push_back(frame);
        self.let_go(node, |frame, bytes| !past || bytes > MAX_BYTES || dating.time_us(frame).is_some())
    }

    /// The nodes that wait.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.waiting.keys()
    }

    /// A node's past is here: nothing of it waits any more.
    pub fn end(&mut self, node: NodeId) -> Vec<Frame> {
        self.let_go(node, |_, _| true)
    }

    fn let_go(&mut self, node: NodeId, may_go: impl Fn(&Frame, usize) -> bool) -> Vec<Frame> {
        let mut gone = Vec::new();
        let Some(frames) = self.waiting.get_mut(&node) else { return gone };
        while let Some(frame) = frames.pop_front_if(|frame| may_go(frame, self.bytes)) {
            self.bytes -= frame.bytes().len();
            gone.push(frame);
        }
        if frames.is_empty() {
            self.waiting.remove(&node);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use reading::{Author, BootId, ClockFix, ClockState, Epoch, NodeKey, Payload, Readings, Stamp};

    use super::*;

    fn frame(author: &mut Author, uptime_ms: u64, clock: ClockState) -> Frame {
        let payload = Payload::Readings(Readings { announcement: 1, readings: vec![] });
        author.sign(Stamp { uptime_ms, time_us: 5, clock }, &payload).unwrap()
    }

    fn fix(author: &mut Author) -> Frame {
        let fix = ClockFix { boot: BootId([1; 8]), wall_at_zero_us: 1_795_510_800_000_000, uncertainty_ms: 10 };
        let stamp = Stamp { uptime_ms: 9_000, time_us: 5, clock: ClockState::SYNCED };
        author.sign(stamp, &Payload::ClockFix(fix)).unwrap()
    }

    fn author() -> Author {
        Author::new(NodeKey::from_seed([1; 32]), Epoch([1; 8]), BootId([1; 8]))
    }

    fn seqs(frames: &[Frame]) -> Vec<u64> {
        frames.iter().map(Frame::seq).collect()
    }

    #[test]
    fn what_was_made_before_the_time_was_known_waits_for_the_fix_and_all_after_it_too() {
        let (mut author, mut undated, mut dating) = (author(), Undated::default(), Dating::default());
        let known = frame(&mut author, 1, ClockState::SYNCED);
        assert_eq!(seqs(&undated.take(known, true, &dating)), [1]);
        for uptime in [2, 3] {
            assert!(undated.take(frame(&mut author, uptime, ClockState::UNKNOWN), true, &dating).is_empty());
        }
        assert!(undated.take(frame(&mut author, 4, ClockState::SYNCED), true, &dating).is_empty(), "in order");
        let fix = fix(&mut author);
        dating.learn(&fix);
        assert_eq!(seqs(&undated.take(fix, true, &dating)), [2, 3, 4, 5]);
        assert_eq!((undated.bytes, undated.nodes().count()), (0, 0));
    }

    #[test]
    fn who_never_knew_the_time_waits_until_the_past_is_here() {
        let (mut author, mut undated, dating) = (author(), Undated::default(), Dating::default());
        let node = author.node();
        let frames: Vec<Frame> = (1..=4).map(|uptime| frame(&mut author, uptime, ClockState::UNKNOWN)).collect();
        assert!(undated.take(frames[0].clone(), true, &dating).is_empty());
        assert!(undated.take(frames[1].clone(), true, &dating).is_empty());
        assert_eq!(seqs(&undated.end(node)), [1, 2]);
        assert_eq!(seqs(&undated.take(frames[2].clone(), false, &dating)), [3]);
        assert!(undated.end(node).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let (mut author, mut undated, dating) = (author(), Undated::default(), Dating::default());
        let one = frame(&mut author, 1, ClockState::UNKNOWN);
        let most = MAX_BYTES / one.bytes().len();
        for _ in 0..most {
            assert!(undated.take(one.clone(), true, &dating).is_empty());
        }
        assert_eq!(undated.take(one.clone(), true, &dating).len(), 1);
        assert!(undated.bytes <= MAX_BYTES);
    }
}
