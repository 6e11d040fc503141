//! Every driver against the simulated chips, in virtual time: what is measured is what is there, and whatever goes wrong
//! gives a reason and no wrong value, and passes when its cause has passed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use embedded_hal::i2c::I2c;
use hal::sim::{self, Clock, Fault, SimBus};
use hal::{ChipAt, Chips, Failure, Measured, Model, Surroundings};
use reading::{Flag, Quantity, Reason};

const BME280: ChipAt = ChipAt::new(Model::Bme280, 0x76);
const SHT4X: ChipAt = ChipAt::new(Model::Sht4x, 0x44);
const PMSA003I: ChipAt = ChipAt::new(Model::Pmsa003i, 0x12);
const SCD4X: ChipAt = ChipAt::new(Model::Scd4x, 0x62);
const ALL: [ChipAt; 4] = [BME280, SHT4X, PMSA003I, SCD4X];

const AROUND: Surroundings =
    Surroundings { interval: Duration::from_secs(10), temperature: None, humidity: None, pressure: None };

/// What is in the air, and how far off a good value may be: the chips' resolution and their filters.
const AIR: &[(Quantity, f64, f32)] = &[
    (Quantity::TEMPERATURE, 23.5, 0.05),
    (Quantity::HUMIDITY, 61.0, 0.2),
    (Quantity::PRESSURE, 99_800.0, 20.0),
    (Quantity::PM1, 9.0, 1.0),
    (Quantity::PM2_5, 17.0, 1.0),
    (Quantity::PM10, 26.0, 1.0),
    (Quantity::CO2, 655.0, 5.0),
];

/// A bus with one chip of each model of [`ALL`] in that air, long powered.
fn bus() -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    // By name, not all that are simulated: some share an address.
    for model in ["BME280", "SHT40", "PMSA003I", "SCD41"] {
        let _ = bus.attach(sim::chip(model).unwrap());
    }
    for chip in ALL {
        set_air(&bus, chip);
    }
    bus.clock().advance(Duration::from_secs(60));
    bus
}

fn set_air(bus: &SimBus, chip: ChipAt) {
    for &(quantity, value, _) in AIR {
        assert_eq!(bus.set(chip.address, quantity, value), chip.model.quantities().contains(&quantity));
    }
}

fn pass(bus: &SimBus, seconds: u64) {
    bus.clock().advance(Duration::from_secs(seconds));
}

/// Samples every 10 s until the chip delivers nothing but good values; says how long that took.
fn settle(bus: &SimBus, chips: &mut Chips<SimBus>, chip: ChipAt) -> Duration {
    let start = bus.clock().now();
    for _ in 0..12 {
        if is_good(&chips.sample(chip, &AROUND).readings) {
            return bus.clock().now() - start;
        }
        pass(bus, 10);
    }
    panic!("{chip} does not recover: {:?}", chips.sample(chip, &AROUND).readings);
}

fn is_good(readings: &Result<Vec<Measured>, Failure>) -> bool {
    readings.as_ref().is_ok_and(|readings| readings.iter().all(|measured| measured.flag == Flag::GOOD))
}

/// No value that is called good may be any other than what is there.
fn assert_honest(chip: ChipAt, readings: &Result<Vec<Measured>, Failure>, context: &str) {
    for measured in readings.iter().flatten().filter(|measured| measured.flag == Flag::GOOD) {
        let &(_, truth, tolerance) = AIR.iter().find(|(quantity, ..)| *quantity == measured.quantity).unwrap();
        let error = measured.value - truth as f32;
        assert!(error.abs() <= tolerance, "{chip}, {context}: {measured:?}, in truth {truth}");
    }
}

#[test]
fn what_is_measured_is_what_is_there() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    for chip in ALL {
        settle(&bus, &mut chips, chip);
        pass(&bus, 10);
        let sample = chips.sample(chip, &AROUND);
        let readings = sample.readings.as_ref().unwrap();
        let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
        assert_eq!(quantities, chip.model.quantities());
        assert_honest(chip, &sample.readings, "well");
        assert_eq!(sample.serial.is_some(), matches!(chip.model, Model::Sht4x | Model::Scd4x));
    }
}

#[test]
fn a_change_shows_in_the_next_measurement() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    for chip in [BME280, SHT4X, SCD4X] {
        settle(&bus, &mut chips, chip);
        assert!(bus.set(chip.address, Quantity::TEMPERATURE, -3.25));
        // A SCD4x has one measurement waiting that is older than the change.
        for _ in 0..2 {
            pass(&bus, 10);
            let _ = chips.sample(chip, &AROUND);
        }
        pass(&bus, 10);
        let readings = chips.sample(chip, &AROUND).readings.unwrap();
        let temperature = readings.iter().find(|measured| measured.quantity == Quantity::TEMPERATURE).unwrap();
        assert!((temperature.value + 3.25).abs() < 0.05, "{chip}: {temperature:?}");
    }
}

