//! The city: its networks, its nodes, who follows them, and what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mesh::{ANSWER_BYTES, Config, Events, Mesh, Since};
use prometheus_client::registry::Registry;
use reading::{Epoch, NodeId, NodeKey, Payload};
use tests::netns::{Namespace, Switch};
use tokio::runtime::{Builder, Runtime};

use super::follower::{Follower, Frames, ORDER};
use super::member::{ProcessNode, TaskNode};

const IN_THIS_PROCESS: usize = 45;
const PROCESSES: [&str; 5] = ["p45", "p46", "p47", "p48", "p49"];
const NODES: usize = IN_THIS_PROCESS + PROCESSES.len();
/// 20 % of them are stopped and started again.
const CHURN: usize = NODES / 5;
/// Whom everybody dials, one in each half.
const HUBS: [usize; 2] = [0, 1];
/// The halves, and whoever is behind the slow link.
const NETWORKS: [&str; 3] = ["east", "west", "slow"];
const EAST: u32 = 1;
const SLOW: u32 = 3;
/// Longer than it takes to give up a silent peer: that is what makes a partition.
const APART: Duration = Duration::from_secs(14);
/// What one process may hold with all of that in it: 45 nodes and their stores, four followers, unoptimised.
const MOST_MEMORY: u64 = 512 << 20;
/// How often it is looked whether what is waited for is so.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Stop(usize),
    Start(usize),
    Kill(usize),
    /// With a clock that is off by so many seconds.
    Revive(usize, i64),
    CutInTwo,
    Join,
    SlowWest,
    FastWest,
}

pub(super) struct City {
    random: Random,
    tasks: Vec<TaskNode>,
    processes: Vec<ProcessNode>,
    followers: Vec<Follower>,
    runtimes: Vec<Arc<Runtime>>,
    networks: Vec<Arc<Namespace>>,
    switch: Switch,
}

impl City {
    pub(super) fn new(seed: u64) -> Result<Self> {
        let mut switch = Switch::new()?;
        let (mut networks, mut runtimes) = (Vec::new(), Vec::new());
        for (number, name) in NETWORKS.iter().enumerate() {
            let network = Arc::new(Namespace::new(name)?);
            switch.plug(&network, &format!("{}/24", host(number)))?;
            runtimes.push(Arc::new(runtime(network.clone())?));
            networks.push(network);
        }
        switch.set_rate(SLOW, "1mbit")?;
        let mut city = Self {
            random: Random(seed),
            tasks: Vec::new(),
            processes: Vec::new(),
            followers: Vec::new(),
            runtimes,
            networks,
            switch,
        };
        for number in 0..IN_THIS_PROCESS {
            let runtime = city.runtimes[number % 2].clone();
            let mut node = TaskNode::new(&format!("n{number}"), &address(number), &hubs(number), runtime)?;
            node.start()?;
            city.tasks.push(node);
        }
        for (number, name) in (IN_THIS_PROCESS..).zip(PROCESSES) {
            let network = city.networks[number % 2].clone();
            let mut node = ProcessNode::new(name, address(number), hubs(number), network)?;
            // One has no idea of the time.
            let off = if number == IN_THIS_PROCESS { 60 - i64::try_from(super::now_us() / 1_000_000)? } else { 0 };
            node.start(off)?;
            city.processes.push(node);
        }
        Ok(city)
    }

    /// Adds a follower to a network.
    pub(super) fn follow(&mut self, name: &'static str, network: usize, since: Since) -> Result<()> {
        let key = 100 + u8::try_from(self.followers.len())?;
        let follower = Follower::new(name, key, hubs(NODES), since, &self.runtimes[network])?;
        self.followers.push(follower);
        Ok(())
    }

