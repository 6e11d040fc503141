//! How libp2p is set up, and why it is set up so.

mod silence;

use std::time::Duration;

use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, MessageAuthenticity, MessageId, TopicHash, ValidationMode};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Swarm, SwarmBuilder, Transport, connection_limits, identify, identity, mdns, noise, ping, request_response, tcp,
    yamux,
};
use prometheus_client::registry::Registry;

use self::silence::Watched;

use crate::codec::Codec;
use crate::config::Config;
use crate::error::Error;
use crate::history;
use crate::protocol;
use crate::topic;

/// Bytes of a gossipsub message. Frames stay far below; rust-libp2p's limit is this, Go's is more.
const MAX_TRANSMIT_BYTES: usize = 64 * 1024;
/// Messages waiting for one peer. A peer that is this far behind loses what comes on top, and is reported as slow. libp2p's 5,000 would
/// let one sleeping peer hold megabytes of a Pi's memory.
const PEER_QUEUE: usize = 256;
/// Message ids in one list of what is to be had, or is wanted: the rest is in the next heartbeat's. An id takes 48 bytes, so a list stays
/// below the 16 KiB that rust-libp2p takes by default. A peer to which a list is too long stops reading our gossip for good and does not
/// say so: that began at some 80 messages a second in an area, between peers that are not neighbours in its gossip mesh.
const LISTED_IDS: usize = 300;
/// Topics that one peer may follow here. Who follows more is not heard on any new one: they would be memory of the peer's choosing.
const PEER_TOPICS: usize = 100;
/// Between two questions to the local network. Any answer, to whomever, puts off everybody's next question, so this is one question for all.
const MDNS_QUERY: Duration = Duration::from_secs(60);
/// How long a peer may take to answer for its directory.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of one peer at once, both ways. Honest ones have one.
const DIRECTORY_STREAMS: usize = 4;
/// How long a peer may take to answer for its history: longer than it waits for its store.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(12);
/// Questions of one peer at once, both ways. Those beyond what it may have waiting are told to come back; beyond these, the stream is closed.
const HISTORY_STREAMS: usize = 16;

/// Everything that runs on a connection.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) gossip: Gossip,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) directory: request_response::Behaviour<Codec<protocol::Request, protocol::Response>>,
    pub(crate) history: request_response::Behaviour<Codec<history::Request, history::Response>>,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

pub(crate) type Gossip =
    gossipsub::Behaviour<gossipsub::IdentityTransform, gossipsub::MaxCountSubscriptionFilter<SaneTopics>>;

/// The libp2p key of a node: the very one that signs its frames.
pub(crate) fn keypair(config: &Config) -> Result<identity::Keypair, Error> {
    identity::Keypair::ed25519_from_bytes(config.key.seed()).map_err(setup)
}

/// Builds the swarm. Nothing listens or dials yet.
pub(crate) fn build(config: &Config, metrics: &mut Registry) -> Result<Swarm<Behaviour>, Error> {
    let keypair = keypair(config)?;
    let gossip =
        gossip(config, keypair.clone())?.with_metrics(metrics.sub_registry_with_prefix("gossipsub"), metrics_config());
    let mdns = mdns_behaviour(config, keypair.public().to_peer_id());
    // One connection per peer: with two, a Go peer stops hearing us for good. The newcomer is the one that is refused.
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_established_per_peer(Some(1))
        .with_max_established(Some(config.limits.connections))
        .with_max_pending_incoming(Some(64))
        .with_max_pending_outgoing(Some(64));
    let identify = identify::Config::new("/magpie/1".to_owned(), keypair.public())
        .with_agent_version(config.agent.clone())
        .with_push_listen_addr_updates(true)
        // Addresses to dial are the dial loop's business.
        .with_cache_size(0);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        gossip,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(config.timing.ping).with_timeout(config.timing.ping),
        ),
        directory: directory(),
        history: history_of(config),
        mdns: mdns.into(),
    };
    let (idle, silence) = (config.timing.idle, 2 * config.timing.ping);
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        // What `with_tcp` does, but watched.
        .with_other_transport(|keypair| {
            let watched = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
                .map(move |stream, _| Watched::new(stream, silence));
            Ok(watched
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(keypair)?)
                .multiplex(yamux::Config::default()))
        })
        .map_err(setup)?
        .with_bandwidth_metrics(metrics)
        .with_behaviour(|_| behaviour)
        .map_err(setup)?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(idle))
        .build();
    Ok(swarm)
}

