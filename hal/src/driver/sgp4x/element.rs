//! A sensing element of a SGP4x: its raw signal, and the index that an algorithm makes of it.

use std::time::Duration;

use reading::{Quantity, Reason};

use super::super::Measured;
use super::super::gas_index::{GasIndex, Learned, SIGNALS};

/// Without a blackout before it, the index of a new algorithm takes this long to come from 1 to the average.
pub(super) const SETTLES_IN: Duration = Duration::from_secs(180);

/// A signal that has not moved by a tick for so long is no measurement. A tick is 0.1 % of a concentration (870 are a doubling: SGP40
/// data sheet, table 1), and the noise of a chip in still air is several; even if every second signal were like the one before it,
/// sound chips would be taken for stuck once in 10^28 years.
const STUCK_AFTER: Duration = Duration::from_secs(120);

pub(super) struct Element {
    quantity: Quantity,
    algorithm: GasIndex,
    /// Whether the algorithm was given what it had learned.
    is_resumed: bool,
    started: Duration,
    ticks: Option<u16>,
    /// When the signal moved last, if it ever did.
    moved: Option<Duration>,
}

impl Element {
    /// VOC, from what was learned of it.
    pub(super) fn voc(now: Duration, learned: Option<Learned>) -> Self {
        let algorithm = learned.map_or_else(GasIndex::voc, GasIndex::resumed);
        Self { is_resumed: learned.is_some(), ..Self::new(Quantity::VOC_INDEX, algorithm, now) }
    }

    pub(super) fn nox(now: Duration) -> Self {
        Self::new(Quantity::NOX_INDEX, GasIndex::nox(), now)
    }

    fn new(quantity: Quantity, algorithm: GasIndex, now: Duration) -> Self {
        Self { quantity, algorithm, is_resumed: false, started: now, ticks: None, moved: None }
    }

    /// Takes this second's signal, and gives the index, which is missing in the blackout and while the signal stands still.
    pub(super) fn take(&mut self, ticks: u16, now: Duration) -> Measured {
        let moves = self.ticks.replace(ticks).is_some_and(|before| before != ticks);
        if self.is_stuck(now) {
            if !moves {
                return Measured::missing(self.quantity, Reason::FLAT_LINE);
            }
            self.begin_anew(now);
        }
        if moves {
            self.moved = Some(now);
        }
        let Some(index) = self.algorithm.process(ticks) else {
            return Measured::missing(self.quantity, Reason::WARMING_UP);
        };
        let measured = Measured::good(self.quantity, index);
        if !SIGNALS.contains(&ticks) {
            // The algorithm takes the last signal for this one.
            return measured.suspect(Reason::OUT_OF_RANGE);
        }
        if !self.is_resumed && now.saturating_sub(self.started) < SETTLES_IN {
            return measured.suspect(Reason::WARMING_UP);
        }
        // What was learned may be true, and the signal not.
        if self.moved.is_none() { measured.suspect(Reason::FLAT_LINE) } else { measured }
    }

    /// What the algorithm may be resumed from later.
    pub(super) fn learned(&self, now: Duration) -> Option<Learned> {
        self.algorithm.learned().filter(|_| !self.is_stuck(now))
    }

    fn is_stuck(&self, now: Duration) -> bool {
        now.saturating_sub(self.moved.unwrap_or(self.started)) >= STUCK_AFTER
    }

    /// What the algorithm learned last is of a signal that was none.
    fn begin_anew(&mut self, now: Duration) {
        let anew = if self.quantity == Quantity::NOX_INDEX { Self::nox(now) } else { Self::voc(now, None) };
        *self = Self { ticks: self.ticks, ..anew };
    }
}

#[cfg(test)]
mod tests {
    use reading::Flag;

    use super::*;

    /// The looks of what an element says of signals that come each second from 1 s on, each with the second in which it came first.
    fn looks(mut element: Element, signals: impl IntoIterator<Item = u16>) -> Vec<(u64, Flag, Reason)> {
        let mut looks: Vec<(u64, Flag, Reason)> = Vec::new();
        for (second, ticks) in (1..).zip(signals) {
            let Measured { flag, reason, .. } = element.take(ticks, Duration::from_secs(second));
            if looks.last().is_none_or(|&(_, last_flag, last_reason)| (last_flag, last_reason) != (flag, reason)) {
                looks.push((second, flag, reason));
            }
        }
        looks
    }

    fn each() -> [Element; 2] {
        [Element::voc(Duration::ZERO, None), Element::nox(Duration::ZERO)]
    }

    /// A signal that moves by a tick.
    fn alive(seconds: usize) -> impl Iterator<Item = u16> {
        [30_000, 30_001].into_iter().cycle().take(seconds)
    }

    const BLACKOUT: (Flag, Reason) = (Flag::MISSING, Reason::WARMING_UP);
    const NEW: (Flag, Reason) = (Flag::SUSPECT, Reason::WARMING_UP);
    const GOOD: (Flag, Reason) = (Flag::GOOD, Reason::NONE);
    const STUCK: (Flag, Reason) = (Flag::MISSING, Reason::FLAT_LINE);

    fn at(second: u64, (flag, reason): (Flag, Reason)) -> (u64, Flag, Reason) {
        (second, flag, reason)
    }

    #[test]
    fn a_signal_that_stands_still_for_two_minutes_is_none_and_afterwards_the_algorithm_begins_anew() {
        for element in each() {
            let signals = alive(300).chain([30_001; 400]).chain(alive(200));
            let expected = [
                at(1, BLACKOUT),
                at(47, NEW),
                at(180, GOOD),
                at(420, STUCK),
                at(701, BLACKOUT),
                at(747, NEW),
                at(881, GOOD),
            ];
            assert_eq!(looks(element, signals), expected);
        }
    }

    #[test]
    fn a_signal_that_never_moved_never_made_a_good_index() {
        let learned = Learned { mean: 10_000.0, deviation: 60.0 };
        let resumed = Element::voc(Duration::ZERO, Some(learned));
        for element in each() {
            assert_eq!(looks(element, [30_000; 1000]), [at(1, BLACKOUT), at(47, NEW), at(120, STUCK)]);
        }
        let doubted = (Flag::SUSPECT, Reason::FLAT_LINE);
        assert_eq!(looks(resumed, [30_000; 1000]), [at(1, BLACKOUT), at(47, doubted), at(120, STUCK)]);
    }

    #[test]
    fn one_tick_each_minute_is_enough() {
        for element in each() {
            let signals = (0..100u16).flat_map(|minute| [30_000 + minute % 2; 60]);
            assert_eq!(looks(element, signals), [at(1, BLACKOUT), at(47, NEW), at(180, GOOD)]);
        }
    }

    #[test]
    fn where_there_is_no_signal_the_last_index_is_doubted() {
        for none in [0, 65_000, u16::MAX] {
            for element in each() {
                let looks = looks(element, alive(300).chain([none]).chain(alive(1)));
                assert_eq!(looks[3..], [at(301, (Flag::SUSPECT, Reason::OUT_OF_RANGE)), at(302, GOOD)]);
            }
        }
    }

    #[test]
    fn what_a_stuck_signal_taught_is_not_remembered() {
        let mut element = Element::voc(Duration::ZERO, Some(Learned { mean: 10_000.0, deviation: 60.0 }));
        let last = Duration::from_secs(600);
        for (second, ticks) in (1..=600).zip(alive(480).chain([30_001; 120])) {
            element.take(ticks, Duration::from_secs(second));
            assert_eq!(element.learned(Duration::from_secs(second)).is_some(), second < 600);
        }
        assert!(element.is_stuck(last));
    }
}
