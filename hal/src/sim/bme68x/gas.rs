//! The gas element of a BME68x: a hot plate, and a layer on it whose resistance is converted.

use super::Part;
use super::calibration::{G1, G2, G3, RANGE_SWITCHING_ERROR, RES_HEAT_RANGE, RES_HEAT_VAL};

/// "In practice, approximately 20-30 ms are necessary for the heater to reach the intended target temperature" (section
/// 3.3.5).
const HEATING_MS: u32 = 30;
/// "Typically between 200 Cel and 400 Cel" (section 3.3.5). Hotter, the plate does not get; the allowance is for the
/// rounding of the code.
const HOTTEST: f64 = 410.0;
/// Colder, the layer does not react to gases; nor does the plate need heating.
const COLDEST: f64 = 190.0;
/// How many times the resistance of a hot layer a cold one has. The datasheet does not say: a reading of it is no reading.
const COLD: f64 = 12.0;

/// What the converter gives: 10 bits and a range of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    code: u16,
    range: u8,
    /// Whether the plate had its temperature.
    is_stable: bool,
}

/// A heater set-point as its registers hold it.
#[derive(Clone, Copy)]
pub(super) struct SetPoint {
    pub(super) res_heat: u8,
    pub(super) gas_wait: u8,
    pub(super) is_off: bool,
}

impl SetPoint {
    /// Section 5.3.3.3: 64 steps of 1 ms, times 1, 4, 16 or 64.
    pub(super) fn wait_ms(self) -> u32 {
        u32::from(self.gas_wait & 0x3F) << (2 * (self.gas_wait >> 6))
    }

    /// What the plate is asked for: section 3.3.5, solved for the target temperature, in Cel, in air of so many Cel.
    fn target(self, ambient: f64) -> f64 {
        let ohm = (f64::from(self.res_heat) / 3.4 + 25.0)
            * (1.0 + f64::from(RES_HEAT_VAL) * 0.002)
            * (4.0 + f64::from(RES_HEAT_RANGE))
            / 4.0;
        let var1 = f64::from(G1) / 16.0 + 49.0;
        let var2 = f64::from(G2) / 32_768.0 * 0.0005 + 0.002_35;
        let var3 = f64::from(G3) / 1_024.0;
        ((ohm - var3 * ambient) / var1 - 1.0) / var2
    }

    /// Whether the plate comes to its temperature in time.
    fn is_reached(self, ambient: f64) -> bool {
        !self.is_off && self.wait_ms() >= HEATING_MS && (COLDEST..=HOTTEST).contains(&self.target(ambient))
    }
}

impl Conversion {
    /// The conversion of a layer that has so many Ohm when it is hot, on a plate in air of so many Cel; `is_broken` if the
    /// heater is.
    pub(super) fn of(part: Part, ohm: f64, set_point: SetPoint, ambient: f64, is_broken: bool) -> Self {
        let is_stable = !is_broken && set_point.is_reached(ambient);
        let ohm = if is_stable { ohm } else { ohm * COLD };
        let ohm = ohm.clamp(resistance(part, 1_023, 15), resistance(part, 0, 0));
        // Ranges overlap: the one in which the code is nearest to the middle is the most exact.
        let from_middle = |code: f64| (code - 512.0).abs();
        let codes = (0..16).map(|range| (range, code(part, ohm, range)));
        let nearest = codes.min_by(|(_, one), (_, other)| from_middle(*one).total_cmp(&from_middle(*other)));
        // The cast saturates.
        let (range, code) = nearest.map_or((0, 0), |(range, code)| (range, (code.round() as u16).min(1_023)));
        Self { code, range, is_stable }
    }

    /// The two registers, sections 5.3.4.4, 5.3.4.5, 5.3.5.5, 5.3.5.6: the code, gas_valid, heat_stab, the range.
    pub(super) fn registers(self) -> [u8; 2] {
        let low = (self.code & 0b11) as u8;
        [(self.code >> 2) as u8, low << 6 | 1 << 5 | u8::from(self.is_stable) << 4 | self.range]
    }
}

/// What the code would be of so many Ohm, more than none, in a range, if codes had no ends and no steps. A higher resistance
/// has a lower code.
fn code(part: Part, ohm: f64, range: u8) -> f64 {
    let middle = resistance(part, 512, range);
    // Both formulas are 1 / (a + b * code): what is between two codes is found in the conductance.
    let step = 1.0 / resistance(part, 513, range) - 1.0 / middle;
    512.0 + (1.0 / ohm - 1.0 / middle) / step
}

