//! What the node knows of the time, and when to tell it to others.
//!
//! Within one boot the wall clock and the uptime run alike: time servers that slew a clock slew both (`CLOCK_BOOTTIME` is disciplined like
//! `CLOCK_REALTIME`). So their difference, the wall time at uptime 0, says whether the clock was set.

use reading::{BootId, ClockFix, ClockState, Stamp};

/// A synced wall clock before this is not believed (2026-01-01, us since 1970): no node is older than its program.
const EARLIEST_US: i64 = 1_767_225_600_000_000;
/// A change of the wall time at uptime 0 by more than this is a clock that was set. Less than a leap second, which is one; more than what
/// lies between reading two clocks on a loaded machine.
const JUMP_US: i64 = 500_000;
/// Between two fixes of one boot, uptime: two programs that fight over the clock make no flood.
const SPACING_MS: u64 = 60_000;

/// The clocks of one boot, as one process sees them. Pure: it is told what they say.
#[derive(Debug)]
pub struct Timekeeping {
    boot: BootId,
    /// Wall time at uptime 0 when the clock was synced last.
    known_us: Option<i64>,
    /// The last fix, and the uptime at which it was made.
    fixed: Option<(ClockFix, u64)>,
}

impl Timekeeping {
    /// Of this boot nothing is known yet.
    pub fn new(boot: BootId) -> Self {
        Self { boot, known_us: None, fixed: None }
    }

    /// Which boot this is.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// What a wall clock is worth that says `time_us` at an uptime. `synced`: whether a time server vouches for it.
    ///
    /// A clock that was synced is free-running afterwards, unless somebody has set it since: then it is as unknown as one that was never
    /// synced, and the last fix dates the frame better.
    pub fn stamp(&mut self, uptime_ms: u64, time_us: i64, synced: bool) -> Stamp {
        let at_zero_us = wall_at_zero_us(uptime_ms, time_us);
        let clock = if synced && time_us >= EARLIEST_US {
            self.known_us = Some(at_zero_us);
            ClockState::SYNCED
        } else if self.known_us.is_some_and(|known| !jumped(known, at_zero_us)) {
            ClockState::FREE_RUNNING
        } else {
            ClockState::UNKNOWN
        };
        Stamp { uptime_ms, time_us, clock }
    }

    /// What to tell of the time now: when it becomes known, and when the clock was set anew by a time server.
    pub fn fix(&mut self, stamp: Stamp, uncertainty_ms: u32) -> Option<ClockFix> {
        if stamp.clock != ClockState::SYNCED {
            return None;
        }
        let wall_at_zero_us = wall_at_zero_us(stamp.uptime_ms, stamp.time_us);
        if let Some((last, at_ms)) = &self.fixed
            && (!jumped(last.wall_at_zero_us, wall_at_zero_us) || stamp.uptime_ms < at_ms + SPACING_MS)
        {
            return None;
        }
        let fix = ClockFix { boot: self.boot, wall_at_zero_us, uncertainty_ms };
        self.fixed = Some((fix, stamp.uptime_ms));
        Some(fix)
    }
}

