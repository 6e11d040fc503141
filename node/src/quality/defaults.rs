//! The thresholds that a node has without being told any, and why these.
//!
//! No value fails for its speed or for standing out, unless a user says so: one sample cannot tell an error from an event, and a fire
//! must not be taken for a broken thermometer. It is suspect, once.

use std::collections::BTreeMap;
use std::time::Duration;

use reading::Quantity;

use super::config::{FlatLine, GrossRange, Tests, Thresholds};

/// By quantity. "AWS" is the World Meteorological Organization's guideline for automatic weather stations (I. Zahumensky, Guidelines on
/// Quality Control Procedures for Data from Automatic Weather Stations, 2004; in WMO-No. 488): what its limits say of one-minute means
/// is taken for single samples where these are steady enough, and doubled or more where they are not.
pub(super) fn tests() -> BTreeMap<Quantity, Tests> {
    // A particle count rises from clean to dangerous within seconds, and honestly so: no limit on its rate. One sample that stands
    // out by this much and is gone again is an insect or a fibre in the beam.
    let particles = Tests { spike: suspect(300.0), flat_line: flat(1, 6), ..Tests::default() };
    BTreeMap::from([
        (
            Quantity::TEMPERATURE,
            Tests {
                // Colder or warmer is no weather that a node stands in, but a box in the sun or a broken chip.
                gross_range: range(-40.0, 60.0),
                // AWS: 3 Cel from minute to minute is suspicious.
                rate_of_change: suspect(3.0),
                // AWS: 2 Cel from one sample to the next.
                spike: suspect(2.0),
                // AWS asks for a change of 0.1 Cel in an hour. These chips dither in their last digit, a few mK.
                flat_line: flat_minutes(30, 180),
            },
        ),
        (
            Quantity::HUMIDITY,
            Tests {
                // Drier than 1 %RH is no air outside a glove box.
                gross_range: range(1.0, 100.0),
                // AWS: 10 % from minute to minute is suspicious.
                rate_of_change: suspect(10.0),
                // AWS: 5 % from one sample to the next, in a screen; a breath of wind moves a bare chip more.
                spike: suspect(10.0),
                flat_line: flat_minutes(30, 180),
            },
        ),
        (
            Quantity::PRESSURE,
            Tests {
                // 5,500 m above the sea, and more than the highest pressure on record (1084.8 hPa).
                gross_range: range(50_000.0, 108_500.0),
                // AWS: 0.5 hPa from minute to minute is suspicious and 2 hPa an error, for means; a single sample also sees gusts.
                rate_of_change: suspect(200.0),
                // The dynamic pressure of a gust of 13 m/s, or a slammed door.
                spike: suspect(100.0),
                // A BME280 with one sample resolves 2.6 Pa, and the air can be as steady as that for some time.
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
                // There is no air with less than the background of 420 ppm, but for a chip that calibrated itself to a stuffy room; from
                // 10,000 ppm on somebody breathes into the chip.
                gross_range: range(350.0, 10_000.0),
                // One person brings a room of 20 m3 up by some 15 ppm a minute: faster is a breath, and not the air of the room.
                rate_of_change: suspect(500.0),
                spike: suspect(500.0),
                flat_line: flat(1, 6),
            },
        ),
        // Algorithms that give whole numbers and approach a constant in steady air; a NOx index rests at 1 for days.
        (Quantity::VOC_INDEX, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        (Quantity::TVOC, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        (Quantity::ECO2, Tests { flat_line: flat(6, 24), ..Tests::default() }),
        // Spans decades within a breath; its last digits never rest.
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
