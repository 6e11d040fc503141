//! How corrections are written.

use std::collections::BTreeMap;
use std::fmt;

use hal::Model;
use reading::Quantity;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::keys;

/// Everything under `[sensors.correction]`: what is done for all sensors.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorrectionConfig {
    /// Derive the pressure at sea level wherever a pressure is measured and the node's altitude is known.
    pub sea_level_pressure: bool,
}

/// What is corrected of one chip.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChipCorrection {
    /// The chip sits in the CPU's heat: the CPU is this many times as far above the chip as the chip is above the air.
    pub cpu_factor: Option<f64>,
    /// By quantity.
    pub quantities: BTreeMap<Quantity, Method>,
}

/// How one quantity is corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// slope * raw + offset.
    Linear {
        /// Above 0.
        slope: f64,
        /// In the quantity's unit.
        offset: f64,
    },
    /// The US EPA's correction of 2021 for PM2.5.
    Epa2021,
}

impl Default for CorrectionConfig {
    fn default() -> Self {
        Self { sea_level_pressure: true }
    }
}

impl ChipCorrection {
    /// Whether the temperature is corrected, and the humidity with it.
    pub fn changes_temperature(&self) -> bool {
        self.cpu_factor.is_some() || self.quantities.contains_key(&Quantity::TEMPERATURE)
    }

    /// Whether the chip can be corrected like this; if not, why.
    pub fn check(&self, model: Model) -> Result<(), String> {
        let measures = |quantity: &Quantity| model.quantities().contains(quantity);
        if let Some(quantity) = self.quantities.keys().find(|quantity| !measures(quantity)) {
            let names: Vec<String> = model.quantities().iter().map(ToString::to_string).collect();
            return Err(format!("a {model} measures no {quantity}; correct {}", names.join(", ")));
        }
        if self.cpu_factor.is_some() && !measures(&Quantity::TEMPERATURE) {
            return Err(format!("a {model} measures no temperature, so cpu_factor has nothing to correct"));
        }
        if self.cpu_factor.is_some() && self.quantities.contains_key(&Quantity::TEMPERATURE) {
            let why = "a line that was found beside a warm CPU has its heat in it already";
            return Err(format!("cpu_factor and temperature cannot both be corrected: {why}; keep one of them"));
        }
        let is_epa = self.quantities.values().any(|method| *method == Method::Epa2021);
        if is_epa && model != Model::Pmsa003i {
            return Err(format!("epa-2021 was found with Plantower's counters and is wrong for a {model}"));
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for ChipCorrection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = ChipCorrection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of corrections")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ChipCorrection, A::Error> {
                let mut correction = ChipCorrection::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::CpuFactor => correction.cpu_factor = Some(map.next_value::<Factor>()?.0),
                        Key::Of(quantity) => {
                            let method = map.next_value::<Written>()?.method(quantity).map_err(A::Error::custom)?;
                            correction.quantities.insert(quantity, method);
                        }
                    }
                }
                Ok(correction)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

enum Key {
    CpuFactor,
    Of(Quantity),
}

const KEYS: &[&str] = keys::with_quantities!["cpu_factor"];

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "cpu_factor" => Ok(Self::CpuFactor),
            key => keys::quantity(key, KEYS).map(Self::Of),
        }
    }
}

struct Factor(f64);

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let factor = f64::deserialize(deserializer)?;
        // Less than a tenth would mean that the air is colder than the chip by ten times what the chip is colder than the CPU.
        if (0.1..=100.0).contains(&factor) {
            Ok(Self(factor))
        } else {
            Err(D::Error::custom("a number from 0.1 to 100 is wanted; 2.25 is a usual one"))
        }
    }
}

/// A method's name, or slope and offset.
enum Written {
    Name(String),
    Line(Line),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    slope: Option<f64>,
    offset: Option<f64>,
}

impl Written {
    fn method(self, quantity: Quantity) -> Result<Method, String> {
        match self {
            Self::Name(name) if name == "epa-2021" && quantity == Quantity::PM2_5 => Ok(Method::Epa2021),
            Self::Name(name) if name == "epa-2021" => Err(format!("epa-2021 corrects pm2_5, not {quantity}")),
            Self::Name(name) => Err(format!("there is no correction \"{name}\"; there is epa-2021, for pm2_5")),
            Self::Line(Line { slope: None, offset: None }) => Err("slope or offset is wanted, or both".to_owned()),
            Self::Line(Line { slope, offset }) => {
                let (slope, offset) = (slope.unwrap_or(1.0), offset.unwrap_or(0.0));
                if slope.is_finite() && slope > 0.0 && offset.is_finite() {
                    Ok(Method::Linear { slope, offset })
                } else {
                    Err("a slope is a number above 0, and an offset is a number".to_owned())
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with slope and offset, or \"epa-2021\"")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Written, E> {
                Ok(Written::Name(name.chars().take(32).collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Line::deserialize(MapAccessDeserializer::new(map)).map(Written::Line)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ChipCorrection, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_words() {
        for (text, says) in [
            ("temprature = { offset = 1 }", "unknown field `temprature`"),
            ("temperature = { ofset = 1 }", "unknown field `ofset`"),
            ("temperature = {}", "slope or offset is wanted"),
            ("temperature = { slope = 0 }", "a slope is a number above 0"),
            ("temperature = { offset = inf }", "an offset is a number"),
            ("temperature = 3", "a table with slope and offset"),
            ("pm10 = \"epa-2021\"", "corrects pm2_5, not pm10"),
            ("pm2_5 = \"epa-2019\"", "there is no correction \"epa-2019\""),
            ("cpu_factor = 0", "from 0.1 to 100"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_chip_is_corrected_only_in_what_it_measures() {
        let says = |text, model| read(text).unwrap().check(model).unwrap_err();
        assert!(says("co2 = { offset = 1 }", Model::Bme280).contains("a BME280 measures no co2"));
        assert!(says("cpu_factor = 2", Model::Pmsa003i).contains("measures no temperature"));
        assert!(says("cpu_factor = 2\ntemperature = { offset = 1 }", Model::Bme280).contains("keep one of them"));
        assert_eq!(read("pm2_5 = \"epa-2021\"").unwrap().check(Model::Pmsa003i), Ok(()));
        assert_eq!(read("cpu_factor = 2\nhumidity = { offset = 1 }").unwrap().check(Model::Sht4x), Ok(()));
    }
}
