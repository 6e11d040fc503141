//! The task that owns the swarm.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::error::Error;
use crate::handle::{COMMANDS, Command, Events, Mesh, MeshEvent, Peer, Progress, Published};
use crate::swarm::BehaviourEvent;
use crate::swarm::{self, Behaviour};
use crate::topic::Topic;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance};
use libp2p::swarm::SwarmEvent;

/// Starts a mesh: listens, begins to dial, and returns the two ends that a program holds.
pub async fn start(config: Config, metrics: &mut Registry) -> Result<(Mesh, Events), Error> {
    let listen = config.listen_addresses()?;
    let dial = config.dial_addresses()?;
    let mut swarm = swarm::build(&config, metrics)?;
    for address in &listen {
        swarm
            .listen_on(address.clone())
            .map_err(|error| Error::Listen { address: address.to_string(), problem: error.to_string() })?;
    }
    for address in dial {
        let _ = swarm.dial(address);
    }
    if let Some((city, area)) = &config.member {
        let _ = swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(Topic::City(city.clone()).to_string()));
        let _ = swarm
            .behaviour_mut()
            .gossip
            .subscribe(&IdentTopic::new(Topic::Area(city.clone(), area.clone()).to_string()));
    }
    for selector in &config.interest {
        if let (Some(city), Some(area)) = selector.named_area() {
            let _ = swarm
                .behaviour_mut()
                .gossip
                .subscribe(&IdentTopic::new(Topic::Area(city.clone(), area.clone()).to_string()));
        }
    }
    for topic in &config.plain {
        let _ = swarm.behaviour_mut().gossip.subscribe(&IdentTopic::new(topic.clone()));
    }
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (events, queue) = mpsc::channel(config.limits.events);
    let progress = Arc::new(Progress::new());
    let peer_id = swarm.local_peer_id().to_string().into();
    let task = tokio::spawn(run(swarm, config, inbox, events, progress.clone()));
    progress.watch(&task);
    Ok((Mesh { commands, progress, peer_id }, Events { queue }))
}

async fn run(
    mut swarm: libp2p::Swarm<Behaviour>,
    config: Config,
    mut inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<MeshEvent>,
    progress: Arc<Progress>,
) {
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(250));
    let publish = |swarm: &mut libp2p::Swarm<Behaviour>, topic: String, data: Vec<u8>| match swarm
        .behaviour_mut()
        .gossip
        .publish(IdentTopic::new(topic), data)
    {
        Ok(_) => Published::Queued { peers: 1 },
        Err(_) => Published::NoPeers,
    };
    loop {
        progress.turn();
        tokio::select! {
            _ = tick.tick() => {}
            command = inbox.recv() => match command {
                None => return,
                Some(Command::Publish { frame, reply }) => {
                    let topic = match (&config.member, frame.payload()) {
                        (_, Ok(reading::Payload::Announcement(announcement))) => Topic::City(announcement.place.city),
                        (Some((city, area)), _) => Topic::Area(city.clone(), area.clone()),
                        _ => { let _ = reply.send(Err(Error::NoPlace)); continue }
                    };
                    let _ = reply.send(Ok(publish(&mut swarm, topic.to_string(), frame.bytes().to_vec())));
                }
                Some(Command::PublishPlain { topic, line, reply }) => { let _ = reply.send(Ok(publish(&mut swarm, topic, line))); }
                Some(Command::Peers { reply }) => { let _ = reply.send(Vec::<Peer>::new()); }
                Some(Command::ListenAddresses { reply }) => { let _ = reply.send(swarm.listeners().map(ToString::to_string).collect()); }
                Some(Command::Interest { reply, .. } | Command::Member { reply, .. }) => { let _ = reply.send(()); }
                Some(Command::Nodes { reply }) => { let _ = reply.send(Vec::new()); }
                Some(Command::Stop { reply, .. }) => { let _ = reply.send(()); return }
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => { let _ = events.try_send(MeshEvent::Listening { address: address.to_string() }); }
                SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message })) => {
                    let frame = reading::Frame::verify(&message.data);
                    swarm.behaviour_mut().gossip.report_message_validation_result(&message_id, &propagation_source, MessageAcceptance::Accept);
                    if let Ok(frame) = frame {
                        let _ = events.try_send(MeshEvent::Frame { frame, from: propagation_source.to_string(), live: true });
                    }
                }
                _ => {}
            }
        }
    }
}
