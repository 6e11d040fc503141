//! A way between two networks that takes time, and now and then takes nothing: not every kernel can delay packets itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// Pieces on their way in one direction of one connection; beyond, the sender has to wait, as for a full buffer.
const ON_THE_WAY: usize = 64;
const PIECE_BYTES: usize = 16 * 1024;

/// Carries TCP connections on. It goes on until the test's process ends, or its networks do.
#[derive(Clone)]
pub struct Proxy {
    way: Arc<Way>,
}

struct Way {
    delay: Duration,
    stalled: Mutex<bool>,
    changed: Condvar,
}

impl Proxy {
    /// A way with this delay in each direction.
    pub fn new(delay: Duration) -> Self {
        Self { way: Arc::new(Way { delay, stalled: Mutex::new(false), changed: Condvar::new() }) }
    }

    /// Takes connections to `listen` in a namespace and carries them on to `to`.
    pub fn carry(&self, network: &Arc<Namespace>, listen: SocketAddr, to: SocketAddr) -> Result<()> {
        let (way, network) = (self.way.clone(), network.clone());
        let (sender, ready) = sync_channel(1);
        thread::spawn(move || {
            let listening = network.enter().and_then(|()| TcpListener::bind(listen).context("cannot listen"));
            // This thread never ends, and a namespace goes when nobody holds it.
            drop(network);
            let (told, listener) = match listening {
                Ok(listener) => (Ok(()), Some(listener)),
                Err(error) => (Err(error), None),
            };
            // Whoever asked waits for it.
            let _ = sender.send(told);
            for near in listener.iter().flat_map(TcpListener::incoming).flatten() {
                let way = way.clone();
                thread::spawn(move || way.connect(&near, to));
            }
        });
        ready.recv().context("the proxy's thread ended")?.with_context(|| format!("a proxy on {listen}"))
    }

    /// While it is stalled nothing passes, and no connection ends.
    pub fn set_stalled(&self, stalled: bool) {
        *self.way.stalled.lock().unwrap_or_else(PoisonError::into_inner) = stalled;
        self.way.changed.notify_all();
    }
}

impl Way {
    /// A connection that fails ends both of its sides.
    fn connect(self: &Arc<Self>, near: &TcpStream, to: SocketAddr) {
        self.wait();
        let Ok(far) = TcpStream::connect(to) else { return };
        for (from, to) in [(near, &far), (&far, near)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
            let (sender, pieces) = sync_channel(ON_THE_WAY);
            let way = self.clone();
            thread::spawn(move || take(from, &sender));
            thread::spawn(move || way.give(&pieces, to));
        }
    }

    fn give(&self, pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        while let Ok((taken, piece)) = pieces.recv() {
            thread::sleep((taken + self.delay).saturating_duration_since(Instant::now()));
            self.wait();
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // It may have ended already.
        let _ = to.shutdown(std::net::Shutdown::Both);
    }

    fn wait(&self) {
        let stalled = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(stalled, |stalled| *stalled));
    }
}

fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now(), buffer[..bytes].to_vec())).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_takes_its_time_and_nothing_passes_while_it_is_stalled() {
        let network = Arc::new(Namespace::new("proxy").unwrap());
        network.enter().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (delay, listen) = (Duration::from_millis(100), "127.0.0.1:4710".parse().unwrap());
        let proxy = Proxy::new(delay);
        proxy.carry(&network, listen, server.local_addr().unwrap()).unwrap();
        let mut near = TcpStream::connect(listen).unwrap();
        let (mut far, _) = server.accept().unwrap();
        let sent = Instant::now();
        near.write_all(b"one").unwrap();
        let mut said = [0; 3];
        far.read_exact(&mut said).unwrap();
        assert!(sent.elapsed() >= delay && said == *b"one");
        proxy.set_stalled(true);
        far.write_all(b"two").unwrap();
        near.set_read_timeout(Some(3 * delay)).unwrap();
        assert!(near.read_exact(&mut said).is_err(), "it passed");
        proxy.set_stalled(false);
        near.set_read_timeout(None).unwrap();
        near.read_exact(&mut said).unwrap();
        assert_eq!(said, *b"two");
    }
}
