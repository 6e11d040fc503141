//! `magpie demo`: what a person sees first.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tests::magpie::{self, STOPPING};
use tests::netns::Namespace;
use tests::program::Program;

/// Five nodes within seconds; the slowest reads every five.
const SECONDS: Duration = Duration::from_secs(20);

#[test]
fn five_nodes_are_seen_within_seconds_and_ctrl_c_leaves_nothing_behind() -> Result<()> {
    let machine = Namespace::new("machine")?;
    let home = TempDir::new().context("a home for the demo")?;
    let mut command = magpie::within(&machine)?;
    for folder in ["HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        command.env(folder, home.path());
    }
    let mut demo = Program::start("the demo", command.arg("demo").current_dir(home.path()))?;

    let mut nodes = BTreeSet::new();
    demo.wait_for("readings of five nodes", SECONDS, |line| {
        nodes.extend(line.split_whitespace().find_map(node_of));
        (nodes.len() == 5).then_some(())
    })
    .with_context(|| format!("seen so far: {nodes:?}"))?;

    // The second terminal, as the demo's own hint says.
    let subscriber = magpie::subscribe(magpie::within(&machine)?, &["temperature", "--no-mdns"])?;
    let line = subscriber.wait_for_json("a reading of the demo", SECONDS, magpie::is_good)?;
    ensure!(line["simulated"] == true && line["path"].as_str().is_some_and(|path| path.starts_with("demo/")), "{line}");

    demo.signal(Signal::INT)?;
    demo.wait_exit_code(0, STOPPING)?;
    let left: Vec<_> = fs::read_dir(home.path())?.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// `city/area/node` of a reading path.
fn node_of(word: &str) -> Option<String> {
    let levels: Vec<_> = word.split('/').collect();
    (levels.len() == 4).then(|| levels[..3].join("/"))
}
