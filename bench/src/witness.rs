//! A child that says when the first reading of each node came: a subscriber that was already there.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bench::clock::monotonic_us;
use bench::orders::{Listening, say};
use mesh::{Config, Directory, MeshEvent};
use prometheus_client::registry::Registry;
use reading::{Frame, Kind, NodeId, Payload};
use serde::{Deserialize, Serialize};

use bench::load;

/// The first reading of a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct First {
    /// When it could be shown: the frame and the announcement that explains it were there. On the monotonic clock.
    pub first_reading_us: i64,
    /// Which frame it came in.
    pub seq: u64,
}

pub async fn run() -> Result<()> {
    let selector = format!("{}/#", tests::magpie::PLACE).parse()?;
    let config = Config {
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        interest: vec![selector],
        ..Config::new(load::mesh_config(0).key)
    };
    let (mesh, mut events) = mesh::start(config, &mut Registry::default()).await?;
    let listening = mesh.listen_addresses().await?.pop().context("the mesh listens nowhere")?;
    say(&Listening { listening })?;
    let mut directory = Directory::default();
    // What waits for its announcement; `None` once a reading was shown.
    let mut first: HashMap<NodeId, Option<Frame>> = HashMap::new();
    while let Some(event) = events.next().await {
        let MeshEvent::Frame { frame, .. } = event else { continue };
        let node = frame.node();
        if frame.kind() == Kind::ANNOUNCEMENT {
            directory.observe(&frame);
        } else if has_value(&frame)
            && let Some(waiting) = first.entry(node).or_insert(Some(frame.clone()))
        {
            // An announcement that was replaced before the two had met never comes: what the next one explains is then the first.
            *waiting = frame;
        }
        if let Some(waiting) = first.get_mut(&node)
            && let Some(frame) = waiting.take_if(|frame| directory.describe(frame).is_some())
        {
            say(&First { first_reading_us: monotonic_us(), seq: frame.seq() })?;
        }
    }
    Ok(())
}

fn has_value(frame: &Frame) -> bool {
    let Ok(Payload::Readings(readings)) = frame.payload() else { return false };
    readings.readings.iter().any(|reading| reading.value.is_some())
}
