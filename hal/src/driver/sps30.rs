//! Sensirion SPS30: particulate matter.
//!
//! Section numbers are those of the SPS30 data sheet (version 2.0). The chip measures each second by itself, across our restart too.
//! Its fan and laser are what ages, so where samples are five minutes apart or more they rest in between and start half a minute
//! before each sample, which the data sheet gives as the time to a stable measurement in the cleanest air.
//!
//! Once a week of measuring the chip blows the dust out of its fan, for ten seconds in which it has nothing new (section 4.2). Where
//! it rests it hardly measures, and is told to once a week. Nothing in the chip says that it is cleaning: a cleaning that it begins
//! by itself is a measurement that is not ready. If there is none for longer than a cleaning takes, the chip was reset or hangs.
//!
//! A chip that another program put to sleep is woken by a start. A scan does not find it: to wake whoever does not answer would
//! be to write to strangers. We never put it to sleep ourselves; idle it takes 0.3 mA.

mod memory;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::laser::{Laser, YEAR};
use super::sensirion::{self, Link};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;
use memory::Memory;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SPS30",
    members: &[],
    addresses: &[ADDRESS],
    quantities: &[Quantity::PM1, Quantity::PM2_5, Quantity::PM4, Quantity::PM10],
    // Section 1.1, "Typical start-up time", at 50 to 100 particles in a cubic centimetre.
    warm_up: Duration::from_secs(30),
    min_interval: Duration::from_secs(1),
    tend_every: Some(Duration::from_secs(1)),
    own_waits: Duration::from_millis(200),
};

const ADDRESS: u8 = 0x69;

// Commands, section 6.3, table 8.
const START: u16 = 0x0010;
const FLOATS: u16 = 0x0300;
const STOP: u16 = 0x0104;
const IS_DATA_READY: u16 = 0x0202;
const READ_VALUES: u16 = 0x0300;
const WAKE_UP: u16 = 0x1103;
const CLEAN: u16 = 0x5607;
const READ_PRODUCT_TYPE: u16 = 0xd002;
const READ_SERIAL: u16 = 0xd033;
const READ_VERSION: u16 = 0xd100;
const READ_STATUS: u16 = 0xd206;
const CLEAR_STATUS: u16 = 0xd210;
const START_STOP_MS: u32 = 20;
/// The longest that the others take; reading takes no time.
const COMMAND_MS: u32 = 5;

/// Section 6.3.9.
const PRODUCT_TYPE: &str = "00080000";
/// The first firmware with a status register (table 8).
const STATUS_SINCE: u16 = 0x0202;

// Section 4.4.
const FAN_SPEED: u32 = 1 << 21;
const LASER_FAILED: u32 = 1 << 5;
const FAN_FAILED: u32 = 1 << 4;

/// The first measurement comes a second after the start (section 4.1).
const FIRST_AFTER: Duration = Duration::from_secs(3);
/// Cleaning takes ten seconds (section 4.2); who has nothing new for longer does not measure.
const LOST_AFTER: Duration = Duration::from_secs(13);
const CLEANING: Duration = Duration::from_secs(13);
/// Section 4.2: "at least every week".
const CLEAN_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where samples are at least so far apart, fan and laser rest in between: they run a tenth of the time, or less.
const REST_FROM: Duration = Duration::from_secs(300);
/// How long before a sample they start: the warm-up, and two turns of the caller's.
const LEAD: Duration = Duration::from_secs(32);

/// Section 1.1, "Lifetime": more than ten years of 24 hours a day.
const LIFE: Duration = YEAR.saturating_mul(10);

/// The driver.
pub struct Sps30<I2C, D> {
    link: Link<I2C, D>,
    serial: String,
    has_status: bool,
    state: State,
    laser: Laser,
    cleaned: Cleaned,
    /// What an earlier run remembered, until the chip's serial number tells whether it is of this chip.
    earlier: Option<Memory>,
    /// When the last sample was taken, which tells when the next one will be.
    sampled: Duration,
}

