//! Which sensor is due when. Pure: time comes in as an argument.

use std::time::Duration;

/// Sensors that fall due within this much of each other share one frame: a second frame would cost more than the wait.
const TOGETHER: Duration = Duration::from_millis(20);

/// The due times of a node's sensors, by their position in the announcement. Times count from the node's start.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    sensors: Vec<Due>,
}

#[derive(Clone, Debug)]
struct Due {
    interval: Duration,
    next: Duration,
}

impl Schedule {
    /// Adds a sensor, due at once.
    pub fn add(&mut self, interval: Duration, now: Duration) {
        self.sensors.push(Due { interval, next: now });
    }

    /// When the next sensor is due; `None` where there is no sensor.
    pub fn next(&self) -> Option<Duration> {
        self.sensors.iter().map(|sensor| sensor.next).min()
    }

    /// The sensors that are due now, each moved on to its next time. A sensor that missed turns, because the machine stood still, has
    /// one turn and then goes on in its old rhythm.
    pub fn take_due(&mut self, now: Duration) -> Vec<usize> {
        let mut due = Vec::new();
        for (index, sensor) in self.sensors.iter_mut().enumerate() {
            if sensor.next <= now + TOGETHER {
                let missed = now.saturating_sub(sensor.next).as_nanos() / sensor.interval.as_nanos().max(1);
                let missed = u32::try_from(missed).unwrap_or(u32::MAX - 1);
                sensor.next += sensor.interval.saturating_mul(missed + 1);
                due.push(index);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_new_sensor_is_read_at_once_and_then_in_its_rhythm() {
        let mut schedule = Schedule::default();
        schedule.add(seconds(10), seconds(3));
        schedule.add(seconds(60), seconds(3));
        assert_eq!(schedule.take_due(seconds(3)), [0, 1]);
        assert_eq!(schedule.next(), Some(seconds(13)));
        assert_eq!(schedule.take_due(seconds(13)), [0]);
    }

    #[test]
    fn after_a_standstill_a_sensor_has_one_turn_and_keeps_its_rhythm() {
        let mut schedule = Schedule::default();
        schedule.add(seconds(10), seconds(0));
        assert_eq!(schedule.take_due(seconds(0)), [0]);
        assert_eq!(schedule.take_due(seconds(47)), [0]);
        assert_eq!(schedule.next(), Some(seconds(50)));
        assert!(schedule.take_due(seconds(48)).is_empty());
    }

    proptest! {
        #[test]
        fn no_turn_is_lost_while_time_runs_smoothly(intervals in proptest::collection::vec(50..5000u64, 1..6), steps in 1..200usize) {
            let mut schedule = Schedule::default();
            for interval in &intervals {
                schedule.add(Duration::from_millis(*interval), Duration::ZERO);
            }
            let mut turns = vec![0u64; intervals.len()];
            let mut now = Duration::ZERO;
            for _ in 0..steps {
                now = schedule.next().unwrap();
                for sensor in schedule.take_due(now) {
                    turns[sensor] += 1;
                }
            }
            for (turns, interval) in turns.iter().zip(&intervals) {
                let expected = now.as_millis() as u64 / interval + 1;
                prop_assert!(turns.abs_diff(expected) <= 1, "{turns} turns of {interval} ms in {now:?}");
            }
        }
    }
}
