//! A subscriber that comes late: a node has kept the frames of months, and one process fetches them all from it and checks every
//! signature. The node is the one that ships.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tests::magpie::{NodeConfig, free_port};
use tests::program::Program;

use super::{hold, past};
use crate::children::ourselves;
use crate::figure::Figures;
use crate::simulated::{SEVEN_READINGS, SimulatedNode, config};

/// Slower than this is a fault of the measurement.
const SLOWEST_PER_S: u64 = 500;

/// Has so many frames fetched.
pub fn measure(magpie: &Path, frames: u64) -> Result<Figures> {
    let told = NodeConfig { listen: format!("/ip4/127.0.0.1/tcp/{}", free_port()?), ..config(&SEVEN_READINGS) };
    let node = SimulatedNode::start_as(magpie, told, |state| past::write(state, frames))?;
    let cpu_s = node.process().cpu_s()?;
    let mut command = Command::new(ourselves()?);
    let mut follower = Program::start("the follower", command.args(["follow", &node.address]))?;
    let early = hold(&mut follower, frames / 10, SLOWEST_PER_S)?;
    let node_early = node.process().peak_rss_bytes()?;
    let whole = hold(&mut follower, frames, SLOWEST_PER_S)?;
    let seconds = (whole.held_us - whole.connected_us) as f64 * 1e-6;
    let us_per_frame = |cpu_s: f64| cpu_s * 1e6 / frames as f64;
    Ok(vec![
        ("catch_up_frames_per_s", frames as f64 / seconds),
        ("catch_up_frames", frames as f64),
        ("node_cpu_us_per_frame", us_per_frame(node.process().cpu_s()? - cpu_s)),
        ("subscriber_cpu_us_per_frame", us_per_frame(whole.cpu_s)),
        ("node_rss_bytes", node.process().peak_rss_bytes()? as f64),
        ("node_rss_early_bytes", node_early as f64),
        ("subscriber_rss_bytes", whole.peak_rss_bytes as f64),
        ("subscriber_rss_early_bytes", early.peak_rss_bytes as f64),
    ])
}