#[derive(Clone, Copy)]
enum State {
    Stopped,
    /// Fan and laser are off until the next sample comes near.
    Resting,
    Measuring(Measuring),
}

#[derive(Clone, Copy)]
struct Measuring {
    started: Duration,
    /// When it last had something new, or was started.
    fresh: Duration,
    /// Since when something new is missing that should be there.
    missing: Option<Duration>,
    cleaning_until: Option<Duration>,
}

/// How long ago the fan was cleaned, as far as is known.
#[derive(Clone, Copy)]
struct Cleaned {
    ago: Duration,
    at: Duration,
}

impl<I2C: I2c, D: DelayNs> Sps30<I2C, D> {
    /// A driver; it does nothing yet. The chip has only one address.
    pub fn new(i2c: I2C, delay: D) -> Self {
        Self {
            link: Link { i2c, delay, address: ADDRESS },
            serial: String::new(),
            has_status: false,
            state: State::Stopped,
            laser: Laser::new(LIFE),
            cleaned: Cleaned { ago: Duration::ZERO, at: Duration::ZERO },
            earlier: None,
            sampled: Duration::ZERO,
        }
    }

    fn recognize(&mut self) -> Result<(), Failure> {
        let words = self.link.ask::<4>(READ_PRODUCT_TYPE, &[], COMMAND_MS)?;
        match sensirion::text(&words) {
            product if product == PRODUCT_TYPE => Ok(()),
            product => {
                let detail = format!("the chip calls itself \"{product}\", a SPS30 \"{PRODUCT_TYPE}\"");
                Err(Failure::new(Reason::WRONG_CHIP, detail))
            }
        }
    }

    fn read_serial(&mut self) -> Result<String, Failure> {
        Ok(sensirion::text(&self.link.ask::<16>(READ_SERIAL, &[], COMMAND_MS)?))
    }

    /// Section 6.3.6: the first of two wake-up commands is lost on a chip that sleeps, but makes it listen.
    fn wake(&mut self) -> Result<(), Failure> {
        let _ = self.link.send(WAKE_UP, &[], 0);
        self.link.send(WAKE_UP, &[], COMMAND_MS)
    }

    fn begin(&mut self, now: Duration) -> Result<(), Failure> {
        let awake = match self.recognize() {
            Err(failure) if failure.reason == Reason::NO_ANSWER => {
                let woken = self.wake().and_then(|()| self.recognize());
                // What it said at first is the truth about a chip that cannot be woken.
                if woken.is_ok() { woken } else { Err(failure) }
            }
            outcome => outcome,
        };
        awake.map_err(|failure| self.link.or_wrong_chip(failure, READ_PRODUCT_TYPE))?;
        self.serial = self.read_serial()?;
        let [version] = self.link.ask(READ_VERSION, &[], COMMAND_MS)?;
        self.has_status = version >= STATUS_SINCE;
        self.link.send(STOP, &[], START_STOP_MS)?;
        if self.has_status {
            // A failure of the fan stays in the register for ever otherwise (section 4.4).
            self.link.send(CLEAR_STATUS, &[], COMMAND_MS)?;
        }
        if self.is_data_ready()? {
            // It is of before the stop.
            self.read_values()?;
        }
        self.run(now)
    }

    fn run(&mut self, now: Duration) -> Result<(), Failure> {
        self.link.send(START, &[FLOATS], START_STOP_MS)?;
        self.laser.is_on(now);
        self.state = State::Measuring(Measuring { started: now, fresh: now, missing: None, cleaning_until: None });
        Ok(())
    }

    fn rest(&mut self, now: Duration) -> Result<(), Failure> {
        self.laser.is_on(now);
        self.laser.is_off();
        self.state = State::Resting;
        self.link.send(STOP, &[], START_STOP_MS)
    }

