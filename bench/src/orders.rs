//! What children are told, and how they answer.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

/// Orders waiting. One is given at a time; whoever gives more waits.
const WAITING: usize = 4;

/// An order, one line of JSON on stdin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To a publisher: send so many messages, as each of its nodes.
    Send {
        /// How many.
        frames: u64,
        /// Messages a second; as fast as the subscribers take them where this is missing.
        rate: Option<f64>,
    },
    /// To a subscriber: count from zero.
    Expect {
        /// How many messages will come.
        frames: u64,
    },
    /// To a subscriber: everything was sent; say what came.
    Report,
    /// To a follower: say when it holds so many frames of one run, from the first on.
    Hold {
        /// How many.
        frames: u64,
    },
}

/// A publisher's first words: where it can be dialled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listening {
    /// A multiaddress.
    pub listening: String,
}

/// A publisher has found those who follow its topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Followed {
    /// How many they are.
    pub followers: usize,
}

/// A subscriber counts from zero now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Expecting {
    /// How many messages it was told will come.
    pub expecting: u64,
}

/// A follower holds what it was told to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holding {
    /// Frames of one run, from the first on.
    pub holding: u64,
    /// When the last of them came, or the order where it held them already. On the monotonic clock.
    pub held_us: i64,
    /// When the connection was made that it came by.
    pub connected_us: i64,
    /// What the process has computed so far, in seconds.
    pub cpu_s: f64,
    /// The most memory that it had so far, bytes.
    pub peak_rss_bytes: u64,
}

/// A publisher has carried out an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Messages that were queued, all nodes together.
    pub sent: u64,
    /// Times that a message had to wait because every queue was full.
    pub waits: u64,
    /// What the process computed for it, in seconds.
    pub cpu_s: f64,
}

/// The orders of whoever started this process.
pub struct Orders {
    lines: mpsc::Receiver<io::Result<String>>,
}

impl Orders {
    /// Begins to read stdin.
    pub fn read() -> Self {
        let (sender, lines) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next order; `None` once whoever gave them has gone. May be cancelled without loss.
    pub async fn next(&mut self) -> Result<Option<Order>> {
        let Some(line) = self.lines.recv().await else { return Ok(None) };
        let line = line.context("cannot read orders")?;
        serde_json::from_str(&line).map(Some).with_context(|| format!("not an order: {line}"))
    }
}

/// Tells whoever started this process.
pub fn say(report: &impl Serialize) -> Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, report)?;
    writeln!(stdout)?;
    stdout.flush().context("nobody reads the reports")
}

/// The ticks of a rate. What was missed on a busy machine is made up for, so that the rate holds on average.
pub fn ticks(rate: Option<f64>) -> Option<Interval> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate?));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    Some(ticks)
}
