//! What a node holds in memory after one author has sent it far more than any sensor would.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::children::{send, visitor};
use crate::figure::Figures;
use crate::simulated::SimulatedNode;

/// Has one author send so many frames, flat out.
pub fn measure(magpie: &Path, frames: u64) -> Result<Figures> {
    let node = SimulatedNode::start(magpie)?;
    let mut author = visitor(&node.address, 1)?;
    send(&mut author, frames, None)?;
    let shut_out = node.metric("magpie_mesh_blacklistings_total", "")?;
    ensure!(shut_out > 0, "the node has not shut the flooding author out");
    Ok(vec![("rss_flood_bytes", node.process().rss_bytes()? as f64)])
}
