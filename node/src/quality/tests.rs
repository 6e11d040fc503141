//! What a user is told of a sensor in trouble, and what no reading can do to the tests.

use std::time::Duration;

use hal::Model;
use proptest::prelude::*;
use reading::{Flag, Quantity, Reading, Reason};

use super::{ChipQuality, Instrument, QualityConfig, SensorHistory, judge_fog, severity};

fn about(model: Model, quality: &ChipQuality) -> Instrument<'_> {
    Instrument { model, interval: Duration::from_secs(10), quality, cpu: None }
}

fn good(quantity: Quantity, value: f32) -> Reading {
    Reading { sensor: 0, quantity, value: Some(value), raw: None, flag: Flag::GOOD, reason: Reason::NONE }
}

fn air(celsius: f32, humidity: f32) -> Vec<Reading> {
    vec![good(Quantity::TEMPERATURE, celsius), good(Quantity::HUMIDITY, humidity)]
}

fn dust(pm1: f32, pm2_5: f32, pm10: f32) -> Vec<Reading> {
    vec![good(Quantity::PM1, pm1), good(Quantity::PM2_5, pm2_5), good(Quantity::PM10, pm10)]
}

fn verdicts(readings: &[Reading]) -> Vec<(Flag, Reason)> {
    readings.iter().map(|reading| (reading.flag, reading.reason)).collect()
}

/// What a fresh history says of one turn.
fn judged(model: Model, config: &QualityConfig, readings: Vec<Reading>) -> Vec<(Flag, Reason)> {
    judged_with(config, about(model, &ChipQuality::default()), readings)
}

fn judged_with(config: &QualityConfig, about: Instrument<'_>, mut readings: Vec<Reading>) -> Vec<(Flag, Reason)> {
    SensorHistory::default().judge(Duration::from_secs(100), config, about, &mut readings);
    verdicts(&readings)
}

const GOOD: (Flag, Reason) = (Flag::GOOD, Reason::NONE);

fn suspect(reason: Reason) -> (Flag, Reason) {
    (Flag::SUSPECT, reason)
}

#[test]
fn a_hygrometer_on_which_water_condenses_is_suspect_and_its_thermometer_is_not() {
    let config = QualityConfig::default();
    assert_eq!(judged(Model::Sht4x, &config, air(12.0, 97.0)), [GOOD, GOOD]);
    assert_eq!(judged(Model::Sht4x, &config, air(12.0, 99.9)), [GOOD, suspect(Reason::CONDENSING)]);
    let off = QualityConfig { condensing: None, ..config };
    assert_eq!(judged(Model::Sht4x, &off, air(12.0, 99.9)), [GOOD, GOOD]);
}

#[test]
fn particles_counted_in_fog_are_suspect() {
    let config = QualityConfig::default();
    for (humidity, expected) in
        [(None, GOOD), (Some(70.0), GOOD), (Some(93.0), suspect(Reason::HIGH_HUMIDITY)), (Some(f64::NAN), GOOD)]
    {
        let mut readings = dust(10.0, 20.0, 30.0);
        judge_fog(&config, humidity, &mut readings);
        assert_eq!(verdicts(&readings), [expected; 3], "{humidity:?}");
    }
}

#[test]
fn a_thermometer_as_warm_as_the_cpu_measures_the_board() {
    let (config, quality) = (QualityConfig::default(), ChipQuality::default());
    let beside = |cpu| Instrument { cpu: Some(cpu), ..about(Model::Sht4x, &quality) };
    assert_eq!(judged_with(&config, beside(52.0), air(24.0, 40.0)), [GOOD, GOOD]);
    assert_eq!(judged_with(&config, beside(43.0), air(41.5, 20.0)), [suspect(Reason::SELF_HEATING); 2]);
}

#[test]
fn a_chip_that_calibrated_itself_to_a_stuffy_room_is_out_of_range() {
    let mut readings = air(20.0, 40.0);
    readings.insert(0, good(Quantity::CO2, 310.0));
    let verdicts = judged(Model::Scd4x, &QualityConfig::default(), readings);
    assert_eq!(verdicts, [suspect(Reason::OUT_OF_RANGE), GOOD, GOOD]);
}

#[test]
fn air_without_dust_may_stay_so_and_a_little_dust_is_given_time() {
    let (config, quality) = (QualityConfig::default(), ChipQuality::default());
    let flat_after_h = |readings: fn() -> Vec<Reading>| {
        let mut history = SensorHistory::default();
        (0..48 * 60).find_map(|minute| {
            let now = Duration::from_secs(60 * minute);
            let mut readings = readings();
            history.judge(now, &config, about(Model::Pmsa003i, &quality), &mut readings);
            readings.iter().any(|reading| reading.reason == Reason::FLAT_LINE).then_some(minute / 60)
        })
    };
    assert_eq!(flat_after_h(|| dust(0.0, 0.0, 0.0)), None);
    assert_eq!(flat_after_h(|| dust(0.0, 1.0, 1.0)), Some(10));
    assert_eq!(flat_after_h(|| dust(0.0, 2.0, 5.0)), Some(2));
    assert_eq!(flat_after_h(|| dust(12.0, 20.0, 30.0)), Some(1));
}

#[test]
fn particles_are_flat_together_or_not_at_all() {
    let (config, quality) = (QualityConfig::default(), ChipQuality::default());
    let mut history = SensorHistory::default();
    for minute in 0..24 * 60 {
        let mut readings = dust(2.0, 11.0, 20.0 + (minute % 2) as f32);
        history.judge(Duration::from_secs(60 * minute), &config, about(Model::Pmsa003i, &quality), &mut readings);
        assert_eq!(verdicts(&readings), [GOOD; 3], "after {minute} minutes");
    }
}