    /// Waits until every follower has heard every node.
    pub(super) fn all_are_heard(&mut self, patience: Duration) -> Result<()> {
        let nodes = |follower: &Follower| {
            follower.notes().frames.keys().map(|(node, _)| *node).collect::<BTreeSet<NodeId>>().len()
        };
        let began = Instant::now();
        while !self.followers.iter().all(|follower| nodes(follower) == NODES) {
            for (number, node) in self.tasks.iter_mut().enumerate() {
                node.check().with_context(|| format!("node n{number}"))?;
            }
            let heard: Vec<usize> = self.followers.iter().map(nodes).collect();
            ensure!(began.elapsed() < patience, "of {NODES} nodes the followers have heard {heard:?}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// What happens, and when.
    pub(super) fn plan(&mut self) -> Vec<(Duration, Event)> {
        let mut plan = Vec::new();
        let mut churned: Vec<usize> = (0..IN_THIS_PROCESS).collect();
        for _ in 0..CHURN {
            let number = churned.swap_remove(self.random.below(churned.len()));
            let stop = self.random.between(0.0, 20.0);
            plan.push((stop, Event::Stop(number)));
            plan.push((stop + self.random.between(2.0, 8.0), Event::Start(number)));
        }
        for number in 0..PROCESSES.len() {
            let kill = self.random.between(0.0, 22.0);
            plan.push((kill, Event::Kill(number)));
            // Never back: a node that wakes in its own past waits a minute for a time server, and is tested elsewhere.
            let off = [0, 3600, 86_400][self.random.below(3)];
            plan.push((kill + self.random.between(1.0, 4.0), Event::Revive(number, off)));
        }
        let cut = self.random.between(1.0, 6.0);
        plan.extend([(cut, Event::CutInTwo), (cut + APART, Event::Join)]);
        let slow = self.random.between(16.0, 24.0);
        plan.extend([(slow, Event::SlowWest), (slow + Duration::from_secs(5), Event::FastWest)]);
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    pub(super) fn happens(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Stop(number) => self.tasks[number].stop(),
            Event::Start(number) => self.tasks[number].start(),
            Event::Kill(number) => self.processes[number].kill(),
            Event::Revive(number, off) => self.processes[number].start(off),
            Event::CutInTwo => self.switch.set_plugged(EAST, false),
            Event::Join => self.switch.set_plugged(EAST, true),
            Event::SlowWest => self.networks[1].set_rate("eth0", Some("1mbit")),
            Event::FastWest => self.networks[1].set_rate("eth0", None),
        }
    }

    /// Asks every node what it has stored, and waits until every follower has had all of that, each frame once and in order. Nobody has had
    /// what a node then lost: a frame is stored before it is published, and neither an end nor kill -9 costs one.
    pub(super) fn everybody_has_everything_once(&self, patience: Duration) -> Result<String> {
        let began = Instant::now();
        let runtime = &self.runtimes[0];
        let asking = runtime.spawn(everything_stored(patience));
        let Stored { frames: wanted, ended } = runtime.block_on(asking)??;
        let count: usize = wanted.values().map(BTreeSet::len).sum();
        let mut told = format!("{NODES} nodes, {} runs, {count} frames stored", wanted.len());
        for follower in &self.followers {
            while !follower.notes().lacks(&wanted).is_empty() {
                if began.elapsed() > patience {
                    let notes = follower.notes();
                    bail!("{}: {}", follower.name, notes.explain(&notes.lacks(&wanted)));
                }
                thread::sleep(LOOK);
            }
            follower.stop();
            let notes = follower.notes();
            // Writing to a string does not fail.
            let _ = write!(
                told,
                "\n{}: everything after {:.1?}; {} frames, {} late, {} repeats dropped, {} bytes held back at most, {} events lost",
                follower.name,
                follower.began.elapsed(),
                notes.count(),
                notes.late,
                notes.repeats,
                notes.held_bytes,
                notes.events_lost,
            );
            ensure!(notes.twice.is_empty(), "{}: more than once: {:?}", follower.name, notes.twice);
            let lost = notes.lost(&ended, &wanted);
            ensure!(lost.is_empty(), "{}: had what is not stored any more: {lost:?}", follower.name);
            ensure!(notes.disordered.is_empty(), "{}: out of order: {:?}", follower.name, notes.disordered);
            // Two answers of each node may be on their way when the limit is reached.
            ensure!(notes.held_bytes <= ORDER.bytes + 32 * ANSWER_BYTES, "{}: {}", follower.name, notes.held_bytes);
        }
        let memory = most_memory()?;
        ensure!(memory < MOST_MEMORY, "{memory} bytes");
        Ok(format!("{told}\n{} MiB at most in this process", memory >> 20))
    }
}

/// What the nodes have stored of their own.
struct Stored {
    frames: Frames,
    /// Every run but each node's last.
    ended: BTreeSet<(NodeId, Epoch)>,
}

/// What each node says that it has stored of its own: every run, without holes.
async fn everything_stored(patience: Duration) -> Result<Stored> {
    let connect = (0..NODES).map(address).collect();
    let selector = format!("{}/#", tests::magpie::PLACE).parse()?;
    let config = Config { connect, interest: vec![selector], ..Config::new(NodeKey::from_seed([99; 32])) };
    let (mesh, events) = mesh::start(config, &mut Registry::default()).await?;
    let heard = tokio::spawn(listen(events));
    let deadline = Instant::now() + patience;
    let mut stored = Stored { frames: Frames::new(), ended: BTreeSet::new() };
    let (mut told, mut refused) = (BTreeSet::new(), BTreeMap::new());
    while told.len() < NODES {
        ensure!(Instant::now() < deadline, "only {} have told what they have; of the others {refused:?}", told.len());
        for announcement in mesh.nodes().await? {
            let node = announcement.node();
            let Payload::Announcement(about) = announcement.payload()? else { continue };
            if told.contains(&node) {
                continue;
            }
            let summary = match mesh.history_summary(&node.to_string(), node, None).await {
                Ok(summary) => summary,
                Err(error) => {
                    refused.insert(about.place.to_string(), error.to_string());
                    continue;
                }
            };
            refused.remove(&about.place.to_string());
            for run in &summary.runs {
                ensure!(run.first_seq == 1 && run.frames == run.last_seq, "{} has holes: {run:?}", about.place);
                stored.frames.insert((node, run.epoch), (1..=run.last_seq).collect());
            }
            let earlier = summary.runs.iter().rev().skip(1);
            stored.ended.extend(earlier.map(|run| (node, run.epoch)));
            told.insert(node);
        }
        tokio::time::sleep(LOOK).await;
    }
    heard.abort();
    stop(mesh).await?;
    Ok(stored)
}

async fn listen(mut events: Events) {
    while events.next().await.is_some() {}
}

async fn stop(mesh: Mesh) -> Result<()> {
    mesh.stop(Duration::from_secs(10)).await.context("the mesh that asked")
}

/// A runtime whose sockets are in a network.
fn runtime(network: Arc<Namespace>) -> Result<Runtime> {
    // Without it, its sockets would be where everybody's are.
    let enter = move || assert!(network.enter().is_ok(), "a thread cannot enter its network");
    Builder::new_multi_thread().worker_threads(2).on_thread_start(enter).enable_all().build().context("a runtime")
}

fn host(network: usize) -> String {
    format!("10.80.0.{}", network + 1)
}

fn address(number: usize) -> String {
    format!("/ip4/{}/tcp/{}", host(number % 2), 5000 + number)
}

/// Whom a node dials.
fn hubs(number: usize) -> Vec<String> {
    HUBS.into_iter().filter(|hub| *hub != number).map(address).collect()
}

fn most_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Seconds.
    fn between(&mut self, from: f64, to: f64) -> Duration {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(from + part * (to - from))
    }
}
