//! Every driver against the simulated chips, in virtual time: what is measured is what is there, who is there is found, and a chip in trouble
//! costs the others little. What each fault looks like is in `faults`.

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
const BMP280: ChipAt = ChipAt::new(Model::Bmp280, 0x77);
const BME680: ChipAt = ChipAt::new(Model::Bme680, 0x76);
const BME688: ChipAt = ChipAt::new(Model::Bme688, 0x77);
const AHT20: ChipAt = ChipAt::new(Model::Aht20, 0x38);
const ENS160: ChipAt = ChipAt::new(Model::Ens160, 0x53);
const SHT3X: ChipAt = ChipAt::new(Model::Sht3x, 0x45);
const SCD30: ChipAt = ChipAt::new(Model::Scd30, 0x61);
const SGP30: ChipAt = ChipAt::new(Model::Sgp30, 0x58);
const SGP40: ChipAt = ChipAt::new(Model::Sgp40, 0x59);
const SGP41: ChipAt = ChipAt::new(Model::Sgp41, 0x59);
const SPS30: ChipAt = ChipAt::new(Model::Sps30, 0x69);
const SEN50: ChipAt = ChipAt::new(Model::Sen50, 0x69);
const SEN54: ChipAt = ChipAt::new(Model::Sen54, 0x69);
const SEN55: ChipAt = ChipAt::new(Model::Sen55, 0x69);

/// Every chip, and the simulated one that stands for it.
const ALL: &[(ChipAt, &str)] = &[
    (BME280, "BME280"),
    (SHT4X, "SHT40"),
    (PMSA003I, "PMSA003I"),
    (SCD4X, "SCD41"),
    (BMP280, "BMP280"),
    (BME680, "BME680"),
    (BME688, "BME688"),
    (AHT20, "AHT20"),
    (ENS160, "ENS160"),
    (SHT3X, "SHT31"),
    (SCD30, "SCD30"),
    (SGP30, "SGP30"),
    (SGP40, "SGP40"),
    (SGP41, "SGP41"),
    (SPS30, "SPS30"),
    (SEN50, "SEN50"),
    (SEN54, "SEN54"),
    (SEN55, "SEN55"),
];

fn all() -> impl Iterator<Item = ChipAt> {
    ALL.iter().map(|(chip, _)| *chip)
}

const AROUND: Surroundings =
    Surroundings { interval: Duration::from_secs(10), temperature: None, humidity: None, pressure: None };

/// What is in the air, and how far off a good value may be: the chips' resolution and their filters.
const AIR: &[(Quantity, f64, f32)] = &[
    (Quantity::TEMPERATURE, 23.5, 0.05),
    (Quantity::HUMIDITY, 61.0, 0.2),
    (Quantity::PRESSURE, 99_800.0, 20.0),
    (Quantity::PM1, 9.0, 1.0),
    (Quantity::PM2_5, 17.0, 1.0),
    (Quantity::PM4, 21.0, 1.0),
    (Quantity::PM10, 26.0, 1.0),
    (Quantity::CO2, 655.0, 5.0),
    (Quantity::TVOC, 87.0, 1.0),
    (Quantity::ECO2, 655.0, 1.0),
    (Quantity::GAS_RESISTANCE, 84_000.0, 100.0),
    // The average air, which is what an algorithm makes of air that stays the same.
    (Quantity::VOC_INDEX, 100.0, 2.0),
    (Quantity::NOX_INDEX, 1.0, 0.5),
];

/// A bus with this chip in that air, long powered, and beside it one of each of the others, as far as the addresses go.
fn bus_with(chip: ChipAt) -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    for chip in neighbours(chip) {
        let (_, simulated) = ALL.iter().find(|(known, _)| *known == chip).unwrap();
        assert!(bus.attach_at(chip.address, sim::chip(simulated).unwrap()).is_none());
        set_air(&bus, chip);
    }
    bus.clock().advance(Duration::from_secs(60));
    bus
}

