//! `magpie sub --since` and `--last`: what was measured before anybody listened.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result, ensure};
use mesh::{Answering, Batch, Events, History, Mesh, MeshEvent, Summary};
use prometheus_client::registry::Registry;
use reading::{
    Announcement, Author, BootId, ClockFix, ClockState, Epoch, EpochRange, Flag, Frame, Label, NodeId, NodeKey,
    Payload, Place, Quantity, Reading, Readings, Reason, Selector, Stamp, Text,
};
use serde_json::Value;
use tests::http;
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE, STOPPING};
use tests::netns::Namespace;
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

/// A machine of the test's own: what a real node on this one says would come, too.
fn alone() -> Result<Namespace> {
    let machine = Namespace::new("machine")?;
    machine.enter()?;
    Ok(machine)
}

fn node(name: &'static str, address: &str, connect: &[&str]) -> Result<NodeFiles> {
    NodeFiles::new(&config(name, address, connect))
}

fn config(name: &'static str, address: &str, connect: &[&str]) -> NodeConfig {
    NodeConfig {
        listen: address.to_owned(),
        connect: connect.iter().map(ToString::to_string).collect(),
        interval: "100ms",
        chips: vec!["SHT4x"],
        ..NodeConfig::new(name)
    }
}

fn address() -> Result<String> {
    Ok(format!("/ip4/127.0.0.1/tcp/{}", magpie::free_port()?))
}

/// The lines of `magpie sub --since 1h --no-follow`, and what it said at its end.
fn past(selector: &str, connect: &str, code: i32) -> Result<(Vec<String>, String)> {
    past_since("1h", selector, connect, code)
}

