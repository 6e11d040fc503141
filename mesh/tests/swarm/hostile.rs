//! Peers that send what they should not, over a gossipsub of their own without any of our care.

use std::time::Duration;

use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identity, noise, request_response, tcp, yamux};
use mesh::{Config, Limits, MeshEvent, Published};
use reading::Frame;

use crate::support::{PATIENCE, Running, config, eventually, member, subscriber};
use crate::testing::Node;

const CITY: &str = "magpie/1/seoul";
const AREA: &str = "magpie/1/seoul/jung";

#[derive(NetworkBehaviour)]
struct Raw {
    gossip: gossipsub::Behaviour,
    directory: request_response::Behaviour<Bytes>,
}

/// A peer that publishes whatever it is told to.
struct Stranger {
    swarm: Swarm<Raw>,
    /// What it answers when it is asked for its directory.
    answer: Vec<u8>,
}

impl Stranger {
    /// Connects with the key of `seed`, and waits until the other end follows both topics.
    async fn meet(seed: u8, other: &Running) -> Self {
        let key = identity::Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        let settings = gossipsub::ConfigBuilder::default()
            .heartbeat_interval(Duration::from_millis(100))
            .validation_mode(ValidationMode::Strict)
            .max_transmit_size(256 * 1024)
            .build()
            .unwrap();
        let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), settings).unwrap();
        for topic in [CITY, AREA, "temperature"] {
            gossip.subscribe(&IdentTopic::new(topic)).unwrap();
        }
        let directory = request_response::Behaviour::new(
            [("/magpie/directory/1", request_response::ProtocolSupport::Full)],
            request_response::Config::default(),
        );
        let mut swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| Raw { gossip, directory })
            .unwrap()
            .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        swarm.dial(other.address.parse::<Multiaddr>().unwrap()).unwrap();
        let mut stranger = Self { swarm, answer: Vec::new() };
        stranger.turn_until(|swarm| swarm.behaviour().gossip.all_peers().any(|(_, topics)| topics.len() >= 2)).await;
        stranger
    }

    async fn turn_until(&mut self, enough: impl Fn(&Swarm<Raw>) -> bool) {
        tokio::time::timeout(PATIENCE, async {
            while !enough(&self.swarm) {
                let event = self.swarm.select_next_some().await;
                self.answer_request(event);
            }
        })
        .await
        .expect("the other end follows the topics");
    }

    fn answer_request(&mut self, event: SwarmEvent<RawEvent>) {
        if let SwarmEvent::Behaviour(RawEvent::Directory(request_response::Event::Message {
            message: request_response::Message::Request { channel, .. },
            ..
        })) = event
        {
            let _ = self.swarm.behaviour_mut().directory.send_response(channel, self.answer.clone());
        }
    }

    fn publish(&mut self, topic: &str, data: impl Into<Vec<u8>>) {
        self.swarm.behaviour_mut().gossip.publish(IdentTopic::new(topic), data).unwrap();
    }

    /// Sends one request for a directory. Whether it was answered.
    async fn asks(&mut self, request: &[u8]) -> bool {
        let peer = *self.swarm.connected_peers().next().unwrap();
        self.swarm.behaviour_mut().directory.send_request(&peer, request.to_vec());
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(RawEvent::Directory(request_response::Event::Message {
                    message: request_response::Message::Response { response, .. },
                    ..
                })) if !response.is_empty() => return true,
                SwarmEvent::Behaviour(RawEvent::Directory(
                    request_response::Event::Message { message: request_response::Message::Response { .. }, .. }
                    | request_response::Event::OutboundFailure { .. },
                )) => return false,
                event => self.answer_request(event),
            }
        }
    }

    /// Turns until `done`, which looks at the other side.
    async fn turn_while<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                done = &mut done => return done,
                event = self.swarm.select_next_some() => self.answer_request(event),
            }
        }
    }
}

/// A node of seoul/jung that also tells what it hears.
async fn host(limits: Limits) -> (Running, Node) {
    let mut node = Node::new(1, "seoul", "jung");
    let config = Config { interest: vec!["+".parse().unwrap()], limits, ..member(&node) };
    let (running, _) = Running::start_node(config, &mut node).await;
    (running, node)
}

