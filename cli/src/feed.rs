//! From frames to lines. A frame of readings says "sensor 0, quantity 1" and which announcement explains that; the two travel on
//! different topics, so readings may come first and then wait here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mesh::Directory;
use reading::{Announcement, Frame, NodeId, Payload, Reading};

/// Frames that wait for one node's announcement. The oldest goes first; the end of `sub` says how many went.
const WAITING_PER_NODE: usize = 256;
/// Nodes that are waited for. Frames of further ones are let go.
const WAITING_NODES: usize = 1024;

/// A frame of readings and what explains it.
pub struct Described {
    /// The frame.
    pub frame: Frame,
    /// Where the node is and what its sensors are.
    pub announcement: Arc<Announcement>,
    /// The readings.
    pub readings: Vec<Reading>,
}

/// Joins readings with their announcements.
#[derive(Default)]
pub struct Feed {
    directory: Directory,
    waiting: HashMap<NodeId, VecDeque<Frame>>,
    given_up: u64,
}

impl Feed {
    /// Takes a frame; gives what can be shown now, in the order in which it came.
    pub fn take(&mut self, frame: Frame) -> Vec<Described> {
        match frame.payload() {
            Ok(Payload::Announcement(_)) => {
                self.directory.observe(&frame);
                let waiting = self.waiting.remove(&frame.node()).unwrap_or_default();
                waiting.into_iter().filter_map(|frame| self.describe_or_keep(frame)).collect()
            }
            Ok(Payload::Readings(_)) => self.describe_or_keep(frame).into_iter().collect(),
            // Other kinds have no line.
            _ => Vec::new(),
        }
    }

    /// Frames whose announcement never came while there was room for them.
    pub fn given_up(&self) -> u64 {
        self.given_up + self.waiting.values().map(|frames| frames.len() as u64).sum::<u64>()
    }

    fn describe_or_keep(&mut self, frame: Frame) -> Option<Described> {
        let Ok(Payload::Readings(readings)) = frame.payload() else { return None };
        match self.directory.describe(&frame) {
            Some(announcement) => Some(Described { frame, announcement, readings: readings.readings }),
            None => {
                self.keep(frame);
                None
            }
        }
    }

    fn keep(&mut self, frame: Frame) {
        if self.waiting.len() >= WAITING_NODES && !self.waiting.contains_key(&frame.node()) {
            self.given_up += 1;
            return;
        }
        let frames = self.waiting.entry(frame.node()).or_default();
        if frames.len() == WAITING_PER_NODE {
            frames.pop_front();
            self.given_up += 1;
        }
        frames.push_back(frame);
    }
}
