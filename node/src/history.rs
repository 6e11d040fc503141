//! What the node serves of the past: its own frames.

use std::ops::RangeInclusive;

use mesh::{Answering, Batch, History, Summary};
use reading::{Epoch, NodeId};
use store::{StoreError, StoreHandle};

/// The node's store, for peers that ask for the past.
#[derive(Clone, Debug)]
pub struct Kept {
    own: StoreHandle,
}

impl Kept {
    /// Serves what is in the node's store.
    pub fn new(own: StoreHandle) -> Self {
        Self { own }
    }
}

impl History for Kept {
    fn summary(&self, node: NodeId, since_us: Option<i64>) -> Answering<Summary> {
        let store = self.own.clone();
        Box::pin(async move { answered(summary(&store, node, since_us).await) })
    }

    fn frames(&self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>, max_bytes: usize) -> Answering<Batch> {
        let store = self.own.clone();
        Box::pin(async move {
            let batch = answered(store.range(node, epoch, seqs, max_bytes).await)?;
            Some(Batch { frames: batch.frames, next_seq: batch.next_seq })
        })
    }
}

async fn summary(store: &StoreHandle, node: NodeId, since_us: Option<i64>) -> Result<Summary, StoreError> {
    let first = match since_us {
        Some(time_us) => store.first_at_or_after(node, time_us).await?.map(|id| (id.epoch, id.seq)),
        None => None,
    };
    Ok(Summary { first, older: false, runs: store.epochs(node).await? })
}

/// A store that cannot be read has no answer, which is not the same as having nothing: that would be the author's word that its frames are lost.
fn answered<T>(outcome: Result<T, StoreError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::debug!(%error, "a peer's question about history has no answer")).ok()
}

#[cfg(test)]
mod tests;