#[tokio::test]
async fn bad_frames_are_counted_by_reason_not_delivered_and_good_ones_still_are() {
    let (mut host, _) = host(Limits::default()).await;
    let mut node = Node::new(7, "seoul", "jung");
    let mut other = Node::new(8, "seoul", "jung");
    let mut stranger = Stranger::meet(7, &host).await;
    let announcement = node.announcement();
    let good = node.readings(1);
    let mut forged = node.readings(1).bytes().to_vec();
    forged[50] ^= 1;
    let mut newer = node.readings(1).bytes().to_vec();
    newer[0] = 2;
    stranger.publish(CITY, announcement.bytes());
    stranger.publish(AREA, vec![1; 500]);
    stranger.publish(AREA, vec![1; 20_000]);
    stranger.publish(AREA, forged);
    stranger.publish(AREA, other.readings(1).bytes());
    stranger.publish(AREA, node.broken_readings().bytes());
    stranger.publish(CITY, node.readings(1).bytes());
    stranger.publish(AREA, newer);
    stranger.publish(AREA, good.bytes());
    stranger.publish(AREA, good.bytes());
    let last = node.unknown_kind();
    stranger.publish(AREA, last.bytes());
    let heard = stranger.turn_while(host.hears_until(&last)).await;
    let own = node.author.node();
    let heard: Vec<Frame> = heard.into_iter().filter(|frame| frame.node() == own).collect();
    assert_eq!(heard, [announcement, good, last]);
    for (verdict, reason) in [
        ("rejected", "malformed"),
        ("rejected", "size"),
        ("rejected", "forged"),
        ("rejected", "foreign"),
        ("rejected", "payload"),
        ("rejected", "topic"),
        ("ignored", "version"),
        ("ignored", "replayed"),
    ] {
        let labels = format!("verdict=\"{verdict}\",reason=\"{reason}\"");
        assert_eq!(host.metric("frames_total", &labels), 1, "{labels}");
    }
    assert_eq!(host.metric("frames_total", "reason=\"new\""), 3);
}

#[tokio::test]
async fn a_message_beyond_gossips_own_limit_costs_the_sender_its_stream_and_nobody_else() {
    let (mut host, _) = host(Limits::default()).await;
    let mut node = Node::new(7, "seoul", "jung");
    let mut honest = Stranger::meet(7, &host).await;
    let mut fat = Stranger::meet(8, &host).await;
    fat.publish(AREA, vec![1; 200_000]);
    let frame = node.readings(1);
    honest.publish(AREA, frame.bytes());
    let both = async {
        tokio::join!(fat.turn_while(std::future::pending::<()>()), honest.turn_while(std::future::pending::<()>()))
    };
    tokio::select! {
        () = host.hears(&frame) => {}
        _ = both => unreachable!("strangers never end"),
    }
}

#[tokio::test]
async fn what_is_not_understood_is_forwarded_and_what_is_of_a_newer_version_is_not() {
    // The relay stands between: it joins the area, and the far end reaches the stranger through it only.
    let relay = Running::start(member(&Node::new(1, "seoul", "jung"))).await;
    let far = Config { connect: vec![relay.address.clone()], ..subscriber(2, "seoul/jung/#") };
    let mut far = Running::start(far).await;
    relay.is_followed(AREA).await;
    let mut node = Node::new(7, "seoul", "jung");
    let mut stranger = Stranger::meet(7, &relay).await;
    let mut newer = node.readings(1).bytes().to_vec();
    newer[0] = 2;
    stranger.publish(AREA, newer);
    stranger.turn_while(relay.counts("frames_total", "reason=\"version\"", 1)).await;
    let unknown = node.unknown_kind();
    stranger.publish(AREA, unknown.bytes());
    stranger.turn_while(far.hears(&unknown)).await;
    assert_eq!(far.metric("frames_total", "reason=\"version\""), 0);
    assert_eq!(relay.metric("frames_total", "reason=\"new\""), 1);
}

#[tokio::test]
async fn an_author_who_floods_is_shut_out_others_are_heard_and_it_is_let_in_again() {
    let limits = Limits {
        author_rate: 20,
        author_burst: 50,
        author_strikes: 50,
        blacklist_for: Duration::from_secs(2),
        ..Limits::default()
    };
    let (mut host, _) = host(limits).await;
    let mut flooder = Node::new(7, "seoul", "jung");
    let mut steady = Node::new(8, "seoul", "jung");
    let mut flood = Stranger::meet(7, &host).await;
    let mut honest = Stranger::meet(8, &host).await;
    for _ in 0..150 {
        flood.publish(AREA, flooder.readings(1).bytes());
    }
    flood.turn_while(host.counts("blacklistings_total", "", 1)).await;
    assert!(host.metric("frames_total", "verdict=\"accepted\"") < 60);
    let frame = steady.readings(1);
    honest.publish(AREA, frame.bytes());
    honest.turn_while(host.hears(&frame)).await;
    flood.turn_while(eventually("let in again", async || host.metric("blacklisted", "") == 0)).await;
    let frame = flooder.readings(1);
    flood.publish(AREA, frame.bytes());
    flood.turn_while(host.hears(&frame)).await;
}

