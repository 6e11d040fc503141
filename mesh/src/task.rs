//! The task that owns the swarm: it turns libp2p's events into questions to the pure parts, and their answers into calls of libp2p.

mod directory;
mod gossip;
mod history;
mod meeting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::futures::{FutureExt, StreamExt};
use libp2p::metrics::Recorder;
use libp2p::request_response::{OutboundRequestId, ResponseChannel};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use prometheus_client::registry::Registry;
use reading::{Label, NodeId, Selector};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::address;
use crate::admission::Admission;
use crate::announce::Announcing;
use crate::config::Config;
use crate::dial::{Dial, Dialer, Key};
use crate::directory::Directory;
use crate::error::Error;
use crate::events::EventQueue;
use crate::exchange::Exchange;
use crate::handle::{COMMANDS, Command, Events, Mesh, MeshEvent, Peer, Progress};
use crate::history::{Response, Turns};
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::occasion::Occasions;
use crate::swarm::{self, Behaviour, BehaviourEvent};
use crate::topic::Topic;

/// The loop turns at least this often; nothing that is waited for here needs a finer clock.
const TICK: Duration = Duration::from_millis(250);
/// Ticks between looks at which areas have too few peers.
const DEMAND_TICKS: u32 = 4;
/// How long [`start`] waits for the system to say where a wildcard address listens.
const LISTENING: Duration = Duration::from_secs(2);
/// Events that are ready by then and still seen to first. There is one for each address; those beyond are told a moment later.
const READY: usize = 64;
/// What was published just before the end gets this long to leave, of the time that the caller gives at most half.
const FLUSH: Duration = Duration::from_millis(150);

/// Starts a mesh: listens, begins to dial, and returns the two ends that a program holds.
///
/// The first events may already be waiting when this returns. The task ends with [`Mesh::stop`], or when every [`Mesh`] was dropped.
pub async fn start(config: Config, metrics: &mut Registry) -> Result<(Mesh, Events), Error> {
    let listen = config.listen_addresses()?;
    let dial = config.dial_addresses()?;
    config.plain.iter().try_for_each(|topic| crate::topic::check_plain(topic))?;
    if config.plain.len() > crate::MAX_TOPICS / 2 {
        return Err(Error::TooManyTopics(crate::MAX_TOPICS / 2));
    }
    let libp2p_metrics = libp2p::metrics::Metrics::new(metrics);
    let own_metrics = Metrics::register(metrics);
    own_metrics.seqno_base.set(i64::try_from(crate::seqno_now()).unwrap_or(i64::MAX));
    let swarm = swarm::build(&config, metrics)?;
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (queue, events) = EventQueue::new(config.limits.events);
    let progress = Arc::new(Progress::new());
    let peer_id = swarm.local_peer_id().to_string().into();
    let mut task = Task::new(config, swarm, queue, own_metrics, libp2p_metrics, &dial);
    for address in &listen {
        let listening = listen::listen(&mut task.swarm, address)?;
        task.listening.push(listening);
    }
    task.join_topics();
    task.wait_listening().await;
    let running = tokio::spawn(task.run(inbox, progress.clone()));
    progress.watch(&running);
    Ok((Mesh { commands, progress, peer_id }, events))
}

struct Task {
    swarm: Swarm<Behaviour>,
    own: NodeId,
    own_peer: PeerId,
    config: Config,
    interest: Vec<Selector>,
    member: Option<(Label, Label)>,
    admission: Admission,
    directory: Directory,
    dialer: Dialer,
    announcing: Announcing,
    /// Whoever is connected.
    peers: HashMap<PeerId, Connected>,
    /// Dials under way.
    dials: HashMap<ConnectionId, Key>,
    /// Names being resolved for a dial.
    lookups: JoinSet<(Dial, Vec<Multiaddr>)>,
    /// Requests for directories that were not answered yet.
    requests: HashMap<OutboundRequestId, PeerId>,
    /// Questions about history that peers have not answered yet.
    history_asked: HashMap<OutboundRequestId, history::Asker>,
    /// Peers' questions about history that wait, and those that the program is finding an answer to.
    turns: Turns<PeerId, history::Waiting>,
    serving: JoinSet<(ResponseChannel<Response>, Option<Response>)>,
    /// Authors that are shut out, and until when.
    blacklist: BTreeMap<PeerId, Instant>,
    /// Frame topics that are joined.
    joined: BTreeSet<Topic>,
    left_out: usize,
    listening: Vec<Listening>,
    events: EventQueue,
    metrics: Metrics,
    libp2p_metrics: libp2p::metrics::Metrics,
    /// Keeps peers from filling the log.
    occasions: Occasions,
    ticks: u32,
}

