//! Plain topics: one unsigned line a good value, for subscribers that know nothing of Magpie.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::Mesh;
use reading::{ClockState, Flag, Place, PlainLine, Quantity, Reading, Stamp};
use tokio::sync::mpsc;
use tracing::warn;

/// Kubo drops the older of two messages of one author that race; at this distance its validation workers keep the order.
const SPACING: Duration = Duration::from_millis(50);
/// Lines waiting to be sent: about 3 s worth. Beyond it the newest are dropped, and counted; the signed frames are not touched.
const QUEUE: usize = 64;

/// Publishes plain lines in its own time, so that their spacing never holds a frame back.
#[derive(Debug)]
pub struct PlainPublisher {
    topics: BTreeMap<Quantity, String>,
    queue: Option<mpsc::Sender<(String, Vec<u8>)>>,
    dropped: u64,
}

impl PlainPublisher {
    /// A publisher of these quantities that has no mesh yet.
    pub fn new(topics: BTreeMap<Quantity, String>) -> Self {
        Self { topics, queue: None, dropped: 0 }
    }

    /// Begins to publish. Its task ends with the publisher.
    pub fn start(&mut self, mesh: Mesh) {
        if self.topics.is_empty() {
            return;
        }
        let (queue, mut lines) = mpsc::channel::<(String, Vec<u8>)>(QUEUE);
        self.queue = Some(queue);
        tokio::spawn(async move {
            while let Some((topic, line)) = lines.recv().await {
                // An error means that the mesh has stopped, and the program with it.
                if mesh.publish_plain(&topic, line).await.is_err() {
                    return;
                }
                tokio::time::sleep(SPACING).await;
            }
        });
    }

    /// Queues the lines of one tick. A plain line has no flag, so only values that need none are sent.
    pub fn publish(&mut self, place: &Place, stamp: Stamp, readings: &[Reading]) {
        let Some(queue) = &self.queue else { return };
        let time_us = (stamp.clock != ClockState::UNKNOWN).then_some(stamp.time_us);
        for reading in readings {
            let (Some(topic), Some(value)) = (self.topics.get(&reading.quantity), reading.value) else { continue };
            if reading.flag != Flag::GOOD && reading.flag != Flag::NOT_EVALUATED {
                continue;
            }
            let line = PlainLine::new(place, reading.quantity, value, time_us).to_bytes();
            if queue.try_send((topic.clone(), line)).is_err() {
                self.dropped += 1;
                if self.dropped.is_power_of_two() {
                    warn!(dropped = self.dropped, "plain lines were dropped: more are made than can be sent in order");
                }
            }
        }
    }
}
