//! Connections, and who is dialled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, ping};
use reading::{Label, NodeId};

use super::gossip::{gauge, peer_of};
use super::{Connected, Task};
use crate::address::{self, Host, Parts};
use crate::demand;
use crate::dial::{Dial, Key, Outcome};
use crate::exchange::Exchange;
use crate::handle::MeshEvent;
use crate::swarm::BehaviourEvent;
use crate::topic::Topic;

/// How long the system may take to resolve a name.
const LOOKUP: Duration = Duration::from_secs(5);
/// Of what peers say of themselves, so much is kept.
const MAX_AGENT_CHARS: usize = 64;
const MAX_LISTENS: usize = 8;

impl Task {
    pub(super) fn on_connection(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                if let Some(key) = self.dials.remove(&connection_id) {
                    self.dial_ended(&key, Outcome::Connected(peer_id), String::new, now);
                }
                self.on_connected(peer_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                tracing::debug!(peer = %peer_id, cause = cause.map(|cause| cause.to_string()), "disconnected");
                self.on_disconnected(peer_id, now);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, connection_id, error } => {
                if let Some(key) = self.dials.remove(&connection_id) {
                    tracing::debug!(?key, %error, "dial failed");
                    let outcome = self.outcome(peer_id, &error);
                    self.dial_ended(&key, outcome, || problem(&error), now);
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.metrics.refused_connections.inc();
                tracing::debug!(%error, "connection refused");
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(%address, "listening");
                self.tell(MeshEvent::Listening { address: address.to_string() });
                self.tell_taken_port(listener_id, &address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.tell(MeshEvent::ListeningEnded { address: address.to_string() });
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener has trouble"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                let reason = reason.err().map(|error| error.to_string());
                tracing::error!(?addresses, reason, "a listener has ended");
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, endpoint: &ConnectedPoint, now: Instant) {
        let address = address::without_peer(endpoint.get_remote_address().clone());
        tracing::debug!(%peer, %address, dialled = endpoint.is_dialer(), "connected");
        self.dialer.connected(peer);
        let name: Arc<str> = peer.to_string().into();
        let connected = Connected {
            name: name.clone(),
            address: address.clone(),
            dialled: endpoint.is_dialer(),
            since: now,
            agent: String::new(),
            listens: Vec::new(),
            rtt: None,
            exchange: Exchange::new(now),
            foreign: false,
        };
        self.peers.insert(peer, connected);
        self.metrics.peers.set(gauge(self.peers.len()));
        self.tell(MeshEvent::PeerConnected { peer: name.to_string(), address: address.to_string() });
        self.ask_directories(now);
    }

    /// A peer as events show it.
    pub(super) fn name(&self, peer: &PeerId) -> Arc<str> {
        self.peers.get(peer).map_or_else(|| peer.to_string().into(), |connected| connected.name.clone())
    }

    fn on_disconnected(&mut self, peer: PeerId, now: Instant) {
        let lasted = self.peers.remove(&peer).map_or(Duration::ZERO, |connected| now - connected.since);
        self.dialer.disconnected(peer, lasted, now);
        self.turns.leave(&peer);
        self.metrics.peers.set(gauge(self.peers.len()));
        self.tell(MeshEvent::PeerDisconnected { peer: peer.to_string() });
    }

    fn tell_taken_port(&mut self, listener: ListenerId, address: &Multiaddr) {
        let Some(listening) = self.listening.iter_mut().find(|listening| listening.id == listener) else { return };
        if !std::mem::replace(&mut listening.announced, true)
            && let Some(wanted) = &listening.wanted
        {
            let (wanted, instead) = (wanted.to_string(), address.to_string());
            tracing::warn!(wanted, instead, "the port belongs to another program: listening elsewhere");
            self.tell(MeshEvent::PortTaken { wanted, instead });
        }
    }

    // === Dialling ===

    pub(super) fn dial_due(&mut self, now: Instant) {
        for dial in self.dialer.due(now) {
            let is_named =
                |address: &Multiaddr| matches!(address::parts(address), Some(Parts { host: Host::Name { .. }, .. }));
            if !dial.addresses.iter().any(is_named) {
                let addresses = dial.addresses.clone();
                self.dial_resolved(dial, addresses);
            } else {
                // Each holds a thread of the runtime's; there are no more than dials under way.
                self.lookups.spawn(resolve(dial));
            }
        }
    }

    pub(super) fn dial_resolved(&mut self, dial: Dial, addresses: Vec<Multiaddr>) {
        // A port of its own for each dial: from the listening port, two peers that dial each other at once would meet in
        // one TCP connection that both believe they have dialled.
        let options = match dial.expected {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .allocate_new_port()
                .build(),
            None => {
                let turn = usize::try_from(dial.failures).unwrap_or(0) % addresses.len().max(1);
                match addresses.into_iter().nth(turn) {
                    Some(address) => DialOpts::unknown_peer_id().address(address).allocate_new_port().build(),
                    None => {
                        let unknown = || "the name cannot be resolved".to_owned();
                        return self.dial_ended(&dial.key, Outcome::Failed, unknown, Instant::now());
                    }
                }
            }
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, dial.key);
            }
            Err(error) => {
                let outcome = self.outcome(dial.expected, &error);
                self.dial_ended(&dial.key, outcome, || problem(&error), Instant::now());
            }
        }
    }

    fn dial_ended(&mut self, key: &Key, outcome: Outcome, problem: impl FnOnce() -> String, now: Instant) {
        self.metrics.dialled(outcome);
        if self.dialer.ended(key, outcome, now) {
            let address = match key {
                Key::Address(address) => address.to_string(),
                Key::Peer(peer) => peer.to_string(),
            };
            let problem = problem();
            tracing::warn!(address, problem, "not reachable; trying on");
            self.tell(MeshEvent::Unreachable { address, problem });
        }
    }

    fn outcome(&self, peer: Option<PeerId>, error: &DialError) -> Outcome {
        match (error, peer) {
            (DialError::LocalPeerId { .. }, _) => Outcome::Ourselves,
            (DialError::Denied { .. } | DialError::DialPeerConditionFalse(_), Some(peer))
                if self.swarm.is_connected(&peer) =>
            {
                Outcome::Refused(peer)
            }
            _ => Outcome::Failed,
        }
    }

    /// Dials announced nodes of areas that have too few peers.
    pub(super) fn meet_demand(&mut self, now: Instant) {
        let mut followed: HashMap<&str, usize> = HashMap::new();
        for (_, topics) in self.swarm.behaviour().gossip.all_peers() {
            topics.into_iter().for_each(|topic| *followed.entry(topic.as_str()).or_default() += 1);
        }
        let areas = self.joined.iter().filter_map(|topic| match topic {
            Topic::Area(city, area) => {
                let followers = followed.get(topic.to_string().as_str()).copied().unwrap_or(0);
                Some(((city.clone(), area.clone()), followers))
            }
            Topic::City(_) => None,
        });
        let followers: HashMap<(Label, Label), usize> = areas.collect();
        let short = demand::shortage(&followers);
        if short.is_empty() {
            return;
        }
        let nodes = self.directory.nodes().map(|(frame, announcement)| (frame.node(), &**announcement));
        for (area, candidates) in demand::candidates(self.own_peer, &short, nodes) {
            let mut asked = 0;
            for (node, announcement) in candidates {
                if asked >= short.get(&area).copied().unwrap_or(0) {
                    break;
                }
                let Some(peer) = peer_of(node) else { continue };
                if peer == self.own_peer || self.dialer.is_engaged(&peer) {
                    continue;
                }
                let addresses = announcement.addresses.iter().filter_map(|address| address.as_str().parse().ok());
                asked += usize::from(self.dialer.ask(peer, addresses, now));
            }
        }
        self.dial_due(now);
    }

    /// Dials nodes by their announcements.
    pub(super) fn reach(&mut self, nodes: &[NodeId], at_once: usize, enough: usize) {
        let now = Instant::now();
        let most = at_once.min(enough.saturating_sub(self.peers.len()));
        let mut asked = 0;
        for node in nodes {
            if asked >= most {
                break;
            }
            let Some(announcement) = self.directory.latest(node).cloned() else { continue };
            let Some(peer) = peer_of(*node).filter(|peer| *peer != self.own_peer) else { continue };
            if !self.dialer.is_engaged(&peer) {
                let addresses = announcement.addresses.iter().filter_map(|address| address.as_str().parse().ok());
                asked += usize::from(self.dialer.ask(peer, addresses, now));
            }
        }
        self.dial_due(now);
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let now = Instant::now();
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    self.dialer.found(peer, address, now);
                }
                self.dial_due(now);
            }
            mdns::Event::Expired(lost) => {
                for (peer, address) in lost {
                    self.dialer.lost(peer, &address);
                }
            }
        }
    }

    // === What peers say ===

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        // Not recorded in libp2p's metrics: their labels would be of the peer's choosing.
        if let identify::Event::Received { peer_id, info, .. } = event
            && let Some(peer) = self.peers.get_mut(&peer_id)
        {
            peer.agent = info.agent_version.chars().filter(|c| !c.is_control()).take(MAX_AGENT_CHARS).collect();
            peer.listens = info.listen_addrs.iter().take(MAX_LISTENS).map(Multiaddr::to_string).collect();
        }
    }

    pub(super) fn on_ping(&mut self, event: &ping::Event) {
        use libp2p::metrics::Recorder;
        self.libp2p_metrics.record(event);
        match &event.result {
            Ok(rtt) => {
                if let Some(peer) = self.peers.get_mut(&event.peer) {
                    peer.rtt = Some(*rtt);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            Err(error) => {
                // One on which nothing comes ends by itself; on this one something comes, and no answer.
                tracing::debug!(peer = %event.peer, %error, "ping failed: closing");
                self.swarm.close_connection(event.connection);
            }
        }
    }
}

/// Why a dial failed, for people.
fn problem(error: &DialError) -> String {
    match error {
        DialError::WrongPeerId { obtained, .. } => format!("another peer answers there: {obtained}"),
        DialError::Transport(attempts) => match attempts.first() {
            Some((_, TransportError::Other(error))) => root(error).to_string(),
            Some((_, error)) => error.to_string(),
            None => error.to_string(),
        },
        error => error.to_string(),
    }
}

/// The error behind libp2p's wrappings.
fn root<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    loop {
        // An io::Error hides what it wraps from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        error = match (inner, error.source()) {
            (Some(inner), _) => inner,
            (None, Some(source)) => source,
            (None, None) => return error,
        };
    }
}

/// Asks the system for the addresses of the names in a dial. None where it knows none in time.
async fn resolve(dial: Dial) -> (Dial, Vec<Multiaddr>) {
    let mut resolved = Vec::new();
    for address in &dial.addresses {
        match address::parts(address) {
            Some(Parts { host: Host::Name { name, family }, port, .. }) => {
                let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((name.as_str(), port))).await;
                let found: Vec<SocketAddr> = match found {
                    Ok(Ok(found)) => found.filter(|socket| family.admits(socket)).collect(),
                    Ok(Err(error)) => {
                        tracing::debug!(name, %error, "name not resolved");
                        Vec::new()
                    }
                    Err(_) => {
                        tracing::debug!(name, "name not resolved in time");
                        Vec::new()
                    }
                };
                resolved.extend(found.into_iter().map(address::of_socket));
            }
            _ => resolved.push(address.clone()),
        }
    }
    (dial, resolved)
}
