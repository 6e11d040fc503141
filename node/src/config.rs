//! What a node can be told. `packaging/magpie.toml` is the annotated example, and a test loads it.

mod fields;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hal::{BusSource, Model, Port};
use reading::{Label, Quantity};
use serde::{Deserialize, Deserializer};

use crate::correction::{ChipCorrection, CorrectionConfig};
use crate::quality::{ChipQuality, QualityConfig};

/// The whole configuration of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// First level of the reading paths.
    pub city: Label,
    /// Second level.
    pub area: Label,
    /// Third level; the machine's host name where it is not said.
    pub name: Option<Label>,
    /// The directory of the key and the store.
    pub state: PathBuf,
    /// Read models of chips in software, and say so in every announcement.
    pub simulate: bool,
    /// Where the node is, for maps; nothing is said of it by default.
    pub position: Option<Position>,
    /// Meeting others.
    pub mesh: MeshConfig,
    /// Reading sensors.
    pub sensors: SensorsConfig,
    /// What else is published.
    pub publish: PublishConfig,
    /// Keeping frames.
    pub store: StoreConfig,
    /// Health and metrics.
    pub http: HttpConfig,
    /// The light that shows the node's health.
    pub led: LedConfig,
}

/// Meeting others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeshConfig {
    /// Multiaddresses to listen on.
    pub listen: Vec<ListenAddress>,
    /// Multiaddresses to keep a connection to; `/p2p/` may be missing.
    pub connect: Vec<DialAddress>,
    /// Multiaddresses to announce besides those listened on: a port forwarding, say.
    pub announce: Vec<DialAddress>,
    /// Find others on the local network by multicast.
    pub mdns: bool,
    /// Meet the other programs on this machine.
    pub local: bool,
}

/// Reading sensors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SensorsConfig {
    /// Time between two readings of a sensor.
    #[serde(deserialize_with = "fields::interval")]
    pub interval: Duration,
    /// Buses to use, e.g. `/dev/i2c-1`; every I2C bus of the machine where it is empty.
    pub buses: Vec<PathBuf>,
    /// Multiplexers; what is behind them is found.
    #[serde(rename = "mux")]
    pub muxes: Vec<MuxConfig>,
    /// When a reading is doubted.
    pub quality: QualityConfig,
    /// What is done for all sensors between what was measured and what is published.
    pub correction: CorrectionConfig,
    /// Chips that are expected, and what is special about them. Others that are found are used all the same.
    #[serde(rename = "chip")]
    pub chips: Vec<ChipConfig>,
}

/// One multiplexer (TCA9548A, PCA9548A). It cannot be told from other chips without disturbing them, so it has to be named.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuxConfig {
    /// Its bus as announced, e.g. `i2c-1`; every bus where it is not said.
    pub bus: Option<String>,
    /// Its address.
    #[serde(deserialize_with = "fields::mux_address")]
    pub address: u8,
}

/// One chip that is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ChipConfig {
    /// What it is, e.g. `BME280`.
    #[serde(deserialize_with = "fields::from_str")]
    pub model: Model,
    /// Its bus as announced, e.g. `i2c-1`; the first where it is not said.
    pub bus: Option<String>,
    /// Its address; the chip's usual one where it is not said.
    pub address: Option<u8>,
    /// The multiplexer's port that it is behind, e.g. `0x70.3`; any where it is not said.
    #[serde(default, deserialize_with = "fields::some_port")]
    pub port: Option<Port>,
    /// Time between two readings; that of all sensors where it is not said.
    #[serde(default, deserialize_with = "fields::some_interval")]
    pub interval: Option<Duration>,
    /// What is different about its quality tests.
    #[serde(default)]
    pub quality: ChipQuality,
    /// How it is corrected.
    #[serde(default)]
    pub correction: ChipCorrection,
}

impl ChipConfig {
    /// A chip of this model, anywhere, about which nothing is special.
    pub fn new(model: Model) -> Self {
        Self {
            model,
            bus: None,
            address: None,
            port: None,
            interval: None,
            quality: ChipQuality::default(),
            correction: ChipCorrection::default(),
        }
    }
}

/// As derived, and then checked: `remote` makes the derived one a function of the type.
impl<'de> Deserialize<'de> for ChipConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let chip = Self::deserialize(deserializer)?;
        chip.correction.check(chip.model).map_err(serde::de::Error::custom)?;
        Ok(chip)
    }
}

/// What else is published.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishConfig {
    /// Quantity to topic: each good value also goes to that topic as one unsigned line of JSON.
    #[serde(deserialize_with = "fields::plain_topics")]
    pub plain: BTreeMap<Quantity, String>,
}