fn past_since(since: &str, selector: &str, connect: &str, code: i32) -> Result<(Vec<String>, String)> {
    let arguments = [selector, "--since", since, "--no-follow", "--timeout", "120s", "--no-mdns", "--connect", connect];
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
    let _machine = alone()?;
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
    // The first frame of a run announces, and others tell of the clock or of a sensor; the rest are readings.
    for (epoch, seqs) in &runs {
        let (first, last) = (*seqs.first().context("no frame")?, *seqs.last().context("no frame")?);
        ensure!(first <= 10 && last - first + 1 - seqs.len() as u64 <= 10, "{epoch}: {seqs:?}");
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
    let _machine = alone()?;
    let (own, neighbours) = (address()?, address()?);
    let memory = tempfile::tempdir_in("/dev/shm").context("no directory in memory")?;
    let files = node("dying", &own, &[])?;
    let dying = files.simulate(magpie::here()?)?;
    let early = magpie::subscribe(magpie::here()?, &["temperature", "--no-mdns", "--connect", &own])?;
    hear(&early, "dying", 10)?;
    let neighbours_files = NodeFiles::new(&NodeConfig {
        http: format!("127.0.0.1:{}", magpie::free_port()?),
        ..config("neighbour", &neighbours, &[&own])
    })?;
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

    // An export has all that the neighbour heard, and proves it.
    let archive = memory.path().join("dying.magpie");
    let report = exported(&selector, &neighbours, &archive)?;
    let kept = kept(neighbours_files.http()?)?;
    ensure!(report["frames"] == kept, "{kept} were kept, exported {report}");
    ensure!(report["nodes"][0]["runs"][0]["last_seq"].as_u64() >= seqs.last().copied(), "{seqs:?}, exported {report}");
    Ok(())
}

/// What `magpie verify` says of an export of a node that is not whole.
fn exported(selector: &str, connect: &str, archive: &Path) -> Result<Value> {
    let arguments = ["export", selector, "--format", "magpie", "--no-mdns", "--connect", connect, "--output"];
    let mut export = Program::start("the export", magpie::here()?.args(arguments).arg(archive))?;
    let said = export.wait_exit_code(INCOMPLETE, MEETING)?;
    ensure!(said.contains("not confirmed: 1 node"), "{said}");
    let mut verify = Program::start("the proof", magpie::here()?.args(["verify", "--json"]).arg(archive))?;
    let report = verify.wait_for_json("its report", MEETING, |_| true)?;
    // How much more the node had, a file cannot tell.
    verify.wait_exit_code(WHOLE, MEETING)?;
    Ok(report)
}

/// Frames of others that a node has kept.
fn kept(http: SocketAddr) -> Result<u64> {
    let (_, metrics) = http::get(http, "/metrics")?;
    let count = metrics.lines().find_map(|line| line.strip_prefix("magpie_node_neighbours_kept_total "));
    Ok(count.context("the node does not count its neighbours' frames")?.parse()?)
}

fn remembering(memory: &Path) -> Result<std::process::Command> {
    let mut magpie = magpie::here()?;
    magpie.env("MAGPIE_STORE__RUNTIME_DIRECTORY", memory);
    Ok(magpie)
}

#[test]
fn the_last_known_value_comes_at_once() -> Result<()> {
    let _machine = alone()?;
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

#[test]
fn what_was_measured_before_the_time_was_known_is_dated_by_the_fix() -> Result<()> {
    let _machine = alone()?;
    let key = NodeKey::from_seed([21; 32]);
    let frames = a_boot_without_a_clock(&key)?;
    let (addresses, listening) = channel();
    // The thread ends with the test's process.
    thread::spawn(move || {
        let failed = addresses.clone();
        serve(key, frames, &addresses).or_else(|error| failed.send(Err(error)))
    });
    let address = listening.recv_timeout(MEETING).context("the node does not listen")??;
    let (lines, said) = past("temperature", &address, WHOLE)?;
    ensure!(lines.len() == 60, "{} lines; {said}", lines.len());
    for (second, text) in (1..).zip(&lines) {
        let line: Value = serde_json::from_str(text)?;
        let time = reading::rfc3339(START_US + second * 1_000_000).context("a time")?;
        let clock = if second <= 30 { "redated" } else { "synced" };
        ensure!(line["time"] == time.as_str() && line["clock"] == clock, "not {time}, {clock}: {text}");
    }
    Ok(())
}

#[test]
fn what_nobody_can_confirm_is_not_whole_though_nothing_is_known_to_be_missing() -> Result<()> {
    let _machine = alone()?;
    let (dead, neighbour) = (NodeKey::from_seed([22; 32]), NodeKey::from_seed([23; 32]));
    let frames = a_boot_without_a_clock(&dead)?;
    let heard = frames.iter().filter(|frame| frame.seq() == 1 || frame.seq() > 40).cloned().collect();
    let (addresses, listening) = channel();
    thread::spawn(move || {
        let failed = addresses.clone();
        survive(neighbour, dead, heard, &addresses).or_else(|error| failed.send(Err(error)))
    });
    let address = listening.recv_timeout(MEETING).context("the neighbour does not listen")??;
    let since = reading::rfc3339(START_US + 45_000_000).context("a time")?;
    let (lines, said) = past_since(&since, "seoul/lab/timeless/temperature", &address, INCOMPLETE)?;
    ensure!(lines.len() == 16, "{} lines; {said}", lines.len());
    ensure!(said.contains("not confirmed: 1 node") && said.contains("seoul/lab/timeless"), "{said}");
    ensure!(!said.contains(" missing ("), "{said}");
    Ok(())
}

/// Uptime 0 of that boot, us since 1970: in 2099, so that no time that is asked for is later.
const START_US: i64 = 4_070_908_800_000_000;

/// A node that starts in 1970, learns the time after half a minute, and measures each second.
fn a_boot_without_a_clock(key: &NodeKey) -> Result<Vec<Frame>> {
    let boot = BootId([5; 8]);
    let mut author = Author::new(key.clone(), Epoch([9; 8]), boot);
    let stamp = |second: i64, known: bool| {
        let uptime_us = second * 1_000_000;
        let (time_us, clock) =
            if known { (START_US + uptime_us, ClockState::SYNCED) } else { (uptime_us, ClockState::UNKNOWN) };
        Stamp { uptime_ms: second.unsigned_abs() * 1000, time_us, clock }
    };
    let place = Place { city: Label::new("seoul")?, area: Label::new("lab")?, node: Label::new("timeless")? };
    let announcement = Announcement {
        place,
        addresses: vec![],
        sensors: vec![],
        firmware: Text::lossy("test"),
        position: None,
        previous: None,
        certificate: vec![],
    };
    let reading = Reading {
        sensor: 0,
        quantity: Quantity::TEMPERATURE,
        value: Some(21.5),
        raw: None,
        flag: Flag::GOOD,
        reason: Reason::NONE,
    };
    let readings = Payload::Readings(Readings { announcement: 1, readings: vec![reading] });
    let mut frames = vec![author.sign(stamp(0, false), &Payload::Announcement(announcement))?];
    for second in 1..=60 {
        if second == 31 {
            let fix = ClockFix { boot, wall_at_zero_us: START_US, uncertainty_ms: 5 };
            frames.push(author.sign(stamp(30, true), &Payload::ClockFix(fix))?);
        }
        frames.push(author.sign(stamp(second, second > 30), &readings)?);
    }
    Ok(frames)
}

/// One node's run in memory.
#[derive(Clone, Debug)]
struct Run(Arc<Vec<Frame>>);

impl History for Run {
    fn summary(&self, node: NodeId, since_us: Option<i64>) -> Answering<Summary> {
        let (first, last) = (self.0.first().filter(|frame| frame.node() == node), self.0.last());
        let run = first.zip(last).map(|(first, last)| EpochRange {
            epoch: first.epoch(),
            first_seq: first.seq(),
            last_seq: last.seq(),
            frames: self.0.len() as u64,
            gone_to: 0,
        });
        // Whoever asks for an hour ago, in 2099, gets all: a node that later learned the time dates what it made before.
        let is_since = |frame: &&Frame| since_us.is_none_or(|since| since < START_US || frame.stamp().time_us >= since);
        let from = self.0.iter().find(is_since).filter(|frame| frame.node() == node);
        let summary = Summary {
            first: from.map(|frame| (frame.epoch(), frame.seq())),
            older: false,
            runs: run.into_iter().collect(),
        };
        Box::pin(async { Some(summary) })
    }

    fn frames(&self, _: NodeId, _: Epoch, seqs: RangeInclusive<u64>, _: usize) -> Answering<Batch> {
        let next_seq = seqs.end().saturating_add(1);
        let frames = self.0.iter().filter(|frame| seqs.contains(&frame.seq())).cloned().collect();
        Box::pin(async move { Some(Batch { frames, next_seq }) })
    }
}

/// Serves the frames, and says where.
fn serve(key: NodeKey, frames: Vec<Frame>, addresses: &Sender<Result<String>>) -> Result<()> {
    let announcement = frames.first().context("no frames")?.clone();
    live(async {
        let (mesh, mut events) = start(key, Vec::new(), frames).await?;
        mesh.publish(announcement).await?;
        addresses.send(Ok(listening(&mut events).await?))?;
        while events.next().await.is_some() {}
        Ok(())
    })
}

/// Meets a node, and when that is dead serves what was heard of it, and says where.
fn survive(key: NodeKey, dead: NodeKey, heard: Vec<Frame>, addresses: &Sender<Result<String>>) -> Result<()> {
    let announcement = heard.first().context("no frames")?.clone();
    live(async {
        let (_mesh, mut events) = start(key, Vec::new(), heard).await?;
        let address = listening(&mut events).await?;
        let (dying, _its_events) = start(dead, vec![address.clone()], Vec::new()).await?;
        dying.publish(announcement.clone()).await?;
        loop {
            match events.next().await.context("the mesh ended")? {
                MeshEvent::Frame { frame, .. } if frame == announcement => break,
                _ => {}
            }
        }
        dying.stop(STOPPING).await?;
        addresses.send(Ok(address))?;
        while events.next().await.is_some() {}
        Ok(())
    })
}

fn live(life: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(life)
}

async fn start(key: NodeKey, connect: Vec<String>, frames: Vec<Frame>) -> Result<(Mesh, Events)> {
    let config = mesh::Config {
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        connect,
        interest: vec![Selector::ALL],
        history: Some(Arc::new(Run(Arc::new(frames)))),
        ..mesh::Config::new(key)
    };
    Ok(mesh::start(config, &mut Registry::default()).await?)
}

/// Where it listens.
async fn listening(events: &mut Events) -> Result<String> {
    loop {
        if let MeshEvent::Listening { address } = events.next().await.context("the mesh ended")? {
            return Ok(address);
        }
    }
}
