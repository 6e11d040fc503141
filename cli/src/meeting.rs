//! How a short-lived program joins the mesh: under a key of its own that nobody remembers, and listening on no port.

use std::time::Duration;

use anyhow::{Context, anyhow};
use mesh::{Events, Mesh, MeshEvent};
use prometheus_client::registry::Registry;
use reading::{NodeKey, Selector};

use crate::args::MeetArgs;
use crate::output;

/// A person who sees nothing for this long is told where was searched.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long leaving may take.
const LEAVE: Duration = Duration::from_secs(2);

/// Joins as a listener.
pub async fn join(meet: &MeetArgs, interest: Vec<Selector>, plain: Vec<String>) -> anyhow::Result<(Mesh, Events)> {
    let config = mesh::Config { interest, plain, ..config(meet, new_key()?) };
    mesh::start(config, &mut Registry::default()).await.context("cannot join the mesh")
}

/// What every program that is no node asks of the mesh.
pub fn config(meet: &MeetArgs, key: NodeKey) -> mesh::Config {
    mesh::Config {
        connect: meet.connect.clone(),
        mdns: !meet.no_mdns,
        try_local: true,
        listen: Vec::new(),
        ..mesh::Config::new(key)
    }
}

/// A key for this run only.
pub fn new_key() -> anyhow::Result<NodeKey> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no randomness for a key")?;
    Ok(NodeKey::from_seed(seed))
}

/// Leaves in order.
pub async fn leave(mesh: Mesh) {
    if let Err(error) = mesh.stop(LEAVE).await {
        tracing::debug!(%error, "the mesh was left without good-bye");
    }
}

/// What a person has to know of an event about the meeting itself; of others there is nothing to tell.
pub fn tell(event: &MeshEvent) {
    match event {
        MeshEvent::Unreachable { address, problem } => {
            output::complain(&format!("magpie: {address} cannot be reached: {problem}; trying again"));
        }
        MeshEvent::AreasLeftOut { topics } => output::complain(&format!(
            "magpie: {topics} areas more than one program can follow match; name fewer cities or areas"
        )),
        _ => {}
    }
}

/// That a person has to look at the selectors: nothing is known of what they mean. `nodes` says which there are.
pub fn nobody_meant(nodes: &str, selectors: &[Selector]) -> anyhow::Error {
    anyhow!("none of the nodes {nodes} is meant by {}", meant(selectors))
}

/// Why a person may see nothing yet.
pub async fn silence(mesh: &Mesh, meet: &MeetArgs, selectors: &[Selector]) -> String {
    match mesh.peers().await.map_or(0, |peers| peers.len()) {
        0 => where_searched(meet),
        peers => format!(
            "nothing heard yet of {}; {} connected, and `magpie sub '#'` shows all that they know of",
            meant(selectors),
            if peers == 1 { "1 peer is".to_owned() } else { format!("{peers} peers are") }
        ),
    }
}

fn meant(selectors: &[Selector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Where was searched, for a person who sees nothing.
pub fn where_searched(meet: &MeetArgs) -> String {
    let mut places = meet.connect.clone();
    places.push(format!("this machine (port {})", mesh::PORT));
    if !meet.no_mdns {
        places.push("the local network".to_owned());
    }
    format!(
        "nothing heard yet on {}. Is a node running (try `magpie node --simulate`)? Elsewhere than here: --connect /ip4/ADDRESS/tcp/{}",
        places.join(", "),
        mesh::PORT
    )
}
