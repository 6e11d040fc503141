//! What a node is given that is wrong: it says what and what to do, and takes nothing away.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::http;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, STOPPING};
use tests::program::Program;

const FAILED: i32 = 1;
const USAGE: i32 = 2;
/// Bytes of the store's first page.
const FIRST_PAGE: usize = 1024;

/// A node on this machine that takes no port from anybody.
fn quiet(name: &'static str) -> Result<NodeConfig> {
    let http = format!("127.0.0.1:{}", magpie::free_port()?);
    Ok(NodeConfig { listen: "/ip4/127.0.0.1/tcp/0".to_owned(), http, ..NodeConfig::new(name) })
}

/// Starts the node, expects that it ends by itself with this code, and returns what it said.
fn refused(files: &NodeFiles, code: i32) -> Result<String> {
    files.simulate(magpie::here()?)?.wait_exit_code(code, MEETING)
}

/// Files of a node that has run, with a store and a key in them.
fn after_a_run(config: &NodeConfig) -> Result<NodeFiles> {
    runs_until_ready(NodeFiles::new(config)?)
}

fn runs_until_ready(files: NodeFiles) -> Result<NodeFiles> {
    let server = files.http()?;
    let mut node = files.simulate(magpie::here()?)?;
    http::wait_for_status(server, "/readyz", 200, MEETING).with_context(|| node.tail())?;
    node.signal(rustix::process::Signal::TERM)?;
    node.wait_exit_code(0, STOPPING)?;
    Ok(files)
}

fn says(text: &str, all: &[&str]) -> Result<()> {
    for part in all {
        ensure!(text.contains(part), "nothing of \"{part}\" in:\n{text}");
    }
    Ok(())
}

#[test]
fn a_torn_store_is_moved_aside_and_the_node_begins_a_new_one() -> Result<()> {
    let files = after_a_run(&quiet("torn")?)?;
    // The first page still says that it is a store.
    let mut bytes = fs::read(files.store())?;
    bytes.iter_mut().skip(FIRST_PAGE).for_each(|byte| *byte = 0xa5);
    ensure!(bytes.len() > FIRST_PAGE, "the store has {} bytes", bytes.len());
    fs::write(files.store(), &bytes)?;
    let files = runs_until_ready(files)?;
    ensure!(fs::read(files.state().join("frames.db.damaged"))? == bytes, "the torn store was written to");
    Ok(())
}

#[test]
fn a_foreign_file_in_the_stores_place_is_kept_and_the_node_goes_on_live() -> Result<()> {
    let files = NodeFiles::new(&quiet("foreign")?)?;
    fs::create_dir(files.state())?;
    let letter = b"Dear diary, today I was mistaken for a database.\n".repeat(200);
    fs::write(files.store(), &letter)?;
    let mut node = files.simulate(magpie::here()?)?;
    let said = http::wait_for_status(files.http()?, "/readyz", 503, MEETING).with_context(|| node.tail())?;
    says(&said, &["not kept", "frames.db", "is not a Magpie store", "mv '"])?;
    ensure!(node.is_running() && fs::read(files.store())? == letter);
    // Moved out of the way, it is in nobody's way any more.
    fs::rename(files.store(), files.state().join("diary"))?;
    http::wait_for_status(files.http()?, "/readyz", 200, MEETING).with_context(|| node.tail())?;
    Ok(())
}

#[test]
fn a_key_that_others_can_read_is_refused() -> Result<()> {
    let files = after_a_run(&quiet("key")?)?;
    let key = files.state().join("node.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644))?;
    says(&refused(&files, FAILED)?, &["node.key", "can be read by others", "chmod 600"])?;
    fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    let mut node = files.simulate(magpie::here()?)?;
    http::wait_for_status(files.http()?, "/readyz", 200, MEETING).with_context(|| node.tail())?;
    ensure!(node.is_running());
    Ok(())
}

#[test]
fn every_problem_of_a_configuration_is_told_with_its_line() -> Result<()> {
    let files = NodeFiles::new(&quiet("typo")?)?;
    let text = r#"city = "Seoul"
typo = 1

[sensors]
interval = "10 parsecs"
busses = []

[mesh]
connect = ["10.0.0.1"]
"#;
    fs::write(files.config(), text)?;
    let said = refused(&files, USAGE)?;
    says(
        &said,
        &["magpie.toml:1", "magpie.toml:2", "typo", "magpie.toml:5", "magpie.toml:6", "busses", "magpie.toml:9"],
    )?;
    ensure!(!files.state().exists(), "a node with a wrong configuration left something behind");
    Ok(())
}

#[test]
fn a_configuration_that_is_not_there_or_no_toml_is_told() -> Result<()> {
    let files = NodeFiles::new(&quiet("toml")?)?;
    fs::write(files.config(), "city = \"seoul\"\narea = \"lab\n")?;
    says(&refused(&files, USAGE)?, &["magpie.toml:2"])?;
    fs::remove_file(files.config())?;
    says(&refused(&files, USAGE)?, &["magpie.toml"])?;
    Ok(())
}

#[test]
fn wrong_usage_is_told_and_has_its_exit_code() -> Result<()> {
    for (arguments, part) in [
        (&["sub", "seoul/+/+"][..], "seoul/+/+"),
        (&["sub", "temprature"], "temprature"),
        (&["sub", "temperature", "--connect", "10.0.0.1"], "10.0.0.1"),
        (&["node", "--city", "Seoul"], "Seoul"),
        (&["feed"], "feed"),
    ] {
        let mut program = Program::start("magpie", magpie::here()?.args(arguments))?;
        says(&program.wait_exit_code(USAGE, STOPPING)?, &[part])?;
    }
    Ok(())
}

/// Time runs out where nobody is there to be heard.
#[test]
fn a_subscriber_that_hears_nobody_ends_with_3() -> Result<()> {
    let arguments = ["nowhere/+/+/temperature", "--no-mdns", "--count", "1", "--timeout", "1s"];
    let mut subscriber = magpie::subscribe(magpie::here()?, &arguments)?;
    subscriber.wait_exit_code(3, STOPPING)?;
    Ok(())
}

/// Hardware is no reason to end: the bus may come, and until then the node says what is missing.
#[test]
fn a_bus_that_does_not_exist_is_told_and_keeps_the_node_unready() -> Result<()> {
    let bus = "/dev/i2c-99";
    ensure!(!Path::new(bus).exists(), "this machine has {bus}");
    let mut scan = Program::start("the scan", magpie::here()?.args(["sensors", "scan", "--bus", bus]))?;
    says(&scan.wait_exit_code(FAILED, STOPPING)?, &[bus])?;

    let files = NodeFiles::new(&NodeConfig { buses: vec![bus.to_owned()], ..quiet("bus")? })?;
    let mut node = Program::start("node bus", magpie::here()?.args(["node", "--config"]).arg(files.config()))?;
    let server = files.http()?;
    let unready = http::wait_for_status(server, "/readyz", 503, MEETING).with_context(|| node.tail())?;
    says(&unready, &["sensors"])?;
    node.wait_for_log("which bus is missing", MEETING, |line| line.contains(bus).then_some(()))?;
    ensure!(http::get(server, "/livez")?.0 == 200, "a node without hardware is alive");
    node.signal(rustix::process::Signal::TERM)?;
    node.wait_exit_code(0, STOPPING)?;
    Ok(())
}
