//! Admission without a swarm, so that `bench` can count what it costs. No part of what this crate offers to programs.

use std::time::Instant;

use libp2p::PeerId;
use reading::{Frame, Payload};

use crate::admission::{Admission, Verdict};
use crate::config::Limits;
use crate::directory::Directory;
use crate::topic::Topic;

/// The gate to one node's area, which has heard of that node and of no other.
#[derive(Debug)]
pub struct Gate {
    admission: Admission,
    directory: Directory,
    topic: Topic,
    author: PeerId,
}

impl Gate {
    /// A gate to the area of the node that announces itself; `None` where the frame is no announcement.
    pub fn new(announcement: &Frame) -> Option<Self> {
        let Ok(Payload::Announcement(announced)) = announcement.payload() else { return None };
        let limits = Limits::default();
        let mut directory = Directory::new(limits.directory_nodes);
        directory.observe_live(announcement);
        Some(Self {
            admission: Admission::new(limits),
            directory,
            topic: Topic::Area(announced.place.city, announced.place.area),
            author: PeerId::from_bytes(&announcement.node().peer_id_bytes()).ok()?,
        })
    }

    /// Whether what that node published is let in for the first time.
    pub fn admits(&mut self, data: &[u8], now: Instant) -> bool {
        let judgement = self.admission.judge(&self.topic, Some(self.author), data, &self.directory, now);
        matches!(judgement.verdict, Verdict::Accept(_))
    }
}