fn gossip(config: &Config, keypair: identity::Keypair) -> Result<Gossip, Error> {
    let settings = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(config.timing.heartbeat)
        .heartbeat_initial_delay(config.timing.heartbeat_first)
        .validation_mode(ValidationMode::Strict)
        // Nothing is forwarded before it was looked at.
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(MAX_TRANSMIT_BYTES)
        .max_control_messages_sent(LISTED_IDS)
        // Go's lists are longer.
        .max_control_message_size(MAX_TRANSMIT_BYTES)
        .duplicate_cache_time(Duration::from_secs(60))
        .connection_handler_queue_len(PEER_QUEUE)
        .mesh_n(6)
        .mesh_n_low(3)
        .mesh_n_high(10)
        .mesh_outbound_min(1)
        .history_length(10)
        .history_gossip(4)
        .flood_publish(true)
        .build()
        .map_err(setup)?;
    let bounded = gossipsub::MaxCountSubscriptionFilter {
        filter: SaneTopics,
        max_subscribed_topics: PEER_TOPICS,
        max_subscriptions_per_request: PEER_TOPICS,
    };
    gossipsub::Behaviour::new_with_subscription_filter(MessageAuthenticity::Signed(keypair), settings, bounded)
        .map_err(setup)
}

/// The id that Go gives a message: the author's bytes, then its number, big-endian. With rust-libp2p's own, a Go peer asks for messages by
/// names that nobody here knows.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut id = message.source.map(|source| source.to_bytes()).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId(id)
}

/// Labels of gossipsub's metrics are topics: ours, and a few of our peers' choosing.
fn metrics_config() -> gossipsub::MetricsConfig {
    gossipsub::MetricsConfig { max_topics: PEER_TOPICS, max_never_subscribed_topics: 8, ..Default::default() }
}

fn directory() -> request_response::Behaviour<Codec<protocol::Request, protocol::Response>> {
    let settings = request_response::Config::default()
        .with_request_timeout(DIRECTORY_TIMEOUT)
        .with_max_concurrent_streams(DIRECTORY_STREAMS);
    request_response::Behaviour::new([(protocol::NAME, request_response::ProtocolSupport::Full)], settings)
}

/// A program without a history asks others, and is known not to answer.
fn history_of(config: &Config) -> request_response::Behaviour<Codec<history::Request, history::Response>> {
    let settings = request_response::Config::default()
        .with_request_timeout(HISTORY_TIMEOUT)
        .with_max_concurrent_streams(HISTORY_STREAMS);
    let support = match config.history {
        Some(_) => request_response::ProtocolSupport::Full,
        None => request_response::ProtocolSupport::Outbound,
    };
    request_response::Behaviour::new([(history::NAME, support)], settings)
}

fn mdns_behaviour(config: &Config, own: libp2p::PeerId) -> Option<mdns::tokio::Behaviour> {
    if !config.mdns {
        return None;
    }
    // A machine where interfaces cannot be watched still has its configured addresses.
    mdns::tokio::Behaviour::new(mdns::Config { query_interval: MDNS_QUERY, ..Default::default() }, own)
        .inspect_err(|error| tracing::warn!(%error, "mDNS is off: it could not be started"))
        .ok()
}

fn setup(error: impl std::fmt::Display) -> Error {
    Error::Setup(error.to_string())
}

/// Which topics of a peer are remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SaneTopics;

impl gossipsub::TopicSubscriptionFilter for SaneTopics {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        topic::is_sane(topic.as_str())
    }
}
