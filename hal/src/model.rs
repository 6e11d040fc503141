//! The chips that Magpie knows.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use reading::Quantity;

use crate::driver;

/// How long one transfer may take before the kernel gives it up. The Pi's i2c-bcm2835 waits this long for a held bus.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);

/// A chip, or a family of chips with one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Model {
    /// Bosch BME280: temperature, humidity, pressure.
    Bme280,
    /// Bosch BMP280: temperature, pressure.
    Bmp280,
    /// Bosch BME680: temperature, humidity, pressure, gas resistance.
    Bme680,
    /// Bosch BME688: the same with another gas sensor.
    Bme688,
    /// Asair AHT20, DHT20: temperature, humidity.
    Aht20,
    /// ScioSense ENS160: TVOC, equivalent CO2.
    Ens160,
    /// Sensirion SHT30, SHT31, SHT33, SHT35: temperature, humidity.
    Sht3x,
    /// Sensirion SHT40, SHT41, SHT45: temperature, humidity.
    Sht4x,
    /// Plantower PMSA003I: particulate matter.
    Pmsa003i,
    /// Sensirion SCD40, SCD41: CO2, temperature, humidity.
    Scd4x,
    /// Sensirion SCD30: CO2, temperature, humidity.
    Scd30,
    /// Sensirion SGP30: TVOC, equivalent CO2.
    Sgp30,
    /// Sensirion SGP40: VOC index.
    Sgp40,
    /// Sensirion SGP41: VOC index, NOx index.
    Sgp41,
    /// Sensirion SPS30: particulate matter.
    Sps30,
    /// Sensirion SEN50: particulate matter.
    Sen50,
    /// Sensirion SEN54: particulate matter, temperature, humidity, VOC index.
    Sen54,
    /// Sensirion SEN55: the same and NOx index.
    Sen55,
}

/// What the rest of the program needs to know of a chip; it stands beside the chip's driver.
pub(crate) struct Datasheet {
    /// The name that people know it by.
    pub(crate) name: &'static str,
    /// Other names that mean the same interface.
    pub(crate) members: &'static [&'static str],
    /// The addresses it can have, the usual one first.
    pub(crate) addresses: &'static [u8],
    /// What it measures, in the order in which a sample lists it.
    pub(crate) quantities: &'static [Quantity],
    /// How long after its start a sample is missing or suspect, because the chip is not up to its datasheet yet.
    pub(crate) warm_up: Duration,
    /// The shortest time between two samples that are two measurements.
    pub(crate) min_interval: Duration,
    /// How often [`Driver::tend`](crate::Driver::tend) must be called between samples; `None` where the chip needs nothing.
    pub(crate) tend_every: Option<Duration>,
    /// The longest that the driver waits by itself in one sample with a start before it.
    pub(crate) own_waits: Duration,
}

impl Model {
    /// Every chip that this build can drive. Where chips share an address, a scan tries them in this order.
    pub const ALL: &'static [Self] = &[
        Self::Bme280,
        Self::Bmp280,
        Self::Bme680,
        Self::Bme688,
        Self::Sht4x,
        Self::Sht3x,
        Self::Aht20,
        Self::Pmsa003i,
        Self::Scd4x,
        Self::Scd30,
        Self::Sgp30,
        Self::Sgp40,
        Self::Sgp41,
        Self::Sps30,
        Self::Sen50,
        Self::Sen54,
        Self::Sen55,
        Self::Ens160,
    ];

    /// What a simulated bus carries unless it is told otherwise: one chip for each thing that most people measure, at addresses of
    /// their own.
    pub const SIMULATED: &'static [Self] = &[Self::Bme280, Self::Sht4x, Self::Pmsa003i, Self::Scd4x];

    const fn datasheet(self) -> &'static Datasheet {
        match self {
            Self::Bme280 => &driver::bme280::DATASHEET,
            Self::Bmp280 => &driver::bme280::BMP280_DATASHEET,
            Self::Bme680 => &driver::bme68x::BME680_DATASHEET,
            Self::Bme688 => &driver::bme68x::BME688_DATASHEET,
            Self::Aht20 => &driver::aht20::DATASHEET,
            Self::Ens160 => &driver::ens160::DATASHEET,
            Self::Sht3x => &driver::sht3x::DATASHEET,
            Self::Sht4x => &driver::sht4x::DATASHEET,
            Self::Pmsa003i => &driver::pmsa003i::DATASHEET,
            Self::Scd4x => &driver::scd4x::DATASHEET,
            Self::Scd30 => &driver::scd30::DATASHEET,
            Self::Sgp30 => &driver::sgp30::DATASHEET,
            Self::Sgp40 => &driver::sgp4x::SGP40_DATASHEET,
            Self::Sgp41 => &driver::sgp4x::SGP41_DATASHEET,
            Self::Sps30 => &driver::sps30::DATASHEET,
            Self::Sen50 => &driver::sen5x::SEN50_DATASHEET,
            Self::Sen54 => &driver::sen5x::SEN54_DATASHEET,
            Self::Sen55 => &driver::sen5x::SEN55_DATASHEET,
        }
    }

    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        self.datasheet().name
    }

    /// The addresses it can have, the usual one first.
    pub const fn addresses(self) -> &'static [u8] {
        self.datasheet().addresses
    }

    /// What it measures, in the order in which a sample lists it.
    pub const fn quantities(self) -> &'static [Quantity] {
        self.datasheet().quantities
    }

    /// How long after its start a sample is missing or suspect, because the chip is not up to its datasheet yet.
    pub const fn warm_up(self) -> Duration {
        self.datasheet().warm_up
    }

    /// The shortest time between two samples that are two measurements. A chip asked sooner makes the caller wait or says not
    /// ready.
    pub const fn min_interval(self) -> Duration {
        self.datasheet().min_interval
    }

    /// How often the chip must be looked after between samples, for its own sake.
    pub(crate) const fn tend_every(self) -> Option<Duration> {
        self.datasheet().tend_every
    }

    /// The longest that one sample, with a start before it, occupies the bus when the kernel keeps its own time limits:
    /// what the driver waits by itself, a transfer that runs into the kernel's limit, and as much again for a busy machine.
    /// A bus that is later than this is stuck.
    pub const fn deadline(self) -> Duration {
        self.datasheet().own_waits.saturating_add(KERNEL_TIMEOUT).saturating_add(KERNEL_TIMEOUT)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no known chip's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chip \"{}\" is not known; use one of {}", .0, Model::ALL.iter().map(|model| model.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownModel(pub String);

impl FromStr for Model {
    type Err = UnknownModel;

    /// Accepts a family's name or a member's, in either case.
    fn from_str(text: &str) -> Result<Self, UnknownModel> {
        let is_meant = |model: &&Model| {
            let Datasheet { name, members, .. } = model.datasheet();
            name.eq_ignore_ascii_case(text) || members.iter().any(|member| member.eq_ignore_ascii_case(text))
        };
        Self::ALL.iter().find(is_meant).copied().ok_or_else(|| UnknownModel(text.to_owned()))
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
    fn no_name_is_shared() {
        let names = |model: &Model| [&[model.name()], model.datasheet().members].concat();
        let mut names: Vec<String> = Model::ALL.iter().flat_map(names).map(str::to_ascii_lowercase).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
