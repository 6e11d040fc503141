//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use reading::{Label, Quantity, Selector};

/// Signed sensor readings from Raspberry Pis, with no server in the middle.
///
/// A node reads its sensors and publishes; anybody on the mesh can listen. Try it without hardware: run `magpie demo`, then
/// `magpie sub temperature` in a second terminal.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Args {
    /// What log lines look like; they go to stderr. MAGPIE_LOG=debug shows more.
    #[arg(long, global = true, value_name = "auto|human|json", default_value = "auto")]
    pub log: service::log::Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read this machine's sensors and publish what they say.
    Node(NodeArgs),
    /// Listen: print readings as they come.
    Sub(SubArgs),
    /// Publish values from a script.
    Pub(PubArgs),
    /// Look at the sensors of this machine.
    Sensors(SensorsArgs),
    /// Show which nodes there are.
    Peers(PeersArgs),
    /// Look over this machine as a node needs it: what is wrong, and what to do.
    Doctor(DoctorArgs),
    /// Write what nodes measured to a file.
    Export(crate::export::ExportArgs),
    /// Prove a file of frames offline: signatures, order, holes, clocks.
    Verify(crate::verify::VerifyArgs),
    /// Show it all on one machine: five simulated nodes and a live view.
    Demo(DemoArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How to find others.
#[derive(Clone, Debug, clap::Args)]
pub struct MeetArgs {
    /// Address of a node to start from; one is enough. Without any, this machine and the local network are searched.
    #[arg(long, value_name = "MULTIADDR", value_parser = address)]
    pub connect: Vec<String>,
    /// Do not search the local network by multicast.
    #[arg(long)]
    pub no_mdns: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie node                                     every sensor that this machine has
  magpie node --simulate                          without hardware
  magpie node --city seoul --area seongbuk --name roof-3

Every setting, with its default: packaging/magpie.toml. Health: http://127.0.0.1:4711/readyz")]
pub struct NodeArgs {
    /// Configuration file [default: /etc/magpie/magpie.toml, if it is there].
    #[arg(long, value_name = "FILE", env = crate::node::CONFIG_VARIABLE)]
    pub config: Option<PathBuf>,
    /// Read models of chips in software instead of hardware; every reading says that it is simulated.
    #[arg(long)]
    pub simulate: bool,
    /// First level of the reading paths.
    #[arg(long)]
    pub city: Option<Label>,
    /// Second level of the reading paths.
    #[arg(long)]
    pub area: Option<Label>,
    /// The node's name [default: the host name].
    #[arg(long)]
    pub name: Option<Label>,
    /// Directory of the node's key and store.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Time between two readings, e.g. 10s.
    #[arg(long, value_name = "TIME", value_parser = crate::when::duration)]
    pub interval: Option<Duration>,
    /// Address to listen on, e.g. /ip4/0.0.0.0/tcp/4710; may be given again.
    #[arg(long, value_name = "MULTIADDR", value_parser = listen_address)]
    pub listen: Vec<String>,
    /// Address and port of health and metrics; "" for none [default: 127.0.0.1:4711].
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    #[command(flatten)]
    pub meet: MeetArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie sub temperature                          from every node there is
  magpie sub 'seoul/+/+/pm2_5' 'seoul/+/+/co2'    two quantities of one city
  magpie sub '#' --json --count 100               for a program
  magpie sub pm2_5 --since 1h                     the last hour from whoever has it, then live
  magpie sub pm2_5 --since 1h --no-follow --json  the last hour, for a script
  magpie sub temperature --last                   what there is now, then live
  magpie sub co2 --connect /ip4/192.0.2.7/tcp/4710

With --since, the last line on stderr says what came and what is missing. The exit code is 4 where data is known to be missing, or a node
could not be asked what there is of it (\"not confirmed\"): it is off, out of reach, or more than 128 are meant. --count ends without that question.
In JSON lines, the clock is \"redated\" where the node did not know the time and a later fix of its clock told it.")]
pub struct SubArgs {
    /// What to listen to: city/area/node/quantity, with + for any level and # for all the rest. A quantity alone, such as
    /// temperature, means that quantity everywhere.
    #[arg(value_name = "SELECTOR", required_unless_present = "plain")]
    pub selectors: Vec<Selector>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// End after this many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this time; the exit code is 3 if --count was not reached, or with --no-follow the past was not all here, or nothing came at all.
    #[arg(long, value_name = "TIME", value_parser = crate::when::duration)]
    pub timeout: Option<Duration>,
    /// First print what was measured since then, of each node in order and each reading once: how long ago, such as 1h, or a time, such as
    /// 2026-11-24T09:00:00Z. Readings whose time nobody knows are printed, too.
    #[arg(long, value_name = "TIME", value_parser = crate::when::time)]
    pub since: Option<i64>,
    /// End when all that anybody has since then was printed.
    #[arg(long, requires = "since")]
    pub no_follow: bool,
    /// First print the last known value of each series.
    #[arg(long, conflicts_with = "since")]
    pub last: bool,
    /// Also listen to a plain gossipsub topic; what comes there is not signed.
    #[arg(long, value_name = "TOPIC")]
    pub plain: Vec<String>,
    #[command(flatten)]
    pub meet: MeetArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie pub temperature=21.5 co2=417             once, as home/home/pub
  magpie pub pm2_5=12 --rate 20 --count 1000 --nodes 10 --areas 2")]
pub struct PubArgs {
    /// What to publish, e.g. temperature=21.5 co2=417.
    #[arg(value_name = "QUANTITY=VALUE", required = true, value_parser = value)]
    pub values: Vec<(Quantity, f32)>,
    /// City of the published path.
    #[arg(long, default_value = "home")]
    pub city: Label,
    /// Area of the published path.
    #[arg(long, default_value = "home")]
    pub area: Label,
    /// Node of the published path.
    #[arg(long, default_value = "pub")]
    pub name: Label,
    /// Frames a second, of each node.
    #[arg(long, value_name = "N", default_value = "1", value_parser = rate)]
    pub rate: f64,
    /// Frames in all, of each node.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Publish as this many nodes, each with a key of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=200))]
    pub nodes: u16,
    /// Spread the nodes over this many areas.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub areas: u16,
    /// Wait this long for a listener; the exit code is 3 if none came.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::when::duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub meet: MeetArgs,
}

#[derive(Debug, clap::Args)]
pub struct SensorsArgs {
    #[command(subcommand)]
    pub command: SensorsCommand,
}

#[derive(Debug, Subcommand)]
pub enum SensorsCommand {
    /// Find out which chips answer, without disturbing any.
    Scan(BusArgs),
    /// Read every chip once.
    Read(BusArgs),
    /// Find slope and offset of one sensor against a reference, and print them as configuration.
    Calibrate(Box<CalibrateArgs>),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  magpie sensors calibrate --sensor SHT4x --quantity temperature --reference 21.4
      beside a thermometer that says 21.4: an offset
  magpie sensors calibrate --sensor SCD4x --quantity co2 --node seoul/lab/reference --for 24h
      beside a good node: slope and offset
  magpie sensors calibrate --sensor PMSA003I --quantity pm2_5 --csv station.csv --measured node.jsonl
      afterwards; the first line of station.csv is time,reference, node.jsonl is what `magpie sub --json` wrote
  magpie sensors calibrate --sensor SHT4x --quantity humidity --csv pairs.csv
      the first line of pairs.csv is measured,reference")]
pub struct CalibrateArgs {
    /// The sensor: SHT4x, or SHT4x@i2c-1/0x44 where there are several.
    #[arg(long, value_name = "MODEL[@BUS/ADDRESS]")]
    pub sensor: String,
    /// What to calibrate, e.g. temperature.
    #[arg(long)]
    pub quantity: Quantity,
    /// What it should say now, and until the end of --for.
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true, value_parser = finite, required_unless_present_any = ["csv", "node"], conflicts_with_all = ["csv", "node"])]
    pub reference: Option<f64>,
    /// What it should have said: a table with a first line that names the columns.
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    pub csv: Option<PathBuf>,
    /// A node that says what it should say, e.g. seoul/lab/reference.
    #[arg(long, value_name = "CITY/AREA/NODE", value_parser = reference_node)]
    pub node: Option<Selector>,
    /// Which sensor of that node, where several measure the quantity.
    #[arg(long, value_name = "MODEL[@BUS/ADDRESS]", requires = "node")]
    pub node_sensor: Option<String>,
    /// What the sensor said: lines of `magpie sub --json` [default: the node on this machine is asked].
    #[arg(long, value_name = "FILE", requires = "csv")]
    pub measured: Option<PathBuf>,
    /// Compare for this long; Ctrl-C ends it early.
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = crate::when::duration)]
    pub duration: Duration,
    /// Values that are further apart in time than this are no pair.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = crate::when::duration)]
    pub within: Duration,
    /// Where the node on this machine answers.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4711")]
    pub http: std::net::SocketAddr,
    #[command(flatten)]
    pub meet: MeetArgs,
}

