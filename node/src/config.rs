//! What a node can be told. `packaging/magpie.toml` is the annotated example, and a test loads it.

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
    #[serde(deserialize_with = "interval")]
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
    #[serde(deserialize_with = "mux_address")]
    pub address: u8,
}

/// One chip that is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ChipConfig {
    /// What it is, e.g. `BME280`.
    #[serde(deserialize_with = "from_str")]
    pub model: Model,
    /// Its bus as announced, e.g. `i2c-1`; the first where it is not said.
    pub bus: Option<String>,
    /// Its address; the chip's usual one where it is not said.
    pub address: Option<u8>,
    /// The multiplexer's port that it is behind, e.g. `0x70.3`; any where it is not said.
    #[serde(default, deserialize_with = "some_port")]
    pub port: Option<Port>,
    /// Time between two readings; that of all sensors where it is not said.
    #[serde(default, deserialize_with = "some_interval")]
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
    #[serde(deserialize_with = "plain_topics")]
    pub plain: BTreeMap<Quantity, String>,
}

/// Keeping frames.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The oldest frames go when the store is larger than this.
    #[serde(deserialize_with = "store_bytes")]
    pub max_bytes: u64,
    /// A power cut costs at most this much; a longer one spares the card.
    #[serde(deserialize_with = "interval")]
    pub sync_interval: Duration,
    /// A directory in memory that outlives the process, for what was not synced yet; without one each frame goes to the card at once.
    #[serde(deserialize_with = "directory")]
    pub runtime_directory: Option<PathBuf>,
}

/// Health and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port; off where it is empty.
    #[serde(deserialize_with = "socket_address")]
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
            sync_interval: store::Options::default().sync_interval,
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

// === fields with a rule of their own ===

/// Shorter is a flood on the mesh, longer looks like a dead sensor to everybody.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(24 * 3600);

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval: Duration = humantime_serde::deserialize(deserializer)?;
    if INTERVAL.contains(&interval) {
        Ok(interval)
    } else {
        Err(serde::de::Error::custom("a time from \"50ms\" to \"24h\" is wanted here"))
    }
}

fn some_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    interval(deserializer).map(Some)
}

fn some_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Port>, D::Error> {
    from_str(deserializer).map(Some)
}

fn mux_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let address = u8::deserialize(deserializer)?;
    if hal::MUX_ADDRESSES.contains(&address) {
        Ok(address)
    } else {
        Err(serde::de::Error::custom("a multiplexer's address is from 0x70 to 0x77"))
    }
}

fn from_str<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn store_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = u64::deserialize(deserializer)?;
    if bytes >= 1024 * 1024 {
        Ok(bytes)
    } else {
        Err(serde::de::Error::custom("at least 1048576 bytes are wanted: less is soon gone"))
    }
}

fn directory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    PathBuf::deserialize(deserializer).map(|path| (!path.as_os_str().is_empty()).then_some(path))
}

fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("\"{text}\" is no address and port, such as \"0.0.0.0:4711\"")))
}

fn plain_topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Quantity, String>, D::Error> {
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
