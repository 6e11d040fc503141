//! The programs that are measured: starting them, giving them orders, reading their reports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::orders::{Expecting, Followed, Listening, Order, Sent};
use bench::tally::Heard;
use serde::de::DeserializeOwned;
use tests::netns::Namespace;
use tests::program::Program;

/// For what a child does at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// What an order takes beyond its own time, on a busy machine.
const SLACK: Duration = Duration::from_secs(60);
/// Slower than this, flat out, is a fault of the measurement.
const SLOWEST_RATE: f64 = 50.0;

/// Whose programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Frames over our mesh.
    Ours,
    /// Payloads of so many bytes over plain rust-libp2p.
    Floor {
        /// As long as a frame of ours.
        bytes: usize,
    },
}

/// One publisher, ours or the floor's, and those who listen to it.
pub struct Session {
    publisher: Program,
    subscribers: Vec<Program>,
}

/// What became of an order to send.
#[derive(Debug)]
pub struct Exchange {
    /// By the publisher's account.
    pub sent: Sent,
    /// By each subscriber's.
    pub heard: Vec<Heard>,
}

impl Session {
    /// Starts them, in a namespace where one is given, and returns when everybody follows the publisher's topic.
    pub fn start(whose: Whose, subscribers: usize, place: Option<&Namespace>) -> Result<Self> {
        let binary = match whose {
            Whose::Ours => ourselves()?,
            Whose::Floor { .. } => beside("floor")?,
        };
        let command = |arguments: &[String]| {
            let mut command = place.map_or_else(|| Command::new(&binary), |place| place.command(&binary));
            command.args(arguments);
            command
        };
        let name = if whose == Whose::Ours { "our" } else { "the floor's" };
        let mut arguments = vec!["publish".to_owned(), format!("--followers={subscribers}")];
        if let Whose::Floor { bytes } = whose {
            arguments.push(format!("--bytes={bytes}"));
        }
        let publisher = Program::start(format!("{name} publisher"), &mut command(&arguments))?;
        let address = report::<Listening>(&publisher, "where it listens", SOON)?.listening;
        let arguments = ["subscribe".to_owned(), format!("--connect={address}")];
        let subscribers = (0..subscribers)
            .map(|_| Program::start(format!("{name} subscriber"), &mut command(&arguments)))
            .collect::<Result<Vec<_>>>()?;
        let followed = report::<Followed>(&publisher, "that it is followed", SOON);
        followed.with_context(|| subscribers.iter().map(Program::tail).collect::<String>())?;
        Ok(Self { publisher, subscribers })
    }

    /// Has so many messages sent, at a rate or as fast as the subscribers take them.
    pub fn send(&mut self, frames: u64, rate: Option<f64>) -> Result<Exchange> {
        for subscriber in &mut self.subscribers {
            order(subscriber, Order::Expect { frames })?;
            report::<Expecting>(subscriber, "that it counts", SOON)?;
        }
        let sent = send(&mut self.publisher, frames, rate)?;
        for subscriber in &mut self.subscribers {
            order(subscriber, Order::Report)?;
        }
        let heard = self.subscribers.iter().map(|subscriber| report::<Heard>(subscriber, "what it heard", SOON));
        Ok(Exchange { sent, heard: heard.collect::<Result<_>>()? })
    }
}

impl Exchange {
    /// Whether everybody heard everything.
    pub fn is_complete(&self) -> bool {
        self.heard.iter().all(|heard| heard.heard == self.sent.sent)
    }

    /// What the only subscriber heard, which is everything.
    pub fn complete(&self) -> Result<&Heard> {
        let [heard] = self.heard.as_slice() else { anyhow::bail!("not one subscriber: {:?}", self.heard) };
        ensure!(self.is_complete(), "{} messages were sent, {} were heard", self.sent.sent, heard.heard);
        Ok(heard)
    }
}

/// Starts a publisher of frames, as so many nodes, that dials somebody else's program.
pub fn visitor(address: &str, nodes: u16) -> Result<Program> {
    let mut command = Command::new(ourselves()?);
    command.args(["publish", "--connect", address, &format!("--nodes={nodes}")]);
    let visitor = Program::start("the visitor", &mut command)?;
    report::<Followed>(&visitor, "that it is followed", SOON)?;
    Ok(visitor)
}

/// Has each node of a publisher send so many messages, and waits until it has.
pub fn send(publisher: &mut Program, frames: u64, rate: Option<f64>) -> Result<Sent> {
    order(publisher, Order::Send { frames, rate })?;
    let time = Duration::from_secs_f64(frames as f64 / rate.unwrap_or(SLOWEST_RATE));
    report(publisher, "that it has sent", time + SLACK)
}

/// Gives an order without waiting.
pub fn order(child: &mut Program, order: Order) -> Result<()> {
    child.write_line(&serde_json::to_string(&order)?)
}

/// The child's next report of this kind.
pub fn report<T: DeserializeOwned>(child: &Program, what: &str, timeout: Duration) -> Result<T> {
    child.wait_for(what, timeout, |line| serde_json::from_str(line).ok())
}

/// This program.
pub fn ourselves() -> Result<PathBuf> {
    std::env::current_exe().context("where is this program's own file?")
}

/// A program that cargo puts beside this one.
pub fn beside(name: &str) -> Result<PathBuf> {
    let path = ourselves()?.parent().unwrap_or(Path::new(".")).join(name);
    ensure!(path.exists(), "{} is missing: cargo build --release -p magpie-bench", path.display());
    Ok(path)
}
