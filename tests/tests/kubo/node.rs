//! The node as Kubo knows it: by its PeerId, and by the plain lines that it publishes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use anyhow::{Context, Result};
use reading::NodeKey;
use serde_json::Value;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles};
use tests::netns::Namespace;
use tests::program::Program;

use crate::daemon;

/// Where nodes listen, in a network namespace that they have for themselves.
pub const ADDRESS: &str = "/ip4/127.0.0.1/tcp/4710";
/// The plain topic.
pub const TOPIC: &str = "temperature";

/// Where a node in the same namespace finds Kubo.
pub fn kubo_address() -> String {
    format!("/ip4/127.0.0.1/tcp/{}", daemon::PORT)
}

/// A node with one thermometer that dials Kubo, five times a second.
pub fn config(name: &'static str) -> NodeConfig {
    NodeConfig {
        listen: ADDRESS.to_owned(),
        connect: vec![kubo_address()],
        chips: vec!["SHT4x"],
        ..NodeConfig::new(name)
    }
}

/// `magpie`, for a node that publishes its temperature as plain lines too.
pub fn plain(namespace: &Namespace) -> Result<Command> {
    let mut magpie = magpie::within(namespace)?;
    magpie.env("MAGPIE_PUBLISH__PLAIN", format!("{{ temperature = \"{TOPIC}\" }}"));
    Ok(magpie)
}

/// The same under another name: the lines of one life of a node are told from those of another by it.
pub fn named(namespace: &Namespace, name: &str) -> Result<Command> {
    let mut magpie = plain(namespace)?;
    magpie.env("MAGPIE_NAME", name);
    Ok(magpie)
}

/// Gives a node that was never started a key, and returns its PeerId.
pub fn identify(files: &NodeFiles, seed: u8) -> Result<String> {
    let seed = [seed; 32];
    fs::create_dir(files.state()).context("cannot make the node's state directory")?;
    let key = OpenOptions::new().write(true).create_new(true).mode(0o600).open(files.state().join("node.key"));
    key.and_then(|mut file| file.write_all(&seed)).context("cannot write the node's key")?;
    Ok(NodeKey::from_seed(seed).id().to_string())
}

/// Waits for one of the node's plain lines.
pub fn hear(subscriber: &Program, name: &str) -> Result<Value> {
    subscriber.wait_for_json(&format!("a line of {name}"), MEETING, |line| line["node"] == name)
}
