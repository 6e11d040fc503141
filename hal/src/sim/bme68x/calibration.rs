//! A BME68x's calibration block, its compensation of temperature, humidity and pressure (in floating point, sections 3.3.1
//! to 3.3.3), and the way back from what the air is to the code that the converters must give.

use super::super::bosch::{MAX_16_BITS, MAX_20_BITS, closest};

/// What a BME680 from a shop has, except [`RANGE_SWITCHING_ERROR`]: most chips have a small positive one, and drivers that
/// forget its sign get away with it.
const T1: u16 = 26_203;
const T2: i16 = 26_519;
const T3: i8 = 3;
const P1: u16 = 35_008;
const P2: i16 = -10_284;
const P3: i8 = 88;
const P4: i16 = 9_692;
const P5: i16 = -202;
const P6: i8 = 30;
const P7: i8 = 24;
const P8: i16 = -516;
const P9: i16 = -3_469;
const P10: u8 = 30;
const H1: u16 = 794;
const H2: u16 = 1_007;
const H3: i8 = 0;
const H4: i8 = 45;
const H5: i8 = 20;
const H6: u8 = 120;
const H7: i8 = -100;
pub(super) const G1: i8 = -48;
pub(super) const G2: i16 = -5_755;
pub(super) const G3: i8 = 18;
pub(super) const RES_HEAT_RANGE: u8 = 1;
pub(super) const RES_HEAT_VAL: i8 = 46;
/// Signed, of four bits (section 3.4.1).
pub(super) const RANGE_SWITCHING_ERROR: i8 = -1;

/// What a register of the calibration block holds (tables 11 to 15); 0 outside it.
pub(super) fn register(address: u8) -> u8 {
    match address {
        0x00 => RES_HEAT_VAL.cast_unsigned(),
        // The lower bits of these two are reserved, and not zero in chips.
        0x02 => RES_HEAT_RANGE << 4 | 0x03,
        0x04 => (RANGE_SWITCHING_ERROR << 4).cast_unsigned() | 0x03,
        0x8A | 0x8B => T2.to_le_bytes()[usize::from(address & 1)],
        0x8C => T3.cast_unsigned(),
        0x8E | 0x8F => P1.to_le_bytes()[usize::from(address & 1)],
        0x90 | 0x91 => P2.to_le_bytes()[usize::from(address & 1)],
        0x92 => P3.cast_unsigned(),
        0x94 | 0x95 => P4.to_le_bytes()[usize::from(address & 1)],
        0x96 | 0x97 => P5.to_le_bytes()[usize::from(address & 1)],
        0x98 => P7.cast_unsigned(),
        0x99 => P6.cast_unsigned(),
        0x9C | 0x9D => P8.to_le_bytes()[usize::from(address & 1)],
        0x9E | 0x9F => P9.to_le_bytes()[usize::from(address & 1)],
        0xA0 => P10,
        0xE1 => (H2 >> 4) as u8,
        // Two 12-bit numbers share this register: the low nibbles of H2 and H1.
        0xE2 => ((H2 & 0x0F) << 4) as u8 | (H1 & 0x0F) as u8,
        0xE3 => (H1 >> 4) as u8,
        0xE4 => H3.cast_unsigned(),
        0xE5 => H4.cast_unsigned(),
        0xE6 => H5.cast_unsigned(),
        0xE7 => H6,
        0xE8 => H7.cast_unsigned(),
        0xE9 => T1.to_le_bytes()[0],
        0xEA => T1.to_le_bytes()[1],
        0xEB => G2.to_le_bytes()[0],
        0xEC => G2.to_le_bytes()[1],
        0xED => G1.cast_unsigned(),
        0xEE => G3.cast_unsigned(),
        _ => 0,
    }
}

/// The carrier of the temperature between the formulas, in 1/5120 Cel.
pub(super) fn t_fine(code: u32) -> f64 {
    let code = f64::from(code);
    let t1 = f64::from(T1);
    let linear = (code / 16_384.0 - t1 / 1_024.0) * f64::from(T2);
    linear + (code / 131_072.0 - t1 / 8_192.0).powi(2) * f64::from(T3) * 16.0
}

