//! Chips behind a multiplexer: equal ones are told apart, and whatever happens to it, nobody is taken for another.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use embedded_hal::i2c::I2c;
use hal::sim::{self, Clock, Fault, SimBus};
use hal::{ChipAt, Chips, Model, Port, Surroundings};
use reading::{Flag, Quantity, Reason};

const MUX: u8 = 0x70;
const BME280: u8 = 0x76;
const SHT4X: u8 = 0x44;

const fn port(channel: u8) -> Port {
    Port { mux: MUX, channel }
}

fn bme280(channel: u8) -> ChipAt {
    ChipAt { port: Some(port(channel)), ..ChipAt::new(Model::Bme280, BME280) }
}

const ON_THE_BUS: ChipAt = ChipAt::new(Model::Sht4x, SHT4X);

/// A SHT40 at 18 Cel on the bus itself, and behind ports 0 and 7 a BME280 each, at 21 and 24 Cel.
fn bench() -> (SimBus, Chips<SimBus>) {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach_mux(MUX);
    bus.attach(sim::chip("SHT40").unwrap());
    bus.set(SHT4X, Quantity::TEMPERATURE, 18.0);
    for (channel, celsius) in [(0, 21.0), (7, 24.0)] {
        let behind = bus.behind(port(channel));
        behind.attach(sim::chip("BME280").unwrap());
        assert!(behind.set(BME280, Quantity::TEMPERATURE, celsius));
    }
    bus.clock().advance(Duration::from_secs(60));
    (bus.clone(), Chips::behind(bus, &[MUX]))
}

/// The temperature in tenths of a degree, or why there is none.
fn decidegrees(bus: &SimBus, chips: &mut Chips<SimBus>, chip: ChipAt) -> Result<i32, Reason> {
    bus.clock().advance(Duration::from_secs(10));
    let readings = chips.sample(chip, &Surroundings::default()).readings.map_err(|failure| failure.reason)?;
    assert_eq!(readings[0].flag, Flag::GOOD);
    Ok((readings[0].value * 10.0).round() as i32)
}

#[test]
fn two_equal_chips_behind_one_bus_both_read_right() {
    let (bus, mut chips) = bench();
    for _ in 0..20 {
        assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
        assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
        assert_eq!(decidegrees(&bus, &mut chips, ON_THE_BUS), Ok(180));
    }
}

#[test]
fn a_scan_finds_what_is_behind_which_port() {
    let (_, mut chips) = bench();
    let places: Vec<_> = chips.scan().unwrap().found.iter().map(|found| found.chip).collect();
    assert_eq!(places, [ON_THE_BUS, bme280(0), bme280(7)]);
    // One that nobody named is only mentioned.
    let (bus, _) = bench();
    let report = Chips::new(bus).scan().unwrap();
    assert_eq!(report.found.iter().map(|found| found.chip).collect::<Vec<_>>(), [ON_THE_BUS]);
    assert_eq!(report.unknown.iter().map(|unknown| unknown.address).collect::<Vec<_>>(), [MUX]);
}

#[test]
fn nobody_behind_an_empty_port_answers() {
    let (bus, mut chips) = bench();
    assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(3)), Err(Reason::NO_ANSWER));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
}

#[test]
fn a_multiplexer_that_disappears_hides_only_its_chips_and_comes_back() {
    let (bus, mut chips) = bench();
    for channel in [0, 7] {
        assert!(decidegrees(&bus, &mut chips, bme280(channel)).is_ok());
    }
    assert!(bus.fault(MUX, Some(Fault::Unplugged)));
    for _ in 0..3 {
        for channel in [0, 7] {
            assert_eq!(decidegrees(&bus, &mut chips, bme280(channel)), Err(Reason::NO_ANSWER));
        }
        assert_eq!(decidegrees(&bus, &mut chips, ON_THE_BUS), Ok(180));
    }
    assert!(bus.fault(MUX, None));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
}

#[test]
fn a_multiplexer_that_lost_its_power_is_switched_again() {
    let (bus, mut chips) = bench();
    for _ in 0..3 {
        assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
        assert!(bus.fault(MUX, Some(Fault::PowerLoss)));
        assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Err(Reason::NO_ANSWER), "all ports are off");
        assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
        assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
    }
}

#[test]
fn a_multiplexer_that_hangs_in_reset_is_a_bus_error_and_no_wrong_chip() {
    let (bus, mut chips) = bench();
    assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
    assert!(bus.fault(MUX, Some(Fault::ResetContents)));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Err(Reason::BUS_ERROR));
    assert_eq!(decidegrees(&bus, &mut chips, ON_THE_BUS), Ok(180));
}

#[test]
fn a_loss_of_all_power_is_survived() {
    let (bus, mut chips) = bench();
    assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
    for behind in [bus.clone(), bus.behind(port(0)), bus.behind(port(7))] {
        for address in [MUX, BME280, SHT4X] {
            behind.fault(address, Some(Fault::PowerLoss));
        }
    }
    for chip in [bme280(0), bme280(7), ON_THE_BUS] {
        let outcomes = [(); 3].map(|()| decidegrees(&bus, &mut chips, chip));
        assert!(outcomes[2].is_ok(), "{chip}: {outcomes:?}");
    }
    assert_eq!(decidegrees(&bus, &mut chips, bme280(0)), Ok(210));
    assert_eq!(decidegrees(&bus, &mut chips, bme280(7)), Ok(240));
}

#[test]
fn two_chips_at_once_are_a_collision_as_on_real_wires() {
    let (bus, _) = bench();
    let mut wires = bus.clone();
    wires.write(MUX, &[0b1000_0001]).unwrap();
    // Both have the same id; their temperatures differ, and each zero wins.
    let mut id = [0];
    wires.write_read(BME280, &[0xd0], &mut id).unwrap();
    assert_eq!(id, [0x60]);
    let mut control = [0];
    wires.read(MUX, &mut control).unwrap();
    assert_eq!(control, [0b1000_0001]);
    // Taken over at the stop, the last byte of several.
    wires.write(MUX, &[0xff, 0]).unwrap();
    assert!(wires.write_read(BME280, &[0xd0], &mut id).is_err());
}

#[test]
fn a_chip_on_the_bus_that_gets_its_power_during_a_scan_is_not_found_behind_the_ports() {
    let (bus, mut chips) = bench();
    // It answers nothing until it has started, which the first transfer to it begins.
    assert!(bus.attach(sim::chip("ENS160").unwrap()).is_none());
    let ens160 = ChipAt::new(Model::Ens160, 0x53);
    assert!(bus.fault(ens160.address, Some(Fault::PowerLoss)));
    let places: Vec<_> = chips.scan().unwrap().found.iter().map(|found| found.chip).collect();
    assert_eq!(places, [ON_THE_BUS, ens160, bme280(0), bme280(7)]);
}
