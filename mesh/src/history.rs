//! What a holder of frames says of a node's history.

use reading::Epoch;

/// Runs in one summary, the newest: a node that started anew every minute comes to that in most of a day.
pub const MAX_RUNS: usize = 1024;

/// What a holder has of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The first frame at or after the time that was asked for, where there is one.
    pub first: Option<(Epoch, u64)>,
    /// The node's runs, oldest first, [`MAX_RUNS`] at most.
    pub runs: Vec<EpochRange>,
    /// There are older runs that did not fit.
    pub older: bool,
}

/// What a holder has of one run of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
