//! What a driver is. One short file per chip; each is generic over `embedded-hal`, so that it runs unchanged over Linux,
//! over the simulated chips and over a scripted mock.

pub mod aht20;
mod air_pressure;
pub mod bme280;
pub mod bme68x;
mod bosch;
pub mod ens160;
mod gas_index;
mod laser;
mod periodic;
pub mod pmsa003i;
pub mod scd30;
pub mod scd4x;
pub mod sen5x;
mod sensirion;
pub mod sgp30;
pub mod sgp4x;
pub mod sht3x;
pub mod sht4x;
pub mod sps30;

use std::ops::RangeInclusive;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error, ErrorKind, I2c};
use reading::{Flag, Quantity, Reason};

use crate::model::Model;
use crate::place::ChipAt;

/// A chip that is driven. `now` is a monotonic time with any zero.
///
/// No call may take longer than the datasheet's `own_waits` besides its transfers, whatever the chip does.
pub trait Driver {
    /// Whether the chip is where it should be, without disturbing it or whoever is there instead: its serial number, which is
    /// empty where it has none or does not tell it now, or what is there instead.
    fn identify(&mut self) -> Result<String, Failure>;

    /// Brings the chip from whatever state it is in to the one that `sample` needs, and gives its serial number where it has
    /// one. The first transfer fails at once where no chip answers.
    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure>;

    /// Whether the chip is in the state that `sample` needs, as far as the driver knows. A failure that a start may cure
    /// ends it; a chip that only wants time keeps it.
    fn is_running(&self) -> bool;

    /// A fresh measurement, or why there is none.
    fn sample(&mut self, now: Duration, around: &Surroundings) -> Result<Vec<Measured>, Failure>;

    /// What a running chip needs between samples: called every `tend_every` of its datasheet, and not while it rests. An
    /// algorithm that wants a value each second gets it here.
    fn tend(&mut self, _now: Duration, _around: &Surroundings) -> Result<(), Failure> {
        Ok(())
    }

    /// What should survive a restart of the program: a learned baseline, hours of use. At most [`MAX_MEMORY_BYTES`].
    fn memory(&self, _now: Duration) -> Option<Vec<u8>> {
        None
    }

    /// What `memory` gave in an earlier run, before the first start; `age` is how long ago that was, `None` where nobody knows.
    /// Bytes that make no sense, of another version say, change nothing.
    fn restore(&mut self, _memory: &[u8], _age: Option<Duration>) {}

    /// Leaves the chip idle; errors do not matter any more.
    fn stop(&mut self);
}

/// The most that a driver may ask to be remembered.
pub const MAX_MEMORY_BYTES: usize = 64;

/// What the node knows that a chip's driver may use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Time between two samples of this chip; zero where nobody knows yet.
    pub interval: Duration,
    /// Air temperature, Cel, measured well elsewhere on the node not long ago.
    pub temperature: Option<f32>,
    /// Relative humidity, %RH, likewise.
    pub humidity: Option<f32>,
    /// Air pressure, Pa, likewise.
    pub pressure: Option<f32>,
}

/// One value, as the chip and its datasheet see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub quantity: Quantity,
    /// In the quantity's unit; always a finite number, which means nothing where the flag is missing.
    pub value: f32,
    /// How far to trust it.
    pub flag: Flag,
    /// Why the flag is not good.
    pub reason: Reason,
}

/// No value at all: every quantity of the chip is missing, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// For machines.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

/// The driver of `chip`.
pub fn driver<I2C, D>(chip: ChipAt, i2c: I2C, delay: D) -> Box<dyn Driver>
where
    I2C: I2c + 'static,
    D: DelayNs + 'static,
{
    match chip.model {
        Model::Bme280 => Box::new(bme280::Bme280::new(i2c, delay, chip.address, bme280::Part::Bme280)),
        Model::Bmp280 => Box::new(bme280::Bme280::new(i2c, delay, chip.address, bme280::Part::Bmp280)),
        Model::Bme680 => Box::new(bme68x::Bme68x::new(i2c, delay, chip.address, bme68x::Part::Bme680)),
        Model::Bme688 => Box::new(bme68x::Bme68x::new(i2c, delay, chip.address, bme68x::Part::Bme688)),
        Model::Aht20 => Box::new(aht20::Aht20::new(i2c, delay, chip.address)),
        Model::Ens160 => Box::new(ens160::Ens160::new(i2c, delay, chip.address)),
        Model::Sht3x => Box::new(sht3x::Sht3x::new(i2c, delay, chip.address)),
        Model::Sht4x => Box::new(sht4x::Sht4x::new(i2c, delay, chip.address)),
        Model::Pmsa003i => Box::new(pmsa003i::Pmsa003i::new(i2c, chip.address)),
        Model::Scd4x => Box::new(scd4x::Scd4x::new(i2c, delay)),
        Model::Scd30 => Box::new(scd30::Scd30::new(i2c, delay)),
        Model::Sgp30 => Box::new(sgp30::Sgp30::new(i2c, delay)),
        Model::Sgp40 => Box::new(sgp4x::Sgp4x::new(i2c, delay, sgp4x::Part::Sgp40)),
        Model::Sgp41 => Box::new(sgp4x::Sgp4x::new(i2c, delay, sgp4x::Part::Sgp41)),
        Model::Sps30 => Box::new(sps30::Sps30::new(i2c, delay)),
        Model::Sen50 => Box::new(sen5x::Sen5x::new(i2c, delay, sen5x::Part::Sen50)),
        Model::Sen54 => Box::new(sen5x::Sen5x::new(i2c, delay, sen5x::Part::Sen54)),
        Model::Sen55 => Box::new(sen5x::Sen5x::new(i2c, delay, sen5x::Part::Sen55)),
    }
}

impl Measured {
    /// A value that passed the tests made here.
    pub fn good(quantity: Quantity, value: f32) -> Self {
        Self { quantity, value, flag: Flag::GOOD, reason: Reason::NONE }
    }

    /// No value of this quantity, though the chip has others.
    pub fn missing(quantity: Quantity, reason: Reason) -> Self {
        Self { quantity, value: 0.0, flag: Flag::MISSING, reason }
    }

    /// A value that is wrong where it lies outside what the chip can measure.
    pub fn within(quantity: Quantity, value: f32, range: RangeInclusive<f32>) -> Self {
        if range.contains(&value) {
            Self::good(quantity, value)
        } else {
            Self { quantity, value, flag: Flag::FAIL, reason: Reason::OUT_OF_RANGE }
        }
    }

    /// The same value, suspect for `reason` unless it is worse already.
    pub fn suspect(self, reason: Reason) -> Self {
        if self.flag == Flag::GOOD { Self { flag: Flag::SUSPECT, reason, ..self } } else { self }
    }
}

impl Failure {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// What a bus error says of the chip.
    pub(crate) fn of_bus(error: &impl Error) -> Self {
        match error.kind() {
            ErrorKind::NoAcknowledge(_) => Self::new(Reason::NO_ANSWER, format!("no answer: {error:?}")),
            _ => Self::new(Reason::BUS_ERROR, format!("bus error: {error:?}")),
        }
    }
}
