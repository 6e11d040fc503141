//! A partition: the plug is pulled between a node and its follower, each on a machine of its own as far as the network goes, while the
//! node goes on. How long after the plug is back the follower has everything.

use std::path::Path;

use anyhow::Result;
use bench::clock::monotonic_us;
use tests::magpie::{NodeConfig, NodeFiles, without_settings};
use tests::netns::{Namespace, cable};
use tests::program::Program;

use super::hold;
use crate::children::ourselves;
use crate::figure::Figures;
use crate::simulated::{SEVEN_READINGS, config};

/// The frames of hours are made in minutes. How long the plug is out matters only in that it takes the follower some 20 s
/// to notice.
const INTERVAL: &str = "100ms";
const LISTEN: &str = "/ip4/10.77.0.1/tcp/4710";
/// The node makes no fewer, on a busy machine.
const SLOWEST_PER_S: u64 = 5;
/// The node and its followers have met when this many frames have come.
const MET: u64 = 20;

/// Has a node make so many frames meanwhile.
pub fn measure(magpie: &Path, frames: u64) -> Result<Figures> {
    let [near, far] = [Namespace::new("node")?, Namespace::new("follower")?];
    cable("eth0", [(&near, "10.77.0.1/24"), (&far, "10.77.0.2/24")])?;
    let told = NodeConfig { listen: LISTEN.to_owned(), interval: INTERVAL, ..config(&SEVEN_READINGS) };
    let files = NodeFiles::new(&told)?;
    let _node = files.simulate(without_settings(near.command(magpie)))?;
    // Who stays with the node tells how many frames it has made.
    let [mut near_follower, mut follower] = [follow(&near)?, follow(&far)?];
    hold(&mut near_follower, MET, SLOWEST_PER_S)?;
    hold(&mut follower, MET, SLOWEST_PER_S)?;

    far.ip("link set eth0 down")?;
    let before = hold(&mut follower, MET, SLOWEST_PER_S)?.holding;
    let made = hold(&mut near_follower, before + frames, SLOWEST_PER_S)?.holding;
    let restored_us = monotonic_us();
    far.ip("link set eth0 up")?;
    let whole = hold(&mut follower, made, SLOWEST_PER_S)?;
    let since_s = |then_us: i64| (then_us - restored_us).max(0) as f64 * 1e-6;
    Ok(vec![
        ("heal_s", since_s(whole.held_us)),
        ("heal_connect_s", since_s(whole.connected_us)),
        ("heal_frames", (made - before) as f64),
    ])
}

fn follow(network: &Namespace) -> Result<Program> {
    Program::start("a follower", network.command(ourselves()?).args(["follow", LISTEN]))
}
