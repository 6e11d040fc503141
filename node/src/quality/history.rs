//! One series and what its past says of its present value: QARTOD's tests over time, for a value that cannot wait for its successor.
//!
//! The reference (ioos_qc's `qartod.py`) has the whole series before it. A live frame has not, which changes two tests:
//!
//! *Spike.* The reference judges a value when it knows the next one, and takes the mean of both neighbours for what was to be expected.
//! Here the mean of the two values before has to do. A value that departs from it is suspect; it might be a spike and it might be the
//! first value of a step, and nobody can know yet. It is not taken into the past. If the next value is where the past was, it was a spike, and
//! that next value is good (the reference flags it too, since the spike is its neighbour). If the next value is where the departed one
//! was, the air has changed: both become the new past, and the step has cost one suspect value.
//!
//! *Rate of change.* The reference divides the difference of two successive values by their distance in whole seconds. At ten or a
//! hundred samples a second that is the chip's noise and no rate. Here values that are closer than a minute count as a minute apart,
//! and a series that is sampled faster than that is compared with its value of a minute ago, so that many small steps add up. A step that was
//! found to be one starts the comparison anew.
//!
//! *Flat line* is as in the reference, but that values are flat if their range is within the tolerance, where the reference has below:
//! 0 then means values that are the same.
//!
//! A gap ends what came before it: nothing is said of a value without a past. Memory is a fixed number of values.

use std::time::Duration;

use reading::Flag;

use super::config::{FlatLine, GrossRange, Thresholds};

/// Two values further apart than this are no neighbours: what lies between them may have been anything.
const NEIGHBOURS: Duration = Duration::from_secs(90);
/// The distance over which a rate is taken, at least.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// Values kept for the rate: with one in ten seconds, a minute and both its ends.
const PACES: usize = 8;
const PACE: Duration = Duration::from_secs(10);
/// A gap, unless the series is sampled more slowly: a bus that was held, a chip that rested after errors.
const GAP: Duration = Duration::from_secs(600);
/// So many intervals are a gap of a series that is sampled slowly.
const GAP_INTERVALS: u32 = 3;
/// Fewer equal values than this are no flat line, however long they took: chips that give whole numbers repeat themselves.
const FLAT_SAMPLES: u32 = 12;

/// What is remembered of one series.
#[derive(Clone, Debug, Default)]
pub struct History {
    last: Option<Duration>,
    before: [Option<Point>; 2],
    departed: Option<Point>,
    paces: Vec<Point>,
    run: Option<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Duration,
    value: f64,
}

/// Values within a tolerance of each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Duration,
    until: Duration,
    least: f64,
    most: f64,
    samples: u32,
}

/// Where a value lies among what is believable; `None` where the test has nothing to say.
pub fn gross_range(value: f64, test: GrossRange) -> Option<Flag> {
    let outside = |span: Option<[f64; 2]>| span.is_some_and(|[least, most]| value < least || value > most);
    if outside(test.fail_span) {
        Some(Flag::FAIL)
    } else if outside(test.suspect_span) {
        Some(Flag::SUSPECT)
    } else {
        None
    }
}

impl History {
    /// Forgets what came before a gap. Called with every value before the tests.
    pub fn meet(&mut self, now: Duration, interval: Duration) {
        let gap = GAP.max(interval.saturating_mul(GAP_INTERVALS));
        if self.last.is_some_and(|last| now.saturating_sub(last) > gap || now < last) {
            *self = Self::default();
        }
        self.last = Some(now);
    }

    /// Judges a value by the two before it, and takes it into the past unless it departs from them.
    pub fn spike(&mut self, now: Duration, value: f64, test: Option<Thresholds>) -> Option<Flag> {
        let point = Point { at: now, value };
        let Some(test) = test else {
            self.settle(point);
            return None;
        };
        let departed = self.departed.take().filter(|departed| now.saturating_sub(departed.at) <= NEIGHBOURS);
        // What a value departed from stays its neighbour, however slowly the next one comes.
        let from = departed.map_or(now, |departed| departed.at);
        let is_fresh = |point: &Point| from.saturating_sub(point.at) <= NEIGHBOURS;
        let before: Vec<f64> = self.before.into_iter().flatten().filter(is_fresh).map(|point| point.value).collect();
        if before.is_empty() {
            self.settle(point);
            return None;
        }
        let departure = (value - before.iter().sum::<f64>() / before.len() as f64).abs();
        let Some(flag) = test.exceeded_by(departure) else {
            self.settle(point);
            return None;
        };
        match departed {
            Some(departed) if test.exceeded_by((value - departed.value).abs()).is_none() => {
                self.before = [None, None];
                self.paces.clear();
                self.settle(departed);
                self.settle(point);
                None
            }
            _ => {
                self.departed = Some(point);
                Some(flag)
            }
        }
    }

