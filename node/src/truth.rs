//! What the node makes of what its chips say. Each tick is tested first, as it was measured ([`crate::quality`]), and corrected then
//! ([`crate::correction`]); what was found out about the air helps to judge and to correct the other sensors. Pure: time and the CPU's
//! temperature come in as arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use hal::Surroundings;
use reading::{Flag, Quantity, Reading, Reason, Text};

use crate::config::{ChipConfig, SensorsConfig};
use crate::correction::{self, ChipCorrection};
use crate::cpu::CpuHeat;
use crate::quality::{self, ChipQuality, Instrument, SensorHistory};
use crate::sensors::NodeSensor;

/// What was measured longer ago than this says nothing of the air now.
const FRESH: Duration = Duration::from_secs(600);

/// What is known of the node's sensors besides their last readings. At most [`reading::MAX_SENSORS`] histories.
#[derive(Debug)]
pub struct Truth {
    config: SensorsConfig,
    altitude_m: Option<f64>,
    histories: Vec<SensorHistory>,
    air: Air,
    cpu: CpuHeat,
}

/// The readings of one sensor at one tick.
#[derive(Debug)]
pub struct Turn {
    /// The sensor's position in the announcement.
    pub index: usize,
    /// As measured; after [`Truth::tell`] as they go out.
    pub readings: Vec<Reading>,
    /// Why there are none, for people.
    pub detail: String,
}

impl Truth {
    /// Knows nothing yet. The altitude is that of the node, above mean sea level.
    pub fn new(config: SensorsConfig, altitude_m: Option<i16>) -> Self {
        let altitude_m = altitude_m
            .filter(|altitude| config.correction.sea_level_pressure && *altitude <= correction::HIGHEST_REDUCTION_M)
            .map(f64::from);
        Self { config, altitude_m, histories: Vec::new(), air: Air::default(), cpu: CpuHeat::default() }
    }

    /// Whether the CPU's temperature makes a difference to any of these sensors.
    pub fn wants_cpu(&self, sensors: &[NodeSensor]) -> bool {
        let uses_cpu = |chip: &ChipConfig| chip.correction.cpu_factor.is_some();
        let in_its_heat = self.config.quality.self_heating.is_some() && sensors.iter().any(|it| !it.bus.is_simulated());
        in_its_heat || self.config.chips.iter().any(uses_cpu)
    }

    /// What the announcement says of a sensor's corrections.
    pub fn correction_of(&self, sensor: &NodeSensor) -> Text<64> {
        let has_pressure = sensor.chip.model.quantities().contains(&Quantity::PRESSURE);
        correction::names(&self.configured(sensor).1, has_pressure && self.altitude_m.is_some())
    }

    /// Tests and corrects what the sensors said at one tick. `cpu` is the temperature of the CPU now, Cel.
    pub fn tell(&mut self, now: Duration, cpu: Option<f64>, sensors: &[NodeSensor], turns: &mut [Turn]) {
        let cpu = self.cpu.average(now, cpu);
        // The humidity of this tick is the one that counts for its particles.
        turns.sort_by_key(|turn| !turn.readings.iter().any(|reading| reading.quantity == Quantity::HUMIDITY));
        for turn in turns.iter_mut() {
            if let Some(sensor) = sensors.get(turn.index) {
                self.tell_one(now, cpu, sensor, turn);
            }
        }
        let humidity = self.air.most_humid(now, None, |known| known.value);
        for turn in turns.iter_mut() {
            quality::judge_fog(&self.config.quality, humidity, &mut turn.readings);
        }
        turns.sort_by_key(|turn| turn.index);
    }

    fn tell_one(&mut self, now: Duration, cpu: Option<f64>, sensor: &NodeSensor, turn: &mut Turn) {
        let (quality, correction) = self.configured(sensor);
        // A simulated chip sits on no board.
        let cpu = cpu.filter(|_| !sensor.bus.is_simulated());
        let about = Instrument {
            model: sensor.chip.model,
            interval: sensor.interval,
            quality: &quality,
            cpu: cpu.filter(|_| correction.cpu_factor.is_none()),
            laser: None,
        };
        if self.histories.len() <= turn.index {
            self.histories.resize_with(turn.index + 1, SensorHistory::default);
        }
        self.histories[turn.index].judge(now, &self.config.quality, about, &mut turn.readings);
        let around = correction::Around { cpu, humidity: self.air.most_humid(now, None, |known| known.measured) };
        correction::correct(&correction, around, &mut turn.readings);
        self.air.learn(now, turn.index, &turn.readings);
        if let Some(altitude_m) = self.altitude_m {
            let humidity = self.air.most_humid(now, None, |known| known.value);
            turn.readings.extend(correction::at_sea_level(altitude_m, humidity, &turn.readings));
        }
    }

    /// What a chip's driver may use of what the node's other sensors measured.
    pub fn around(&self, now: Duration, index: usize, sensor: &NodeSensor) -> Surroundings {
        let other = Some(index);
        Surroundings {
            interval: sensor.interval,
            temperature: self.air.coolest(now, other).map(|celsius| celsius as f32),
            humidity: self.air.most_humid(now, other, |known| known.value).map(|humidity| humidity as f32),
            pressure: self.air.pressure(now, other).map(|pascal| pascal as f32),
        }
    }

    fn configured(&self, sensor: &NodeSensor) -> (ChipQuality, ChipCorrection) {
        let chip = self.config.chips.iter().find(|chip| sensor.is_meant_by(chip));
        chip.map(|chip| (chip.quality.clone(), chip.correction.clone())).unwrap_or_default()
    }
}

/// What is known of the air around the node: three quantities of each sensor at most.
///
/// Of several hygrometers the one that says most counts: a chip that its board warms finds the air drier than it is, and none
/// finds it more humid. For the same reason the coolest thermometer is nearest to the air.
#[derive(Debug, Default)]
struct Air(BTreeMap<(Quantity, usize), Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    at: Duration,
    measured: f64,
    value: f64,
}

impl Air {
    fn learn(&mut self, now: Duration, index: usize, readings: &[Reading]) {
        for reading in readings {
            // Saturated air is no fault of the hygrometer that says so.
            let is_sound = reading.flag == Flag::GOOD || reading.reason == Reason::CONDENSING;
            let is_wanted = [Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE].contains(&reading.quantity);
            if let Some(value) = reading.value.filter(|_| is_sound && is_wanted) {
                let measured = reading.raw.unwrap_or(value).into();
                self.0.insert((reading.quantity, index), Known { at: now, measured, value: value.into() });
            }
        }
    }

    fn fresh(&self, now: Duration, quantity: Quantity, but: Option<usize>) -> impl Iterator<Item = &Known> {
        let known = self.0.iter().filter(move |((of, index), _)| *of == quantity && but != Some(*index));
        known.map(|(_, known)| known).filter(move |known| now.saturating_sub(known.at) <= FRESH)
    }

    fn most_humid(&self, now: Duration, but: Option<usize>, of: impl Fn(&Known) -> f64) -> Option<f64> {
        self.fresh(now, Quantity::HUMIDITY, but).map(of).reduce(f64::max)
    }

    fn coolest(&self, now: Duration, but: Option<usize>) -> Option<f64> {
        self.fresh(now, Quantity::TEMPERATURE, but).map(|known| known.value).reduce(f64::min)
    }

    fn pressure(&self, now: Duration, but: Option<usize>) -> Option<f64> {
        self.fresh(now, Quantity::PRESSURE, but).map(|known| known.value).next()
    }
}
