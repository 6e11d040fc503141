//! From publishing to hearing, at 20 messages a second between two processes, and what both compute for it. Ours begins
//! before the frame is made and signed, since the time is in what is signed; the floor begins before its message is
//! signed.

use anyhow::{Context, Result};

use crate::children::{Exchange, Session, Whose};
use crate::figure::{Figures, median};

const RATE: f64 = 20.0;

#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu_s_per_1000: Vec<f64>,
}

impl Rounds {
    fn add(&mut self, exchange: &Exchange) -> Result<()> {
        let heard = exchange.complete()?;
        self.p50.push(heard.latency_us_p50);
        self.p99.push(heard.latency_us_p99);
        self.cpu_s_per_1000.push((exchange.sent.cpu_s + heard.cpu_s) * 1000.0 / heard.heard as f64);
        Ok(())
    }
}

/// Ours and the floor in turn, so many rounds of so many messages each, every time with new processes: which core the
/// kernel puts them on is luck.
pub fn measure(rounds: usize, frames: u64, frame_bytes: usize) -> Result<Figures> {
    let [mut ours, mut floors] = [Rounds::default(), Rounds::default()];
    for _ in 0..rounds {
        ours.add(&Session::start(Whose::Ours, 1, None)?.send(frames, Some(RATE))?).context("ours")?;
        let mut floor = Session::start(Whose::Floor { bytes: frame_bytes }, 1, None)?;
        floors.add(&floor.send(frames, Some(RATE))?).context("the floor")?;
    }
    Ok(vec![
        ("latency_us_p50", median(ours.p50)?),
        ("latency_us_p99", median(ours.p99)?),
        ("floor_us_p50", median(floors.p50)?),
        ("floor_us_p99", median(floors.p99)?),
        ("cpu_s_per_1000_frames", median(ours.cpu_s_per_1000)?),
        ("floor_cpu_s_per_1000", median(floors.cpu_s_per_1000)?),
    ])
}
