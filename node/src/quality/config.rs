//! What the quality tests are told: thresholds by quantity, each of which can be changed or switched off for all sensors and for one
//! chip.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reading::Quantity;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::defaults;
use super::switch::{number_or_off, switch};
use crate::keys;

/// Everything under `[sensors.quality]`.
#[derive(Clone, Debug, PartialEq)]
pub struct QualityConfig {
    /// Optical particle counters are suspect from this relative humidity on, %RH; `None` switches the test off.
    pub high_humidity: Option<f64>,
    /// A humidity from this on says that water condenses on the element, %RH.
    pub condensing: Option<f64>,
    /// A temperature that is not this much below the CPU's is the board's and not the air's, K.
    pub self_heating: Option<f64>,
    /// The tests of each quantity; one that is not listed has none.
    pub tests: BTreeMap<Quantity, Tests>,
}

/// The tests of one quantity, `None` for one that is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tests {
    /// Outside what is believable here.
    pub gross_range: Option<GrossRange>,
    /// Too fast, per minute.
    pub rate_of_change: Option<Thresholds>,
    /// Far off its neighbours in time.
    pub spike: Option<Thresholds>,
    /// The same for too long.
    pub flat_line: Option<FlatLine>,
}

/// In the quantity's unit, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Spans")]
pub struct GrossRange {
    /// Outside this a value is suspect.
    pub suspect_span: Option<[f64; 2]>,
    /// Outside this it fails.
    pub fail_span: Option<[f64; 2]>,
}

/// In the quantity's unit; what is more is flagged.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Limits")]
pub struct Thresholds {
    /// More than this is suspect.
    pub suspect_threshold: Option<f64>,
    /// More than this fails.
    pub fail_threshold: Option<f64>,
}

/// How long a value may stay within its tolerance.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Times")]
pub struct FlatLine {
    /// From then on it is suspect.
    pub suspect_threshold: Duration,
    /// From then on it fails.
    pub fail_threshold: Option<Duration>,
    /// In the quantity's unit; 0 for values that are exactly the same.
    pub tolerance: f64,
}

/// What one chip has different, by quantity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChipQuality(pub BTreeMap<Quantity, TestsPatch>);

/// Tests of one quantity as they are written: what is not written stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestsPatch {
    #[serde(deserialize_with = "switch")]
    gross_range: Option<Option<GrossRange>>,
    #[serde(deserialize_with = "switch")]
    rate_of_change: Option<Option<Thresholds>>,
    #[serde(deserialize_with = "switch")]
    spike: Option<Option<Thresholds>>,
    #[serde(deserialize_with = "switch")]
    flat_line: Option<Option<FlatLine>>,
}

impl TestsPatch {
    /// `tests` with what is written here.
    pub fn over(&self, tests: Tests) -> Tests {
        Tests {
            gross_range: self.gross_range.unwrap_or(tests.gross_range),
            rate_of_change: self.rate_of_change.unwrap_or(tests.rate_of_change),
            spike: self.spike.unwrap_or(tests.spike),
            flat_line: self.flat_line.unwrap_or(tests.flat_line),
        }
    }
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self {
            // A PMS1003 reads too much from about 75 %RH on (Jayaratne et al., Atmos. Meas. Tech. 11, 4883, 2018).
            high_humidity: Some(75.0),
            // At 98 %RH the dew point is 0.3 K below the air, less than the accuracy of the thermometers here.
            condensing: Some(98.0),
            // Idle, a Pi's CPU is 10 K and more above the air around the board, even with a fan.
            self_heating: Some(3.0),
            tests: defaults::tests(),
        }
    }
}

impl QualityConfig {
    /// The tests of a quantity for a chip.
    pub fn tests_of(&self, quantity: Quantity, chip: &ChipQuality) -> Tests {
        let tests = self.tests.get(&quantity).copied().unwrap_or_default();
        chip.0.get(&quantity).map_or(tests, |patch| patch.over(tests))
    }
}

// === how they are written ===

