//! From a BME68x's codes to values, and from a temperature to what its heater wants.
//!
//! The formulas and the tables are those of Bosch's BME68x_SensorAPI (version 4.4.8, `bme68x.c`), in floating point:
//!
//! Copyright (c) 2023 Bosch Sensortec GmbH. All rights reserved.
//!
//! BSD-3-Clause
//!
//! Redistribution and use in source and binary forms, with or without modification, are permitted provided that the following
//! conditions are met:
//!
//! 1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following disclaimer.
//!
//! 2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following disclaimer
//!    in the documentation and/or other materials provided with the distribution.
//!
//! 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote products derived
//!    from this software without specific prior written permission.
//!
//! THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT
//! NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT SHALL
//! THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES
//! (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS
//! INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE
//! OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.

/// What the factory measured, by the names that Bosch gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calibration {
    pub(super) t: [f64; 3],
    pub(super) p: [f64; 10],
    pub(super) h: [f64; 7],
    pub(super) heater: Heater,
    pub(super) range_switching_error: f64,
}

/// The part of the calibration that is for the heater.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heater {
    pub(super) gh: [f64; 3],
    pub(super) range: f64,
    pub(super) value: f64,
}

/// What the codes mean.
pub(super) struct Air {
    pub(super) celsius: f64,
    pub(super) pascal: f64,
    /// Stops at 0 and 100.
    pub(super) percent: f64,
}

impl Calibration {
    /// From the three blocks at 0x8a, 0xe1 and 0x00. `None` where the factory cannot have written them: it would be divided by
    /// zero.
    pub(super) fn new(a: &[u8; 23], b: &[u8; 14], c: &[u8; 5]) -> Option<Self> {
        let unsigned = |lsb: u8, msb: u8| f64::from(u16::from_le_bytes([lsb, msb]));
        let signed = |lsb: u8, msb: u8| f64::from(i16::from_le_bytes([lsb, msb]));
        let byte = |byte: u8| f64::from(byte.cast_signed());
        let twelve = |msb: u8, nibble: u8| f64::from(u16::from(msb) << 4 | u16::from(nibble));
        let [t2l, t2h, t3, _, p1l, p1h, p2l, p2h, p3, _, p4l, p4h, p5l, p5h, p7, p6, _, _, p8l, p8h, p9l, p9h, p10] =
            *a;
        let [h2h, shared, h1h, h3, h4, h5, h6, h7, t1l, t1h, gh2l, gh2h, gh1, gh3] = *b;
        let [heat_value, _, heat_range, _, switching] = *c;
        let calibration = Self {
            t: [unsigned(t1l, t1h), signed(t2l, t2h), byte(t3)],
            p: [
                unsigned(p1l, p1h),
                signed(p2l, p2h),
                byte(p3),
                signed(p4l, p4h),
                signed(p5l, p5h),
                byte(p6),
                byte(p7),
                signed(p8l, p8h),
                signed(p9l, p9h),
                p10.into(),
            ],
            h: [
                twelve(h1h, shared & 0x0f),
                twelve(h2h, shared >> 4),
                byte(h3),
                byte(h4),
                byte(h5),
                h6.into(),
                byte(h7),
            ],
            heater: Heater {
                gh: [byte(gh1), signed(gh2l, gh2h), byte(gh3)],
                range: f64::from(heat_range >> 4 & 0b11),
                value: byte(heat_value),
            },
            range_switching_error: f64::from(switching.cast_signed() >> 4),
        };
        let is_blank = a.iter().all(|byte| *byte == 0xff);
        (calibration.t[0] != 0.0 && calibration.p[0] != 0.0 && !is_blank).then_some(calibration)
    }

    pub(super) fn air(&self, temperature: u32, pressure: u32, humidity: u16) -> Air {
        let fine = self.fine(temperature.into());
        let celsius = fine / 5120.0;
        Air { celsius, pascal: self.pascal(fine, pressure.into()), percent: self.percent(celsius, humidity.into()) }
    }

