#![allow(clippy::unusual_byte_groupings, reason = "the groups are the fields of the registers")]

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::{Clock, SimBus, SimError, chip};
use super::*;

const ADDRESS: u8 = 0x76;
const NO_ANSWER: SimError = SimError::Address(ADDRESS);

/// Oversampling x2, x16 for pressure, x1 for humidity: the quick start of section 3.2.1. Its cycle takes 1000 + 477 * 9 +
/// 1963 * 19 us and the heating.
const QUICK_START: u8 = 0b010_101_00;
const FORCED: u8 = 0b01;
const CYCLE_US: u32 = 42_590;

fn bus(model: &str) -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip(model).unwrap());
    for (quantity, value) in QUANTITIES.into_iter().zip([21.5, 45.0, 99_800.0, 50_000.0]) {
        assert!(bus.set(ADDRESS, quantity, value));
    }
    wait_us(&bus, 2_000);
    bus
}

fn wait_us(bus: &SimBus, time: u32) {
    bus.clock().delay().delay_us(time);
}

fn registers<const N: usize>(bus: &mut SimBus, first: u8) -> [u8; N] {
    let mut values = [0; N];
    bus.write_read(ADDRESS, &[first], &mut values).unwrap();
    values
}

fn register(bus: &mut SimBus, address: u8) -> u8 {
    registers::<1>(bus, address)[0]
}

fn field(bus: &mut SimBus) -> Field {
    registers(bus, FIELD)
}

/// Section 3.2.1: 300 Cel, 100 ms, and the forced mode.
fn start(bus: &mut SimBus, run_gas: u8) {
    bus.write(ADDRESS, &[CTRL_HUM, 0b001, GAS_WAIT, 0x59, RES_HEAT, 0x6E, CTRL_GAS_1, run_gas]).unwrap();
    bus.write(ADDRESS, &[CTRL_MEAS, QUICK_START | FORCED]).unwrap();
}

fn measure(bus: &mut SimBus, run_gas: u8) -> Field {
    start(bus, run_gas);
    wait_us(bus, CYCLE_US + 100_000);
    field(bus)
}

fn air(field: Field) -> (f64, f64, f64) {
    let code = |at: usize| u32::from(field[at]) << 12 | u32::from(field[at + 1]) << 4 | u32::from(field[at + 2]) >> 4;
    let t_fine = calibration::t_fine(code(5));
    let humidity = u32::from(field[8]) << 8 | u32::from(field[9]);
    (calibration::temperature(t_fine), calibration::humidity(humidity, t_fine), calibration::pressure(code(2), t_fine))
}

fn assert_air(field: Field, (celsius, percent, pascal): (f64, f64, f64)) {
    let (c, h, p) = air(field);
    let close = (c - celsius).abs() <= 0.01 && (h - percent).abs() <= 0.02 && (p - pascal).abs() <= 2.0;
    assert!(close, "{c} Cel {h} %RH {p} Pa");
}

