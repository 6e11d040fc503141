//! Sensirion SCD41: CO2, temperature and humidity. After the SCD4x datasheet version 1.3 (September 2022); sections are its.
//! Later versions shorten the power-up from 1000 ms to 30 ms; the longer time is kept, as chips of both kinds are about.
//!
//! Not modelled: what altitude, pressure and self-calibration do to the CO2 value (they are kept and read back), the settings
//! that later versions add, and the time that a reading takes to settle.

use std::time::Duration;

use reading::Quantity;

use super::ambient::Ambient;
use super::power::{Health, Power};
use super::sensirion::{Answer, crc, word};
use super::{Chip, Direction, Fault};
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

/// A periodic measurement.
#[derive(Clone, Copy)]
struct Periodic {
    interval: Duration,
    next: Duration,
}

pub(super) struct Scd4x {
    ambient: Ambient<3>,
    health: Health,
    busy_until: Duration,
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
    /// The bytes of a write so far: command, argument, checksum.
    received: [u8; 5],
    received_count: usize,
    answer: Option<Answer>,
    sending: Option<Answer>,
}

impl Scd4x {
    pub(super) fn new() -> Self {
        Self {
            ambient: Ambient::new(&QUANTITIES, [420.0, 20.0, 50.0]),
            health: Health::default(),
            busy_until: POWER_UP,
            asleep: false,
            periodic: None,
            data: None,
            settings: FACTORY,
            eeprom: FACTORY,
            pressure_hpa: 0,
            recalibration_ppm: 0.0,
            received: [0; 5],
            received_count: 0,
            answer: None,
            sending: None,
        }
    }

    /// Power-on. The EEPROM stays.
    fn reset(&mut self, now: Duration) {
        self.busy_until = now + POWER_UP;
        self.asleep = false;
        self.periodic = None;
        self.data = None;
        self.settings = self.eeprom;
        self.pressure_hpa = 0;
        self.answer = None;
        self.sending = None;
    }

    /// Makes the measurement that is due by now, if one is. One that nobody read is overwritten.
    fn advance(&mut self, now: Duration) {
        if self.health.has(Fault::Busy) {
            return;
        }
        let Some(Periodic { interval, next }) = self.periodic.filter(|periodic| periodic.next <= now) else { return };
        let missed = (now - next).as_nanos() / interval.as_nanos();
        let late = u64::try_from(missed * interval.as_nanos()).unwrap_or(u64::MAX);
        self.periodic = Some(Periodic { interval, next: next + Duration::from_nanos(late) + interval });
        self.data = Some(self.measurement());
    }

    /// Section 3.5.2: CO2 in ppm, T = -45 + 175 w / 65535, RH = 100 w / 65535.
    fn measurement(&self) -> [u16; 3] {
        let [co2, celsius, percent] = self.ambient.sensed();
        let offset = f64::from(self.settings.temperature_offset) * 175.0 / f64::from(u16::MAX);
        // The offset takes off what the chip believes to be its own heat; humidity follows, as the water in the air stays.
        let shown = celsius + SELF_HEATING - offset;
        let humidity = percent * saturation(celsius) / saturation(shown);
        // The cast saturates.
        let co2 = (co2 + self.recalibration_ppm).round() as u16;
        [co2, word(shown, -45.0, 175.0), word(humidity, 0.0, 100.0)]
    }

    /// Takes byte number `received_count` of a write. Returns whether it is acknowledged.
    fn receive(&mut self, now: Duration) -> bool {
        let [high, low, argument_high, argument_low, checksum] = self.received;
        let command = Command::from_code(u16::from_be_bytes([high, low]));
        match (self.received_count, command) {
            (1, _) => true,
            (2, Some(command)) => self.accept(command, now),
            (3 | 4, Some(command)) => command.takes_argument(),
            (5, Some(command)) if command.takes_argument() => {
                let argument = [argument_high, argument_low];
                crc(argument) == checksum && self.execute_with(command, u16::from_be_bytes(argument), now)
            }
            _ => false,
        }
    }

    /// Takes a command, and does it unless its argument is still to come.
    fn accept(&mut self, command: Command, now: Duration) -> bool {
        if self.health.has(Fault::WrongId) {
            return false;
        }
        if command == Command::WakeUp {
            // Section 3.10.4: it works, but is not acknowledged.
            if self.asleep {
                self.asleep = false;
                self.busy_until = now + command.execution_time();
            }
            return false;
        }
        if self.asleep || (self.periodic.is_some() && !command.during_measurement()) {
            return false;
        }
        self.answer = None;
        if !command.needs_argument() && !self.health.has(Fault::ResetContents) {
            self.busy_until = now + command.execution_time();
            self.execute(command, now);
        }
        true
    }

