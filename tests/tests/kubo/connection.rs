//! A connection that goes comes again, and works.

use anyhow::Result;
use tests::magpie::{MEETING, NodeFiles};
use tests::netns::Namespace;
use tests::program::Program;

use crate::daemon::Kubo;
use crate::node;

#[test]
fn a_node_that_was_killed_and_started_again_is_heard() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let files = NodeFiles::new(&node::config("first"))?;
    let id = node::identify(&files, 1)?;
    let kubo = Kubo::start_with_peers(&machine, &[format!("{}/p2p/{id}", node::ADDRESS)])?;
    // The same one all the time, as a person would leave it running.
    let subscriber = kubo.subscribe(node::TOPIC)?;
    for name in ["first", "second", "third"] {
        let node = files.simulate(node::named(&machine, name)?)?;
        node::hear(&subscriber, name)?;
        kubo.wait_for_peer(&id)?;
        node.kill()?;
    }
    Ok(())
}

#[test]
fn a_connection_that_kubo_ended_is_made_again() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let files = NodeFiles::new(&node::config("roof"))?;
    let id = node::identify(&files, 1)?;
    let kubo = Kubo::start(&machine)?;
    let _listening = kubo.subscribe(node::TOPIC)?;
    let node = files.simulate(node::plain(&machine)?)?;
    for _ in 0..3 {
        wait_for(&node, "peer connected", kubo.id())?;
        node::hear(&kubo.subscribe(node::TOPIC)?, "roof")?;
        kubo.ipfs(&["swarm", "disconnect", &format!("/p2p/{id}")])?;
        wait_for(&node, "peer disconnected", kubo.id())?;
    }
    wait_for(&node, "peer connected", kubo.id())?;
    node::hear(&kubo.subscribe(node::TOPIC)?, "roof")?;
    Ok(())
}

fn wait_for(node: &Program, what: &str, peer: &str) -> Result<()> {
    node.wait_for_log(what, MEETING, |line| (line.contains(what) && line.contains(peer)).then_some(()))
}
