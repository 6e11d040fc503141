//! The signals that ask a program to stop: SIGTERM from supervisors, SIGINT from Ctrl-C, SIGHUP from a terminal that was closed.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The same signal again within this is the same request: timeout(1) signals its child and then the child's process group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Listens for every signal that asks for a stop.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            // Whoever started us with nohup wants us to outlive the terminal.
            hangup: if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Tells of the first, and ends the process at the next.
    pub(crate) async fn obey(mut self, first: oneshot::Sender<()>) {
        let (asked_by, _) = self.next().await;
        let asked_at = Instant::now();
        tracing::info!(signal = asked_by, "stopping; once more to stop at once");
        // The program may be stopping already, for another reason.
        let _ = first.send(());
        loop {
            let (name, number) = self.next().await;
            if name != asked_by || asked_at.elapsed() >= ONE_REQUEST {
                tracing::warn!(signal = name, "stopped at once");
                // As a shell reports a process that died of the signal.
                std::process::exit(128 + number);
            }
        }
    }

    /// The next one, by name and number. A hangup comes once: shell and kernel may both send one for the same closed terminal, and the
    /// second must not be taken for impatience.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            Some(()) = self.terminate.recv() => ("SIGTERM", 15),
            Some(()) = self.interrupt.recv() => ("SIGINT", 2),
            Some(()) = received(self.hangup.as_mut()) => {
                // Still caught, and not looked at any more.
                self.hangup = None;
                ("SIGHUP", 1)
            }
            else => std::future::pending().await,
        }
    }
}

async fn received(signal: Option<&mut Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP was ignored when the program started: signal 1 is the lowest bit of the mask (proc_pid_status(5)).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Waits for the first of them: for a program that has no tasks to stop. Where signals cannot be listened for, the kernel ends the
/// process as it always did.
pub async fn stop_requested() {
    match StopSignals::listen() {
        Ok(mut signals) => drop(signals.next().await),
        Err(_) => std::future::pending().await,
    }
}
