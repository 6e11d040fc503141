//! The sensors of this node: which buses there are, which chips answer, in which order they are announced.

mod look;

use std::time::Duration;

use hal::{Bus, BusSource, ChipAt, Measured, ScanReport};
use reading::{Flag, Reading, Reason, Sensor, Text};

pub use self::look::{Look, Looked, Problems};
use crate::config::{ChipConfig, SensorsConfig};

/// One announced sensor.
#[derive(Clone, Debug)]
pub struct NodeSensor {
    /// The bus it sits on.
    pub bus: Bus,
    /// What and where.
    pub chip: ChipAt,
    /// The chip's serial number, empty where it has none or none is known yet.
    pub serial: String,
    /// Time between two readings.
    pub interval: Duration,
    /// Whether a scan ever found it: otherwise it is only what the configuration expects, at the chip's usual address.
    found: bool,
}

impl NodeSensor {
    /// A sensor that a test has something to say about.
    #[cfg(test)]
    pub(crate) fn talked_about(bus: Bus, chip: ChipAt, interval: Duration) -> Self {
        Self { bus, chip, serial: String::new(), interval, found: true }
    }

    /// What the announcement says of it.
    pub fn describe(&self) -> Sensor {
        Sensor {
            model: Text::lossy(self.chip.model.name()),
            bus: Text::lossy(&self.bus_name()),
            address: self.chip.address,
            serial: Text::lossy(&self.serial),
            correction: Text::default(),
            simulated: self.bus.is_simulated(),
        }
    }

    /// Whether a scan ever found it; otherwise it is only what the configuration expects.
    pub fn was_found(&self) -> bool {
        self.found
    }

    /// Whether the configuration means this sensor.
    pub fn is_meant_by(&self, wanted: &ChipConfig) -> bool {
        is_meant(wanted, self.bus.name(), self.chip)
    }

    /// Its bus, with the multiplexer's port where it is behind one: `i2c-1`, `i2c-1/0x70.3`.
    pub fn bus_name(&self) -> String {
        match self.chip.port {
            Some(port) => format!("{}/{port}", self.bus.name()),
            None => self.bus.name().to_owned(),
        }
    }

    /// The readings of one turn, for the sensor at position `index`. Without a sample every quantity of the chip is missing: silence is
    /// said, never guessed.
    pub fn readings(&self, index: usize, sampled: Result<&[Measured], Reason>) -> Vec<Reading> {
        let sensor = u8::try_from(index).unwrap_or(u8::MAX);
        match sampled {
            Ok(measured) => measured
                .iter()
                .map(|&Measured { quantity, value, flag, reason }| Reading {
                    sensor,
                    quantity,
                    value: (flag != Flag::MISSING).then_some(value),
                    raw: None,
                    flag,
                    reason,
                })
                .collect(),
            Err(reason) => self
                .chip
                .model
                .quantities()
                .iter()
                .map(|&quantity| Reading { sensor, quantity, value: None, raw: None, flag: Flag::MISSING, reason })
                .collect(),
        }
    }
}

/// Where this node's chips may be.
#[derive(Debug)]
pub struct Sensors {
    config: SensorsConfig,
    sources: Vec<BusSource>,
    buses: Vec<Bus>,
    sensors: Vec<NodeSensor>,
}

impl Sensors {
    /// Nothing is opened yet. `simulated` holds the seed of the simulated air.
    pub fn new(config: SensorsConfig, simulated: Option<u64>) -> Self {
        let sources = match simulated {
            Some(seed) => {
                let models = hal::Model::SIMULATED.iter().map(|model| model.name().to_owned());
                let models = match config.chips.as_slice() {
                    [] => models.collect(),
                    chips => chips.iter().map(|chip| chip.model.name().to_owned()).collect(),
                };
                vec![BusSource::Simulated { seed, models }]
            }
            None => config.buses.iter().map(|path| config.device(path)).collect(),
        };
        Self { config, sources, buses: Vec::new(), sensors: Vec::new() }
    }

