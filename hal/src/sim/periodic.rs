//! What a chip does by itself every so often.

use std::time::Duration;

#[derive(Clone, Copy)]
pub(super) struct Periodic {
    interval: Duration,
    next: Duration,
}

impl Periodic {
    /// Something that is due for the first time one interval after `start`. The interval is not zero.
    pub(super) fn from(start: Duration, interval: Duration) -> Self {
        Self { interval, next: start + interval }
    }

    /// Whether it was due since the last call; several times that went by unseen are one.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let Some(late) = now.checked_sub(self.next) else { return false };
        let missed = late.as_nanos() / self.interval.as_nanos();
        let skipped = u64::try_from(missed * self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.next += Duration::from_nanos(skipped) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_not_made_up_for_and_the_rhythm_stays() {
        let seconds = Duration::from_secs;
        let mut periodic = Periodic::from(seconds(1), seconds(5));
        assert!(!periodic.is_due(seconds(5)));
        assert!(periodic.is_due(seconds(6)) && !periodic.is_due(seconds(6)));
        assert!(periodic.is_due(seconds(23)) && !periodic.is_due(seconds(25)));
        assert!(periodic.is_due(seconds(26)));
    }
}
