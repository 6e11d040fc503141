//! A stock Kubo daemon on a private, quiet configuration, and its command line.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::magpie::MEETING;
use tests::netns::Namespace;
use tests::program::Program;

use crate::needs;

/// Where Kubo listens, in a network namespace that it has for itself.
pub const PORT: u16 = 4001;
/// A Go peer looks after its gossip mesh this often; before that, what it hears need not go further.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// Nobody tells when an answer of Kubo's changes, so it is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A running Kubo. It ends when this is dropped, and its files go.
pub struct Kubo<'a> {
    namespace: &'a Namespace,
    repository: TempDir,
    id: String,
    daemon: Program,
}

impl<'a> Kubo<'a> {
    /// A Kubo that nobody has told of anybody.
    pub fn start(namespace: &'a Namespace) -> Result<Self> {
        Self::start_with_peers(namespace, &[])
    }

    /// A Kubo that keeps connected to these peers, given as multiaddresses with `/p2p/`.
    pub fn start_with_peers(namespace: &'a Namespace, peers: &[String]) -> Result<Self> {
        // Kubo writes each author's highest number to its repository before it passes a message on. On a busy disk the
        // messages that wait for that overtake each other, and the older ones are dropped, however slowly they came. A
        // repository in memory is always quick.
        let repository = TempDir::with_prefix_in("magpie-kubo-", needs::memory()?).context("a folder for Kubo")?;
        // Its test profile knows no public server and does not look around.
        run(ipfs(namespace, repository.path())?.args(["init", "--empty-repo", "--profile", "test"]), None)?;
        let id = configure(&repository.path().join("config"), peers)?;
        let daemon = Program::start("Kubo", ipfs(namespace, repository.path())?.arg("daemon"))?;
        let is_ready = |line: &str| line.contains("Daemon is ready").then_some(());
        daemon.wait_for("that it is ready", MEETING, is_ready)?;
        Ok(Self { namespace, repository, id, daemon })
    }

    /// Its PeerId.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The daemon's own process.
    pub fn daemon(&self) -> &Program {
        &self.daemon
    }

    /// A command of `ipfs`, for this Kubo.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = ipfs(self.namespace, self.repository.path())?;
        command.args(arguments);
        Ok(command)
    }

    /// Runs `ipfs` to its end and returns what it said.
    pub fn ipfs(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments)?, None).with_context(|| self.daemon.tail())
    }

    /// `ipfs pubsub sub TOPIC`, once it hears.
    pub fn subscribe(&self, topic: &str) -> Result<Program> {
        let name = format!("ipfs pubsub sub {topic}");
        let subscriber = Program::start(name, &mut self.command(&["pubsub", "sub", topic])?)?;
        self.wait_for_line(&["pubsub", "ls"], topic)?;
        Ok(subscriber)
    }

    /// `ipfs pubsub pub TOPIC`.
    pub fn publish(&self, topic: &str, message: &str) -> Result<()> {
        run(&mut self.command(&["pubsub", "pub", topic])?, Some(message)).map(|_| ())
    }

    /// Waits until it is connected to this peer.
    pub fn wait_for_peer(&self, peer: &str) -> Result<()> {
        self.wait_for_line(&["swarm", "peers"], peer)
    }

    /// Waits until it knows that this peer follows a topic.
    pub fn wait_for_follower(&self, topic: &str, peer: &str) -> Result<()> {
        self.wait_for_line(&["pubsub", "peers", topic], peer)
    }

    /// Waits until it knows that somebody follows a topic.
    pub fn wait_for_any_follower(&self, topic: &str) -> Result<()> {
        self.wait_for_follower(topic, "")
    }

    /// Waits until a command of `ipfs` prints a line that ends with this.
    fn wait_for_line(&self, arguments: &[&str], end: &str) -> Result<()> {
        let what = format!("{end} in ipfs {}", arguments.join(" "));
        wait_until(&what, MEETING, || self.ipfs(arguments), |said| said.lines().any(|line| line.ends_with(end)))
    }
}

/// Asks until the answer is right.
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> Result<String>,
    mut is_right: impl FnMut(&str) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let answer = ask()?;
        if is_right(&answer) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("there was no {what} within {timeout:?}; last: {answer}");
        }
        thread::sleep(ASK_AGAIN);
    }
}

fn ipfs(namespace: &Namespace, repository: &Path) -> Result<Command> {
    let mut command = namespace.command(needs::ipfs()?);
    command.env("IPFS_PATH", repository).env("IPFS_TELEMETRY", "off");
    Ok(command)
}

/// Adds to the configuration file what makes Kubo quiet, and returns its PeerId.
fn configure(file: &Path, peers: &[String]) -> Result<String> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut config: Value = serde_json::from_slice(&text).context("Kubo's configuration is no JSON")?;
    let peers = peers.iter().map(|address| {
        let (address, id) = address.split_once("/p2p/").with_context(|| format!("{address} has no /p2p/"))?;
        Ok(json!({ "ID": id, "Addrs": [address] }))
    });
    let peers = peers.collect::<Result<Vec<_>>>()?;
    let quiet = json!({
        "Addresses": {
            "Swarm": [format!("/ip4/0.0.0.0/tcp/{PORT}")],
            "API": "/ip4/127.0.0.1/tcp/5001",
            "Gateway": [],
        },
        "AutoNAT": { "ServiceMode": "disabled" },
        "Peering": { "Peers": peers },
        "Provide": { "Enabled": false },
        "Pubsub": { "Enabled": true },
        "Routing": { "Type": "none" },
        "Swarm": {
            "EnableHolePunching": false,
            "RelayClient": { "Enabled": false },
            "RelayService": { "Enabled": false },
            "Transports": { "Network": {
                "QUIC": false, "Relay": false, "WebRTCDirect": false, "WebTransport": false, "Websocket": false,
            } },
        },
        "Version": { "SwarmCheckEnabled": false },
    });
    merge(&mut config, quiet);
    fs::write(file, serde_json::to_vec_pretty(&config)?).with_context(|| format!("cannot write {}", file.display()))?;
    let id = config["Identity"]["PeerID"].as_str();
    Ok(id.context("Kubo's configuration has no PeerID")?.to_owned())
}

/// Objects are merged, everything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Runs a command that ends by itself and must succeed.
fn run(command: &mut Command, input: Option<&str>) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(input.unwrap_or_default().as_bytes()).with_context(|| format!("{command:?} does not read"))?;
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
