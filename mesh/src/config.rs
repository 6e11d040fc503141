//! What a mesh is told at its start, checked before any socket opens.

use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use reading::{Label, NodeKey, Selector};

use crate::address;
use crate::error::Error;
use crate::history::History;

/// What a mesh is told at its start. `Config { connect, ..Config::new(key) }` fills in the rest.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's own key, or one made for the occasion by a program that measures nothing.
    pub key: NodeKey,
    /// Multiaddresses to listen on; none for a program that only dials. A port that is taken is replaced by one of the system's
    /// choice, and [`MeshEvent::PortTaken`](crate::MeshEvent::PortTaken) says so.
    pub listen: Vec<String>,
    /// Multiaddresses to keep a connection to, for ever. The `/p2p/` part may be missing; a name in `/dns4/` and the like is resolved at
    /// each dial.
    pub connect: Vec<String>,
    /// Keep trying port [`PORT`](crate::PORT) of this machine, so that two programs on it meet without mDNS.
    pub try_local: bool,
    /// Find, and be found by, peers on the local network.
    pub mdns: bool,
    /// Whose frames are wanted. What a selector names is joined at once, the rest as it becomes known.
    pub interest: Vec<Selector>,
    /// City and area of a node: it joins their topics, and relays them. A published announcement changes it.
    pub member: Option<(Label, Label)>,
    /// Plain topics to subscribe to.
    pub plain: Vec<String>,
    /// The own announcement is sent again this often, as the same frame: for whoever missed it and sits behind a peer that did not.
    pub announce_every: Duration,
    /// What peers are told of the program, e.g. `magpie/0.1.0`.
    pub agent: String,
    /// Frames to serve to peers that ask for the past; `None` for a program that keeps none.
    pub history: Option<Arc<dyn History>>,
    /// How much is taken from others.
    pub limits: Limits,
    /// When things happen. Tests shorten them.
    pub timing: Timing,
}

/// How much is taken from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second that one author may send for long. More are ignored.
    pub author_rate: u32,
    /// Messages that one author may send at once.
    pub author_burst: u32,
    /// An author this many messages beyond its rate is blacklisted: refused before gossipsub's caches, whose memory is bounded by time
    /// only.
    pub author_strikes: u32,
    /// For how long.
    pub blacklist_for: Duration,
    /// Authors whose rate and seen frames are remembered; beyond, the one silent for longest is forgotten, and could be heard twice.
    pub authors: usize,
    /// Nodes in the directory; beyond, the one not heard of for longest is forgotten until it announces itself again.
    pub directory_nodes: usize,
    /// Connections in all; beyond, newcomers are refused.
    pub connections: u32,
    /// Events waiting for the program; beyond, new ones are dropped and counted ([`MeshEvent::Lagged`](crate::MeshEvent::Lagged)).
    pub events: usize,
}

/// When things happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// gossipsub's heartbeat: how soon a hole in the mesh is mended.
    pub heartbeat: Duration,
    /// When the first one comes.
    pub heartbeat_first: Duration,
    /// Peers are pinged this often; it is also for how long an answer is waited for. A connection on which nothing came for two of these is
    /// given up: that is how long a dead one can keep a returning peer out.
    pub ping: Duration,
    /// A connection without any stream ends after this.
    pub idle: Duration,
    /// Peers are asked this often for announcements that they heard since; by nodes, and by those without an interest, a third as often.
    pub refresh: Duration,
    /// The first wait after a failed dial of a configured address. It doubles up to `redial_max`.
    pub redial_min: Duration,
    /// The longest wait between dials of a configured address: what bounds how long a neighbour that came back stays unheard.
    pub redial_max: Duration,
    /// Of two peers that may dial each other, the one with the higher PeerId waits this long, lest both connections be refused.
    pub yield_dial: Duration,
}

impl Config {
    /// Everything but the key at its default: no listening, no dialling, no interest.
    pub fn new(key: NodeKey) -> Self {
        Self {
            key,
            listen: Vec::new(),
            connect: Vec::new(),
            try_local: false,
            mdns: false,
            interest: Vec::new(),
            member: None,
            plain: Vec::new(),
            announce_every: Duration::from_secs(120),
            agent: concat!("magpie/", env!("CARGO_PKG_VERSION")).to_owned(),
            history: None,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }

    /// Every problem with the addresses and topics, without opening anything.
    pub fn check(&self) -> Result<(), Vec<Error>> {
        let problems: Vec<Error> = self
            .listen
            .iter()
            .map(|text| address::listen(text))
            .chain(self.connect.iter().map(|text| address::dial(text)))
            .filter_map(Result::err)
            .chain(self.plain.iter().filter_map(|topic| crate::topic::check_plain(topic).err()))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    pub(crate) fn listen_addresses(&self) -> Result<Vec<Multiaddr>, Error> {
        self.listen.iter().map(|text| address::listen(text)).collect()
    }

    pub(crate) fn dial_addresses(&self) -> Result<Vec<Multiaddr>, Error> {
        self.connect.iter().map(|text| address::dial(text)).collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            author_rate: 50,
            author_burst: 500,
            author_strikes: 500,
            blacklist_for: Duration::from_secs(120),
            authors: 10_000,
            directory_nodes: 10_000,
            connections: 256,
            events: 4096,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            heartbeat_first: Duration::from_millis(200),
            ping: Duration::from_secs(5),
            idle: Duration::from_secs(300),
            refresh: Duration::from_secs(10),
            redial_min: Duration::from_secs(1),
            redial_max: Duration::from_secs(3),
            yield_dial: Duration::from_secs(3),
        }
    }
}