#[tokio::test]
async fn a_directory_of_rubbish_is_counted_and_the_rest_of_it_is_taken() {
    let (mut host, _) = host(Limits::default()).await;
    let mut honest = Node::new(9, "seoul", "mapo");
    let announcement = honest.announcement();
    let mut stranger = Stranger::meet(7, &host).await;
    // next = 1, more = false, then each frame behind its length.
    let mut answer = vec![1, 0];
    for frame in [&[1; 100][..], honest.readings(1).bytes(), announcement.bytes()] {
        answer.push(u8::try_from(frame.len() & 0x7f | 0x80).unwrap());
        answer.push(u8::try_from(frame.len() >> 7).unwrap());
        answer.extend(frame);
    }
    // 100 takes one byte of length only.
    answer.remove(3);
    answer[2] = 100;
    stranger.answer = answer;
    let heard = stranger.turn_while(host.hears_until(&announcement)).await;
    assert!(heard.iter().all(|frame| frame.node() != honest.author.node() || *frame == announcement));
    stranger.answer = vec![0xff; 300_000];
    stranger.turn_while(host.counts("directory_requests_total", "outcome=\"failed\"", 1)).await;
}

#[tokio::test]
async fn who_asks_for_the_directory_too_often_is_not_answered_for_a_while() {
    let (host, _) = host(Limits::default()).await;
    let mut stranger = Stranger::meet(7, &host).await;
    let mut answered = 0;
    while stranger.asks(&[0, 0]).await {
        answered += 1;
    }
    assert!((128..200).contains(&answered), "{answered}");
    host.counts("directory_requests_total", "outcome=\"refused\"", 1).await;
    assert_eq!(host.mesh.peers().await.unwrap().len(), 1);
}

#[tokio::test]
async fn plain_lines_come_and_go_and_long_ones_do_not() {
    let mut host = Running::start(Config { plain: vec!["temperature".to_owned()], ..config(1) }).await;
    let mut stranger = {
        let mut node = Node::new(1, "seoul", "jung");
        host.mesh.publish(node.announcement()).await.unwrap();
        Stranger::meet(7, &host).await
    };
    stranger.publish("temperature", vec![b'9'; 4097]);
    stranger.publish("temperature", "23.5\n");
    let heard = host.wait_for("a plain line", |event| match event {
        MeshEvent::Plain { topic, source, data } => Some((topic, source, data)),
        _ => None,
    });
    let (topic, source, data) = stranger.turn_while(heard).await;
    let id = Node::new(7, "seoul", "jung").author.node().to_string();
    assert_eq!((topic.as_str(), source, &data[..]), ("temperature", Some(id), &b"23.5\n"[..]));
    assert_eq!(host.metric("plain_messages_total", "reason=\"size\""), 1);
    let published = host.mesh.publish_plain("temperature", b"24.5\n".to_vec()).await.unwrap();
    assert_eq!(published, Published::Queued { peers: 1 });
}

#[tokio::test]
async fn a_program_that_listens_too_slowly_is_told_so() {
    let (mut host, _) = host(Limits { events: 4, ..Limits::default() }).await;
    let mut node = Node::new(7, "seoul", "jung");
    let mut stranger = Stranger::meet(7, &host).await;
    for _ in 0..50 {
        stranger.publish(AREA, node.readings(1).bytes());
    }
    stranger.turn_while(host.counts("frames_total", "reason=\"new\"", 50)).await;
    let lagged = |event| if let MeshEvent::Lagged { dropped } = event { Some(dropped) } else { None };
    let dropped = stranger.turn_while(host.wait_for("a confession", lagged)).await;
    assert!(dropped >= 40, "{dropped}");
    assert_eq!(host.metric("events_dropped_total", ""), dropped);
}

/// Requests and responses as bare bytes.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl request_response::Codec for Bytes {
    type Protocol = &'static str;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &&'static str, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: libp2p::futures::AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &&'static str, io: &mut T) -> std::io::Result<Vec<u8>>
    where
        T: libp2p::futures::AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &&'static str, io: &mut T, bytes: Vec<u8>) -> std::io::Result<()>
    where
        T: libp2p::futures::AsyncWrite + Unpin + Send,
    {
        libp2p::futures::AsyncWriteExt::write_all(io, &bytes).await
    }

    async fn write_response<T>(&mut self, _: &&'static str, io: &mut T, bytes: Vec<u8>) -> std::io::Result<()>
    where
        T: libp2p::futures::AsyncWrite + Unpin + Send,
    {
        libp2p::futures::AsyncWriteExt::write_all(io, &bytes).await
    }
}

async fn read<T: libp2p::futures::AsyncRead + Unpin + Send>(io: &mut T) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    libp2p::futures::AsyncReadExt::read_to_end(io, &mut bytes).await?;
    Ok(bytes)
}
