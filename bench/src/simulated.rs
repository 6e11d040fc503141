//! `magpie node --simulate`, built as for the Pi but for this machine, watched from outside through /proc and its own
//! metrics.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tests::http;
use tests::magpie::{NodeConfig, NodeFiles, free_port, without_settings};
use tests::program::Program;

use crate::process::Process;

/// Three chips, seven readings a frame, as [`bench::load`] makes them.
pub const SEVEN_READINGS: [&str; 3] = ["BME280", "SHT4x", "SHT4x"];
const STARTING: Duration = Duration::from_secs(30);
/// A counter is looked at this often.
const LOOK: Duration = Duration::from_millis(100);

/// A running node. It ends when this is dropped, and its files with it.
pub struct SimulatedNode {
    program: Program,
    process: Process,
    files: NodeFiles,
    _memory: TempDir,
    /// The multiaddress on which it can be dialled.
    pub address: String,
}

/// What a node with these chips is told: one frame in ten seconds, which is the default.
pub fn config(chips: &[&'static str]) -> NodeConfig {
    NodeConfig { chips: chips.to_vec(), interval: "10s", ..NodeConfig::new("bench") }
}

impl SimulatedNode {
    /// Starts one of seven readings, and returns when it is ready.
    pub fn start(magpie: &Path) -> Result<Self> {
        let listen = format!("/ip4/127.0.0.1/tcp/{}", free_port()?);
        Self::start_as(magpie, NodeConfig { listen, ..config(&SEVEN_READINGS) }, |_| Ok(()))
    }

    /// Starts one that is told this, and returns when it is ready. `prepare` may first put something into its state directory.
    pub fn start_as(magpie: &Path, told: NodeConfig, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        ensure!(
            magpie.exists(),
            "{} is missing: `make bench-node` and `make bench-delivery` build it",
            magpie.display()
        );
        let (address, http) = (told.listen.clone(), format!("127.0.0.1:{}", free_port()?));
        let files = NodeFiles::new(&NodeConfig { http, ..told })?;
        prepare(&files.state())?;
        // The shell says the process id and then becomes the node.
        let mut command = without_settings(Command::new("sh"));
        command.args(["-c", "echo $$; exec \"$@\"", "sh"]).arg(magpie);
        // What systemd gives a service, and Kubernetes a pod.
        let memory = TempDir::with_prefix_in("magpie-run-", "/dev/shm").context("a runtime directory on tmpfs")?;
        command.env("RUNTIME_DIRECTORY", memory.path());
        let program = files.simulate(command)?;
        let pid = program.wait_for("its process id", STARTING, |line| line.parse::<u32>().ok())?;
        let node = Self { program, process: Process::of(pid), files, _memory: memory, address };
        http::wait_for_status(node.http()?, "/readyz", 200, STARTING).with_context(|| node.program.tail())?;
        Ok(node)
    }

    /// What the kernel says of it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The sum of a metric's samples whose labels contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> Result<u64> {
        let (status, body) = http::get(self.http()?, "/metrics").with_context(|| self.program.tail())?;
        ensure!(status == 200, "the node's metrics: {status} {body}");
        let samples = body.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Waits until a metric has come to `least`.
    pub fn wait_for_metric(&self, name: &str, labels: &str, least: u64, timeout: Duration) -> Result<()> {
        let end = Instant::now() + timeout;
        loop {
            let value = self.metric(name, labels)?;
            if value >= least {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{name}{{{labels}}} is {value} after {timeout:?}, not {least}");
            std::thread::sleep(LOOK);
        }
    }

    fn http(&self) -> Result<SocketAddr> {
        self.files.http()
    }
}