    fn is_data_ready(&mut self) -> Result<bool, Failure> {
        let [ready] = self.link.ask(IS_DATA_READY, &[], COMMAND_MS)?;
        Ok(ready & 0xff == 1)
    }

    /// The four mass concentrations, which come first (section 4.3).
    fn read_values(&mut self) -> Result<[u16; 8], Failure> {
        self.link.ask(READ_VALUES, &[], COMMAND_MS)
    }

    /// Why the values cannot be trusted, by what the chip says of itself.
    fn fault(&mut self) -> Result<Option<Reason>, Failure> {
        if !self.has_status {
            return Ok(None);
        }
        let [high, low] = self.link.ask(READ_STATUS, &[], COMMAND_MS)?;
        let status = u32::from(high) << 16 | u32::from(low);
        if status & (FAN_FAILED | LASER_FAILED) != 0 {
            let part = if status & FAN_FAILED != 0 { "fan stands still" } else { "laser's current is out of range" };
            return Err(Failure::new(Reason::SENSOR_FAULT, format!("the chip says that its {part}")));
        }
        Ok((status & FAN_SPEED != 0).then_some(Reason::SENSOR_FAULT))
    }

    fn measure(&mut self, measuring: &mut Measuring, now: Duration) -> Result<Vec<Measured>, Failure> {
        if measuring.cleaning_until.is_some_and(|until| now < until) {
            return Err(Failure::new(Reason::CLEANING, "the chip blows the dust out of its fan, for ten seconds"));
        }
        if !self.is_data_ready()? {
            return Err(measuring.nothing_new(now));
        }
        let values = self.read_values()?;
        measuring.fresh = now;
        measuring.missing = None;
        let is_cold = now < measuring.started + DATASHEET.warm_up;
        let fault = self.fault()?;
        self.laser.is_on(now);
        let doubt = fault.or(is_cold.then_some(Reason::WARMING_UP));
        Ok(convert(values, doubt).into_iter().map(|measured| self.laser.judge(measured)).collect())
    }

    /// Whether fan and laser may be off now.
    fn may_rest(&self, now: Duration, interval: Duration) -> bool {
        interval >= REST_FROM && now + LEAD < self.sampled + interval
    }

    fn look_after(&mut self, now: Duration, interval: Duration) -> Result<(), Failure> {
        match self.state {
            State::Stopped => Ok(()),
            State::Resting if self.may_rest(now, interval) => Ok(()),
            State::Resting => self.run(now),
            State::Measuring(measuring) => self.look_after_measuring(measuring, now, interval),
        }
    }

    fn look_after_measuring(
        &mut self,
        mut measuring: Measuring,
        now: Duration,
        interval: Duration,
    ) -> Result<(), Failure> {
        self.laser.is_on(now);
        let is_cleaning = measuring.cleaning_until.is_some_and(|until| now < until);
        if let Some(since) = measuring.missing
            && !is_cleaning
        {
            if self.is_data_ready()? {
                measuring.missing = None;
            } else if now.saturating_sub(since) > LOST_AFTER {
                return Err(Failure::new(Reason::NOT_READY, "the chip does not measure any more; it is started again"));
            }
        }
        // Only after the sample for which it was started.
        if self.may_rest(now, interval) && self.sampled > measuring.started && !is_cleaning {
            if self.cleaned.age(now) < CLEAN_EVERY {
                return self.rest(now);
            }
            self.link.send(CLEAN, &[], COMMAND_MS)?;
            self.cleaned = Cleaned { ago: Duration::ZERO, at: now };
            measuring.cleaning_until = Some(now + CLEANING);
        }
        self.state = State::Measuring(measuring);
        Ok(())
    }

    fn adopt_earlier(&mut self, now: Duration) {
        if let Some(earlier) = self.earlier.take_if(|earlier| earlier.serial == self.serial) {
            self.laser.add(earlier.laser_on);
            self.cleaned = Cleaned { ago: earlier.cleaned_ago, at: now };
        }
    }
}

