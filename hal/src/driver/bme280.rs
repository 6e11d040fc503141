//! Bosch BME280: temperature, humidity, pressure. Bosch BMP280: the same without humidity.
//!
//! Section numbers are those of the data sheet BST-BME280-DS001; what the BMP280 has in common is at the same registers with the
//! same meaning (BST-BMP280-DS001).
//!
//! One sample each of everything, filter off, each measurement ordered by itself (forced mode), so that nothing old can be read as
//! new: a measurement has ended when the chip is asleep again. `bosch` says why everything is read twice. A chip that lost its
//! configuration was reset or swapped meanwhile, and is started anew.

mod compensation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use self::compensation::{Calibration, Dryness};
use super::bosch::{self, Registers, inside};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "BME280",
    members: &[],
    addresses: bosch::ADDRESSES,
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE],
    warm_up: Duration::ZERO,
    // One measurement (appendix B).
    min_interval: Duration::from_millis(10),
    tend_every: None,
    own_waits: Duration::from_millis(100),
};

pub(crate) const BMP280_DATASHEET: Datasheet =
    Datasheet { name: "BMP280", quantities: &[Quantity::TEMPERATURE, Quantity::PRESSURE], ..DATASHEET };

// Registers, section 5.3.
const CALIBRATION_A: u8 = 0x88;
const CALIBRATION_B: u8 = 0xe1;
const CTRL_HUM: u8 = 0xf2;
const STATUS: u8 = 0xf3;
const CTRL_MEAS: u8 = 0xf4;
const CONFIG: u8 = 0xf5;
const DATA: u8 = 0xf7;

/// One sample of humidity (section 5.4.3).
const CTRL_HUM_X1: u8 = 0b001;
/// One sample each of temperature and pressure, asleep (section 5.4.5).
const CTRL_MEAS_ASLEEP: u8 = 1 << 5 | 1 << 2;
/// The `mode` bits: one measurement, then asleep again.
const FORCED: u8 = 0b01;
const MODE: u8 = 0b11;
/// `filter` in `config` (section 5.4.6).
const CONFIG_FILTER: u8 = 0b111 << 2;
/// `measuring` and `im_update` in `status` (section 5.4.4).
const STATUS_MEASURING: u8 = 1 << 3;
const STATUS_UPDATING: u8 = 1 << 0;

/// From a reset to the first communication (table 1).
const STARTUP_MS: u32 = 2;
/// One sample of each takes 9.3 ms at most (appendix B).
const MEASURE_MS: u32 = 10;
/// A chip that is later than its data sheet gets this many times [`MEASURE_MS`] more; after that it counts as stuck.
const EXTRA_LOOKS: u32 = 3;

/// Which of the two chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// With humidity.
    Bme280,
    /// Without.
    Bmp280,
}

/// The driver.
pub struct Bme280<I2C, D> {
    wire: Registers<I2C>,
    delay: D,
    part: Part,
    calibration: Option<Calibration>,
}

impl<I2C: I2c, D: DelayNs> Bme280<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8, part: Part) -> Self {
        Self { wire: Registers::new(i2c, address), delay, part, calibration: None }
    }

    fn id(&self) -> u8 {
        match self.part {
            Part::Bme280 => bosch::BME280_ID,
            Part::Bmp280 => bosch::BMP280_ID,
        }
    }

    fn configure(&mut self) -> Result<(), Failure> {
        // `ctrl_hum` takes effect with the next write to `ctrl_meas` (section 5.4.3).
        if self.part == Part::Bme280 {
            self.wire.write(CTRL_HUM, CTRL_HUM_X1)?;
        }
        self.wire.write(CONFIG, 0)?;
        self.wire.write(CTRL_MEAS, CTRL_MEAS_ASLEEP)?;
        self.is_idle().map(|_| ())
    }

    /// Whether the last measurement has ended. Fails where the chip has another configuration than it was given.
    fn is_idle(&mut self) -> Result<bool, Failure> {
        let [ctrl_hum, status, ctrl_meas, config] = self.wire.read(CTRL_HUM)?;
        let has_humidity = self.part == Part::Bmp280 || ctrl_hum & 0b111 == CTRL_HUM_X1;
        if ctrl_meas & !MODE != CTRL_MEAS_ASLEEP || !has_humidity || config & CONFIG_FILTER != 0 {
            return Err(bosch::lost_configuration());
        }
        Ok(ctrl_meas & MODE == 0 && status & STATUS_MEASURING == 0)
    }

    /// The chip copies its calibration out of its memory after a reset (section 5.4.4).
    fn wait_for_calibration(&mut self) -> Result<(), Failure> {
        for _ in 0..=EXTRA_LOOKS {
            self.delay.delay_ms(STARTUP_MS);
            let [status] = self.wire.read(STATUS)?;
            if status & STATUS_UPDATING == 0 {
                return Ok(());
            }
        }
        Err(Failure::new(Reason::NOT_READY, "the chip does not end its reset"))
    }

    fn calibration(&mut self) -> Result<Calibration, Failure> {
        let [common @ .., _, h1] = self.wire.read_twice::<26>(CALIBRATION_A, 11)?;
        let humidity = match self.part {
            Part::Bme280 => Some(Dryness::new(h1, self.wire.read_twice(CALIBRATION_B, 3)?)),
            Part::Bmp280 => None,
        };
        Calibration::new(&common, humidity)
            .ok_or_else(|| Failure::new(Reason::SENSOR_FAULT, "the calibration in the chip cannot be used"))
    }

    fn measure(&mut self) -> Result<Vec<Measured>, Failure> {
        let Some(calibration) = self.calibration else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        // Somebody may have swapped the chip.
        self.wire.identify(self.id())?;
        self.wire.write(CTRL_MEAS, CTRL_MEAS_ASLEEP | FORCED)?;
        self.wait_for_measurement()?;
        let (pressure, temperature, humidity) = match self.part {
            Part::Bme280 => bosch::codes(&self.wire.read_twice::<8>(DATA, 3)?)?,
            Part::Bmp280 => bosch::codes(&self.wire.read_twice::<6>(DATA, 1)?)?,
        };
        let air = calibration.compensate(temperature, pressure, humidity);
        // Sections 1.1 to 1.4.
        let mut readings = vec![inside(Quantity::TEMPERATURE, air.celsius, -40.0, 85.0)];
        readings.extend(air.percent.map(|percent| inside(Quantity::HUMIDITY, percent, 0.0, 100.0)));
        readings.push(inside(Quantity::PRESSURE, air.pascal, 30_000.0, 110_000.0));
        Ok(bosch::spoiled_by_temperature(readings))
    }

    fn wait_for_measurement(&mut self) -> Result<(), Failure> {
        for _ in 0..=EXTRA_LOOKS {
            self.delay.delay_ms(MEASURE_MS);
            if self.is_idle()? {
                return Ok(());
            }
        }
        Err(Failure::new(Reason::NOT_READY, "the conversion does not end"))
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Bme280<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.wire.identify(self.id()).map(|()| String::new())
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.calibration = None;
        self.wire.identify(self.id())?;
        self.wire.reset()?;
        self.wait_for_calibration()?;
        self.configure()?;
        self.calibration = Some(self.calibration()?);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.calibration.is_some()
    }

    fn sample(&mut self, _now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let outcome = self.measure();
        if outcome.is_err() {
            self.calibration = None;
        }
        outcome
    }

    /// Between two measurements the chip sleeps by itself.
    fn stop(&mut self) {
        self.calibration = None;
    }
}
