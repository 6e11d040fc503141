//! Whom to dial, and when.
//!
//! Configured addresses and the own machine's port are dialled for ever; what mDNS finds, while there are few peers; announced addresses,
//! while an area that is wanted has few peers, because a peer relays only the topics it has joined.
//!
//! There may be one connection per peer, and the newcomer is refused. So two peers that dial each other at the same moment can refuse one
//! connection each and end with none. Where both know of each other, the one with the lower PeerId dials at once and the other
//! only after a while.
//!
//! Everything here is a function of what was told and of `now`; the sockets are the caller's.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use crate::address;
use crate::config::Timing;
use crate::random::Random;

/// Peers that mDNS found are dialled while fewer than this many are connected. On a larger network the rest is reached through these, and
/// through the announced addresses of wanted areas.
const ENOUGH_PEERS: usize = 12;
/// Peers with unconfigured addresses that are remembered. Beyond, new ones are not taken up until old ones have failed or gone.
const MAX_PEERS: usize = 1024;
/// Addresses of one of them.
const MAX_ADDRESSES: usize = 16;
/// Dials under way at once. The rest waits.
const MAX_DIALLING: usize = 16;
/// An address where this very program answers is tried again after this: somebody else may have moved in.
const OURSELVES: Duration = Duration::from_secs(60);
/// A connection that ended before this counts as a failed dial.
const SHORT: Duration = Duration::from_secs(2);
/// The longest wait between dials of what mDNS found. It is forgotten when mDNS no longer finds it.
const FOUND_MAX: Duration = Duration::from_secs(10);
/// The first wait after a failed dial of an announced address, and the longest.
const ANNOUNCED_MIN: Duration = Duration::from_secs(5);
const ANNOUNCED_MAX: Duration = Duration::from_secs(300);
/// An announced address that failed this often in a row is forgotten until it is announced again.
const ANNOUNCED_FAILURES: u32 = 8;

/// Keeps the list of whom to dial.
#[derive(Debug)]
pub(crate) struct Dialer {
    own: PeerId,
    /// Whether others can dial us at all.
    listens: bool,
    timing: Timing,
    targets: HashMap<Key, Target>,
    connected: HashSet<PeerId>,
    dialling: HashSet<Key>,
    random: Random,
}

/// What a target is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Whoever is there.
    Address(Multiaddr),
    /// A peer, wherever it is.
    Peer(PeerId),
}

/// How a target came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By the configuration.
    Configured,
    /// As the own machine's port, where there need not be anybody.
    Local,
    /// By mDNS.
    Found,
    /// By its announcement.
    Announced,
}

#[derive(Debug)]
struct Target {
    origin: Origin,
    addresses: Vec<Multiaddr>,
    /// Who is there, once known.
    peer: Option<PeerId>,
    failures: u32,
    not_before: Instant,
    /// Announced ones are dialled only when asked for.
    asked: bool,
}

/// A dial that is due. The caller reports with [`Dialer::ended`] what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) key: Key,
    /// Who must be there; `None` where anybody will do.
    pub(crate) expected: Option<PeerId>,
    pub(crate) addresses: Vec<Multiaddr>,
    /// Dials that failed before: which of a name's addresses to take this time.
    pub(crate) failures: u32,
}

/// What became of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Connected(PeerId),
    /// Somebody answered with whom there is a connection already.
    Refused(PeerId),
    Ourselves,
    Failed,
}

impl Dialer {
    pub(crate) fn new(own: PeerId, listens: bool, timing: Timing, seed: u64) -> Self {
        Self {
            own,
            listens,
            timing,
            targets: HashMap::new(),
            connected: HashSet::new(),
            dialling: HashSet::new(),
            random: Random::new(seed),
        }
    }

    /// Dials `address` at once, and again for ever whenever nobody there is connected.
    pub(crate) fn configure(&mut self, address: &Multiaddr, now: Instant) {
        self.keep(address, Origin::Configured, now);
    }

    /// The same for a port of the own machine.
    pub(crate) fn try_local(&mut self, address: &Multiaddr, now: Instant) {
        self.keep(address, Origin::Local, now);
    }

