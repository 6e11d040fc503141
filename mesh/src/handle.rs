//! The two ends that a program holds: [`Mesh`] to ask, [`Events`] to hear. The swarm itself belongs to one task alone.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reading::{Epoch, Frame, Label, NodeId, Selector};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::history::{ANSWER_BYTES, Batch, HistoryError, Request, Response, Summary, checked};

/// Commands waiting for the swarm's task. A caller beyond waits for room: publishing cannot outrun the swarm.
pub(crate) const COMMANDS: usize = 64;

/// A handle to a running mesh. Cheap to clone; when the last one is dropped, the mesh leaves as after [`Mesh::stop`].
/// Every call returns [`Error::Stopped`] once it has ended.
#[derive(Clone, Debug)]
pub struct Mesh {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) peer_id: Arc<str>,
}

/// What happens on the mesh, in order. One consumer; one that is too slow loses the newest events and is told so.
#[derive(Debug)]
pub struct Events {
    pub(crate) queue: mpsc::Receiver<MeshEvent>,
}

/// Something that happened on the mesh.
#[derive(Clone, Debug)]
pub enum MeshEvent {
    /// A frame of an area that [`Config::interest`](crate::Config::interest) wants: signature checked, admitted, heard for the first time. Never
    /// an own one. City and area are all that is looked at here; node and quantity are the program's to match.
    Frame {
        /// The frame. An announcement is for [`Directory::observe_live`](crate::Directory::observe_live) or
        /// [`Directory::observe`](crate::Directory::observe), as `live` says. It may come after frames that it describes.
        frame: Frame,
        /// The PeerId of the neighbour it came from, which need not be its author.
        from: Arc<str>,
        /// Whether it came by gossip; otherwise it is an announcement out of a neighbour's directory.
        live: bool,
    },
    /// A message on a plain topic, unsigned as far as Magpie is concerned.
    Plain {
        /// The topic.
        topic: String,
        /// The PeerId that signed the gossip message.
        source: Option<String>,
        /// What it says, at most 4 KiB.
        data: Vec<u8>,
    },
    /// A connection stands.
    PeerConnected {
        /// The PeerId.
        peer: String,
        /// The other end's address.
        address: String,
    },
    /// It has ended.
    PeerDisconnected {
        /// The PeerId.
        peer: String,
    },
    /// A configured address cannot be reached: said once, until somebody has answered there. It is tried on and on.
    Unreachable {
        /// The multiaddress, as configured, or the PeerId where it names one.
        address: String,
        /// Why.
        problem: String,
    },
    /// The mesh can be dialled here.
    Listening {
        /// The multiaddress, without `/p2p/`.
        address: String,
    },
    /// The mesh can no longer be dialled here.
    ListeningEnded {
        /// The multiaddress, without `/p2p/`.
        address: String,
    },
    /// The port that was asked for belongs to another program.
    PortTaken {
        /// As configured.
        wanted: String,
        /// Where the mesh listens instead.
        instead: String,
    },
    /// Events were lost because they were not taken fast enough.
    Lagged {
        /// How many.
        dropped: u64,
    },
    /// More areas are wanted than a peer may follow: these are not heard. Narrow the selectors.
    AreasLeftOut {
        /// How many topics.
        topics: usize,
    },
}

/// What became of a message that was handed to gossip. There is no store-and-forward: whoever was not there does not get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Queued for this many peers; that is not delivered.
    Queued {
        /// Peers that follow the topic.
        peers: usize,
    },
    /// Nobody follows the topic.
    NoPeers,
    /// Every peer's queue is full: they read too slowly.
    QueuesFull,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The PeerId. A node's is that of its key.
    pub id: String,
    /// The other end of the connection.
    pub address: String,
    /// Where it says that it listens.
    pub listens: Vec<String>,
    /// What program it says that it is; empty until known.
    pub agent: String,
    /// Whether this side dialled.
    pub dialled: bool,
    /// For how long it has been connected.
    pub connected_for: Duration,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// The topics it follows.
    pub topics: Vec<String>,
    /// In how many of them it is one of our gossip mesh's neighbours.
    pub mesh_topics: usize,
}

/// Asks of the swarm's task.
#[derive(Debug)]
pub(crate) enum Command {
    Publish { frame: Frame, reply: oneshot::Sender<Result<Published, Error>> },
    PublishPlain { topic: String, line: Vec<u8>, reply: oneshot::Sender<Result<Published, Error>> },
    Peers { reply: oneshot::Sender<Vec<Peer>> },
    ListenAddresses { reply: oneshot::Sender<Vec<String>> },
    Interest { selectors: Vec<Selector>, reply: oneshot::Sender<()> },
    Member { place: (Label, Label), reply: oneshot::Sender<()> },
    Nodes { reply: oneshot::Sender<Vec<Frame>> },
    Reach { nodes: Vec<NodeId>, at_once: usize, enough: usize },
    History { peer: String, request: Request, reply: oneshot::Sender<Result<Response, HistoryError>> },
    Stop { linger: Duration, reply: oneshot::Sender<()> },
}

impl Mesh {
    /// Publishes an own frame: an announcement to its city, anything else to the area.
    ///
    /// An announcement also says from then on where the node is; it is remembered, served to whoever asks, and sent again now and then.
    pub async fn publish(&self, frame: Frame) -> Result<Published, Error> {
        self.ask(|reply| Command::Publish { frame, reply }).await?
    }

