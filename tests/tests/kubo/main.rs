//! Programs that nobody here wrote: a stock Kubo daemon, and a subscriber on go-libp2p-pubsub.
//!
//! Each test has a network namespace of its own, so that every program has its usual port and meets nobody else's.

mod both_dial;
mod clock;
mod connection;
mod daemon;
mod needs;
mod node;
mod plain;
mod relay;
mod stranger;
