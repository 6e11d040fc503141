//! The time that simulated chips live in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use embedded_hal::delay::DelayNs;

/// Time since power-on: virtual, moved only by those who wait on it and by bus traffic, or real. Clones share the time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// Nanoseconds.
    Virtual(AtomicU64),
    Real {
        made: Instant,
        powered_before: Duration,
    },
}

impl Clock {
    /// A clock at zero that stands still until it is advanced.
    pub fn virtual_time() -> Self {
        Self(Arc::new(Source::Virtual(AtomicU64::new(0))))
    }

    /// A clock that runs by itself, of chips that got their power with the machine, a minute before the program began.
    pub fn real_time() -> Self {
        Self::real_time_after(Duration::from_secs(60))
    }

    /// A clock that runs by itself, of chips that got their power so long ago.
    pub fn real_time_after(powered_before: Duration) -> Self {
        Self(Arc::new(Source::Real { made: Instant::now(), powered_before }))
    }

    /// The time since the chips got their power.
    pub fn now(&self) -> Duration {
        match &*self.0 {
            Source::Virtual(nanoseconds) => Duration::from_nanos(nanoseconds.load(Ordering::SeqCst)),
            Source::Real { made, powered_before } => powered_before.saturating_add(made.elapsed()),
        }
    }

    /// Moves a virtual clock on, and stops at its end (584 years). A real one moves by itself: nothing happens.
    pub fn advance(&self, by: Duration) {
        if let Source::Virtual(nanoseconds) = &*self.0 {
            let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
            // The closure always returns a value, so the update cannot fail.
            let _ = nanoseconds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_add(by)));
        }
    }

    /// A delay that waits in this clock's time: at no cost if it is virtual, by sleeping if it is real.
    pub fn delay(&self) -> SimDelay {
        SimDelay(self.clone())
    }
}

/// The delay that a driver is given beside a [`SimBus`](super::SimBus).
#[derive(Clone, Debug)]
pub struct SimDelay(Clock);

impl DelayNs for SimDelay {
    fn delay_ns(&mut self, nanoseconds: u32) {
        let time = Duration::from_nanos(nanoseconds.into());
        match &*self.0.0 {
            Source::Virtual(_) => self.0.advance(time),
            Source::Real { .. } => std::thread::sleep(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_moves_by_what_is_waited() {
        let clock = Clock::virtual_time();
        clock.delay().delay_ms(40);
        clock.clone().advance(Duration::from_micros(90));
        assert_eq!(clock.now(), Duration::from_micros(40_090));
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn real_time_runs_by_itself() {
        let clock = Clock::real_time();
        let before = clock.now();
        clock.delay().delay_ms(2);
        assert!(clock.now() >= before + Duration::from_millis(2));
        assert!(Clock::real_time_after(Duration::from_secs(60)).now() >= Duration::from_secs(60));
    }
}