/// A connected peer.
struct Connected {
    /// The PeerId, as events show it: base58 takes longer than all else about an event.
    name: Arc<str>,
    address: Multiaddr,
    dialled: bool,
    since: Instant,
    agent: String,
    listens: Vec<String>,
    rtt: Option<Duration>,
    exchange: Exchange,
    /// Whether it is no Magpie program: it cannot tell those behind it who we are.
    foreign: bool,
}

impl Task {
    fn new(
        config: Config,
        swarm: Swarm<Behaviour>,
        events: EventQueue,
        metrics: Metrics,
        libp2p_metrics: libp2p::metrics::Metrics,
        dial: &[Multiaddr],
    ) -> Self {
        let now = Instant::now();
        let own_peer = *swarm.local_peer_id();
        let own = config.key.id();
        let seed = u64::from_le_bytes(std::array::from_fn(|index| own.0[index])) ^ crate::seqno_now();
        let mut dialer = Dialer::new(own_peer, !config.listen.is_empty(), config.timing, seed);
        dial.iter().for_each(|address| dialer.configure(address, now));
        if config.try_local {
            dialer.try_local(&address::of_socket((std::net::Ipv4Addr::LOCALHOST, crate::PORT).into()), now);
        }
        Self {
            own,
            own_peer,
            interest: config.interest.clone(),
            member: config.member.clone(),
            admission: Admission::new(config.limits),
            directory: Directory::new(config.limits.directory_nodes),
            dialer,
            announcing: Announcing::default(),
            peers: HashMap::new(),
            dials: HashMap::new(),
            lookups: JoinSet::new(),
            requests: HashMap::new(),
            history_asked: HashMap::new(),
            turns: Turns::new(),
            serving: JoinSet::new(),
            blacklist: BTreeMap::new(),
            joined: BTreeSet::new(),
            left_out: 0,
            listening: Vec::new(),
            events,
            metrics,
            libp2p_metrics,
            occasions: Occasions::default(),
            ticks: 0,
            swarm,
            config,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, progress: Arc<Progress>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            progress.turn();
            tokio::select! {
                command = inbox.recv() => match command {
                    None => return self.leave(2 * FLUSH).await,
                    Some(Command::Stop { linger, reply }) => {
                        self.leave(linger).await;
                        // Whoever asked may have given up waiting.
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.obey(command),
                },
                event = self.swarm.select_next_some() => self.handle(event),
                Some(found) = self.lookups.join_next() => {
                    if let Ok((dial, addresses)) = found {
                        self.dial_resolved(dial, addresses);
                    }
                }
                Some(served) = self.serving.join_next() => self.served(served.ok()),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // A caller that gave up waiting for its reply is no trouble of ours.
        match command {
            Command::Publish { frame, reply } => {
                let _ = reply.send(self.publish(frame));
            }
            Command::PublishPlain { topic, line, reply } => {
                let _ = reply.send(self.publish_plain(&topic, line));
            }
            Command::Peers { reply } => {
                let _ = reply.send(self.describe_peers());
            }
            Command::ListenAddresses { reply } => {
                let _ = reply.send(self.swarm.listeners().map(Multiaddr::to_string).collect());
            }
            Command::Interest { selectors, reply } => {
                self.change_interest(selectors);
                let _ = reply.send(());
            }
            Command::Member { place, reply } => {
                self.member = Some(place);
                self.join_topics();
                let _ = reply.send(());
            }
            Command::Nodes { reply } => {
                let _ = reply.send(self.directory.nodes().map(|(frame, _)| frame.clone()).collect());
            }
            Command::Reach { nodes, at_once, enough } => self.reach(&nodes, at_once, enough),
            Command::History { peer, request, reply } => self.ask_history(&peer, request, reply),
            // The loop sees to it.
            Command::Stop { reply, .. } => drop(reply),
        }
    }

    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.libp2p_metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Directory(event)) => self.on_directory(event),
            SwarmEvent::Behaviour(BehaviourEvent::History(event)) => self.on_history(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(event)) => self.on_mdns(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Limits(never)) => match never {},
            event => self.on_connection(event),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.ticks = self.ticks.wrapping_add(1);
        self.events.confess();
        self.release(now);
        self.announce_again(now);
        self.dial_due(now);
        self.ask_directories(now);
        if self.ticks.is_multiple_of(DEMAND_TICKS) {
            self.meet_demand(now);
        }
    }

    /// Turns the swarm until every listener has an address, or for a while.
    async fn wait_listening(&mut self) {
        let started = Instant::now();
        while self.listening.iter().any(|listening| !listening.announced)
            && let Some(left) = LISTENING.checked_sub(started.elapsed())
            && let Ok(event) = timeout(left, self.swarm.select_next_some()).await
        {
            self.handle(event);
        }
        // The other addresses of a wildcard come with its first: a node announces them together.
        for _ in 0..READY {
            let Some(event) = self.swarm.select_next_some().now_or_never() else { break };
            self.handle(event);
        }
        self.dial_due(Instant::now());
    }

    /// Lets out what is queued, and closes the connections. Topics are not left one by one: a peer that is told so keeps us out of its
    /// gossip mesh for ten seconds, and when we come back sooner, for a minute. The end of the connection says enough.
    async fn leave(mut self, linger: Duration) {
        let started = Instant::now();
        self.turn_for(FLUSH.min(linger / 2), |swarm| swarm.connected_peers().next().is_none()).await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // It may have gone meanwhile.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let left = linger.saturating_sub(started.elapsed());
        self.turn_for(left, |swarm| swarm.connected_peers().next().is_none()).await;
    }

    /// Turns the swarm for a while, and takes nothing in any more.
    async fn turn_for(&mut self, duration: Duration, enough: impl Fn(&Swarm<Behaviour>) -> bool) {
        let started = Instant::now();
        while !enough(&self.swarm)
            && let Some(left) = duration.checked_sub(started.elapsed())
            && timeout(left, self.swarm.select_next_some()).await.is_ok()
        {}
    }

    fn tell(&mut self, event: MeshEvent) {
        if !self.events.send(event) {
            self.metrics.events_dropped.inc();
        }
    }

    fn describe_peers(&self) -> Vec<Peer> {
        let gossip = &self.swarm.behaviour().gossip;
        let mut topics: HashMap<&PeerId, Vec<String>> = gossip
            .all_peers()
            .map(|(peer, topics)| (peer, topics.into_iter().map(|topic| topic.as_str().to_owned()).collect()))
            .collect();
        let mut peers: Vec<Peer> = self
            .peers
            .iter()
            .map(|(id, peer)| Peer {
                id: id.to_string(),
                address: peer.address.to_string(),
                listens: peer.listens.clone(),
                agent: peer.agent.clone(),
                dialled: peer.dialled,
                connected_for: peer.since.elapsed(),
                rtt: peer.rtt,
                topics: topics.remove(id).unwrap_or_default(),
                mesh_topics: gossip.topics().filter(|topic| gossip.mesh_peers(topic).any(|peer| peer == id)).count(),
            })
            .collect();
        peers.sort_by(|a, b| a.id.cmp(&b.id));
        peers
    }
}