#[test]
fn a_fault_gives_a_reason_and_passes_with_its_cause() {
    for chip in ALL {
        for &fault in Fault::ALL {
            let bus = bus();
            let mut chips = Chips::new(bus.clone());
            settle(&bus, &mut chips, chip);
            pass(&bus, 10);
            assert!(bus.fault(chip.address, Some(fault)));
            let mut outcomes = Vec::new();
            for _ in 0..8 {
                let before = bus.clock().now();
                let readings = chips.sample(chip, &AROUND).readings;
                let took = bus.clock().now() - before;
                assert!(took < chip.model.deadline(), "{chip}, {fault}: took {took:?}");
                assert_honest(chip, &readings, fault.name());
                outcomes.push(readings);
                pass(&bus, 10);
            }
            assert!(bus.fault(chip.address, None));
            let expected = expected(chip.model, fault);
            // A chip that is started over and over warms up in between.
            let complaints = outcomes.iter().rev().map(complaint);
            let seen = complaints.into_iter().find(|seen| *seen != Some(Reason::WARMING_UP)).unwrap();
            assert_eq!(seen, expected, "{chip}, {fault}: {outcomes:?}");
            let recovery = settle(&bus, &mut chips, chip);
            // The longest rest, the warm-up, and a tick of this test.
            let limit = Duration::from_secs(32 + 10) + chip.model.warm_up();
            assert!(recovery <= limit, "{chip}, {fault}: back after {recovery:?}");
            assert_honest(chip, &chips.sample(chip, &AROUND).readings, "healed");
        }
    }
}

/// Why there is no value, or no good one.
fn complaint(readings: &Result<Vec<Measured>, Failure>) -> Option<Reason> {
    match readings {
        Ok(readings) => readings.iter().find(|measured| measured.flag != Flag::GOOD).map(|measured| measured.reason),
        Err(failure) => Some(failure.reason),
    }
}

/// Why there is no good value while a fault lasts; `None` where there are values that are right, or that nobody can tell from right
/// ones without a history.
fn expected(model: Model, fault: Fault) -> Option<Reason> {
    match (model, fault) {
        (_, Fault::Unplugged) => Some(Reason::NO_ANSWER),
        (_, Fault::Stuck | Fault::PowerLoss) => None,
        (_, Fault::WrongId) => Some(Reason::WRONG_CHIP),
        (Model::Bme280, Fault::Checksum) => None,
        (_, Fault::Checksum | Fault::Truncated) => Some(Reason::CHECKSUM),
        (Model::Pmsa003i, Fault::Broken) => Some(Reason::SENSOR_FAULT),
        (_, Fault::Broken) => None,
        // A busy SHT4x refuses everything, and so looks like none, after the first time.
        (Model::Pmsa003i | Model::Sht4x, Fault::Busy) => Some(Reason::NO_ANSWER),
        (_, Fault::Busy) => Some(Reason::NOT_READY),
        (Model::Bme280 | Model::Pmsa003i, Fault::ResetContents) => Some(Reason::RESET_PATTERN),
        // Without registers to look at, a chip that hangs in reset cannot be told from another that knows no command.
        (_, Fault::ResetContents) => Some(Reason::WRONG_CHIP),
    }
}

#[test]
fn a_loss_of_power_between_two_samples_is_noticed() {
    // But not by a PMSA003I, which has nothing to tell it by.
    for chip in [BME280, SHT4X, SCD4X] {
        for away_s in [0, 3, 9] {
            let bus = bus();
            let mut chips = Chips::new(bus.clone());
            settle(&bus, &mut chips, chip);
            pass(&bus, 10);
            assert!(bus.fault(chip.address, Some(Fault::PowerLoss)));
            // The power is back at the next transfer, whoever makes it.
            let _ = bus.clone().read(chip.address, &mut [0]);
            pass(&bus, away_s);
            for _ in 0..3 {
                assert_honest(chip, &chips.sample(chip, &AROUND).readings, "after a loss of power");
                pass(&bus, 10);
            }
            settle(&bus, &mut chips, chip);
        }
    }
}

#[test]
fn a_loss_of_power_costs_a_slow_sampler_one_sample() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    settle(&bus, &mut chips, SCD4X);
    assert!(bus.fault(SCD4X.address, Some(Fault::PowerLoss)));
    let _ = bus.clone().read(SCD4X.address, &mut [0]);
    pass(&bus, 60);
    assert_eq!(chips.sample(SCD4X, &AROUND).readings.unwrap_err().reason, Reason::NOT_READY);
    pass(&bus, 60);
    let sample = chips.sample(SCD4X, &AROUND);
    assert!(is_good(&sample.readings) && sample.serial.is_some(), "{sample:?}");
}

