//! What a program keeps and serves.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use mesh::{Answering, Batch, Config, History, Summary};
use reading::{Epoch, EpochRange, Frame, FrameId, NodeId};

use crate::testing::Node;

/// Frames in memory, served as a store would.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) frames: Arc<Mutex<Vec<Frame>>>,
    /// Sent instead of what is asked for.
    pub(crate) instead: Option<Frame>,
    /// Says that it has frames up to this seq.
    pub(crate) boasts: u64,
}

impl Shelf {
    pub(crate) fn keep(&self, frame: Frame) -> Frame {
        self.frames.lock().unwrap().push(frame.clone());
        frame
    }

    pub(crate) fn of(&self, node: NodeId) -> Vec<Frame> {
        self.frames.lock().unwrap().iter().filter(|frame| frame.node() == node).cloned().collect()
    }

    pub(crate) fn ids(&self) -> BTreeSet<FrameId> {
        self.frames.lock().unwrap().iter().map(Frame::id).collect()
    }
}

impl History for Shelf {
    fn summary(&self, node: NodeId, since_us: Option<i64>) -> Answering<Summary> {
        let mut summary = Summary::default();
        for frame in self.of(node) {
            let seq = frame.seq();
            if summary.first.is_none() && since_us.is_some_and(|since| frame.stamp().time_us >= since) {
                summary.first = Some((frame.epoch(), seq));
            }
            match summary.runs.iter_mut().find(|run| run.epoch == frame.epoch()) {
                Some(run) => (run.last_seq, run.frames) = (seq, run.frames + 1),
                None => summary.runs.push(EpochRange {
                    epoch: frame.epoch(),
                    first_seq: seq,
                    last_seq: seq,
                    frames: 1,
                    gone_to: 0,
                }),
            }
        }
        if self.boasts > 0 {
            summary.runs.iter_mut().for_each(|run| (run.first_seq, run.last_seq) = (1, self.boasts));
        }
        Box::pin(async move { Some(summary) })
    }

    fn frames(&self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>, max_bytes: usize) -> Answering<Batch> {
        let mut batch = Batch { frames: Vec::new(), next_seq: seqs.end().saturating_add(1) };
        let mut bytes = 0;
        for frame in self.of(node).into_iter().filter(|frame| frame.epoch() == epoch && seqs.contains(&frame.seq())) {
            bytes += frame.bytes().len();
            if bytes > max_bytes && !batch.frames.is_empty() {
                batch.next_seq = frame.seq();
                break;
            }
            batch.frames.push(frame);
        }
        if let Some(frame) = &self.instead {
            batch.frames = vec![frame.clone()];
        }
        Box::pin(async move { Some(batch) })
    }
}

pub(crate) fn serving(config: Config, shelf: &Shelf) -> Config {
    Config { history: Some(Arc::new(shelf.clone())), ..config }
}

/// A node with a past: `count` frames that nobody heard.
pub(crate) fn past(node: &mut Node, shelf: &Shelf, count: usize) {
    shelf.keep(node.announcement());
    for _ in 1..count {
        node.stamp.time_us += 1_000_000;
        node.stamp.uptime_ms += 1000;
        shelf.keep(node.readings(1));
    }
}
