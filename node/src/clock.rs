//! What the kernel says of time: this boot, the time since it, the wall clock and whether a time server disciplines it.

use std::time::{SystemTime, UNIX_EPOCH};

use reading::{BootId, ClockState, Stamp};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of this machine.
#[derive(Debug)]
pub struct Clock {
    boot: BootId,
    was_synced: bool,
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
        Ok(Self { boot: BootId(id.to_be_bytes()), was_synced: false })
    }

    /// Which boot this is.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Now, by every clock there is.
    pub fn stamp(&mut self) -> Stamp {
        let uptime = clock_gettime(ClockId::Boottime);
        let synced = kernel_clock_is_synced();
        self.was_synced |= synced;
        Stamp {
            uptime_ms: uptime.tv_sec as u64 * 1000 + uptime.tv_nsec as u64 / 1_000_000,
            time_us: wall_us(),
            clock: match (synced, self.was_synced) {
                (true, _) => ClockState::SYNCED,
                (false, true) => ClockState::FREE_RUNNING,
                (false, false) => ClockState::UNKNOWN,
            },
        }
    }
}

/// us since 1970 by the wall clock, whatever it is worth.
pub fn wall_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// Whether the kernel's clock is disciplined: `STA_UNSYNC` of adjtimex(2), which chrony, ntpd and systemd-timesyncd clear.
fn kernel_clock_is_synced() -> bool {
    #[allow(unsafe_code, reason = "no safe wrapper of adjtimex is in the tree; with modes 0 it only reads")]
    // SAFETY: timex is plain numbers, for which zero is a value; the call writes to it and keeps no pointer.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    state != -1 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_runs_and_the_boot_stays() {
        let mut clock = Clock::new().unwrap();
        let first = clock.stamp();
        let second = clock.stamp();
        assert!(second.uptime_ms >= first.uptime_ms && first.uptime_ms > 0);
        assert_eq!(clock.boot(), Clock::new().unwrap().boot());
        assert!(ClockState::KNOWN.contains(&first.clock));
    }
}
