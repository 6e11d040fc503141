//! What the kernel says of time: this boot, the time since it, the wall clock and whether a time server disciplines it.

use std::time::{SystemTime, UNIX_EPOCH};

use reading::{BootId, ClockFix, Stamp};
use rustix::time::{ClockId, clock_gettime};

use crate::timekeeping::Timekeeping;

/// The kernel's own limit of the error that a time server may vouch for, us (`NTP_PHASE_LIMIT` in include/linux/timex.h): what it says while
/// nobody does, and from which on it distrusts the clock itself.
const NO_LIMIT_US: i64 = 16_000_000;
/// No wall clock is claimed to be better than this, us: systemd-timesyncd says 0 of one that it asks over the internet.
const LEAST_ERROR_US: i64 = 10_000;
/// Uptime and wall clock are read together within this, or again.
const TOGETHER_MS: u64 = 10;
/// On a machine so loaded that they never are, the last attempt counts.
const ATTEMPTS: usize = 5;

/// The clocks of this machine.
#[derive(Debug)]
pub struct Clock {
    timekeeping: Timekeeping,
}

impl Clock {
    /// Reads which boot this is.
    pub fn new() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        let id = u64::from_str_radix(&digits, 16).map_err(|error| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("/proc/sys/kernel/random/boot_id holds {text:?}, not a boot id: {error}"),
            )
        })?;
        Ok(Self { timekeeping: Timekeeping::new(BootId(id.to_be_bytes())) })
    }

    /// Which boot this is.
    pub fn boot(&self) -> BootId {
        self.timekeeping.boot()
    }

    /// Now, by every clock there is.
    pub fn stamp(&mut self) -> Stamp {
        // Vouched for before and after: a clock that is set in between would be believed in its old time, or in its new.
        let before = Discipline::of_kernel().is_synced();
        let (uptime_ms, time_us) = now();
        self.timekeeping.stamp(uptime_ms, time_us, before && Discipline::of_kernel().is_synced())
    }

    /// What is to be told of the time now, if anything, as of a stamp that was just made.
    pub fn fix(&mut self, stamp: Stamp) -> Option<ClockFix> {
        self.timekeeping.fix(stamp, Discipline::of_kernel().uncertainty_ms())
    }
}

/// us since 1970 by the wall clock, whatever it is worth.
pub fn wall_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// Uptime in ms and wall time in us of one moment.
fn now() -> (u64, i64) {
    let mut uptime = uptime_ms();
    let mut wall = wall_us();
    for _ in 1..ATTEMPTS {
        let after = uptime_ms();
        if after.saturating_sub(uptime) <= TOGETHER_MS {
            break;
        }
        (uptime, wall) = (after, wall_us());
    }
    (uptime, wall)
}

fn uptime_ms() -> u64 {
    let uptime = clock_gettime(ClockId::Boottime);
    uptime.tv_sec as u64 * 1000 + uptime.tv_nsec as u64 / 1_000_000
}

/// What adjtimex(2) says of how the wall clock is disciplined.
#[derive(Clone, Copy, Debug)]
struct Discipline {
    /// `STA_UNSYNC` is not set.
    flagged_synced: bool,
    max_error_us: i64,
    estimated_error_us: i64,
    /// What is left to slew.
    offset_us: i64,
}

impl Discipline {
    const NONE: Self =
        Self { flagged_synced: false, max_error_us: NO_LIMIT_US, estimated_error_us: NO_LIMIT_US, offset_us: 0 };

    fn of_kernel() -> Self {
        #[allow(unsafe_code, reason = "no safe wrapper of adjtimex is in the tree; with modes 0 it only reads")]
        // SAFETY: timex is plain numbers, for which zero is a value; the call writes to it and keeps no pointer.
        let (state, timex) = unsafe {
            let mut timex: libc::timex = std::mem::zeroed();
            (libc::adjtimex(&raw mut timex), timex)
        };
        if state == -1 {
            return Self::NONE;
        }
        let nanoseconds = timex.status & libc::STA_NANO != 0;
        Self {
            flagged_synced: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
            max_error_us: timex.maxerror,
            estimated_error_us: timex.esterror,
            offset_us: if nanoseconds { timex.offset / 1000 } else { timex.offset },
        }
    }

    /// Whether a time server disciplines the clock. ntpd, systemd-timesyncd and chrony with `rtcsync` clear `STA_UNSYNC`; chrony without
    /// it only says how far off the clock may be (`set_sync_status` in its sys_timex.c). The kernel forgets both when the clock is set by hand,
    /// and when no server was heard for hours.
    ///
    /// Not seen are those that do not tell the kernel: `ntpd -x`, and BusyBox's ntpd, which clears the flag and says nothing of the error, so that
    /// the kernel sets it again within a second. With them the clock is unknown, though it may be right.
    fn is_synced(&self) -> bool {
        self.flagged_synced || (0..NO_LIMIT_US).contains(&self.max_error_us)
    }

    fn uncertainty_ms(&self) -> u32 {
        let error_us = [self.max_error_us, self.estimated_error_us, self.offset_us.saturating_abs(), LEAST_ERROR_US];
        let error_us = error_us.into_iter().max().unwrap_or(NO_LIMIT_US);
        // Nobody vouches for an error above the kernel's limit; what flags the clock as synced without a word on its error is not believed more.
        u32::try_from(error_us.min(NO_LIMIT_US) / 1000).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reading::ClockState;

    #[test]
    fn uptime_runs_and_the_boot_stays() {
        let mut clock = Clock::new().unwrap();
        let first = clock.stamp();
        let second = clock.stamp();
        assert!(second.uptime_ms >= first.uptime_ms && first.uptime_ms > 0);
        assert_eq!(clock.boot(), Clock::new().unwrap().boot());
        assert!(ClockState::KNOWN.contains(&first.clock));
    }

    #[test]
    fn who_disciplines_a_clock_tells_the_kernel_in_different_ways() {
        let unsynced = Discipline::NONE;
        assert!(!unsynced.is_synced());
        // systemd-timesyncd claims no error at all while it slews up to 0.4 s.
        let timesyncd =
            Discipline { flagged_synced: true, max_error_us: 0, estimated_error_us: 0, offset_us: -300_000 };
        assert!(timesyncd.is_synced());
        assert_eq!(timesyncd.uncertainty_ms(), 300);
        assert_eq!(Discipline { offset_us: 0, ..timesyncd }.uncertainty_ms(), 10);
        let chrony = Discipline { max_error_us: 17_288, estimated_error_us: 120, ..unsynced };
        assert!(chrony.is_synced(), "without rtcsync the flag stays");
        assert_eq!(chrony.uncertainty_ms(), 17);
        let only_flagged = Discipline { flagged_synced: true, max_error_us: i64::MAX, ..unsynced };
        assert_eq!(only_flagged.uncertainty_ms(), 16_000);
        assert!(!Discipline { max_error_us: -1, ..unsynced }.is_synced());
    }
}
