//! Listening, and noticing that a port is taken.
//!
//! libp2p sets `SO_REUSEPORT` on every listening socket, so two programs of one user would both be given port 4710, and the kernel would deal
//! newcomers out between them at random. So the port is tried first without it; and because two programs may try at the same moment, each
//! claims the port's number by a name that only one of a network namespace can have.

use std::io;
use std::net::TcpListener;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, Swarm};

use crate::address::{self, Host, Parts};
use crate::error::Error;
use crate::swarm::Behaviour;

/// What keeps a port ours while the mesh runs.
#[derive(Debug)]
pub(crate) struct Claim {
    #[cfg(target_os = "linux")]
    _name: std::os::unix::net::UnixListener,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) id: ListenerId,
    pub(crate) _claim: Option<Claim>,
    /// The address that was asked for, where it was taken.
    pub(crate) wanted: Option<Multiaddr>,
    /// Whether the system has said where it listens.
    pub(crate) announced: bool,
}

/// Listens on `address`, or where its port is taken, on one of the system's choice.
pub(crate) fn listen(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<Listening, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Listen { address: address.to_string(), problem: error.to_string() };
    match claim(address) {
        Claimed::Ours(claim) => {
            let id = swarm.listen_on(address.clone()).map_err(|error| failed(&error))?;
            Ok(Listening { id, _claim: claim, wanted: None, announced: false })
        }
        Claimed::Taken => {
            let any_port = address
                .iter()
                .map(|protocol| if let Protocol::Tcp(_) = protocol { Protocol::Tcp(0) } else { protocol })
                .collect();
            let id = swarm.listen_on(any_port).map_err(|error| failed(&error))?;
            Ok(Listening { id, _claim: None, wanted: Some(address.clone()), announced: false })
        }
    }
}

enum Claimed {
    Ours(Option<Claim>),
    Taken,
}

fn claim(address: &Multiaddr) -> Claimed {
    let Some(Parts { host: Host::Ip(ip), port: port @ 1.., .. }) = address::parts(address) else {
        return Claimed::Ours(None);
    };
    let Some(claim) = Claim::new(&format!("magpie/listen/{ip}/{port}")) else { return Claimed::Taken };
    // Closed again at once: it never accepted anything, so nothing lingers.
    match TcpListener::bind((ip, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Claimed::Taken,
        // Whatever else is wrong, listening itself will say.
        _ => Claimed::Ours(Some(claim)),
    }
}

impl Claim {
    #[cfg(target_os = "linux")]
    fn new(name: &str) -> Option<Self> {
        use std::os::linux::net::SocketAddrExt;
        let name = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
        Some(Self { _name: std::os::unix::net::UnixListener::bind_addr(&name).ok()? })
    }

    #[cfg(not(target_os = "linux"))]
    fn new(_name: &str) -> Option<Self> {
        Some(Self {})
    }
}
