//! The chips that Magpie knows, and what their datasheets say of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reading::Quantity;

/// How long one transfer may take before the kernel gives it up. The Pi's i2c-bcm2835 waits this long for a held bus.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);

/// A chip, or a family of chips with one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// Bosch BME280: temperature, humidity, pressure.
    Bme280,
    /// Sensirion SHT40, SHT41, SHT45: temperature, humidity.
    Sht4x,
    /// Plantower PMSA003I: particulate matter.
    Pmsa003i,
    /// Sensirion SCD40, SCD41: CO2, temperature, humidity.
    Scd4x,
}

/// A chip's place on its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipAt {
    /// What it is.
    pub model: Model,
    /// Its 7-bit address.
    pub address: u8,
}

impl Model {
    /// Every chip that this build can drive.
    pub const ALL: &'static [Self] = &[Self::Bme280, Self::Sht4x, Self::Pmsa003i, Self::Scd4x];

    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bme280 => "BME280",
            Self::Sht4x => "SHT4x",
            Self::Pmsa003i => "PMSA003I",
            Self::Scd4x => "SCD4x",
        }
    }

    /// The addresses it can have, the usual one first.
    pub const fn addresses(self) -> &'static [u8] {
        match self {
            Self::Bme280 => &[0x76, 0x77],
            Self::Sht4x => &[0x44, 0x45],
            Self::Pmsa003i => &[0x12],
            Self::Scd4x => &[0x62],
        }
    }

    /// What it measures, in the order in which a sample lists it.
    pub const fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Bme280 => &[Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE],
            Self::Sht4x => &[Quantity::TEMPERATURE, Quantity::HUMIDITY],
            Self::Pmsa003i => &[Quantity::PM1, Quantity::PM2_5, Quantity::PM10],
            Self::Scd4x => &[Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY],
        }
    }

    /// How long after its start a sample is missing or suspect, because the chip is not up to its datasheet yet.
    pub const fn warm_up(self) -> Duration {
        match self {
            Self::Bme280 | Self::Sht4x => Duration::ZERO,
            // The fan needs 30 s to bring a steady flow of air (PMSA003I data manual, "Circuit attentions").
            Self::Pmsa003i => Duration::from_secs(30),
            // The first measurement is ready one signal update interval after the start (SCD4x datasheet 3.5.1).
            Self::Scd4x => Duration::from_secs(5),
        }
    }

    /// The shortest time between two samples that are two measurements. A BME280 asked sooner makes the caller wait; a SCD4x
    /// asked sooner says not ready; the others measure at once.
    pub const fn min_interval(self) -> Duration {
        match self {
            Self::Bme280 => Duration::from_millis(50),
            // A measurement takes 8.3 ms at high repeatability (SHT4x datasheet, table 5).
            Self::Sht4x => Duration::from_millis(10),
            // A steady air gives a new frame every 2.3 s (PMSA003I data manual, "Transport protocol").
            Self::Pmsa003i => Duration::from_millis(2300),
            Self::Scd4x => Duration::from_secs(5),
        }
    }

    /// The longest that one sample, with a start before it, occupies the bus when the kernel keeps its own time limits:
    /// what the driver waits by itself, a transfer that runs into the kernel's limit, and as much again for a busy machine.
    /// A bus that is later than this is stuck.
    pub const fn deadline(self) -> Duration {
        let own_waits_ms = match self {
            Self::Bme280 => 200,
            Self::Sht4x => 50,
            Self::Pmsa003i => 50,
            // Stopping alone takes 500 ms (SCD4x datasheet 3.5.3).
            Self::Scd4x => 700,
        };
        Duration::from_millis(own_waits_ms).saturating_add(KERNEL_TIMEOUT).saturating_add(KERNEL_TIMEOUT)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for ChipAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at 0x{:02x}", self.model, self.address)
    }
}

/// A name that is no known chip's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chip \"{0}\" is not known; use one of BME280, SHT4x, PMSA003I, SCD4x")]
pub struct UnknownModel(pub String);

impl FromStr for Model {
    type Err = UnknownModel;

    /// Accepts a family's name or a member's, in either case.
    fn from_str(text: &str) -> Result<Self, UnknownModel> {
        match text.to_ascii_uppercase().as_str() {
            "BME280" => Ok(Self::Bme280),
            "SHT4X" | "SHT40" | "SHT41" | "SHT45" => Ok(Self::Sht4x),
            "PMSA003I" => Ok(Self::Pmsa003i),
            "SCD4X" | "SCD40" | "SCD41" => Ok(Self::Scd4x),
            _ => Err(UnknownModel(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_read_back_from_its_name() {
        for model in Model::ALL {
            assert_eq!(model.to_string().parse(), Ok(*model));
            assert!(!model.addresses().is_empty() && !model.quantities().is_empty());
        }
        assert_eq!("scd41".parse(), Ok(Model::Scd4x));
        let error = "BME820".parse::<Model>().unwrap_err().to_string();
        assert!(error.contains("\"BME820\"") && error.contains("BME280"), "{error}");
    }

    #[test]
    fn no_address_is_shared() {
        let mut addresses: Vec<u8> = Model::ALL.iter().flat_map(|model| model.addresses()).copied().collect();
        addresses.sort_unstable();
        let before = addresses.len();
        addresses.dedup();
        assert_eq!(addresses.len(), before);
    }
}
