//! What a subscriber counts: how many messages came, how late, how fast, and what that cost.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::clock::{monotonic_us, process_cpu_s};
use crate::orders::{Expecting, Order, Orders, say};

/// After this long without a message nothing more will come of what was sent.
pub const SILENCE: Duration = Duration::from_secs(2);

/// What a subscriber has heard since it was told to count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Messages.
    pub heard: u64,
    /// From the first to the last of them.
    pub seconds: f64,
    /// From publishing to hearing: the median, us.
    pub latency_us_p50: f64,
    /// The 99th percentile, us.
    pub latency_us_p99: f64,
    /// What the process computed meanwhile, in seconds.
    pub cpu_s: f64,
}

impl Heard {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.heard.saturating_sub(1) as f64 / self.seconds } else { 0.0 }
    }
}

struct Tally {
    expected: u64,
    since_us: i64,
    latencies_us: Vec<i64>,
    first_us: i64,
    last_us: i64,
    cpu_s_before: f64,
}

impl Tally {
    fn expecting(expected: u64) -> Self {
        Self {
            expected,
            since_us: monotonic_us(),
            latencies_us: Vec::new(),
            first_us: 0,
            last_us: 0,
            cpu_s_before: process_cpu_s(),
        }
    }

    /// What gossip brings late, of an earlier order, does not count.
    fn take(&mut self, sent_us: i64) {
        if sent_us < self.since_us {
            return;
        }
        self.last_us = monotonic_us();
        if self.latencies_us.is_empty() {
            self.first_us = self.last_us;
        }
        self.latencies_us.push(self.last_us - sent_us);
    }

    fn is_complete(&self) -> bool {
        self.latencies_us.len() as u64 >= self.expected
    }

    fn heard(&mut self) -> Heard {
        self.latencies_us.sort_unstable();
        Heard {
            heard: self.latencies_us.len() as u64,
            seconds: (self.last_us - self.first_us) as f64 * 1e-6,
            latency_us_p50: percentile(&self.latencies_us, 50) as f64,
            latency_us_p99: percentile(&self.latencies_us, 99) as f64,
            cpu_s: process_cpu_s() - self.cpu_s_before,
        }
    }
}

/// The smallest value that is not exceeded by `percent` of the sorted values (nearest rank); 0 where there is none.
pub fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Counts what `next` hears (it gives when the message was sent) and reports, as ordered, until nobody gives orders any
/// more. `next` may be cancelled while it waits.
pub async fn count(mut orders: Orders, mut next: impl AsyncFnMut() -> Result<i64>) -> Result<()> {
    let mut tally = Tally::expecting(0);
    loop {
        tokio::select! {
            sent_us = next() => tally.take(sent_us?),
            order = orders.next() => match order? {
                None => return Ok(()),
                Some(Order::Expect { frames }) => {
                    tally = Tally::expecting(frames);
                    say(&Expecting { expecting: frames })?;
                }
                Some(Order::Report) => {
                    while !tally.is_complete() {
                        let Ok(sent_us) = timeout(SILENCE, next()).await else { break };
                        tally.take(sent_us?);
                    }
                    say(&tally.heard())?;
                }
                Some(order) => anyhow::bail!("a subscriber does not {order:?}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<i64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (7, 7));
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn a_rate_counts_the_gaps_between_messages() {
        let mut tally = Tally::expecting(3);
        let latecomer_us = tally.since_us - 1;
        for _ in 0..3 {
            assert!(!tally.is_complete());
            tally.take(latecomer_us);
            tally.take(monotonic_us());
        }
        assert!(tally.is_complete());
        (tally.first_us, tally.last_us) = (0, 1_000_000);
        assert_eq!(tally.heard().rate(), 2.0);
    }
}
