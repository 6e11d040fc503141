//! One module for each thing that is measured. Each gives its figures under the keys that [`crate::table`] knows.

pub mod admitted;
pub mod binary;
pub mod fan;
pub mod flood;
pub mod latency;
pub mod rest;
pub mod start;
pub mod throughput;
pub mod wire;

use anyhow::{Context, Result};

/// Keys and what was measured.
pub type Figures = Vec<(&'static str, f64)>;

/// The middle one of several rounds: a round in which the machine did something else does not count.
pub fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle).context("no round was measured")?;
    let lower = if values.len().is_multiple_of(2) { values[middle - 1] } else { upper };
    Ok(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_does_not_move_the_median() {
        assert_eq!(median(vec![3.0, 900.0, 1.0]).unwrap(), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]).unwrap(), 2.5);
        assert!(median(Vec::new()).is_err());
    }
}
