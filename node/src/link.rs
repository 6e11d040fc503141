//! Keeps the node's mesh: when it may start, where the node can be dialled, whether it makes progress.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh::{Events, History, Mesh, MeshEvent};
use prometheus_client::registry::Registry;
use reading::{NodeKey, Selector};
use service::{Component, Health, Metrics as Exposition};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, DialAddress};
use crate::floor::{self, SeqnoFloor, Verdict};
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::recorder::Record;

/// A mesh task that has not turned its loop for this long hangs, and only a restart helps.
const STALLED_MESH: Duration = Duration::from_secs(60);
/// How often its progress is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Addresses come one by one when the mesh starts, and one announcement for all of them is enough.
const SETTLE: Duration = Duration::from_millis(20);
/// How long leaving the mesh may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Why the mesh was left.
enum Left {
    Stopped,
    ClockIsRight,
}

/// Whom the mesh has to do with in this process.
#[derive(Debug)]
pub struct Company {
    /// Told of the mesh and of its addresses.
    pub records: mpsc::Sender<Record>,
    /// Given what others say, where that is kept.
    pub neighbours: Option<Neighbours>,
    /// Asked for the past.
    pub history: Arc<dyn History>,
}

/// The mesh of one node.
pub struct Link {
    config: mesh::Config,
    announce: Vec<String>,
    floor: SeqnoFloor,
    records: mpsc::Sender<Record>,
    neighbours: Option<Neighbours>,
    health: Component,
    metrics: Arc<Metrics>,
    exposition: Exposition,
}

impl Link {
    /// Nothing is opened yet.
    pub fn new(
        config: &Config,
        key: NodeKey,
        floor: SeqnoFloor,
        company: Company,
        health: &Health,
        metrics: Arc<Metrics>,
        exposition: Exposition,
    ) -> Self {
        let Company { records, neighbours, history } = company;
        // Every label is one of a selector's too: there is no other outcome. Nobody's frames are of interest where none are kept.
        let area = format!("{}/{}/#", config.city, config.area).parse::<Selector>();
        let texts = |addresses: &[DialAddress]| addresses.iter().map(|address| address.0.clone()).collect();
        Self {
            config: mesh::Config {
                listen: config.mesh.listen.iter().map(|address| address.0.clone()).collect(),
                connect: texts(&config.mesh.connect),
                mdns: config.mesh.mdns,
                try_local: config.mesh.local,
                member: Some((config.city.clone(), config.area.clone())),
                interest: area.into_iter().filter(|_| neighbours.is_some()).collect(),
                history: Some(history),
                ..mesh::Config::new(key)
            },
            announce: texts(&config.mesh.announce),
            floor,
            records,
            neighbours,
            health: health.component_with_heartbeat("mesh", STALLED_MESH),
            metrics,
            exposition,
        }
    }