/// Which buses.
#[derive(Debug, clap::Args)]
pub struct BusArgs {
    /// The bus, e.g. /dev/i2c-1 [default: as configured, else all].
    #[arg(long, value_name = "DEVICE")]
    pub bus: Vec<PathBuf>,
    /// The node's configuration file, which names buses and multiplexers [default: /etc/magpie/magpie.toml, if it is there].
    #[arg(long, value_name = "FILE", env = crate::node::CONFIG_VARIABLE)]
    pub config: Option<PathBuf>,
    /// Use models of chips in software instead of hardware.
    #[arg(long, conflicts_with = "bus")]
    pub simulate: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where a node on this machine answers; it owns the buses and is asked first [default: as configured, else 127.0.0.1:4711].
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<std::net::SocketAddr>,
}

#[derive(Debug, clap::Args)]
pub struct PeersArgs {
    /// Look around for this long.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = crate::when::duration)]
    pub timeout: Duration,
    /// One JSON object a node.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub meet: MeetArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 1 where something keeps a node from its work, and 0 otherwise.")]
pub struct DoctorArgs {
    /// The node's configuration file [default: /etc/magpie/magpie.toml, if it is there].
    #[arg(long, value_name = "FILE", env = crate::node::CONFIG_VARIABLE)]
    pub config: Option<PathBuf>,
    /// One JSON object a line: check, state (ok, warning, problem), found, fix.
    #[arg(long)]
    pub json: bool,
    /// Where a node on this machine answers [default: as configured, else 127.0.0.1:4711].
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<std::net::SocketAddr>,
}

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// What stdout shows.
    #[arg(long, value_enum, default_value = "auto")]
    pub view: View,
    /// End by itself after this time.
    #[arg(long, value_name = "TIME", value_parser = crate::when::duration)]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// A table on a terminal, lines otherwise.
    Auto,
    /// A table that is always up to date.
    Table,
    /// A line a reading.
    Lines,
}

