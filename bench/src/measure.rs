//! What is measured, in which order and for how long.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::ValueEnum;

use crate::args::NodeArgs;
use crate::figure::{self, Figures};
use crate::page::{self, surroundings};
use crate::table::{self, Table};
use bench::load::Source;

/// One thing that is measured, in this order. What comes after `Rest` runs beside it: it writes nothing to a disk, and
/// does not care for a node that does something every ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Measurement {
    /// Size of the Pi's binary.
    Binary,
    /// Start to first reading.
    Start,
    /// Latency and CPU.
    Latency,
    /// Memory after a flood.
    Flood,
    /// Memory after many admitted frames.
    Admitted,
    /// Ten minutes of memory and disk.
    Rest,
    /// Flat out, one to one.
    Throughput,
    /// One to ten.
    Fan,
    /// Bytes on the wire.
    Wire,
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
    rounds: 10,
    latency_frames: 200,
    throughput_frames: 30_000,
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

/// Measures, shows what was measured, and writes the file where that is everything.
pub fn run(args: &NodeArgs) -> Result<()> {
    let surroundings = surroundings()?;
    let extent = if args.quick { QUICK } else { FULL };
    let mut wanted = if args.only.is_empty() { Measurement::value_variants().to_vec() } else { args.only.clone() };
    wanted.sort_unstable();
    wanted.dedup();
    let mut bench = Bench { args, extent, frame_bytes: frame_bytes()?, table: Table::new(&table::NODE), failures: 0 };
    let mut rest = None;
    for measurement in wanted {
        table::complain(&format!("measuring {}", name(measurement)));
        if measurement == Measurement::Rest {
            let (magpie, duration) = (args.node_binary.clone(), bench.extent.rest);
            rest = Some(thread::spawn(move || figure::rest::measure(&magpie, duration)));
        } else {
            let figures = bench.measure(measurement);
            bench.note(measurement, figures)?;
        }
    }
    if let Some(rest) = rest {
        let figures = rest.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
        bench.note(Measurement::Rest, figures)?;
    }
    page::print(&bench.table.text())?;
    ensure!(bench.failures == 0, "{} measurements failed, see above", bench.failures);
    if args.only.is_empty() {
        page::write(&args.out, &bench.table.json(args.quick)?)?;
        if !args.quick {
            page::regenerate(&args.page, "node", &format!("{}\n{surroundings}\n", bench.table.markdown()))?;
        }
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a NodeArgs,
    extent: Extent,
    frame_bytes: usize,
    table: Table,
    failures: usize,
}

impl Bench<'_> {
    fn measure(&self, measurement: Measurement) -> Result<Figures> {
        let Extent { rest, starts, rounds, .. } = self.extent;
        let magpie = &self.args.node_binary;
        match measurement {
            Measurement::Binary => figure::binary::measure(&self.args.pi_binary),
            Measurement::Start => figure::start::measure(magpie, starts),
            Measurement::Latency => figure::latency::measure(rounds, self.extent.latency_frames, self.frame_bytes),
            Measurement::Flood => figure::flood::measure(magpie, self.extent.flood_frames),
            Measurement::Admitted => figure::admitted::measure(magpie, self.extent.admitted_frames),
            Measurement::Rest => figure::rest::measure(magpie, rest),
            Measurement::Throughput => {
                figure::throughput::measure(rounds, self.extent.throughput_frames, self.frame_bytes)
            }
            Measurement::Fan => figure::fan::measure(self.extent.fan_seconds),
            Measurement::Wire => figure::wire::measure(self.extent.wire_frames),
        }
    }

    /// One that fails does not keep the others from being measured.
    fn note(&mut self, measurement: Measurement, figures: Result<Figures>) -> Result<()> {
        match figures {
            Ok(figures) => self.table.add(figures),
            Err(error) => {
                self.failures += 1;
                table::complain(&format!("{} failed: {error:#}", name(measurement)));
                Ok(())
            }
        }
    }
}

/// The floor's messages are as long as this.
fn frame_bytes() -> Result<usize> {
    let mut source = Source::new(0)?;
    source.announcement(&[])?;
    Ok(source.readings()?.bytes().len())
}

fn name(measurement: Measurement) -> String {
    measurement.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