    fn settle(&mut self, point: Point) {
        self.before = [self.before[1], Some(point)];
        if self.paces.last().is_none_or(|last| point.at.saturating_sub(last.at) >= PACE) {
            if self.paces.len() == PACES {
                self.paces.remove(0);
            }
            self.paces.push(point);
        }
    }

    /// The rate at which a value was reached, per minute. Called after [`History::spike`], which knows a step.
    pub fn rate_of_change(&self, now: Duration, value: f64, test: Thresholds) -> Option<Flag> {
        let is_far = |point: &&Point| now.saturating_sub(point.at) >= RATE_SPAN;
        let from = self.paces.iter().rev().find(is_far).or(self.paces.first()).filter(|point| point.at < now)?;
        let minutes = now.saturating_sub(from.at).max(RATE_SPAN).as_secs_f64() / 60.0;
        test.exceeded_by((value - from.value).abs() / minutes)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.paces.len() + self.before.len()
    }

    /// For how long the value has been within `tolerance`; zero while there are too few values to say.
    pub fn flat_for(&mut self, now: Duration, value: f64, tolerance: f64) -> Duration {
        let alone = Run { since: now, until: now, least: value, most: value, samples: 1 };
        let run = match self.run {
            None => alone,
            Some(run) => {
                let (least, most) = (run.least.min(value), run.most.max(value));
                let samples = run.samples.saturating_add(1);
                if most - least <= tolerance { Run { until: now, least, most, samples, ..run } } else { alone }
            }
        };
        self.run = Some(run);
        if run.samples < FLAT_SAMPLES { Duration::ZERO } else { run.until.saturating_sub(run.since) }
    }
}

impl Thresholds {
    fn exceeded_by(&self, amount: f64) -> Option<Flag> {
        if self.fail_threshold.is_some_and(|threshold| amount > threshold) {
            Some(Flag::FAIL)
        } else if self.suspect_threshold.is_some_and(|threshold| amount > threshold) {
            Some(Flag::SUSPECT)
        } else {
            None
        }
    }
}

impl FlatLine {
    /// What a series is that has been flat for `time`. A series that has reason to be steadier than others is given `patience` times as long.
    pub fn judge(&self, time: Duration, patience: f64) -> Option<Flag> {
        let over = |threshold: Duration| time.as_secs_f64() >= threshold.as_secs_f64() * patience;
        if self.fail_threshold.is_some_and(over) {
            Some(Flag::FAIL)
        } else if over(self.suspect_threshold) {
            Some(Flag::SUSPECT)
        } else {
            None
        }
    }
}

#[cfg(test)]
pub(super) const MOST: usize = PACES + 2;

#[cfg(test)]
mod tests {
    use super::*;

    const G: Option<Flag> = None;
    const S: Option<Flag> = Some(Flag::SUSPECT);
    const F: Option<Flag> = Some(Flag::FAIL);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn limits(suspect: f64, fail: f64) -> Thresholds {
        Thresholds { suspect_threshold: Some(suspect), fail_threshold: Some(fail) }
    }

    fn spikes(values: &[f64], every: Duration, test: Thresholds) -> Vec<Option<Flag>> {
        let mut history = History::default();
        let mut now = Duration::ZERO;
        let mut judge = |value| {
            now += every;
            history.meet(now, every);
            history.spike(now, value, Some(test))
        };
        values.iter().map(|value| judge(*value)).collect()
    }

