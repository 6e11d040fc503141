//! Meshes that find each other over real TCP on loopback.

use std::time::{Duration, Instant};

use crate::support::{LOOPBACK, Running, config, eventually, member, subscriber};
use crate::testing::{Node, key};
use mesh::{Config, Error, MeshEvent, Published, Timing};
use prometheus_client::registry::Registry;

#[tokio::test]
async fn two_nodes_of_one_area_hear_each_other() {
    let (mut a, mut b) = (Node::new(1, "seoul", "jung"), Node::new(2, "seoul", "jung"));
    let all = vec!["+".parse().unwrap()];
    let (mut one, first) = Running::start_node(Config { interest: all.clone(), ..member(&a) }, &mut a).await;
    let dials = Config { interest: all, connect: vec![one.address.clone()], ..member(&b) };
    let (mut two, second) = Running::start_node(dials, &mut b).await;
    one.hears(&second).await;
    two.hears(&first).await;
    one.is_heard_by(&mut a, 1, &mut two).await;
    two.is_heard_by(&mut b, 1, &mut one).await;

    let peers = one.mesh.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!((&peers[0].id, peers[0].dialled), (&b.author.node().to_string(), false));
    eventually("the peer says what it is", async || {
        let peers = one.mesh.peers().await.unwrap();
        peers[0].agent.starts_with("magpie/") && peers[0].rtt.is_some() && peers[0].mesh_topics == 2
    })
    .await;
    assert!(one.mesh.progress() < Duration::from_secs(2));
}

#[tokio::test]
async fn nobody_there_is_not_an_error_and_the_announcement_reaches_who_comes_later() {
    let mut node = Node::new(1, "seoul", "jung");
    let alone = Running::start(member(&node)).await;
    let announcement = node.announcement();
    assert_eq!(alone.mesh.publish(announcement.clone()).await.unwrap(), Published::NoPeers);
    assert_eq!(alone.mesh.publish(node.readings(1)).await.unwrap(), Published::NoPeers);
    let late = Config { connect: vec![alone.address.clone()], ..subscriber(2, "temperature") };
    let mut late = Running::start(late).await;
    late.hears(&announcement).await;
}

#[tokio::test]
async fn a_foreign_frame_and_a_frame_of_nowhere_are_refused() {
    let mut node = Node::new(1, "seoul", "jung");
    let running = Running::start(config(2)).await;
    assert!(matches!(running.mesh.publish(node.readings(1)).await, Err(Error::ForeignFrame { .. })));
    let mut own = Node::new(2, "seoul", "jung");
    assert!(matches!(running.mesh.publish(own.readings(1)).await, Err(Error::NoPlace)));
    assert!(matches!(running.mesh.publish_plain("t", vec![b'x'; 5000]).await, Err(Error::PlainTooLong { .. })));
    assert!(matches!(running.mesh.publish_plain("magpie/1/seoul", vec![]).await, Err(Error::PlainTopic { .. })));
}

#[tokio::test]
async fn of_three_in_a_line_the_last_hears_the_first_again_when_the_middle_is_back() {
    let mut a = Node::new(1, "seoul", "jung");
    let b = Node::new(2, "seoul", "jung");
    let middle_key = member(&b);
    let mut middle = Running::start(middle_key.clone()).await;
    let fixed = middle.address.clone();
    let (first, _) =
        Running::start_node(Config { listen: vec![], connect: vec![fixed.clone()], ..member(&a) }, &mut a).await;
    let mut last = Running::start(Config { connect: vec![fixed.clone()], ..subscriber(3, "temperature") }).await;
    first.is_heard_by(&mut a, 1, &mut last).await;

    middle.mesh.clone().stop(Duration::from_secs(5)).await.unwrap();
    assert!(middle.events.next().await.is_some());
    last.wait_for("the middle gone", |event| matches!(event, MeshEvent::PeerDisconnected { .. }).then_some(())).await;

    let back = Instant::now();
    middle = Running::start(Config { listen: vec![fixed], ..middle_key }).await;
    first.is_heard_by(&mut a, 1, &mut last).await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    eventually("the middle is in the gossip mesh of both again", async || {
        let peers = middle.mesh.peers().await.unwrap();
        peers.len() == 2 && peers.iter().all(|peer| peer.mesh_topics > 0)
    })
    .await;
}

