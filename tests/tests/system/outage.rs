//! A Pi on a lamp post whose network fails, whose plug is pulled, and which wakes up in its own past.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use reading::parse_rfc3339;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tests::magpie::{self, MEETING, NodeConfig, PLACE, STOPPING};
use tests::needs;
use tests::program::Program;
use tests::virtual_pi::{Card, Chip, Parts, VirtualPi, time_server};

const CHIPS: [Chip; 1] = [Chip::new("sht", "SHT40", 0x44)];
/// The ports of the configuration's defaults.
const MESH: u16 = 4710;
const HTTP: u16 = 4711;
/// What a power cut may cost at most, as the node is told.
const SYNC_INTERVAL_S: f64 = 5.0;
/// Between two frames, and by how much a busy machine and its emulator are late.
const INTERVAL_S: f64 = 1.0;
const LATE_S: f64 = 3.0;
/// The network is away for so long.
const OUTAGE: Duration = Duration::from_secs(60);
/// How far the clock is behind after the power cut.
const BEHIND: Duration = Duration::from_secs(3600);
/// An emulated Pi starts a program, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_pi_that_loses_network_power_and_time_leaves_no_hole() -> Result<()> {
    let lamp_post = LampPost::new()?;
    let mut pi = lamp_post.switch_on(Duration::ZERO)?;
    pi.learn_time()?;
    pi.start(NODE)?;
    let mut listener = Listener::new(&lamp_post.address)?;
    let first_run = listener.hears(|line| line["clock"] == "synced")?.epoch;
    listener.hears_more(10)?;

    // The cable is pulled for a minute. The node goes on.
    let before = frames_signed(&mut pi, 0)?;
    pi.set_plugged(false)?;
    thread::sleep(OUTAGE);
    let after = frames_signed(&mut pi, 0)?;
    ensure!(after - before >= 30, "{before} frames before the outage, {after} at its end");
    pi.set_plugged(true)?;
    // Of the past and of what comes after it.
    listener.hears(|line| line["seq"].as_u64() > Some(after))?;
    listener.hears_more(10)?;
    listener.hears_what_is_now()?;

    // The plug is pulled, and the Pi wakes up an hour ago: it measures, and is told the time after a while.
    pi.cut_power().context("cannot cut the power")?;
    let mut pi = lamp_post.switch_on(BEHIND)?;
    pi.start(NODE)?;
    frames_signed(&mut pi, 15)?;
    pi.learn_time()?;
    let second_run = listener.hears(|line| line["clock"] == "synced" && line["epoch"] != first_run.as_str())?.epoch;
    listener.hears_more(5)?;
    listener.hears_what_is_now()?;

    let (late, said) = past(&lamp_post.address)?;
    let (live, live_said) = listener.stop()?;
    let verdict = judge(&late, received(&said)?, &live, &first_run, &second_run);
    println!("{}\n{said}\n{live_said}", verdict.with_context(|| format!("{said}\n{live_said}\n{}", pi.tail()))?);
    Ok(())
}

const NODE: &str =
    "env MAGPIE_STORE__SYNC_INTERVAL=5s RUNTIME_DIRECTORY=/run/magpie /magpie node --config /etc/magpie.toml";

/// What a Pi is made of that outlives a power cut, and where it is reached.
struct LampPost {
    card: Card,
    magpie: Vec<u8>,
    time_server: Vec<u8>,
    port: u16,
    address: String,
    _folder: TempDir,
}

impl LampPost {
    fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("magpie-card-").context("a folder for the card")?;
        let port = magpie::free_port()?;
        Ok(Self {
            card: Card::new(&folder.path().join("card"))?,
            magpie: fs::read(needs::pi_magpie()?)?,
            time_server: time_server()?,
            port,
            address: format!("/ip4/127.0.0.1/tcp/{port}"),
            _folder: folder,
        })
    }

    fn switch_on(&self, clock_behind: Duration) -> Result<VirtualPi> {
        let config = NodeConfig { http: format!("127.0.0.1:{HTTP}"), interval: "1s", ..NodeConfig::new("pi3") };
        VirtualPi::boot(&Parts {
            chips: CHIPS.to_vec(),
            ports: vec![(MESH, self.port)],
            files: vec![
                ("magpie", 0o755, self.magpie.clone()),
                ("time-server", 0o755, self.time_server.clone()),
                ("etc/magpie.toml", 0o644, config.toml(Path::new("/var/lib/magpie")).into_bytes()),
            ],
            card: Some(self.card.clone()),
            clock_behind,
        })
    }
}

