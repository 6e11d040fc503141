//! Sensirion SCD41: CO2, temperature and humidity. After the SCD4x datasheet version 1.3 (September 2022); sections are its.
//! Later versions shorten the power-up from 1000 ms to 30 ms; the longer time is kept, as chips of both kinds are about.
//!
//! The ambient pressures that are taken, 700 to 1200 hPa, are in later versions only; another one is acknowledged and ignored.
//!
//! Not modelled: what altitude and self-calibration do to the CO2 value (they are kept and read back), the settings that later
//! versions add, and the time that a reading takes to settle.

use std::ops::RangeInclusive;
use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::carbon_dioxide;
use super::device::Moment;
use super::humidity;
use super::periodic::Periodic;
use super::sensirion::{Commanded, Executed, word};
use command::Command;

mod command;
#[cfg(test)]
mod tests;

const QUANTITIES: [Quantity; 3] = [Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY];

const SERIAL: [u16; 3] = [0xF896, 0x31FE, 0x4D07];
/// The upper four bits say SCD41.
const VARIANT: u16 = 0x1440;

/// Section 3.1.
const POWER_UP: Duration = Duration::from_millis(1_000);
/// Section 3.5.1.
const INTERVAL: Duration = Duration::from_secs(5);
/// Section 3.8.1.
const LOW_POWER_INTERVAL: Duration = Duration::from_secs(30);

/// Section 3.8.2: the lower eleven bits are zero exactly when no data are ready. What the upper ones say is not told; these
/// values are its example's and a chip's.
const NOT_READY: u16 = 0x8000;
const READY: u16 = 0x8006;

const PRESSURES_HPA: RangeInclusive<u16> = 700..=1_200;

/// How much warmer than the air the chip's sensor is, in Cel, in the design that the default offset of 4 Cel is meant for.
const SELF_HEATING: f64 = 4.0;

/// What `persist_settings` writes to the EEPROM (section 3.9.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Settings {
    /// 65535 stands for 175 Cel (section 3.6.1).
    temperature_offset: u16,
    altitude_m: u16,
    self_calibration: u16,
}

const FACTORY: Settings = Settings { temperature_offset: 1_498, altitude_m: 0, self_calibration: 1 };

pub(super) struct Scd4x {
    asleep: bool,
    periodic: Option<Periodic>,
    /// The last measurement, until it is read: CO2, temperature, humidity (section 3.5.2).
    data: Option<[u16; 3]>,
    settings: Settings,
    eeprom: Settings,
    /// In hPa; 0 while none was set (section 3.6.5). Not persisted.
    pressure_hpa: u16,
    /// What forced recalibration added to CO2, in ppm. Kept without power.
    recalibration_ppm: f64,
}

impl Scd4x {
    pub(super) fn new() -> Self {
        Self {
            asleep: false,
            periodic: None,
            data: None,
            settings: FACTORY,
            eeprom: FACTORY,
            pressure_hpa: 0,
            recalibration_ppm: 0.0,
        }
    }

    /// Makes the measurement that is due by now, if one is. One that nobody read is overwritten.
    fn advance(&mut self, at: &Moment<'_>) {
        let due = |periodic: &mut Periodic| periodic.is_due(at.now);
        if !at.has(Fault::Busy) && self.periodic.as_mut().is_some_and(due) {
            self.data = Some(self.measurement(at));
        }
    }

    /// Section 3.5.2: CO2 in ppm, T = -45 + 175 w / 65535, RH = 100 w / 65535.
    fn measurement(&self, at: &Moment<'_>) -> [u16; 3] {
        let [celsius, percent] = [Quantity::TEMPERATURE, Quantity::HUMIDITY].map(|quantity| at.air(quantity));
        let offset = f64::from(self.settings.temperature_offset) * 175.0 / f64::from(u16::MAX);
        // The offset takes off what the chip believes to be its own heat; humidity follows, as the water in the air stays.
        let shown = celsius + SELF_HEATING - offset;
        let humidity = humidity::moved(percent, celsius, shown);
        // The cast saturates.
        let co2 = (carbon_dioxide::seen(at, self.pressure_hpa) + self.recalibration_ppm).round() as u16;
        [co2, word(shown, -45.0, 175.0), word(humidity, 0.0, 100.0)]
    }