#[test]
fn registers_hold_their_reset_contents_after_power_on() {
    for (model, variant) in [("BME680", 0x00), ("BME688", 0x01)] {
        let mut bus = SimBus::new(Clock::virtual_time());
        bus.attach(chip(model).unwrap());
        assert_eq!(bus.write(ADDRESS, &[ID]), Err(NO_ANSWER), "starting up");
        wait_us(&bus, 2_000);
        assert_eq!((register(&mut bus, ID), register(&mut bus, VARIANT_ID)), (0x61, variant));
        assert_eq!(registers(&mut bus, CTRL_GAS_0), [0x00; 6]);
        assert_eq!(field(&mut bus), [0, 0, 0x80, 0, 0, 0x80, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(registers(&mut bus, 0x8A), [0x97, 0x67, 0x03], "26519, 3");
    }
}

#[test]
fn the_quick_start_of_the_datasheet_measures_everything() {
    let mut bus = bus("BME680");
    start(&mut bus, 1 << 4);
    assert_eq!(field(&mut bus)[0], 0b0010_0000, "measuring");
    wait_us(&bus, CYCLE_US);
    assert_eq!(field(&mut bus)[0], 0b0110_0000, "heating");
    assert_eq!(register(&mut bus, CTRL_MEAS), QUICK_START | FORCED);
    wait_us(&bus, 100_000);
    let field = field(&mut bus);
    assert_eq!(field[..2], [0b1000_0000, 1]);
    assert_eq!(register(&mut bus, CTRL_MEAS), QUICK_START, "asleep again");
    assert_air(field, (21.5, 45.0, 99_800.0));
    assert_eq!(field[14] & 0b11_0000, 0b11_0000, "valid and stable");
    assert_eq!(field[15..], [0, 0], "where the BME688 has its gas");
}

#[test]
fn new_data_are_new_until_they_are_read() {
    let mut bus = bus("BME680");
    start(&mut bus, 1 << 4);
    wait_us(&bus, CYCLE_US + 100_000);
    assert_eq!(register(&mut bus, FIELD), 0x80);
    start(&mut bus, 1 << 4);
    assert_eq!(register(&mut bus, FIELD), 0b1010_0000, "those of the time before");
    let first = field(&mut bus);
    let running = field(&mut bus);
    assert_eq!(running[0], 0b0010_0000);
    assert_eq!(running[1..], first[1..], "the old data are still there");
    wait_us(&bus, CYCLE_US + 100_000);
    assert_eq!(field(&mut bus)[..2], [0x80, 2]);
}

#[test]
fn each_part_has_its_gas_where_its_own_switch_and_registers_are() {
    for (model, switch, other, at) in [("BME680", 1 << 4, 1 << 5, 13), ("BME688", 1 << 5, 1 << 4, 15)] {
        let mut bus = bus(model);
        let with = measure(&mut bus, switch);
        assert_ne!(with[at..at + 2], [0, 0]);
        assert_eq!(measure(&mut bus, other)[13..], [0; 4], "{model}: no gas was converted");
    }
}

#[test]
fn the_heater_set_point_is_the_one_that_is_chosen() {
    let mut bus = bus("BME680");
    let stable = |field: Field| field[14] & 0b11_0000;
    assert_eq!(stable(measure(&mut bus, 1 << 4 | 3)), 0b10_0000, "set-point 3 was never set");
    bus.write(ADDRESS, &[RES_HEAT + 3, 0x6E, GAS_WAIT + 3, 0x59]).unwrap();
    let field = measure(&mut bus, 1 << 4 | 3);
    assert_eq!((field[0], stable(field)), (0x83, 0b11_0000));
    bus.write(ADDRESS, &[CTRL_GAS_0, 1 << 3]).unwrap();
    assert_eq!(stable(measure(&mut bus, 1 << 4 | 3)), 0b10_0000, "off");
}

#[test]
fn what_is_skipped_leaves_its_reset_contents() {
    let mut bus = bus("BME680");
    bus.write(ADDRESS, &[CTRL_HUM, 0, CTRL_MEAS, 0b001_000_01]).unwrap();
    wait_us(&bus, CYCLE_US);
    let field = field(&mut bus);
    assert_eq!((field[2..5].to_vec(), field[8..10].to_vec()), (vec![0x80, 0, 0], vec![0x80, 0]));
    assert!((air(field).0 - 21.5).abs() < 0.01);
}

#[test]
fn a_mode_change_waits_for_the_end_and_nothing_else_is_taken_meanwhile() {
    let mut bus = bus("BME680");
    start(&mut bus, 1 << 4);
    bus.write(ADDRESS, &[CTRL_MEAS, 0b001_001_01]).unwrap();
    bus.write(ADDRESS, &[CTRL_HUM, 0b101, CTRL_MEAS, 0x00]).unwrap();
    wait_us(&bus, CYCLE_US + 100_000);
    assert_eq!(registers(&mut bus, CTRL_HUM), [0b001, 0, 0b001_001_01]);
    assert_eq!(field(&mut bus)[0], 0b1010_0000, "the next one runs");
    wait_us(&bus, 200_000);
    assert_eq!(field(&mut bus)[..2], [0x80, 2]);
}

#[test]
fn the_filter_smooths_temperature_and_pressure_and_begins_anew_when_it_is_set() {
    let mut bus = bus("BME680");
    bus.write(ADDRESS, &[CONFIG, 0b010 << 2]).unwrap();
    measure(&mut bus, 0);
    bus.set(ADDRESS, Quantity::TEMPERATURE, 24.5);
    bus.set(ADDRESS, Quantity::HUMIDITY, 80.0);
    // A third of the way (coefficient 3).
    let (celsius, percent, _) = air(measure(&mut bus, 0));
    assert!((celsius - 22.5).abs() < 0.02, "{celsius}");
    assert!(percent > 75.0, "{percent}: humidity is not filtered");
    bus.write(ADDRESS, &[CONFIG, 0b010 << 2]).unwrap();
    assert_air(measure(&mut bus, 0), (24.5, 80.0, 99_800.0));
}

#[test]
fn a_reset_forgets_everything() {
    let mut bus = bus("BME688");
    measure(&mut bus, 1 << 5);
    bus.write(ADDRESS, &[RESET, 0xB6]).unwrap();
    assert_eq!(registers(&mut bus, 0x8A), [0; 3], "copying");
    wait_us(&bus, 2_000);
    assert_eq!(registers(&mut bus, RES_HEAT), [0; 20]);
    assert_eq!(registers(&mut bus, CTRL_GAS_0), [0; 6]);
    assert_eq!(field(&mut bus)[..5], [0, 0, 0x80, 0, 0]);
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut bus = bus("BME680");
    let good = measure(&mut bus, 1 << 4);
    bus.fault(ADDRESS, Some(Fault::WrongId));
    assert_eq!(register(&mut bus, ID), 0x60);
    bus.fault(ADDRESS, Some(Fault::Truncated));
    assert_eq!(field(&mut bus)[1..], [&good[1..5], &[0xFF; 12]].concat());

    bus.fault(ADDRESS, Some(Fault::Stuck));
    bus.set(ADDRESS, Quantity::TEMPERATURE, 35.0);
    assert_eq!(measure(&mut bus, 1 << 4)[2..], good[2..]);

    bus.fault(ADDRESS, Some(Fault::Busy));
    start(&mut bus, 1 << 4);
    wait_us(&bus, 60_000_000);
    assert_eq!(field(&mut bus)[0] & 0b1010_0000, 0b0010_0000);

    bus.fault(ADDRESS, Some(Fault::Broken));
    let broken = measure(&mut bus, 1 << 4);
    assert_eq!(broken[14] & 0b11_0000, 0b10_0000, "valid, but not stable");
    assert_air(broken, (35.0, 45.0, 99_800.0));

    bus.fault(ADDRESS, Some(Fault::ResetContents));
    let _ = bus.write(ADDRESS, &[ID]);
    wait_us(&bus, 2_000);
    assert_eq!(measure(&mut bus, 1 << 4)[..5], [0, 0, 0x80, 0, 0]);
    assert_eq!(register(&mut bus, ID), 0x61);
    bus.fault(ADDRESS, None);
    let _ = bus.write(ADDRESS, &[ID]);
    wait_us(&bus, 2_000);
    assert_eq!(register(&mut bus, CTRL_HUM), 0, "the configuration is lost");
    assert_air(measure(&mut bus, 1 << 4), (35.0, 45.0, 99_800.0));
}
