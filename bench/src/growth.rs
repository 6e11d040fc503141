//! What becomes of latency, delivery, CPU and memory as a city's area grows: the same run with more and more nodes, each
//! a process of its own that publishes at a real node's rhythm and hears all the others.

mod row;

use std::process::Command;
use std::thread;
use std::time::Duration;

use ::tests::program::Program;
use anyhow::{Context, Result, ensure};
use bench::orders::{Expecting, Listening, Order, Sent};

use crate::args::GrowthArgs;
use crate::children::{order, ourselves, report};
use crate::growth::row::Row;
use crate::member::{Met, Share};
use crate::page::{self, surroundings};
use crate::table::complain;

const SIZES: [u16; 4] = [2, 20, 50, 100];
/// Between two frames of a node.
const PERIOD: Duration = Duration::from_secs(10);
/// Frames of each node. What gossip remembers for a minute has then reached its size.
const FRAMES: u64 = 10;
const QUICK_FRAMES: u64 = 2;
/// Longer than the children's own patience.
const MEETING: Duration = Duration::from_secs(120);
/// For what a child does at once, while a hundred others want something as well.
const SOON: Duration = Duration::from_secs(60);

/// Measures each size, shows the table, writes the file, and the page where the run was a whole one.
pub fn run(args: &GrowthArgs) -> Result<()> {
    let surroundings = surroundings()?;
    let frames = if args.quick { QUICK_FRAMES } else { FRAMES };
    let mut rows = Vec::new();
    for nodes in SIZES {
        complain(&format!("measuring {nodes} nodes"));
        rows.push(measure(nodes, frames).with_context(|| format!("{nodes} nodes"))?);
    }
    let table = row::markdown(&rows);
    page::print(&table)?;
    page::write(&args.out, &row::json(&rows, args.quick)?)?;
    if !args.quick {
        page::regenerate(&args.page, "growth", &format!("{table}\n{surroundings}\n"))?;
    }
    Ok(())
}

fn measure(nodes: u16, frames: u64) -> Result<Row> {
    let mut area = start(nodes)?;
    for member in &mut area {
        let frames = u64::from(nodes - 1) * frames;
        order(member, Order::Expect { frames })?;
    }
    for member in &area {
        report::<Expecting>(member, "that it counts", SOON)?;
    }
    // Nobody's clock ticks with another's.
    for member in &mut area {
        order(member, Order::Send { frames, rate: Some(1.0 / PERIOD.as_secs_f64()) })?;
        thread::sleep(PERIOD / u32::from(nodes));
    }
    let time = PERIOD * u32::try_from(frames)? + SOON;
    for member in &area {
        report::<Sent>(member, "that it has sent", time)?;
    }
    for member in &mut area {
        order(member, Order::Report)?;
    }
    let shares =
        area.iter().map(|member| report::<Share>(member, "what it heard", SOON)).collect::<Result<Vec<_>>>()?;
    ensure!(shares.len() == usize::from(nodes), "{} of {nodes} nodes reported", shares.len());
    Row::of(&shares, u64::from(nodes) * frames)
}

/// Starts the nodes, each knowing the addresses of up to three earlier ones, and returns when everybody has met.
fn start(nodes: u16) -> Result<Vec<Program>> {
    let (mut area, mut addresses): (Vec<Program>, Vec<String>) = (Vec::new(), Vec::new());
    for number in 0..nodes {
        let mut command = Command::new(ourselves()?);
        command.args(["member", &format!("--number={number}"), &format!("--nodes={nodes}")]);
        let known = configured(usize::from(number)).into_iter().filter_map(|earlier| addresses.get(earlier));
        command.args(known.map(|address| format!("--connect={address}")));
        let member = Program::start(format!("node {number}"), &mut command)?;
        addresses.push(report::<Listening>(&member, "where it listens", SOON)?.listening);
        area.push(member);
    }
    for member in &area {
        report::<Met>(member, "that it has met everybody", MEETING)?;
    }
    Ok(area)
}

/// Whose addresses a node is given: the one before, and two that have been there for long. The rest it has to find.
fn configured(number: usize) -> Vec<usize> {
    let mut earlier: Vec<usize> = [number.checked_sub(1), Some(number / 2), Some(number / 3)]
        .into_iter()
        .flatten()
        .filter(|earlier| *earlier < number)
        .collect();
    earlier.sort_unstable();
    earlier.dedup();
    earlier
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_knows_a_few_who_came_earlier() {
        let known: Vec<_> = [0, 1, 2, 3, 12].into_iter().map(configured).collect();
        assert_eq!(known, [vec![], vec![0], vec![0, 1], vec![1, 2], vec![4, 6, 11]]);
    }
}
