//! How `magpie` is called in tests.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::needs;
use crate::netns::Namespace;
use crate::program::Program;

/// City and area of every node in these tests. No real node has them, so a test on a developer's machine hears only its
/// own.
pub const PLACE: &str = "seoul/lab";

/// Within this a program is up and has met another, on a machine that is busy with other tests.
pub const MEETING: Duration = Duration::from_secs(60);
/// Within this a program ends that was asked to.
pub const STOPPING: Duration = Duration::from_secs(30);

/// `magpie` on this machine.
pub fn here() -> Result<Command> {
    Ok(without_settings(Command::new(needs::magpie()?)))
}

/// `magpie` in a namespace.
pub fn within(namespace: &Namespace) -> Result<Command> {
    Ok(without_settings(namespace.command(needs::magpie()?)))
}

/// Takes away what would configure a node behind the test's back.
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAGPIE_") {
            command.env_remove(name);
        }
    }
    command
}

/// What a test says of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The third level of its paths.
    pub name: &'static str,
    /// Where it listens; the configuration's default where this is empty.
    pub listen: String,
    /// Whom it dials.
    pub connect: Vec<String>,
    /// Where it can be dialled besides.
    pub announce: Vec<String>,
    /// Whether it looks around on the local network.
    pub mdns: bool,
    /// Whether it meets others on its own machine.
    pub local: bool,
    /// Where its health is asked for; nowhere where this is empty.
    pub http: String,
    /// How often it reads its sensors.
    pub interval: &'static str,
    /// The models that it expects; every one that it finds where this is empty.
    pub chips: Vec<&'static str>,
    /// The buses that it uses; every one of the machine where this is empty.
    pub buses: Vec<String>,
}

impl NodeConfig {
    /// A node that keeps to itself.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            listen: String::new(),
            connect: Vec::new(),
            announce: Vec::new(),
            mdns: false,
            local: false,
            http: String::new(),
            interval: "200ms",
            chips: Vec::new(),
            buses: Vec::new(),
        }
    }

    /// The file that says so.
    pub fn toml(&self, state: &Path) -> String {
        let Self { name, connect, announce, mdns, local, http, interval, buses, .. } = self;
        let (city, area) = PLACE.split_once('/').unwrap_or_default();
        let listen = if self.listen.is_empty() { String::new() } else { format!("listen = [\"{}\"]\n", self.listen) };
        let chips: String = self.chips.iter().map(|model| format!("[[sensors.chip]]\nmodel = \"{model}\"\n")).collect();
        format!(
            "city = \"{city}\"\narea = \"{area}\"\nname = \"{name}\"\nstate = \"{}\"\n\
             [mesh]\n{listen}connect = {connect:?}\nannounce = {announce:?}\nmdns = {mdns}\nlocal = {local}\n\
             [http]\nlisten = \"{http}\"\n\
             [sensors]\ninterval = \"{interval}\"\nbuses = {buses:?}\n{chips}",
            state.display()
        )
    }
}

/// A node's files on this machine. They go when this is dropped; the node may be started on them again and again.
pub struct NodeFiles {
    name: &'static str,
    http: String,
    folder: TempDir,
}

impl NodeFiles {
    /// Writes the configuration; there is no state yet.
    pub fn new(config: &NodeConfig) -> Result<Self> {
        let folder = TempDir::with_prefix("magpie-node-").context("a folder for a node")?;
        let files = Self { name: config.name, http: config.http.clone(), folder };
        fs::write(files.config(), config.toml(&files.state())).context("cannot write the node's configuration")?;
        Ok(files)
    }

    /// What the node is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where the node's health is asked for.
    pub fn http(&self) -> Result<SocketAddr> {
        self.http.parse().with_context(|| format!("the node {} does not answer about its health", self.name))
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("magpie.toml")
    }

    /// The directory of the key and the store.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.state().join("frames.db")
    }

    /// Starts a node with simulated sensors; `magpie` is [`here`] or [`within`] a namespace.
    pub fn simulate(&self, mut magpie: Command) -> Result<Program> {
        Program::start(
            format!("node {}", self.name),
            magpie.args(["node", "--simulate", "--config"]).arg(self.config()),
        )
    }
}

/// Starts `magpie sub --json` with these arguments.
pub fn subscribe(mut magpie: Command, arguments: &[&str]) -> Result<Program> {
    Program::start("the subscriber", magpie.args(["sub", "--json"]).args(arguments))
}

/// A port of 127.0.0.1 that nobody has right now, for a server that cannot be asked which one it took.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Waits for a good reading of a node of [`PLACE`].
pub fn hear(subscriber: &Program, node: &str, quantity: &str) -> Result<Value> {
    let path = format!("{PLACE}/{node}/{quantity}");
    subscriber.wait_for_json(&format!("a good {path}"), MEETING, |line| line["path"] == path.as_str() && is_good(line))
}

/// Whether a line is what a subscriber wants: a value, good, and signed by the node.
pub fn is_good(line: &Value) -> bool {
    line["flag"] == "good" && line["value"].is_number() && line["verified"] == true
}