    /// mDNS found a peer.
    pub(crate) fn found(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        self.learn(peer, [address], Origin::Found, now);
    }

    /// mDNS no longer finds a peer there.
    pub(crate) fn lost(&mut self, peer: PeerId, address: &Multiaddr) {
        let key = Key::Peer(peer);
        if let Some(target) = self.targets.get_mut(&key)
            && target.origin == Origin::Found
        {
            target.addresses.retain(|known| known != address);
            if target.addresses.is_empty() {
                self.targets.remove(&key);
            }
        }
    }

    /// A peer of a wanted area is asked for: dial it once when its time has come. False when it cannot be.
    pub(crate) fn ask(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>, now: Instant) -> bool {
        self.learn(peer, addresses, Origin::Announced, now);
        match self.targets.get_mut(&Key::Peer(peer)) {
            Some(target) if target.not_before <= now + self.timing.yield_dial => {
                target.asked = true;
                true
            }
            _ => false,
        }
    }

    /// Whether there is a connection to a peer, or one is being made.
    pub(crate) fn is_engaged(&self, peer: &PeerId) -> bool {
        self.connected.contains(peer)
            || self.dialling.iter().any(|key| self.targets.get(key).is_some_and(|target| target.peer == Some(*peer)))
    }

    /// A connection stands, whoever made it.
    pub(crate) fn connected(&mut self, peer: PeerId) {
        self.connected.insert(peer);
    }

    /// It has ended, after so long.
    pub(crate) fn disconnected(&mut self, peer: PeerId, lasted: Duration, now: Instant) {
        self.connected.remove(&peer);
        let wait = self.yielding(&peer) + self.random.up_to(Duration::from_millis(200));
        for target in self.targets.values_mut().filter(|target| target.peer == Some(peer)) {
            if lasted < SHORT {
                // Most likely the other side refused it.
                target.back_off(&self.timing, &mut self.random, now);
            } else {
                target.failures = 0;
            }
            target.not_before = target.not_before.max(now + wait);
        }
    }

    /// The dials whose time has come. They count as under way until [`Dialer::ended`].
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Dial> {
        let mut engaged = self.connected.clone();
        engaged.extend(self.dialling.iter().filter_map(|key| self.targets.get(key)?.peer));
        let few = self.connected.len() < ENOUGH_PEERS;
        let mut ready: Vec<(&Key, &mut Target)> = self
            .targets
            .iter_mut()
            .filter(|(key, target)| {
                target.not_before <= now
                    && !self.dialling.contains(*key)
                    && match target.origin {
                        Origin::Configured | Origin::Local => true,
                        Origin::Found => few,
                        Origin::Announced => target.asked,
                    }
            })
            .collect();
        // Configured ones first, then whoever waits longest; the key only makes the order one.
        ready.sort_by(|(a_key, a), (b_key, b)| {
            (a.origin != Origin::Configured, a.not_before, a_key).cmp(&(
                b.origin != Origin::Configured,
                b.not_before,
                b_key,
            ))
        });
        let mut dials = Vec::new();
        for (key, target) in ready {
            if self.dialling.len() + dials.len() >= MAX_DIALLING {
                break;
            }
            if target.peer.is_some_and(|peer| !engaged.insert(peer)) {
                continue;
            }
            target.asked = false;
            let expected = if let Key::Peer(peer) = key { Some(*peer) } else { None };
            let (key, addresses, failures) = (key.clone(), target.addresses.clone(), target.failures);
            dials.push(Dial { key, expected, addresses, failures });
        }
        self.dialling.extend(dials.iter().map(|dial| dial.key.clone()));
        dials
    }

