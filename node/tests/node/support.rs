//! Starting whole nodes, and following them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh::{Backfill, Config as MeshConfig, Events, GapLimits, Mesh, MeshEvent, Sight};
use node::{Config, DialAddress, ListenAddress, Node, StartError};
use prometheus_client::registry::Registry;
use reading::{Epoch, Frame, Label, NodeId, NodeKey};
use service::Program;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ANY: &str = "/ip4/127.0.0.1/tcp/0";

/// A multiaddress at which nobody listens.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port())
}

/// What is left of a node when its program has ended: its card, and the memory that outlives the program.
pub(crate) struct Site {
    name: &'static str,
    state: tempfile::TempDir,
    runtime: tempfile::TempDir,
}

pub(crate) struct Running {
    node: Node,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), service::Ended>>,
}

impl Site {
    pub(crate) fn new(name: &'static str) -> Self {
        let runtime = tempfile::tempdir_in("/dev/shm").expect("a tmpfs at /dev/shm");
        Self { name, state: tempfile::tempdir().unwrap(), runtime }
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    fn config(&self) -> Config {
        let label = |text| Label::new(text).unwrap();
        let mut config = Config {
            city: label("seoul"),
            area: label("jung"),
            name: Some(label(self.name)),
            state: PathBuf::from(self.state.path()),
            simulate: true,
            ..Config::default()
        };
        config.mesh.mdns = false;
        config.mesh.local = false;
        config.mesh.listen = vec![ListenAddress(ANY.to_owned())];
        config.sensors.interval = Duration::from_millis(100);
        config.store.runtime_directory = Some(PathBuf::from(self.runtime.path()));
        config.http.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config
    }

    /// Starts the node, which dials these.
    pub(crate) async fn start(&self, connect: &[String]) -> Running {
        self.start_listening(ANY, connect).await
    }

    pub(crate) async fn start_listening(&self, listen: &str, connect: &[String]) -> Running {
        self.try_to_start(listen, connect).await.unwrap()
    }

    /// Starts the node, or says why it does not start.
    pub(crate) async fn try_to_start(&self, listen: &str, connect: &[String]) -> Result<Running, StartError> {
        let mut config = self.config();
        config.mesh.listen = vec![ListenAddress(listen.to_owned())];
        config.mesh.connect = connect.iter().cloned().map(DialAddress).collect();
        let (mut program, stop) = (Program::new(), CancellationToken::new());
        let node = Node::start(config, &mut program).await?;
        let ended = tokio::spawn(program.run_until(stop.clone().cancelled_owned()));
        Ok(Running { node, stop, ended })
    }
}

impl Running {
    pub(crate) fn id(&self) -> NodeId {
        self.node.id()
    }

    /// Waits until so many frames of its own are in its store, and says how many there are.
    pub(crate) async fn keeps(&self, frames: usize) -> usize {
        self.counts("magpie_node_store_frames", frames).await
    }

    /// The same for its neighbours'.
    pub(crate) async fn neighbours_kept(&self, frames: usize) -> usize {
        self.counts("magpie_node_neighbours_kept_total", frames).await
    }

    async fn counts(&self, metric: &str, least: usize) -> usize {
        let http = self.node.http().unwrap();
        let started = Instant::now();
        loop {
            // Not in time on a machine that is too busy: it is asked again.
            let response = service::client::get(http, "/metrics").await.unwrap_or_default();
            let value = response.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse::<usize>().ok());
            if let Some(count) = value.filter(|count| *count >= least) {
                return count;
            }
            assert!(started.elapsed() < PATIENCE, "{metric} is {value:?} and never {least}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `/readyz` answers so, and says why.
    pub(crate) async fn answers(&self, status: u16, why: &str) {
        let http = self.node.http().unwrap();
        let started = Instant::now();
        loop {
            let answer = service::client::ask(http, "/readyz").await;
            if answer.as_ref().is_ok_and(|answer| answer.status == status && answer.body.contains(why)) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "never {status} with {why}: {answer:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.ended).await.unwrap().unwrap().unwrap();
    }
}

/// Somebody on the mesh who wants everything.
pub(crate) struct Follower {
    pub(crate) mesh: Mesh,
    events: Events,
    pub(crate) backfill: Backfill,
    pub(crate) delivered: Vec<Frame>,
}

impl Follower {
    /// Listens where nodes expect it.
    pub(crate) async fn start(address: &str) -> Self {
        let config = MeshConfig {
            listen: vec![address.to_owned()],
            interest: vec!["seoul/jung/#".parse().unwrap()],
            ..MeshConfig::new(NodeKey::from_seed([99; 32]))
        };
        let (mesh, events) = mesh::start(config, &mut Registry::default()).await.unwrap();
        let backfill = Backfill::new(mesh.clone(), GapLimits::default(), 7);
        Self { mesh, events, backfill, delivered: Vec::new() }
    }

    /// Turns until `enough`.
    pub(crate) async fn follow(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !enough(self) {
            assert!(Instant::now() < until, "never {what}: {} delivered", self.delivered.len());
            tokio::select! {
                event = self.events.next() => {
                    let event = event.expect("the mesh ended");
                    if let (Sight::First, MeshEvent::Frame { frame, .. }) = (self.backfill.hear(&event), event) {
                        self.delivered.push(frame);
                    }
                }
                frame = self.backfill.next() => self.delivered.push(frame.unwrap()),
                () = sleep(Duration::from_millis(100)) => {}
            }
        }
    }

    /// What was delivered of a run, in order, repeats included.
    pub(crate) fn seqs(&self, epoch: Epoch) -> Vec<u64> {
        let mut seqs: Vec<u64> = self.delivered.iter().filter(|frame| frame.epoch() == epoch).map(Frame::seq).collect();
        seqs.sort_unstable();
        seqs
    }
}