/// Waits until the node has made so many frames since its start, and says how many it has.
fn frames_signed(pi: &mut VirtualPi, at_least: u64) -> Result<u64> {
    // A node that is just starting does not answer yet.
    let ask = format!("wget -q -O - http://127.0.0.1:{HTTP}/metrics 2> /dev/null");
    let find = format!("{ask} | sed -n 's/^magpie_node_frames_signed_total //p'");
    let script = format!(
        "n=; until [ \"${{n:-0}}\" -ge {at_least} ] && [ -n \"$n\" ]; do n=$({find}); usleep 200000; done; echo $n"
    );
    pi.run(&script)?.trim().parse().context("the number of frames")
}

/// A frame as the lines of `magpie sub --json` tell of it.
#[derive(Clone, Debug)]
struct Heard {
    epoch: String,
    seq: u64,
    /// When it was measured, s since 1970; `None` where that is not known.
    time_s: Option<f64>,
    clock: String,
}

impl Heard {
    fn of(line: &Value) -> Result<Self> {
        let text = |key: &str| line[key].as_str().with_context(|| format!("a line without {key}: {line}"));
        Ok(Self {
            epoch: text("epoch")?.to_owned(),
            seq: line["seq"].as_u64().context("a line without seq")?,
            time_s: line["time"].as_str().and_then(parse_rfc3339).map(|time_us| time_us as f64 * 1e-6),
            clock: text("clock")?.to_owned(),
        })
    }

    fn time_s(&self) -> Result<f64> {
        self.time_s.with_context(|| format!("a time that is not known: {self:?}"))
    }
}

/// The host's `magpie sub --since`, from the beginning to the end of the story.
struct Listener {
    program: Program,
    heard: Vec<Heard>,
}

impl Listener {
    fn new(address: &str) -> Result<Self> {
        let selector = format!("{PLACE}/pi3/temperature");
        let arguments = [&selector, "--since", "1h", "--no-mdns", "--connect", address];
        Ok(Self { program: magpie::subscribe(magpie::here()?, &arguments)?, heard: Vec::new() })
    }

    /// Listens until a line is as wanted.
    fn hears(&mut self, mut accept: impl FnMut(&Value) -> bool) -> Result<Heard> {
        let heard = &mut self.heard;
        let mut wrong = None;
        self.program.wait_for_json("what is waited for", PATIENCE, |line| {
            match Heard::of(line) {
                Ok(frame) => heard.push(frame),
                Err(error) => wrong = Some(error),
            }
            wrong.is_some() || accept(line)
        })?;
        wrong.map_or_else(|| heard.last().cloned().context("nothing was heard"), Err)
    }

    fn hears_more(&mut self, frames: usize) -> Result<()> {
        (0..frames).try_for_each(|_| self.hears(|_| true).map(drop))
    }

    /// Listens until a line is of this moment, by this machine's clock: a time that is wrong never is.
    fn hears_what_is_now(&mut self) -> Result<()> {
        self.hears(|line| {
            let time_s = Heard::of(line).ok().and_then(|frame| frame.time_s);
            time_s.is_some_and(|time_s| (now_s() - time_s).abs() < LATE_S)
        })
        .map(drop)
    }

    /// Ends it as Ctrl-C does; it must not know of anything missing.
    fn stop(mut self) -> Result<(Vec<Heard>, String)> {
        self.program.signal(Signal::INT)?;
        let said = self.program.wait_exit_code(0, STOPPING)?;
        for line in self.program.rest(STOPPING)? {
            self.heard.push(Heard::of(&serde_json::from_str(&line)?)?);
        }
        Ok((self.heard, said))
    }
}

/// What somebody hears who asks for the past when all is over, and what is said of it: nothing is missing.
fn past(address: &str) -> Result<(Vec<Heard>, String)> {
    let selector = format!("{PLACE}/pi3/temperature");
    let arguments = [&selector, "--since", "2h", "--no-follow", "--timeout", "120s", "--no-mdns", "--connect", address];
    let mut subscriber = magpie::subscribe(magpie::here()?, &arguments)?;
    let said = subscriber.wait_exit_code(0, 3 * MEETING)?;
    ensure!(said.contains("nothing is known to be missing"), "{said}");
    let lines = subscriber.rest(STOPPING)?;
    Ok((lines.iter().map(|line| Heard::of(&serde_json::from_str(line)?)).collect::<Result<_>>()?, said))
}

