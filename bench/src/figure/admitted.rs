//! What a node holds in memory after many frames that it let in and passed on: ten authors of its area, each at the
//! rate that an author may keep up.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use mesh::Limits;

use crate::children::{send, visitor};
use crate::figure::Figures;
use crate::simulated::SimulatedNode;

const AUTHORS: u16 = 10;
/// What was sent is let in within this.
const SETTLING: Duration = Duration::from_secs(20);

/// Has the authors send so many frames together.
pub fn measure(magpie: &Path, frames: u64) -> Result<Figures> {
    let node = SimulatedNode::start(magpie)?;
    let mut authors = visitor(&node.address, AUTHORS)?;
    let sent = send(&mut authors, frames / u64::from(AUTHORS), Some(f64::from(Limits::default().author_rate)))?;
    node.wait_for_metric("magpie_mesh_frames_total", "verdict=\"accepted\",reason=\"new\"", sent.sent, SETTLING)?;
    Ok(vec![("rss_admitted_bytes", node.process().rss_bytes()? as f64)])
}
