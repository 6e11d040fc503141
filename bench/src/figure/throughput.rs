//! How many messages a second go from one process to another and arrive, every one. The publisher sends as fast as its
//! queue has room.

use anyhow::{Context, Result};

use crate::children::{Session, Whose};
use crate::figure::{Figures, median};

/// Ours and the floor in turn, so many rounds of so many messages each, every time with new processes.
pub fn measure(rounds: usize, frames: u64, frame_bytes: usize) -> Result<Figures> {
    let rate = |whose: Whose| -> Result<f64> {
        let exchange = Session::start(whose, 1, None)?.send(frames, None)?;
        Ok(exchange.complete().with_context(|| format!("{whose:?}"))?.rate())
    };
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(rate(Whose::Ours)?);
        floors.push(rate(Whose::Floor { bytes: frame_bytes })?);
    }
    Ok(vec![("frames_per_s", median(ours)?), ("floor_msgs_per_s", median(floors)?)])
}
