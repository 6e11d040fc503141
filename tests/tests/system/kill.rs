//! A node that is killed at random moments, again and again, on the same state.
//!
//! Whatever the moment: the node starts again, no frame's identity is ever given to another frame, and what a
//! subscriber has received is in the store.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use mesh::MeshEvent;
use prometheus_client::registry::Registry;
use reading::{Epoch, EpochRange, Frame, FrameId, NodeKey};
use store::{Options, Store};
use tests::magpie::{self, MEETING, NodeConfig, NodeFiles, PLACE};

const LIVES: u32 = 200;
/// The longest life: it covers the start of the program, the meeting, and some frames.
const LONGEST_LIFE_MS: u64 = 700;
/// Lives that ended before the mesh had met prove little; on a busy machine there are many.
const HEARD_AT_LEAST: usize = 60;
/// The store is looked at from outside this often. In between, the node itself must come to terms with what the kill
/// left.
const LOOK_EVERY: u32 = 10;

#[test]
fn a_node_killed_200_times_loses_nothing_and_repeats_no_identity() -> Result<()> {
    let seed = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let summary = lives(seed).with_context(|| format!("the moments of death came from seed {seed}"))?;
    println!("{summary}");
    Ok(())
}

fn lives(seed: u64) -> Result<String> {
    let subscriber = Subscriber::start()?;
    let files = NodeFiles::new(&NodeConfig {
        listen: "/ip4/127.0.0.1/tcp/0".to_owned(),
        connect: vec![subscriber.address.clone()],
        interval: "50ms",
        chips: vec!["SHT4x"],
        ..NodeConfig::new("mortal")
    })?;
    let memory = tempfile::tempdir_in("/dev/shm").context("no directory in memory")?;
    let mut moments = Moments(seed);
    let mut received = HashMap::new();
    let mut earlier = Vec::new();
    for life in 1..=LIVES {
        // Some lives find what one with a tail left, and have none themselves.
        let mut magpie = magpie::here()?;
        if life % 3 != 0 {
            magpie.env("MAGPIE_STORE__RUNTIME_DIRECTORY", memory.path());
        }
        let mut node = files.simulate(magpie)?;
        thread::sleep(Duration::from_millis(moments.next() % LONGEST_LIFE_MS));
        ensure!(node.is_running(), "in life {life} the node ended by itself\n{}", node.tail());
        node.kill()?;
        if life % LOOK_EVERY == 0 {
            subscriber.take_into(&mut received)?;
            earlier = look(&files, memory.path(), &received, &earlier).with_context(|| format!("after life {life}"))?;
        }
    }

    // One life to the end, so that the last of the others' frames have come too.
    let node = files.simulate(magpie::here()?)?;
    let last_epoch = subscriber.wait_for_another_epoch(&mut received, &earlier)?;
    node.kill()?;
    let ranges = look(&files, memory.path(), &received, &earlier)?;

    ensure!(ranges.iter().any(|range| range.epoch == last_epoch));
    let heard = received.keys().map(|id| id.epoch).collect::<HashSet<_>>().len();
    ensure!(heard >= HEARD_AT_LEAST, "only {heard} of {LIVES} lives were long enough to be heard: nothing is proven");
    Ok(format!("{} frames of {heard} lives received; the store has {} runs", received.len(), ranges.len()))
}

/// Opens the store that a kill left, and compares it with what was received and with what was in it before.
fn look(
    files: &NodeFiles,
    memory: &Path,
    received: &HashMap<FrameId, Frame>,
    earlier: &[EpochRange],
) -> Result<Vec<EpochRange>> {
    let mut store = Store::open(&files.store(), Options::default()).context("the store does not open")?;
    store.keep_tail(memory)?;
    for (id, frame) in received {
        let stored = store.get(*id)?.with_context(|| format!("{id} was received but is not in the store"))?;
        ensure!(stored.bytes() == frame.bytes(), "{id} was received and stored with different content");
    }
    let [node] = store.nodes()?[..] else { anyhow::bail!("the store has frames of {:?}", store.nodes()?) };
    let ranges = store.epochs(node)?;
    for range in &ranges {
        let whole = range.first_seq == 1 && range.frames == range.last_seq;
        ensure!(whole, "the store has holes: {range:?}");
    }
    // A run that was over stays as it was: no later life has taken its epoch again.
    ensure!(ranges.starts_with(earlier), "earlier runs changed");
    ensure!(store.damaged() == 0);
    store.close()?;
    Ok(ranges)
}

/// A peer that listens on a port of its own, so that the node can dial it the moment it lives.
struct Subscriber {
    address: String,
    frames: Receiver<Frame>,
}

impl Subscriber {
    fn start() -> Result<Self> {
        let (frames, received) = channel();
        let (addresses, listening) = channel();
        // The thread ends with the test's process.
        thread::spawn(move || {
            let failed = addresses.clone();
            listen(&addresses, &frames).or_else(|error| failed.send(Err(error)))
        });
        let address = listening.recv_timeout(MEETING).context("the subscriber does not listen")??;
        Ok(Self { address, frames: received })
    }

    fn take_into(&self, received: &mut HashMap<FrameId, Frame>) -> Result<()> {
        self.frames.try_iter().try_for_each(|frame| keep(received, frame))
    }

    /// Waits for a frame of a run that is not among `earlier`, and that no frame was received of yet.
    fn wait_for_another_epoch(&self, received: &mut HashMap<FrameId, Frame>, earlier: &[EpochRange]) -> Result<Epoch> {
        self.take_into(received)?;
        loop {
            let frame = self.frames.recv_timeout(MEETING).context("the last life is not heard")?;
            let epoch = frame.epoch();
            keep(received, frame)?;
            if earlier.iter().all(|range| range.epoch != epoch) {
                return Ok(epoch);
            }
        }
    }
}

/// Joins the mesh and passes on where it listens and what it hears.
fn listen(addresses: &Sender<Result<String>>, frames: &Sender<Frame>) -> Result<()> {
    let config = mesh::Config {
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        interest: vec![format!("{PLACE}/+/+").parse()?],
        ..mesh::Config::new(NodeKey::from_seed([11; 32]))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (_mesh, mut events) = mesh::start(config, &mut Registry::default()).await?;
        while let Some(event) = events.next().await {
            match event {
                MeshEvent::Listening { address } => addresses.send(Ok(address))?,
                MeshEvent::Frame { frame, .. } => frames.send(frame)?,
                _ => {}
            }
        }
        Ok(())
    })
}

fn keep(received: &mut HashMap<FrameId, Frame>, frame: Frame) -> Result<()> {
    let id = frame.id();
    let other = received.insert(id, frame.clone()).filter(|other| other.bytes() != frame.bytes());
    ensure!(other.is_none(), "{id} was received with two contents");
    Ok(())
}

/// When to kill, from a seed: SplitMix64 (Steele, Lea, Flood 2014).
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
