//! Whether the time is known.

use std::time::{Duration, SystemTime};

use ::node::clock::Clock;
use anyhow::Context;
use reading::ClockState;

use super::finding::Finding;
use super::sys::Sys;

/// The year before this program was written: a clock behind it has never been set.
const EARLIEST_S: u64 = 1_735_689_600;

const SERVER: &str = "turn a time service on: sudo timedatectl set-ntp true; it needs UDP port 123 to the outside, or a server of your own in \
                      /etc/systemd/timesyncd.conf";

pub fn look(sys: &Sys) -> anyhow::Result<Vec<Finding>> {
    let state = Clock::new().context("cannot read the kernel's boot id")?.stamp().clock;
    let now = SystemTime::now();
    Ok(vec![judge(state, now), hardware_clock(sys)])
}

fn judge(state: ClockState, now: SystemTime) -> Finding {
    let never_set = now < SystemTime::UNIX_EPOCH + Duration::from_secs(EARLIEST_S);
    let shown = humantime::format_rfc3339_seconds(now);
    match state {
        _ if never_set => Finding::problem("clock", format!("the clock says {shown}: it was never set"), SERVER),
        ClockState::SYNCED => Finding::ok("clock", format!("{shown}, kept by a time server")),
        _ => Finding::warning("clock", format!("{shown}, but no time server keeps it"), SERVER),
    }
}

fn hardware_clock(sys: &Sys) -> Finding {
    if sys.names("sys/class/rtc").is_empty() {
        return Finding::ok(
            "clock",
            "no battery clock, as usual on a Pi: after a power cut the time is known when a server is",
        );
    }
    Finding::ok("clock", "a battery clock keeps the time over a power cut")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_clock_that_nobody_keeps_is_told() {
        let today = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        assert_eq!(judge(ClockState::SYNCED, today).state, State::Ok);
        assert_eq!(judge(ClockState::UNKNOWN, today).state, State::Warning);
        assert_eq!(judge(ClockState::UNKNOWN, SystemTime::UNIX_EPOCH).state, State::Problem);
    }
}
