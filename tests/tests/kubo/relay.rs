//! Kubo in the middle: two nodes that cannot reach each other, and a Kubo that follows their topics.

use std::thread;

use anyhow::Result;
use tests::magpie::{self, NodeConfig, NodeFiles, PLACE};
use tests::netns::{Namespace, cable};

use crate::daemon::{self, HEARTBEAT, Kubo};
use crate::node;

#[test]
fn a_node_behind_kubo_hears_the_one_before_it() -> Result<()> {
    let [near, middle, far] = ["near", "kubo", "far"].map(Namespace::new);
    let (near, middle, far) = (near?, middle?, far?);
    cable("west", [(&near, "10.1.0.1/24"), (&middle, "10.1.0.2/24")])?;
    cable("east", [(&middle, "10.2.0.1/24"), (&far, "10.2.0.2/24")])?;
    let kubo = Kubo::start(&middle)?;
    let city = format!("magpie/1/{}", PLACE.split('/').next().unwrap_or_default());
    let area = format!("magpie/1/{PLACE}");
    // Gossip passes through those who follow it.
    let _following = [kubo.subscribe(&city)?, kubo.subscribe(&area)?];

    let far_files = NodeFiles::new(&behind("far", "10.2.0.1"))?;
    let far_id = node::identify(&far_files, 2)?;
    let _far_node = far_files.simulate(magpie::within(&far)?)?;
    kubo.wait_for_follower(&city, &far_id)?;
    kubo.wait_for_follower(&area, &far_id)?;
    thread::sleep(HEARTBEAT);
    let near_files = NodeFiles::new(&behind("near", "10.1.0.2"))?;
    let _near_node = near_files.simulate(magpie::within(&near)?)?;

    // On the far machine: what its node has heard, anybody there can hear from it, and check.
    let subscriber = magpie::subscribe(magpie::within(&far)?, &["temperature", "--no-mdns"])?;
    for _ in 0..10 {
        magpie::hear(&subscriber, "near", "temperature")?;
    }
    Ok(())
}

/// Kubo has no directory to ask: only what is announced again tells a late subscriber who is there.
#[test]
fn who_comes_late_behind_kubo_learns_the_names_too() -> Result<()> {
    let [near, middle] = ["near", "kubo"].map(Namespace::new);
    let (near, middle) = (near?, middle?);
    cable("west", [(&near, "10.1.0.1/24"), (&middle, "10.1.0.2/24")])?;
    let kubo = Kubo::start(&middle)?;
    let city = format!("magpie/1/{}", PLACE.split('/').next().unwrap_or_default());
    let area = format!("magpie/1/{PLACE}");
    let _following = [kubo.subscribe(&city)?, kubo.subscribe(&area)?];
    let files = NodeFiles::new(&behind("near", "10.1.0.2"))?;
    let id = node::identify(&files, 2)?;
    let _node = files.simulate(magpie::within(&near)?)?;
    kubo.wait_for_follower(&city, &id)?;
    thread::sleep(HEARTBEAT);

    // Far more than one announcement later than the node's first.
    let selector = format!("{PLACE}/+/temperature");
    let address = format!("/ip4/127.0.0.1/tcp/{}", daemon::PORT);
    let subscriber = magpie::subscribe(magpie::within(&middle)?, &[&selector, "--no-mdns", "--connect", &address])?;
    magpie::hear(&subscriber, "near", "temperature")?;
    Ok(())
}

/// A node that knows of nobody but Kubo.
fn behind(name: &'static str, kubo: &str) -> NodeConfig {
    NodeConfig {
        connect: vec![format!("/ip4/{kubo}/tcp/{}", daemon::PORT)],
        listen: String::new(),
        ..node::config(name)
    }
}
