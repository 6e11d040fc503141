//! Log lines that peers can cause come at most now and then, and say how often they would have.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two lines of one sort.
const PAUSE: Duration = Duration::from_secs(10);

/// By sort of line: when it last came, and how often it was held back since. The sorts are a closed set of the program's.
#[derive(Debug, Default)]
pub(crate) struct Occasions {
    last: HashMap<&'static str, (Instant, u64)>,
}

impl Occasions {
    /// How many times it happened since the last line, when one is due again.
    pub(crate) fn take(&mut self, sort: &'static str, now: Instant) -> Option<u64> {
        match self.last.get_mut(sort) {
            Some((at, held_back)) if now < *at + PAUSE => {
                *held_back += 1;
                None
            }
            last => {
                let held_back = last.map_or(0, |(_, held_back)| *held_back);
                self.last.insert(sort, (now, 0));
                Some(held_back + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_bad_frames_are_two_lines() {
        let (mut occasions, start) = (Occasions::default(), Instant::now());
        let lines: Vec<u64> =
            (0..1000).filter_map(|number| occasions.take("forged", start + number * PAUSE / 999)).collect();
        assert_eq!(lines, [1, 999]);
        assert_eq!(occasions.take("size", start), Some(1));
    }
}
