//! How hard a simulated city has it, and chance.

use std::time::Duration;

use mesh::{GapLimits, OrderLimits};

/// What a simulated city is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) nodes: usize,
    /// So many of them come and go as peers; the others' frames come by way of these until it is over.
    pub(crate) near: usize,
    pub(crate) caches: usize,
    pub(crate) liars: usize,
    pub(crate) lasts: Duration,
    /// How long it may take afterwards, with everybody connected, until nothing is missing.
    pub(crate) heals_in: Duration,
    /// Between two frames of a node.
    pub(crate) interval: Duration,
    /// Of a hundred live frames, so many do not come.
    pub(crate) loss_percent: u64,
    /// Of a hundred questions, so many are lost.
    pub(crate) unanswered_percent: u64,
    /// Of a hundred frames, so many each cache has.
    pub(crate) cached_percent: u64,
    /// Between two changes of one peer's connection, on average.
    pub(crate) churn: Duration,
    /// Between two restarts of a node.
    pub(crate) restart: Duration,
    /// Of a hundred restarts, so many lose the last frames.
    pub(crate) power_cut_percent: u64,
    /// Of a hundred restarts, so many take the oldest frames.
    pub(crate) retention_percent: u64,
    pub(crate) since: Option<Duration>,
    pub(crate) limits: GapLimits,
    /// Frames are delivered in order, and this much is held back for it.
    pub(crate) order: Option<OrderLimits>,
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        mean / 4 + Duration::from_millis(self.below(3 * mean.as_millis() as u64 / 2))
    }
}
