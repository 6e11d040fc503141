//! Sensirion SGP40 and SGP41: VOC index, and NOx index of the SGP41.
//!
//! After the SGP40 data sheet (version 1.2) and that of the SGP41 (version 1.0); tables are named where both have them. The chip
//! gives a raw signal, which is proportional to the logarithm of a resistance; the index is computed here (`gas_index`) from one
//! signal each second, which [`Driver::tend`] asks for. A sample gives the newest index, once.
//!
//! An index says how the air compares with that of the last day at this place, not how good it is. After a start it says nothing for
//! 45 s, then rises from 1 to the average in two minutes: until then it is suspect. The data sheets promise events to be seen after
//! 60 s and their tolerances to be kept after 1 h (VOC) and 6 h (NOx).
//!
//! A gap (the bus was held, the chip away) of up to five seconds is taken as if it had not been. After a longer one the algorithm is
//! reset, as Sensirion advises for an interruption, and what it learned is given to it again if it learned for three hours at least
//! and the interruption was shorter than ten minutes: so it is after a restart of the program. Then its first index counts. The NOx
//! index always begins anew.
//!
//! A signal that stands still is none: a chip's own noise moves it each second, and an index made of it would creep to the average and
//! look well for ever. When it moves again its algorithm begins anew.
//!
//! Both chips are at the same address. The command that tells them apart is not in the data sheets; Sensirion's SGP40 driver has it,
//! and ESPHome tells them apart by it.

mod element;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Flag, Quantity, Reason};

use super::gas_index::Learned;
use super::sensirion::{self, Link, Remembered};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;
use element::{Element, SETTLES_IN};

pub(crate) const SGP40_DATASHEET: Datasheet = Datasheet {
    name: "SGP40",
    members: &[],
    addresses: &[ADDRESS],
    quantities: &[Quantity::VOC_INDEX],
    warm_up: SETTLES_IN,
    min_interval: Duration::from_secs(1),
    tend_every: Some(Duration::from_secs(1)),
    own_waits: Duration::from_millis(60),
};

pub(crate) const SGP41_DATASHEET: Datasheet = Datasheet {
    name: "SGP41",
    quantities: &[Quantity::VOC_INDEX, Quantity::NOX_INDEX],
    own_waits: Duration::from_millis(80),
    ..SGP40_DATASHEET
};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// VOC.
    Sgp40,
    /// VOC and NOx.
    Sgp41,
}

const ADDRESS: u8 = 0x59;

// Commands ("Command set"), with the longest that they take ("Timing").
const SGP40_MEASURE_RAW: u16 = 0x260f;
const SGP40_MEASURE_MS: u32 = 30;
const SGP41_MEASURE_RAW: u16 = 0x2619;
const SGP41_CONDITION: u16 = 0x2612;
const SGP41_MEASURE_MS: u32 = 50;
const TURN_HEATER_OFF: u16 = 0x3615;
const GET_SERIAL: u16 = 0x3682;
const COMMAND_MS: u32 = 1;
const GET_FEATURE_SET: u16 = 0x202f;
const FEATURE_SET_MS: u32 = 10;

/// 50 %RH and 25 Cel, which the conditioning of a SGP41 always takes.
const UNCOMPENSATED: [u16; 2] = [0x8000, 0x6666];

/// The bits of the feature set that tell what the chip measures.
const FEATURES: u16 = 0x01ff;
const VOC: u16 = 0x0020;
const VOC_AND_NOX: u16 = 0x0040;

/// The NOx layer of a SGP41 is conditioned for ten seconds after its start, and not longer, for that damages it (SGP41 data sheet,
/// "Conditioning"). The last second is left to a late bus.
const CONDITIONING: Duration = Duration::from_secs(9);

/// The algorithm wants one signal a second; a gap that is shorter than its fastest filter's time constant by far hardly shows.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// Sensirion's advice on `set_states`: not after interruptions of more than ten minutes.
const LEARNED_LASTS: Duration = Duration::from_secs(600);
/// An index that is older than this when it is asked for is not given: it belongs to another sample.
const FRESH_FOR: Duration = Duration::from_secs(3);

/// What the memory of this layout begins with.
const MEMORY_VERSION: u8 = 1;

/// The driver.
pub struct Sgp4x<I2C, D> {
    link: Link<I2C, D>,
    part: Part,
    serial: [u16; 3],
    running: Option<Running>,
    learned: Option<Remembered<Knowledge>>,
}

/// What one chip's algorithm learned.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Knowledge {
    serial: [u16; 3],
    learned: Learned,
}

struct Running {
    started: Duration,
    measured: Duration,
    voc: Element,
    nox: Element,
    newest: Option<Vec<Measured>>,
}

impl<I2C: I2c, D: DelayNs> Sgp4x<I2C, D> {
    /// A driver; it does nothing yet. The chips have only one address.
    pub fn new(i2c: I2C, delay: D, part: Part) -> Self {
        Self { link: Link { i2c, delay, address: ADDRESS }, part, serial: [0; 3], running: None, learned: None }
    }

    fn recognize(&mut self) -> Result<[u16; 3], Failure> {
        let answer = self.link.ask(GET_FEATURE_SET, &[], FEATURE_SET_MS);
        let [feature_set] = answer.map_err(|failure| self.link.or_wrong_chip(failure, GET_FEATURE_SET))?;
        let wanted = match self.part {
            Part::Sgp40 => VOC,
            Part::Sgp41 => VOC_AND_NOX,
        };
        if feature_set & FEATURES != wanted {
            let detail = format!(
                "the chip says feature set 0x{feature_set:04x}; a SGP40's ends with 0x020, a SGP41's with 0x040"
            );
            return Err(Failure::new(Reason::WRONG_CHIP, detail));
        }
        self.link.ask(GET_SERIAL, &[], COMMAND_MS)
    }

