//! More nodes around one than its gossip mesh has places for.

use std::collections::HashSet;
use std::time::Duration;

use mesh::{Config, MeshEvent, Timing};
use tokio::time::interval;

use crate::support::{Running, config, eventually, member, quick};
use crate::testing::Node;

/// More than a gossip mesh keeps as neighbours.
const NODES: u8 = 12;
/// Together 240 frames a second, so that what was heard in the last heartbeats is more than one list may name.
const EVERY: Duration = Duration::from_millis(50);
const FRAMES: usize = 100;

#[tokio::test]
async fn whoever_has_no_place_in_a_busy_gossip_mesh_is_heard_all_the_same() {
    // With the true heartbeat the lists are as long as in life.
    let timing = Timing { heartbeat: Duration::from_secs(1), ..quick() };
    let interest = vec!["seoul/jung/#".parse().unwrap()];
    let mut hub = Running::start(Config { interest, timing, ..config(200) }).await;
    let mut nodes = Vec::new();
    for seed in 1..=NODES {
        let mut node = Node::new(seed, "seoul", "jung");
        // They can be reached by nobody, so the hub is all that they have.
        let config = Config { listen: vec![], connect: vec![hub.address.clone()], timing, ..member(&node) };
        let running = Running::start(config).await;
        running.mesh.publish(node.announcement()).await.unwrap();
        running.is_followed("magpie/1/seoul/jung").await;
        nodes.push((running, node));
    }
    eventually("the hub has more followers than places", async || {
        hub.mesh.peers().await.unwrap().iter().any(|peer| peer.topics.len() == 2 && peer.mesh_topics < 2)
    })
    .await;
    let mut ticks = interval(EVERY);
    let mut last = HashSet::new();
    for number in 1..=FRAMES {
        ticks.tick().await;
        for (running, node) in &mut nodes {
            let frame = node.readings(1);
            if number == FRAMES {
                last.insert(frame.id());
            }
            running.mesh.publish(frame).await.unwrap();
        }
    }
    hub.wait_for("the last frame of every node", |event| {
        if let MeshEvent::Frame { frame, .. } = event {
            last.remove(&frame.id());
        }
        last.is_empty().then_some(())
    })
    .await;
}