    fn rates(values: &[f64], every: Duration, test: Thresholds) -> Vec<Option<Flag>> {
        let mut history = History::default();
        let mut now = Duration::ZERO;
        let mut judge = |value| {
            now += every;
            history.meet(now, every);
            history.spike(now, value, None);
            history.rate_of_change(now, value, test)
        };
        values.iter().map(|value| judge(*value)).collect()
    }

    /// ioos_qc's `test_gross_range_check`.
    #[test]
    fn gross_range_as_the_reference() {
        let test = GrossRange { suspect_span: Some([20.0, 40.0]), fail_span: Some([10.0, 50.0]) };
        let flags = [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 51.0].map(|value| gross_range(value, test));
        assert_eq!(flags, [F, S, S, G, G, G, G, G, S, F]);
    }

    /// ioos_qc's `test_spike` and `test_spike_negative_vals`. The reference has 4, 4, 4 around 999.99, here the spike alone fails. It flags 40
    /// as here, since its successor is far below.
    #[test]
    fn a_spike_is_flagged_and_its_neighbours_are_not() {
        let values = [10.0, 12.0, 999.99, 13.0, 15.0, 40.0, 9.0, 9.0];
        let expected = [G, G, F, G, G, S, G, G];
        assert_eq!(spikes(&values, seconds(10), limits(25.0, 50.0)), expected);
        assert_eq!(spikes(&values.map(|value| -value), seconds(10), limits(25.0, 50.0)), expected);
    }

    /// ioos_qc's `test_spike_realdata`.
    #[test]
    fn in_real_data_only_the_spike_is_suspect() {
        let values = [
            -0.189, -0.0792, -0.0122, 0.0457, 0.0671, 0.0213, -0.0488, -0.1463, -0.2438, -0.3261, -0.3871, -0.4054,
            -0.3932, -0.3383, -0.2804, -0.2347, -0.2134, -0.2347, -0.2926, -0.3597, -0.442, -0.509, 0.0, -0.5944,
            -0.57, -0.4267, -0.2926, -0.1585, -0.0945, -0.0762,
        ];
        // The reference takes the difference to the mean of both neighbours, 0.55; to the two values before it is 0.48.
        let flags = spikes(&values, seconds(10), limits(0.45, 1.0));
        let suspect: Vec<usize> = (0..values.len()).filter(|index| flags[*index] == S).collect();
        assert_eq!(suspect, [22]);
    }

    #[test]
    fn a_step_costs_one_value_and_two_spikes_in_a_row_two() {
        let step = [20.0, 20.1, 20.0, 31.5, 31.4, 31.5, 31.5];
        assert_eq!(spikes(&step, seconds(10), limits(2.0, 50.0)), [G, G, G, S, G, G, G]);
        assert_eq!(spikes(&step, seconds(60), limits(2.0, 50.0)), [G, G, G, S, G, G, G]);
        let flutter = [20.0, 20.1, 31.0, 8.0, 20.0, 31.0, 20.1];
        assert_eq!(spikes(&flutter, seconds(10), limits(2.0, 50.0)), [G, G, S, S, G, S, G]);
    }

    #[test]
    fn a_value_without_neighbours_is_no_spike() {
        assert_eq!(spikes(&[20.0, 40.0, 0.0], seconds(91), limits(2.0, 50.0)), [G, G, G]);
        let mut history = History::default();
        for (second, value) in [(0, 20.0), (10, 20.0), (400, 35.0), (410, 35.1)] {
            history.meet(seconds(second), seconds(10));
            assert_eq!(history.spike(seconds(second), value, Some(limits(2.0, 50.0))), G, "at {second} s");
        }
    }

    const BY_QUARTERS: [f64; 24] = [
        2.0, 10.0, 2.1, 3.0, 4.0, 5.0, 7.0, 10.0, 0.0, 2.0, 2.2, 2.0, 1.0, 2.0, 3.0, 90.0, 91.0, 92.0, 93.0, 1.0, 2.0,
        3.0, 4.0, 5.0,
    ];

