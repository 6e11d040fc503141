//! Which multiaddresses are meant: TCP to an IP address or a name, with or without the peer that is expected there.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::error::Error;

/// What a dialled address consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) peer: Option<PeerId>,
}

/// The machine in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    Name { name: String, family: Family },
}

/// Which IP addresses of a name are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    pub(crate) fn admits(self, address: &SocketAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// Takes an address apart; `None` for anything but TCP.
pub(crate) fn parts(address: &Multiaddr) -> Option<Parts> {
    let mut protocols = address.iter();
    let host = match protocols.next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) => Host::Name { name: name.into_owned(), family: Family::Any },
        Protocol::Dns4(name) => Host::Name { name: name.into_owned(), family: Family::V4 },
        Protocol::Dns6(name) => Host::Name { name: name.into_owned(), family: Family::V6 },
        _ => return None,
    };
    let Protocol::Tcp(port) = protocols.next()? else { return None };
    let peer = match protocols.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    protocols.next().is_none().then_some(Parts { host, port, peer })
}

/// An address without the peer that is expected there.
pub(crate) fn without_peer(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    address
}

/// The multiaddress of a socket.
pub(crate) fn of_socket(socket: SocketAddr) -> Multiaddr {
    let ip = match socket.ip() {
        IpAddr::V4(ip) => Protocol::Ip4(ip),
        IpAddr::V6(ip) => Protocol::Ip6(ip),
    };
    Multiaddr::empty().with(ip).with(Protocol::Tcp(socket.port()))
}

/// An address to dial.
pub(crate) fn dial(text: &str) -> Result<Multiaddr, Error> {
    let address = parse(text)?;
    match parts(&address) {
        None => Err(refused(
            text,
            "is not TCP to a host; write /ip4/192.0.2.1/tcp/4710 or /dns4/name/tcp/4710, /p2p/ID at will",
        )),
        Some(Parts { port: 0, .. }) => Err(refused(text, "has port 0, which nobody listens on")),
        Some(_) => Ok(address),
    }
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<Multiaddr, Error> {
    let address = parse(text)?;
    match parts(&address) {
        Some(Parts { host: Host::Ip(_), peer: None, .. }) => Ok(address),
        _ => Err(refused(text, "cannot be listened on; write /ip4/0.0.0.0/tcp/4710 or /ip6/::/tcp/4710")),
    }
}

fn parse(text: &str) -> Result<Multiaddr, Error> {
    text.parse()
        .map_err(|error| refused(text, &format!("is not a multiaddress ({error}); write /ip4/192.0.2.1/tcp/4710")))
}

fn refused(text: &str, problem: &str) -> Error {
    Error::Address { text: text.chars().take(200).collect(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_is_shown_with_what_to_write() {
        for text in [
            "",
            "192.168.0.1:4710",
            "/ip4/10.0.0.1/udp/4710/quic-v1",
            "/ip4/10.0.0.1/tcp/0",
            "/dnsaddr/x/tcp/1",
            "/ip4/1.2.3/tcp/4",
        ] {
            let error = dial(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("address \"{text}\" "))
                    && error.contains("/ip4/") | error.contains("port 0"),
                "{error}"
            );
        }
        assert!(listen("/dns4/localhost/tcp/4710").is_err());
        assert!(listen("/ip4/0.0.0.0/tcp/0").is_ok());
    }

    #[test]
    fn an_address_comes_apart() {
        let peer = PeerId::random();
        let address = dial(&format!("/dns4/gateway.local/tcp/4710/p2p/{peer}")).unwrap();
        let host = Host::Name { name: "gateway.local".to_owned(), family: Family::V4 };
        assert_eq!(parts(&address), Some(Parts { host, port: 4710, peer: Some(peer) }));
        let socket = "[::1]:4710".parse().unwrap();
        assert_eq!(of_socket(socket).to_string(), "/ip6/::1/tcp/4710");
    }
}