    /// The sensors of one bus that is open already.
    #[cfg(test)]
    pub(crate) fn on(config: SensorsConfig, bus: Bus) -> Self {
        let sources = vec![BusSource::Simulated { seed: 0, models: Vec::new() }];
        Self { config, sources, buses: vec![bus], sensors: Vec::new() }
    }

    /// The sensors in the order of the announcement. A sensor keeps its place while the program runs.
    pub fn list(&self) -> &[NodeSensor] {
        &self.sensors
    }

    /// The open buses.
    pub fn buses(&self) -> &[Bus] {
        &self.buses
    }

    /// Notes a serial number that a sample brought; whether it was news.
    pub fn learn_serial(&mut self, index: usize, serial: &str) -> bool {
        match self.sensors.get_mut(index) {
            Some(sensor) if sensor.serial != serial => {
                sensor.serial = serial.to_owned();
                true
            }
            _ => false,
        }
    }

    /// Opens the buses that are not open yet and looks who is there. Gives what is wrong.
    pub async fn look(&mut self) -> Problems {
        let begun = self.begin_look();
        self.end_look(begun.scan().await)
    }

    /// Opens the buses that are not open yet. The scan that follows may take long and needs nothing of this.
    pub fn begin_look(&mut self) -> Look {
        let problems = self.open();
        // A hung bus would only queue up scans.
        let buses = self.buses.iter().filter(|bus| bus.stuck_for().is_none()).cloned().collect();
        Look { buses, problems }
    }

    /// Adds the chips that are new. None is ever taken away, since a chip that does not answer is a fact to report. Gives what is wrong.
    pub fn end_look(&mut self, looked: Looked) -> Problems {
        let Looked { reports, mut problems } = looked;
        for (bus, report) in reports {
            match report {
                Ok(report) => self.take_up(&bus, &report, &mut problems),
                Err(problem) => problems.push(problem),
            }
        }
        self.expect_configured(&mut problems);
        if self.sensors.is_empty() && problems.is_empty() {
            let names: Vec<&str> = self.buses.iter().map(Bus::name).collect();
            problems.push(format!(
                "no known chip answers on {}: check the wiring and the 3.3 V supply, or try the node without hardware: magpie node --simulate",
                names.join(", ")
            ));
        }
        problems
    }

    fn open(&mut self) -> Problems {
        let sources = if self.sources.is_empty() {
            hal::device_buses().iter().map(|path| self.config.device(path)).collect()
        } else {
            self.sources.clone()
        };
        if sources.is_empty() {
            return vec![
                "this machine has no I2C bus (/dev/i2c-*): turn it on with `sudo raspi-config` (Interface Options) and restart, \
                 or try the node without hardware: magpie node --simulate"
                    .to_owned(),
            ];
        }
        let mut problems = Vec::new();
        for source in sources {
            if self.buses.iter().any(|bus| opened_from(bus, &source)) {
                continue;
            }
            match Bus::open(source) {
                Ok(bus) => self.buses.push(bus),
                Err(error) => problems.push(look::with_source(&error)),
            }
        }
        problems
    }

    fn take_up(&mut self, bus: &Bus, report: &ScanReport, problems: &mut Problems) {
        for found in &report.found {
            let same_place = |sensor: &NodeSensor| sensor.bus.name() == bus.name() && sensor.chip == found.chip;
            let expected = |sensor: &NodeSensor| {
                let chip = sensor.chip;
                !sensor.found
                    && sensor.bus.name() == bus.name()
                    && (chip.model, chip.port) == (found.chip.model, found.chip.port)
            };
            let known = self.sensors.iter().position(same_place).or_else(|| self.sensors.iter().position(expected));
            match known.and_then(|index| self.sensors.get_mut(index)) {
                Some(known) => {
                    known.chip = found.chip;
                    known.serial.clone_from(&found.serial);
                    known.found = true;
                }
                None => {
                    let interval = self.interval_of(bus.name(), found.chip);
                    let (bus, chip, serial) = (bus.clone(), found.chip, found.serial.clone());
                    self.add(NodeSensor { bus, chip, serial, interval, found: true }, problems);
                }
            }
        }
        for unknown in &report.unknown {
            let port = unknown.port.map(|port| format!("{port}/")).unwrap_or_default();
            problems.push(format!("{port}0x{:02x} on {}: {}", unknown.address, bus.name(), unknown.detail));
        }
    }

