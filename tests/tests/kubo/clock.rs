//! A node that starts with an old clock, as a Pi does after a power cut: Kubo would ignore it, with no error anywhere.
//!
//! The wall clock of that one process is made wrong, with libfaketime, and then right again; all other clocks stay as
//! they are.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::clock::WrongClock;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles};
use tests::netns::Namespace;
use tests::program::Program;

use crate::daemon::{Kubo, wait_until};
use crate::node::{self, named};

const HTTP: &str = "127.0.0.1:4711";
/// How far the clock is set back: a power cut of an hour, with a clock that stood still.
const BACK_S: i64 = 3600;
/// How long a node waits for its clock: `node::floor::LONGEST_WAIT`.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[test]
fn a_clock_that_was_set_back_is_reported_and_the_node_arrives_once_it_is_right() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let (kubo, clock) = (Kubo::start(&machine)?, WrongClock::new()?);
    let subscriber = kubo.subscribe(node::TOPIC)?;
    let (files, _) = heard_before(&machine, &subscriber)?;

    clock.set_off_by(-BACK_S)?;
    let node = files.simulate(clock.of(named(&machine, "after")?)?)?;
    let told = node.wait_for_log("that its clock is behind", MEETING, |line| {
        line.contains("before joining the mesh").then(|| line.to_owned())
    })?;
    ensure!(told.contains("s behind the last start") && told.contains("Kubo"), "{told}");
    wait_for_health(&machine, MEETING, "503", "mesh", "waiting for a time server")?;
    let behind = behind_s(&machine)?;
    ensure!((BACK_S - 60..=BACK_S + 60).contains(&behind), "{behind} s behind");
    // It measures meanwhile.
    wait_for_health(&machine, MEETING, "503", "sensors", "ready")?;

    clock.set_off_by(0)?;
    node::hear(&subscriber, "after")?;
    wait_for_health(&machine, MEETING, "200", "mesh", "ready")?;
    ensure!(behind_s(&machine)? == 0);
    Ok(())
}

/// Where no time server comes within a minute, the node joins all the same: its own kind hears it, and Kubo does not.
#[test]
fn a_clock_that_stays_back_keeps_the_node_from_kubo_only_until_it_is_right() -> Result<()> {
    let machine = Namespace::new("kubo")?;
    let (kubo, clock) = (Kubo::start(&machine)?, WrongClock::new()?);
    let subscriber = kubo.subscribe(node::TOPIC)?;
    let (files, id) = heard_before(&machine, &subscriber)?;

    clock.set_off_by(-BACK_S)?;
    let _node = files.simulate(clock.of(named(&machine, "behind")?)?)?;
    wait_for_health(&machine, LONGEST_WAIT + MEETING, "200", "mesh", "degraded: the clock is")?;
    wait_for_health(&machine, MEETING, "200", "mesh", "Kubo subscribers ignore this node")?;
    ensure!(behind_s(&machine)? >= BACK_S - 180);
    kubo.wait_for_peer(&id)?;
    let arguments = ["temperature", "--no-mdns", "--count", "25", "--timeout", "60s"];
    magpie::subscribe(magpie::within(&machine)?, &arguments)?.wait_exit_code(0, MEETING)?;
    let is_line = |line: &str| line.contains("behind").then_some(());
    let heard = subscriber.wait_for("a line of the node", Duration::ZERO, is_line);
    ensure!(heard.is_err(), "Kubo hears a node whose numbers went back: then nobody has to wait for a clock");

    clock.set_off_by(0)?;
    node::hear(&subscriber, "behind")?;
    wait_for_health(&machine, MEETING, "200", "mesh", "ready")?;
    ensure!(behind_s(&machine)? == 0);
    Ok(())
}

/// A node that Kubo has heard, by the name `before`, and that was killed; and its PeerId.
fn heard_before(machine: &Namespace, subscriber: &Program) -> Result<(NodeFiles, String)> {
    let files = NodeFiles::new(&NodeConfig { http: HTTP.to_owned(), ..node::config("before") })?;
    let id = node::identify(&files, 1)?;
    let node = files.simulate(node::plain(machine)?)?;
    node::hear(subscriber, "before")?;
    node.kill()?;
    Ok((files, id))
}

/// The whole answer of a node's health port, in its namespace; nothing while nobody answers.
fn get(namespace: &Namespace, path: &str) -> Result<String> {
    let (host, port) = HTTP.split_once(':').context("host and port")?;
    let request = format!("GET {path} HTTP/1.1\\r\\nHost: node\\r\\nConnection: close\\r\\n\\r\\n");
    let script = format!("exec 3<>/dev/tcp/{host}/{port} && printf '{request}' >&3 && cat <&3");
    let output = namespace.command("bash").args(["-c", &script]).output().context("cannot run bash")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a health report with this status code, and a line of this component that says so.
fn wait_for_health(namespace: &Namespace, timeout: Duration, status: &str, component: &str, what: &str) -> Result<()> {
    let says_so = |line: &str| line.split_once(": ").is_some_and(|(name, how)| name == component && how.contains(what));
    let is_right = |page: &str| page.starts_with(&format!("HTTP/1.1 {status}")) && page.lines().any(says_so);
    wait_until(&format!("{component}: {what}"), timeout, || get(namespace, "/readyz"), is_right)
}

/// How far the clock is behind, as the node's metrics say.
fn behind_s(namespace: &Namespace) -> Result<i64> {
    let page = get(namespace, "/metrics")?;
    let value = page.lines().find_map(|line| line.strip_prefix("magpie_node_clock_behind_seconds "));
    value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no clock_behind_seconds in\n{page}"))
}
