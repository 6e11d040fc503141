//! The tests over days of believable air: an honest chip is never doubted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hal::Model;
use hal::sim::World;
use reading::{Flag, Quantity, Reading, Reason};

use super::{ChipQuality, Instrument, QualityConfig, SensorHistory};

/// 2026-11-02T00:00 in Korea.
const MIDNIGHT_S: f64 = 1_793_545_200.0;

/// The coarsest steps in which a chip here says a quantity: coarse steps repeat themselves.
fn resolution(model: Model, quantity: Quantity) -> f64 {
    match quantity {
        Quantity::TEMPERATURE => 0.01,
        Quantity::HUMIDITY => 0.04,
        // BME280 with one sample of pressure: 16 bits (data sheet, section 3.4.2 and table 13).
        Quantity::PRESSURE => 2.62,
        Quantity::PM1 | Quantity::PM2_5 | Quantity::PM4 | Quantity::PM10 if model != Model::Pmsa003i => 0.1,
        _ => 1.0,
    }
}

/// Reads `model` in the air of `seed` at every `interval` for `time`; every reading that is not good.
fn doubted(model: Model, seed: u64, interval: Duration, time: Duration) -> Vec<(Duration, Reading)> {
    let world = World::new(seed, MIDNIGHT_S + 86_400.0 * seed as f64);
    let (config, quality) = (QualityConfig::default(), ChipQuality(BTreeMap::new()));
    let about = Instrument { model, interval, quality: &quality, cpu: None };
    let mut history = SensorHistory::default();
    let mut doubted = Vec::new();
    let mut now = Duration::ZERO;
    while now < time {
        let reading = |quantity: &Quantity| {
            let step = resolution(model, *quantity);
            let value = (world.at(now, *quantity) / step).round() * step;
            let (quantity, value) = (*quantity, Some(value as f32));
            Reading { sensor: 0, quantity, value, raw: None, flag: Flag::GOOD, reason: Reason::NONE }
        };
        let mut readings: Vec<Reading> = model.quantities().iter().map(reading).collect();
        history.judge(now, &config, about, &mut readings);
        doubted.extend(readings.into_iter().filter(|reading| reading.flag != Flag::GOOD).map(|reading| (now, reading)));
        now += interval;
    }
    doubted
}

/// Models of which each says a quantity that the ones before it do not say, or in other steps. The air is the same for all.
fn models() -> Vec<Model> {
    let mut covered = BTreeSet::new();
    let says = |model: Model, quantity: &Quantity| (*quantity, resolution(model, *quantity).to_bits());
    let mut is_new = |model: &&Model| {
        let before = covered.len();
        covered.extend(model.quantities().iter().map(|quantity| says(**model, quantity)));
        covered.len() > before
    };
    Model::ALL.iter().filter(|model| is_new(model)).copied().collect()
}

fn nobody_is_doubted(seeds: std::ops::Range<u64>, interval: Duration, time: Duration) {
    for model in models() {
        for seed in seeds.clone() {
            let doubted = doubted(model, seed, interval, time);
            assert!(doubted.is_empty(), "{model}, seed {seed}, every {interval:?}: {:?}", doubted.first());
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn nobody_is_doubted_in_days_of_honest_air() {
    nobody_is_doubted(0..50, Duration::from_secs(120), 48 * HOUR);
}

#[test]
fn nobody_is_doubted_at_the_usual_pace() {
    nobody_is_doubted(0..50, Duration::from_secs(10), 2 * HOUR);
}

#[test]
fn nobody_is_doubted_who_is_read_seldom_or_often() {
    nobody_is_doubted(0..5, HOUR, 500 * HOUR);
    nobody_is_doubted(0..5, Duration::from_secs(600), 120 * HOUR);
    nobody_is_doubted(0..5, Duration::from_secs(1), HOUR);
    nobody_is_doubted(0..5, Duration::from_millis(50), HOUR / 40);
}