#[test]
fn what_the_driver_said_stands_and_is_no_measure_for_what_follows() {
    let (config, quality) = (QualityConfig::default(), ChipQuality::default());
    let mut history = SensorHistory::default();
    let mut turn = |second, reading: Reading| {
        let mut readings = [reading];
        history.judge(Duration::from_secs(second), &config, about(Model::Bme280, &quality), &mut readings);
        readings[0]
    };
    turn(0, good(Quantity::TEMPERATURE, 20.0));
    turn(10, good(Quantity::TEMPERATURE, 20.0));
    let reset = Reading { flag: Flag::FAIL, reason: Reason::RESET_PATTERN, ..good(Quantity::TEMPERATURE, 26.46) };
    assert_eq!(turn(20, reset), reset);
    let warming = Reading { flag: Flag::SUSPECT, reason: Reason::WARMING_UP, ..good(Quantity::TEMPERATURE, 80.0) };
    assert_eq!(turn(30, warming), warming);
    let missing = Reading { value: None, flag: Flag::MISSING, reason: Reason::NO_ANSWER, ..reset };
    assert_eq!(turn(40, missing), missing);
    assert_eq!(turn(50, good(Quantity::TEMPERATURE, 20.1)).flag, Flag::GOOD);
}

/// ioos_qc's `test_qartod_compare`, as far as a live reading can come to it: what is missing is not tested.
#[test]
fn the_worst_flag_wins_as_in_the_reference() {
    let [good, suspect, fail, missing] = [Flag::GOOD, Flag::SUSPECT, Flag::FAIL, Flag::MISSING];
    let unknown = Flag::NOT_EVALUATED;
    for (flags, expected) in [
        ([good, unknown, good], good),
        ([good, good, suspect], suspect),
        ([suspect, fail, suspect], fail),
        ([missing, fail, good], missing),
        ([unknown, unknown, unknown], unknown),
    ] {
        let mut reading = Reading { flag: flags[0], ..self::good(Quantity::CO2, 400.0) };
        for flag in &flags[1..] {
            super::lower(&mut reading, Some(*flag), Reason::SPIKE);
        }
        assert_eq!(reading.flag, expected, "{flags:?}");
    }
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let flag = prop_oneof![3 => Just(Flag::GOOD), 1 => (0u8..16).prop_map(Flag)];
    let value = prop_oneof![4 => -50f32..1500.0, 1 => any::<f32>()];
    let quantity = prop_oneof![4 => (1u16..16).prop_map(Quantity), 1 => any::<u16>().prop_map(Quantity)];
    (quantity, value, flag, any::<u8>()).prop_map(|(quantity, value, flag, reason)| {
        let value = (flag != Flag::MISSING).then_some(value);
        Reading { sensor: 0, quantity, value, raw: None, flag, reason: Reason(reason) }
    })
}

proptest! {
    #[test]
    fn no_reading_becomes_better_and_no_value_another(
        model in proptest::sample::select(Model::ALL),
        turns in proptest::collection::vec((0u64..2_000_000, proptest::collection::vec(any_reading(), 0..8)), 1..100),
        cpu in proptest::option::of(20.0..90.0),
    ) {
        let (config, quality) = (QualityConfig::default(), ChipQuality::default());
        let mut history = SensorHistory::default();
        for (at_ms, readings) in turns {
            let mut judged = readings.clone();
            // Times go back and forth: a history must bear what cannot happen, too.
            let about = Instrument { cpu, ..about(model, &quality) };
            history.judge(Duration::from_millis(at_ms), &config, about, &mut judged);
            judge_fog(&config, cpu, &mut judged);
            for (before, after) in readings.iter().zip(&judged) {
                prop_assert!(severity(after.flag) >= severity(before.flag), "{before:?} {after:?}");
                prop_assert!(before.flag == after.flag || severity(after.flag) > severity(before.flag));
                prop_assert_eq!(before.value.map(f32::to_bits), after.value.map(f32::to_bits));
                prop_assert_eq!(before.flag == Flag::MISSING, after.flag == Flag::MISSING);
            }
            prop_assert!(history.series.len() <= model.quantities().len());
            prop_assert!(history.series.iter().all(|(_, series)| series.len() <= super::history::MOST));
        }
    }

    #[test]
    fn after_a_gap_a_series_is_as_good_as_new(
        before in proptest::collection::vec((1u64..300, -40f32..60.0), 0..60),
        after in proptest::collection::vec((1u64..300, -40f32..60.0), 1..60),
    ) {
        let (config, quality) = (QualityConfig::default(), ChipQuality::default());
        let mut now = Duration::ZERO;
        let mut judge = |history: &mut SensorHistory, (seconds, value): (u64, f32)| {
            now += Duration::from_secs(seconds);
            let mut readings = [good(Quantity::TEMPERATURE, value)];
            history.judge(now, &config, about(Model::Sht4x, &quality), &mut readings);
            readings[0]
        };
        let (mut old, mut new) = (SensorHistory::default(), SensorHistory::default());
        for turn in before {
            judge(&mut old, turn);
        }
        judge(&mut SensorHistory::default(), (601, 0.0));
        for (seconds, value) in after {
            let from_old = judge(&mut old, (seconds, value));
            prop_assert_eq!(from_old, judge(&mut new, (0, value)));
        }
    }
}
