//! A chip that measures by itself at an interval, and has each measurement once.

use std::time::Duration;

use reading::Reason;

use super::{Failure, Measured};

/// The chip's clock is not ours.
const CLOCKS_APART: Duration = Duration::from_secs(1);

/// A measurement that goes on.
pub(super) struct Periodic {
    interval: Duration,
    started: Duration,
    /// When the chip last had something new, or was started.
    fresh: Duration,
}

impl Periodic {
    pub(super) fn started(interval: Duration, now: Duration) -> Self {
        Self { interval, started: now, fresh: now }
    }

    /// What a look at the chip comes to, where `Ok(None)` says that it has nothing new. `running` becomes `None` where a start may
    /// help.
    pub(super) fn judge(
        running: &mut Option<Self>,
        looked: Result<Option<Vec<Measured>>, Failure>,
        now: Duration,
    ) -> Result<Vec<Measured>, Failure> {
        let Some(periodic) = running else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        match looked {
            Ok(Some(readings)) => {
                periodic.fresh = now;
                Ok(readings)
            }
            // Three measurements missed: the chip lost its power for a moment and does not measure any more.
            Ok(None) if now.saturating_sub(periodic.fresh) > 3 * periodic.interval + CLOCKS_APART => {
                *running = None;
                Err(Failure::new(Reason::NOT_READY, "the chip does not measure any more; it is started again"))
            }
            // The first measurement is ready after one interval.
            Ok(None) if now.saturating_sub(periodic.started) < periodic.interval + CLOCKS_APART => {
                Err(Failure::new(Reason::WARMING_UP, "the first measurement is not ready yet"))
            }
            Ok(None) => Err(Failure::new(Reason::NOT_READY, "no new measurement since the last sample")),
            Err(failure) => {
                *running = None;
                Err(failure)
            }
        }
    }
}