fn wall_at_zero_us(uptime_ms: u64, time_us: i64) -> i64 {
    let uptime_us = i64::try_from(uptime_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    time_us.saturating_sub(uptime_us)
}

fn jumped(before_us: i64, now_us: i64) -> bool {
    now_us.abs_diff(before_us) > JUMP_US.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: BootId = BootId([7; 8]);
    const SECOND_US: i64 = 1_000_000;
    /// Wall time at uptime 0 of a machine that was started in November 2026.
    const START_US: i64 = 1_795_000_000_000_000;

    /// A machine whose wall clock can be set.
    struct Machine {
        timekeeping: Timekeeping,
        uptime_s: u64,
        at_zero_us: i64,
        synced: bool,
    }

    impl Machine {
        fn started(at_zero_us: i64) -> Self {
            Self { timekeeping: Timekeeping::new(BOOT), uptime_s: 0, at_zero_us, synced: false }
        }

        /// Ten seconds later.
        fn tick(&mut self) -> (ClockState, Option<i64>) {
            self.uptime_s += 10;
            let time_us = self.at_zero_us + self.uptime_s as i64 * SECOND_US;
            let stamp = self.timekeeping.stamp(self.uptime_s * 1000, time_us, self.synced);
            let fix = self.timekeeping.fix(stamp, 10);
            (stamp.clock, fix.map(|fix| fix.wall_at_zero_us))
        }

        fn ticks(&mut self, count: usize) -> Vec<(ClockState, Option<i64>)> {
            (0..count).map(|_| self.tick()).collect()
        }

        fn set(&mut self, at_zero_us: i64, synced: bool) -> &mut Self {
            (self.at_zero_us, self.synced) = (at_zero_us, synced);
            self
        }
    }

    #[test]
    fn a_pi_that_wakes_up_in_1970_tells_the_time_once_when_it_learns_it() {
        let mut pi = Machine::started(0);
        assert_eq!(pi.ticks(3), [(ClockState::UNKNOWN, None); 3]);
        pi.set(START_US, true);
        assert_eq!(pi.tick(), (ClockState::SYNCED, Some(START_US)));
        assert_eq!(pi.ticks(50), [(ClockState::SYNCED, None); 50]);
        pi.synced = false;
        assert_eq!(pi.ticks(3), [(ClockState::FREE_RUNNING, None); 3], "the server has gone");
        pi.synced = true;
        assert_eq!(pi.tick(), (ClockState::SYNCED, None), "and is back: nothing new");
    }

    #[test]
    fn a_pi_that_never_learns_the_time_never_says_one() {
        let mut pi = Machine::started(START_US - 86_400 * SECOND_US);
        assert_eq!(pi.ticks(100), [(ClockState::UNKNOWN, None); 100]);
    }

    #[test]
    fn a_time_server_that_believes_in_1970_is_not_believed() {
        let mut pi = Machine::started(0);
        pi.synced = true;
        assert_eq!(pi.ticks(3), [(ClockState::UNKNOWN, None); 3]);
    }

    #[test]
    fn a_step_while_synced_is_told_and_slewing_is_not() {
        let mut pi = Machine::started(0);
        pi.set(START_US, true).ticks(10);
        pi.at_zero_us += 400_000;
        assert_eq!(pi.tick(), (ClockState::SYNCED, None), "as far as a clock read late may be off");
        let back = START_US - 3600 * SECOND_US;
        pi.set(back, true);
        assert_eq!(pi.tick(), (ClockState::SYNCED, Some(back)), "an hour back");
        assert_eq!(pi.tick(), (ClockState::SYNCED, None));
    }

    #[test]
    fn a_leap_second_is_a_step() {
        let mut pi = Machine::started(0);
        pi.set(START_US, true).ticks(10);
        // The kernel repeats the last second of the day.
        pi.set(START_US - SECOND_US, true);
        assert_eq!(pi.tick(), (ClockState::SYNCED, Some(START_US - SECOND_US)));
    }

    #[test]
    fn a_clock_that_somebody_sets_by_hand_is_unknown_until_a_server_vouches_for_it() {
        let mut pi = Machine::started(0);
        pi.set(START_US, true).ticks(10);
        pi.set(0, false);
        assert_eq!(
            pi.ticks(2),
            [(ClockState::UNKNOWN, None); 2],
            "set back to 1970, which the kernel no longer vouches for"
        );
        pi.set(START_US, false);
        assert_eq!(pi.tick(), (ClockState::FREE_RUNNING, None), "and set right again");
    }

    #[test]
    fn programs_that_fight_over_the_clock_make_no_flood() {
        let mut pi = Machine::started(0);
        pi.set(START_US, true).tick();
        let mut fixes = 0;
        for turn in 0..60 {
            let other = START_US - i64::from(turn % 2) * 30 * SECOND_US;
            fixes += usize::from(pi.set(other, true).tick().1.is_some());
        }
        assert!((1..=10).contains(&fixes), "{fixes} in ten minutes");
        // Whoever wins, the last word is told in the end.
        let last = START_US - 5 * SECOND_US;
        pi.set(last, true);
        assert!(pi.ticks(7).contains(&(ClockState::SYNCED, Some(last))));
    }
}
