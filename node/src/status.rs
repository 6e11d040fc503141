//! What the node's sensors said last: for readiness, for the light, and for `magpie sensors` on the same machine.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hal::Led;
use reading::{Flag, Reading, Reason};
use serde::{Deserialize, Serialize};
use service::Component;

use crate::sensors::NodeSensor;

/// The state of every sensor, readable while the sampler works.
pub struct StatusBoard {
    inner: Mutex<Inner>,
    readiness: Component,
    led: Led,
}

#[derive(Debug, Default)]
struct Inner {
    sensors: Vec<SensorStatus>,
    problems: Vec<String>,
}

/// What `GET /sensors` answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Every sensor, in the order of the announcement.
    pub sensors: Vec<SensorStatus>,
    /// What the last look at the buses found wrong.
    pub problems: Vec<String>,
}

/// One sensor and its last turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SensorStatus {
    /// The bus.
    pub bus: String,
    /// The address.
    pub address: u8,
    /// The chip.
    pub model: String,
    /// Its serial number, empty where it has none.
    pub serial: String,
    /// Whether it is a model in software.
    pub simulated: bool,
    /// Time between two readings, ms.
    pub interval_ms: u64,
    /// Its last readings; empty before its first turn.
    pub readings: Vec<ReadingStatus>,
    /// Why there is none.
    pub detail: String,
}

/// One reading.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadingStatus {
    /// What.
    pub quantity: String,
    /// In `unit`; null where it is missing.
    pub value: Option<f64>,
    /// What was measured, where `value` is corrected.
    #[serde(default)]
    pub raw: Option<f64>,
    /// As in SenML.
    pub unit: String,
    /// How far to trust it.
    pub flag: String,
    /// Why it is not good.
    pub reason: String,
    #[serde(skip, default)]
    measures: bool,
}

impl SensorStatus {
    /// A sensor before its first turn.
    pub fn of(sensor: &NodeSensor) -> Self {
        Self {
            bus: sensor.bus_name(),
            address: sensor.chip.address,
            model: sensor.chip.model.to_string(),
            serial: sensor.serial.clone(),
            simulated: sensor.bus.is_simulated(),
            interval_ms: u64::try_from(sensor.interval.as_millis()).unwrap_or(u64::MAX),
            readings: Vec::new(),
            detail: String::new(),
        }
    }

    /// Notes how a turn ended.
    pub fn set(&mut self, readings: &[Reading], detail: &str) {
        detail.clone_into(&mut self.detail);
        self.readings = readings
            .iter()
            .map(|reading| ReadingStatus {
                quantity: reading.quantity.to_string(),
                value: reading.value.map(reading::shortest),
                raw: reading.raw.map(reading::shortest),
                unit: reading.quantity.unit().to_owned(),
                flag: reading.flag.to_string(),
                reason: reading.reason.to_string(),
                measures: measures(reading),
            })
            .collect();
    }
}

impl StatusBoard {
    /// A board with no sensor on it.
    pub fn new(readiness: Component, led: Led) -> Self {
        led.show(hal::Health::Starting);
        Self { inner: Mutex::default(), readiness, led }
    }

    /// A copy of everything.
    pub fn status(&self) -> Status {
        let inner = self.lock();
        Status { sensors: inner.sensors.clone(), problems: inner.problems.clone() }
    }

    pub(crate) fn set_sensors(&self, sensors: &[NodeSensor], problems: &[String]) {
        let mut inner = self.lock();
        inner.problems = problems.to_vec();
        let known = inner.sensors.len();
        inner.sensors.extend(sensors.iter().skip(known).map(SensorStatus::of));
        drop(inner);
        self.judge();
    }

    pub(crate) fn set_readings(&self, index: usize, readings: &[Reading], detail: &str) {
        if let Some(sensor) = self.lock().sensors.get_mut(index) {
            sensor.set(readings, detail);
        }
        self.judge();
    }

    /// Healthy means measuring: ready while at least one sensor's last turn gave a reading that shows that it works.
    pub(crate) fn judge(&self) {
        let inner = self.lock();
        let measuring =
            inner.sensors.iter().filter(|sensor| sensor.readings.iter().any(|reading| reading.measures)).count();
        let silent: Vec<String> = inner
            .sensors
            .iter()
            .filter(|sensor| !sensor.readings.iter().any(|reading| reading.measures))
            .map(|sensor| {
                format!("{} at 0x{:02x} on {}: {}", sensor.model, sensor.address, sensor.bus, explain(sensor))
            })
            .collect();
        match (measuring, silent.as_slice()) {
            (0, []) => {
                let why = inner.problems.first().map_or("no sensor was found", String::as_str);
                self.readiness.not_ready(why);
                self.led.show(hal::Health::Failed);
            }
            // The first turns are under way: the component is still starting.
            (0, _) if inner.sensors.iter().any(|sensor| sensor.readings.is_empty()) => {}
            (0, silent) => {
                self.readiness.not_ready(format!("no sensor delivers: {}", silent.join("; ")));
                self.led.show(hal::Health::Failed);
            }
            (_, []) => {
                self.readiness.ready();
                self.led.show(hal::Health::Ok);
            }
            (_, silent) => {
                self.readiness.degraded(silent.join("; "));
                self.led.show(hal::Health::Degraded);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing is half done behind this lock, so a panic elsewhere leaves it usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a reading shows that its sensor works: it is good, or doubtful for a reason that lies in the air. In fog a particle sensor
/// counts droplets all night; nobody needs to climb a lamp post for that.
fn measures(reading: &Reading) -> bool {
    let of_the_air = [Reason::HIGH_HUMIDITY, Reason::CONDENSING, Reason::RATE_OF_CHANGE, Reason::SPIKE];
    reading.flag == Flag::GOOD || (reading.flag == Flag::SUSPECT && of_the_air.contains(&reading.reason))
}

fn explain(sensor: &SensorStatus) -> String {
    match (sensor.readings.first(), sensor.detail.as_str()) {
        (None, _) => "not read yet".to_owned(),
        (Some(reading), "") => format!("{} ({})", reading.flag, reading.reason),
        (Some(_), detail) => detail.to_owned(),
    }
}