    /// The temperature in 1/5120 Cel.
    fn fine(&self, code: f64) -> f64 {
        let [t1, t2, t3] = self.t;
        let linear = (code / 16_384.0 - t1 / 1024.0) * t2;
        let square = (code / 131_072.0 - t1 / 8192.0).powi(2) * t3 * 16.0;
        linear + square
    }

    fn pascal(&self, fine: f64, code: f64) -> f64 {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10] = self.p;
        let warmth = fine / 2.0 - 64_000.0;
        let offset = (warmth * warmth * p6 / 131_072.0 + warmth * p5 * 2.0) / 4.0 + p4 * 65_536.0;
        let slope = (p3 * warmth * warmth / 16_384.0 + p2 * warmth) / 524_288.0;
        let slope = (1.0 + slope / 32_768.0) * p1;
        let linear = (1_048_576.0 - code - offset / 4096.0) * 6250.0 / slope;
        let square = p9 * linear * linear / 2_147_483_648.0;
        let cube = (linear / 256.0).powi(3) * (p10 / 131_072.0);
        linear + (square + linear * (p8 / 32_768.0) + cube + p7 * 128.0) / 16.0
    }

    fn percent(&self, celsius: f64, code: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6, h7] = self.h;
        let gain = h2 / 262_144.0 * (1.0 + h4 / 16_384.0 * celsius + h5 / 1_048_576.0 * celsius * celsius);
        let linear = (code - (h1 * 16.0 + h3 / 2.0 * celsius)) * gain;
        (linear + (h6 / 16_384.0 + h7 / 2_097_152.0 * celsius) * linear * linear).clamp(0.0, 100.0)
    }

    /// A BME680's gas resistance, Ohm.
    pub(super) fn ohm_bme680(&self, code: u16, range: u8) -> f64 {
        // In percent, for each range.
        const K1: [f64; 16] = [0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -0.8, 0.0, 0.0, -0.2, -0.5, 0.0, -1.0, 0.0, 0.0];
        const K2: [f64; 16] = [0.0, 0.0, 0.0, 0.0, 0.1, 0.7, 0.0, -0.8, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let of = |table: &[f64; 16]| 1.0 + table.get(usize::from(range)).copied().unwrap_or_default() / 100.0;
        let scale = (1340.0 + 5.0 * self.range_switching_error) * of(&K1);
        let steps = (f64::from(code) - 512.0) / scale + 1.0;
        1.0 / (of(&K2) * 0.000_000_125 * f64::from(range).exp2() * steps)
    }
}

/// A BME688's gas resistance, Ohm.
pub(super) fn ohm_bme688(code: u16, range: u8) -> f64 {
    let steps = 4096.0 + 3.0 * (f64::from(code) - 512.0);
    1_000_000.0 * (262_144_u32 >> range.min(15)) as f64 / steps
}

