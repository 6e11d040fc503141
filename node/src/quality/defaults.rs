//! The thresholds that a node has without being told any, and why these.
//!
//! QARTOD's manuals say what the tests are and leave the thresholds "to be established locally by the operator" (e.g. Manual for
//! Real-Time Quality Control of Wind Data, section 3), and ioos_qc has no defaults. So each number here either has the source that stands
//! beside it, or is chosen, and then the reason stands there.
//!
//! *AWS* is I. Zahumensky's Guidelines on Quality Control Procedures for Data from Automatic Weather Stations (WMO, CBS/OPAG-IOS/ET
//! AWS-3/Doc. 4(1), 2004; since then in the Guide to the Global Observing System, WMO-No. 488), the basic procedures: I.a plausible
//! values, I.b the difference of successive samples, II.b that of one-minute values (suspect, erroneous) and the least change in an hour.
//! The EPA's screening criteria for weather (EPA-454/R-99-005, section 8.6.3) are about hourly means, and nothing of them can be asked of
//! a sample. For particles and gases neither they nor the agencies' rules for PM2.5 have a limit for one sample.
//!
//! No value fails for its speed or for standing out, unless a user says so: one sample cannot tell an error from an event, and a fire
//! must not be taken for a broken thermometer. It is suspect, once.

use std::collections::BTreeMap;
use std::time::Duration;

use reading::Quantity;

use super::config::{FlatLine, GrossRange, Tests, Thresholds};

