//! `magpie peers`: which nodes there are.

use std::collections::HashMap;

use mesh::{Directory, MeshEvent};
use reading::{Announcement, NodeId, Selector};
use serde::Serialize;
use tokio::time::Instant;

use crate::args::PeersArgs;
use crate::exit::Exit;
use crate::{meeting, output};

/// A line of `magpie peers --json`.
#[derive(Serialize)]
struct Node {
    place: String,
    node: String,
    firmware: String,
    sensors: Vec<String>,
    addresses: Vec<String>,
    connected: bool,
}

pub async fn run(args: PeersArgs) -> anyhow::Result<Exit> {
    let (mesh, mut events) = meeting::join(&args.meet, vec![Selector::ALL], Vec::new()).await?;
    let end = Instant::now() + args.timeout;
    let mut directory = Directory::default();
    while let Ok(Some(event)) = tokio::time::timeout_at(end, events.next()).await {
        if let MeshEvent::Frame { frame, .. } = event {
            directory.observe(&frame);
        }
    }
    let connected: HashMap<String, mesh::Peer> =
        mesh.peers().await?.into_iter().map(|peer| (peer.id.clone(), peer)).collect();
    let mut nodes: Vec<Node> =
        directory.nodes().map(|(frame, announcement)| describe(frame.node(), announcement, &connected)).collect();
    nodes.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.node.cmp(&b.node)));
    for node in &nodes {
        output::line(&if args.json { serde_json::to_string(node)? } else { human(node) })?;
    }
    meeting::leave(mesh).await;
    if nodes.is_empty() {
        output::complain(&format!("magpie: {}", meeting::where_searched(&args.meet)));
        return Ok(Exit::TimeRanOut);
    }
    Ok(Exit::Done)
}

fn describe(id: NodeId, announcement: &Announcement, connected: &HashMap<String, mesh::Peer>) -> Node {
    let id = id.to_string();
    let sensor = |sensor: &reading::Sensor| {
        format!(
            "{}@{}/0x{:02x}{}",
            sensor.model,
            sensor.bus,
            sensor.address,
            if sensor.simulated { " simulated" } else { "" }
        )
    };
    Node {
        place: announcement.place.to_string(),
        firmware: announcement.firmware.to_string(),
        sensors: announcement.sensors.iter().map(sensor).collect(),
        addresses: announcement.addresses.iter().map(ToString::to_string).collect(),
        connected: connected.contains_key(&id),
        node: id,
    }
}

fn human(node: &Node) -> String {
    let list = |items: &[String], none: &str| if items.is_empty() { none.to_owned() } else { items.join(", ") };
    format!(
        "{}\n  {}  magpie {}{}\n  sensors    {}\n  addresses  {}",
        node.place,
        node.node,
        node.firmware,
        if node.connected { "  connected" } else { "" },
        list(&node.sensors, "none"),
        list(&node.addresses, "none announced")
    )
}
