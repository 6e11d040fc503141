//! A child that wants every frame of the nodes it hears, from the first on and in order, as `magpie sub --since` does, and shows nothing.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use bench::clock::{monotonic_us, process_cpu_s};
use bench::load;
use bench::orders::{Holding, Order, Orders, say};
use mesh::{Config, MeshEvent, Next, Ranges, Replay, ReplayConfig};
use prometheus_client::registry::Registry;
use reading::{Epoch, Frame, Selector};

use crate::process::Process;

pub async fn run(node: String) -> Result<()> {
    let mut orders = Orders::read();
    let selectors: Vec<Selector> = vec![format!("{}/#", tests::magpie::PLACE).parse()?];
    let config = Config { connect: vec![node], interest: selectors.clone(), ..load::mesh_config(0) };
    let (mesh, events) = mesh::start(config, &mut Registry::default()).await?;
    let mut replay = Replay::new(mesh, events, ReplayConfig { selectors, ..ReplayConfig::default() });
    let mut held = Held::default();
    loop {
        tokio::select! {
            next = replay.next() => match next? {
                Next::Frame { frame, .. } => held.take(&frame)?,
                Next::Event(MeshEvent::PeerConnected { .. }) => held.connected_us = monotonic_us(),
                Next::Event(MeshEvent::Lagged { dropped }) => bail!("{dropped} events were lost within the follower"),
                Next::Event(_) | Next::Settled => {}
            },
            order = orders.next() => match order? {
                None => return Ok(()),
                Some(Order::Hold { frames }) => {
                    held.wanted = Some(frames);
                    held.tell()?;
                }
                Some(order) => bail!("a follower does not {order:?}"),
            },
        }
    }
}

/// What came, by run.
#[derive(Default)]
struct Held {
    runs: BTreeMap<Epoch, Ranges>,
    connected_us: i64,
    /// How many frames of one run, from the first on, are to be told of.
    wanted: Option<u64>,
}

impl Held {
    fn take(&mut self, frame: &Frame) -> Result<()> {
        let run = self.runs.entry(frame.epoch()).or_default();
        if run.contains(frame.seq()) {
            bail!("{} came twice", frame.id());
        }
        run.insert(frame.seq()..=frame.seq());
        self.tell()
    }

    /// Frames of the most complete run, from the first on.
    fn most(&self) -> u64 {
        let firsts = self.runs.values().filter_map(|run| run.iter().next());
        firsts.filter(|range| *range.start() == 1).map(|range| *range.end()).max().unwrap_or(0)
    }

    fn tell(&mut self) -> Result<()> {
        let holding = self.most();
        if self.wanted.take_if(|wanted| *wanted <= holding).is_some() {
            say(&Holding {
                holding,
                held_us: monotonic_us(),
                connected_us: self.connected_us,
                cpu_s: process_cpu_s(),
                peak_rss_bytes: Process::own().peak_rss_bytes()?,
            })?;
        }
        Ok(())
    }
}
