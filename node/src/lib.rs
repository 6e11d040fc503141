//! The program on the Pi: sensors -> frames -> store -> mesh.
//!
//! The `sampler` asks the bus threads of `hal` when a sensor is due; the `recorder` numbers, signs, stores and publishes what they say; the
//! `link` keeps the mesh. `hal` and `mesh` never meet but here. Several nodes can live in one process.

pub mod clock;
mod config;
mod correction;
mod cpu;
mod delivery;
mod file;
mod floor;
mod history;
mod key;
mod keys;
mod link;
mod memory;
mod metrics;
mod neighbours;
mod plain;
mod quality;
mod recorder;
mod sampler;
mod schedule;
pub mod sensors;
mod status;
mod storage;
#[cfg(test)]
mod testing;
mod timekeeping;
mod truth;
mod wear;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hal::Led;
use prometheus_client::registry::Registry;
use reading::{Author, Epoch, NodeId, Place};
use service::http::HttpError;
use service::{Health, Metrics as Exposition, Program};
use store::StoreError;
use tokio::sync::mpsc;

pub use crate::config::{
    ChipConfig, Config, DialAddress, HttpConfig, LedConfig, ListenAddress, MeshConfig, MuxConfig, Position,
    PublishConfig, SensorsConfig, StoreConfig,
};
pub use crate::correction::{ChipCorrection, CorrectionConfig, Method};
pub use crate::key::KeyError;
pub use crate::quality::{ChipQuality, QualityConfig};
pub use crate::status::{ReadingStatus, SensorStatus, Status};

/// Where a node answers about its health and sensors, on its own machine only unless configured otherwise.
pub const HTTP_PORT: u16 = 4711;

/// Orders waiting for the recorder: a few ticks. When it is full the sampler waits.
const RECORDS: usize = 16;

/// A node that has been started. It runs in the tasks of its program.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    place: Place,
    http: Option<SocketAddr>,
}

