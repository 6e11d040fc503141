//! The published `bme280` crate and our driver, each over the same simulated chip: what they make of the same codes is the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use bme280::i2c::BME280;
use bme280::{Configuration, Oversampling};
use hal::sim::{self, Clock, SimBus, World};
use hal::{ChipAt, Chips, Model, Surroundings};

/// 2026-11-24T00:00 UTC.
const START_S: f64 = 1_795_478_400.0;

#[test]
fn the_bme280_crate_agrees_through_a_day() {
    let clock = Clock::virtual_time();
    let bus = SimBus::in_world(clock.clone(), World::new(11, START_S));
    let _ = bus.attach(sim::chip("BME280").unwrap());
    clock.advance(Duration::from_secs(60));
    let mut chips = Chips::new(bus.clone());
    let mut theirs = BME280::new_primary(bus);
    // Left to itself it oversamples for longer than it waits, and gives what a reset leaves: 26.46 Cel.
    let once = Configuration::default()
        .with_temperature_oversampling(Oversampling::Oversampling1X)
        .with_pressure_oversampling(Oversampling::Oversampling1X)
        .with_humidity_oversampling(Oversampling::Oversampling1X);
    for _ in 0..24 {
        let ours = chips.sample(ChipAt::new(Model::Bme280, 0x76), &Surroundings::default()).readings.unwrap();
        theirs.init_with_config(&mut clock.delay(), once).unwrap();
        let theirs = theirs.measure(&mut clock.delay()).unwrap();
        // The air moves between the two.
        for (measured, value, tolerance) in
            [(ours[0], theirs.temperature, 0.02), (ours[1], theirs.humidity, 0.15), (ours[2], theirs.pressure, 3.0)]
        {
            assert!((measured.value - value).abs() < tolerance, "{measured:?}, the crate says {value}");
        }
        clock.advance(Duration::from_secs(3600));
    }
}
