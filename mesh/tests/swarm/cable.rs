//! A cable that is pulled: a connection of which neither end is told that it is dead.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mesh::{Config, MeshEvent, Timing};

use crate::support::{Running, config, eventually, member, quick, subscriber};
use crate::testing::Node;

const PING: Duration = Duration::from_millis(500);
/// Two pings, and what a loaded machine adds. libp2p alone would need ten seconds more.
const NOTICED: Duration = Duration::from_secs(6);

/// A way to a mesh on which connections can be cut off.
struct Cable {
    address: String,
    pulled: Arc<AtomicU64>,
}

impl Cable {
    fn to(mesh: &str) -> Self {
        let port: u16 = mesh.rsplit('/').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
        let pulled = Arc::new(AtomicU64::new(0));
        let times = pulled.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(("127.0.0.1", port)).unwrap());
                // Whoever connects from now on has a new cable.
                let cable = times.load(Ordering::Relaxed);
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to, times) = (from.try_clone().unwrap(), to.try_clone().unwrap(), times.clone());
                    thread::spawn(move || carry(from, to, || times.load(Ordering::Relaxed) > cable));
                }
            }
        });
        Self { address, pulled }
    }

    /// From now on nothing passes on the connections that there are, not even that one has ended.
    fn pull(&self) -> Instant {
        self.pulled.fetch_add(1, Ordering::Relaxed);
        Instant::now()
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_pulled: impl Fn() -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if !is_pulled() && to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    if is_pulled() {
        // Closed, the other end would hear of it.
        std::mem::forget(to);
    } else {
        // The other end may be gone already.
        let _ = to.shutdown(Shutdown::Both);
    }
}

fn pinging(config: Config) -> Config {
    Config { timing: Timing { ping: PING, ..quick() }, ..config }
}

#[tokio::test]
async fn a_dead_connection_is_given_up_after_two_pings_and_made_anew() {
    let mut node = Node::new(1, "seoul", "jung");
    let (mut near, _) = Running::start_node(pinging(member(&node)), &mut node).await;
    let cable = Cable::to(&near.address);
    let far = Config { connect: vec![cable.address.clone()], ..subscriber(2, "+") };
    let mut far = Running::start(pinging(far)).await;
    near.is_heard_by(&mut node, 1, &mut far).await;

    let pulled = cable.pull();
    for end in [&mut near, &mut far] {
        let gone = |event| matches!(event, MeshEvent::PeerDisconnected { .. }).then_some(());
        end.wait_for("the peer gone", gone).await;
    }
    assert!(pulled.elapsed() < NOTICED, "{:?}", pulled.elapsed());
    near.is_heard_by(&mut node, 1, &mut far).await;
}

#[tokio::test]
async fn a_connection_with_nothing_to_say_lives_on() {
    let listening = Running::start(pinging(config(1))).await;
    let far = Config { connect: vec![listening.address.clone()], ..config(2) };
    let far = Running::start(pinging(far)).await;
    eventually("a connection of many pings", async || {
        far.mesh.peers().await.unwrap().iter().any(|peer| peer.connected_for > 10 * PING)
    })
    .await;
    assert_eq!(far.metric("dials_total", "outcome=\"connected\""), 1);
}
