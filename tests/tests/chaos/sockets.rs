//! The shipped binary over real TCP that loses packets, with faults on top: a late `magpie sub --since` has everything once.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reading::{Payload, Readings};
use rustix::process::Signal;
use serde_json::Value;
use store::{Options, Store};
use tempfile::TempDir;
use tests::magpie::{self, NodeConfig, NodeFiles};
use tests::netns::{Namespace, Switch, cable};
use tests::program::Program;
use tests::proxy::Proxy;

/// Everything comes within this, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longer than it takes to give up a silent peer, two pings: that is what makes an outage.
const APART: Duration = Duration::from_secs(12);
const STOPPING: Duration = Duration::from_secs(30);
const NAMES: [&str; 10] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"];
const SUBSCRIBER: &str = "10.70.0.100/24";

/// A reading: the node's PeerId, the run, the frame, the quantity.
type Id = (String, String, u64, String);

#[test]
fn ten_nodes_that_lose_a_tenth_of_all_packets_with_a_kill_a_partition_a_slow_and_a_stalled_way() -> Result<()> {
    let mut city = City::new(10, 10)?;
    // One of them is behind something that takes its time.
    let far = city.add_far("far", Duration::from_millis(150))?;
    city.all_are_heard()?;

    city.machines[3].kill()?;
    city.switch.set_plugged(8, false)?;
    city.machines[5].network.set_rate("eth0", Some("64kbit"))?;
    far.set_stalled(true);
    thread::sleep(APART);
    city.machines[3].start()?;
    far.set_stalled(false);
    city.switch.set_plugged(8, true)?;
    city.machines[5].network.set_rate("eth0", None)?;
    city.machines[6].kill()?;
    city.machines[6].start()?;
    println!("{}", city.late_subscriber_has_everything()?);
    Ok(())
}

#[test]
fn three_nodes_that_lose_three_packets_of_ten() -> Result<()> {
    let mut city = City::new(3, 30)?;
    city.all_are_heard()?;
    city.switch.set_plugged(2, false)?;
    city.machines[2].kill()?;
    thread::sleep(APART);
    city.machines[2].start()?;
    city.switch.set_plugged(2, true)?;
    println!("{}", city.late_subscriber_has_everything()?);
    Ok(())
}

/// Machines on one Ethernet.
struct City {
    switch: Switch,
    percent: u32,
    machines: Vec<Machine>,
    networks: Vec<Arc<Namespace>>,
    subscriber: Arc<Namespace>,
    connect: Vec<String>,
}

/// One with a node.
struct Machine {
    network: Arc<Namespace>,
    files: NodeFiles,
    node: Option<Program>,
}

impl City {
    fn new(nodes: usize, percent: u32) -> Result<Self> {
        let mut switch = Switch::new()?;
        let mut networks = Vec::new();
        for (number, name) in NAMES.iter().enumerate().take(nodes) {
            let network = Arc::new(Namespace::new(name)?);
            switch.plug(&network, &format!("{}/24", host(number)))?;
            network.set_loss("eth0", percent)?;
            networks.push(network);
        }
        let subscriber = Arc::new(Namespace::new("subscriber")?);
        switch.plug(&subscriber, SUBSCRIBER)?;
        subscriber.set_loss("eth0", percent)?;
        let connect = (0..nodes).map(address).collect();
        let mut city = Self { switch, percent, machines: Vec::new(), networks, subscriber, connect };
        for (number, name) in NAMES.iter().enumerate().take(nodes) {
            let connect = (0..2).filter(|hub| *hub != number).map(address).collect();
            let network = city.networks[number].clone();
            city.machines.push(Machine::new(network, NodeConfig { connect, ..config(name) })?);
        }
        Ok(city)
    }

    /// A node that is reached through another machine only.
    fn add_far(&mut self, name: &'static str, delay: Duration) -> Result<Proxy> {
        let (relay, far) = (Arc::new(Namespace::new("relay")?), Arc::new(Namespace::new("far")?));
        self.switch.plug(&relay, "10.70.0.90/24")?;
        relay.set_loss("eth0", self.percent)?;
        cable("far", [(&relay, "10.71.0.1/24"), (&far, "10.71.0.2/24")])?;
        let socket = |address: &str| -> Result<SocketAddr> { Ok(format!("{address}:4710").parse()?) };
        let proxy = Proxy::new(delay);
        proxy.carry(&relay, socket("10.70.0.90")?, socket("10.71.0.2")?)?;
        proxy.carry(&relay, socket("10.71.0.1")?, socket(&host(0))?)?;
        let connect = vec!["/ip4/10.71.0.1/tcp/4710".to_owned()];
        let announce = vec!["/ip4/10.70.0.90/tcp/4710".to_owned()];
        self.connect.extend(announce.clone());
        self.machines.push(Machine::new(far, NodeConfig { connect, announce, ..config(name) })?);
        self.networks.push(relay);
        Ok(proxy)
    }

