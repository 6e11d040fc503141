//! A child that publishes frames, as one or many nodes.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bench::clock::process_cpu_s;
use bench::orders::{Followed, Listening, Order, Orders, Sent, say, ticks};
use mesh::{Config, Events, Mesh, Published};
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::args::PublishArgs;
use bench::load::{self, Source};

/// A full queue is looked at again after this. It holds far more than leaves meanwhile.
const FULL: Duration = Duration::from_millis(1);
/// How often followers are looked for.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn run(args: PublishArgs) -> Result<()> {
    let mut orders = Orders::read();
    let mut nodes = Vec::new();
    for number in 0..args.nodes {
        nodes.push(Node::start(number, args.connect.as_ref()).await?);
    }
    for node in &nodes {
        node.wait_for_followers(args.followers).await?;
    }
    say(&Followed { followers: args.followers })?;
    while let Some(order) = orders.next().await? {
        let Order::Send { frames, rate } = order else { bail!("a publisher does not {order:?}") };
        let cpu_s = process_cpu_s();
        let mut sending = JoinSet::new();
        for node in nodes.drain(..) {
            sending.spawn(node.send(frames, rate));
        }
        let (mut sent, mut waits) = (0, 0);
        while let Some(ended) = sending.join_next().await {
            let (node, waited) = ended.context("a publisher panicked")??;
            nodes.push(node);
            sent += frames;
            waits += waited;
        }
        say(&Sent { sent, waits, cpu_s: process_cpu_s() - cpu_s })?;
    }
    Ok(())
}

struct Node {
    mesh: Mesh,
    source: Source,
}

impl Node {
    async fn start(number: u16, connect: Option<&String>) -> Result<Self> {
        let mut source = Source::new(number)?;
        let config = Config {
            member: Some(load::place()?),
            connect: connect.cloned().into_iter().collect(),
            listen: if connect.is_some() { Vec::new() } else { vec!["/ip4/127.0.0.1/tcp/0".to_owned()] },
            ..load::mesh_config(number)
        };
        let (mesh, events) = mesh::start(config, &mut Registry::default()).await?;
        tokio::spawn(drain(events));
        mesh.publish(source.announcement(&[])?).await?;
        if connect.is_none() {
            let listening = mesh.listen_addresses().await?.pop().context("the mesh listens nowhere")?;
            say(&Listening { listening })?;
        }
        Ok(Self { mesh, source })
    }

    async fn wait_for_followers(&self, followers: usize) -> Result<()> {
        let (city, area) = load::place()?;
        let topic = mesh::area_topic(&city, &area);
        let end = Instant::now() + PATIENCE;
        loop {
            let peers = self.mesh.peers().await?;
            let found = peers.iter().filter(|peer| peer.topics.contains(&topic)).count();
            if found >= followers {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{found} of {followers} followers after {PATIENCE:?}");
            sleep(LOOK).await;
        }
    }

    /// Gives how often a message had to wait for room.
    async fn send(mut self, frames: u64, rate: Option<f64>) -> Result<(Self, u64)> {
        let (mut ticks, mut waits) = (ticks(rate), 0);
        for _ in 0..frames {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let frame = self.source.readings()?;
            loop {
                match self.mesh.publish(frame.clone()).await? {
                    Published::Queued { .. } => break,
                    Published::QueuesFull => {
                        waits += 1;
                        sleep(FULL).await;
                    }
                    Published::NoPeers => bail!("the followers have gone"),
                }
            }
        }
        Ok((self, waits))
    }
}

/// A publisher listens to nobody.
async fn drain(mut events: Events) {
    while events.next().await.is_some() {}
}
