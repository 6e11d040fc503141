//! systemd's notifications: READY, STATUS, WATCHDOG, STOPPING. Without systemd (no `NOTIFY_SOCKET`) nothing happens.

use std::io;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::Health;

/// How often the status line is brought up to date where no watchdog sets the pace.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Tells systemd that the program has started, then its status and, while it is live, its heartbeat; and that it stops, at the end.
///
/// READY means started, not [ready](crate::health::Report::ready): a node whose sensor is unplugged runs, and killing it for that
/// would help nobody. Spawn it last: the tasks before it have been started then.
pub async fn run(health: Health, stop: CancellationToken) -> io::Result<()> {
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(STATUS_INTERVAL, |timeout| timeout / 2);
    notify(&[NotifyState::Ready]);
    let mut status = String::new();
    loop {
        let report = health.report(Instant::now());
        let summary = one_line(&report.summary());
        if summary != status {
            status = summary;
            notify(&[NotifyState::Status(&status)]);
        }
        if watchdog.is_some() && report.live {
            notify(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(interval) => {}
        }
    }
    Ok(())
}

/// Tells systemd that the program stops. For [`Program::on_stop`](crate::Program::on_stop).
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// A supervisor that does not listen must not stop the program that it supervises.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// One line of a length that systemd takes: a line break would begin another variable.
fn one_line(text: &str) -> String {
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
