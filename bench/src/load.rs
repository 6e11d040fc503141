//! What is published: frames of seven readings, as a node with three chips makes them every time it samples.

use ::tests::magpie::PLACE;
use anyhow::Result;
use mesh::{Config, Limits};
use reading::{
    Announcement, Author, BootId, ClockState, Epoch, Flag, Frame, Label, NodeKey, Payload, Place, Quantity, Reading,
    Readings, Reason, Sensor, Stamp, Text,
};

use crate::clock::monotonic_us;

/// Readings in each frame.
pub const READINGS: u64 = 7;
/// 2026-01-01 in us since 1970. Added to the monotonic clock, so that times are as long on the wire as real ones.
const BASE_US: i64 = 1_767_225_600_000_000;

/// Three chips.
const CHIPS: [&str; 3] = ["BME280", "SHT4x", "SHT4x"];
/// Which chip measures what.
const MEASURED: [(u8, Quantity, f32); READINGS as usize] = [
    (0, Quantity::TEMPERATURE, 18.37),
    (0, Quantity::HUMIDITY, 52.81),
    (0, Quantity::PRESSURE, 101_325.2),
    (1, Quantity::TEMPERATURE, 18.41),
    (1, Quantity::HUMIDITY, 52.64),
    (2, Quantity::TEMPERATURE, 17.92),
    (2, Quantity::HUMIDITY, 54.17),
];

/// A node that signs frames.
pub struct Source {
    author: Author,
    place: Place,
}

impl Source {
    /// The node of this number in this process.
    pub fn new(number: u16) -> Result<Self> {
        let (city, area) = place()?;
        let place = Place { city, area, node: Label::new(&format!("bench-{number}"))? };
        let epoch = Epoch(monotonic_us().to_le_bytes());
        Ok(Self { author: Author::new(key(number), epoch, BootId([7; 8])), place })
    }

    /// The next frame, with the time of its making. The announcement must be number 1.
    pub fn readings(&mut self) -> Result<Frame> {
        self.sign(&readings())
    }

    /// Where the node is, in the city and on the network, and what its sensors are.
    pub fn announcement(&mut self, addresses: &[String]) -> Result<Frame> {
        self.sign(&announcement(self.place.clone(), addresses))
    }

    fn sign(&mut self, payload: &Payload) -> Result<Frame> {
        let now_us = monotonic_us();
        let stamp =
            Stamp { uptime_ms: u64::try_from(now_us / 1000)?, time_us: BASE_US + now_us, clock: ClockState::SYNCED };
        Ok(self.author.sign(stamp, payload)?)
    }
}

/// What every frame says: seven values, explained by announcement 1.
pub fn readings() -> Payload {
    let readings = MEASURED.map(|(sensor, quantity, value)| Reading {
        sensor,
        quantity,
        value: Some(value),
        raw: None,
        flag: Flag::GOOD,
        reason: Reason::NONE,
    });
    Payload::Readings(Readings { announcement: 1, readings: readings.to_vec() })
}

/// The announcement of a node with the three chips.
pub fn announcement(place: Place, addresses: &[String]) -> Payload {
    let sensor = |model: &str| Sensor {
        model: Text::lossy(model),
        bus: Text::lossy("sim-1"),
        address: 0x76,
        serial: Text::default(),
        correction: Text::default(),
        simulated: true,
    };
    Payload::Announcement(Announcement {
        place,
        addresses: addresses.iter().map(|address| Text::lossy(address)).collect(),
        sensors: CHIPS.map(sensor).to_vec(),
        firmware: Text::lossy(env!("CARGO_PKG_VERSION")),
        position: None,
        previous: None,
        certificate: Vec::new(),
    })
}

/// When a frame was made, on the monotonic clock.
pub fn made_us(frame: &Frame) -> i64 {
    frame.stamp().time_us - BASE_US
}

/// City and area of everything that is measured. No real node has them.
pub fn place() -> Result<(Label, Label)> {
    let (city, area) = PLACE.split_once('/').unwrap_or_default();
    Ok((Label::new(city)?, Label::new(area)?))
}

/// A mesh that takes and gives as much as the machine can: the limits are not what is measured here.
pub fn mesh_config(number: u16) -> Config {
    let limits = Limits {
        author_rate: 1_000_000,
        author_burst: 1_000_000,
        // A subscriber that takes its frames late is not what is measured either.
        events: 1_000_000,
        ..Limits::default()
    };
    Config { limits, ..Config::new(key(number)) }
}

/// The key of this number in this process; no other process that runs now has it.
fn key(number: u16) -> NodeKey {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&std::process::id().to_le_bytes());
    seed[4..6].copy_from_slice(&number.to_le_bytes());
    NodeKey::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_when_it_was_made_and_is_as_long_as_a_real_one() {
        let mut source = Source::new(1).unwrap();
        source.announcement(&[]).unwrap();
        let before = monotonic_us();
        let frame = source.readings().unwrap();
        assert!((before..=monotonic_us()).contains(&made_us(&frame)));
        let bytes = frame.bytes().len();
        assert!((180..=192).contains(&bytes), "{bytes}");
    }
}