impl Heater {
    /// What `res_heat` must hold for this temperature of the plate in air of that temperature, both in Cel. At most 400.
    pub(super) fn resistance_code(&self, plate: f64, ambient: f64) -> u8 {
        let [gh1, gh2, gh3] = self.gh;
        let base = gh1 / 16.0 + 49.0;
        let slope = gh2 / 32_768.0 * 0.0005 + 0.00235;
        let hot = base * (1.0 + slope * plate.min(400.0)) + gh3 / 1024.0 * ambient;
        let ohm = hot * (4.0 / (4.0 + self.range)) * (1.0 / (1.0 + self.value * 0.002));
        // The conversion stops at the ends of a byte.
        (3.4 * (ohm - 25.0)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two calibrations with every coefficient in play; the values that belong to them were computed with Bosch's C code.
    const FIRST: Calibration = Calibration {
        t: [26125.0, 26369.0, 3.0],
        p: [36165.0, -10337.0, 88.0, 7223.0, -127.0, 30.0, 42.0, -2954.0, -2495.0, 30.0],
        h: [783.0, 1015.0, 0.0, 45.0, 20.0, 120.0, -100.0],
        heater: Heater { gh: [-30.0, -5969.0, 18.0], range: 1.0, value: 50.0 },
        range_switching_error: -1.0,
    };
    const SECOND: Calibration = Calibration {
        t: [26125.0, 26369.0, -7.0],
        p: [36165.0, -10337.0, -5.0, 7223.0, 151.0, -3.0, -20.0, 1500.0, 2100.0, 200.0],
        h: [783.0, 1015.0, -12.0, -3.0, -20.0, 120.0, 37.0],
        heater: Heater { gh: [20.0, 12000.0, -9.0], range: 3.0, value: -21.0 },
        range_switching_error: 5.0,
    };

    fn is_close(value: f64, expected: f64) -> bool {
        // Bosch's code has single precision, and takes the difference of numbers that are nearly alike.
        (value - expected).abs() <= 3e-6 * expected.abs() + 2e-5
    }

    #[test]
    fn codes_become_what_bosch_makes_of_them() {
        let codes = [
            (489_000, 320_000, 22_000),
            (430_000, 350_000, 18_000),
            (540_000, 280_000, 30_000),
            (470_123, 333_333, 25_555),
        ];
        let expected = [
            [
                (22.321102, 105418.6016, 48.926136),
                (3.772194, 97215.6953, 24.688011),
                (38.357964, 115298.2656, 100.0),
                (16.385983, 102115.2969, 71.324463),
            ],
            [
                (22.311932, 113026.4609, 47.076382),
                (3.771932, 103748.6875, 24.593039),
                (38.330894, 124758.9531, 100.0),
                (16.381039, 109214.9844, 69.752060),
            ],
        ];
        for (calibration, expected) in [FIRST, SECOND].iter().zip(expected) {
            for ((temperature, pressure, humidity), (celsius, pascal, percent)) in codes.into_iter().zip(expected) {
                let air = calibration.air(temperature, pressure, humidity);
                assert!(is_close(air.celsius, celsius), "{} {celsius}", air.celsius);
                assert!(is_close(air.pascal, pascal), "{} {pascal}", air.pascal);
                assert!(is_close(air.percent, percent), "{} {percent}", air.percent);
            }
        }
    }

    #[test]
    fn gas_codes_become_what_bosch_makes_of_them() {
        for (code, range, first, second, bme688) in [
            (512, 7, 63_004.035, 63_004.035, 500_000.0),
            (100, 0, 11_570_964.0, 11_458_552.0, 91_658_744.0),
            (1023, 15, 176.559, 177.640, 1421.212),
            (700, 9, 13_696.240, 13_733.500, 109_871.242),
        ] {
            assert!(is_close(FIRST.ohm_bme680(code, range), first), "{} {first}", FIRST.ohm_bme680(code, range));
            assert!(is_close(SECOND.ohm_bme680(code, range), second), "{} {second}", SECOND.ohm_bme680(code, range));
            assert!(is_close(ohm_bme688(code, range), bme688), "{} {bme688}", ohm_bme688(code, range));
        }
    }

    #[test]
    fn the_heater_gets_what_bosch_gives_it() {
        for (heater, ambient, codes) in [
            (FIRST.heater, -10.0, [83, 115, 136]),
            (FIRST.heater, 15.0, [84, 116, 137]),
            (FIRST.heater, 40.0, [85, 117, 138]),
            (SECOND.heater, -10.0, [68, 99, 120]),
            (SECOND.heater, 15.0, [68, 99, 119]),
            (SECOND.heater, 40.0, [67, 98, 119]),
        ] {
            assert_eq!([200.0, 320.0, 450.0].map(|plate| heater.resistance_code(plate, ambient)), codes);
        }
    }
}