/// How many frames came to a subscriber, by what it said at its end, those without readings among them.
fn received(said: &str) -> Result<u64> {
    let count = said.split_once("received ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    count.with_context(|| format!("no number of frames in {said}"))
}

/// Frames by run and number, with their times.
type Runs<'a> = BTreeMap<&'a str, BTreeMap<u64, &'a Heard>>;

/// Each frame once, in a run none before an earlier one.
fn runs(heard: &[Heard]) -> Result<Runs<'_>> {
    let mut runs = Runs::new();
    for frame in heard {
        let run = runs.entry(&frame.epoch).or_default();
        ensure!(run.last_key_value().is_none_or(|(last, _)| *last < frame.seq), "twice or too late: {frame:?}");
        run.insert(frame.seq, frame);
    }
    Ok(runs)
}

fn judge(late: &[Heard], received: u64, live: &[Heard], first_run: &str, second_run: &str) -> Result<String> {
    let (late, live) = (runs(late)?, runs(live)?);
    ensure!(late.len() == 2 && live.len() == 2, "{:?} and {:?}", late.keys(), live.keys());
    let (first, second) = (&late[first_run], &late[second_run]);

    // Every number from 1 to the last: announcements and clock fixes have numbers, and no lines.
    let numbers = last(first)?.seq + last(second)?.seq;
    ensure!(received >= numbers, "{received} frames came, and there are {numbers}");

    // Who was there all the time has what the card lost: frames that were made since its last sync.
    let (stored, heard) = (last(first)?, last(&live[first_run])?);
    let lost: Vec<&Heard> =
        live[first_run].iter().filter(|(seq, _)| !first.contains_key(*seq)).map(|(_, frame)| *frame).collect();
    ensure!(lost.iter().all(|frame| frame.seq > stored.seq), "some of {lost:?} are before {}", stored.seq);
    let lost_s = lost.first().map_or(Ok(0.0), |first_lost| anyhow::Ok(heard.time_s()? - first_lost.time_s()?))?;
    ensure!(lost_s <= SYNC_INTERVAL_S + INTERVAL_S, "the power cut cost {lost_s} s, {lost:?}");
    for run in [first_run, second_run] {
        // But for what was made since it stopped.
        let end = last(&live[run])?.seq;
        let unheard: Vec<&u64> = late[run].keys().filter(|seq| **seq <= end && !live[run].contains_key(*seq)).collect();
        ensure!(unheard.is_empty(), "{run}: {unheard:?} did not come to who listened all the time");
    }

    // A frame a second, in spite of outage and jump: no hole in time. That both runs end at the true time was heard live.
    for run in [first, second] {
        for ((_, before), (_, after)) in run.iter().zip(run.iter().skip(1)) {
            let apart = after.time_s()? - before.time_s()?;
            ensure!(apart > 0.0 && apart < INTERVAL_S + LATE_S, "{apart} s between {before:?} and {after:?}");
        }
    }
    let dark_s = second.values().next().context("no frames")?.time_s()? - heard.time_s()?;
    ensure!((0.0..300.0).contains(&dark_s), "{dark_s} s from the power cut to the first frame");
    let redated = second.values().filter(|frame| frame.clock == "redated").count();
    let clocks: BTreeSet<&str> = first.values().chain(second.values()).map(|frame| frame.clock.as_str()).collect();
    ensure!(redated >= 10 && clocks == BTreeSet::from(["redated", "synced"]), "{redated} redated of {clocks:?}");
    Ok(format!(
        "{} frames with readings before the power cut and {} after it, {redated} of them dated by a clock fix; \
         {received} of {numbers} numbers came; the cut cost {} frames, {lost_s:.1} s",
        first.len(),
        second.len(),
        lost.len()
    ))
}

fn last<'a>(run: &BTreeMap<u64, &'a Heard>) -> Result<&'a Heard> {
    run.last_key_value().map(|(_, frame)| *frame).context("no frames")
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