    /// ioos_qc's `test_rate_of_change` and `test_rate_of_change_fail_flag`: 5 and 10 units in 15 minutes, a value each 15 minutes.
    #[test]
    fn rate_of_change_as_the_reference() {
        let quarter = seconds(15 * 60);
        let flags = rates(&BY_QUARTERS, quarter, limits(5.0 / 15.0, 10.0 / 15.0));
        let expected = [G, S, S, G, G, G, G, G, F, G, G, G, G, G, G, F, G, G, G, F, G, G, G, G];
        // The reference's 0.0 after 10.0 is a difference of exactly 10, which it fails by the rounding of 10/15/60.
        let mut expected = expected.to_vec();
        expected[8] = S;
        assert_eq!(flags, expected);
    }

    /// ioos_qc's `test_rate_of_change_missing_values`: what is missing is not shown to the test.
    #[test]
    fn over_missing_values_the_rate_is_taken_from_the_last_one() {
        let (quarter, test) = (seconds(15 * 60), limits(5.0 / 15.0, 10.0 / 15.0));
        let mut history = History::default();
        let expected = [(0, 2.0, G), (1, 10.0, S), (2, 2.0, S), (3, 3.0, G), (6, 7.0, G), (7, 10.0, G)];
        for (at, value, expected) in expected {
            let now = quarter * at;
            history.meet(now, quarter);
            history.spike(now, value, None);
            assert_eq!(history.rate_of_change(now, value, test), expected, "at {at}");
        }
    }

    #[test]
    fn noise_at_a_high_rate_is_no_rate_of_change_and_small_steps_add_up() {
        let noise: Vec<f64> = (0..2_000).map(|index| 20.0 + 0.05 * f64::from(index % 2)).collect();
        assert!(rates(&noise, Duration::from_millis(50), limits(3.0, 10.0)).iter().all(Option::is_none));
        let ramp: Vec<f64> = (0..20).map(|index| 20.0 + 0.7 * f64::from(index)).collect();
        let flags = rates(&ramp, seconds(10), limits(3.0, 10.0));
        assert_eq!(flags.iter().position(Option::is_some), Some(5), "3.5 Cel in 50 s");
        assert!(flags[5..].iter().all(|flag| *flag == S));
    }

    fn flat(values: &[f64], every: Duration, test: FlatLine) -> Vec<Option<Flag>> {
        let mut history = History::default();
        let mut now = Duration::ZERO;
        let mut judge = |value| {
            now += every;
            history.meet(now, every);
            test.judge(history.flat_for(now, value, test.tolerance), 1.0)
        };
        values.iter().map(|value| judge(*value)).collect()
    }

    /// ioos_qc's `test_flat_line`, each of its values five times as often, since four equal values are none here. The reference's thresholds
    /// of 50 and 80 minutes are rounded down to three and five of its intervals.
    #[test]
    fn flat_line_as_the_reference() {
        let values = [1.0, 2.0, 2.0001, 2.0, 2.0001, 2.0, 2.0001, 2.0, 4.0, 5.0, 3.0, 3.0001, 3.0005, 3.00001];
        let expected = [G, G, G, G, S, S, F, F, G, G, G, G, G, S];
        let often: Vec<f64> = values.iter().flat_map(|value| [*value; 5]).collect();
        let minutes = |minutes: u64| seconds(60 * minutes);
        let test = FlatLine { suspect_threshold: minutes(45), fail_threshold: Some(minutes(75)), tolerance: 0.01 };
        let flags: Vec<_> = flat(&often, minutes(3), test).into_iter().step_by(5).collect();
        assert_eq!(flags, expected);
    }

    #[test]
    fn a_gap_ends_a_flat_line() {
        let mut history = History::default();
        let mut flat_at = |second| {
            history.meet(seconds(second), seconds(10));
            history.flat_for(seconds(second), 20.0, 0.0)
        };
        assert_eq!((0..100).map(|index| flat_at(10 * index)).last(), Some(seconds(990)));
        assert_eq!(flat_at(990 + 601), Duration::ZERO);
    }

    #[test]
    fn whole_numbers_that_repeat_in_a_slow_series_are_no_flat_line() {
        let hour = seconds(3_600);
        let test = FlatLine { suspect_threshold: hour, fail_threshold: None, tolerance: 0.0 };
        assert!(flat(&[4.0; 11], hour, test).iter().all(Option::is_none));
        assert_eq!(flat(&[4.0; 12], hour, test).last(), Some(&S));
    }
}