    /// Waits for a usable clock, joins, and stays until told to stop. Where it joined with an old clock, it joins once more when the
    /// clock has become right: a mesh numbers its messages from the clock of its start.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), mesh::Error> {
        let mut behind = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            behind = self.wait_for_clock() => behind,
        };
        loop {
            if let Err(error) = self.floor.raise(mesh::seqno_now()) {
                warn!(%error, "the highest message number cannot be kept; after a restart with an old clock Kubo subscribers may not hear this node");
            }
            let mut registry = Registry::default();
            let (mesh, events) = mesh::start(self.config.clone(), &mut registry).await?;
            self.exposition.set("mesh", registry);
            match behind {
                None => self.health.ready(),
                Some(behind) => self.health.degraded(clock_is_behind(behind)),
            }
            // Before the mesh is there to publish to: so the first announcement that others hear has them, and no second one follows at once,
            // between which a newcomer would miss the first and could make nothing of what refers to it.
            let listening = mesh.listen_addresses().await?.into_iter().collect();
            self.tell(Record::Addresses(announced(&listening, &self.announce))).await;
            self.tell(Record::Mesh(mesh.clone())).await;
            let left = self.stay(&mesh, events, behind.is_some(), &stop).await;
            if let Err(error) = mesh.stop(LEAVE).await {
                warn!(%error, "the mesh was left without good-bye");
            }
            match left {
                Left::Stopped => return Ok(()),
                Left::ClockIsRight => {
                    info!("the clock is right now: joining the mesh again, so that Kubo subscribers hear this node");
                    behind = None;
                }
            }
        }
    }

    /// How far the clock is behind after all the waiting; `None` where it is right.
    async fn wait_for_clock(&self) -> Option<Duration> {
        let started = Instant::now();
        let mut said = false;
        loop {
            self.health.beat();
            match floor::verdict(mesh::seqno_now(), self.floor.ns(), started.elapsed()) {
                Verdict::Start => {
                    self.metrics.clock_behind.set(0);
                    return None;
                }
                Verdict::StartBehind(behind) => {
                    self.note_behind(behind);
                    warn!("{}", clock_is_behind(behind));
                    return Some(behind);
                }
                // A node that was restarted at once: over before anybody could read about it.
                Verdict::Wait(behind) if behind < WATCH_INTERVAL => tokio::time::sleep(behind).await,
                Verdict::Wait(behind) => {
                    self.note_behind(behind);
                    self.health.not_ready(format!("{}; waiting for a time server", clock_is_behind(behind)));
                    if !said {
                        warn!(
                            "{}; sampling and storing, and waiting up to {} s for a time server before joining the mesh",
                            clock_is_behind(behind),
                            floor::LONGEST_WAIT.as_secs()
                        );
                        said = true;
                    }
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            }
        }
    }

    /// The same for a mesh that has waited long enough.
    fn clock_is_right(&self) -> bool {
        match floor::verdict(mesh::seqno_now(), self.floor.ns(), floor::LONGEST_WAIT) {
            Verdict::Start => {
                self.metrics.clock_behind.set(0);
                true
            }
            Verdict::Wait(behind) | Verdict::StartBehind(behind) => {
                self.note_behind(behind);
                self.health.degraded(clock_is_behind(behind));
                false
            }
        }
    }

    fn note_behind(&self, behind: Duration) {
        self.metrics.clock_behind.set(i64::try_from(behind.as_secs().max(1)).unwrap_or(i64::MAX));
    }

    async fn stay(&self, mesh: &Mesh, mut events: Events, behind: bool, stop: &CancellationToken) -> Left {
        let mut addresses = BTreeSet::new();
        let mut changed_at: Option<Instant> = None;
        let mut watch = tokio::time::interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Left::Stopped,
                event = events.next() => match event {
                    Some(MeshEvent::Frame { frame, .. }) => {
                        if let Some(neighbours) = &self.neighbours {
                            neighbours.heard(frame);
                        }
                    }
                    Some(MeshEvent::Listening { address }) => {
                        info!(address, "listening");
                        if addresses.insert(address) {
                            changed_at.get_or_insert_with(Instant::now);
                        }
                    }
                    Some(MeshEvent::ListeningEnded { address }) => {
                        if addresses.remove(&address) {
                            changed_at.get_or_insert_with(Instant::now);
                        }
                    }
                    Some(MeshEvent::PortTaken { wanted, instead }) => {
                        warn!(wanted, instead, "the port belongs to another program; listening elsewhere");
                    }
                    Some(MeshEvent::Unreachable { address, problem }) => {
                        warn!(address, problem, "a configured address cannot be reached; trying again for ever");
                    }
                    Some(MeshEvent::PeerConnected { peer, address }) => info!(peer, address, "peer connected"),
                    Some(MeshEvent::PeerDisconnected { peer }) => info!(peer, "peer disconnected"),
                    Some(_) => {}
                    None => return Left::Stopped,
                },
                () = settled(changed_at) => {
                    changed_at = None;
                    let announced = announced(&addresses, &self.announce);
                    self.tell(Record::Addresses(announced)).await;
                }
                _ = watch.tick() => {
                    if mesh.progress() < STALLED_MESH {
                        self.health.beat();
                    }
                    if behind && self.clock_is_right() {
                        return Left::ClockIsRight;
                    }
                }
            }
        }
    }

    /// The recorder outlives this task but for a stop, when there is nothing more to tell.
    async fn tell(&self, record: Record) {
        drop(self.records.send(record).await);
    }
}

