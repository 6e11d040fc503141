//! Meshes on loopback with short heartbeats, and waiting for what they say.

use std::time::Duration;

use mesh::{Config, Events, Mesh, MeshEvent, Timing};
use prometheus_client::registry::Registry;
use reading::{Frame, Kind};
use tokio::time::{Instant, timeout};

use crate::testing::{Node, key};

/// Far more than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

pub(crate) struct Running {
    pub(crate) mesh: Mesh,
    pub(crate) events: Events,
    pub(crate) registry: Registry,
    pub(crate) address: String,
}

pub(crate) fn quick() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(100),
        heartbeat_first: Duration::from_millis(20),
        refresh: Duration::from_millis(500),
        redial_min: Duration::from_millis(200),
        redial_max: Duration::from_millis(600),
        yield_dial: Duration::from_millis(500),
        ..Timing::default()
    }
}

/// Listens on a port of the system's choice, dials nobody, wants nothing.
pub(crate) fn config(seed: u8) -> Config {
    Config { listen: vec![LOOPBACK.to_owned()], timing: quick(), ..Config::new(key(seed)) }
}

/// A node's configuration.
pub(crate) fn member(node: &Node) -> Config {
    Config { member: Some((node.place.city.clone(), node.place.area.clone())), ..config(node.seed) }
}

/// A subscriber's.
pub(crate) fn subscriber(seed: u8, selector: &str) -> Config {
    Config { listen: vec![], interest: vec![selector.parse().unwrap()], ..config(seed) }
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        let mut registry = Registry::default();
        let (mesh, events) = mesh::start(config, &mut registry).await.unwrap();
        let address = mesh.listen_addresses().await.unwrap().pop().unwrap_or_default();
        Self { mesh, events, registry, address }
    }

    /// Starts a node that announces where it listens.
    pub(crate) async fn start_node(config: Config, node: &mut Node) -> (Self, Frame) {
        let running = Self::start(config).await;
        node.addresses = vec![running.address.clone()];
        let announcement = node.announcement();
        running.mesh.publish(announcement.clone()).await.unwrap();
        (running, announcement)
    }

    /// The first event that `wanted` makes something of. The others are passed over.
    pub(crate) async fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(MeshEvent) -> Option<T>) -> T {
        let awaited = async {
            loop {
                let event = self.events.next().await.unwrap_or_else(|| panic!("the mesh ended before {what}"));
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, awaited).await.unwrap_or_else(|_| panic!("no {what} in time"))
    }

    pub(crate) async fn hears(&mut self, frame: &Frame) {
        self.wait_for(&format!("{frame:?}"), |event| match event {
            MeshEvent::Frame { frame: heard, .. } if heard == *frame => Some(()),
            _ => None,
        })
        .await;
    }

    /// Everything that is heard until `last` is.
    pub(crate) async fn hears_until(&mut self, last: &Frame) -> Vec<Frame> {
        let mut heard = Vec::new();
        self.wait_for(&format!("{last:?}"), |event| {
            if let MeshEvent::Frame { frame, .. } = event {
                heard.push(frame);
            }
            heard.last().is_some_and(|frame| frame == last).then_some(())
        })
        .await;
        heard
    }

    /// Publishes readings until `other` hears one of them.
    pub(crate) async fn is_heard_by(&self, node: &mut Node, announcement: u64, other: &mut Running) {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let frame = node.readings(announcement);
            self.mesh.publish(frame).await.unwrap();
            let id = node.author.node();
            let heard = async {
                loop {
                    match other.events.next().await.expect("the mesh ended") {
                        MeshEvent::Frame { frame, .. } if frame.node() == id && frame.kind() == Kind::READINGS => {
                            return;
                        }
                        _ => {}
                    }
                }
            };
            if timeout(Duration::from_millis(100), heard).await.is_ok() {
                return;
            }
        }
        panic!("{} is not heard", node.place);
    }

    /// The sum of the samples of a metric whose labels contain `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text.lines()
            .filter(|line| line.starts_with(&format!("magpie_mesh_{name}")) && line.contains(labels))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Waits until a metric has come to `least`.
    pub(crate) async fn counts(&self, name: &str, labels: &str, least: u64) {
        eventually(&format!("{name}{{{labels}}} >= {least}"), async || self.metric(name, labels) >= least).await;
    }

    /// Waits until somebody follows `topic`.
    pub(crate) async fn is_followed(&self, topic: &str) {
        eventually(&format!("a follower of {topic}"), async || {
            let peers = self.mesh.peers().await.unwrap();
            peers.iter().any(|peer| peer.topics.iter().any(|followed| followed == topic))
        })
        .await;
    }
}

/// Looks again and again, without an event to wait for.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
