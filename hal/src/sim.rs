//! Register-level simulators of I2C sensors, and a virtual bus that drivers read them over.
//!
//! Written from the datasheets and independently of the drivers in this crate, so that a misreading in one does not hide
//! the same misreading in the other. Three users: unit tests with a virtual clock, `magpie node --simulate` in real time,
//! and the virtual Pi, where an emulator drives a [`Chip`] byte by byte beneath the kernel's own I2C driver.
//!
//! Modelled, because drivers go wrong there: the address phase and repeated starts, NACK while busy, conversion times
//! (the datasheets' maxima), what registers hold after a reset and before the first conversion, checksums, configuration
//! that is lost with the power, measurements that go on across the host's restart, clamped codes, and [`Fault`]s to order.
//!
//! Not modelled: clock stretching (only the SCD30 and some commands of the SHT3x do it), the I2C general call, electrical
//! trouble below the byte, noise and drift of the chip itself (what varies is the [`World`] around it), except the noise of the
//! raw signals of SGP40 and SGP41, by which a chip that is stuck is known.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reading::Quantity;

mod aht20;
mod ambient;
mod bme280;
mod bme68x;
mod bosch;
mod bus;
mod carbon_dioxide;
mod clock;
mod device;
mod dust;
mod ens160;
mod humidity;
mod mux;
mod periodic;
mod pmsa003i;
mod power;
mod scd30;
mod scd4x;
mod sen5x;
mod sensirion;
mod sgp30;
mod sgp4x;
mod sht3x;
mod sht4x;
mod sps30;
mod world;

pub use bus::{SimBus, SimError};
pub use clock::{Clock, SimDelay};
pub use world::{World, world};

use device::{Device, Simulated};
use sensirion::{Commanded, Interface};

/// Which way the bytes after an address go, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Host to chip.
    Write,
    /// Chip to host.
    Read,
}

/// One simulated chip, at byte level.
///
/// `now` is the time since the bus got its power, on a clock that never goes back. A chip that was just made got its
/// power at zero; one that loses it (see [`Fault`]) has it back at the first address phase after that.
pub trait Chip: Send {
    /// The model's name, one of [`MODELS`].
    fn model(&self) -> &'static str;
    /// The 7-bit address that the chip has from the factory. A bus may place it elsewhere.
    fn address(&self) -> u8;
    /// The address phase, of a first or a repeated start. `false` is a NACK.
    fn start(&mut self, direction: Direction, now: Duration) -> bool;
    /// One byte from the host. `false` is a NACK.
    fn write(&mut self, byte: u8, now: Duration) -> bool;
    /// One byte to the host; 0xFF, an idle bus, where the chip has nothing more to say.
    fn read(&mut self, now: Duration) -> u8;
    /// The stop condition.
    fn stop(&mut self, now: Duration);
    /// What the chip measures.
    fn quantities(&self) -> &'static [Quantity];
    /// What the chip does not measure, but what changes its values: the air's pressure those of CO2.
    fn feels(&self) -> &'static [Quantity] {
        &[]
    }
    /// Makes the world around the chip be `value`, in the quantity's unit. Returns `false`, changing nothing, where the
    /// chip neither measures nor feels the quantity or the value is not finite. A value outside the chip's range is kept; what the
    /// chip makes of it is clamped as its codes are.
    fn set(&mut self, quantity: Quantity, value: f64) -> bool;
    /// What the world around the chip is, in the quantity's unit, whatever the chip says of it.
    fn get(&self, quantity: Quantity) -> Option<f64>;
    /// Replaces the chip's fault; `None` heals it. A fault that a chip cannot have (see [`Fault`]) changes nothing.
    fn fault(&mut self, fault: Option<Fault>);
}

