//! Where a chip is on its bus.

use std::fmt;
use std::str::FromStr;

use crate::model::Model;
use crate::mux;

/// A chip's place on its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipAt {
    /// What it is.
    pub model: Model,
    /// Its 7-bit address.
    pub address: u8,
    /// The multiplexer's port that it is behind; `None` on the bus itself.
    pub port: Option<Port>,
}

/// A port of a multiplexer (TCA9548A, PCA9548A).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The multiplexer's 7-bit address, 0x70 to 0x77.
    pub mux: u8,
    /// 0 to 7.
    pub channel: u8,
}

impl ChipAt {
    /// A chip on the bus itself.
    pub const fn new(model: Model, address: u8) -> Self {
        Self { model, address, port: None }
    }
}

impl fmt::Display for ChipAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at ", self.model)?;
        if let Some(port) = self.port {
            write!(f, "{port}/")?;
        }
        write!(f, "0x{:02x}", self.address)
    }
}

/// A text that names no port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no port of a multiplexer, such as \"0x70.3\": an address from 0x70 to 0x77, and 0 to 7")]
pub struct NoPort(String);

impl FromStr for Port {
    type Err = NoPort;

    fn from_str(text: &str) -> Result<Self, NoPort> {
        let parts = text.strip_prefix("0x").and_then(|rest| rest.split_once('.')).and_then(|(mux, channel)| {
            Some(Self { mux: u8::from_str_radix(mux, 16).ok()?, channel: channel.parse().ok()? })
        });
        parts
            .filter(|port| mux::ADDRESSES.contains(&port.mux) && port.channel < mux::CHANNELS)
            .ok_or_else(|| NoPort(text.chars().take(32).collect()))
    }
}

/// As in `0x70.3`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02x}.{}", self.mux, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_back_from_its_text() {
        let port = Port { mux: 0x70, channel: 3 };
        assert_eq!(port.to_string(), "0x70.3");
        assert_eq!("0x70.3".parse(), Ok(port));
        for wrong in ["0x70", "0x70.8", "0x6f.0", "112.3", "0x70.+3 ", ""] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
        let chip = ChipAt { port: Some(port), ..ChipAt::new(Model::Bme280, 0x76) };
        assert_eq!(chip.to_string(), "BME280 at 0x70.3/0x76");
    }
}
