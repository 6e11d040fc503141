//! Sensirion SCD40, SCD41: CO2, temperature, humidity.
//!
//! Section numbers are those of the SCD4x data sheet (version 1.4). The commands are the `libscd` crate's. The chip measures
//! every 5 s by itself, goes on across our restart, and then refuses nearly every command: so it is stopped before anything
//! else. Each measurement can be read once.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use libscd::error::Error;
use libscd::synchronous::scd4x::{I2C_ADDRESS, Scd4x as Chip};
use reading::{Quantity, Reason};

use super::{Driver, Failure, Measured, sensirion};
use crate::model::Model;

/// Three measurements missed: the chip lost its power for a moment and does not measure any more.
const LOST_AFTER: Duration = Duration::from_secs(16);

/// A measurement that is just about to be ready is waited for, so that two clocks side by side do not miss each other for
/// minutes.
const POLLS: u32 = 5;
const POLL_MS: u32 = 10;

/// The driver.
pub struct Scd4x<I2C, D> {
    i2c: I2C,
    delay: D,
    measuring: Option<Measuring>,
}

struct Measuring {
    started: Duration,
    /// When the chip last had something new, or was started.
    fresh: Duration,
}

/// The serial number, where the chip tells it: while it measures it refuses the command, but always says whether data is ready.
pub(super) fn identify(i2c: &mut impl I2c, delay: &mut impl DelayNs) -> Result<String, Failure> {
    let mut chip = Chip::new(&mut *i2c, delay);
    match chip.data_ready() {
        Ok(_) => Ok(chip.serial_number().map(serial).unwrap_or_default()),
        Err(error) => Err(sensirion::or_wrong_chip(explain(error), i2c, I2C_ADDRESS)),
    }
}

fn serial(number: u64) -> String {
    format!("{number:012x}")
}

impl<I2C: I2c, D: DelayNs> Scd4x<I2C, D> {
    /// A driver; it does nothing yet. The chip has only one address.
    pub fn new(i2c: I2C, delay: D) -> Self {
        Self { i2c, delay, measuring: None }
    }

    /// The crate keeps nothing between two commands but what we know better.
    fn chip(&mut self) -> Chip<&mut I2C, &mut D> {
        Chip::new(&mut self.i2c, &mut self.delay)
    }

    fn wait_for_data(&mut self) -> Result<bool, Failure> {
        for _ in 0..POLLS {
            if self.chip().data_ready().map_err(explain)? {
                return Ok(true);
            }
            self.delay.delay_ms(POLL_MS);
        }
        Ok(false)
    }

    fn measure(&mut self) -> Result<Option<Vec<Measured>>, Failure> {
        if !self.wait_for_data()? {
            return Ok(None);
        }
        let measurement = self.chip().read_measurement().map_err(|error| sensirion::not_ready(explain(error)))?;
        Ok(Some(vec![
            co2(measurement.co2),
            // Operating range, section 1.3.
            Measured::within(Quantity::TEMPERATURE, measurement.temperature, -10.0..=60.0),
            Measured::within(Quantity::HUMIDITY, measurement.humidity, 0.0..=100.0),
        ]))
    }
}

/// The chip can put out up to 40,000 ppm; its accuracy is stated from 400 to 2000 (SCD40) or 5000 ppm (SCD41), as 50 ppm and
/// 5 % (section 1.1). Clean air may so read 330.
fn co2(ppm: u16) -> Measured {
    let measured = Measured::within(Quantity::CO2, f32::from(ppm), 1.0..=40_000.0);
    if (330..=5300).contains(&ppm) { measured } else { measured.suspect(Reason::OUT_OF_RANGE) }
}

fn explain<E: embedded_hal::i2c::Error>(error: Error<E>) -> Failure {
    match error {
        Error::I2C(error) => Failure::of_bus(&error),
        Error::CRC => Failure::new(Reason::CHECKSUM, sensirion::CHECKSUM),
        Error::NotAllowed | Error::InvalidInput => {
            Failure::new(Reason::NOT_READY, "the chip takes no such command now")
        }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Scd4x<I2C, D> {
    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.measuring = None;
        self.chip()
            .stop_periodic_measurement()
            .map_err(|error| sensirion::or_wrong_chip(explain(error), &mut self.i2c, I2C_ADDRESS))?;
        let number = self
            .chip()
            .serial_number()
            .map_err(|error| sensirion::or_wrong_chip(explain(error), &mut self.i2c, I2C_ADDRESS))?;
        self.chip().start_periodic_measurement().map_err(explain)?;
        self.measuring = Some(Measuring { started: now, fresh: now });
        Ok(Some(serial(number)))
    }

    fn is_running(&self) -> bool {
        self.measuring.is_some()
    }

    fn sample(&mut self, now: Duration) -> Result<Vec<Measured>, Failure> {
        let outcome = self.measure();
        let Some(measuring) = &mut self.measuring else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        match outcome {
            Ok(Some(readings)) => {
                measuring.fresh = now;
                Ok(readings)
            }
            Ok(None) if now.saturating_sub(measuring.fresh) > LOST_AFTER => {
                self.measuring = None;
                Err(Failure::new(Reason::NOT_READY, "the chip does not measure any more; it is started again"))
            }
            // The first measurement is ready after one interval, and a little for the chip's own clock (section 3.5.1).
            Ok(None) if now.saturating_sub(measuring.started) < Model::Scd4x.warm_up() + Duration::from_secs(1) => {
                Err(Failure::new(Reason::WARMING_UP, "the first measurement is not ready yet"))
            }
            Ok(None) => Err(Failure::new(Reason::NOT_READY, "no new measurement since the last sample")),
            Err(failure) => {
                self.measuring = None;
                Err(failure)
            }
        }
    }

    fn stop(&mut self) {
        if self.measuring.take().is_some() {
            let _ = self.chip().stop_periodic_measurement();
        }
    }
}