    /// A chip that the configuration names is announced even if it does not answer: its readings then say that it is missing.
    fn expect_configured(&mut self, problems: &mut Problems) {
        for wanted in self.config.chips.clone() {
            let meant = |sensor: &&NodeSensor| is_meant(&wanted, sensor.bus.name(), sensor.chip);
            let found = self.sensors.iter().find(meant).map(|sensor| sensor.found);
            if found == Some(true) {
                continue;
            }
            let bus = self.buses.iter().find(|bus| wanted.bus.as_deref().is_none_or(|name| name == bus.name()));
            let address = wanted.address.or_else(|| wanted.model.addresses().first().copied()).unwrap_or(0);
            let chip = ChipAt { model: wanted.model, address, port: wanted.port };
            let place = wanted.bus.as_deref().or(bus.map(Bus::name)).unwrap_or("any bus");
            let fix = self.instead_of(chip).unwrap_or_else(|| "check its wiring and address".to_owned());
            problems.push(format!("{chip} on {place} is configured but does not answer: {fix}"));
            if let (None, Some(bus)) = (found, bus.cloned()) {
                let interval = self.interval_of(bus.name(), chip);
                self.add(NodeSensor { bus, chip, serial: String::new(), interval, found: false }, problems);
            }
        }
    }

    /// What was found that the owner may have meant: another chip at the same address, or the same chip at another one.
    fn instead_of(&self, chip: ChipAt) -> Option<String> {
        let found = || self.sensors.iter().filter(|sensor| sensor.found);
        if let Some(other) = found().find(|sensor| (sensor.chip.address, sensor.chip.port) == (chip.address, chip.port))
        {
            return Some(format!(
                "a {} is there; correct `model` or `address` under [[sensors.chip]]",
                other.chip.model
            ));
        }
        let same = found().filter(|sensor| sensor.chip.model == chip.model);
        let mut unclaimed = same.filter(|sensor| !self.config.chips.iter().any(|wanted| sensor.is_meant_by(wanted)));
        let other = unclaimed.next()?;
        let (port, address) = (other.chip.port, other.chip.address);
        let port = port.map(|port| format!(", port = \"{port}\"")).unwrap_or_default();
        Some(format!(
            "one answers at 0x{address:02x} on {}; correct it under [[sensors.chip]] to address = 0x{address:02x}{port}",
            other.bus.name()
        ))
    }

    fn add(&mut self, sensor: NodeSensor, problems: &mut Problems) {
        if self.sensors.len() < reading::MAX_SENSORS {
            self.sensors.push(sensor);
        } else {
            let (chip, bus) = (sensor.chip, sensor.bus.name());
            problems.push(format!("{chip} on {bus} is not read: a node has at most {} sensors", reading::MAX_SENSORS));
        }
    }

    /// As configured, but not faster than the chip measures: in between it would have nothing to say, or the same again.
    fn interval_of(&self, bus: &str, chip: ChipAt) -> Duration {
        let configured = self.config.chips.iter().find(|wanted| is_meant(wanted, bus, chip));
        let wanted = configured.and_then(|wanted| wanted.interval).unwrap_or(self.config.interval);
        let fastest = chip.model.min_interval();
        // A tenth more than that: the chip's clock is not the node's.
        if wanted < fastest + fastest / 10 { fastest + fastest / 10 } else { wanted }
    }
}

fn is_meant(wanted: &ChipConfig, bus: &str, chip: ChipAt) -> bool {
    wanted.model == chip.model
        && wanted.address.is_none_or(|address| address == chip.address)
        && wanted.port.is_none_or(|port| Some(port) == chip.port)
        && wanted.bus.as_deref().is_none_or(|name| name == bus)
}

