//! What drivers say, beside what is there.

use std::collections::BTreeSet;
use std::time::Duration;

use foreign::{Python, Values};
use hal::sim::SimBus;
use hal::{ChipAt, Chips, Model, Surroundings};
use reading::{Flag, Quantity};

use crate::world::worlds;

/// How far what a driver says may be from what is there: the chip's resolution at the driver's settings, and what integer
/// arithmetic loses.
pub type Tolerances<'a> = &'a [(Quantity, Tolerance)];

#[derive(Clone, Copy)]
pub enum Tolerance {
    /// In the quantity's unit.
    By(f64),
    /// As a part of what is there.
    Part(f64),
}

/// Somebody else's driver.
pub struct Driver {
    pub read: Read,
    /// What it gets wrong, by the datasheet; README.md says how.
    pub wrong: &'static [Quantity],
}

#[derive(Clone, Copy)]
pub enum Read {
    /// By the package's name in requirements.txt.
    Python(&'static str),
    /// From a bus with one chip.
    Rust(fn(&SimBus) -> Values),
}

impl Driver {
    fn read(&self, python: &mut Python, bus: &SimBus) -> Values {
        match self.read {
            Read::Python(package) => python.read(package, bus).unwrap(),
            Read::Rust(read) => read(bus),
        }
    }

    fn name(&self) -> &'static str {
        match self.read {
            Read::Python(package) => package,
            Read::Rust(_) => "a published crate",
        }
    }
}

/// The models that we have no driver of yet.
const OURS_TO_COME: &[&str] = &["SHT31", "SCD30", "SGP30", "SGP40", "SGP41", "SPS30", "SEN50", "SEN54", "SEN55"];

pub fn is_to_come(model: &str) -> bool {
    let is_to_come = OURS_TO_COME.contains(&model);
    assert_eq!(
        is_to_come,
        model.parse::<Model>().is_err(),
        "is there a driver of ours for a {model}? see OURS_TO_COME"
    );
    is_to_come
}

/// In every world that the model is made for: each driver and ours, on one chip after the other, are right. What a driver is known to get wrong must be
/// wrong somewhere, so that it is noticed when it is mended.
pub fn agree(model: &str, drivers: &[Driver], tolerances: Tolerances<'_>) {
    let mut python = Python::start().unwrap();
    for driver in drivers {
        let mut found_wrong = BTreeSet::new();
        for world in worlds(model) {
            let (bus, address) = world.bus(model);
            let place = format!("on a {model}, {}", world.name);
            let said = driver.read(&mut python, &bus);
            for (quantity, error) in errors(&said, tolerances, |quantity| world.value(quantity)) {
                assert!(driver.wrong.contains(&quantity), "{} {place}: {error}", driver.name());
                found_wrong.insert(quantity.to_string());
            }
            if is_to_come(model) {
                continue;
            }
            // Ours takes over the chip as the other one left it.
            let said = ours(model, address, &bus);
            let errors = errors(&said, tolerances, |quantity| world.value(quantity));
            assert!(errors.is_empty(), "ours {place}, after {}: {errors:?}", driver.name());
        }
        let wrong: BTreeSet<_> = driver.wrong.iter().map(Quantity::to_string).collect();
        assert_eq!(found_wrong, wrong, "{} on a {model}: what is wrong", driver.name());
    }
}

/// Every quantity that is not what it should be.
fn errors(said: &Values, tolerances: Tolerances<'_>, truth: impl Fn(Quantity) -> f64) -> Vec<(Quantity, String)> {
    let extra = said.keys().find(|name| tolerances.iter().all(|(quantity, _)| quantity.to_string() != **name));
    assert_eq!(extra, None, "a quantity that nobody asked for in {said:?}");
    let mut errors = Vec::new();
    for &(quantity, tolerance) in tolerances {
        let truth = truth(quantity);
        let most = match tolerance {
            Tolerance::By(most) => most,
            Tolerance::Part(part) => part * truth.abs(),
        };
        match said.get(&quantity.to_string()) {
            Some(value) if (value - truth).abs() <= most => {}
            value => errors.push((quantity, format!("{quantity} {value:?}, in truth {truth}"))),
        }
    }
    errors
}

/// How long a chip may take until all is good; the ENS160's three minutes are the longest.
const PATIENCE: Duration = Duration::from_secs(600);

/// Of our driver, asked once a second, the first sample in which everything is good.
fn ours(model: &str, address: u8, bus: &SimBus) -> Values {
    let chip = ChipAt::new(model.parse::<Model>().unwrap(), address);
    let interval = Duration::from_secs(1);
    let around = Surroundings { interval, temperature: None, humidity: None, pressure: None };
    let mut chips = Chips::new(bus.clone());
    let end = bus.clock().now() + PATIENCE;
    loop {
        bus.clock().advance(interval);
        let readings = chips.sample(chip, &around).readings;
        match readings {
            Ok(readings) if readings.iter().all(|measured| measured.flag == Flag::GOOD) => {
                return readings.iter().map(|it| (it.quantity.to_string(), f64::from(it.value))).collect();
            }
            _ => assert!(bus.clock().now() < end, "ours says nothing good of a {model} in {PATIENCE:?}: {readings:?}"),
        }
    }
}
