//! Numbers that mean something on the wire. Each set is open: a number that this build does not know is kept,
//! forwarded and shown as a number, so that an old subscriber survives a new sensor.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares an open set of codes: a newtype over an integer, its known values and their names.
macro_rules! codes {
    ($(#[$type_doc:meta])* $type:ident($int:ty) { $($(#[$doc:meta])* $constant:ident = $value:literal $name:literal,)+ }) => {
        $(#[$type_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $int);

        impl $type {
            $($(#[$doc])* pub const $constant: Self = Self($value);)+

            /// Every code that this build knows, in numeric order.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant),+];

            /// The name of a known code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($name),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => fmt::Display::fmt(&self.0, f),
                }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            /// Accepts a known name, or the number of a code that has none here.
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($name => Ok(Self::$constant),)+
                    _ => text
                        .parse()
                        .map(Self)
                        .map_err(|_| UnknownName { text: text.to_owned(), known: &[$($name),+] }),
                }
            }
        }
    };
}

/// A name that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not known; use one of {}", known.join(", "))]
pub struct UnknownName {
    text: String,
    known: &'static [&'static str],
}

codes! {
    /// What is measured. Numbers are stable and append-only.
    Quantity(u16) {
        /// Air temperature, Cel.
        TEMPERATURE = 1 "temperature",
        /// Relative humidity, %RH.
        HUMIDITY = 2 "humidity",
        /// Air pressure at the sensor, Pa.
        PRESSURE = 3 "pressure",
        /// Particulate matter up to 1 um, ug/m3.
        PM1 = 4 "pm1",
        /// Particulate matter up to 2.5 um, ug/m3.
        PM2_5 = 5 "pm2_5",
        /// Particulate matter up to 4 um, ug/m3.
        PM4 = 6 "pm4",
        /// Particulate matter up to 10 um, ug/m3.
        PM10 = 7 "pm10",
        /// Carbon dioxide, ppm.
        CO2 = 8 "co2",
        /// Sensirion VOC index, 1 to 500; 100 is the average of the last day.
        VOC_INDEX = 9 "voc_index",
        /// Sensirion NOx index, 1 to 500; 1 is the average of the last day.
        NOX_INDEX = 10 "nox_index",
        /// Total volatile organic compounds, ppb.
        TVOC = 11 "tvoc",
        /// CO2 that a VOC sensor estimates, ppm.
        ECO2 = 12 "eco2",
        /// Resistance of a metal-oxide layer, Ohm.
        GAS_RESISTANCE = 13 "gas_resistance",
        /// Illuminance, lx.
        ILLUMINANCE = 14 "illuminance",
        /// Air pressure reduced to mean sea level, Pa; derived from the pressure at the sensor and its altitude.
        SEA_LEVEL_PRESSURE = 15 "sea_level_pressure",
    }
}

impl Quantity {
    /// The unit as SenML writes it (RFC 8428 section 12.1, RFC 8798), `1` for a pure number; empty where the quantity is unknown.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::TEMPERATURE => "Cel",
            Self::HUMIDITY => "%RH",
            Self::PRESSURE | Self::SEA_LEVEL_PRESSURE => "Pa",
            Self::PM1 | Self::PM2_5 | Self::PM4 | Self::PM10 => "ug/m3",
            Self::CO2 | Self::ECO2 => "ppm",
            Self::TVOC => "ppb",
            Self::VOC_INDEX | Self::NOX_INDEX => "1",
            Self::GAS_RESISTANCE => "Ohm",
            Self::ILLUMINANCE => "lx",
            _ => "",
        }
    }
}

codes! {
    /// How far a reading can be trusted: QARTOD's primary flags. Only the low four bits travel.
    Flag(u8) {
        /// Passed every test.
        GOOD = 1 "good",
        /// No test applied.
        NOT_EVALUATED = 2 "not_evaluated",
        /// Looks wrong, or was taken under conditions that make it doubtful.
        SUSPECT = 3 "suspect",
        /// Is wrong.
        FAIL = 4 "fail",
        /// There is no value.
        MISSING = 9 "missing",
    }
}

