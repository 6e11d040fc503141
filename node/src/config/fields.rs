//! Fields of the configuration that have a rule of their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hal::Port;
use reading::Quantity;
use serde::{Deserialize, Deserializer};

/// Shorter is a flood on the mesh, longer looks like a dead sensor to everybody.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(24 * 3600);

pub(super) fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval: Duration = humantime_serde::deserialize(deserializer)?;
    if INTERVAL.contains(&interval) {
        Ok(interval)
    } else {
        Err(serde::de::Error::custom("a time from \"50ms\" to \"24h\" is wanted here"))
    }
}

pub(super) fn some_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    interval(deserializer).map(Some)
}

pub(super) fn some_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Port>, D::Error> {
    from_str(deserializer).map(Some)
}

pub(super) fn mux_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let address = u8::deserialize(deserializer)?;
    if hal::MUX_ADDRESSES.contains(&address) {
        Ok(address)
    } else {
        Err(serde::de::Error::custom("a multiplexer's address is from 0x70 to 0x77"))
    }
}

pub(super) fn from_str<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

pub(super) fn store_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes >= 1024 * 1024 {
        Ok(bytes)
    } else {
        Err(serde::de::Error::custom("at least 1048576 bytes are wanted: less is soon gone"))
    }
}

pub(super) fn neighbours_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes == 0 || bytes >= 1024 * 1024 {
        Ok(bytes)
    } else {
        Err(serde::de::Error::custom("0 for none, or at least 1048576 bytes are wanted: less is soon gone"))
    }
}

/// Shorter, and an outage of a night makes the hole that the store is there to prevent.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn max_age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let age: Duration = humantime_serde::deserialize(deserializer)?;
    if age >= LEAST_AGE {
        Ok(Some(age))
    } else {
        Err(serde::de::Error::custom("a time of at least \"1d\" is wanted here"))
    }
}

pub(super) fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    PathBuf::deserialize(deserializer).map(|path| (!path.as_os_str().is_empty()).then_some(path))
}

pub(super) fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("\"{text}\" is no address and port, such as \"0.0.0.0:4711\"")))
}

pub(super) fn plain_topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Quantity, String>, D::Error> {
    BTreeMap::<String, String>::deserialize(deserializer)?
        .into_iter()
        .map(|(quantity, topic)| {
            let quantity = quantity.parse().map_err(serde::de::Error::custom)?;
            if topic.is_empty() || topic.len() > 128 || topic.starts_with("magpie/") {
                return Err(serde::de::Error::custom(format!(
                    "\"{topic}\" is no plain topic: use 1 to 128 bytes that do not start with magpie/"
                )));
            }
            Ok((quantity, topic))
        })
        .collect()
}
