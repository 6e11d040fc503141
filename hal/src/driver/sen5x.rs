//! Sensirion SEN50, SEN54, SEN55: particulate matter; temperature, humidity and VOC index from the SEN54 on; NOx index of the SEN55.
//!
//! Section numbers are those of the SEN5x data sheet (version 2). The three are one interface at one address, where a SPS30 can be
//! too, and tell their name. They measure each second by themselves, across our restart too. What a part of the chip cannot tell is
//! missing or wrong by itself; the rest counts.
//!
//! The indices are computed in the chip, by the algorithm of `gas_index`, and reset by each start of the
//! measurement, unless the VOC algorithm's state is given back before it (section 6.1.11). Sensirion allows that after interruptions of
//! less than ten minutes, and for states of at least three hours. A chip that is found measuring does not tell how old its own state is,
//! and a young one would be taken for an old one: so only what we saw growing old is given back, and every other index begins anew.
//!
//! The data sheet does not say that a chip which measures refuses to tell its name and its serial number; hosts in the field (ESPHome
//! among them) stop it first. Who must not be stopped is known by the values that it has.
//!
//! Fan and laser never rest here: the chip's heat is part of how it computes temperature and humidity.

mod part;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Flag, Quantity, Reason};

use super::laser::{Laser, YEAR};
use super::sensirion::{self, Link, Remembered};
use super::{Driver, Failure, Measured, Surroundings};

pub use self::part::Part;
pub(crate) use self::part::{SEN50_DATASHEET, SEN54_DATASHEET, SEN55_DATASHEET};

const ADDRESS: u8 = 0x69;

// Commands, section 6.1, with the longest that they take, table 12. Sensirion's own driver gives the texts 50 ms.
const START: u16 = 0x0021;
const START_MS: u32 = 50;
const STOP: u16 = 0x0104;
const STOP_MS: u32 = 200;
const IS_DATA_READY: u16 = 0x0202;
const READ_VALUES: u16 = 0x03c4;
const VOC_STATE: u16 = 0x6181;
const READ_STATUS: u16 = 0xd206;
const CLEAR_STATUS: u16 = 0xd210;
const COMMAND_MS: u32 = 20;
const READ_NAME: u16 = 0xd014;
const READ_SERIAL: u16 = 0xd033;
const TEXT_MS: u32 = 50;

// Section 5.4. Failures stay in the register until it is cleared.
const FAN_SPEED: u32 = 1 << 21;
const FAN_CLEANS: u32 = 1 << 19;
const GAS_FAILED: u32 = 1 << 7;
const RHT_FAILED: u32 = 1 << 6;
const LASER_FAILED: u32 = 1 << 5;
const FAN_FAILED: u32 = 1 << 4;

/// What stands for a value that is not known (section 6.1.5).
const UNKNOWN_UNSIGNED: u16 = 0xffff;
const UNKNOWN_SIGNED: u16 = 0x7fff;

/// The first measurement comes a second after the start.
const FIRST_AFTER: Duration = Duration::from_secs(3);
/// The NOx index is not known for the first eleven seconds, an index not for the blackout of 45 s. What is not known later is broken.
const KNOWN_AFTER: Duration = Duration::from_secs(60);
/// Section 2.2, "Typical start-up time", at 50 to 100 particles in a cubic centimetre.
const FAN_SETTLES_IN: Duration = Duration::from_secs(30);
/// A new algorithm's index comes from 1 to the average in so long: see `sgp4x`.
const INDEX_SETTLES_IN: Duration = Duration::from_secs(180);

/// A state means something after this time of learning ...
const STATE_AFTER: Duration = Duration::from_secs(3 * 3600);
/// ... and is given back after no more than ten minutes, of which one may have passed before it was remembered.
const STATE_LASTS: Duration = Duration::from_secs(540);

/// Lifetime of the SEN5x: more than ten years of 24 hours a day (section 2.1, table 2).
const LIFE: Duration = YEAR.saturating_mul(10);

/// What the memory of this layout begins with.
const MEMORY_VERSION: u8 = 1;

/// The driver.
pub struct Sen5x<I2C, D> {
    link: Link<I2C, D>,
    part: Part,
    serial: String,
    measuring: Option<Measuring>,
    laser: Laser,
    /// The VOC algorithm's, of the chip with `serial`.
    state: Option<Remembered<[u16; 4]>>,
    earlier: Option<Earlier>,
}