#[test]
fn a_dead_chip_costs_next_to_nothing() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    for chip in ALL {
        assert!(bus.fault(chip.address, Some(Fault::Unplugged)));
        for _ in 0..100 {
            let before = bus.clock().now();
            assert_eq!(chips.sample(chip, &AROUND).readings.unwrap_err().reason, Reason::NO_ANSWER);
            assert!(bus.clock().now() - before < Duration::from_millis(1));
        }
    }
}

#[test]
fn a_broken_chip_is_started_less_and_less_often() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    assert!(bus.fault(SCD4X.address, Some(Fault::Checksum)));
    let mut occupied = Duration::ZERO;
    for _ in 0..600 {
        let before = bus.clock().now();
        assert_eq!(chips.sample(SCD4X, &AROUND).readings.unwrap_err().reason, Reason::CHECKSUM);
        occupied += bus.clock().now() - before;
        pass(&bus, 1);
    }
    assert!(occupied < Duration::from_secs(15), "the bus was occupied for {occupied:?} of ten minutes");
}

#[test]
fn an_unplugged_chip_is_back_at_the_first_sample() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    for chip in [BME280, SHT4X] {
        settle(&bus, &mut chips, chip);
        assert!(bus.fault(chip.address, Some(Fault::Unplugged)));
        for _ in 0..50 {
            pass(&bus, 1);
            assert!(chips.sample(chip, &AROUND).readings.is_err());
        }
        assert!(bus.fault(chip.address, None));
        pass(&bus, 1);
        // It may have got its power only with the first transfer that reached it.
        let _ = chips.sample(chip, &AROUND);
        pass(&bus, 1);
        assert!(is_good(&chips.sample(chip, &AROUND).readings));
    }
}

#[test]
fn a_scd4x_that_measures_across_our_restart_is_taken_over() {
    let bus = bus();
    let mut before = Chips::new(bus.clone());
    settle(&bus, &mut before, SCD4X);
    drop(before);
    let mut after = Chips::new(bus.clone());
    assert!(after.scan().unwrap().found.iter().any(|found| found.chip == SCD4X && found.serial.is_empty()));
    let recovery = settle(&bus, &mut after, SCD4X);
    assert!(recovery <= Duration::from_secs(12), "{recovery:?}");
    assert!(after.sample(SCD4X, &AROUND).serial.is_some());
    after.stop();
    assert!(Chips::new(bus).scan().unwrap().found.iter().any(|found| found.chip == SCD4X && !found.serial.is_empty()));
}

#[test]
fn a_sample_too_soon_is_no_old_value() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    settle(&bus, &mut chips, SCD4X);
    assert_eq!(chips.sample(SCD4X, &AROUND).readings.unwrap_err().reason, Reason::NOT_READY);
    pass(&bus, 6);
    assert!(is_good(&chips.sample(SCD4X, &AROUND).readings));
    // A BME280 is waited for.
    settle(&bus, &mut chips, BME280);
    let before = bus.clock().now();
    assert!(is_good(&chips.sample(BME280, &AROUND).readings));
    assert!(bus.clock().now() - before >= Duration::from_millis(9));
}

#[test]
fn a_scan_finds_every_chip_and_disturbs_none() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    let found =
        |chips: &mut Chips<SimBus>| chips.scan().unwrap().found.iter().map(|found| found.chip).collect::<Vec<_>>();
    assert_eq!(found(&mut chips), [PMSA003I, SHT4X, SCD4X, BME280]);
    for chip in ALL {
        settle(&bus, &mut chips, chip);
    }
    pass(&bus, 10);
    assert_eq!(found(&mut chips), [PMSA003I, SHT4X, SCD4X, BME280]);
    for chip in ALL {
        assert!(is_good(&chips.sample(chip, &AROUND).readings), "{chip}");
    }
    assert!(chips.scan().unwrap().unknown.is_empty());
}

#[test]
fn a_scan_tells_other_chips_from_ours() {
    for chip in ALL {
        let bus = bus();
        assert!(bus.fault(chip.address, Some(Fault::WrongId)));
        let report = Chips::new(bus.clone()).scan().unwrap();
        if chip == BME280 {
            // The other chip is a BMP280, which is known too.
            assert!(
                report
                    .found
                    .iter()
                    .any(|found| found.chip.model == Model::Bmp280 && found.chip.address == chip.address)
            );
            continue;
        }
        assert_eq!(report.found.len(), 3);
        assert_eq!(report.unknown.iter().map(|unknown| unknown.address).collect::<Vec<_>>(), [chip.address]);
        assert!(!report.unknown[0].detail.is_empty());
    }
    assert_eq!(Chips::new(SimBus::new(Clock::virtual_time())).scan().unwrap(), hal::ScanReport::default());
}

#[test]
fn an_address_that_the_chip_cannot_have_is_refused() {
    let failure = Chips::new(bus()).sample(ChipAt::new(Model::Scd4x, 0x63), &AROUND).readings.unwrap_err();
    assert!(failure.detail.contains("0x62"), "{}", failure.detail);
}