async fn settled(changed_at: Option<Instant>) {
    match changed_at {
        Some(at) => tokio::time::sleep_until(at + SETTLE).await,
        None => std::future::pending().await,
    }
}

/// Loopback is announced only where there is nothing else: elsewhere it would send everybody to themselves.
fn announced(listening: &BTreeSet<String>, configured: &[String]) -> Vec<String> {
    let is_loopback = |address: &String| {
        let host = address.split('/').nth(2).and_then(|host| host.parse::<IpAddr>().ok());
        host.is_some_and(|ip| ip.is_loopback())
    };
    let reachable: Vec<&String> = listening.iter().filter(|address| !is_loopback(address)).collect();
    let listening: Vec<&String> = if reachable.is_empty() { listening.iter().collect() } else { reachable };
    configured.iter().chain(listening).cloned().collect()
}

fn clock_is_behind(behind: Duration) -> String {
    format!(
        "the clock is {} s behind the last start: Kubo subscribers ignore this node until it is right (set the clock, or `ipfs pubsub reset` there)",
        behind.as_secs().max(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kept;
    use crate::storage::Storage;

    #[tokio::test]
    async fn where_a_node_can_be_dialled_is_known_before_anything_is_published() {
        for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/tcp/0"] {
            let (state, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
            let mut config = Config::default();
            config.mesh.listen = vec![crate::ListenAddress(listen.to_owned())];
            config.mesh.mdns = false;
            config.mesh.local = false;
            let (key, floor) = (NodeKey::from_seed([1; 32]), SeqnoFloor::load(&state.path().join("seqno-floor")));
            let (records, mut told) = mpsc::channel(8);
            let history = Arc::new(Kept::new(key.id(), Storage::default(), None));
            let company = Company { records, neighbours: None, history };
            let metrics = Arc::new(Metrics::new(&mut Registry::default()));
            let link = Link::new(&config, key, floor, company, &Health::new(), metrics, Exposition::default());
            let running = tokio::spawn(link.run(stop.clone()));

            let Some(Record::Addresses(first)) = told.recv().await else { panic!("no addresses") };
            assert!(!first.is_empty());
            assert!(matches!(told.recv().await, Some(Record::Mesh(_))));
            // What the mesh's own events say of them is no news.
            let Some(Record::Addresses(again)) = told.recv().await else { panic!("no addresses") };
            assert_eq!(again, first);
            stop.cancel();
            running.await.unwrap().unwrap();
        }
    }

    #[test]
    fn loopback_is_announced_only_where_there_is_nothing_else() {
        let set = |addresses: &[&str]| addresses.iter().map(ToString::to_string).collect::<BTreeSet<String>>();
        let both = set(&["/ip4/127.0.0.1/tcp/4710", "/ip4/192.0.2.7/tcp/4710"]);
        assert_eq!(announced(&both, &[]), ["/ip4/192.0.2.7/tcp/4710"]);
        let alone = set(&["/ip4/127.0.0.1/tcp/4710"]);
        assert_eq!(announced(&alone, &[]), ["/ip4/127.0.0.1/tcp/4710"]);
        let forwarded = ["/dns4/city.example/tcp/4710".to_owned()];
        assert_eq!(announced(&both, &forwarded), ["/dns4/city.example/tcp/4710", "/ip4/192.0.2.7/tcp/4710"]);
    }
}