fn opened_from(bus: &Bus, source: &BusSource) -> bool {
    match source {
        BusSource::Device { path, .. } => {
            !bus.is_simulated() && path.file_name().is_some_and(|name| name == bus.name())
        }
        BusSource::Simulated { .. } => bus.is_simulated(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal::Model;
    use hal::sim::{Clock, SimBus, chip};

    fn expecting_a_bme280(bus: &SimBus) -> Sensors {
        let config = SensorsConfig { chips: vec![ChipConfig::new(Model::Bme280)], ..SensorsConfig::default() };
        Sensors::on(config, Bus::over(bus.clone()).unwrap())
    }

    #[tokio::test]
    async fn a_chip_that_is_expected_and_absent_is_announced_and_said() {
        let bus = SimBus::new(Clock::real_time());
        let mut sensors = expecting_a_bme280(&bus);
        for _ in 0..2 {
            let problems = sensors.look().await;
            assert!(problems[0].contains("BME280 at 0x76 on sim-1 is configured but does not answer"), "{problems:?}");
            assert_eq!(sensors.list().len(), 1);
        }
        // It turns up later, at its other address, and takes the place that was kept for it.
        bus.attach_at(0x77, chip("BME280").unwrap());
        assert!(sensors.look().await.is_empty());
        let [sensor] = sensors.list() else { panic!("{:?}", sensors.list()) };
        assert_eq!((sensor.chip.model, sensor.chip.address), (Model::Bme280, 0x77));
    }

    #[tokio::test]
    async fn what_is_there_instead_is_said() {
        let bus = SimBus::new(Clock::real_time());
        bus.attach_at(0x77, chip("BME280").unwrap());
        bus.attach(chip("SHT40").unwrap());
        let wanted = ChipConfig { address: Some(0x76), ..ChipConfig::new(Model::Bme280) };
        let config = SensorsConfig { chips: vec![wanted], ..SensorsConfig::default() };
        let problems = Sensors::on(config, Bus::over(bus.clone()).unwrap()).look().await;
        assert!(problems[0].contains("one answers at 0x77 on sim-1"), "{problems:?}");
        let wanted = ChipConfig { address: Some(0x77), ..ChipConfig::new(Model::Bmp280) };
        let config = SensorsConfig { chips: vec![wanted], ..SensorsConfig::default() };
        let problems = Sensors::on(config, Bus::over(bus).unwrap()).look().await;
        assert!(problems[0].contains("a BME280 is there"), "{problems:?}");
    }

    #[tokio::test]
    async fn a_chip_that_is_plugged_in_later_is_added_behind_the_others() {
        let bus = SimBus::new(Clock::real_time());
        bus.attach(chip("BME280").unwrap());
        let mut sensors = expecting_a_bme280(&bus);
        assert!(sensors.look().await.is_empty());
        bus.attach(chip("SHT40").unwrap());
        assert!(sensors.look().await.is_empty());
        let models: Vec<Model> = sensors.list().iter().map(|sensor| sensor.chip.model).collect();
        assert_eq!(models, [Model::Bme280, Model::Sht4x]);
    }

    #[tokio::test]
    async fn a_chip_is_not_asked_faster_than_it_measures() {
        let bus = SimBus::new(Clock::real_time());
        bus.attach(chip("SHT40").unwrap());
        bus.attach(chip("SCD41").unwrap());
        let config = SensorsConfig { interval: Duration::from_secs(1), ..SensorsConfig::default() };
        let mut sensors = Sensors::on(config, Bus::over(bus).unwrap());
        assert!(sensors.look().await.is_empty());
        let interval = |model| sensors.list().iter().find(|sensor| sensor.chip.model == model).unwrap().interval;
        assert_eq!(interval(Model::Sht4x), Duration::from_secs(1));
        assert_eq!(interval(Model::Scd4x), Duration::from_millis(5500));
    }
}