fn address(text: &str) -> Result<String, mesh::Error> {
    mesh::check_dial_address(text).map(|()| text.to_owned())
}

fn listen_address(text: &str) -> Result<String, mesh::Error> {
    mesh::check_listen_address(text).map(|()| text.to_owned())
}

fn value(text: &str) -> Result<(Quantity, f32), String> {
    let (quantity, value) = text.split_once('=').ok_or("write QUANTITY=VALUE, e.g. temperature=21.5")?;
    let quantity = quantity.parse().map_err(|error: reading::UnknownName| error.to_string())?;
    match value.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok((quantity, value)),
        _ => Err(format!("\"{value}\" is not a finite number")),
    }
}

fn finite(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| format!("\"{text}\" is not a finite number"))
}

/// One node by its path; the quantity is another argument.
fn reference_node(text: &str) -> Result<Selector, String> {
    if text.split('/').count() != 3 {
        return Err("write CITY/AREA/NODE, e.g. seoul/lab/reference".to_owned());
    }
    format!("{text}/+").parse().map_err(|error: reading::SelectorError| error.to_string())
}

/// More than this is no sensor, and one author is shut out for less by every node's limits.
const HIGHEST_RATE: f64 = 10_000.0;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= HIGHEST_RATE => Ok(rate),
        _ => Err(format!("a rate above 0 and up to {HIGHEST_RATE} is wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn values_are_named_and_finite() {
        assert_eq!(value("temperature=21.5"), Ok((Quantity::TEMPERATURE, 21.5)));
        assert!(value("temperature").unwrap_err().contains("QUANTITY=VALUE"));
        assert!(value("temprature=1").unwrap_err().contains("is not known"));
        assert!(value("co2=inf").unwrap_err().contains("not a finite number"));
    }
}