    /// What became of a dial. True when it is the first of a configured address to fail since somebody answered there.
    pub(crate) fn ended(&mut self, key: &Key, outcome: Outcome, now: Instant) -> bool {
        self.dialling.remove(key);
        let yielding = if let Outcome::Refused(peer) = outcome { self.yielding(&peer) } else { Duration::ZERO };
        let Some(target) = self.targets.get_mut(key) else { return false };
        let news = outcome == Outcome::Failed && target.origin == Origin::Configured && target.failures == 0;
        match outcome {
            Outcome::Connected(peer) => target.peer = Some(peer),
            Outcome::Refused(peer) => {
                target.peer = Some(peer);
                // Where the other refused because of a connection that died with this refusal, both try again.
                target.not_before = now + yielding + self.random.up_to(self.timing.redial_min);
            }
            Outcome::Ourselves => target.not_before = now + OURSELVES,
            Outcome::Failed => {
                target.back_off(&self.timing, &mut self.random, now);
                if matches!(key, Key::Address(_)) {
                    // Whoever was there need not be who comes back.
                    target.peer = None;
                }
                let hopeless = target.failures >= ANNOUNCED_FAILURES;
                if target.origin == Origin::Announced && hopeless {
                    self.targets.remove(key);
                }
            }
        }
        news
    }

    fn keep(&mut self, address: &Multiaddr, origin: Origin, now: Instant) {
        let peer = address::parts(address).and_then(|parts| parts.peer);
        if peer == Some(self.own) {
            return;
        }
        let bare = address::without_peer(address.clone());
        let key = peer.map_or_else(|| Key::Address(bare.clone()), Key::Peer);
        let target = self.targets.entry(key).or_insert_with(|| Target::new(origin, peer, now));
        if target.origin != Origin::Configured {
            target.origin = origin;
        }
        target.add(bare);
    }

    fn learn(&mut self, peer: PeerId, addresses: impl IntoIterator<Item = Multiaddr>, origin: Origin, now: Instant) {
        if peer == self.own {
            return;
        }
        let key = Key::Peer(peer);
        if !self.targets.contains_key(&key) {
            if self.targets.len() >= MAX_PEERS && !self.make_room() {
                return;
            }
            let not_before = now + self.yielding(&peer);
            self.targets.insert(key.clone(), Target::new(origin, Some(peer), not_before));
        }
        let Some(target) = self.targets.get_mut(&key) else { return };
        if target.origin == Origin::Announced {
            // A new announcement replaces the old one.
            target.origin = origin;
            target.addresses.clear();
        }
        for address in addresses {
            if address::parts(&address).is_some_and(|parts| parts.peer.is_none_or(|expected| expected == peer)) {
                target.add(address::without_peer(address));
            }
        }
    }

    /// Forgets one announced peer that is of no use now.
    fn make_room(&mut self) -> bool {
        let idle = |(key, target): &(&Key, &Target)| {
            target.origin == Origin::Announced && !target.asked && !self.dialling.contains(*key)
        };
        let worst = self.targets.iter().filter(idle).max_by_key(|(_, target)| target.failures);
        let Some(key) = worst.map(|(key, _)| key.clone()) else { return false };
        self.targets.remove(&key).is_some()
    }

    /// How long to leave the first dial to the other side.
    fn yielding(&self, peer: &PeerId) -> Duration {
        if self.listens && self.own > *peer { self.timing.yield_dial } else { Duration::ZERO }
    }
}

impl Target {
    fn back_off(&mut self, timing: &Timing, random: &mut Random, now: Instant) {
        self.failures += 1;
        let (min, max) = match self.origin {
            Origin::Configured | Origin::Local => (timing.redial_min, timing.redial_max),
            Origin::Found => (timing.redial_min, FOUND_MAX),
            Origin::Announced => (ANNOUNCED_MIN, ANNOUNCED_MAX),
        };
        let doubled = min.saturating_mul(1 << (self.failures - 1).min(16)).min(max);
        self.not_before = now + random.about(doubled).min(max);
    }

    fn new(origin: Origin, peer: Option<PeerId>, not_before: Instant) -> Self {
        Self { origin, addresses: Vec::new(), peer, failures: 0, not_before, asked: false }
    }

    fn add(&mut self, address: Multiaddr) {
        if self.addresses.contains(&address) {
            return;
        }
        if self.addresses.len() == MAX_ADDRESSES {
            if self.origin == Origin::Configured {
                return;
            }
            self.addresses.remove(0);
        }
        self.addresses.push(address);
    }
}

#[cfg(test)]
mod tests;