/// Why a node did not start. Hardware is never the reason: a node without sensors runs, says what is missing, and keeps looking.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory cannot be made.
    #[error("cannot make the state directory {}; choose another with --state or `state` in the configuration", path.display())]
    State {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store is another process's. Any other trouble with it does not stop a node.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The clocks.
    #[error("cannot read this machine's clocks: {0}")]
    Clock(io::Error),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// Health and metrics.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Node {
    /// Opens the key and the store and starts the node's tasks in `program`.
    pub async fn start(config: Config, program: &mut Program) -> Result<Self, StartError> {
        let place = Place { city: config.city.clone(), area: config.area.clone(), node: config.name() };
        std::fs::create_dir_all(&config.state)
            .map_err(|source| StartError::State { path: config.state.clone(), source })?;
        // Before anything is written there.
        let floor = floor::SeqnoFloor::load(&config.state.join("seqno-floor"));
        let key = key::load_or_create(&config.state.join("node.key"))?;
        let id = key.id();
        let location = storage::Location {
            path: config.state.join("frames.db"),
            key: config.state.join("node.key"),
            node: id,
            options: store::Options { max_bytes: config.store.max_bytes, sync_interval: config.store.sync_interval },
            max_age: config.store.max_age,
            runtime_directory: config.store.runtime_directory.clone(),
        };
        let clock = clock::Clock::new().map_err(StartError::Clock)?;
        let mut epoch = [0; 8];
        getrandom::fill(&mut epoch).map_err(StartError::Randomness)?;
        let author = Author::new(key.clone(), Epoch(epoch), clock.boot());

        let health = Health::new();
        let mut registry = Registry::default();
        let metrics = Arc::new(metrics::Metrics::new(&mut registry));
        let exposition = Exposition::default();
        exposition.set("node", registry);
        let storage = storage::Storage::default();
        let keeping = Arc::new(health.component("store"));
        match storage.open(&location).await {
            // Two of one key would contradict each other.
            Err(storage::OpenError::Store(error @ StoreError::InUse { .. })) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened, and is tried again for as long as it takes");
                keeping.not_ready(storage::not_kept(&error));
            }
            // The first frame that is kept makes it ready.
            Ok(()) => {}
        }
        let board = Arc::new(status::StatusBoard::new(health.component("sensors"), Led::open(config.led.gpio)));
        let server = match config.http.listen {
            Some(address) => Some(service::http::Server::bind(address, router(&health, &exposition, &board)).await?),
            None => None,
        };
        let http = server.as_ref().map(service::http::Server::address);
        tracing::info!(node = %id, %place, epoch = %author.epoch(), state = %config.state.display(), "node starts");

        // Stopped in the opposite order: the sampler ends, the recorder empties its queue, the mesh says good-bye, the store syncs.
        let stopping = health.clone();
        program.on_stop(move || {
            stopping.stopping();
            service::systemd::stopping();
        });
        let (opened, told) = (storage.clone(), keeping.clone());
        program.spawn("store", async move |stop| storage::open_in_time(opened, location, told, stop).await);
        let (records, orders) = mpsc::channel(RECORDS);
        let (neighbours, keeper) = open_neighbours(&config.store, id, &metrics).unzip();
        let kept = keeper.as_ref().map(neighbours::Keeper::store);
        if let Some(keeper) = keeper {
            program.spawn("neighbours", async move |stop| keeper.run(stop).await);
        }
        let history = Arc::new(history::Kept::new(id, storage.clone(), kept));
        let company = link::Company { records: records.clone(), neighbours, history };
        let link = link::Link::new(&config, key, floor, company, &health, metrics.clone(), exposition);
        program.spawn("mesh", async move |stop| link.run(stop).await);
        let about = recorder::About { place: place.clone(), position: config.position.map(|p| p.0) };
        let recorder = recorder::Recorder::new(
            about,
            author,
            clock,
            storage::Writer::new(storage, config.store.sync_interval, keeping, metrics.clone()),
            metrics,
            plain::PlainPublisher::new(config.publish.plain),
        );
        program.spawn("recorder", async move |stop| recorder.run(orders, stop).await);
        let seed = config.simulate.then(|| seed_of(id));
        let truth = truth::Truth::new(config.sensors.clone(), config.position.and_then(|p| p.0.altitude_m));
        let sensors = sensors::Sensors::new(config.sensors, seed);
        let memory =
            memory::Memory::load(config.state.join("sensors.json"), clock::Clock::new().map_err(StartError::Clock)?);
        let sampler = sampler::Sampler::new(sensors, memory, truth, records, board, &health);
        program.spawn("sampler", async move |stop| sampler.run(stop).await);
        if let Some(server) = server {
            program.spawn("http", async move |stop| server.run(stop).await);
        }
        program.spawn("systemd", async move |stop| service::systemd::run(health, stop).await);
        Ok(Self { id, place, http })
    }

    /// The node's identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// City, area, name.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where it answers about its health; `None` where that is off.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

/// Where what others say is kept, if anywhere.
fn open_neighbours(
    config: &StoreConfig,
    own: NodeId,
    metrics: &Arc<metrics::Metrics>,
) -> Option<(neighbours::Neighbours, neighbours::Keeper)> {
    if config.neighbours_max_bytes == 0 {
        return None;
    }
    let directory = config.runtime_directory.as_deref();
    match neighbours::open(directory, own, config.neighbours_max_bytes, metrics.clone()) {
        Ok(opened) => Some(opened),
        Err(why @ neighbours::Off::NoDirectory) => {
            tracing::info!(%why, "what the neighbours say is not kept");
            None
        }
        Err(why) => {
            tracing::warn!(%why, "what the neighbours say is not kept");
            None
        }
    }
}

/// Each simulated node breathes an air of its own, the same after every start.
fn seed_of(id: NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn router(health: &Health, exposition: &Exposition, board: &Arc<status::StatusBoard>) -> Router {
    let board = board.clone();
    let own = Router::new().route("/sensors", get(async move || axum::Json(board.status())));
    service::http::router_with(health.clone(), exposition.clone(), own, &["/sensors"])
}
