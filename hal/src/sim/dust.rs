//! What Sensirion's particle counters (SPS30, SEN5x) have in common: what they make of dust, and the fan that brings it.
//! Sections are those of the SPS30 datasheet, version 1.0 (March 2020); the SEN5x datasheet says the same in 2.2 and 5.2.

use std::time::Duration;

use reading::Quantity;

use super::device::Moment;

/// The masses that these sensors tell apart.
pub(super) const MASSES: [Quantity; 4] = [Quantity::PM1, Quantity::PM2_5, Quantity::PM4, Quantity::PM10];

/// Mass concentrations of PM1, PM2.5, PM4 and PM10, in ug/m3.
#[derive(Clone, Copy)]
pub(super) struct Dust([f64; 4]);

impl Dust {
    pub(super) const NONE: Self = Self([0.0; 4]);

    /// What a sensor sees that measures for so long. Section 1.1, "typical start-up time": the fewer particles, the longer.
    /// Until it is over, the values here rise in proportion, as the fan has to bring the air in.
    pub(super) fn sensed(at: &Moment<'_>, measuring_for: Duration) -> Self {
        let air = Self(MASSES.map(|quantity| at.air(quantity).max(0.0)));
        let [.., particles] = air.numbers();
        let start_up_s = match particles {
            200.0.. => 8.0,
            100.0.. => 16.0,
            _ => 30.0,
        };
        let part = (measuring_for.as_secs_f64() / start_up_s).min(1.0);
        Self(air.0.map(|mass| mass * part))
    }

    pub(super) fn masses(self) -> [f64; 4] {
        self.0
    }

    /// Particles from 0.3 um up to 0.5, 1.0, 2.5, 4.0 and 10 um, in 1/cm3. The datasheet gives no relation to the masses:
    /// small particles count, large ones weigh, and a wider range never has fewer.
    pub(super) fn numbers(self) -> [f64; 5] {
        let [pm1, pm2_5, pm4, pm10] = self.0;
        let to_0_5 = 5.5 * pm1;
        let to_1 = to_0_5 + 1.4 * pm1;
        let to_2_5 = to_1 + 0.12 * (pm2_5 - pm1).max(0.0);
        let to_4 = to_2_5 + 0.02 * (pm4 - pm2_5).max(0.0);
        [to_0_5, to_1, to_2_5, to_4, to_4 + 0.003 * (pm10 - pm4).max(0.0)]
    }

    /// The typical particle size, in um: larger where more of the mass is coarse. 0 without dust.
    pub(super) fn typical_size(self) -> f64 {
        let [pm1, .., pm10] = self.0;
        if pm10 <= 0.0 { 0.0 } else { 0.4 + 0.6 * (1.0 - pm1 / pm10).clamp(0.0, 1.0) }
    }
}

/// Section 4.2: one week.
pub(super) const DEFAULT_CLEANING_S: u32 = 604_800;
/// Section 4.2: how long the fan runs at full speed, during which no values are updated.
const CLEANING: Duration = Duration::from_secs(10);

/// When the fan cleans itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Cleaning {
    /// From when the interval counts: the first measurement after power-on, or the last cleaning by command.
    counted_from: Option<Duration>,
    by_command: Option<Duration>,
}

impl Cleaning {
    pub(super) fn measurement_starts(&mut self, now: Duration) {
        self.counted_from.get_or_insert(now);
    }

    pub(super) fn start(&mut self, now: Duration) {
        if !self.is_running(now, 0) {
            *self = Self { counted_from: Some(now), by_command: Some(now) };
        }
    }

    /// A measurement that is stopped takes its cleaning with it.
    pub(super) fn measurement_stops(&mut self) {
        self.by_command = None;
    }

    /// Whether the fan of a chip that measures cleans itself, with an interval in seconds, of which 0 is never.
    pub(super) fn is_running(self, now: Duration, interval_s: u32) -> bool {
        let since = |start: Option<Duration>| start.map(|start| now.saturating_sub(start).as_secs_f64());
        let by_command = since(self.by_command).is_some_and(|passed| passed < CLEANING.as_secs_f64());
        let interval = f64::from(interval_s);
        let by_itself =
            |passed: f64| interval_s > 0 && passed >= interval && passed % interval < CLEANING.as_secs_f64();
        by_command || since(self.counted_from).is_some_and(by_itself)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_range_never_has_fewer_particles() {
        for masses in [[0.0; 4], [5.0, 8.0, 10.0, 12.0], [1.0, 500.0, 700.0, 1_000.0], [9.0, 8.0, 7.0, 6.0]] {
            assert!(Dust(masses).numbers().is_sorted(), "{masses:?}");
        }
        assert!(Dust([1.0, 2.0, 40.0, 90.0]).typical_size() > Dust([5.0, 6.0, 6.0, 6.0]).typical_size());
        assert_eq!(Dust::NONE.typical_size(), 0.0);
    }

    #[test]
    fn the_fan_is_cleaned_once_a_week_and_by_command_for_ten_seconds() {
        let seconds = Duration::from_secs;
        let mut cleaning = Cleaning::default();
        cleaning.measurement_starts(seconds(100));
        let at = |cleaning: Cleaning, second| cleaning.is_running(seconds(second), DEFAULT_CLEANING_S);
        assert!(!at(cleaning, 105) && !at(cleaning, 604_899));
        assert!(at(cleaning, 604_900) && at(cleaning, 604_909) && !at(cleaning, 604_911));
        assert!(!cleaning.is_running(seconds(604_900), 0), "0 is never");
        cleaning.start(seconds(1_000));
        assert!(at(cleaning, 1_009) && !at(cleaning, 1_010) && !at(cleaning, 604_900) && at(cleaning, 605_800));
    }
}
