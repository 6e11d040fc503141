//! The floor: what rust-libp2p takes for the same messages without anything of ours. Defaults of gossipsub, signed
//! messages, TCP, noise and yamux; one behaviour, one topic, payloads of a given length that begin with the time of
//! their sending.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bench::clock::{monotonic_us, process_cpu_s};
use bench::orders::{Followed, Listening, Order, Orders, Sent, say, ticks};
use bench::tally;
use clap::Parser;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, PublishError};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::time::{Instant, sleep_until};

const TOPIC: &str = "floor";
/// A full queue is looked at again after this. It holds far more than leaves meanwhile.
const FULL: Duration = Duration::from_millis(1);
const CONNECTING: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
enum Role {
    Publish {
        #[arg(long)]
        bytes: usize,
        #[arg(long)]
        followers: usize,
    },
    Subscribe {
        #[arg(long)]
        connect: Multiaddr,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Role::parse() {
        Role::Publish { bytes, followers } => publish(swarm()?, bytes, followers).await,
        Role::Subscribe { connect } => subscribe(swarm()?, connect).await,
    }
}

fn swarm() -> Result<Swarm<gossipsub::Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| {
            Ok(gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), gossipsub::Config::default())?)
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(300)))
        .build();
    Ok(swarm)
}

async fn publish(mut swarm: Swarm<gossipsub::Behaviour>, bytes: usize, followers: usize) -> Result<()> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let mut orders = Orders::read();
    let mut followed = 0;
    loop {
        tokio::select! {
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => say(&Listening { listening: address.to_string() })?,
                SwarmEvent::Behaviour(gossipsub::Event::Subscribed { .. }) => {
                    followed += 1;
                    if followed == followers {
                        say(&Followed { followers })?;
                    }
                }
                _ => {}
            },
            order = orders.next() => match order? {
                None => return Ok(()),
                Some(Order::Send { frames, rate }) => say(&send(&mut swarm, bytes, frames, rate).await?)?,
                Some(order) => bail!("a publisher does not {order:?}"),
            },
        }
    }
}

async fn send(swarm: &mut Swarm<gossipsub::Behaviour>, bytes: usize, frames: u64, rate: Option<f64>) -> Result<Sent> {
    let (mut ticks, mut waits, cpu_s) = (ticks(rate), 0, process_cpu_s());
    let mut payload = vec![0; bytes];
    for _ in 0..frames {
        // The swarm moves between two messages, if only for one turn.
        let mut turn = std::pin::pin!(async {
            match &mut ticks {
                Some(ticks) => drop(ticks.tick().await),
                None => tokio::task::yield_now().await,
            }
        });
        drive(swarm, &mut turn).await;
        payload[..8].copy_from_slice(&monotonic_us().to_le_bytes());
        loop {
            match swarm.behaviour_mut().publish(IdentTopic::new(TOPIC), payload.clone()) {
                Ok(_) => break,
                Err(PublishError::AllQueuesFull(_)) => {
                    waits += 1;
                    drive(swarm, sleep_until(Instant::now() + FULL)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Sent { sent: frames, waits, cpu_s: process_cpu_s() - cpu_s })
}

async fn drive(swarm: &mut Swarm<gossipsub::Behaviour>, until: impl Future<Output = ()>) {
    let mut until = std::pin::pin!(until);
    loop {
        tokio::select! {
            biased;
            _ = swarm.select_next_some() => {}
            () = &mut until => return,
        }
    }
}

async fn subscribe(mut swarm: Swarm<gossipsub::Behaviour>, publisher: Multiaddr) -> Result<()> {
    swarm.behaviour_mut().subscribe(&IdentTopic::new(TOPIC))?;
    swarm.dial(publisher.clone())?;
    let connected = async { while !matches!(swarm.next().await, Some(SwarmEvent::ConnectionEstablished { .. })) {} };
    tokio::time::timeout(CONNECTING, connected).await.with_context(|| format!("cannot connect to {publisher}"))?;
    tally::count(Orders::read(), async || {
        loop {
            if let SwarmEvent::Behaviour(gossipsub::Event::Message { message, .. }) = swarm.select_next_some().await {
                let sent_us = message.data.first_chunk();
                ensure!(sent_us.is_some(), "a message of {} bytes", message.data.len());
                return Ok(i64::from_le_bytes(*sent_us.unwrap_or(&[0; 8])));
            }
        }
    })
    .await
}