#[tokio::test]
async fn a_subscriber_with_one_address_and_no_city_hears_every_area_also_those_to_come() {
    let mut nodes: Vec<Node> = [("seoul", "jung"), ("seoul", "mapo"), ("busan", "nam")]
        .iter()
        .enumerate()
        .map(|(index, (city, area))| Node::new(u8::try_from(index).unwrap() + 1, city, area))
        .collect();
    let (first, _) = Running::start_node(member(&nodes[0]), &mut nodes[0]).await;
    let entrance = first.address.clone();
    let mut running = vec![first];
    for node in &mut nodes[1..] {
        let config = Config { connect: vec![entrance.clone()], ..member(node) };
        running.push(Running::start_node(config, node).await.0);
    }
    let mut listener = Running::start(Config { connect: vec![entrance.clone()], ..subscriber(9, "temperature") }).await;
    for (node, running) in nodes.iter_mut().zip(&running) {
        running.is_heard_by(node, 1, &mut listener).await;
    }
    let mut newcomer = Node::new(4, "busan", "buk");
    let config = Config { connect: vec![entrance], ..member(&newcomer) };
    let (new, _) = Running::start_node(config, &mut newcomer).await;
    new.is_heard_by(&mut newcomer, 1, &mut listener).await;
}

#[tokio::test]
async fn who_announces_itself_only_after_connecting_is_heard_soon() {
    // With the usual intervals: nothing here may wait for the ten seconds between two looks at a directory.
    let mut node = Node::new(1, "seoul", "jung");
    let middle = Running::start(Config { timing: Timing::default(), ..subscriber_that_listens(2) }).await;
    let side = Config { listen: vec![], connect: vec![middle.address.clone()], timing: Timing::default(), ..config(1) };
    let first = Running::start(side).await;
    let far = Config { connect: vec![middle.address.clone()], timing: Timing::default(), ..subscriber(3, "+") };
    let mut far = Running::start(far).await;
    eventually("both are connected", async || middle.mesh.peers().await.unwrap().len() == 2).await;
    let published = Instant::now();
    let announcement = node.announcement();
    first.mesh.publish(announcement.clone()).await.unwrap();
    far.hears(&announcement).await;
    first.is_heard_by(&mut node, 1, &mut far).await;
    assert!(published.elapsed() < Duration::from_secs(5), "{:?}", published.elapsed());
}

#[tokio::test]
async fn only_what_is_wanted_is_told_and_a_new_interest_tells_what_is_known() {
    let (mut a, mut b) = (Node::new(1, "seoul", "jung"), Node::new(2, "seoul", "mapo"));
    let (one, jung) = Running::start_node(member(&a), &mut a).await;
    let (_two, mapo) = Running::start_node(Config { connect: vec![one.address.clone()], ..member(&b) }, &mut b).await;
    let narrow = Config { connect: vec![one.address.clone()], ..subscriber(3, "seoul/mapo/#") };
    let mut listener = Running::start(narrow).await;
    assert_eq!(listener.hears_until(&mapo).await, [mapo]);
    listener.mesh.interest(vec!["seoul/#".parse().unwrap()]).await.unwrap();
    listener.hears(&jung).await;
    one.is_heard_by(&mut a, 1, &mut listener).await;
}

