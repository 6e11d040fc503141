//! Air pressure reduced to mean sea level, for low stations: WMO-No. 8 (CIMO Guide), part I, chapter 3, "Reduction of pressure to
//! standard levels",
//!
//! log10(p0 / pS) = Kp * Hp / (TS + a * Hp / 2 + eS * Ch)
//!
//! with Kp = 0.0148275 K/m, a = 0.0065 K/m, Ch = 0.12 K/hPa, TS in K, the vapour pressure eS in hPa. Germany's weather service
//! uses the same (DWD, VuB 2 BUFR, page 28), as an exponential with g/R. For stations up to some 750 m; above, the air that would
//! be there if the mountain were not is too much of a guess, and nothing is derived.

use super::humidity::saturation_hpa;

/// The highest that the formula is for, m.
pub(super) const HIGHEST_M: i16 = 750;

/// Pressure at sea level, Pa, from the pressure at the station, its altitude, and the temperature and humidity of its air. Without a humidity the
/// air counts as dry, which is wrong by up to 0.1 hPa for each 100 m.
pub(super) fn at_sea_level(pascal: f64, altitude_m: f64, celsius: f64, humidity: Option<f64>) -> f64 {
    let vapour_hpa = humidity.unwrap_or(0.0) / 100.0 * saturation_hpa(celsius);
    let column_k = 273.15 + celsius + 0.0065 * altitude_m / 2.0 + 0.12 * vapour_hpa;
    pascal * 10f64.powf(0.014_827_5 * altitude_m / column_k)
}

/// Pressure at an altitude in the standard atmosphere, Pa (ICAO Doc 7488, troposphere: 15 Cel and 1013.25 hPa at sea level, 6.5 K a kilometre). The
/// weather makes it differ by some 3 %.
pub(super) fn standard(altitude_m: f64) -> f64 {
    101_325.0 * (1.0 - 0.0065 * altitude_m / 288.15).powf(5.255_88)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of ICAO Doc 7488.
    #[test]
    fn the_standard_atmosphere_thins_with_height() {
        for (altitude_m, hectopascal) in [(0.0, 1013.25), (1_000.0, 898.75), (1_600.0, 835.24), (5_000.0, 540.20)] {
            let standard = standard(altitude_m) / 100.0;
            assert!((standard - hectopascal).abs() < 0.1, "{altitude_m} m: {standard} hPa");
        }
    }

    /// PsychroLib's `GetSeaLevelPressure(101226.5, 105, 17.19)` is 102484 Pa (checked there against Casio's calculator), for dry air and
    /// with g/R instead of Kp.
    #[test]
    fn dry_air_is_reduced_as_others_do() {
        assert!((at_sea_level(101_226.5, 105.0, 17.19, None) - 102_484.0).abs() < 2.0);
        assert_eq!(at_sea_level(101_325.0, 0.0, 25.0, Some(60.0)), 101_325.0);
        assert!(at_sea_level(101_325.0, -50.0, 25.0, None) < 101_325.0, "below the sea");
    }

    /// DWD's formula, computed by hand: 20 Cel, 70 %RH, 16.35 hPa of vapour, 300 m, 980 hPa.
    #[test]
    fn humid_air_is_reduced_as_the_weather_service_does() {
        let exponent = 9.80665 / 287.05 * 300.0 / (293.15 + 16.35 * 0.12 + 0.0065 * 300.0 / 2.0);
        let dwd = 98_000.0 * f64::exp(exponent);
        assert!((at_sea_level(98_000.0, 300.0, 20.0, Some(70.0)) - dwd).abs() < 5.0);
        let dry = at_sea_level(98_000.0, 300.0, 20.0, None);
        assert!((5.0..30.0).contains(&(dry - dwd)), "0.1 hPa for each 100 m at most");
    }
}