/// Cel.
pub(super) fn temperature(t_fine: f64) -> f64 {
    t_fine / 5_120.0
}

/// Pa.
pub(super) fn pressure(code: u32, t_fine: f64) -> f64 {
    let [p3, p6, p7] = [P3, P6, P7].map(f64::from);
    let [p2, p4, p5, p8, p9] = [P2, P4, P5, P8, P9].map(f64::from);
    let half = t_fine / 2.0 - 64_000.0;
    let offset = (half * half * p6 / 131_072.0 + half * p5 * 2.0) / 4.0 + p4 * 65_536.0;
    let slope = (1.0 + (p3 * half * half / 16_384.0 + p2 * half) / 524_288.0 / 32_768.0) * f64::from(P1);
    if slope == 0.0 {
        return 0.0;
    }
    let raw = (1_048_576.0 - f64::from(code) - offset / 4_096.0) * 6_250.0 / slope;
    let bent = p9 * raw * raw / 2_147_483_648.0 + raw * p8 / 32_768.0;
    raw + (bent + (raw / 256.0).powi(3) * f64::from(P10) / 131_072.0 + p7 * 128.0) / 16.0
}

/// %RH, before the clamp to 0 and 100.
pub(super) fn humidity(code: u32, t_fine: f64) -> f64 {
    let celsius = temperature(t_fine);
    let [h3, h4, h5, h7] = [H3, H4, H5, H7].map(f64::from);
    let zeroed = f64::from(code) - (f64::from(H1) * 16.0 + h3 / 2.0 * celsius);
    let warm = 1.0 + h4 / 16_384.0 * celsius + h5 / 1_048_576.0 * celsius * celsius;
    let linear = zeroed * f64::from(H2) / 262_144.0 * warm;
    linear + (f64::from(H6) / 16_384.0 + h7 / 2_097_152.0 * celsius) * linear * linear
}

/// The code that compensates closest to so many Cel.
pub(super) fn temperature_code(celsius: f64) -> u32 {
    closest(0..=MAX_20_BITS, celsius, |code| temperature(t_fine(code)))
}

/// The code that compensates closest to so many Pa. A higher pressure has a lower code.
pub(super) fn pressure_code(pascal: f64, t_fine: f64) -> u32 {
    closest(0..=MAX_20_BITS, -pascal, |code| -pressure(code, t_fine))
}

