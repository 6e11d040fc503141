//! How much the store writes to the disk in a day: what wears a card.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of this time, or of the time since the start where that is shorter.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// So often the count is remembered: 144 times in the window.
const STEP: Duration = Duration::from_secs(600);
/// Nothing is said of the first minutes: a rate of seconds is no rate.
const LEAST: Duration = Duration::from_secs(300);

/// The count of bytes written, at some times of the last day. Pure: it is told the time.
#[derive(Debug)]
pub struct Wear {
    counts: VecDeque<(Instant, u64)>,
}

impl Wear {
    /// Begins to count.
    pub fn new(now: Instant) -> Self {
        Self { counts: VecDeque::from([(now, 0)]) }
    }

    /// Takes note of the count of all bytes since the start, and says how many that are in a day; `None` in the first minutes.
    pub fn note(&mut self, bytes: u64, now: Instant) -> Option<u64> {
        let age = |at: Instant| now.saturating_duration_since(at);
        while self.counts.len() > 1 && self.counts.front().is_some_and(|(at, _)| age(*at) > WINDOW) {
            self.counts.pop_front();
        }
        let (since, before) = *self.counts.front()?;
        if self.counts.back().is_none_or(|(at, _)| age(*at) >= STEP) {
            self.counts.push_back((now, bytes));
        }
        let elapsed = age(since);
        let per_second = bytes.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        (elapsed >= LEAST).then_some((per_second * WINDOW.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_day() {
        let start = Instant::now();
        let mut wear = Wear::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(wear.note(1_000_000, at(10)), None, "too early to tell");
        // 100 bytes a second for two days, then nothing.
        let mut last = None;
        for second in (0..2 * 86_400).step_by(10).skip(60) {
            last = wear.note(100 * second, at(second));
            let off = last.unwrap().abs_diff(8_640_000);
            assert!(off < 90_000, "{last:?} after {second} s");
        }
        for second in (2 * 86_400..3 * 86_400 + 1200).step_by(10) {
            last = wear.note(2 * 8_640_000, at(second));
        }
        assert_eq!(last, Some(0));
        assert!(wear.counts.len() < 150, "{}", wear.counts.len());
    }
}
