//! How long a laser has been on, which is what ages it.

use std::time::Duration;

use reading::Reason;

use super::Measured;

/// A year of 365 days.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) struct Laser {
    on: Duration,
    /// Until when `on` is counted; `None` while the laser is off.
    counted: Option<Duration>,
    life: Duration,
}

impl Laser {
    /// A laser with a rated life, which has not been on yet as far as anybody knows.
    pub(super) fn new(life: Duration) -> Self {
        Self { on: Duration::ZERO, counted: None, life }
    }

    /// It is on now, and was since the last call, unless it was off then.
    pub(super) fn is_on(&mut self, now: Duration) {
        if let Some(counted) = self.counted {
            self.on += now.saturating_sub(counted);
        }
        self.counted = Some(now);
    }

    pub(super) fn is_off(&mut self) {
        self.counted = None;
    }

    /// What it had been on for in earlier runs of the program.
    pub(super) fn add(&mut self, earlier: Duration) {
        self.on += earlier;
    }

    /// For how long it has been on.
    pub(super) fn on(&self) -> Duration {
        self.on
    }

    /// Whole seconds; a u32 of them is 136 years.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.on.as_secs()).unwrap_or(u32::MAX)
    }

    /// What it counts is suspect when it is beyond its rated life.
    pub(super) fn judge(&self, measured: Measured) -> Measured {
        if self.on > self.life { measured.suspect(Reason::LASER_AGE) } else { measured }
    }
}

#[cfg(test)]
mod tests {
    use reading::{Flag, Quantity};

    use super::*;

    #[test]
    fn only_the_time_that_it_is_on_ages_it() {
        let hour = Duration::from_secs(3600);
        let mut laser = Laser::new(3 * hour);
        laser.add(hour);
        laser.is_on(10 * hour);
        laser.is_on(11 * hour);
        laser.is_off();
        laser.is_on(50 * hour);
        let measured = Measured::good(Quantity::PM2_5, 8.0);
        assert_eq!((laser.seconds(), laser.judge(measured)), (7200, measured));
        laser.is_on(52 * hour);
        let judged = laser.judge(measured);
        assert_eq!((judged.flag, judged.reason, judged.value), (Flag::SUSPECT, Reason::LASER_AGE, 8.0));
    }
}
