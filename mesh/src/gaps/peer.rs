//! How each connected peer has answered so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::random::Random;

/// The first pause after a failure. It doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Answers with frames other than asked, or forged, after which a peer is asked no more on this connection: each costs signature checks.
const MAX_WRONG: u32 = 4;
/// After so many failures in a row nobody waits for a peer. It is still asked now and then.
const HOPELESS: u32 = 5;

/// Who is remembered to have had frames of others; beyond, all are forgotten, and found again.
const MAX_KEEPERS: usize = 256;

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) connected: BTreeMap<Arc<str>, Peer>,
    /// Peers, connected or not, that had frames of another node than themselves: they are likely to have some of a third.
    keepers: BTreeSet<Arc<str>>,
}

impl Peers {
    pub(crate) fn get(&self, name: &str) -> Option<&Peer> {
        self.connected.get(name)
    }

    pub(crate) fn keeps(&mut self, name: &Arc<str>) {
        if self.keepers.len() >= MAX_KEEPERS {
            self.keepers.clear();
        }
        self.keepers.insert(name.clone());
    }

    pub(crate) fn is_keeper(&self, name: &str) -> bool {
        self.keepers.contains(name)
    }

    /// Those keepers that are connected.
    pub(crate) fn keepers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.keepers.iter().filter(|name| self.connected.contains_key(*name))
    }
}

/// A connected peer.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) in_flight: usize,
    /// When it was last chosen, as a number that only grows: of equals, the one that rested longest is next.
    pub(crate) chosen: u64,
    pub(crate) not_before: Duration,
    /// In a row, since frames last came.
    failures: u32,
    /// Answers without a frame in a row.
    barren: u32,
    wrong: u32,
}

impl Peer {
    /// The least loaded is asked first.
    pub(crate) fn load(&self) -> (usize, u64) {
        (self.in_flight, self.chosen)
    }

    /// The most reliable first.
    pub(crate) fn rank(&self) -> (u32, usize, u64) {
        (self.failures.max(self.barren), self.in_flight, self.chosen)
    }

    pub(crate) fn answers(&self, now: Duration) -> bool {
        self.not_before <= now
    }

    /// Whether it is worth waiting for.
    pub(crate) fn is_hopeful(&self) -> bool {
        self.failures.max(self.barren) < HOPELESS
    }

    /// It did what it had promised.
    pub(crate) fn delivered(&mut self) {
        (self.failures, self.barren) = (0, 0);
    }

    /// It looked for something, and had none of it. That is no failure, but who goes on like this is not waited for.
    pub(crate) fn had_nothing(&mut self) {
        self.barren = self.barren.saturating_add(1);
    }

    /// It did not answer, or did not have what it had promised.
    pub(crate) fn failed(&mut self, random: &mut Random, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let pause = PAUSE_MIN.saturating_mul(1 << (self.failures - 1).min(16)).min(PAUSE_MAX);
        self.not_before = self.not_before.max(now + random.about(pause));
    }

    /// It asked to be left alone for a while. One that always does is as good as silent.
    pub(crate) fn busy(&mut self, retry_after: Duration, random: &mut Random, now: Duration) {
        self.failed(random, now);
        self.not_before = self.not_before.max(now + random.about(retry_after.min(PAUSE_MAX)));
    }

    /// It answered with what was not asked for. True when it did so once too often.
    pub(crate) fn lied(&mut self, random: &mut Random, now: Duration) -> bool {
        self.wrong += 1;
        self.failed(random, now);
        self.wrong >= MAX_WRONG
    }
}