/// What a chip says that is asked for its name.
enum Greeting {
    /// It is the right one, and this is its serial number.
    Serial(String),
    /// It measures, and so does not tell; its values are those of this part, if they are any.
    Measures(Option<Part>),
}

struct Measuring {
    started: Duration,
    /// When the chip last had something new, or was started.
    fresh: Duration,
    /// Whether the VOC algorithm was given back what it had learned.
    is_resumed: bool,
    /// When the algorithm's state means something.
    learned_at: Duration,
}

/// What an earlier run remembered, until the chip's serial number tells whether it is of this chip.
struct Earlier {
    serial: String,
    laser_on: Duration,
    state: Option<Remembered<[u16; 4]>>,
}

impl Measuring {
    /// A chip that measures has something new each second.
    fn must_have_news(&self, now: Duration) -> bool {
        now.saturating_sub(self.fresh) >= Duration::from_secs(2)
    }
}

impl<I2C: I2c, D: DelayNs> Sen5x<I2C, D> {
    /// A driver; it does nothing yet. The chips have only one address.
    pub fn new(i2c: I2C, delay: D, part: Part) -> Self {
        Self {
            link: Link { i2c, delay, address: ADDRESS },
            part,
            serial: String::new(),
            measuring: None,
            laser: Laser::new(LIFE),
            state: None,
            earlier: None,
        }
    }