#[tokio::test]
async fn both_dialling_at_once_end_in_one_working_connection() {
    for round in 0..5 {
        let (mut a, b) = (Node::new(10 + round, "seoul", "jung"), Node::new(20 + round, "seoul", "jung"));
        // Each must know the other's port before the other exists.
        let ports: Vec<String> = [0, 1].iter().map(|_| free_address()).collect();
        let side = |node: &Node, own: &String, other: &String| Config {
            listen: vec![own.clone()],
            connect: vec![other.clone()],
            interest: vec!["+".parse().unwrap()],
            ..member(node)
        };
        let (one, mut two) = tokio::join!(
            Running::start(side(&a, &ports[0], &ports[1])),
            Running::start(side(&b, &ports[1], &ports[0]))
        );
        let announcement = a.announcement();
        one.mesh.publish(announcement).await.unwrap();
        one.is_heard_by(&mut a, 1, &mut two).await;
        assert_eq!((one.mesh.peers().await.unwrap().len(), two.mesh.peers().await.unwrap().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_taken_port_is_given_up_and_said() {
    let first = Running::start(config(1)).await;
    let taken = Config { listen: vec![first.address.clone()], ..config(2) };
    let mut second = Running::start(taken).await;
    let (wanted, instead) = second
        .wait_for("a taken port", |event| match event {
            MeshEvent::PortTaken { wanted, instead } => Some((wanted, instead)),
            _ => None,
        })
        .await;
    assert_eq!((&wanted, &instead), (&first.address, &second.address));
    assert_ne!(wanted, instead);

    // By a program that is none of ours, too.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let third = Running::start(Config { listen: vec![format!("/ip4/127.0.0.1/tcp/{port}")], ..config(3) }).await;
    assert!(!third.address.ends_with(&format!("/{port}")), "{}", third.address);
}

#[tokio::test]
async fn of_two_that_start_at_once_on_one_port_one_gets_it() {
    for round in 0..10 {
        let address = free_address();
        let start = |seed| {
            let config = Config { listen: vec![address.clone()], ..config(seed) };
            tokio::task::spawn(async move { Running::start(config).await })
        };
        let (one, two) = tokio::join!(start(2 * round + 1), start(2 * round + 2));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!([&one, &two].iter().filter(|running| running.address == address).count(), 1);
    }
}

#[tokio::test]
async fn a_name_is_resolved_at_each_dial() {
    let mut node = Node::new(1, "seoul", "jung");
    let (one, announcement) = Running::start_node(member(&node), &mut node).await;
    let named = one.address.replace("/ip4/127.0.0.1/", "/dns4/localhost/");
    let mut listener = Running::start(Config { connect: vec![named], ..subscriber(2, "+") }).await;
    listener.hears(&announcement).await;
}

#[tokio::test]
async fn an_unreachable_address_is_told_once_with_the_reason() {
    let nobody = free_address();
    let mut other = Running::start(config(2)).await;
    let somebody_else = format!("{}/p2p/{}", other.address, key(3).id());
    let nowhere = "/dns4/no..name/tcp/4710".to_owned();
    let config = Config { connect: vec![nobody.clone(), somebody_else, nowhere], ..config(1) };
    let mut running = Running::start(config).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let unreachable = |event| match event {
            MeshEvent::Unreachable { address, problem } => Some((address, problem)),
            _ => None,
        };
        told.push(running.wait_for("an unreachable address", unreachable).await);
    }
    let of =
        |address: &str| told.iter().find(|(told, _)| told == address).map(|(_, problem)| problem.as_str()).unwrap();
    assert!(of(&nobody).contains("refused"), "{told:?}");
    assert!(of(&key(3).id().to_string()).contains(&key(2).id().to_string()), "{told:?}");
    assert!(of("/dns4/no..name/tcp/4710").contains("resolved"), "{told:?}");
    running.counts("dials_total", "outcome=\"failed\"", 6).await;
    other.mesh.stop(Duration::from_secs(5)).await.unwrap();
    while let Some(event) = other.events.next().await {
        assert!(!matches!(event, MeshEvent::Unreachable { .. }));
    }
}

#[tokio::test]
async fn a_bad_address_is_refused_with_its_text_before_anything_opens() {
    let config = Config {
        connect: vec!["10.0.0.1".to_owned(), LOOPBACK.to_owned()],
        listen: vec!["/dns4/x/tcp/1".to_owned()],
        plain: vec![String::new()],
        ..Config::new(key(1))
    };
    assert_eq!(config.check().unwrap_err().len(), 4);
    let error = mesh::start(config, &mut Registry::default()).await.unwrap_err().to_string();
    assert!(error.contains("\"/dns4/x/tcp/1\" cannot be listened on"), "{error}");
}

#[tokio::test]
async fn an_ended_mesh_says_so() {
    let mut node = Node::new(1, "seoul", "jung");
    let mut running = Running::start(Config { timing: Timing::default(), ..member(&node) }).await;
    let handle = running.mesh.clone();
    running.mesh.stop(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(handle.publish(node.announcement()).await, Err(Error::Stopped)));
    assert!(matches!(handle.peers().await, Err(Error::Stopped)));
    while running.events.next().await.is_some() {}
    handle.stop(Duration::from_secs(1)).await.unwrap();
}

fn subscriber_that_listens(seed: u8) -> Config {
    Config { listen: vec![LOOPBACK.to_owned()], ..subscriber(seed, "+") }
}

/// An address that nobody listens on just now.
fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("/ip4/127.0.0.1/tcp/{}", socket.local_addr().unwrap().port())
}