const KEYS: &[&str] = keys::with_quantities!["high_humidity", "condensing", "self_heating"];
/// What a chip can have different: only the tests of its quantities.
const QUANTITIES: &[&str] = keys::with_quantities![];

impl<'de> Deserialize<'de> for QualityConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = QualityConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of quality tests")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<QualityConfig, A::Error> {
                let mut config = QualityConfig::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Of(quantity) => {
                            let patch: TestsPatch = map.next_value()?;
                            let tests = config.tests.entry(quantity).or_default();
                            *tests = patch.over(*tests);
                        }
                        Key::Other("high_humidity") => config.high_humidity = number_or_off(&mut map)?,
                        Key::Other("condensing") => config.condensing = number_or_off(&mut map)?,
                        Key::Other(_) => config.self_heating = number_or_off(&mut map)?,
                    }
                }
                Ok(config)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl<'de> Deserialize<'de> for ChipQuality {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let patches = BTreeMap::<QuantityKey, TestsPatch>::deserialize(deserializer)?;
        Ok(Self(patches.into_iter().map(|(QuantityKey(quantity), patch)| (quantity, patch)).collect()))
    }
}

enum Key {
    Of(Quantity),
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match KEYS.iter().find(|key| **key == text) {
            Some(setting) if !QUANTITIES.contains(setting) => Ok(Self::Other(setting)),
            _ => keys::quantity(&text, KEYS).map(Self::Of),
        }
    }
}

/// A quantity as the key of a table.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct QuantityKey(Quantity);