    fn greet(&mut self) -> Result<Greeting, Failure> {
        match self.link.ask::<16>(READ_NAME, &[], TEXT_MS) {
            Ok(words) => {
                self.is_wanted(&sensirion::text(&words))?;
                self.read_serial().map(Greeting::Serial)
            }
            Err(failure) if [Reason::NO_ANSWER, Reason::NOT_READY].contains(&failure.reason) => {
                match self.link.ask::<8>(READ_VALUES, &[], COMMAND_MS) {
                    Ok(values) => Ok(Greeting::Measures(Part::that_measures(&values))),
                    Err(other) if other.reason == Reason::CHECKSUM => Err(other),
                    Err(_) => Err(self.link.or_wrong_chip(failure, READ_NAME)),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    fn is_wanted(&self, name: &str) -> Result<(), Failure> {
        let wanted = self.part.datasheet().name;
        if name == wanted {
            return Ok(());
        }
        Err(Failure::new(Reason::WRONG_CHIP, format!("the chip is a \"{name}\", not a \"{wanted}\"")))
    }

    fn read_serial(&mut self) -> Result<String, Failure> {
        Ok(sensirion::text(&self.link.ask::<16>(READ_SERIAL, &[], TEXT_MS)?))
    }

    fn begin(&mut self, now: Duration) -> Result<(), Failure> {
        let greeting = self.greet()?;
        self.link.send(STOP, &[], STOP_MS)?;
        let greeting = if let Greeting::Serial(_) = greeting { greeting } else { self.greet()? };
        let Greeting::Serial(serial) = greeting else {
            return Err(Failure::new(Reason::NOT_READY, "the chip was told to stop, and does not tell its name"));
        };
        self.adopt(serial);
        let remembered = self.state.as_mut().and_then(|state| state.within(STATE_LASTS, now));
        if let Some(state) = remembered {
            self.link.send(VOC_STATE, &state, COMMAND_MS)?;
        }
        self.link.send(CLEAR_STATUS, &[], COMMAND_MS)?;
        self.link.send(START, &[], START_MS)?;
        self.laser.is_on(now);
        self.measuring = Some(Measuring {
            started: now,
            fresh: now,
            is_resumed: remembered.is_some(),
            learned_at: if remembered.is_some() { now } else { now + STATE_AFTER },
        });
        Ok(())
    }

    /// Another chip than the last one has another laser and another algorithm.
    fn adopt(&mut self, serial: String) {
        if self.serial != serial {
            self.serial = serial;
            self.laser = Laser::new(LIFE);
            self.state = None;
        }
        if let Some(earlier) = self.earlier.take_if(|earlier| earlier.serial == self.serial) {
            self.laser.add(earlier.laser_on);
            self.state = earlier.state;
        }
    }

    fn is_data_ready(&mut self) -> Result<bool, Failure> {
        let [ready] = self.link.ask(IS_DATA_READY, &[], COMMAND_MS)?;
        Ok(ready & 0xff == 1)
    }

    fn status(&mut self) -> Result<u32, Failure> {
        let [high, low] = self.link.ask(READ_STATUS, &[], COMMAND_MS)?;
        Ok(u32::from(high) << 16 | u32::from(low))
    }

    fn measure(&mut self, measuring: &mut Measuring, now: Duration) -> Result<Vec<Measured>, Failure> {
        if !self.is_data_ready()? {
            return Err(self.nothing_new(measuring, now));
        }
        let words = self.link.ask::<8>(READ_VALUES, &[], COMMAND_MS)?;
        let status = self.status()?;
        measuring.fresh = now;
        self.laser.is_on(now);
        if status & (GAS_FAILED | RHT_FAILED | LASER_FAILED | FAN_FAILED) != 0 {
            // So that the next sample tells whether it is still so.
            self.link.send(CLEAR_STATUS, &[], COMMAND_MS)?;
        }
        let readings = self.part.datasheet().quantities.iter();
        let readings = readings.map(|&quantity| judge(quantity, &words, status, measuring, now));
        let readings: Vec<_> = readings.map(|measured| self.by_age(measured)).collect();
        if readings.iter().all(|measured| measured.flag == Flag::MISSING) {
            return Err(Failure::new(Reason::NOT_READY, "the chip knows none of its values"));
        }
        Ok(readings)
    }

    fn by_age(&self, measured: Measured) -> Measured {
        if is_particles(measured.quantity) { self.laser.judge(measured) } else { measured }
    }

    fn nothing_new(&mut self, measuring: &Measuring, now: Duration) -> Failure {
        if now.saturating_sub(measuring.started) < FIRST_AFTER {
            return Failure::new(Reason::WARMING_UP, "the first measurement is not ready yet");
        }
        if !measuring.must_have_news(now) {
            return Failure::new(Reason::NOT_READY, "no new measurement since the last sample");
        }
        match self.status() {
            Ok(status) if status & FAN_CLEANS != 0 => {
                Failure::new(Reason::CLEANING, "the chip blows the dust out of its fan, for ten seconds")
            }
            Ok(_) => Failure::new(Reason::NOT_READY, "the chip does not measure any more; it is started again"),
            Err(failure) => failure,
        }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sen5x<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        match self.greet()? {
            Greeting::Serial(serial) => Ok(serial),
            Greeting::Measures(Some(part)) => self.is_wanted(part.datasheet().name).map(|()| String::new()),
            Greeting::Measures(None) => Err(Failure::new(
                Reason::NOT_READY,
                "a SEN5x that measures and has no values yet, so cannot be told from its sisters",
            )),
        }
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.measuring = None;
        self.laser.is_off();
        self.begin(now)?;
        Ok(Some(self.serial.clone()))
    }

    fn is_running(&self) -> bool {
        self.measuring.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let Some(mut measuring) = self.measuring.take() else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        let outcome = self.measure(&mut measuring, now);
        let wants_time = |failure: &Failure| match failure.reason {
            Reason::WARMING_UP | Reason::CLEANING => true,
            Reason::NOT_READY => !measuring.must_have_news(now),
            _ => false,
        };
        if outcome.as_ref().err().is_none_or(wants_time) {
            self.measuring = Some(measuring);
        } else {
            self.laser.is_off();
        }
        outcome
    }

    fn tend(&mut self, now: Duration, _around: &Surroundings) -> Result<(), Failure> {
        if self.part.has_voc() && self.measuring.as_ref().is_some_and(|measuring| now >= measuring.learned_at) {
            // Its failure is the next sample's business.
            let state = self.link.ask(VOC_STATE, &[], COMMAND_MS)?;
            self.state = Some(Remembered::now(state, now));
        }
        Ok(())
    }

    fn memory(&self, now: Duration) -> Option<Vec<u8>> {
        if self.serial.is_empty() {
            return None;
        }
        let mut state = self.state;
        let state = state.as_mut().and_then(|state| state.within(STATE_LASTS, now)).unwrap_or_default();
        let bytes = self.laser.seconds().to_be_bytes().into_iter().chain(state.into_iter().flat_map(u16::to_be_bytes));
        Some([MEMORY_VERSION].into_iter().chain(bytes).chain(self.serial.bytes()).collect())
    }

    fn restore(&mut self, memory: &[u8], age: Option<Duration>) {
        let &[MEMORY_VERSION, a, b, c, d, s, t, u, v, w, x, y, z, ref serial @ ..] = memory else { return };
        let word = |high, low| u16::from_be_bytes([high, low]);
        let state = [word(s, t), word(u, v), word(w, x), word(y, z)];
        let age = age.filter(|_| state != [0; 4]);
        self.earlier = Some(Earlier {
            serial: String::from_utf8_lossy(serial).into_owned(),
            laser_on: Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into()),
            state: age.map(|age| Remembered::earlier(state, age)),
        });
    }

    fn stop(&mut self) {
        if self.measuring.take().is_some() {
            self.laser.is_off();
            let _ = self.link.send(STOP, &[], STOP_MS);
        }
    }
}

/// Whether a signed word stands for nothing known. The data sheet says 0xffff, which is a temperature of -0.005 Cel too, Sensirion's
/// driver 0x7fff: both are taken.
fn is_unknown(word: u16) -> bool {
    word == UNKNOWN_SIGNED || word == UNKNOWN_UNSIGNED
}

fn is_particles(quantity: Quantity) -> bool {
    SEN50_DATASHEET.quantities.contains(&quantity)
}

/// One value of the eight words, section 6.1.5, and what the status register says of the part that measured it.
fn judge(quantity: Quantity, words: &[u16; 8], status: u32, measuring: &Measuring, now: Duration) -> Measured {
    let &[pm1, pm2_5, pm4, pm10, humidity, temperature, voc, nox] = words;
    let (word, scale, range) = match quantity {
        Quantity::PM1 => (pm1, 10.0, 0.0..=1000.0),
        Quantity::PM2_5 => (pm2_5, 10.0, 0.0..=1000.0),
        Quantity::PM4 => (pm4, 10.0, 0.0..=1000.0),
        Quantity::PM10 => (pm10, 10.0, 0.0..=1000.0),
        Quantity::HUMIDITY => (humidity, 100.0, 0.0..=100.0),
        // Section 2.5.1: beyond, the chip must not be operated.
        Quantity::TEMPERATURE => (temperature, 200.0, -10.0..=50.0),
        Quantity::VOC_INDEX => (voc, 10.0, 1.0..=500.0),
        _ => (nox, 10.0, 1.0..=500.0),
    };
    let (is_unknown, value) = if is_particles(quantity) {
        (word == UNKNOWN_UNSIGNED, f32::from(word))
    } else {
        (is_unknown(word), f32::from(word.cast_signed()))
    };
    let is_index = [Quantity::VOC_INDEX, Quantity::NOX_INDEX].contains(&quantity);
    let since = now.saturating_sub(measuring.started);
    // An algorithm in its blackout has the index 0.
    if is_unknown || (is_index && word == 0) {
        let reason = if since < KNOWN_AFTER { Reason::WARMING_UP } else { Reason::SENSOR_FAULT };
        return Measured::missing(quantity, reason);
    }
    let measured = Measured::within(quantity, value / scale, range);
    let (broken, doubtful, settles_in) = match quantity {
        Quantity::TEMPERATURE | Quantity::HUMIDITY => (RHT_FAILED, 0, Duration::ZERO),
        // Its compensation needs temperature and humidity.
        Quantity::VOC_INDEX if measuring.is_resumed => (GAS_FAILED, RHT_FAILED, Duration::ZERO),
        _ if is_index => (GAS_FAILED, RHT_FAILED, INDEX_SETTLES_IN),
        _ => (FAN_FAILED | LASER_FAILED, FAN_SPEED, FAN_SETTLES_IN),
    };
    if status & broken != 0 {
        return Measured { flag: Flag::FAIL, reason: Reason::SENSOR_FAULT, ..measured };
    }
    if status & doubtful != 0 {
        return measured.suspect(Reason::SENSOR_FAULT);
    }
    if is_particles(quantity) && status & FAN_CLEANS != 0 {
        return measured.suspect(Reason::CLEANING);
    }
    if since < settles_in {
        return measured.suspect(Reason::WARMING_UP);
    }
    // Not one particle: hardly outdoors, but what a chip says that does not get going.
    let is_empty = [pm1, pm2_5, pm4, pm10] == [0; 4];
    if is_particles(quantity) && is_empty { measured.suspect(Reason::RESET_PATTERN) } else { measured }
}

#[cfg(test)]
mod tests;
