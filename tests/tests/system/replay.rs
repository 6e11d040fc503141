//! `magpie sub --since` and `--last`: what was measured before anybody listened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE, STOPPING};
use tests::program::Program;

const WHOLE: i32 = 0;
const INCOMPLETE: i32 = 4;

/// Identifies a frame: run and number.
fn frame(line: &Value) -> Result<(String, u64)> {
    let epoch = line["epoch"].as_str().context("a line without epoch")?;
    Ok((epoch.to_owned(), line["seq"].as_u64().context("a line without seq")?))
}

/// The frames of each run.
type Runs = BTreeMap<String, BTreeSet<u64>>;

/// The runs behind some lines in the order in which they came, and their frames; no line may come twice, and in a run none before an earlier one.
fn runs(lines: &[String]) -> Result<(Vec<String>, Runs)> {
    let (mut seen, mut order, mut runs) = (BTreeSet::new(), Vec::new(), Runs::new());
    for text in lines {
        let line: Value = serde_json::from_str(text)?;
        let (epoch, seq) = frame(&line)?;
        ensure!(
            seen.insert((epoch.clone(), seq, line["sensor"].to_string(), line["path"].to_string())),
            "twice: {text}"
        );
        if !runs.contains_key(&epoch) {
            order.push(epoch.clone());
        }
        let seqs = runs.entry(epoch.clone()).or_default();
        ensure!(seqs.last().is_none_or(|last| *last <= seq), "too late: {text}");
        ensure!(order.last() == Some(&epoch), "a line of an earlier run: {text}");
        seqs.insert(seq);
    }
    Ok((order, runs))
}

fn node(name: &'static str, address: &str, connect: &[&str]) -> Result<NodeFiles> {
    NodeFiles::new(&NodeConfig {
        listen: address.to_owned(),
        connect: connect.iter().map(ToString::to_string).collect(),
        interval: "100ms",
        chips: vec!["SHT4x"],
        ..NodeConfig::new(name)
    })
}

fn address() -> Result<String> {
    Ok(format!("/ip4/127.0.0.1/tcp/{}", magpie::free_port()?))
}

/// The lines of `magpie sub --since 1h --no-follow`, and what it said at its end.
fn past(selector: &str, connect: &str, code: i32) -> Result<(Vec<String>, String)> {
    let arguments = [selector, "--since", "1h", "--no-follow", "--timeout", "120s", "--no-mdns", "--connect", connect];
    let mut subscriber = magpie::subscribe(magpie::here()?, &arguments)?;
    let said = subscriber.wait_exit_code(code, 3 * MEETING)?;
    Ok((subscriber.rest(STOPPING)?, said))
}

/// Listens until `count` frames of a node were heard, and returns the last.
fn hear(subscriber: &Program, name: &str, count: usize) -> Result<Value> {
    (1..count).try_for_each(|_| magpie::hear(subscriber, name, "temperature").map(drop))?;
    magpie::hear(subscriber, name, "temperature")
}

#[test]
fn who_comes_late_gets_everything_once_over_a_kill_and_goes_on_live() -> Result<()> {
    let address = address()?;
    let files = node("phoenix", &address, &[])?;
    let first_life = files.simulate(magpie::here()?)?;
    let early = magpie::subscribe(magpie::here()?, &["temperature", "--no-mdns", "--connect", &address])?;
    let before = frame(&hear(&early, "phoenix", 10)?)?;
    first_life.kill()?;
    let _second_life = files.simulate(magpie::here()?)?;
    let after = early.wait_for_json("the second life", MEETING, |line| line["epoch"] != before.0.as_str())?;

    let (lines, said) = past("temperature", &address, WHOLE)?;
    let (order, runs) = runs(&lines)?;
    ensure!(order.len() == 2 && order[0] == before.0 && order[1] == frame(&after)?.0, "{order:?}");
    // The first frame of a run announces, and one may fix the clock; the others are readings.
    for (epoch, seqs) in &runs {
        let (first, last) = (*seqs.first().context("no frame")?, *seqs.last().context("no frame")?);
        ensure!(first <= 4 && last - first + 1 - seqs.len() as u64 <= 4, "{epoch}: {seqs:?}");
    }
    ensure!(runs[&before.0].contains(&before.1), "what was heard live is not in the past");
    ensure!(said.contains("nothing is known to be missing"), "{said}");

    let late =
        magpie::subscribe(magpie::here()?, &["temperature", "--since", "1h", "--no-mdns", "--connect", &address])?;
    let newest = runs[&order[1]].last().copied().unwrap_or_default();
    late.wait_for_json("what came after the past", MEETING, |line| {
        line["epoch"] == order[1].as_str() && line["seq"].as_u64().is_some_and(|seq| seq > newest + 20)
    })?;
    Ok(())
}

#[test]
fn a_dead_node_is_remembered_by_its_neighbour_and_what_that_did_not_hear_is_told() -> Result<()> {
    let (own, neighbours) = (address()?, address()?);
    let memory = tempfile::tempdir_in("/dev/shm").context("no directory in memory")?;
    let files = node("dying", &own, &[])?;
    let dying = files.simulate(magpie::here()?)?;
    let early = magpie::subscribe(magpie::here()?, &["temperature", "--no-mdns", "--connect", &own])?;
    hear(&early, "dying", 10)?;
    let neighbours_files = node("neighbour", &neighbours, &[&own])?;
    let _neighbour = neighbours_files.simulate(remembering(memory.path())?)?;
    hear(&early, "neighbour", 1)?;
    let last = frame(&hear(&early, "dying", 30)?)?;
    dying.kill()?;

    let selector = format!("{PLACE}/dying/temperature");
    let (lines, said) = past(&selector, &neighbours, INCOMPLETE)?;
    let (_, runs) = runs(&lines)?;
    let seqs = &runs[&last.0];
    ensure!(seqs.len() >= 10, "the neighbour remembers {seqs:?}");
    ensure!(said.contains(" missing (") && said.contains("could not be asked itself"), "{said}");
    Ok(())
}

fn remembering(memory: &Path) -> Result<std::process::Command> {
    let mut magpie = magpie::here()?;
    magpie.env("MAGPIE_STORE__RUNTIME_DIRECTORY", memory);
    Ok(magpie)
}

#[test]
fn the_last_known_value_comes_at_once() -> Result<()> {
    let address = address()?;
    // It measures when it starts, and then not again for as long as this takes.
    let files = NodeFiles::new(&NodeConfig {
        listen: address.clone(),
        interval: "1h",
        chips: vec!["SHT4x"],
        ..NodeConfig::new("slow")
    })?;
    let _node = files.simulate(magpie::here()?)?;
    let arguments = ["--last", "--count", "1", "--timeout", "60s", "--no-mdns", "--connect", &address];
    for quantity in ["temperature", "humidity"] {
        let mut subscriber = magpie::subscribe(magpie::here()?, &[&[quantity], &arguments[..]].concat())?;
        magpie::hear(&subscriber, "slow", quantity)?;
        subscriber.wait_exit_code(WHOLE, STOPPING)?;
    }
    Ok(())
}
