//! Sensirion SGP30: TVOC and the CO2 that it estimates from it.
//!
//! After the SGP30 data sheet (version 1.0, May 2020), section 6.3. The chip's own algorithm wants to be
//! asked for a measurement each second, which [`Driver::tend`] does; a sample gives the newest, once. It compares the air with a
//! baseline that it learns, in twelve hours at first. The baseline survives a restart if it is no older than a week.
//!
//! The data sheet does not say what a longer gap does to the algorithm. After ten seconds without a measurement (the bus was held,
//! the chip away) it is started anew with its baseline, so that a value is never the answer to a state that nobody knows.
//!
//! The chip does not tell that its power was away for less than a second, between two measurements: it then answers without an
//! algorithm behind it, with the 400 ppm and 0 ppb of its first seconds, which clean air has too. Only that it has no baseline then
//! shows it, and so that is asked for whenever the values are these. Sensirion's driver says that a chip may have none in its first
//! hour either; these values are suspect then.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::sensirion::{self, Link, Remembered};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SGP30",
    members: &[],
    addresses: &[0x58],
    quantities: &[Quantity::TVOC, Quantity::ECO2],
    warm_up: INITIALIZATION,
    min_interval: Duration::from_secs(1),
    tend_every: Some(Duration::from_secs(1)),
    own_waits: Duration::from_millis(60),
};

const ADDRESS: u8 = 0x58;

// Commands with the longest that they take, table 10.
const INIT_AIR_QUALITY: u16 = 0x2003;
const MEASURE_AIR_QUALITY: u16 = 0x2008;
const GET_BASELINE: u16 = 0x2015;
const SET_BASELINE: u16 = 0x201e;
const SET_HUMIDITY: u16 = 0x2061;
const GET_FEATURE_SET: u16 = 0x202f;
const GET_SERIAL: u16 = 0x3682;
const COMMAND_MS: u32 = 10;
const MEASURE_MS: u32 = 12;
const SERIAL_MS: u32 = 1;

/// "Feature Set": product type 0 in the upper four bits. Before version 0x20 the commands were others.
const PRODUCT_TYPE: u16 = 0;
const OLDEST_VERSION: u16 = 0x20;

/// For 15 s after its start the chip answers 400 ppm and 0 ppb, whatever the air. The start is some transfers later than the time
/// that is counted from, so a second more is waited.
const INITIALIZATION: Duration = Duration::from_secs(16);
const INITIAL_ECO2: u16 = 400;
const INITIAL_TVOC: u16 = 0;

/// Until its first baseline means something (driver integration guide: "early operation phase").
const LEARNS_FOR: Duration = Duration::from_secs(12 * 3600);
/// How often a baseline is read that means something (the same).
const BASELINE_EVERY: Duration = Duration::from_secs(3600);
/// An older baseline is not set any more (the same).
const BASELINE_LASTS: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a longer time between two measurements makes of the algorithm is unknown.
const LONGEST_GAP: Duration = Duration::from_secs(10);
/// A measurement that is older than this when it is asked for is not given: it belongs to another sample.
const FRESH_FOR: Duration = Duration::from_secs(3);

/// Absolute humidity is told anew when it is this far from what the chip has, in 1/256 g/m3.
const HUMIDITY_STEP: u16 = 26;

/// What the memory of this layout begins with.
const MEMORY_VERSION: u8 = 1;

/// The driver.
pub struct Sgp30<I2C, D> {
    link: Link<I2C, D>,
    serial: [u16; 3],
    running: Option<Running>,
    baseline: Option<Remembered<Baseline>>,
}

/// As the chip gives it; its order in the command that sets it is the other one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Baseline {
    serial: [u16; 3],
    eco2: u16,
    tvoc: u16,
}

struct Running {
    started: Duration,
    measured: Duration,
    newest: Option<Vec<Measured>>,
    /// What the chip was told, 1/256 g/m3; 0 for nothing.
    humidity: u16,
    baseline_due: Duration,
    /// Whether the chip has shown that its algorithm runs, by other values than the initial ones or by a baseline.
    is_alive: bool,
}

impl<I2C: I2c, D: DelayNs> Sgp30<I2C, D> {
    /// A driver; it does nothing yet. The chip has only one address.
    pub fn new(i2c: I2C, delay: D) -> Self {
        Self { link: Link { i2c, delay, address: ADDRESS }, serial: [0; 3], running: None, baseline: None }
    }

    fn recognize(&mut self) -> Result<[u16; 3], Failure> {
        let answer = self.link.ask(GET_FEATURE_SET, &[], COMMAND_MS);
        let [feature_set] = answer.map_err(|failure| self.link.or_wrong_chip(failure, GET_FEATURE_SET))?;
        if feature_set >> 12 != PRODUCT_TYPE || feature_set & 0xff < OLDEST_VERSION {
            let detail = format!("the chip says feature set 0x{feature_set:04x}, a SGP30 0x0020 to 0x00ff");
            return Err(Failure::new(Reason::WRONG_CHIP, detail));
        }
        self.link.ask(GET_SERIAL, &[], SERIAL_MS)
    }

    fn begin(&mut self, now: Duration) -> Result<(), Failure> {
        self.serial = self.recognize()?;
        self.link.send(INIT_AIR_QUALITY, &[], COMMAND_MS)?;
        let serial = self.serial;
        let known = self.baseline.as_mut().filter(|known| known.what.serial == serial);
        let known = known.and_then(|known| known.within(BASELINE_LASTS, now));
        if let Some(Baseline { eco2, tvoc, .. }) = known {
            self.link.send(SET_BASELINE, &[tvoc, eco2], COMMAND_MS)?;
        }
        self.running = Some(Running {
            started: now,
            measured: now,
            newest: None,
            humidity: 0,
            baseline_due: now + if known.is_some() { BASELINE_EVERY } else { LEARNS_FOR },
            is_alive: known.is_some(),
        });
        Ok(())
    }

