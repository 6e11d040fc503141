//! From the start of the process to its first reading at a subscriber that was already there: a new node with one
//! BME280, which takes its true time to convert.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::clock::monotonic_us;
use bench::orders::Listening;
use tests::magpie::{NodeConfig, NodeFiles, without_settings};
use tests::program::Program;

use crate::children::{ourselves, report};
use crate::figure::{Figures, median};
use crate::simulated::config;
use crate::witness::First;

/// A node that is not heard within this is not heard at all: its second reading would have come.
const HEARD: Duration = Duration::from_secs(30);

/// Starts so many nodes, one after the other.
pub fn measure(magpie: &Path, starts: usize) -> Result<Figures> {
    let witness = Program::start("the witness", Command::new(ourselves()?).arg("witness"))?;
    let address = report::<Listening>(&witness, "where it listens", HEARD)?.listening;
    let mut times_ms = Vec::new();
    for _ in 0..starts {
        let files = NodeFiles::new(&NodeConfig {
            listen: "/ip4/127.0.0.1/tcp/0".to_owned(),
            connect: vec![address.clone()],
            ..config(&["BME280"])
        })?;
        let started_us = monotonic_us();
        let node = files.simulate(without_settings(Command::new(magpie)))?;
        let first = report::<First>(&witness, "a first reading", HEARD);
        let First { first_reading_us, .. } = first.with_context(|| node.tail())?;
        times_ms.push((first_reading_us - started_us) as f64 * 1e-3);
    }
    Ok(vec![("start_to_first_reading_ms", median(times_ms)?)])
}
