//! How much somebody may do: a burst at once, then a steady rate.

use std::time::{Duration, Instant};

/// What is left of somebody's allowance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: f64,
    at: Instant,
}

/// The size of an allowance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: per_second.into(), burst: f64::from(burst).max(1.0) }
    }

    /// Once per `interval`, without a burst.
    pub(crate) fn once_per(interval: Duration) -> Self {
        Self { per_second: 1.0 / interval.as_secs_f64().max(0.001), burst: 1.0 }
    }
}

impl Allowance {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Takes one; false when nothing is left.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, start) = (Rate::new(10, 5), Instant::now());
        let mut allowance = Allowance::full(rate, start);
        let taken = |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(rate, now)).count();
        assert_eq!(taken(&mut allowance, start), 5);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut allowance, start), 0, "a clock that goes back gives nothing");
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(100)), 5);
    }
}
