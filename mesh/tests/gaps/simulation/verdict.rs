//! Whether everything came.

use std::collections::BTreeSet;

use mesh::Standing;
use reading::FrameId;

use super::{Author, City};
use crate::holder::Manner;

impl City {
    /// What every honest holder together still has, of what is wanted.
    fn surviving(&self) -> BTreeSet<FrameId> {
        let honest = self.peers.iter().filter(|(_, holder, _)| holder.manner == Manner::Honest);
        let shelves = honest.flat_map(|(_, holder, _)| &holder.shelves);
        let all = shelves.flat_map(|(node, shelf)| {
            let frames = shelf.runs.iter().flat_map(|(epoch, held, _)| held.iter().flatten().map(|seq| (*epoch, seq)));
            frames.map(|(epoch, seq)| FrameId { node: *node, epoch, seq })
        });
        let since = self.weather.since.unwrap_or_default();
        all.filter(|id| self.made[id] >= since).collect()
    }

    /// Everything that anybody still has was delivered, once; what is not there is known to be gone, and nothing else is.
    pub(crate) fn check(&self) {
        let surviving = self.surviving();
        let lost: Vec<&FrameId> = surviving.difference(&self.delivered).collect();
        assert!(lost.is_empty(), "{} of {} not delivered, first {:?}", lost.len(), surviving.len(), lost.first());
        assert!(self.delivered.iter().all(|id| self.made.contains_key(id)));
        for author in &self.nodes {
            assert!(self.order.as_ref().is_none_or(|order| order.held_frames(&author.id) == 0), "{} waits", author.id);
            assert_eq!(self.engine.missing(&author.id), [], "{}", author.id);
            assert_eq!(self.engine.standing(&author.id), Standing::Complete, "{}", author.id);
            assert_eq!(self.engine.given_up(&author.id), 0);
            for gone in self.engine.gone(&author.id) {
                for seq in gone.seqs.clone() {
                    let id = FrameId { node: author.id, epoch: gone.epoch, seq };
                    assert!(!self.delivered.contains(&id) && !surviving.contains(&id), "{id} is not gone");
                }
            }
        }
    }

    pub(crate) fn made(&self) -> usize {
        self.made.len()
    }

    /// How many wanted frames are said to be gone.
    pub(crate) fn gone(&self) -> u64 {
        let of = |author: &Author| {
            self.engine.gone(&author.id).iter().map(|gone| gone.seqs.end() - gone.seqs.start() + 1).sum::<u64>()
        };
        self.nodes.iter().map(of).sum()
    }
}