impl<'de> Deserialize<'de> for QuantityKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        keys::quantity(&String::deserialize(deserializer)?, QUANTITIES).map(Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spans {
    suspect_span: Option<[f64; 2]>,
    fail_span: Option<[f64; 2]>,
}

impl TryFrom<Spans> for GrossRange {
    type Error = &'static str;

    fn try_from(Spans { suspect_span, fail_span }: Spans) -> Result<Self, Self::Error> {
        let is_span = |[least, most]: [f64; 2]| least.is_finite() && most.is_finite() && least < most;
        if ![suspect_span, fail_span].into_iter().flatten().all(is_span) {
            return Err("a span is two numbers, the smaller first");
        }
        match (suspect_span, fail_span) {
            (None, None) => Err("suspect_span or fail_span is wanted"),
            (Some(suspect), Some(fail)) if suspect[0] < fail[0] || suspect[1] > fail[1] => {
                Err("suspect_span must lie within fail_span")
            }
            _ => Ok(Self { suspect_span, fail_span }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    suspect_threshold: Option<f64>,
    fail_threshold: Option<f64>,
}

impl TryFrom<Limits> for Thresholds {
    type Error = &'static str;

    fn try_from(Limits { suspect_threshold, fail_threshold }: Limits) -> Result<Self, Self::Error> {
        if [suspect_threshold, fail_threshold].into_iter().flatten().any(|limit| !limit.is_finite() || limit <= 0.0) {
            return Err("a threshold is a number above 0");
        }
        match (suspect_threshold, fail_threshold) {
            (None, None) => Err("suspect_threshold or fail_threshold is wanted"),
            (Some(suspect), Some(fail)) if suspect > fail => Err("suspect_threshold must not be above fail_threshold"),
            _ => Ok(Self { suspect_threshold, fail_threshold }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    #[serde(with = "humantime_serde")]
    suspect_threshold: Duration,
    #[serde(default, with = "humantime_serde")]
    fail_threshold: Option<Duration>,
    #[serde(default)]
    tolerance: f64,
}

impl TryFrom<Times> for FlatLine {
    type Error = &'static str;

    fn try_from(Times { suspect_threshold, fail_threshold, tolerance }: Times) -> Result<Self, Self::Error> {
        if suspect_threshold < Duration::from_secs(60) {
            return Err("a flat line takes at least \"1m\" to tell from chance");
        }
        if fail_threshold.is_some_and(|fail| fail < suspect_threshold) {
            return Err("suspect_threshold must not be above fail_threshold");
        }
        if !tolerance.is_finite() || tolerance < 0.0 {
            return Err("a tolerance is 0 or more");
        }
        Ok(Self { suspect_threshold, fail_threshold, tolerance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<QualityConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_measured_quantity_has_a_key() {
        let known = Quantity::KNOWN.iter().filter(|quantity| **quantity != Quantity::SEA_LEVEL_PRESSURE);
        let names: Vec<String> = known.map(ToString::to_string).collect();
        let (_, quantities) = KEYS.split_at(KEYS.len() - QUANTITIES.len());
        assert_eq!(quantities, names);
        assert_eq!(QUANTITIES, names);
    }

    #[test]
    fn what_is_not_written_stays_as_it_is() {
        let default = QualityConfig::default();
        assert_eq!(read("").unwrap(), default);
        let config = read("condensing = false\n[temperature]\nspike = { suspect_threshold = 4 }\n").unwrap();
        let (changed, before) = (config.tests[&Quantity::TEMPERATURE], default.tests[&Quantity::TEMPERATURE]);
        assert_eq!(changed.spike, Some(Thresholds { suspect_threshold: Some(4.0), fail_threshold: None }));
        assert_eq!(Tests { spike: before.spike, ..changed }, before);
        assert_eq!(QualityConfig { condensing: default.condensing, ..config.clone() }.tests, config.tests);
        assert_eq!(config.condensing, None);
    }

    /// The example file would agree with the defaults by leaving one out; it is to show them all.
    #[test]
    fn the_example_shows_every_default() {
        let example = include_str!("../../../packaging/magpie.toml").parse::<toml::Table>().unwrap();
        let shown = example["sensors"]["quality"].as_table().unwrap();
        let default = QualityConfig::default();
        let (settings, _) = KEYS.split_at(KEYS.len() - QUANTITIES.len());
        assert_eq!(settings.len(), 3);
        for key in settings {
            assert!(shown.contains_key(*key), "{key} is not shown");
        }
        for (quantity, tests) in default.tests {
            let shown = shown[&quantity.to_string()].as_table().unwrap();
            for (test, is_on) in [
                ("gross_range", tests.gross_range.is_some()),
                ("rate_of_change", tests.rate_of_change.is_some()),
                ("spike", tests.spike.is_some()),
                ("flat_line", tests.flat_line.is_some()),
            ] {
                assert_eq!(shown.contains_key(test), is_on, "{quantity}.{test}");
            }
        }
    }

    #[test]
    fn one_chip_differs_and_each_test_can_be_switched_off() {
        let chip: ChipQuality = toml::from_str("humidity = { flat_line = false, spike = false }").unwrap();
        let config = QualityConfig::default();
        let tests = config.tests_of(Quantity::HUMIDITY, &chip);
        assert_eq!((tests.flat_line, tests.spike), (None, None));
        assert!(tests.rate_of_change.is_some());
        assert!(config.tests_of(Quantity::HUMIDITY, &ChipQuality::default()).flat_line.is_some());
        assert_eq!(config.tests_of(Quantity::ILLUMINANCE, &chip), Tests::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_words() {
        for (text, says) in [
            ("temprature = {}", "unknown field `temprature`"),
            ("temperature = { spikes = false }", "unknown field `spikes`"),
            ("temperature = { spike = true }", "write false to switch the test off"),
            ("temperature = { spike = {} }", "suspect_threshold or fail_threshold is wanted"),
            ("temperature = { spike = { suspect_threshold = -1 } }", "a number above 0"),
            ("temperature = { spike = { suspect_threshold = 3, fail_threshold = 2 } }", "not be above fail_threshold"),
            ("co2 = { gross_range = { suspect_span = [5, 1] } }", "the smaller first"),
            (
                "co2 = { gross_range = { suspect_span = [0, 9], fail_span = [1, 9] } }",
                "suspect_span must lie within fail_span",
            ),
            ("co2 = { flat_line = { suspect_threshold = \"1s\" } }", "at least \"1m\""),
            ("condensing = nan", "a number above 0"),
            ("high_humidity = true", "write false to switch the test off"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