impl Measuring {
    fn nothing_new(&mut self, now: Duration) -> Failure {
        if now.saturating_sub(self.started) < FIRST_AFTER {
            return Failure::new(Reason::WARMING_UP, "the first measurement is not ready yet");
        }
        if now.saturating_sub(self.fresh) < DATASHEET.min_interval + Duration::from_secs(1) {
            return Failure::new(Reason::NOT_READY, "no new measurement since the last sample");
        }
        self.missing.get_or_insert(now);
        Failure::new(
            Reason::NOT_READY,
            "nothing new for longer than a second: the chip cleans its fan, or was reset, or hangs",
        )
    }
}

impl Cleaned {
    fn age(&self, now: Duration) -> Duration {
        self.ago + now.saturating_sub(self.at)
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sps30<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.recognize().map_err(|failure| self.link.or_wrong_chip(failure, READ_PRODUCT_TYPE))?;
        self.read_serial()
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.state = State::Stopped;
        self.laser.is_off();
        self.begin(now)?;
        self.adopt_earlier(now);
        Ok(Some(self.serial.clone()))
    }

    fn is_running(&self) -> bool {
        !matches!(self.state, State::Stopped)
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        self.sampled = now;
        let outcome = match self.state {
            State::Stopped => Err(Failure::new(Reason::NOT_READY, "the chip is not started")),
            State::Resting => self.run(now).and_then(|()| {
                Err(Failure::new(Reason::WARMING_UP, "the fan was at rest for a sample much later; it starts now"))
            }),
            State::Measuring(mut measuring) => {
                let outcome = self.measure(&mut measuring, now);
                self.state = State::Measuring(measuring);
                outcome
            }
        };
        if let Err(failure) = &outcome
            && ![Reason::WARMING_UP, Reason::CLEANING, Reason::NOT_READY].contains(&failure.reason)
        {
            self.state = State::Stopped;
            self.laser.is_off();
        }
        outcome
    }

    fn tend(&mut self, now: Duration, around: &Surroundings) -> Result<(), Failure> {
        let outcome = self.look_after(now, around.interval);
        if outcome.is_err() {
            self.state = State::Stopped;
            self.laser.is_off();
        }
        outcome
    }

    fn memory(&self, now: Duration) -> Option<Vec<u8>> {
        if self.serial.is_empty() {
            return None;
        }
        let (laser_on, cleaned_ago) = (self.laser.on(), self.cleaned.age(now));
        Some(Memory { serial: self.serial.clone(), laser_on, cleaned_ago }.to_bytes())
    }

    fn restore(&mut self, memory: &[u8], age: Option<Duration>) {
        let earlier = Memory::from_bytes(memory);
        self.earlier =
            earlier.map(|known| Memory { cleaned_ago: known.cleaned_ago + age.unwrap_or_default(), ..known });
    }

    fn stop(&mut self) {
        if self.is_running() {
            self.state = State::Stopped;
            self.laser.is_off();
            let _ = self.link.send(STOP, &[], START_STOP_MS);
        }
    }
}

/// Sections 1.1 and 4.3.
fn convert(words: [u16; 8], doubt: Option<Reason>) -> Vec<Measured> {
    let values = [0, 2, 4, 6].map(|at| sensirion::float(words[at], words[at + 1]));
    // Not one particle: hardly outdoors, but what a chip says that does not get going.
    let is_empty = values.iter().all(|value| *value == 0.0);
    let doubt = doubt.or(is_empty.then_some(Reason::RESET_PATTERN));
    let judge = |(&quantity, value)| {
        let measured = Measured::within(quantity, value, 0.0..=1000.0);
        doubt.map_or(measured, |reason| measured.suspect(reason))
    };
    DATASHEET.quantities.iter().zip(values).map(judge).collect()
}

#[cfg(test)]
mod tests;
