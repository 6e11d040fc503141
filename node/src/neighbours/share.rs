//! How much of the cache one author may fill, and how fast.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reading::NodeId;

/// An author may fill this part of the cache at once.
const BURST: u64 = 16;
/// And then the whole of it in this time, 194 bytes a second of the default 16 MiB: a frame of seven readings each second. What an author says
/// beyond is not kept here. So one that floods takes as much room as nine nodes that measure each ten seconds, whatever it sends. Many keys in one
/// hand can take as much as that many floods; keeping them out is the city's business.
const REFILL: Duration = Duration::from_secs(24 * 3600);
/// Authors whose share is remembered, 64 bytes each; beyond, the one that was silent for longest is forgotten, and begins with a full share.
const MAX_AUTHORS: usize = 4096;

/// The shares of all authors. Pure: it is told the time.
#[derive(Debug)]
pub struct Shares {
    burst: f64,
    bytes_per_second: f64,
    left: HashMap<NodeId, Share>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    bytes: f64,
    at: Instant,
}

impl Shares {
    /// Of a cache of `max_bytes`.
    pub fn new(max_bytes: u64) -> Self {
        Self {
            burst: (max_bytes / BURST) as f64,
            bytes_per_second: max_bytes as f64 / REFILL.as_secs_f64(),
            left: HashMap::new(),
        }
    }

    /// Whether a frame of so many bytes is within its author's share, of which it then takes its part.
    pub fn take(&mut self, author: NodeId, bytes: u64, now: Instant) -> bool {
        if !self.left.contains_key(&author) && self.left.len() >= MAX_AUTHORS {
            let silent = self.left.iter().min_by_key(|(_, share)| share.at).map(|(author, _)| *author);
            silent.and_then(|author| self.left.remove(&author));
        }
        let share = self.left.entry(author).or_insert(Share { bytes: self.burst, at: now });
        let refill = now.saturating_duration_since(share.at).as_secs_f64() * self.bytes_per_second;
        *share = Share { bytes: (share.bytes + refill).min(self.burst), at: now };
        let fits = share.bytes >= bytes as f64;
        if fits {
            share.bytes -= bytes as f64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const DAY_S: u64 = 24 * 3600;

    fn node(number: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn an_honest_node_is_kept_whole_however_many_there_are() {
        let (mut shares, start) = (Shares::new(16 * MIB), Instant::now());
        for tick in 0..720 {
            let now = start + Duration::from_secs(10 * tick);
            assert!((0..100).all(|number| shares.take(node(number), 220, now)));
        }
    }

    #[test]
    fn one_that_floods_does_not_fill_the_cache_within_half_a_day() {
        let (mut shares, start, mut kept) = (Shares::new(16 * MIB), Instant::now(), 0);
        for second in 0..DAY_S / 2 {
            let now = start + Duration::from_secs(second);
            kept += (0..3).filter(|_| shares.take(node(1), 8192, now)).count() as u64 * 8192;
        }
        assert!(kept < 10 * MIB, "{kept} bytes of a gigabyte");
        assert!(shares.take(node(2), 8192, start + Duration::from_secs(DAY_S / 2)), "another is not held back");
    }

    #[test]
    fn authors_without_number_take_no_memory_without_bound() {
        let (mut shares, start) = (Shares::new(MIB), Instant::now());
        for number in 0..10_000 {
            shares.take(node(number), 100, start + Duration::from_millis(number.into()));
        }
        assert_eq!(shares.left.len(), MAX_AUTHORS);
        assert!(shares.left.contains_key(&node(9999)) && !shares.left.contains_key(&node(0)));
    }
}
