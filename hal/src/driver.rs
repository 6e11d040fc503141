//! What a driver is. One short file per chip; each is generic over `embedded-hal`, so that it runs unchanged over Linux,
//! over the simulated chips and over a scripted mock.

pub mod bme280;
pub mod pmsa003i;
pub mod scd4x;
mod sensirion;
pub mod sht4x;

use std::ops::RangeInclusive;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error, ErrorKind, I2c};
use reading::{Flag, Quantity, Reason};

use crate::model::{ChipAt, Model};

/// A chip that is driven. `now` is a monotonic time with any zero.
pub trait Driver {
    /// Brings the chip from whatever state it is in to the one that `sample` needs, and gives its serial number where it has
    /// one. The first transfer fails at once where no chip answers.
    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure>;

    /// Whether the chip is in the state that `sample` needs, as far as the driver knows. A failure that a start may cure
    /// ends it; a chip that only wants time keeps it.
    fn is_running(&self) -> bool;

    /// A fresh measurement, or why there is none.
    fn sample(&mut self, now: Duration) -> Result<Vec<Measured>, Failure>;

    /// Leaves the chip idle; errors do not matter any more.
    fn stop(&mut self);
}

/// One value, as the chip and its datasheet see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// What was measured.
    pub quantity: Quantity,
    /// In the quantity's unit; always a finite number.
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
        Model::Bme280 => Box::new(bme280::Bme280::new(i2c, delay, chip.address)),
        Model::Sht4x => Box::new(sht4x::Sht4x::new(i2c, delay, chip.address)),
        Model::Pmsa003i => Box::new(pmsa003i::Pmsa003i::new(i2c, chip.address)),
        Model::Scd4x => Box::new(scd4x::Scd4x::new(i2c, delay)),
    }
}

/// Whether `chip` is where it should be, without disturbing it or whoever is there instead: its serial number, which is empty
/// where it has none or does not tell it now, or what is there instead.
pub(crate) fn identify(chip: ChipAt, i2c: &mut impl I2c, delay: &mut impl DelayNs) -> Result<String, Failure> {
    match chip.model {
        Model::Bme280 => bme280::identify(i2c, chip.address),
        Model::Sht4x => sht4x::identify(i2c, delay, chip.address),
        Model::Pmsa003i => pmsa003i::identify(i2c, chip.address),
        Model::Scd4x => scd4x::identify(i2c, delay),
    }
}

impl Measured {
    /// A value that passed the tests made here.
    pub fn good(quantity: Quantity, value: f32) -> Self {
        Self { quantity, value, flag: Flag::GOOD, reason: Reason::NONE }
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