/// The code that compensates closest to so many %RH. The formula has a vertex below dry air, where lower codes would be
/// damper again: the search begins above it.
pub(super) fn humidity_code(percent: f64, t_fine: f64) -> u32 {
    closest(u32::from(H1) * 16..=MAX_16_BITS, percent.clamp(0.0, 100.0), |code| humidity(code, t_fine))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integer arithmetic of sections 3.3.1 to 3.3.3: 0.01 Cel, Pa, 0.001 %RH. In 64 bits, for in the datasheet's 32 the term
    /// with `par_p10` overflows above 106500 Pa.
    fn integer(adc_t: i64, adc_p: i64, adc_h: i64) -> (i64, i64, i64) {
        let var1 = (adc_t >> 3) - (i64::from(T1) << 1);
        let var2 = (var1 * i64::from(T2)) >> 11;
        let var3 = ((((var1 >> 1) * (var1 >> 1)) >> 12) * (i64::from(T3) << 4)) >> 14;
        let t_fine = var2 + var3;
        let temp_comp = (t_fine * 5 + 128) >> 8;

        let mut var1 = (t_fine >> 1) - 64_000;
        let mut var2 = ((((var1 >> 2) * (var1 >> 2)) >> 11) * i64::from(P6)) >> 2;
        var2 += (var1 * i64::from(P5)) << 1;
        var2 = (var2 >> 2) + (i64::from(P4) << 16);
        var1 = (((((var1 >> 2) * (var1 >> 2)) >> 13) * (i64::from(P3) << 5)) >> 3) + ((i64::from(P2) * var1) >> 1);
        var1 >>= 18;
        var1 = ((32_768 + var1) * i64::from(P1)) >> 15;
        let mut press = (1_048_576 - adc_p - (var2 >> 12)) * 3_125;
        press = (press << 1) / var1;
        let var1 = (i64::from(P9) * (((press >> 3) * (press >> 3)) >> 13)) >> 12;
        let var2 = ((press >> 2) * i64::from(P8)) >> 13;
        let var3 = ((press >> 8) * (press >> 8) * (press >> 8) * i64::from(P10)) >> 17;
        press += (var1 + var2 + var3 + (i64::from(P7) << 7)) >> 4;

        let var1 = adc_h - (i64::from(H1) << 4) - (((temp_comp * i64::from(H3)) / 100) >> 1);
        let curved = (((temp_comp * ((temp_comp * i64::from(H5)) / 100)) >> 6) / 100) + (1 << 14);
        let var2 = (i64::from(H2) * ((temp_comp * i64::from(H4)) / 100 + curved)) >> 10;
        let var3 = var1 * var2;
        let var4 = ((i64::from(H6) << 7) + (temp_comp * i64::from(H7)) / 100) >> 4;
        let var5 = ((var3 >> 14) * (var3 >> 14)) >> 10;
        let hum_comp = (((var3 + ((var4 * var5) >> 1)) >> 10) * 1_000) >> 12;
        (temp_comp, press, hum_comp)
    }

    #[test]
    fn both_arithmetics_of_the_datasheet_agree_over_the_operating_range() {
        for celsius in (-40..=85).step_by(5) {
            for (pascal, percent) in [(30_000, 0), (70_000, 20), (101_325, 50), (110_000, 100)] {
                let (celsius, pascal, percent) = (f64::from(celsius), f64::from(pascal), f64::from(percent));
                let adc_t = temperature_code(celsius);
                let t_fine = t_fine(adc_t);
                let (adc_p, adc_h) = (pressure_code(pascal, t_fine), humidity_code(percent, t_fine));
                let (c, p, h) = integer(adc_t.into(), adc_p.into(), adc_h.into());
                let close = |got: i64, unit: f64, wanted: f64, tolerance: f64| {
                    let got = got as f64 * unit;
                    assert!((got - wanted).abs() <= tolerance, "{got} is not {wanted} at {celsius} Cel");
                };
                close(c, 0.01, celsius, 0.011);
                close(p, 1.0, pascal, 12.0);
                close(h, 0.001, percent, 0.2);
            }
        }
    }

    #[test]
    fn a_reading_of_the_chip_that_has_these_parameters_comes_out() {
        // Reported with the parameters: t_fine 104478.758986 is 20.406008 Cel.
        assert_eq!(format!("{:.6}", temperature(104_478.758_986)), "20.406008");
    }

    #[test]
    fn the_way_back_reaches_the_whole_operating_range() {
        for tenths in (-400..=850).step_by(25) {
            let celsius = f64::from(tenths) / 10.0;
            let t_fine = t_fine(temperature_code(celsius));
            assert!((temperature(t_fine) - celsius).abs() < 0.001, "{celsius} Cel");
            for pascal in (30_000..=110_000).step_by(1_000) {
                let pascal = f64::from(pascal);
                let found = pressure(pressure_code(pascal, t_fine), t_fine);
                assert!((found - pascal).abs() < 0.2, "{pascal} Pa at {celsius} Cel: {found}");
            }
            for percent in 0..=100 {
                let percent = f64::from(percent);
                let found = humidity(humidity_code(percent, t_fine), t_fine);
                assert!((found - percent).abs() < 0.01, "{percent} %RH at {celsius} Cel: {found}");
            }
        }
    }

    #[test]
    fn numbers_that_share_a_register_come_apart_as_table_13_says() {
        assert_eq!(u16::from(register(0xE3)) << 4 | u16::from(register(0xE2) & 0x0F), H1);
        assert_eq!(u16::from(register(0xE1)) << 4 | u16::from(register(0xE2) >> 4), H2);
        assert_eq!(register(0x04).cast_signed() >> 4, RANGE_SWITCHING_ERROR);
    }
}
