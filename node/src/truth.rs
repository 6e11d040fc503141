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
    altitude_m: Option<i16>,
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
        let measured = sensor.chip.model.quantities();
        let at_sea_level = measured.contains(&Quantity::PRESSURE) && self.reduced_from_m().is_some();
        correction::names(&self.configured(sensor).1, measured, at_sea_level)
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
        };
        if self.histories.len() <= turn.index {
            self.histories.resize_with(turn.index + 1, SensorHistory::default);
        }
        self.histories[turn.index].judge(now, &self.config.quality, about, &mut turn.readings);
        let around = correction::Around { cpu, humidity: self.air.most_humid(now, None, |known| known.measured) };
        correction::correct(&correction, around, &mut turn.readings);
        self.air.learn(now, turn.index, &turn.readings);
        if let Some(altitude_m) = self.reduced_from_m() {
            let humidity = self.air.most_humid(now, None, |known| known.value);
            turn.readings.extend(correction::at_sea_level(altitude_m, humidity, &turn.readings));
        }
    }

    /// The altitude from which a pressure is reduced to sea level, m.
    fn reduced_from_m(&self) -> Option<f64> {
        let is_derived = |altitude: &i16| *altitude <= correction::HIGHEST_REDUCTION_M;
        self.altitude_m.filter(|_| self.config.correction.sea_level_pressure).filter(is_derived).map(f64::from)
    }

    /// What a chip's driver may use of what the node's other sensors measured. Where none measures the pressure, the altitude tells it to a few
    /// percent.
    pub fn around(&self, now: Duration, index: usize, sensor: &NodeSensor) -> Surroundings {
        let other = Some(index);
        Surroundings {
            interval: sensor.interval,
            temperature: self.air.coolest(now, other).map(|celsius| celsius as f32),
            humidity: self.air.most_humid(now, other, |known| known.value).map(|humidity| humidity as f32),
            pressure: self
                .air
                .pressure(now, other)
                .or_else(|| self.altitude_m.map(|altitude_m| correction::standard_pressure(altitude_m.into())))
                .map(|pascal| pascal as f32),
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

#[cfg(test)]
mod tests {
    use super::*;
    use hal::sim::{Clock, SimBus};
    use hal::{Bus, ChipAt, Measured, Model};

    /// Sensors that are only talked about: nobody samples their bus.
    fn sensors(models: &[Model]) -> Vec<NodeSensor> {
        let bus = Bus::over(SimBus::new(Clock::virtual_time())).unwrap();
        let sensor = |model: &Model| {
            NodeSensor::talked_about(bus.clone(), ChipAt::new(*model, model.addresses()[0]), Duration::from_secs(10))
        };
        models.iter().map(sensor).collect()
    }

    fn truth(chips: &str, altitude_m: Option<i16>) -> Truth {
        Truth::new(toml::from_str(chips).unwrap(), altitude_m)
    }

    fn turn(sensors: &[NodeSensor], index: usize, values: &[f32]) -> Turn {
        let quantities = sensors[index].chip.model.quantities().iter().zip(values);
        let measured: Vec<Measured> = quantities.map(|(quantity, value)| Measured::good(*quantity, *value)).collect();
        Turn { index, readings: sensors[index].readings(index, Ok(&measured)), detail: String::new() }
    }

    /// What goes out of one tick at `second`, with the values of each sensor in turn.
    fn tick(truth: &mut Truth, sensors: &[NodeSensor], second: u64, values: &[&[f32]]) -> Vec<Reading> {
        let of_sensor = values.iter().enumerate().filter(|(_, values)| !values.is_empty());
        let mut turns: Vec<Turn> = of_sensor.map(|(index, values)| turn(sensors, index, values)).collect();
        truth.tell(Duration::from_secs(second), None, sensors, &mut turns);
        assert!(turns.is_sorted_by_key(|turn| turn.index));
        turns.into_iter().flat_map(|turn| turn.readings).collect()
    }

    const EPA: &str = "[[chip]]\nmodel = \"PMSA003I\"\ncorrection = { pm2_5 = \"epa-2021\" }\n";

    #[test]
    fn particles_are_judged_and_corrected_by_the_humidity_of_the_same_tick() {
        let sensors = sensors(&[Model::Pmsa003i, Model::Sht4x]);
        let mut truth = truth(EPA, None);
        let out = tick(&mut truth, &sensors, 0, &[&[6.0, 10.0, 12.0], &[20.0, 50.0]]);
        assert_eq!((out[1].raw, out[1].flag), (Some(10.0), Flag::GOOD));
        assert!((out[1].value.unwrap() - 6.68).abs() < 0.001);
        assert_eq!(truth.correction_of(&sensors[0]).as_str(), "epa-2021/1");
        let fog = tick(&mut truth, &sensors, 10, &[&[6.0, 10.0, 12.0], &[20.0, 58.0]]);
        assert_eq!(fog[1].flag, Flag::GOOD);
        let fog = tick(&mut truth, &sensors, 600, &[&[6.0, 10.0, 12.0], &[9.0, 99.0]]);
        assert_eq!((fog[1].flag, fog[1].reason), (Flag::SUSPECT, Reason::HIGH_HUMIDITY));
        assert_eq!((fog[4].flag, fog[4].reason), (Flag::SUSPECT, Reason::CONDENSING), "{fog:?}");
    }

    #[test]
    fn a_humidity_of_long_ago_is_none() {
        let sensors = sensors(&[Model::Pmsa003i, Model::Sht4x]);
        let mut truth = truth(EPA, None);
        tick(&mut truth, &sensors, 0, &[&[], &[20.0, 50.0]]);
        let soon = tick(&mut truth, &sensors, 599, &[&[6.0, 10.0, 12.0], &[]]);
        assert_eq!(soon[1].reason, Reason::NONE);
        let late = tick(&mut truth, &sensors, 601, &[&[6.0, 10.0, 12.0], &[]]);
        assert_eq!((late[1].value, late[1].raw, late[1].reason), (Some(10.0), None, Reason::UNCORRECTED));
    }

    #[test]
    fn drivers_hear_of_the_other_sensors_and_not_of_themselves() {
        let sensors = sensors(&[Model::Bme280, Model::Sht4x]);
        let mut truth = truth("", None);
        let nothing = truth.around(Duration::ZERO, 0, &sensors[0]);
        assert_eq!((nothing.temperature, nothing.humidity, nothing.pressure), (None, None, None));
        assert_eq!(nothing.interval, Duration::from_secs(10));
        tick(&mut truth, &sensors, 0, &[&[24.0, 40.0, 101_325.0], &[20.0, 50.0]]);
        let of_bme280 = truth.around(Duration::from_secs(1), 0, &sensors[0]);
        assert_eq!((of_bme280.temperature, of_bme280.humidity, of_bme280.pressure), (Some(20.0), Some(50.0), None));
        let of_sht4x = truth.around(Duration::from_secs(1), 1, &sensors[1]);
        assert_eq!((of_sht4x.temperature, of_sht4x.pressure), (Some(24.0), Some(101_325.0)));
    }

    #[test]
    fn where_no_chip_measures_the_pressure_the_altitude_tells_it() {
        let sensors = sensors(&[Model::Bme280, Model::Scd4x]);
        let mut truth = truth("", Some(1_600));
        let pressure = |truth: &Truth| truth.around(Duration::from_secs(1), 1, &sensors[1]).pressure;
        assert!((pressure(&truth).unwrap() - 83_524.0).abs() < 10.0);
        tick(&mut truth, &sensors, 0, &[&[20.0, 50.0, 84_000.0]]);
        assert_eq!(pressure(&truth), Some(84_000.0));
    }

    #[test]
    fn pressure_at_sea_level_comes_with_an_altitude_that_it_is_meant_for() {
        let sensors = sensors(&[Model::Bme280]);
        let derived = |altitude_m, config: &str| {
            let mut truth = truth(config, altitude_m);
            let named = truth.correction_of(&sensors[0]).as_str() == "sea-level/1";
            let out = tick(&mut truth, &sensors, 0, &[&[20.0, 50.0, 98_000.0]]);
            assert_eq!(named, out.len() == 4);
            out.get(3).map(|reading| (reading.quantity, reading.value.unwrap().round()))
        };
        assert_eq!(derived(Some(100), ""), Some((Quantity::SEA_LEVEL_PRESSURE, 99_141.0)));
        assert_eq!(derived(None, ""), None);
        assert_eq!(derived(Some(1_600), ""), None, "no such formula for Denver");
        assert_eq!(derived(Some(100), "correction = { sea_level_pressure = false }"), None);
    }
}
