//! What the node serves of the past: its own frames, and its neighbours' as far as it heard them.

use std::future::ready;
use std::ops::RangeInclusive;

use mesh::{Answering, Batch, History, Summary};
use reading::{Epoch, NodeId};
use store::{StoreError, StoreHandle};

use crate::storage::Storage;

/// What the node keeps, for peers that ask for the past.
#[derive(Clone, Debug)]
pub struct Kept {
    own: NodeId,
    storage: Storage,
    neighbours: Option<StoreHandle>,
}

/// Where a node's frames would be.
enum Place {
    Here(StoreHandle),
    /// They are kept, but not to be had now.
    NotNow,
    Nowhere,
}

impl Kept {
    /// Serves the frames of `own` from its storage, and those of others from the cache of neighbours, where there is one.
    pub fn new(own: NodeId, storage: Storage, neighbours: Option<StoreHandle>) -> Self {
        Self { own, storage, neighbours }
    }

    fn place(&self, node: NodeId) -> Place {
        if node == self.own {
            self.storage.store().cloned().map_or(Place::NotNow, Place::Here)
        } else {
            self.neighbours.clone().map_or(Place::Nowhere, Place::Here)
        }
    }
}

impl History for Kept {
    fn summary(&self, node: NodeId, since_us: Option<i64>) -> Answering<Summary> {
        match self.place(node) {
            Place::Here(store) => Box::pin(async move { answered(summary(&store, node, since_us).await) }),
            Place::NotNow => Box::pin(ready(None)),
            Place::Nowhere => Box::pin(ready(Some(Summary::default()))),
        }
    }

    fn frames(&self, node: NodeId, epoch: Epoch, seqs: RangeInclusive<u64>, max_bytes: usize) -> Answering<Batch> {
        match self.place(node) {
            Place::Here(store) => Box::pin(async move {
                let batch = answered(store.range(node, epoch, seqs, max_bytes).await)?;
                Some(Batch { frames: batch.frames, next_seq: batch.next_seq })
            }),
            Place::NotNow => Box::pin(ready(None)),
            Place::Nowhere => {
                Box::pin(ready(Some(Batch { frames: Vec::new(), next_seq: seqs.end().saturating_add(1) })))
            }
        }
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