/// By quantity.
pub(super) fn tests() -> BTreeMap<Quantity, Tests> {
    // Chosen. A particle count rises from clean to dangerous within seconds, and honestly so: no limit on its rate. One sample that
    // stands out by this much and is gone again is an insect or a fibre in the beam: it is thirty times what two good PMSA003I may
    // differ by in ordinary air (10 ug/m3 below 100; data manual V2.5, "Technical Index").
    let particles = Tests { spike: suspect(300.0), flat_line: flat(1, 6), ..Tests::default() };
    BTreeMap::from([
        (
            Quantity::TEMPERATURE,
            Tests {
                // AWS I.a: -80 to 60 Cel. Chosen: no chip here is specified below -40 Cel.
                gross_range: range(-40.0, 60.0),
                // AWS II.b: 3 Cel.
                rate_of_change: suspect(3.0),
                // AWS I.b: 2 Cel.
                spike: suspect(2.0),
                // AWS II.b: 0.1 Cel in an hour. Chosen: no change at all in half of one, for these chips dither in their last digit, a
                // few mK, and air that rests is no error.
                flat_line: flat_minutes(30, 180),
            },
        ),
        (
            Quantity::HUMIDITY,
            Tests {
                // AWS I.a: 0 to 100 %RH. Chosen: an element that lost contact says 0, and air below 1 %RH has been measured a few times
                // in deserts (0.4 %RH, Dezful, 2017), by better instruments.
                gross_range: range(1.0, 100.0),
                // AWS II.b: 10 %RH, and 15 are erroneous.
                rate_of_change: suspect(10.0),
                // AWS I.b: 5 %RH, in a screen. Chosen: twice as much, for a breath of wind moves a bare chip more.
                spike: suspect(10.0),
                // AWS II.b: 1 %RH in an hour, below 95 %RH. Chosen as for the temperature.
                flat_line: flat_minutes(30, 180),
            },
        ),
        (
            Quantity::PRESSURE,
            Tests {
                // AWS I.a: 500 to 1100 hPa, where 500 are 5,500 m above the sea. Chosen at the top: a node's station has less than the
                // highest pressure at sea level on record, 1083.8 hPa (Agata, 1968; WMO's archive of weather extremes, below 750 m).
                gross_range: range(50_000.0, 108_500.0),
                // AWS II.b: 0.5 hPa, and 2 are erroneous. Chosen: the latter, for it speaks of means, and a sample sees gusts and doors.
                rate_of_change: suspect(200.0),
                // AWS I.b: 0.3 hPa. Chosen: the dynamic pressure of a gust of 13 m/s.
                spike: suspect(100.0),
                // AWS II.b: 0.1 hPa in an hour. Chosen: no change at all, in twice the time that the thermometers have, for a BMP280 with
                // one sample resolves 2.6 Pa (BST-BMP280-DS001, table 4), and the air can be as steady as that for some time.
                flat_line: flat(1, 6),
            },
        ),
        (Quantity::PM1, particles),
        (Quantity::PM2_5, particles),
        (Quantity::PM4, particles),
        (Quantity::PM10, particles),
        (
            Quantity::CO2,
            Tests {
                // Chosen. There is no air with less than the background of 420 ppm, where an SCD40 may be off by 71 (50 ppm and 5 %;
                // SCD4x datasheet, table 1): less is a chip that calibrated itself to a stuffy room. No chip here is specified beyond
                // 10,000 ppm (SCD30 datasheet, table 1).
                gross_range: range(350.0, 10_000.0),
                // Chosen. Who sits gives off 5 ml of CO2 a second (Persily and de Jonge, Indoor Air 27, 868, 2017) and brings a room of
                // 20 m3 up by 15 ppm a minute: this would be 33 people in it. Faster is a breath, and not the air of the room.
                rate_of_change: suspect(500.0),
                spike: suspect(500.0),
                flat_line: flat(1, 6),
            },
        ),
        // Chosen. Algorithms that give whole numbers and approach a constant in steady air; a NOx index rests at 1 for days.
        (Quantity::VOC_INDEX, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        (Quantity::TVOC, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        (Quantity::ECO2, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        // Chosen. Spans decades within a breath; its last digits never rest.
        (Quantity::GAS_RESISTANCE, Tests { flat_line: flat(1, 6), ..Tests::default() }),
    ])
}

fn range(least: f64, most: f64) -> Option<GrossRange> {
    Some(GrossRange { suspect_span: Some([least, most]), fail_span: None })
}

fn suspect(threshold: f64) -> Option<Thresholds> {
    Some(Thresholds { suspect_threshold: Some(threshold), fail_threshold: None })
}

fn flat(suspect_h: u64, fail_h: u64) -> Option<FlatLine> {
    flat_minutes(60 * suspect_h, 60 * fail_h)
}

fn flat_minutes(suspect: u64, fail: u64) -> Option<FlatLine> {
    let minutes = |minutes| Duration::from_secs(60 * minutes);
    Some(FlatLine { suspect_threshold: minutes(suspect), fail_threshold: Some(minutes(fail)), tolerance: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::history::gross_range;

    /// What AWS has for one quantity, in its unit.
    struct Aws {
        quantity: Quantity,
        /// I.a
        plausible: [f64; 2],
        /// I.b
        between_samples: f64,
        /// II.b: suspect and erroneous; one limit for the temperature.
        between_minutes: [f64; 2],
    }

    const AWS: [Aws; 3] = [
        Aws {
            quantity: Quantity::TEMPERATURE,
            plausible: [-80.0, 60.0],
            between_samples: 2.0,
            between_minutes: [3.0, 3.0],
        },
        Aws {
            quantity: Quantity::HUMIDITY,
            plausible: [0.0, 100.0],
            between_samples: 5.0,
            between_minutes: [10.0, 15.0],
        },
        Aws {
            quantity: Quantity::PRESSURE,
            plausible: [50_000.0, 110_000.0],
            between_samples: 30.0,
            between_minutes: [50.0, 200.0],
        },
    ];

    fn suspect_of(limits: Option<Thresholds>) -> f64 {
        limits.unwrap().suspect_threshold.unwrap()
    }

    #[test]
    fn weather_is_doubted_no_sooner_than_at_a_weather_station_and_no_later_than_its_errors() {
        let tests = tests();
        for Aws { quantity, plausible, between_samples, between_minutes } in AWS {
            let test = tests[&quantity];
            let [least, most] = test.gross_range.unwrap().suspect_span.unwrap();
            assert!(plausible[0] <= least && most <= plausible[1], "{quantity}");
            assert!(suspect_of(test.spike) >= between_samples, "{quantity}");
            let [suspect, erroneous] = between_minutes;
            assert!((suspect..=erroneous).contains(&suspect_of(test.rate_of_change)), "{quantity}");
        }
    }

    #[test]
    fn what_has_been_measured_on_earth_is_believed() {
        for (quantity, value) in [
            (Quantity::TEMPERATURE, 56.7),
            (Quantity::PRESSURE, 108_380.0),
            // The summit of Chacaltaya, 5,400 m above the sea.
            (Quantity::PRESSURE, 53_000.0),
            // Fresh air, by an SCD40 at the end of its tolerance.
            (Quantity::CO2, 420.0 - (50.0 + 0.05 * 420.0) + 1.0),
            (Quantity::CO2, 10_000.0),
        ] {
            let range = tests()[&quantity].gross_range.unwrap();
            assert_eq!(gross_range(value, range), None, "{quantity} {value}");
        }
    }

    #[test]
    fn a_full_classroom_is_air_and_a_breath_is_not() {
        let ppm_per_minute = |people: f64, room_m3: f64| people * 0.005 * 60.0 / (room_m3 * 1000.0) * 1e6;
        let limit = suspect_of(tests()[&Quantity::CO2].rate_of_change);
        assert!(ppm_per_minute(30.0, 150.0) < limit / 5.0);
        assert!(ppm_per_minute(30.0, 20.0) < limit && limit < ppm_per_minute(35.0, 20.0));
    }

    #[test]
    fn no_value_fails_for_its_speed_or_for_standing_out() {
        for (quantity, test) in tests() {
            for limits in [test.rate_of_change, test.spike].into_iter().flatten() {
                assert_eq!(limits.fail_threshold, None, "{quantity}");
            }
        }
    }
}