/// Ohm. Section 3.4.1 for the BME680; for the BME688 the formula is in its datasheet and Bosch's BME68x Sensor API.
fn resistance(part: Part, code: u16, range: u8) -> f64 {
    let code = f64::from(code);
    match part {
        Part::Bme680 => {
            const ARRAY1: [f64; 16] =
                [1.0, 1.0, 1.0, 1.0, 1.0, 0.99, 1.0, 0.992, 1.0, 1.0, 0.998, 0.995, 1.0, 0.99, 1.0, 1.0];
            const ARRAY2: [f64; 16] = [
                8_000_000.0,
                4_000_000.0,
                2_000_000.0,
                1_000_000.0,
                499_500.499_5,
                248_262.164_8,
                125_000.0,
                63_004.032_26,
                31_281.281_28,
                15_625.0,
                7_812.5,
                3_906.25,
                1_953.125,
                976.562_5,
                488.281_25,
                244.140_625,
            ];
            let range = usize::from(range & 0x0F);
            let var1 = (1_340.0 + 5.0 * f64::from(RANGE_SWITCHING_ERROR)) * ARRAY1[range];
            var1 * ARRAY2[range] / (code - 512.0 + var1)
        }
        Part::Bme688 => 1_000_000.0 * f64::from(262_144_u32 >> range) / (4_096.0 + 3.0 * (code - 512.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 320 Cel for 150 ms in air of 25 Cel.
    const HOT: SetPoint = SetPoint { res_heat: 0x72, gas_wait: 0x65, is_off: false };

    /// Section 3.3.5, in floating point.
    fn res_heat(target: f64, ambient: f64) -> u8 {
        let var1 = f64::from(G1) / 16.0 + 49.0;
        let var2 = f64::from(G2) / 32_768.0 * 0.0005 + 0.002_35;
        let var5 = var1 * (1.0 + var2 * target) + f64::from(G3) / 1_024.0 * ambient;
        let ohm = var5 * (4.0 / (4.0 + f64::from(RES_HEAT_RANGE))) * (1.0 / (1.0 + f64::from(RES_HEAT_VAL) * 0.002));
        (3.4 * (ohm - 25.0)) as u8
    }

    #[test]
    fn the_datasheets_example_waits_100_ms() {
        assert_eq!(SetPoint { gas_wait: 0x59, ..HOT }.wait_ms(), 100);
        assert_eq!(SetPoint { gas_wait: 0xFF, ..HOT }.wait_ms(), 4_032);
        assert_eq!(SetPoint { gas_wait: 0x3F, ..HOT }.wait_ms(), 63);
    }

    #[test]
    fn a_set_point_means_the_temperature_that_it_was_made_of() {
        for ambient in [-20.0, 25.0, 60.0] {
            for target in [200.0, 300.0, 320.0, 400.0] {
                let set_point = SetPoint { res_heat: res_heat(target, ambient), ..HOT };
                let found = set_point.target(ambient);
                assert!((found - target).abs() < 5.0, "{found} Cel, not {target}");
                assert!(set_point.is_reached(ambient));
            }
        }
    }

    #[test]
    fn a_plate_that_is_off_hurried_or_asked_too_much_is_not_stable() {
        let is_stable = |set_point| Conversion::of(Part::Bme680, 50_000.0, set_point, 25.0, false).is_stable;
        assert!(is_stable(HOT));
        assert!(!is_stable(SetPoint { is_off: true, ..HOT }));
        assert!(!is_stable(SetPoint { gas_wait: 10, ..HOT }));
        assert!(!is_stable(SetPoint { res_heat: 0xFF, ..HOT }));
        assert!(!is_stable(SetPoint { res_heat: 0, ..HOT }), "as after a reset");
        assert!(!Conversion::of(Part::Bme680, 50_000.0, HOT, 25.0, true).is_stable, "broken");
    }

    #[test]
    fn a_code_in_the_middle_is_what_the_table_says() {
        for (range, ohm) in [(0, 8_000_000.0), (5, 248_262.164_8), (7, 63_004.032_26), (15, 244.140_625)] {
            assert_eq!(format!("{:.4}", resistance(Part::Bme680, 512, range)), format!("{ohm:.4}"));
        }
        assert_eq!(resistance(Part::Bme688, 512, 0), 64_000_000.0);
        assert_eq!(resistance(Part::Bme688, 512, 10), 62_500.0);
    }

    #[test]
    fn every_resistance_has_a_code_to_two_thousandths() {
        for (part, from, to) in [(Part::Bme680, 200.0, 12_000_000.0), (Part::Bme688, 1_500.0, 90_000_000.0)] {
            let mut ohm = from;
            while ohm < to {
                let Conversion { code, range, .. } = Conversion::of(part, ohm, HOT, 25.0, false);
                let found = resistance(part, code, range);
                assert!((found / ohm - 1.0).abs() < 0.002, "{part:?}: {ohm} Ohm comes out as {found}");
                ohm *= 1.07;
            }
        }
    }

    #[test]
    fn what_no_code_can_say_is_said_by_the_last_code() {
        let found = |part, ohm| {
            let Conversion { code, range, .. } = Conversion::of(part, ohm, HOT, 25.0, false);
            (code, range)
        };
        assert_eq!(found(Part::Bme680, 0.0), (1_023, 15));
        assert_eq!(found(Part::Bme680, 1e12), (0, 0));
        assert_eq!(found(Part::Bme688, -5.0), (1_023, 15));
        assert_eq!(found(Part::Bme688, 1e12), (0, 0));
    }

    #[test]
    fn the_registers_hold_the_fields_where_the_datasheet_has_them() {
        let conversion = Conversion { code: 0b10_1101_0111, range: 9, is_stable: true };
        assert_eq!(conversion.registers(), [0b1011_0101, 0b1111_1001]);
        assert_eq!(Conversion { is_stable: false, ..conversion }.registers()[1], 0b1110_1001);
    }
}
