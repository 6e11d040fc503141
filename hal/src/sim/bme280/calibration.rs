//! The BME280's calibration block, its compensation (in floating point, datasheet section 8.1), and the way back from what
//! the air is to the code that the converters must give.

use super::super::bosch::{MAX_16_BITS, MAX_20_BITS, closest};

/// Trimming parameters, table 16. Temperature and pressure are the worked example of the BMP280's datasheet (BST-BMP280-DS001
/// section 3.12), which shares the arithmetic; humidity is typical of real chips, as Bosch publishes no example.
const T1: u16 = 27_504;
const T2: i16 = 26_435;
const T3: i16 = -1_000;
const P1: u16 = 36_477;
const P2: i16 = -10_685;
const P3: i16 = 3_024;
const P4: i16 = 2_855;
const P5: i16 = 140;
const P6: i16 = -7;
const P7: i16 = 15_500;
const P8: i16 = -14_600;
const P9: i16 = 6_000;
const H1: u8 = 75;
const H2: i16 = 370;
const H3: u8 = 0;
const H4: i16 = 313;
const H5: i16 = 50;
const H6: i8 = 30;

/// What a register of the calibration block holds (table 16); 0 outside it.
pub(super) fn register(address: u8) -> u8 {
    const WORDS: [u16; 12] = [
        T1,
        T2.cast_unsigned(),
        T3.cast_unsigned(),
        P1,
        P2.cast_unsigned(),
        P3.cast_unsigned(),
        P4.cast_unsigned(),
        P5.cast_unsigned(),
        P6.cast_unsigned(),
        P7.cast_unsigned(),
        P8.cast_unsigned(),
        P9.cast_unsigned(),
    ];
    let [h2_low, h2_high] = H2.to_le_bytes();
    match address {
        0x88..=0x9F => {
            let offset = usize::from(address - 0x88);
            WORDS.get(offset / 2).map_or(0, |word| word.to_le_bytes()[offset % 2])
        }
        0xA1 => H1,
        0xE1 => h2_low,
        0xE2 => h2_high,
        0xE3 => H3,
        0xE4 => (H4 >> 4) as u8,
        // Two 12-bit numbers share this register: the low nibbles of H4 and H5.
        0xE5 => (H4 & 0x0F) as u8 | ((H5 & 0x0F) << 4) as u8,
        0xE6 => (H5 >> 4) as u8,
        0xE7 => H6.cast_unsigned(),
        _ => 0,
    }
}

/// The carrier of the temperature between the formulas, in 1/5120 Cel.
pub(super) fn t_fine(code: u32) -> f64 {
    let code = f64::from(code);
    let (t1, t2, t3) = (f64::from(T1), f64::from(T2), f64::from(T3));
    let linear = (code / 16_384.0 - t1 / 1_024.0) * t2;
    linear + (code / 131_072.0 - t1 / 8_192.0).powi(2) * t3
}

/// Cel.
pub(super) fn temperature(t_fine: f64) -> f64 {
    t_fine / 5_120.0
}

/// Pa.
pub(super) fn pressure(code: u32, t_fine: f64) -> f64 {
    let [p1, p2, p3] = [f64::from(P1), f64::from(P2), f64::from(P3)];
    let [p4, p5, p6] = [P4, P5, P6].map(f64::from);
    let [p7, p8, p9] = [P7, P8, P9].map(f64::from);
    let half = t_fine / 2.0 - 64_000.0;
    let offset = (half * half * p6 / 32_768.0 + half * p5 * 2.0) / 4.0 + p4 * 65_536.0;
    let slope = (1.0 + (p3 * half * half / 524_288.0 + p2 * half) / 524_288.0 / 32_768.0) * p1;
    if slope == 0.0 {
        return 0.0;
    }
    let raw = (1_048_576.0 - f64::from(code) - offset / 4_096.0) * 6_250.0 / slope;
    raw + (p9 * raw * raw / 2_147_483_648.0 + raw * p8 / 32_768.0 + p7) / 16.0
}

/// %RH, before the clamp to 0 and 100.
pub(super) fn humidity(code: u32, t_fine: f64) -> f64 {
    let [h1, h2, h3] = [f64::from(H1), f64::from(H2), f64::from(H3)];
    let [h4, h5, h6] = [f64::from(H4), f64::from(H5), f64::from(H6)];
    let warm = t_fine - 76_800.0;
    let zeroed = f64::from(code) - (h4 * 64.0 + h5 / 16_384.0 * warm);
    let bent = 1.0 + h6 / 67_108_864.0 * warm * (1.0 + h3 / 67_108_864.0 * warm);
    let linear = zeroed * (h2 / 65_536.0 * bent);
    linear * (1.0 - h1 * linear / 524_288.0)
}

/// The code that compensates closest to so many Cel.
pub(super) fn temperature_code(celsius: f64) -> u32 {
    closest(0..=MAX_20_BITS, celsius, |code| temperature(t_fine(code)))
}

/// The code that compensates closest to so many Pa. A higher pressure has a lower code.
pub(super) fn pressure_code(pascal: f64, t_fine: f64) -> u32 {
    closest(0..=MAX_20_BITS, -pascal, |code| -pressure(code, t_fine))
}

/// The code that compensates closest to so many %RH.
pub(super) fn humidity_code(percent: f64, t_fine: f64) -> u32 {
    closest(0..=MAX_16_BITS, percent.clamp(0.0, 100.0), |code| humidity(code, t_fine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_datasheet_comes_out() {
        let t_fine = t_fine(519_888);
        assert_eq!(t_fine as i32, 128_422);
        assert_eq!(format!("{:.2}", temperature(t_fine)), "25.08");
        assert_eq!(format!("{:.2}", pressure(415_148, t_fine)), "100653.27");
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
    fn what_no_code_can_say_is_said_by_the_last_code() {
        assert_eq!(temperature_code(-1e9), 0);
        assert_eq!(temperature_code(1e9), MAX_20_BITS);
        let t_fine = t_fine(temperature_code(20.0));
        assert_eq!(pressure_code(1e9, t_fine), 0);
        assert_eq!(humidity_code(250.0, t_fine), humidity_code(100.0, t_fine));
    }
}