    /// What the next read gets after a command without words; empty where it has nothing to say.
    fn obey(&mut self, command: Command, at: &Moment<'_>) -> Vec<u16> {
        match command {
            Command::StartPeriodic => self.start_periodic(INTERVAL, at.now),
            Command::StartLowPowerPeriodic => self.start_periodic(LOW_POWER_INTERVAL, at.now),
            Command::StopPeriodic => {
                self.periodic = None;
                self.data = None;
            }
            Command::MeasureSingleShot => self.data = self.single_shot(at),
            // Section 3.10.2: without CO2, which reads 0.
            Command::MeasureSingleShotRhtOnly => {
                self.data = self.single_shot(at).map(|[_, temperature, humidity]| [0, temperature, humidity]);
            }
            Command::ReadMeasurement => return self.data.take().map(Vec::from).unwrap_or_default(),
            Command::PersistSettings => self.eeprom = self.settings,
            Command::FactoryReset => {
                self.eeprom = FACTORY;
                self.settings = FACTORY;
                self.recalibration_ppm = 0.0;
            }
            Command::Reinit => {
                self.settings = self.eeprom;
                self.pressure_hpa = 0;
                self.data = None;
            }
            Command::PowerDown => self.asleep = true,
            Command::GetDataReady => return vec![if self.data.is_some() { READY } else { NOT_READY }],
            Command::GetTemperatureOffset => return vec![self.settings.temperature_offset],
            Command::GetAltitude => return vec![self.settings.altitude_m],
            Command::GetSelfCalibration => return vec![self.settings.self_calibration],
            Command::AmbientPressure => return vec![self.pressure_hpa],
            Command::GetSerialNumber => return SERIAL.to_vec(),
            Command::GetVariant => return vec![VARIANT],
            // Section 3.9.3: anything but 0 is a malfunction.
            Command::SelfTest => return vec![u16::from(at.has(Fault::Broken))],
            Command::WakeUp => self.asleep = false,
            Command::SetTemperatureOffset
            | Command::SetAltitude
            | Command::ForcedRecalibration
            | Command::SetSelfCalibration => {}
        }
        Vec::new()
    }

    /// The same after a command with its word.
    fn obey_with(&mut self, command: Command, word: u16, at: &Moment<'_>) -> Vec<u16> {
        match command {
            Command::SetTemperatureOffset => self.settings.temperature_offset = word,
            Command::SetAltitude => self.settings.altitude_m = word,
            Command::SetSelfCalibration => self.settings.self_calibration = u16::from(word != 0),
            Command::AmbientPressure if PRESSURES_HPA.contains(&word) => self.pressure_hpa = word,
            // Section 3.7.1: the correction, with 0x8000 for none.
            Command::ForcedRecalibration => {
                let [measured, ..] = self.measurement(at);
                let correction = f64::from(word) - f64::from(measured);
                self.recalibration_ppm += correction;
                return vec![(correction + f64::from(0x8000_u16)) as u16];
            }
            _ => {}
        }
        Vec::new()
    }

    fn start_periodic(&mut self, interval: Duration, now: Duration) {
        self.data = None;
        self.periodic = Some(Periodic::from(now, interval));
    }

    /// Nothing, if the chip never finishes.
    fn single_shot(&self, at: &Moment<'_>) -> Option<[u16; 3]> {
        (!at.has(Fault::Busy)).then(|| self.measurement(at))
    }
}

impl Commanded for Scd4x {
    fn model(&self) -> &'static str {
        "SCD41"
    }

    fn address(&self) -> u8 {
        0x62
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn feels(&self) -> &'static [Quantity] {
        &[Quantity::PRESSURE]
    }

    fn startup(&self) -> Duration {
        POWER_UP
    }

    /// The EEPROM stays.
    fn power_on(&mut self) {
        let (eeprom, recalibration_ppm) = (self.eeprom, self.recalibration_ppm);
        *self = Self { settings: eeprom, eeprom, recalibration_ppm, ..Self::new() };
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        self.advance(at);
        true
    }

    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        let measuring = self.periodic.is_some();
        match Command::from_code(code) {
            _ if at.has(Fault::WrongId) => &[],
            Some(command) if self.asleep != (command == Command::WakeUp) => &[],
            Some(command) if measuring && !command.during_measurement() => &[],
            Some(command) => command.words(),
            None => &[],
        }
    }

    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed {
        let Some(command) = Command::from_code(code) else { return Executed::within(Duration::ZERO) };
        let answer = match *words {
            [] => self.obey(command, at),
            [word, ..] => self.obey_with(command, word, at),
        };
        let executed = Executed::within(command.execution_time()).answering(&answer);
        // Section 3.10.4: the wake-up works, but is not acknowledged.
        if command == Command::WakeUp { executed.unacknowledged() } else { executed }
    }
}
