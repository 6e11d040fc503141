//! A gas index is no measurement but what an algorithm makes of many minutes of signals: Sensirion's in C, which ours and Adafruit's
//! are translations of. On two chips in the same air both must come to the same.

use std::time::Duration;

use foreign::{Python, Values};
use hal::sim::{self, Clock, SimBus};
use hal::{ChipAt, Chips, Surroundings};
use reading::Quantity;

use crate::compare::{named, pass};

const ADDRESS: u8 = 0x59;

/// As long as the readers in `python/drivers.py` take.
const LISTENED: Duration = Duration::from_secs(2_700);
/// After that much average air somebody opens the paint, and the window to the street.
const EVENT: Duration = Duration::from_secs(2_400);
/// In points of 500: an index of Adafruit's is whole, and the conditioning takes a second more or less.
const TOLERANCE: f64 = 2.0;

/// A bus with one chip that has just got its power.
fn bus(model: &str) -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(sim::chip(model).unwrap());
    bus.clock().advance(Duration::from_secs(1));
    bus
}

/// The air as it is at this time on the bus.
fn live(bus: &SimBus) {
    let (voc_index, nox_index) = if bus.clock().now() < EVENT { (100.0, 1.0) } else { (230.0, 45.0) };
    assert!(bus.set(ADDRESS, Quantity::VOC_INDEX, voc_index));
    // A SGP40 has none.
    bus.set(ADDRESS, Quantity::NOX_INDEX, nox_index);
}

/// What our driver says at the end. It looks after the chip once a second by itself.
fn ours(model: &str) -> Values {
    let bus = bus(model);
    let chip = ChipAt::new(model.parse().unwrap(), ADDRESS);
    let interval = Duration::from_secs(60);
    let around = Surroundings { interval, ..Surroundings::default() };
    let mut chips = Chips::new(bus.clone());
    let end = bus.clock().now() + LISTENED;
    loop {
        live(&bus);
        let readings = chips.sample(chip, &around).readings;
        if bus.clock().now() >= end {
            return named(&readings.unwrap());
        }
        let left = end.saturating_sub(bus.clock().now());
        pass(&bus, &mut chips, interval.min(left), live);
    }
}

fn agree(model: &str, packages: &[&str], quantities: &[Quantity]) {
    let mut python = Python::start().unwrap();
    let mut said: Vec<_> =
        packages.iter().map(|package| (*package, python.read_while(package, &bus(model), live).unwrap())).collect();
    said.push(("ours", ours(model)));
    let (first, indices) = &said[0];
    for quantity in quantities.iter().map(Quantity::to_string) {
        let index = indices[&quantity];
        for (other, indices) in &said[1..] {
            let theirs = indices[&quantity];
            assert!((index - theirs).abs() <= TOLERANCE, "{model}, {quantity}: {first} {index}, {other} {theirs}");
        }
        // The averages that it begins from: algorithms that stand still would agree, too.
        let average = if quantity == "voc_index" { 100.0 } else { 1.0 };
        assert!((index - average).abs() > 2.0 * TOLERANCE, "{model}: {quantity} {index} never left its average");
    }
}

#[test]
fn sgp40() {
    agree("SGP40", &["sensirion-i2c-sgp4x (SGP40)"], &[Quantity::VOC_INDEX]);
}

#[test]
fn sgp41() {
    let packages = ["adafruit-circuitpython-sgp41", "sensirion-i2c-sgp4x (SGP41)"];
    agree("SGP41", &packages, &[Quantity::VOC_INDEX, Quantity::NOX_INDEX]);
}
