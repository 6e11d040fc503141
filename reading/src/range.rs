//! What somebody holds of a node's frames: what a store tells of itself, and a peer of its store.

use serde::{Deserialize, Serialize};

use crate::Epoch;

/// What a holder has of one run of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRange {
    /// The run.
    pub epoch: Epoch,
    /// The lowest seq that is there.
    pub first_seq: u64,
    /// The highest seq that is there.
    pub last_seq: u64,
    /// How many are there; fewer than the range has numbers where some are missing.
    pub frames: u64,
    /// Up to this seq retention took everything but announcements that are still referred to; 0 where it took nothing.
    pub gone_to: u64,
}
