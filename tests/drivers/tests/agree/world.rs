//! Places with a chip in their air.

use std::time::Duration;

use hal::sim::{self, Clock, SimBus};
use reading::Quantity;

/// A place, and what is in its air.
pub struct World {
    pub name: &'static str,
    celsius: f64,
    percent: f64,
    pascal: f64,
    /// PM1, PM2.5, PM4 and PM10.
    dust: [f64; 4],
    co2: f64,
    tvoc: f64,
    eco2: f64,
    ohm: f64,
    voc_index: f64,
    nox_index: f64,
}

/// All within what every chip here can say.
const WORLDS: [World; 5] = [
    World {
        name: "room",
        celsius: 21.37,
        percent: 45.6,
        pascal: 101_325.0,
        dust: [5.0, 8.0, 10.0, 12.0],
        co2: 655.0,
        tvoc: 120.0,
        eco2: 620.0,
        ohm: 120_000.0,
        voc_index: 100.0,
        nox_index: 1.0,
    },
    World {
        name: "winter",
        celsius: -9.43,
        percent: 81.0,
        pascal: 103_480.0,
        dust: [31.0, 48.0, 55.0, 61.0],
        co2: 428.0,
        tvoc: 3.0,
        eco2: 401.0,
        ohm: 1_450_000.0,
        voc_index: 41.0,
        nox_index: 1.0,
    },
    World {
        name: "jungle",
        celsius: 44.8,
        percent: 93.2,
        pascal: 99_870.0,
        dust: [2.0, 3.0, 3.0, 4.0],
        co2: 1_480.0,
        tvoc: 1_210.0,
        eco2: 2_044.0,
        ohm: 22_700.0,
        voc_index: 312.0,
        nox_index: 7.0,
    },
    World {
        name: "mountain",
        celsius: 0.01,
        percent: 7.5,
        pascal: 64_150.0,
        dust: [1.0, 2.0, 2.0, 2.0],
        co2: 402.0,
        tvoc: 0.0,
        eco2: 400.0,
        ohm: 480_000.0,
        voc_index: 88.0,
        nox_index: 2.0,
    },
    World {
        name: "fire",
        celsius: 49.3,
        percent: 12.9,
        pascal: 100_100.0,
        dust: [210.0, 330.0, 380.0, 470.0],
        co2: 4_800.0,
        tvoc: 21_000.0,
        eco2: 30_500.0,
        ohm: 2_900.0,
        voc_index: 478.0,
        nox_index: 123.0,
    },
];

/// Near the ends of what [`WEATHERPROOF`] chips can say.
const EXTREMES: [World; 2] = [
    World { name: "stratosphere", celsius: -38.6, percent: 97.5, pascal: 31_200.0, ohm: 7_900_000.0, ..WORLDS[0] },
    World { name: "sauna", celsius: 83.7, percent: 2.2, pascal: 108_900.0, ohm: 1_700.0, ..WORLDS[0] },
];

/// Made for -40 to 85 Cel.
const WEATHERPROOF: &[&str] = &["BME280", "BMP280", "BME680", "BME688", "SHT31", "SHT40", "AHT20"];

/// The worlds that a model is made for.
pub fn worlds(model: &str) -> impl Iterator<Item = &'static World> {
    let extremes: &[World] = if WEATHERPROOF.contains(&model) { &EXTREMES } else { &[] };
    WORLDS.iter().chain(extremes)
}

impl World {
    pub fn value(&self, quantity: Quantity) -> f64 {
        let [pm1, pm2_5, pm4, pm10] = self.dust;
        match quantity {
            Quantity::TEMPERATURE => self.celsius,
            Quantity::HUMIDITY => self.percent,
            Quantity::PRESSURE => self.pascal,
            Quantity::PM1 => pm1,
            Quantity::PM2_5 => pm2_5,
            Quantity::PM4 => pm4,
            Quantity::PM10 => pm10,
            Quantity::CO2 => self.co2,
            Quantity::TVOC => self.tvoc,
            Quantity::ECO2 => self.eco2,
            Quantity::GAS_RESISTANCE => self.ohm,
            Quantity::VOC_INDEX => self.voc_index,
            Quantity::NOX_INDEX => self.nox_index,
            _ => panic!("the worlds have no {quantity}"),
        }
    }

    /// A bus with one chip in this air, long powered.
    pub fn bus(&self, model: &str) -> (SimBus, u8) {
        let bus = SimBus::new(Clock::virtual_time());
        let chip = sim::chip(model).unwrap();
        let (address, quantities) = (chip.address(), chip.quantities());
        bus.attach(chip);
        for quantity in quantities {
            assert!(bus.set(address, *quantity, self.value(*quantity)));
        }
        bus.clock().advance(Duration::from_secs(60));
        (bus, address)
    }
}
