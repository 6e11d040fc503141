//! What can be typed, by people and by this program when it starts itself as a child.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::measure::Measurement;

const PAGE: &str = "docs/performance.md";

/// Measures Magpie.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure size, memory, start, latency, throughput, wire, disk and CPU of a node.
    Node(NodeArgs),
    /// Measure latency, delivery, CPU and memory with 2, 20, 50 and 100 nodes.
    Growth(GrowthArgs),
    /// Measure catching up with a million frames, healing after a partition, disk and memory.
    Delivery(DeliveryArgs),
    /// Child: publish frames as ordered.
    #[command(hide = true)]
    Publish(PublishArgs),
    /// Child: count frames as ordered.
    #[command(hide = true)]
    Subscribe {
        #[arg(long)]
        connect: String,
    },
    /// Child: hold every frame of the nodes that are heard.
    #[command(hide = true)]
    Follow {
        /// Dial this multiaddress.
        connect: String,
    },
    /// Child: be one node among many.
    #[command(hide = true)]
    Member(MemberArgs),
    /// Child: say when the first reading of each node came.
    #[command(hide = true)]
    Witness,
}

#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    /// Measure this only, and write no file; everything where nothing is named.
    #[arg(value_enum)]
    pub only: Vec<Measurement>,
    /// The Raspberry Pi's binary, whose size is one of the figures.
    #[arg(long, value_name = "FILE", default_value = "target/pi/magpie")]
    pub pi_binary: PathBuf,
    /// The same for this machine: the node that is measured.
    #[arg(long, value_name = "FILE", default_value = "target/bench/magpie")]
    pub node_binary: PathBuf,
    /// Where the figures go, as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/node.json")]
    pub out: PathBuf,
    /// The page with the table of figures, which a whole run that is not quick writes anew.
    #[arg(long, value_name = "FILE", default_value = PAGE)]
    pub page: PathBuf,
    /// Seconds instead of minutes. The figures are rough, and the file says so.
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, clap::Args)]
pub struct GrowthArgs {
    /// Where the figures go, as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/growth.json")]
    pub out: PathBuf,
    /// The page with the table of figures, which a run that is not quick writes anew.
    #[arg(long, value_name = "FILE", default_value = PAGE)]
    pub page: PathBuf,
    /// Two frames of each node instead of ten. The figures are rough, and the file says so.
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, clap::Args)]
pub struct DeliveryArgs {
    /// The node that is measured, built as for the Pi but for this machine.
    #[arg(long, value_name = "FILE", default_value = "target/bench/magpie")]
    pub node_binary: PathBuf,
    /// Where the figures go, as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/delivery.json")]
    pub out: PathBuf,
    /// The page with the table of figures, which a run that is not quick writes anew.
    #[arg(long, value_name = "FILE", default_value = PAGE)]
    pub page: PathBuf,
    /// A twentieth of the frames. The figures are rough, and the file says so.
    #[arg(long)]
    pub quick: bool,
}

#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// Publish as this many nodes, each with a key and a connection of its own.
    #[arg(long, default_value = "1")]
    pub nodes: u16,
    /// Dial this multiaddress; without it, listen.
    #[arg(long)]
    pub connect: Option<String>,
    /// Be ready when each node has so many followers.
    #[arg(long, default_value = "1")]
    pub followers: usize,
}

#[derive(Debug, clap::Args)]
pub struct MemberArgs {
    /// Which node of them this is.
    #[arg(long)]
    pub number: u16,
    /// How many there are, this one included.
    #[arg(long)]
    pub nodes: usize,
    /// Addresses that the node is configured with.
    #[arg(long)]
    pub connect: Vec<String>,
}
