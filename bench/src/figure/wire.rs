//! What a reading costs on the wire between two nodes at 20 frames a second: all that passes the interface of a network
//! of their own, both ways, IP headers and acknowledgements included, frames of the link excluded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bench::load::READINGS;
use tests::netns::Namespace;

use crate::children::{Session, Whose};
use crate::figure::Figures;

const RATE: f64 = 20.0;
/// Meeting is over after this: directories are exchanged, the gossip mesh is formed.
const MEETING: Duration = Duration::from_secs(3);

/// Sends so many frames.
pub fn measure(frames: u64) -> Result<Figures> {
    let network = Namespace::new("wire")?;
    let mut session = Session::start(Whose::Ours, 1, Some(&network))?;
    std::thread::sleep(MEETING);
    let before = bytes(&network)?;
    let exchange = session.send(frames, Some(RATE))?;
    let passed = bytes(&network)? - before;
    let heard = exchange.complete()?.heard;
    Ok(vec![("wire_bytes_per_reading", passed as f64 / (heard * READINGS) as f64)])
}

/// What the loopback interface has carried. It counts packets without a link's header.
fn bytes(network: &Namespace) -> Result<u64> {
    let output = network.command("cat").arg("/proc/net/dev").output().context("cannot look at the network")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "/proc/net/dev: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    received.with_context(|| format!("/proc/net/dev has no loopback: {text}"))
}
