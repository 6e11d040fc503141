//! What is measured, in which order and for how long.

use std::fs;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::args::NodeArgs;
use crate::figure::{self, Figures};
use crate::load::Source;
use crate::table::{self, Table};

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// Ten minutes of memory and disk.
    Rest,
    /// Size of the Pi's binary.
    Binary,
    /// Start to first reading.
    Start,
    /// Latency and CPU.
    Latency,
    /// Flat out, one to one.
    Throughput,
    /// One to ten.
    Fan,
    /// Bytes on the wire.
    Wire,
    /// Memory after a flood.
    Flood,
    /// Memory after many admitted frames.
    Admitted,
}

/// How long it is measured for.
struct Extent {
    rest: Duration,
    starts: usize,
    rounds: usize,
    /// At 20 a second, in each round.
    latency_frames: u64,
    throughput_frames: u64,
    fan_seconds: f64,
    wire_frames: u64,
    flood_frames: u64,
    admitted_frames: u64,
}

const FULL: Extent = Extent {
    rest: Duration::from_secs(600),
    starts: 10,
    rounds: 5,
    latency_frames: 400,
    throughput_frames: 50_000,
    fan_seconds: 4.0,
    wire_frames: 1200,
    flood_frames: 100_000,
    admitted_frames: 100_000,
};

const QUICK: Extent = Extent {
    rest: Duration::from_secs(30),
    starts: 3,
    rounds: 1,
    latency_frames: 100,
    throughput_frames: 10_000,
    fan_seconds: 1.0,
    wire_frames: 200,
    flood_frames: 20_000,
    admitted_frames: 10_000,
};

/// Measures, shows each figure as soon as it is there, and writes the file when all are.
pub fn run(args: &NodeArgs) -> Result<()> {
    let extent = if args.quick { QUICK } else { FULL };
    let wanted = if args.only.is_empty() { Measurement::value_variants() } else { args.only.as_slice() };
    let frame_bytes = frame_bytes()?;
    let magpie = args.node_binary.clone();
    ensure!(magpie.exists(), "{} is missing: `make bench-node` builds it", magpie.display());
    // Mostly idle, and the longest by far: it runs beside the others.
    let mut rest =
        wanted.contains(&Measurement::Rest).then(|| thread::spawn(move || figure::rest::measure(&magpie, extent.rest)));
    let mut table = Table::default();
    let mut failures = 0;
    let others = wanted.iter().copied().filter(|measurement| *measurement != Measurement::Rest);
    for measurement in others.chain(rest.is_some().then_some(Measurement::Rest)) {
        table::complain(&format!("measuring {}", name(measurement)));
        let figures = match measurement {
            Measurement::Rest => join(rest.take()),
            Measurement::Binary => figure::binary::measure(&args.pi_binary),
            Measurement::Start => figure::start::measure(&args.node_binary, extent.starts),
            Measurement::Latency => figure::latency::measure(extent.rounds, extent.latency_frames, frame_bytes),
            Measurement::Throughput => {
                figure::throughput::measure(extent.rounds, extent.throughput_frames, frame_bytes)
            }
            Measurement::Fan => figure::fan::measure(extent.fan_seconds),
            Measurement::Wire => figure::wire::measure(extent.wire_frames),
            Measurement::Flood => figure::flood::measure(&args.node_binary, extent.flood_frames),
            Measurement::Admitted => figure::admitted::measure(&args.node_binary, extent.admitted_frames),
        };
        match figures {
            Ok(figures) => table.add(figures)?,
            Err(error) => {
                failures += 1;
                table::complain(&format!("{} failed: {error:#}", name(measurement)));
            }
        }
    }
    table.print()?;
    if failures > 0 {
        bail!("{failures} of {} measurements failed, see above", wanted.len());
    }
    if args.only.is_empty() {
        let folder = args.out.parent().unwrap_or(&args.out);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&args.out, table.json(args.quick)?)
            .with_context(|| format!("cannot write {}", args.out.display()))?;
    }
    Ok(())
}

/// The floor's messages are as long as this.
fn frame_bytes() -> Result<usize> {
    let mut source = Source::new(0)?;
    source.announcement()?;
    Ok(source.readings()?.bytes().len())
}

fn join(thread: Option<JoinHandle<Result<Figures>>>) -> Result<Figures> {
    match thread.map(JoinHandle::join) {
        Some(Ok(figures)) => figures,
        _ => bail!("the measurement panicked"),
    }
}

fn name(measurement: Measurement) -> String {
    measurement.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
