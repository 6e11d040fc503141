//! Relative humidity of the same air at another temperature.

/// Saturation vapour pressure over water, hPa: Magnus' formula with the coefficients of WMO-No. 8, annex 4.B, for -45 to 60 Cel.
pub(super) fn saturation_hpa(celsius: f64) -> f64 {
    6.112 * (17.62 * celsius / (243.12 + celsius)).exp()
}

/// What the relative humidity of air is at `air` Cel that has `humidity` %RH at `warm` Cel: the dew point stays. Not clamped.
pub(super) fn at(humidity: f64, warm: f64, air: f64) -> f64 {
    humidity * saturation_hpa(warm) / saturation_hpa(air)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse of the formula above.
    fn dew_point(celsius: f64, humidity: f64) -> f64 {
        let g = (humidity / 100.0).ln() + 17.62 * celsius / (243.12 + celsius);
        243.12 * g / (17.62 - g)
    }

    #[test]
    fn saturation_is_that_of_the_tables() {
        // Vapour pressure over water, hPa (Smithsonian Meteorological Tables, table 94).
        for (celsius, hpa) in [(0.0, 6.1078), (10.0, 12.272), (20.0, 23.373), (30.0, 42.430), (40.0, 73.777)] {
            assert!((saturation_hpa(celsius) / hpa - 1.0).abs() < 0.004, "{celsius}: {}", saturation_hpa(celsius));
        }
    }

    #[test]
    fn the_dew_point_stays() {
        for (humidity, warm, air) in [(30.0, 30.0, 20.0), (60.0, 25.0, 28.0), (5.0, 40.0, 10.0), (50.0, -5.0, -8.0)] {
            let there = at(humidity, warm, air);
            assert!((dew_point(warm, humidity) - dew_point(air, there)).abs() < 1e-9, "{humidity} %RH at {warm} Cel");
        }
        assert!((at(40.0, 21.0, 21.0) - 40.0).abs() < 1e-12);
    }
}