    fn measure(&mut self, running: &mut Running, now: Duration, around: &Surroundings) -> Result<(), Failure> {
        let gap = now.saturating_sub(running.measured);
        if gap > LONGEST_GAP {
            let detail = format!("no signal for {} s; the algorithm is started again", gap.as_secs());
            return Err(Failure::new(Reason::NOT_READY, detail));
        }
        let (voc, nox) = self.raw(now.saturating_sub(running.started) < CONDITIONING, around)?;
        running.measured = now;
        let mut readings = vec![running.voc.take(voc, now)];
        if self.part == Part::Sgp41 {
            readings.push(running.nox.take(nox, now));
        }
        running.newest = Some(readings);
        if let Some(learned) = running.voc.learned(now) {
            self.learned = Some(Remembered::now(Knowledge { serial: self.serial, learned }, now));
        }
        Ok(())
    }

    /// The raw signals of VOC and NOx; 0 stands for none.
    fn raw(&mut self, condition: bool, around: &Surroundings) -> Result<(u16, u16), Failure> {
        let air = compensation(around);
        match self.part {
            Part::Sgp40 => {
                let [voc] = self.link.ask(SGP40_MEASURE_RAW, &air, SGP40_MEASURE_MS)?;
                Ok((voc, 0))
            }
            Part::Sgp41 if condition => {
                let [voc] = self.link.ask(SGP41_CONDITION, &UNCOMPENSATED, SGP41_MEASURE_MS)?;
                Ok((voc, 0))
            }
            Part::Sgp41 => {
                let [voc, nox] = self.link.ask(SGP41_MEASURE_RAW, &air, SGP41_MEASURE_MS)?;
                Ok((voc, nox))
            }
        }
    }
}

impl Running {
    fn new(now: Duration, learned: Option<Learned>) -> Self {
        Self { started: now, measured: now, voc: Element::voc(now, learned), nox: Element::nox(now), newest: None }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sgp4x<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.recognize().map(|serial| sensirion::hex(&serial))
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.running = None;
        self.serial = self.recognize()?;
        let serial = self.serial;
        let known = self.learned.as_mut().filter(|known| known.what.serial == serial);
        let learned = known.and_then(|known| known.within(LEARNED_LASTS, now)).map(|known| known.learned);
        self.running = Some(Running::new(now, learned));
        Ok(Some(sensirion::hex(&serial)))
    }

    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let Some(running) = &mut self.running else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        let age = now.saturating_sub(running.measured);
        if age > LONGEST_GAP {
            self.stop();
            return Err(Failure::new(
                Reason::NOT_READY,
                "the chip was not asked in time; the algorithm is started again",
            ));
        }
        let is_first = running.measured == running.started;
        match running.newest.take().filter(|_| age <= FRESH_FOR) {
            Some(newest) if newest.iter().any(|measured| measured.flag != Flag::MISSING) => Ok(newest),
            Some(newest) if newest.iter().any(|measured| measured.reason == Reason::FLAT_LINE) => Err(Failure::new(
                Reason::FLAT_LINE,
                "the raw signal stands still: take the chip's supply away for a moment",
            )),
            None if !is_first => Err(Failure::new(Reason::NOT_READY, "no new index since the last sample")),
            _ => Err(Failure::new(Reason::WARMING_UP, "the algorithm says nothing in its first 45 s")),
        }
    }

    fn tend(&mut self, now: Duration, around: &Surroundings) -> Result<(), Failure> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let outcome = self.measure(&mut running, now, around);
        self.running = Some(running);
        if outcome.is_err() {
            // A SGP41 must not be left conditioning, if it hears anything at all.
            self.stop();
        }
        outcome
    }

    fn memory(&self, now: Duration) -> Option<Vec<u8>> {
        let mut known = self.learned?;
        let Knowledge { serial, learned: Learned { mean, deviation } } = known.within(LEARNED_LASTS, now)?;
        let serial = serial.into_iter().flat_map(u16::to_be_bytes);
        let states = [mean, deviation].into_iter().flat_map(f32::to_be_bytes);
        Some([MEMORY_VERSION].into_iter().chain(serial).chain(states).collect())
    }

    fn restore(&mut self, memory: &[u8], age: Option<Duration>) {
        let (Some(age), &[MEMORY_VERSION, a, b, c, d, e, f, ref states @ ..]) = (age, memory) else { return };
        let &[g, h, i, j, k, l, m, n] = states else { return };
        let learned = Learned { mean: f32::from_be_bytes([g, h, i, j]), deviation: f32::from_be_bytes([k, l, m, n]) };
        if learned.mean.is_finite() && learned.deviation.is_finite() {
            let word = |high, low| u16::from_be_bytes([high, low]);
            let serial = [word(a, b), word(c, d), word(e, f)];
            self.learned = Some(Remembered::earlier(Knowledge { serial, learned }, age));
        }
    }

    fn stop(&mut self) {
        if self.running.take().is_some() {
            let _ = self.link.send(TURN_HEATER_OFF, &[], COMMAND_MS);
        }
    }
}

/// Humidity and temperature as the measuring commands take them ("Conversion of relative humidity and temperature into ticks"):
/// where either is unknown both are the defaults, which turn the compensation off.
fn compensation(around: &Surroundings) -> [u16; 2] {
    match around.humidity.zip(around.temperature) {
        Some((percent, celsius)) if percent.is_finite() && celsius.is_finite() => {
            [(percent / 100.0 * 65_535.0).round() as u16, ((celsius + 45.0) / 175.0 * 65_535.0).round() as u16]
        }
        _ => UNCOMPENSATED,
    }
}

#[cfg(test)]
mod tests;
