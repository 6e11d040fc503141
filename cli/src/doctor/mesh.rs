//! Whether others can be met.

use std::net::TcpListener;

use ::node::MeshConfig;

use super::finding::Finding;
use super::node::Running;

pub async fn look(config: &MeshConfig, running: Option<&Running>) -> Vec<Finding> {
    match running.and_then(|running| running.metric("magpie_mesh_peers")) {
        Some(peers) if peers >= 1.0 => vec![Finding::ok("mesh", format!("the running node has {peers} peers"))],
        Some(_) => {
            let fix = if config.connect.is_empty() && !config.mdns {
                "name another node's address under [mesh] connect, or set mdns = true"
            } else {
                "is another node or a subscriber running? name its address under [mesh] connect; multicast does not cross routers"
            };
            vec![Finding::warning("mesh", "the running node has no peers: nobody hears it now", fix)]
        }
        None => vec![port()],
    }
}

/// Without a node running, its port should be free.
fn port() -> Finding {
    match TcpListener::bind(("0.0.0.0", ::mesh::PORT)) {
        Ok(_) => Finding::ok("mesh", format!("TCP port {} is free for a node", ::mesh::PORT)),
        Err(error) => Finding::warning(
            "mesh",
            format!("TCP port {} cannot be had: {error}", ::mesh::PORT),
            format!(
                "find out who has it: sudo ss -ltnp 'sport = :{}'; a node would take another port and say so",
                ::mesh::PORT
            ),
        ),
    }
}