    /// Publishes a line of at most 4 KiB on a plain topic, for subscribers that know no frames.
    pub async fn publish_plain(&self, topic: &str, line: Vec<u8>) -> Result<Published, Error> {
        let topic = topic.to_owned();
        self.ask(|reply| Command::PublishPlain { topic, line, reply }).await?
    }

    /// Who is connected.
    pub async fn peers(&self) -> Result<Vec<Peer>, Error> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Where the mesh can be dialled, without `/p2p/`. On `0.0.0.0` these are the addresses of the interfaces.
    pub async fn listen_addresses(&self) -> Result<Vec<String>, Error> {
        self.ask(|reply| Command::ListenAddresses { reply }).await
    }

    /// The latest announcement of every node that was ever heard of, own included.
    pub async fn nodes(&self) -> Result<Vec<Frame>, Error> {
        self.ask(|reply| Command::Nodes { reply }).await
    }

    /// Dials announced nodes that are not connected, the first `at_once` of `nodes` that can be dialled, while fewer than `enough` peers are
    /// connected: to ask a node itself for its past. Whether it comes to anything is an event.
    pub async fn reach(&self, nodes: Vec<NodeId>, at_once: usize, enough: usize) -> Result<(), Error> {
        self.commands.send(Command::Reach { nodes, at_once, enough }).await.map_err(|_| Error::Stopped)
    }

    /// Replaces the interest. Topics that are not wanted any more are left.
    pub async fn interest(&self, selectors: Vec<Selector>) -> Result<(), Error> {
        self.ask(|reply| Command::Interest { selectors, reply }).await
    }

    /// Replaces the own city and area.
    pub async fn member(&self, city: Label, area: Label) -> Result<(), Error> {
        self.ask(|reply| Command::Member { place: (city, area), reply }).await
    }

    /// What a connected peer has of a node, and its first frame at or after a time (us since 1970) where one is given. It is the peer's word:
    /// only frames prove anything.
    pub async fn history_summary(
        &self,
        peer: &str,
        node: NodeId,
        since_us: Option<i64>,
    ) -> Result<Summary, HistoryError> {
        match self.ask_history(peer, Request::Summary { node, since_us }).await? {
            Response::Summary(summary) => Ok(summary),
            _ => Err(HistoryError::Wrong("no summary".to_owned())),
        }
    }

    /// Frames of one run of a node, as many as the peer has and as fit into one answer ([`ANSWER_BYTES`]). Each was checked: signature, node,
    /// run, range.
    pub async fn history_frames(
        &self,
        peer: &str,
        node: NodeId,
        epoch: Epoch,
        seqs: RangeInclusive<u64>,
    ) -> Result<Batch, HistoryError> {
        let max_bytes = u32::try_from(ANSWER_BYTES).unwrap_or(u32::MAX);
        let request = Request::Frames { node, epoch, from: *seqs.start(), to: *seqs.end(), max_bytes };
        let Response::Frames { next_seq, frames } = self.ask_history(peer, request).await? else {
            return Err(HistoryError::Wrong("no frames".to_owned()));
        };
        // Some hundred signatures are too much work to hold a task up with.
        let check = move || checked(node, epoch, &seqs, next_seq, &frames);
        tokio::task::spawn_blocking(check).await.map_err(|_| HistoryError::Stopped)?
    }

    async fn ask_history(&self, peer: &str, request: Request) -> Result<Response, HistoryError> {
        let peer = peer.to_owned();
        let answer = self.ask(|reply| Command::History { peer, request, reply });
        match answer.await.map_err(|_| HistoryError::Stopped)?? {
            Response::Busy { retry_after_ms } => {
                Err(HistoryError::Busy { retry_after: Duration::from_millis(retry_after_ms.into()) })
            }
            response => Ok(response),
        }
    }

    /// The own PeerId.
    pub fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// For how long the swarm's task has not turned its loop. It does so four times a second even when nothing happens; seconds mean that
    /// it hangs. After the end this only grows.
    pub fn progress(&self) -> Duration {
        self.progress.age()
    }

    /// Leaves the topics, closes the connections and ends the task. What was published just before is given a moment to leave.
    pub async fn stop(self, deadline: Duration) -> Result<(), Error> {
        let ended = self.ask(|reply| Command::Stop { linger: deadline / 2, reply });
        match tokio::time::timeout(deadline, ended).await {
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(_) => {
                self.progress.cut_off();
                Err(Error::StopTimeout(deadline))
            }
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)
    }
}

impl Events {
    /// The next event; `None` once the mesh has ended and every event was taken.
    pub async fn next(&mut self) -> Option<MeshEvent> {
        self.queue.recv().await
    }
}

/// Says when the task last turned its loop, without asking the task.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    turned_ms: AtomicU64,
    task: std::sync::OnceLock<tokio::task::AbortHandle>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), turned_ms: AtomicU64::new(0), task: std::sync::OnceLock::new() }
    }

    pub(crate) fn watch(&self, task: &JoinHandle<()>) {
        // Set once, at the start; a second time would be ours to avoid and does no harm.
        let _ = self.task.set(task.abort_handle());
    }

    pub(crate) fn turn(&self) {
        self.turned_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.turned_ms.load(Ordering::Relaxed)))
    }

    fn cut_off(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
