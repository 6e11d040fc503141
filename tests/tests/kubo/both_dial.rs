//! Both sides dial at once.
//!
//! There may be one connection between two peers, and the newcomer is refused: so two peers that dial each other at the
//! same moment could refuse one connection each, for ever. To have both dials under way at once for certain, each side
//! is frozen while the other dials it: the kernel takes the connection, and nobody answers it yet.

use anyhow::{Context, Result};
use reading::NodeKey;
use rustix::process::Signal;
use tests::magpie::{MEETING, NodeFiles};
use tests::netns::Namespace;
use tests::program::Program;

use crate::daemon::{self, Kubo, wait_until};
use crate::node;

/// A node that has the lower PeerId dials at once.
#[test]
fn with_the_lower_id_a_node_ends_in_one_working_connection() -> Result<()> {
    both_dial(|node, kubo| node < kubo)
}

/// With the higher one it gives the other some time to dial.
#[test]
fn with_the_higher_id_a_node_ends_in_one_working_connection() -> Result<()> {
    both_dial(|node, kubo| node > kubo)
}

fn both_dial(order: impl Fn(&str, &str) -> bool) -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let kubo = Kubo::start(&machine)?;
    // PeerIds of Ed25519 keys are of one length, and base58 keeps the order.
    // All zeros or all ones are no key to a node.
    let seed = (1..u8::MAX).find(|seed| order(&NodeKey::from_seed([*seed; 32]).id().to_string(), kubo.id()));
    let seed = seed.context("no key is on the wanted side of Kubo's")?;
    let files = NodeFiles::new(&node::config("roof"))?;
    let id = node::identify(&files, seed)?;
    let address = format!("{}/p2p/{id}", node::ADDRESS);
    let listening = kubo.subscribe(node::TOPIC)?;
    let node = files.simulate(node::plain(&machine)?)?;
    node::hear(&listening, "roof").with_context(|| node.tail())?;

    node.signal(Signal::STOP)?;
    kubo.ipfs(&["swarm", "disconnect", &format!("/p2p/{id}")])?;
    wait_for_connections(&machine, &kubo, 0)?;
    let _dialling = Program::start("ipfs swarm connect", &mut kubo.command(&["swarm", "connect", &address])?)?;
    wait_for_connections(&machine, &kubo, 1)?;
    kubo.daemon().signal(Signal::STOP)?;
    node.signal(Signal::CONT)?;
    wait_for_connections(&machine, &kubo, 2)?;
    kubo.daemon().signal(Signal::CONT)?;

    kubo.wait_for_peer(&id)?;
    wait_for_connections(&machine, &kubo, 1)?;
    node::hear(&kubo.subscribe(node::TOPIC)?, "roof")?;
    Ok(())
}

/// Waits until the kernel has this many connections between the two: each is two sockets of this machine.
fn wait_for_connections(machine: &Namespace, kubo: &Kubo<'_>, count: usize) -> Result<()> {
    let sockets = || {
        let output = machine.command("cat").arg("/proc/net/tcp").output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let is_between = |line: &&str| {
        let ports = [mesh::PORT, daemon::PORT].map(|port| format!(":{port:04X} "));
        // sl, local address, remote address, state (01 is established)
        line.split_whitespace().nth(3) == Some("01") && ports.iter().any(|port| line.contains(port))
    };
    let are_there = |table: &str| table.lines().filter(is_between).count() == 2 * count;
    wait_until(&format!("{count} connections"), MEETING, sockets, are_there).with_context(|| kubo.daemon().tail())
}
