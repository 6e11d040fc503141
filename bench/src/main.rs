//! `magpie-bench node`: what Magpie costs on this machine, beside what plain rust-libp2p costs (the `floor`) in the
//! same call, so that the ratios hold on any machine. `magpie-bench growth`: how that grows with the nodes of an area.
//! `magpie-bench delivery`: what it takes to lose nothing. `make bench-node` and so on run them; `docs/performance.md` says how each figure comes about.

mod args;
mod children;
mod delivery;
mod figure;
mod follower;
mod growth;
mod measure;
mod member;
mod page;
mod process;
mod publisher;
mod simulated;
mod subscriber;
mod table;
mod witness;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Node(args) => measure::run(&args),
        Command::Growth(args) => growth::run(&args),
        Command::Delivery(args) => delivery::run(&args),
        // The children run as `magpie` does: on one thread.
        Command::Publish(args) => on_one_thread(publisher::run(args)),
        Command::Subscribe { connect } => on_one_thread(subscriber::run(connect)),
        Command::Follow { connect } => on_one_thread(follower::run(connect)),
        Command::Member(args) => on_one_thread(member::run(args)),
        Command::Witness => on_one_thread(witness::run()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::complain(&format!("magpie-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn on_one_thread(role: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(role)
}