/// What can go wrong with a chip. It stays until it is replaced or healed, except [`Fault::PowerLoss`]. What it looks like on
/// a chip is in the documentation of the chip's module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing answers at the address. The chip has no power meanwhile: healed, it starts as from power-on.
    Unplugged,
    /// A measurement never ends: the chip says that it measures, never has data ready, or refuses everything after the next
    /// command. The PMSA003I, which has no busy state, NACKs its address.
    Busy,
    /// Every checksum that is sent is wrong. Bosch's chips send none.
    Checksum,
    /// The chip goes on measuring what it measured when the fault began, whatever the world does.
    Stuck,
    /// Another chip sits at the address: one with another id, or, where there is none, one that knows no command.
    WrongId,
    /// The chip hangs in reset but answers: registers hold their reset contents, and nothing that is written stays.
    /// Healed, it starts as from power-on, so configuration is lost either way.
    ResetContents,
    /// The chip stops sending in the middle of an answer; the host reads an idle bus, 0xFF, from there on.
    Truncated,
    /// The chip reports itself broken: the PMSA003I's error code, the SCD41's self test, a BME68x's heater, the ENS160's
    /// validity flag, a blocked fan in the status of an SPS30 or SEN5x, the self test of an SGP. The others cannot say so.
    Broken,
    /// The power was away for a moment. Not a state: configuration and running measurements are gone, any other fault is
    /// healed, and the chip starts as from power-on.
    PowerLoss,
}

impl Fault {
    /// Every fault.
    pub const ALL: &'static [Self] = &[
        Self::Unplugged,
        Self::Busy,
        Self::Checksum,
        Self::Stuck,
        Self::WrongId,
        Self::ResetContents,
        Self::Truncated,
        Self::Broken,
        Self::PowerLoss,
    ];

    /// The fault's name, in snake_case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Busy => "busy",
            Self::Checksum => "checksum",
            Self::Stuck => "stuck",
            Self::WrongId => "wrong_id",
            Self::ResetContents => "reset_contents",
            Self::Truncated => "truncated",
            Self::Broken => "broken",
            Self::PowerLoss => "power_loss",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no fault has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no fault; use one of {}", .0.escape_default(), Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownFault(String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.iter().find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| UnknownFault(text.chars().take(32).collect()))
    }
}

/// The models that [`chip`] makes.
pub const MODELS: &[&str] = &[
    "BME280", "BMP280", "BME680", "BME688", "SHT31", "SHT40", "AHT20", "SCD30", "SCD41", "SGP30", "SGP40", "SGP41",
    "ENS160", "PMSA003I", "SPS30", "SEN50", "SEN54", "SEN55",
];

/// A chip fresh from power-on, in a room at 20 Cel, 50 %RH, 101325 Pa, with clean air.
pub fn chip(model: &str) -> Option<Box<dyn Chip>> {
    Some(match model {
        "BME280" => simulated(bme280::Bme280::new(bme280::Part::Bme280)),
        "BMP280" => simulated(bme280::Bme280::new(bme280::Part::Bmp280)),
        "BME680" => simulated(bme68x::Bme68x::new(bme68x::Part::Bme680)),
        "BME688" => simulated(bme68x::Bme68x::new(bme68x::Part::Bme688)),
        "SHT31" => commanded(sht3x::Sht3x::new()),
        "SHT40" => commanded(sht4x::Sht4x),
        "AHT20" => simulated(aht20::Aht20::new()),
        "SCD30" => commanded(scd30::Scd30::new()),
        "SCD41" => commanded(scd4x::Scd4x::new()),
        "SGP30" => commanded(sgp30::Sgp30::new()),
        "SGP40" => commanded(sgp4x::Sgp4x::new(sgp4x::Part::Sgp40)),
        "SGP41" => commanded(sgp4x::Sgp4x::new(sgp4x::Part::Sgp41)),
        "ENS160" => simulated(ens160::Ens160::new()),
        "PMSA003I" => simulated(pmsa003i::Pmsa003i::new()),
        "SPS30" => commanded(sps30::Sps30::new()),
        "SEN50" => commanded(sen5x::Sen5x::new(sen5x::Member::Sen50)),
        "SEN54" => commanded(sen5x::Sen5x::new(sen5x::Member::Sen54)),
        "SEN55" => commanded(sen5x::Sen5x::new(sen5x::Member::Sen55)),
        _ => return None,
    })
}

fn simulated(device: impl Device + 'static) -> Box<dyn Chip> {
    Box::new(Simulated::new(device))
}

fn commanded(chip: impl Commanded + 'static) -> Box<dyn Chip> {
    simulated(Interface::new(chip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(*fault));
        }
        let error = "melted".parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains("\"melted\" is no fault; use one of unplugged, busy"), "{error}");
    }
}