codes! {
    /// Why a flag is not good.
    Reason(u8) {
        /// Nothing to explain.
        NONE = 0 "none",
        /// The chip did not acknowledge its address.
        NO_ANSWER = 1 "no_answer",
        /// The bus reported an error.
        BUS_ERROR = 2 "bus_error",
        /// A checksum did not match.
        CHECKSUM = 3 "checksum",
        /// Another chip sits on the address.
        WRONG_CHIP = 4 "wrong_chip",
        /// The chip did not finish in its time.
        NOT_READY = 5 "not_ready",
        /// Outside the range that the datasheet gives.
        OUT_OF_RANGE = 6 "out_of_range",
        /// The value that the chip's registers hold after a reset.
        RESET_PATTERN = 7 "reset_pattern",
        /// The chip has not reached its stated accuracy yet.
        WARMING_UP = 8 "warming_up",
        /// The bus is held by something and the call did not return.
        BUS_STALLED = 9 "bus_stalled",
        /// The chip says of itself that it is broken.
        SENSOR_FAULT = 10 "sensor_fault",
        /// Optical particle counters see droplets as dust in humid air.
        HIGH_HUMIDITY = 11 "high_humidity",
        /// The node could not give the sensor its turn.
        OVERLOADED = 12 "overloaded",
        /// Changed faster than the air can.
        RATE_OF_CHANGE = 13 "rate_of_change",
        /// Has not changed for longer than an honest sensor's noise allows.
        FLAT_LINE = 14 "flat_line",
        /// Stands out from its neighbours in time.
        SPIKE = 15 "spike",
        /// Water condenses, or is about to, on the sensing element.
        CONDENSING = 16 "condensing",
        /// The laser has run for longer than its rated life.
        LASER_AGE = 17 "laser_age",
        /// The chip, its heater or its enclosure warms what it measures.
        SELF_HEATING = 18 "self_heating",
        /// The fan blows the dust out; the flow of air is not the one that was calibrated.
        CLEANING = 19 "cleaning",
        /// The correction that the announcement names could not be made, because something that it needs is missing.
        UNCORRECTED = 20 "uncorrected",
    }
}

codes! {
    /// What the node knew of the wall clock when it stamped a frame.
    ClockState(u8) {
        /// Disciplined by a time server now.
        SYNCED = 1 "synced",
        /// Was right once in this boot, runs by itself since.
        FREE_RUNNING = 2 "free_running",
        /// Never set since power-on: the wall time means nothing.
        UNKNOWN = 3 "unknown",
    }
}

codes! {
    /// What a frame's payload is. A holder keeps, forwards and serves frames of kinds that it does not know.
    Kind(u16) {
        /// Who and where the node is, and what its sensors are.
        ANNOUNCEMENT = 1 "announcement",
        /// Readings of one sampling tick.
        READINGS = 2 "readings",
        /// Dates the frames of one boot.
        CLOCK_FIX = 3 "clock_fix",
        /// Something happened to the node.
        EVENT = 4 "event",
    }
}

codes! {
    /// What an event says.
    EventCode(u16) {
        /// A sensor stopped delivering.
        SENSOR_LOST = 1 "sensor_lost",
        /// A sensor delivers again.
        SENSOR_BACK = 2 "sensor_back",
        /// A hung bus was cleared.
        BUS_RECOVERED = 3 "bus_recovered",
        /// A bus does not answer at all.
        BUS_STALLED = 4 "bus_stalled",
        /// The store cannot write.
        STORE_FAILED = 5 "store_failed",
        /// The store writes again.
        STORE_BACK = 6 "store_back",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_quantity_has_a_unit_and_a_name_that_fits_a_path() {
        for quantity in Quantity::KNOWN {
            assert!(!quantity.unit().is_empty(), "{quantity} has no unit");
            assert!(crate::Label::new(&quantity.to_string()).is_ok());
            assert_eq!(quantity.to_string().parse(), Ok(*quantity));
        }
    }

    #[test]
    fn an_unknown_code_is_shown_and_read_as_its_number() {
        assert_eq!(Quantity(900).to_string(), "900");
        assert_eq!("900".parse(), Ok(Quantity(900)));
        assert_eq!(Reason(200).to_string(), "200");
        let error = "temprature".parse::<Quantity>().unwrap_err().to_string();
        assert!(error.contains("\"temprature\" is not known") && error.contains("temperature"), "{error}");
    }
}
