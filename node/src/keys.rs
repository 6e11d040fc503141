//! Quantities as keys of a table of the configuration.

use reading::Quantity;
use serde::de::Error;

/// The keys of a table with these settings, in front, and one for each quantity that a chip measures. What is derived has none.
macro_rules! with_quantities {
    ($($setting:literal),*) => {
        &[
            $($setting,)*
            "temperature",
            "humidity",
            "pressure",
            "pm1",
            "pm2_5",
            "pm4",
            "pm10",
            "co2",
            "voc_index",
            "nox_index",
            "tvoc",
            "eco2",
            "gas_resistance",
            "illuminance",
        ]
    };
}

pub(crate) use with_quantities;

/// The quantity that `key` is, of a table with these keys.
pub(crate) fn quantity<E: Error>(key: &str, keys: &'static [&'static str]) -> Result<Quantity, E> {
    if keys.contains(&key) { key.parse().map_err(E::custom) } else { Err(E::unknown_field(key, keys)) }
}
