//! What it takes to lose nothing: how fast a subscriber catches up with a node's past, how soon it has everything after a partition, what a
//! reading costs the node's disk, and what memory that takes at both ends.

mod catch_up;
mod heal;
mod past;

use std::thread;
use std::time::Duration;

use ::tests::program::Program;
use anyhow::{Context, Result, anyhow};
use bench::orders::{Holding, Order};

use crate::args::DeliveryArgs;
use crate::children::{order, report};
use crate::figure::{Figures, rest};
use crate::page::{self, surroundings};
use crate::table::{Aim, Figure, MIB, Table, Unit, complain, figure};

/// In the order in which they are shown.
const FIGURES: [Figure; 12] = [
    figure("catch_up_frames_per_s", "catching up, signatures verified", Unit::PerSecond, Aim::AtLeast(15_000.0)),
    figure("catch_up_frames", "  frames", Unit::Frames, Aim::None),
    figure("node_cpu_us_per_frame", "  CPU of the node, a frame", Unit::Us, Aim::None),
    figure("subscriber_cpu_us_per_frame", "  CPU of the subscriber, a frame", Unit::Us, Aim::None),
    figure("node_rss_bytes", "most memory of the node meanwhile", Unit::Mib, Aim::Under(32.0 * MIB)),
    figure("node_rss_early_bytes", "  after a tenth of the frames", Unit::Mib, Aim::None),
    figure("subscriber_rss_bytes", "most memory of the subscriber meanwhile", Unit::Mib, Aim::Under(32.0 * MIB)),
    figure("subscriber_rss_early_bytes", "  after a tenth of the frames", Unit::Mib, Aim::None),
    figure("heal_s", "from the end of a partition to all frames", Unit::Seconds, Aim::None),
    figure("heal_connect_s", "  of it until connected again", Unit::Seconds, Aim::None),
    figure("heal_frames", "  frames that were missing", Unit::Frames, Aim::None),
    figure(DISK, "to the disk per reading, one frame in 10 s", Unit::Bytes, Aim::Under(200.0)),
];
const DISK: &str = "disk_bytes_per_reading";

/// For meeting, on a busy machine.
const MEETING: Duration = Duration::from_secs(60);

/// How much is measured.
struct Extent {
    catch_up_frames: u64,
    heal_frames: u64,
    rest: Duration,
}

/// A million frames are four months of one frame in 10 s, 600 are 100 minutes.
const FULL: Extent = Extent { catch_up_frames: 1_000_000, heal_frames: 600, rest: Duration::from_secs(600) };
/// Longer than the sync interval.
const QUICK: Extent = Extent { catch_up_frames: 50_000, heal_frames: 300, rest: Duration::from_secs(150) };

/// Measures, shows the table, writes the file, and the page where the run was a whole one.
pub fn run(args: &DeliveryArgs) -> Result<()> {
    let surroundings = surroundings()?;
    let extent = if args.quick { QUICK } else { FULL };
    let magpie = &args.node_binary;
    // A node that does what it does all day takes longest, and computes next to nothing.
    let (watched, duration) = (magpie.clone(), extent.rest);
    let disk = thread::spawn(move || disk_alone(rest::measure(&watched, duration)?));
    complain("measuring how a partition heals");
    let healed = heal::measure(magpie, extent.heal_frames);
    complain("measuring how a subscriber catches up");
    let caught_up = catch_up::measure(magpie, extent.catch_up_frames);
    complain("measuring what a reading costs the disk");
    let disk = disk.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
    let mut table = Table::new(&FIGURES);
    for figures in [healed, caught_up, disk] {
        table.add(figures?)?;
    }
    page::print(&table.text())?;
    page::write(&args.out, &table.json(args.quick)?)?;
    if !args.quick {
        page::regenerate(&args.page, "delivery", &format!("{}\n{surroundings}\n", table.markdown()))?;
    }
    Ok(())
}

/// Waits until a follower holds so many frames of one run, from the first on. Those that it lacks come at no less than `slowest_per_s`.
fn hold(follower: &mut Program, frames: u64, slowest_per_s: u64) -> Result<Holding> {
    order(follower, Order::Hold { frames })?;
    let time = MEETING + Duration::from_secs(frames / slowest_per_s);
    report(follower, "that it holds them", time).with_context(|| format!("{frames} frames"))
}

/// The node's memory at rest is `bench node`'s to tell.
fn disk_alone(mut figures: Figures) -> Result<Figures> {
    figures.retain(|(key, _)| *key == DISK);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_agreed_keys() {
        let mut table = Table::new(&FIGURES);
        for key in
            ["catch_up_frames_per_s", "heal_s", "disk_bytes_per_reading", "node_rss_bytes", "subscriber_rss_bytes"]
        {
            table.add(vec![(key, 1.0)]).unwrap();
        }
        assert_eq!(disk_alone(vec![("rss_bytes", 1.0), (DISK, 2.0)]).unwrap(), [(DISK, 2.0)]);
    }
}
