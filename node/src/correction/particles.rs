//! The correction of the US EPA for PM2.5 of Plantower's counters, of October 2021, as the AirNow Fire and Smoke Map uses it.
//!
//! It was found for PurpleAir, which has two PMS5003 of the same make: K. Barkjohn et al., Atmos. Meas. Tech. 14, 4617, 2021, gives
//! 0.524 * PA - 0.0862 * RH + 5.75 for the counts "CF=1". A PMSA003I here is read in its other counts, "under atmospheric
//! environment" (as is the driver's habit, and AirGradient's). Up to 30 ug/m3 both are the same; above 50 the first are 1.5 times the second, and 1.5 *
//! 0.524 = 0.786. That is why the EPA's form for the atmospheric counts (K. Barkjohn, A. Clements, "Sensor data cleaning and
//! correction: application on the AirNow Fire and Smoke Map", US EPA, 2021, page 26) has the slopes 0.524 and 0.786 and a passage between them; beyond 210
//! it is fitted to smoke. Independent implementations of the five parts agree (AirGradient's firmware, PMS.cpp; airgradient_esphome).
//!
//! RH is as the monitor's own chip measures it, in PurpleAir some degrees warmer than the air: so here it is the measured
//! humidity of the node and not a corrected one. The fit is of daily means; a single sample is only as good as its counts.

/// PM2.5, ug/m3, from the counter's PM2.5 "under atmospheric environment" and the relative humidity in %. What comes out below zero is
/// zero.
pub(super) fn epa_2021(pm2_5: f64, humidity: f64) -> f64 {
    let humidity = humidity.clamp(0.0, 100.0);
    let clear = |slope: f64| slope * pm2_5 - 0.0862 * humidity + 5.75;
    let smoke = 2.966 + 0.69 * pm2_5 + 8.84e-4 * pm2_5 * pm2_5;
    let corrected = if pm2_5 < 30.0 {
        clear(0.524)
    } else if pm2_5 < 50.0 {
        let part = pm2_5 / 20.0 - 1.5;
        clear(0.786 * part + 0.524 * (1.0 - part))
    } else if pm2_5 < 210.0 {
        clear(0.786)
    } else if pm2_5 < 260.0 {
        let part = pm2_5 / 50.0 - 4.2;
        smoke * part + clear(0.786) * (1.0 - part)
    } else {
        smoke
    };
    corrected.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_as_published() {
        for (pm2_5, humidity, expected) in [
            (10.0, 50.0, 6.68),
            (0.0, 40.0, 2.302),
            // 0.524 and 0.786 in equal parts.
            (40.0, 60.0, 26.778),
            (100.0, 40.0, 80.902),
            // In the middle of the passage: half of 187.012 and half of 213.935.
            (235.0, 40.0, 200.473_45),
            (300.0, 90.0, 289.526),
        ] {
            let corrected = epa_2021(pm2_5, humidity);
            assert!((corrected - expected).abs() < 1e-3, "{pm2_5} at {humidity} %RH: {corrected}");
        }
    }

    #[test]
    fn clean_and_humid_air_has_no_less_than_nothing() {
        assert_eq!(epa_2021(0.0, 95.0), 0.0);
        assert_eq!(epa_2021(4.0, 100.0), 0.0);
    }

    #[test]
    fn the_parts_meet() {
        for at in [30.0, 50.0, 210.0, 260.0] {
            assert!((epa_2021(at - 1e-9, 50.0) - epa_2021(at, 50.0)).abs() < 1e-6, "at {at}");
        }
    }
}