/// The chips on such a bus, by address.
fn neighbours(chip: ChipAt) -> Vec<ChipAt> {
    let mut there = vec![chip];
    for other in all() {
        if there.iter().all(|known| known.address != other.address) {
            there.push(other);
        }
    }
    there.sort_by_key(|chip| chip.address);
    there
}

fn bus() -> SimBus {
    bus_with(BME280)
}

fn set_air(bus: &SimBus, chip: ChipAt) {
    for &(quantity, value, _) in AIR.iter().filter(|(quantity, ..)| chip.model.quantities().contains(quantity)) {
        assert!(bus.set(chip.address, quantity, value));
    }
}

/// Lets time pass as a bus's thread does, which looks after the chips in between.
fn pass(bus: &SimBus, chips: &mut Chips<SimBus>, seconds: u64) {
    let end = bus.clock().now() + Duration::from_secs(seconds);
    loop {
        let left = end.saturating_sub(bus.clock().now());
        bus.clock().advance(chips.tend_in().map_or(left, |tend_in| tend_in.min(left)));
        chips.tend();
        if bus.clock().now() >= end {
            return;
        }
    }
}

/// Samples every 10 s until the chip delivers nothing but good values; says how long that took.
fn settle(bus: &SimBus, chips: &mut Chips<SimBus>, chip: ChipAt) -> Duration {
    let start = bus.clock().now();
    for _ in 0..12 + chip.model.warm_up().as_secs() / 10 {
        if is_good(&chips.sample(chip, &AROUND).readings) {
            return bus.clock().now() - start;
        }
        pass(bus, chips, 10);
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
    for chip in all() {
        let bus = bus_with(chip);
        let mut chips = Chips::new(bus.clone());
        settle(&bus, &mut chips, chip);
        pass(&bus, &mut chips, 10);
        let sample = chips.sample(chip, &AROUND);
        let readings = sample.readings.as_ref().unwrap();
        let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
        assert_eq!(quantities, chip.model.quantities());
        assert_honest(chip, &sample.readings, "well");
        assert_eq!(sample.serial.is_some(), is_sensirions(chip.model));
    }
}

#[test]
fn a_change_shows_in_the_next_measurement() {
    for chip in [BME280, SHT4X, SCD4X, BMP280, BME680, BME688, AHT20, SHT3X, SCD30, SEN54, SEN55] {
        let bus = bus_with(chip);
        let mut chips = Chips::new(bus.clone());
        settle(&bus, &mut chips, chip);
        assert!(bus.set(chip.address, Quantity::TEMPERATURE, -3.25));
        // A SCD4x has one measurement waiting that is older than the change.
        for _ in 0..2 {
            pass(&bus, &mut chips, 10);
            let _ = chips.sample(chip, &AROUND);
        }
        pass(&bus, &mut chips, 10);
        let readings = chips.sample(chip, &AROUND).readings.unwrap();
        let temperature = readings.iter().find(|measured| measured.quantity == Quantity::TEMPERATURE).unwrap();
        assert!((temperature.value + 3.25).abs() < 0.05, "{chip}: {temperature:?}");
    }
}

/// They take commands of 16 bits, refuse what they do not know, and have serial numbers.
fn is_sensirions(model: Model) -> bool {
    let measures_air = matches!(model, Model::Sht3x | Model::Sht4x | Model::Scd30 | Model::Scd4x);
    let measures_gas = matches!(model, Model::Sgp30 | Model::Sgp40 | Model::Sgp41);
    measures_air || measures_gas || matches!(model, Model::Sps30 | Model::Sen50 | Model::Sen54 | Model::Sen55)
}

#[test]
fn a_loss_of_power_costs_a_slow_sampler_one_sample() {
    let bus = bus();
    let mut chips = Chips::new(bus.clone());
    settle(&bus, &mut chips, SCD4X);
    assert!(bus.fault(SCD4X.address, Some(Fault::PowerLoss)));
    let _ = bus.clone().read(SCD4X.address, &mut [0]);
    pass(&bus, &mut chips, 60);
    assert_eq!(chips.sample(SCD4X, &AROUND).readings.unwrap_err().reason, Reason::NOT_READY);
    pass(&bus, &mut chips, 60);
    let sample = chips.sample(SCD4X, &AROUND);
    assert!(is_good(&sample.readings) && sample.serial.is_some(), "{sample:?}");
}

#[test]
fn a_dead_chip_costs_next_to_nothing() {
    for chip in all() {
        let bus = bus_with(chip);
        let mut chips = Chips::new(bus.clone());
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
        pass(&bus, &mut chips, 1);
    }
    assert!(occupied < Duration::from_secs(15), "the bus was occupied for {occupied:?} of ten minutes");
}

#[test]
fn an_unplugged_chip_is_back_at_the_first_sample() {
    for chip in [BME280, SHT4X, BMP280, BME680, BME688, AHT20, SHT3X] {
        let bus = bus_with(chip);
        let mut chips = Chips::new(bus.clone());
        settle(&bus, &mut chips, chip);
        assert!(bus.fault(chip.address, Some(Fault::Unplugged)));
        for _ in 0..50 {
            pass(&bus, &mut chips, 1);
            assert!(chips.sample(chip, &AROUND).readings.is_err());
        }
        assert!(bus.fault(chip.address, None));
        pass(&bus, &mut chips, 1);
        // It may have got its power only with the first transfer that reached it.
        let _ = chips.sample(chip, &AROUND);
        pass(&bus, &mut chips, 1);
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
    pass(&bus, &mut chips, 6);
    assert!(is_good(&chips.sample(SCD4X, &AROUND).readings));
    // A BME280 is waited for.
    settle(&bus, &mut chips, BME280);
    let before = bus.clock().now();
    assert!(is_good(&chips.sample(BME280, &AROUND).readings));
    assert!(bus.clock().now() - before >= Duration::from_millis(9));
}

#[test]
fn a_scan_finds_every_chip_and_disturbs_none() {
    let found =
        |chips: &mut Chips<SimBus>| chips.scan().unwrap().found.iter().map(|found| found.chip).collect::<Vec<_>>();
    for chip in all() {
        let bus = bus_with(chip);
        let mut chips = Chips::new(bus.clone());
        assert_eq!(found(&mut chips), neighbours(chip));
        settle(&bus, &mut chips, chip);
        pass(&bus, &mut chips, 10);
        assert_eq!(found(&mut chips), neighbours(chip));
        assert!(is_good(&chips.sample(chip, &AROUND).readings), "{chip}");
        assert!(chips.scan().unwrap().unknown.is_empty());
    }
}

#[test]
fn a_scan_tells_other_chips_from_ours() {
    for chip in all() {
        let bus = bus_with(chip);
        assert!(bus.fault(chip.address, Some(Fault::WrongId)));
        let report = Chips::new(bus.clone()).scan().unwrap();
        assert!(report.found.iter().all(|found| found.chip != chip), "{chip}: {report:?}");
        // A Bosch chip becomes one of its sisters, which is known too.
        let there: Vec<u8> = report
            .found
            .iter()
            .map(|found| found.chip.address)
            .chain(report.unknown.iter().map(|unknown| unknown.address))
            .collect();
        assert_eq!(there.len(), neighbours(chip).len(), "{chip}: {report:?}");
        assert!(there.contains(&chip.address));
        assert!(report.unknown.iter().all(|unknown| unknown.address == chip.address && !unknown.detail.is_empty()));
    }
    assert_eq!(Chips::new(SimBus::new(Clock::virtual_time())).scan().unwrap(), hal::ScanReport::default());
}

#[test]
fn an_address_that_the_chip_cannot_have_is_refused() {
    let failure = Chips::new(bus()).sample(ChipAt::new(Model::Scd4x, 0x63), &AROUND).readings.unwrap_err();
    assert!(failure.detail.contains("0x62"), "{}", failure.detail);
}
