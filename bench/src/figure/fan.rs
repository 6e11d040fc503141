//! How many frames a second one node gets to ten subscribers, every one to each. A queue that is full for some and not
//! for others loses a message without a word to the publisher, so the highest rate that loses nothing has to be
//! searched for.

use anyhow::{Result, ensure};

use crate::children::{Exchange, Session, Whose};
use crate::figure::Figures;

const SUBSCRIBERS: usize = 10;
/// Every machine that this is worth measuring on does this much.
const LOWEST_RATE: f64 = 20.0;
/// The search ends when the rate is known this well.
const PRECISION: f64 = 1.05;
/// Less than this part of the rate that was asked for means that the publisher did not keep up.
const KEPT_UP: f64 = 0.95;
/// Runs in a row that must lose nothing: one alone could be luck.
const CONFIRMATIONS: usize = 2;

/// Searches with runs of so many seconds.
pub fn measure(seconds: f64) -> Result<Figures> {
    let run = |rate: f64| -> Result<Option<f64>> {
        // What a rate that was too high has broken must not tell on the next.
        let mut session = Session::start(Whose::Ours, SUBSCRIBERS, None)?;
        let exchange = session.send((rate * seconds) as u64, Some(rate))?;
        Ok(lossless_rate(&exchange).filter(|measured| *measured >= rate * KEPT_UP))
    };
    let mut search = Search::default();
    while let Some(rate) = search.next() {
        search.note(rate, run(rate)?.is_some());
    }
    let mut rate = search.kept;
    let mut confirmed = Vec::new();
    while confirmed.len() < CONFIRMATIONS {
        ensure!(rate >= LOWEST_RATE, "not even {LOWEST_RATE} frames a second reach {SUBSCRIBERS} subscribers for sure");
        match run(rate)? {
            Some(measured) => confirmed.push(measured),
            None => {
                confirmed.clear();
                rate /= PRECISION;
            }
        }
    }
    Ok(vec![("fan10_frames_per_s", confirmed.into_iter().fold(f64::INFINITY, f64::min))])
}

/// Frames a second at the slowest subscriber; `None` where anybody missed one.
fn lossless_rate(exchange: &Exchange) -> Option<f64> {
    let slowest = exchange.heard.iter().map(bench::tally::Heard::rate).reduce(f64::min);
    slowest.filter(|_| exchange.is_complete())
}

/// The search for the highest rate that is kept: doubled until it is not, then halved in between.
#[derive(Debug, Default)]
struct Search {
    kept: f64,
    lost: Option<f64>,
}

impl Search {
    /// The rate to try; `None` when it is known well enough, or none is kept.
    fn next(&self) -> Option<f64> {
        match self.lost {
            None if self.kept == 0.0 => Some(LOWEST_RATE),
            None => Some(self.kept * 2.0),
            Some(lost) if self.kept > 0.0 && lost / self.kept > PRECISION => Some(f64::midpoint(self.kept, lost)),
            Some(_) => None,
        }
    }

    fn note(&mut self, rate: f64, kept: bool) {
        if kept { self.kept = rate } else { self.lost = Some(rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_kept: impl Fn(f64) -> bool) -> f64 {
        let mut search = Search::default();
        while let Some(rate) = search.next() {
            search.note(rate, is_kept(rate));
        }
        search.kept
    }

    #[test]
    fn the_highest_rate_that_is_kept_is_found() {
        assert!((952.0..=1000.0).contains(&found(|rate| rate <= 1000.0)), "{}", found(|rate| rate <= 1000.0));
        assert_eq!(found(|_| false), 0.0);
    }
}