    /// Waits until a subscriber has heard every node.
    fn all_are_heard(&self) -> Result<()> {
        let subscriber = self.subscribe(&["temperature"])?;
        let mut silent: BTreeSet<&str> = self.machines.iter().map(|machine| machine.files.name()).collect();
        subscriber.wait_for_json("every node", PATIENCE, |line| {
            let name = line["path"].as_str().and_then(|path| path.split('/').nth(2)).unwrap_or_default();
            silent.remove(name);
            silent.is_empty()
        })?;
        Ok(())
    }

    fn late_subscriber_has_everything(&mut self) -> Result<String> {
        let mut expected = BTreeSet::new();
        for machine in &self.machines {
            expected.extend(machine.readings().with_context(|| format!("the store of {}", machine.files.name()))?);
        }
        ensure!(!expected.is_empty());
        let began = Instant::now();
        let mut late = self.subscribe(&["#", "--since", "1h"])?;
        let (mut lacks, mut seen, mut twice) = (expected.clone(), BTreeSet::new(), Vec::new());
        let mut take = |line: &str| {
            if let Some(id) = serde_json::from_str(line).ok().as_ref().and_then(id) {
                lacks.remove(&id);
                if let Some(repeated) = seen.replace(id) {
                    twice.push(repeated);
                }
            }
            lacks.is_empty()
        };
        let all = late.wait_for("everything", PATIENCE, |line| take(line).then_some(()));
        let took = began.elapsed();
        late.signal(Signal::INT)?;
        for line in late.rest(STOPPING)? {
            take(&line);
        }
        all.with_context(|| format!("of {} readings it has not {lacks:?}", expected.len()))?;
        ensure!(twice.is_empty(), "more than once: {twice:?}\n{}", late.tail());
        // What was on its way in that moment may be missing, and is said to be then.
        let ended = late.wait_exit(STOPPING)?;
        ensure!(matches!(ended.code(), Some(0 | 4)), "it ended with {ended}: {}", late.tail());
        Ok(format!(
            "{} nodes, {} % of all packets lost: {} readings, each once after {took:.1?}\n{}",
            self.machines.len(),
            self.percent,
            expected.len(),
            late.tail().lines().filter(|line| line.contains("magpie: received")).collect::<String>()
        ))
    }

    fn subscribe(&self, arguments: &[&str]) -> Result<Program> {
        let connect = self.connect.iter().flat_map(|address| ["--connect", address]);
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--no-mdns"]).chain(connect).collect();
        magpie::subscribe(magpie::within(&self.subscriber)?, &arguments)
    }
}

impl Machine {
    fn new(network: Arc<Namespace>, config: NodeConfig) -> Result<Self> {
        let files = NodeFiles::new(&config)?;
        let mut machine = Self { network, files, node: None };
        machine.start()?;
        Ok(machine)
    }

    fn start(&mut self) -> Result<()> {
        self.node = Some(self.files.simulate(magpie::within(&self.network)?)?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.node.take().map_or(Ok(()), Program::kill)
    }

    /// What the node has stored by now.
    fn readings(&self) -> Result<BTreeSet<Id>> {
        let copy = TempDir::with_prefix("magpie-chaos-")?;
        let node = self.node.as_ref().context("it does not live")?;
        node.standing_still(|| {
            for name in ["frames.db", "frames.db-wal"] {
                fs::copy(self.files.state().join(name), copy.path().join(name)).context(name)?;
            }
            Ok(())
        })?;
        let store = Store::open(&copy.path().join("frames.db"), Options::default())?;
        let mut ids = BTreeSet::new();
        for node in store.nodes()? {
            for run in store.epochs(node)? {
                ensure!(run.first_seq == 1 && run.frames == run.last_seq, "it has holes: {run:?}");
                let batch = store.range(node, run.epoch, 1..=run.last_seq, usize::MAX)?;
                for frame in batch.frames {
                    let Payload::Readings(Readings { readings, .. }) = frame.payload()? else { continue };
                    let id = |quantity: String| (node.to_string(), run.epoch.to_string(), frame.seq(), quantity);
                    ids.extend(readings.iter().map(|reading| id(reading.quantity.to_string())));
                }
            }
        }
        Ok(ids)
    }
}

fn config(name: &'static str) -> NodeConfig {
    NodeConfig { interval: "500ms", chips: vec!["SHT4x"], ..NodeConfig::new(name) }
}

fn host(number: usize) -> String {
    format!("10.70.0.{}", number + 1)
}

fn address(number: usize) -> String {
    format!("/ip4/{}/tcp/4710", host(number))
}

fn id(line: &Value) -> Option<Id> {
    let text = |key: &str| line[key].as_str().map(str::to_owned);
    let quantity = line["path"].as_str()?.rsplit('/').next()?.to_owned();
    Some((text("node")?, text("epoch")?, line["seq"].as_u64()?, quantity))
}
