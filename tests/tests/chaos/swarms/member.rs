//! A node: in this process, or in one of its own that can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node::{Config, DialAddress, ListenAddress, Node};
use reading::Label;
use service::Program as Tasks;
use tempfile::TempDir;
use tests::clock::WrongClock;
use tests::magpie::{self, NodeConfig, NodeFiles, PLACE};
use tests::netns::Namespace;
use tests::program::Program;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two frames of one node.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
const INTERVAL_TEXT: &str = "5s";

/// A node in this process.
pub(super) struct TaskNode {
    config: Config,
    runtime: Arc<Runtime>,
    running: Option<(CancellationToken, JoinHandle<Result<(), service::Ended>>)>,
    _card: TempDir,
    _memory: TempDir,
}

impl TaskNode {
    pub(super) fn new(name: &str, listen: &str, connect: &[String], runtime: Arc<Runtime>) -> Result<Self> {
        let [card, memory] = [TempDir::new_in("/dev/shm")?, TempDir::new_in("/dev/shm")?];
        let (city, area) = PLACE.split_once('/').context("city and area")?;
        let mut config = Config {
            city: Label::new(city)?,
            area: Label::new(area)?,
            name: Some(Label::new(name)?),
            state: PathBuf::from(card.path()),
            simulate: true,
            ..Config::default()
        };
        config.mesh.mdns = false;
        config.mesh.local = false;
        config.mesh.listen = vec![ListenAddress(listen.to_owned())];
        config.mesh.connect = connect.iter().cloned().map(DialAddress).collect();
        config.sensors.interval = INTERVAL;
        config.store.runtime_directory = Some(PathBuf::from(memory.path()));
        config.http.listen = None;
        Ok(Self { config, runtime, running: None, _card: card, _memory: memory })
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let config = self.config.clone();
        let starting = self.runtime.spawn(async move {
            let (mut tasks, stop) = (Tasks::new(), CancellationToken::new());
            Node::start(config, &mut tasks).await?;
            let ended = tokio::spawn(tasks.run_until(stop.clone().cancelled_owned()));
            anyhow::Ok((stop, ended))
        });
        self.running = Some(self.runtime.block_on(starting)??);
        Ok(())
    }

    /// An error where it has ended by itself, which no node may.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some((_, ended)) = self.running.take_if(|(_, ended)| ended.is_finished()) {
            self.runtime.block_on(ended)??;
            bail!("it ended by itself");
        }
        Ok(())
    }

    /// Ends it in order.
    pub(super) fn stop(&mut self) -> Result<()> {
        if let Some((stop, ended)) = self.running.take() {
            stop.cancel();
            self.runtime.block_on(ended)??;
        }
        Ok(())
    }
}

/// A node in a process of its own: the binary that ships.
pub(super) struct ProcessNode {
    files: NodeFiles,
    network: Arc<Namespace>,
    clock: WrongClock,
    running: Option<Program>,
}

impl ProcessNode {
    pub(super) fn new(
        name: &'static str,
        listen: String,
        connect: Vec<String>,
        network: Arc<Namespace>,
    ) -> Result<Self> {
        let config =
            NodeConfig { listen, connect, interval: INTERVAL_TEXT, chips: vec!["SHT4x"], ..NodeConfig::new(name) };
        Ok(Self { files: NodeFiles::new(&config)?, network, clock: WrongClock::new()?, running: None })
    }

    /// Starts it with a clock that is off by so many seconds.
    pub(super) fn start(&mut self, clock_off_by: i64) -> Result<()> {
        self.clock.set_off_by(clock_off_by)?;
        let command = self.clock.of(magpie::within(&self.network)?)?;
        self.running = Some(self.files.simulate(command)?);
        Ok(())
    }

    /// kill -9.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Program::kill)
    }
}