    fn execute(&mut self, command: Command, now: Duration) {
        let answer: &[u16] = match command {
            Command::StartPeriodic => return self.start_periodic(INTERVAL, now),
            Command::StartLowPowerPeriodic => return self.start_periodic(LOW_POWER_INTERVAL, now),
            Command::StopPeriodic => {
                self.periodic = None;
                self.data = None;
                return;
            }
            Command::MeasureSingleShot => return self.data = self.single_shot(),
            // Section 3.10.2: without CO2, which reads 0.
            Command::MeasureSingleShotRhtOnly => {
                return self.data = self.single_shot().map(|[_, temperature, humidity]| [0, temperature, humidity]);
            }
            Command::ReadMeasurement => return self.answer = self.data.take().map(|words| Answer::new(&words)),
            Command::PersistSettings => return self.eeprom = self.settings,
            Command::FactoryReset => {
                self.eeprom = FACTORY;
                self.settings = FACTORY;
                self.recalibration_ppm = 0.0;
                return;
            }
            Command::Reinit => {
                self.settings = self.eeprom;
                self.pressure_hpa = 0;
                self.data = None;
                return;
            }
            Command::PowerDown => return self.asleep = true,
            Command::GetDataReady => &[if self.data.is_some() { READY } else { NOT_READY }],
            Command::GetTemperatureOffset => &[self.settings.temperature_offset],
            Command::GetAltitude => &[self.settings.altitude_m],
            Command::GetSelfCalibration => &[self.settings.self_calibration],
            Command::AmbientPressure => &[self.pressure_hpa],
            Command::GetSerialNumber => &SERIAL,
            Command::GetVariant => &[VARIANT],
            // Section 3.9.3: anything but 0 is a malfunction.
            Command::SelfTest => &[u16::from(self.health.has(Fault::Broken))],
            Command::WakeUp
            | Command::SetTemperatureOffset
            | Command::SetAltitude
            | Command::ForcedRecalibration
            | Command::SetSelfCalibration => return,
        };
        self.answer = Some(Answer::new(answer));
    }

    fn execute_with(&mut self, command: Command, argument: u16, now: Duration) -> bool {
        if self.health.has(Fault::ResetContents) {
            return true;
        }
        self.busy_until = now + command.execution_time();
        self.answer = None;
        match command {
            Command::SetTemperatureOffset => self.settings.temperature_offset = argument,
            Command::SetAltitude => self.settings.altitude_m = argument,
            Command::SetSelfCalibration => self.settings.self_calibration = u16::from(argument != 0),
            Command::AmbientPressure => self.pressure_hpa = argument,
            // Section 3.7.1: the correction, with 0x8000 for none.
            Command::ForcedRecalibration => {
                let [measured, ..] = self.measurement();
                let correction = f64::from(argument) - f64::from(measured);
                self.recalibration_ppm += correction;
                self.answer = Some(Answer::new(&[(correction + f64::from(0x8000_u16)) as u16]));
            }
            _ => {}
        }
        true
    }

    fn start_periodic(&mut self, interval: Duration, now: Duration) {
        self.data = None;
        self.periodic = Some(Periodic { interval, next: now + interval });
    }

    /// Nothing, if the chip never finishes.
    fn single_shot(&self) -> Option<[u16; 3]> {
        (!self.health.has(Fault::Busy)).then(|| self.measurement())
    }
}

/// The saturation vapour pressure over water at so many Cel, relative to that at 0 Cel (Magnus, WMO-No. 8 annex 4.B).
fn saturation(celsius: f64) -> f64 {
    let celsius = celsius.clamp(-60.0, 150.0);
    (17.62 * celsius / (243.12 + celsius)).exp()
}

impl Chip for Scd4x {
    fn model(&self) -> &'static str {
        "SCD41"
    }

    fn address(&self) -> u8 {
        0x62
    }

    fn start(&mut self, direction: Direction, now: Duration) -> bool {
        match self.health.power(now) {
            Power::Off => return false,
            Power::Restored => self.reset(now),
            Power::On => {}
        }
        // Section 3.3: while a command is being executed nothing is acknowledged.
        if now < self.busy_until {
            return false;
        }
        self.advance(now);
        self.received_count = 0;
        if direction == Direction::Read {
            self.sending = self.answer.take();
        }
        direction == Direction::Write || self.sending.is_some()
    }

    fn write(&mut self, byte: u8, now: Duration) -> bool {
        let Some(slot) = self.received.get_mut(self.received_count) else { return false };
        *slot = byte;
        self.received_count += 1;
        self.receive(now)
    }

    fn read(&mut self, _now: Duration) -> u8 {
        self.sending.as_mut().map_or(0xFF, |answer| answer.next(&self.health))
    }

    fn stop(&mut self, _now: Duration) {
        self.sending = None;
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.ambient.quantities()
    }

    fn set(&mut self, quantity: Quantity, value: f64) -> bool {
        self.ambient.set(quantity, value)
    }

    fn get(&self, quantity: Quantity) -> Option<f64> {
        self.ambient.get(quantity)
    }

    fn fault(&mut self, fault: Option<Fault>) {
        self.health.inject(fault);
        self.ambient.freeze(fault == Some(Fault::Stuck));
    }
}