    fn measure(&mut self, running: &mut Running, now: Duration, around: &Surroundings) -> Result<(), Failure> {
        let gap = now.saturating_sub(running.measured);
        if gap > LONGEST_GAP {
            let detail = format!("no measurement for {} s; the chip's algorithm is started again", gap.as_secs());
            return Err(Failure::new(Reason::NOT_READY, detail));
        }
        let humidity = absolute_humidity(around);
        if (humidity == 0) != (running.humidity == 0) || humidity.abs_diff(running.humidity) >= HUMIDITY_STEP {
            self.link.send(SET_HUMIDITY, &[humidity], COMMAND_MS)?;
            running.humidity = humidity;
        }
        let [eco2, tvoc] = self.link.ask(MEASURE_AIR_QUALITY, &[], MEASURE_MS)?;
        running.measured = now;
        if now < running.started + INITIALIZATION {
            return Ok(());
        }
        let is_initial = (eco2, tvoc) == (INITIAL_ECO2, INITIAL_TVOC);
        running.is_alive |= !is_initial;
        let mut readings = convert(eco2, tvoc);
        if (is_initial || now >= running.baseline_due) && !self.has_baseline(running, now)? {
            readings = readings.into_iter().map(|measured| measured.suspect(Reason::RESET_PATTERN)).collect();
        }
        running.newest = Some(readings);
        Ok(())
    }

    /// Whether the chip has a baseline, which is remembered when it is time.
    fn has_baseline(&mut self, running: &mut Running, now: Duration) -> Result<bool, Failure> {
        let [eco2, tvoc] = self.link.ask(GET_BASELINE, &[], COMMAND_MS)?;
        let has_baseline = (eco2, tvoc) != (0, 0);
        if running.is_alive && !has_baseline {
            return Err(Failure::new(
                Reason::RESET_PATTERN,
                "the chip has lost its baseline, and so its power; it is started again",
            ));
        }
        running.is_alive |= has_baseline;
        if now >= running.baseline_due && has_baseline {
            running.baseline_due = now + BASELINE_EVERY;
            self.baseline = Some(Remembered::now(Baseline { serial: self.serial, eco2, tvoc }, now));
        }
        Ok(has_baseline)
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sgp30<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.recognize().map(|serial| sensirion::hex(&serial))
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.running = None;
        self.begin(now)?;
        Ok(Some(sensirion::hex(&self.serial)))
    }

    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let Some(running) = &mut self.running else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        if now < running.started + INITIALIZATION {
            return Err(Failure::new(Reason::WARMING_UP, "for 15 s the chip answers the same whatever the air"));
        }
        let age = now.saturating_sub(running.measured);
        if age > LONGEST_GAP {
            self.running = None;
            return Err(Failure::new(Reason::NOT_READY, "the chip was not asked in time; it is started again"));
        }
        let newest = running.newest.take().filter(|_| age <= FRESH_FOR);
        newest.ok_or_else(|| Failure::new(Reason::NOT_READY, "no new measurement since the last sample"))
    }

    fn tend(&mut self, now: Duration, around: &Surroundings) -> Result<(), Failure> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        self.measure(&mut running, now, around)?;
        self.running = Some(running);
        Ok(())
    }

    fn memory(&self, _now: Duration) -> Option<Vec<u8>> {
        let Baseline { serial, eco2, tvoc } = self.baseline.as_ref()?.what;
        let words = serial.into_iter().chain([eco2, tvoc]).flat_map(u16::to_be_bytes);
        Some([MEMORY_VERSION].into_iter().chain(words).collect())
    }

    fn restore(&mut self, memory: &[u8], age: Option<Duration>) {
        let (Some(age), &[MEMORY_VERSION, a, b, c, d, e, f, g, h, i, j]) = (age, memory) else { return };
        let word = |high, low| u16::from_be_bytes([high, low]);
        let baseline = Baseline { serial: [word(a, b), word(c, d), word(e, f)], eco2: word(g, h), tvoc: word(i, j) };
        self.baseline = Some(Remembered::earlier(baseline, age));
    }

    /// The chip has no command that turns its heater off but the reset of everybody on the bus.
    fn stop(&mut self) {
        self.running = None;
    }
}

/// Table 2: the ranges of the air quality signals.
fn convert(eco2: u16, tvoc: u16) -> Vec<Measured> {
    vec![
        Measured::within(Quantity::TVOC, f32::from(tvoc), 0.0..=60_000.0),
        Measured::within(Quantity::ECO2, f32::from(eco2), 400.0..=60_000.0),
    ]
}

/// "Humidity Compensation": absolute humidity in 1/256 g/m3, by the approximation of the driver integration guide; 0, which turns
/// the compensation off, where temperature or humidity is unknown.
fn absolute_humidity(around: &Surroundings) -> u16 {
    let Some((celsius, percent)) = around.temperature.zip(around.humidity) else { return 0 };
    let pressure_hpa = percent / 100.0 * 6.112 * (17.62 * celsius / (243.12 + celsius)).exp();
    let grams = 216.7 * pressure_hpa / (273.15 + celsius);
    if grams.is_finite() { ((grams * 256.0).round() as u16).max(1) } else { 0 }
}

#[cfg(test)]
mod tests;
