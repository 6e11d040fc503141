//! The air's pressure, as a chip that measures CO2 wants to be told: it counts molecules, so that a tenth less air is a tenth less CO2
//! to it.

use std::ops::RangeInclusive;

use reading::{Quantity, Reason};

use super::{Measured, Surroundings};

/// A chip is told of a new pressure when it is this far from the one that it has: 0.3 % of the CO2 concentration, a tenth of the
/// best accuracy.
const STEP_HPA: u16 = 3;

/// What a chip was told. Air does not change with a chip, so one that is started again is told the same again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AirPressure {
    told_hpa: Option<u16>,
}

impl AirPressure {
    /// What to tell the chip now, in hPa, of the pressures that it takes. Nothing where it has that already, more or less; nor where
    /// nobody knows any more, for the last one known is nearer the truth than what a chip takes that was told none.
    pub(super) fn news(self, around: &Surroundings, taken_hpa: RangeInclusive<u16>) -> Option<u16> {
        // The cast saturates, and makes 0 of what is no number.
        let hpa = (around.pressure? / 100.0).round() as u16;
        let is_news = self.told_hpa.is_none_or(|told_hpa| told_hpa.abs_diff(hpa) >= STEP_HPA);
        (taken_hpa.contains(&hpa) && is_news).then_some(hpa)
    }

    /// What was told last, in hPa.
    pub(super) fn told(self) -> Option<u16> {
        self.told_hpa
    }

    /// The chip was told, after it had made this measurement: if that was the first time, it did without.
    pub(super) fn tell(&mut self, hpa: u16, measurement: &mut [Measured]) {
        if self.told_hpa.replace(hpa).is_none() {
            for measured in measurement.iter_mut().filter(|measured| measured.quantity == Quantity::CO2) {
                *measured = measured.suspect(Reason::UNCORRECTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reading::Flag;

    use super::*;

    fn news(pressure: AirPressure, pascal: Option<f32>) -> Option<u16> {
        pressure.news(&Surroundings { pressure: pascal, ..Surroundings::default() }, 700..=1400)
    }

    #[test]
    fn a_pressure_that_a_chip_does_not_take_or_nobody_knows_is_no_news() {
        let known = AirPressure { told_hpa: Some(900) };
        for pascal in [Some(f32::NAN), Some(60_000.0), Some(1e9), Some(-5.0), None] {
            assert_eq!((news(AirPressure::default(), pascal), news(known, pascal)), (None, None), "{pascal:?}");
        }
        assert_eq!(news(AirPressure::default(), Some(70_000.0)), Some(700));
        assert_eq!(
            [90_240.0, 90_250.0, 89_700.0].map(|pascal| news(known, Some(pascal))),
            [None, Some(903), Some(897)]
        );
    }

    #[test]
    fn what_was_measured_before_the_chip_was_told_at_all_is_doubted() {
        let measured = [Measured::good(Quantity::CO2, 600.0), Measured::good(Quantity::HUMIDITY, 40.0)];
        let mut pressure = AirPressure::default();
        let mut first = measured;
        pressure.tell(900, &mut first);
        assert_eq!([first[0].flag, first[1].flag], [Flag::SUSPECT, Flag::GOOD]);
        let mut second = measured;
        pressure.tell(903, &mut second);
        assert_eq!(second, measured);
    }
}
