//! A child that is one node among many: it meets the others as in life, publishes, and says what it heard of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bench::clock::{monotonic_us, process_cpu_s};
use bench::load::{self, Source};
use bench::orders::{Expecting, Listening, Order, Orders, Sent, say, ticks};
use bench::tally::SILENCE;
use mesh::{Config, Events, Mesh, MeshEvent, Published};
use prometheus_client::registry::Registry;
use reading::Kind;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::MemberArgs;
use crate::process::Process;

/// How often it is looked whether everybody has met.
const LOOK: Duration = Duration::from_millis(200);
/// For meeting a hundred others on two cores.
const PATIENCE: Duration = Duration::from_secs(90);
/// gossipsub's lower limit: with fewer neighbours it is still looking for more.
const NEIGHBOURS: usize = 3;

/// Everybody is known, and a place in the gossip mesh is found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Met {
    /// Nodes that are known, this one included.
    pub nodes: usize,
}

/// What one node made of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Share {
    /// The frames of others that came, and how long each took, us.
    pub latencies_us: BTreeMap<String, i64>,
    /// What the process computed, in seconds.
    pub cpu_s: f64,
    /// In this time.
    pub seconds: f64,
    /// What the process holds in memory at the end.
    pub rss_bytes: u64,
    /// Whom it is connected with.
    pub connections: usize,
}

pub async fn run(args: MemberArgs) -> Result<()> {
    let mut orders = Orders::read();
    let (mut member, mut events) = Member::start(&args).await?;
    let mut meeting = JoinSet::new();
    meeting.spawn(meet(member.mesh.clone(), args.nodes));
    let mut sending = JoinSet::new();
    loop {
        tokio::select! {
            event = events.next() => member.take(event)?,
            Some(met) = meeting.join_next() => say(&met.context("meeting panicked")??)?,
            Some(sent) = sending.join_next() => say(&sent.context("sending panicked")??)?,
            order = orders.next() => match order? {
                None => return Ok(()),
                Some(Order::Expect { frames }) => {
                    member.expect(frames);
                    say(&Expecting { expecting: frames })?;
                }
                Some(Order::Send { frames, rate }) => {
                    let source = member.source.take().context("this node sends once")?;
                    sending.spawn(send(member.mesh.clone(), source, frames, rate));
                }
                Some(Order::Report) => say(&member.share(&mut events).await?)?,
                Some(order) => bail!("a member does not {order:?}"),
            },
        }
    }
}

struct Member {
    mesh: Mesh,
    /// Until it sends.
    source: Option<Source>,
    expected: u64,
    since_us: i64,
    cpu_s_before: f64,
    latencies_us: BTreeMap<String, i64>,
}

impl Member {
    async fn start(args: &MemberArgs) -> Result<(Self, Events)> {
        let config = Config {
            member: Some(load::place()?),
            interest: vec![format!("{}/#", tests::magpie::PLACE).parse()?],
            connect: args.connect.clone(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            ..Config::new(load::mesh_config(args.number).key)
        };
        let (mesh, events) = mesh::start(config, &mut Registry::default()).await?;
        let addresses = mesh.listen_addresses().await?;
        let mut source = Source::new(args.number)?;
        mesh.publish(source.announcement(&addresses)?).await?;
        say(&Listening { listening: addresses.into_iter().next().context("the mesh listens nowhere")? })?;
        let latencies_us = BTreeMap::new();
        let member = Self { mesh, source: Some(source), expected: 0, since_us: 0, cpu_s_before: 0.0, latencies_us };
        Ok((member, events))
    }

    fn expect(&mut self, frames: u64) {
        self.expected = frames;
        self.latencies_us.clear();
        self.since_us = monotonic_us();
        self.cpu_s_before = process_cpu_s();
    }

    fn take(&mut self, event: Option<MeshEvent>) -> Result<()> {
        match event.context("the mesh has ended")? {
            MeshEvent::Frame { frame, .. } if frame.kind() == Kind::READINGS => {
                let latency_us = monotonic_us() - load::made_us(&frame);
                self.latencies_us.insert(frame.id().to_string(), latency_us);
            }
            MeshEvent::Lagged { dropped } => bail!("{dropped} events were lost within the node"),
            _ => {}
        }
        Ok(())
    }

    /// Waits for what is still on its way.
    async fn share(&mut self, events: &mut Events) -> Result<Share> {
        let (cpu_s, now_us) = (process_cpu_s(), monotonic_us());
        while (self.latencies_us.len() as u64) < self.expected
            && let Ok(event) = timeout(SILENCE, events.next()).await
        {
            self.take(event)?;
        }
        Ok(Share {
            latencies_us: std::mem::take(&mut self.latencies_us),
            cpu_s: cpu_s - self.cpu_s_before,
            seconds: (now_us - self.since_us) as f64 * 1e-6,
            rss_bytes: Process::own().rss_bytes()?,
            connections: self.mesh.peers().await?.len(),
        })
    }
}

/// Waits until all nodes are known and enough of them are neighbours in the gossip mesh.
async fn meet(mesh: Mesh, nodes: usize) -> Result<Met> {
    let neighbours = NEIGHBOURS.min(nodes - 1);
    let end = Instant::now() + PATIENCE;
    loop {
        let known = mesh.nodes().await?.len();
        // In two topics, the city's and the area's, where they need not be the same.
        let close = mesh.peers().await?.iter().map(|peer| peer.mesh_topics).sum::<usize>() / 2;
        if known == nodes && close >= neighbours {
            return Ok(Met { nodes });
        }
        ensure!(Instant::now() < end, "{known} of {nodes} nodes, {close} neighbours after {PATIENCE:?}");
        sleep(LOOK).await;
    }
}

async fn send(mesh: Mesh, mut source: Source, frames: u64, rate: Option<f64>) -> Result<Sent> {
    let (mut ticks, cpu_s) = (ticks(rate), process_cpu_s());
    for _ in 0..frames {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let published = mesh.publish(source.readings()?).await?;
        ensure!(matches!(published, Published::Queued { .. }), "a frame went nowhere: {published:?}");
    }
    Ok(Sent { sent: frames, waits: 0, cpu_s: process_cpu_s() - cpu_s })
}
