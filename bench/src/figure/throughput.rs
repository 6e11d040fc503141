//! How many messages a second go from one process to another and arrive, every one. The publisher sends as fast as its
//! queue has room.

use anyhow::{Context, Result};

use crate::children::{Session, Whose};
use crate::figure::{Figures, median};

/// Ours and the floor in turn, so many rounds of so many messages each.
pub fn measure(rounds: usize, frames: u64, frame_bytes: usize) -> Result<Figures> {
    let mut ours = Session::start(Whose::Ours, 1, None)?;
    let mut floor = Session::start(Whose::Floor { bytes: frame_bytes }, 1, None)?;
    let (mut our_rates, mut floor_rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our_rates.push(ours.send(frames, None)?.complete().context("ours")?.rate());
        floor_rates.push(floor.send(frames, None)?.complete().context("the floor")?.rate());
    }
    Ok(vec![("frames_per_s", median(our_rates)?), ("floor_msgs_per_s", median(floor_rates)?)])
}
