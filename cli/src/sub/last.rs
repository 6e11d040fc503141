//! `magpie sub --last`: the last known value of each series, from whoever keeps it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use mesh::{HistoryError, Mesh};
use reading::{Announcement, EpochRange, Frame, Kind, NodeId, Payload};
use tokio::task::JoinSet;

/// Nodes that are asked for at once. The others wait.
const AT_ONCE: usize = 8;
/// Frames that are looked at first, and how many times as many in each further step.
const FIRST_STEP: u64 = 16;
const STEP_GROWTH: u64 = 4;
/// Frames of a node that are looked at. A sensor that is read more rarely than that is shown when it is read.
const MAX_FRAMES: u64 = 1024;
/// Announcements that are fetched to explain them.
const MAX_ANNOUNCEMENTS: usize = 8;
/// How often somebody is looked for who has something of a node, at most, and how long in between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// So often only the node itself is asked, if it can be dialled: others may have older frames.
const TRIES_OF_NODE: u32 = 4;

/// Looks back, once for each node.
#[derive(Default)]
pub struct LastValues {
    asked: HashSet<NodeId>,
    waiting: VecDeque<Frame>,
    running: JoinSet<Result<Vec<Frame>, mesh::Error>>,
}

impl LastValues {
    /// A node that is wanted was announced.
    pub fn want(&mut self, mesh: &Mesh, announcement: Frame) {
        if self.asked.insert(announcement.node()) {
            self.waiting.push_back(announcement);
            self.start(mesh);
        }
    }

    /// The next node's newest frames of one run, with the announcements that explain them. Waits for ever while no node is being asked for.
    pub async fn next(&mut self, mesh: &Mesh) -> anyhow::Result<Vec<Frame>> {
        let Some(found) = self.running.join_next().await else { return std::future::pending().await };
        self.start(mesh);
        Ok(found??)
    }

    fn start(&mut self, mesh: &Mesh) {
        while self.running.len() < AT_ONCE
            && let Some(announcement) = self.waiting.pop_front()
        {
            self.running.spawn(look_back(mesh.clone(), announcement));
        }
    }
}

async fn look_back(mesh: Mesh, announcement: Frame) -> Result<Vec<Frame>, mesh::Error> {
    let node = announcement.node();
    let own = node.to_string();
    for attempt in 0..TRIES {
        mesh.reach(vec![node], 1, usize::MAX).await?;
        let mut peers: Vec<String> = mesh.peers().await?.into_iter().map(|peer| peer.id).collect();
        peers.retain(|peer| attempt >= TRIES_OF_NODE || *peer == own);
        peers.sort_by_key(|peer| *peer != own);
        for peer in peers {
            match newest(&mesh, &peer, &announcement).await {
                Ok(frames) if !frames.is_empty() => return Ok(frames),
                Err(HistoryError::Stopped) => return Err(mesh::Error::Stopped),
                // The next one may have something, or this one later.
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Vec::new())
}

/// The newest frames that a peer has of a node.
async fn newest(mesh: &Mesh, peer: &str, announcement: &Frame) -> Result<Vec<Frame>, HistoryError> {
    let node = announcement.node();
    let sensors = match announcement.payload() {
        Ok(Payload::Announcement(Announcement { sensors, .. })) => sensors.len(),
        _ => 0,
    };
    let summary = mesh.history_summary(peer, node, None).await?;
    for run in summary.runs.iter().rev() {
        let mut frames = BTreeMap::new();
        for seqs in steps(run) {
            for frame in mesh.history_frames(peer, node, run.epoch, seqs).await?.frames {
                frames.insert(frame.seq(), frame);
            }
            if series(frames.values()).0.len() >= sensors {
                break;
            }
        }
        let (seen, explained_by) = series(frames.values());
        // A run that has just begun has measured nothing yet: the one before has.
        if !seen.is_empty() {
            for seq in explained_by.into_iter().rev().take(MAX_ANNOUNCEMENTS) {
                if !frames.contains_key(&seq) {
                    let found = mesh.history_frames(peer, node, run.epoch, seq..=seq).await?.frames;
                    frames.extend(found.into_iter().map(|frame| (frame.seq(), frame)));
                }
            }
            return Ok(frames.into_values().collect());
        }
    }
    Ok(Vec::new())
}

/// From the end of a run back, in ever longer steps.
fn steps(run: &EpochRange) -> impl Iterator<Item = RangeInclusive<u64>> + use<> {
    let (first, mut end, mut step) = (run.first_seq.max(1), run.last_seq, FIRST_STEP);
    let lowest = first.max(run.last_seq.saturating_sub(MAX_FRAMES - 1));
    std::iter::from_fn(move || {
        if end < lowest {
            return None;
        }
        let from = end.saturating_sub(step - 1).max(lowest);
        let seqs = from..=end;
        (end, step) = (from - 1, step * STEP_GROWTH);
        Some(seqs)
    })
}

/// Which sensors the frames have readings of, and which announcements explain them.
fn series<'a>(frames: impl Iterator<Item = &'a Frame>) -> (BTreeSet<u8>, BTreeSet<u64>) {
    let (mut sensors, mut announcements) = (BTreeSet::new(), BTreeSet::new());
    for frame in frames.filter(|frame| frame.kind() == Kind::READINGS) {
        if let Ok(Payload::Readings(readings)) = frame.payload() {
            announcements.insert(readings.announcement);
            sensors.extend(readings.readings.iter().map(|reading| reading.sensor));
        }
    }
    (sensors, announcements)
}

#[cfg(test)]
mod tests {
    use reading::Epoch;

    use super::*;

    fn run(first_seq: u64, last_seq: u64) -> EpochRange {
        EpochRange { epoch: Epoch([1; 8]), first_seq, last_seq, frames: last_seq, gone_to: 0 }
    }

    #[test]
    fn it_looks_back_in_longer_and_longer_steps_but_not_for_ever() {
        let steps = |first, last| steps(&run(first, last)).collect::<Vec<_>>();
        assert_eq!(steps(1, 10), [1..=10]);
        assert_eq!(steps(1, 100), [85..=100, 21..=84, 1..=20]);
        assert_eq!(steps(90, 100), [90..=100]);
        let long = steps(1, u64::MAX);
        assert_eq!(long.last().map(|seqs| u64::MAX - seqs.start() + 1), Some(MAX_FRAMES));
        assert!(steps(5, 4).is_empty() && steps(0, 0).is_empty());
    }
}
