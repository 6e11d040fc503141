//! A simulated node that does what nodes do all day: one frame of seven readings in ten seconds, ten neighbours of its
//! area that do the same. What it holds in memory after ten minutes of that, and what it wrote to the disk meanwhile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::children::{send, visitor};
use crate::figure::Figures;
use crate::simulated::SimulatedNode;

const PEERS: u16 = 10;
/// Frames a second of each.
const RATE: f64 = 0.1;

/// Watches such a node for so long.
pub fn measure(magpie: &Path, duration: Duration) -> Result<Figures> {
    let node = SimulatedNode::start(magpie)?;
    let mut neighbours = visitor(&node.address, PEERS)?;
    // The start's own writing, of a new store and a key, is over: the node is ready.
    let before = (node.process().written_bytes()?, node.metric("magpie_node_readings_total", "")?);
    ensure!(
        before.0 > 0,
        "the kernel counts nothing as written to a disk: is the temporary folder on one? TMPDIR=... chooses another"
    );
    send(&mut neighbours, (duration.as_secs_f64() * RATE).ceil() as u64, Some(RATE))?;
    let peers = node.metric("magpie_mesh_peers", "")?;
    ensure!(peers == u64::from(PEERS), "the node has {peers} peers, not {PEERS}");
    let readings = node.metric("magpie_node_readings_total", "")? - before.1;
    let written = node.process().written_bytes()? - before.0;
    ensure!(readings > 0, "the node has read nothing in {duration:?}");
    Ok(vec![
        ("rss_bytes", node.process().rss_bytes()? as f64),
        ("disk_bytes_per_reading", written as f64 / readings as f64),
    ])
}
