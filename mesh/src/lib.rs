//! Frames between machines: the only crate that names libp2p.
//!
//! One task owns the swarm. A program holds a [`Mesh`] to ask it and the [`Events`] to hear it, and sees neither sockets nor libp2p's
//! types: addresses and PeerIds are text, nodes are [`reading::NodeId`]s. What must be decided is decided by plain functions of state, event
//! and `now` that the tests drive without a socket: what to let in (`admission`), who knows whom (`directory`), what to join (`topic`), whom
//! to dial (`dial`), what of the past to ask of whom (`gaps`).
//!
//! How two programs meet: each dials what it was configured with, port 4710 of its own machine and what mDNS finds; on connecting it asks for
//! the other's [`Directory`] of announcements, joins the topics of the areas it wants, and dials announced addresses of those areas, because a
//! peer relays only topics that it has joined itself. So one address is enough.
//!
//! Gossip has no memory: a frame that was published while a subscriber was away is missing there, until [`Backfill`] has fetched it from whoever
//! keeps it and serves it ([`History`]). The mesh itself keeps none. [`Replay`] is both together, of each node in order.

mod address;
mod admission;
mod allowance;
mod announce;
mod backfill;
mod codec;
mod config;
mod demand;
mod dial;
mod directory;
mod error;
mod events;
mod exchange;
mod gaps;
mod gate;
mod handle;
mod history;
mod listen;
mod metrics;
mod occasion;
mod order;
mod protocol;
mod random;
mod recent;
mod replay;
mod seen;
mod swarm;
mod task;
#[cfg(test)]
mod testing;
mod topic;

pub use backfill::Backfill;
pub use config::{Config, Limits, Timing};
pub use directory::{Directory, Observed};
pub use error::Error;
pub use gaps::{Answer, Ask, GapLimits, GapSize, Gaps, Gone, Question, Ranges, Sight, Since, Standing, Ticket};
#[doc(hidden)]
pub use gate::Gate;
pub use handle::{Events, Mesh, MeshEvent, Peer, Published};
pub use history::{ANSWER_BYTES, Answering, Batch, History, HistoryError, MAX_RUNS, Summary};
pub use order::{Order, OrderLimits, Released};
pub use replay::{Account, Next, Replay, ReplayConfig};
pub use task::start;
pub use topic::MAX_TOPICS;

/// The port that nodes and gateways listen on, unless it is taken.
pub const PORT: u16 = 4710;

/// The longest line on a plain topic, in bytes.
pub const MAX_PLAIN_BYTES: usize = 4096;

/// What the number of the next message would be based on if the mesh started now: nanoseconds of the wall clock since 1970.
///
/// gossipsub counts up from the value of the moment it starts, and Kubo drops for good, and without a word, every message of an author that
/// is not numbered above the highest it ever saw of it, even after a restart. So a node keeps the highest value that this ever returned on
/// disk, and holds [`start`] back for a while when the clock says less: it came up with an old clock.
pub fn seqno_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Checks an address to dial, as [`Config::connect`] takes it, without dialling.
pub fn check_dial_address(text: &str) -> Result<(), Error> {
    address::dial(text).map(drop)
}

/// Checks an address to listen on, as [`Config::listen`] takes it, without listening.
pub fn check_listen_address(text: &str) -> Result<(), Error> {
    address::listen(text).map(drop)
}

/// The topic of an area's frames.
pub fn area_topic(city: &reading::Label, area: &reading::Label) -> String {
    topic::Topic::Area(city.clone(), area.clone()).to_string()
}
