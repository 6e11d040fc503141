//! What drivers say, beside what is there.

use std::collections::BTreeSet;
use std::time::Duration;

use foreign::{Python, Values};
use hal::sim::SimBus;
use hal::{ChipAt, Chips, Measured, Model, Surroundings};
use reading::{Flag, Quantity};

use crate::world::worlds;

/// How far what a driver says may be from what is there: the chip's resolution at the driver's settings, and what integer
/// arithmetic loses.
pub type Tolerances<'a> = &'a [(Quantity, Tolerance)];

#[derive(Clone, Copy)]
pub struct Tolerance {
    /// In the quantity's unit, and besides ...
    by: f64,
    /// ... as a part of what is there.
    part: f64,
}

impl Tolerance {
    pub const fn by(most: f64) -> Self {
        Self { by: most, part: 0.0 }
    }

    pub const fn and_part(self, part: f64) -> Self {
        Self { part, ..self }
    }
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
        let most = tolerance.by + tolerance.part * truth.abs();
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
    let around = Surroundings { interval, ..Surroundings::default() };
    let mut chips = Chips::new(bus.clone());
    let end = bus.clock().now() + PATIENCE;
    loop {
        pass(bus, &mut chips, interval, |_| ());
        match chips.sample(chip, &around).readings {
            Ok(readings) if readings.iter().all(|measured| measured.flag == Flag::GOOD) => return named(&readings),
            readings => {
                assert!(bus.clock().now() < end, "ours says nothing good of a {model} in {PATIENCE:?}: {readings:?}");
            }
        }
    }
}

/// Lets time pass as a bus's thread does, looking after chips that want it; `live` is called before each look.
pub fn pass(bus: &SimBus, chips: &mut Chips<SimBus>, time: Duration, live: impl Fn(&SimBus)) {
    let end = bus.clock().now() + time;
    loop {
        let left = end.saturating_sub(bus.clock().now());
        if left.is_zero() {
            return;
        }
        let wait = chips.tend_in().unwrap_or(left);
        bus.clock().advance(wait.min(left));
        if wait <= left {
            live(bus);
            chips.tend();
        }
    }
}

pub fn named(readings: &[Measured]) -> Values {
    readings.iter().map(|it| (it.quantity.to_string(), f64::from(it.value))).collect()
}