/// Keeping frames.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The oldest frames go when the store is larger than this.
    #[serde(deserialize_with = "fields::store_bytes")]
    pub max_bytes: u64,
    /// The node's own frames go when they are older than this by its own synced clock; whatever their age where it is not said.
    #[serde(deserialize_with = "fields::max_age")]
    pub max_age: Option<Duration>,
    /// A power cut costs at most this much; a longer one spares the card.
    #[serde(deserialize_with = "fields::interval")]
    pub sync_interval: Duration,
    /// What other nodes of the area say is kept in the runtime directory up to this size; not at all where it is 0.
    #[serde(deserialize_with = "fields::neighbours_bytes")]
    pub neighbours_max_bytes: u64,
    /// A directory in memory that outlives the process, for what was not synced yet and for what neighbours say; without one each
    /// frame goes to the card at once, and nothing is kept of the neighbours.
    #[serde(deserialize_with = "fields::directory")]
    pub runtime_directory: Option<PathBuf>,
}

/// Health and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port; off where it is empty.
    #[serde(deserialize_with = "fields::socket_address")]
    pub listen: Option<SocketAddr>,
}

/// The light that shows the node's health.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedConfig {
    /// The BCM number of the GPIO line; no light where it is not said.
    pub gpio: Option<u8>,
}

/// A place on earth in degrees and metres.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Degrees")]
pub struct Position(pub reading::Position);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Degrees {
    latitude: f64,
    longitude: f64,
    altitude_m: Option<i16>,
}

impl TryFrom<Degrees> for Position {
    type Error = &'static str;

    fn try_from(degrees: Degrees) -> Result<Self, &'static str> {
        if !(-90.0..=90.0).contains(&degrees.latitude) || !(-180.0..=180.0).contains(&degrees.longitude) {
            return Err("latitude is -90 to 90 and longitude -180 to 180 degrees");
        }
        let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
        Ok(Self(reading::Position {
            latitude_e7: e7(degrees.latitude),
            longitude_e7: e7(degrees.longitude),
            altitude_m: degrees.altitude_m,
        }))
    }
}

/// A multiaddress to dial that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialAddress(pub String);

/// A multiaddress to listen on that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub String);

impl<'de> Deserialize<'de> for DialAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        mesh::check_dial_address(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        mesh::check_listen_address(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(text))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            city: home(),
            area: home(),
            name: None,
            state: default_state(),
            simulate: false,
            position: None,
            mesh: MeshConfig::default(),
            sensors: SensorsConfig::default(),
            publish: PublishConfig::default(),
            store: StoreConfig::default(),
            http: HttpConfig::default(),
            led: LedConfig::default(),
        }
    }
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress(format!("/ip4/0.0.0.0/tcp/{}", mesh::PORT))],
            connect: Vec::new(),
            announce: Vec::new(),
            mdns: true,
            local: true,
        }
    }
}

impl Default for SensorsConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            buses: Vec::new(),
            muxes: Vec::new(),
            quality: QualityConfig::default(),
            correction: CorrectionConfig::default(),
            chips: Vec::new(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            max_age: None,
            sync_interval: store::Options::default().sync_interval,
            neighbours_max_bytes: 16 * 1024 * 1024,
            runtime_directory: variable("RUNTIME_DIRECTORY"),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], crate::HTTP_PORT))) }
    }
}

impl SensorsConfig {
    /// A bus with the multiplexers that are on it.
    pub(crate) fn device(&self, path: &Path) -> BusSource {
        let is_on = |mux: &&MuxConfig| mux.bus.as_deref().is_none_or(|bus| path.file_name() == Some(OsStr::new(bus)));
        let muxes = self.muxes.iter().filter(is_on).map(|mux| mux.address).collect();
        BusSource::Device { path: path.to_owned(), muxes }
    }
}

impl Config {
    /// The node's name: as configured, else the host name with what a label cannot hold replaced.
    pub fn name(&self) -> Label {
        self.name.clone().unwrap_or_else(|| {
            let host = rustix::system::uname();
            label_from(&host.nodename().to_string_lossy())
        })
    }
}

/// What a person with one node and no configuration gets: `home/home/<host name>`.
fn home() -> Label {
    label_from("home")
}

/// Makes a label of any text.
pub(crate) fn label_from(text: &str) -> Label {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let replaced: String =
        text.to_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).take(Label::MAX_BYTES).collect();
    match Label::new(&replaced) {
        Ok(label) => label,
        // Only an empty text comes here: every character of the other was made to fit.
        Err(_) => label_from("node"),
    }
}

/// systemd's state directory, else the system's for root, else the user's.
fn default_state() -> PathBuf {
    if let Some(directory) = variable("STATE_DIRECTORY") {
        return directory;
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/magpie");
    }
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from("/var/lib/magpie"), |base| base.join("magpie"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_becomes_a_label() {
        assert_eq!(label_from("Pi_3.Local").as_str(), "pi_3-local");
        assert_eq!(label_from("").as_str(), "node");
        assert_eq!(label_from(&"x".repeat(64)).as_str().len(), 32);
    }
}
