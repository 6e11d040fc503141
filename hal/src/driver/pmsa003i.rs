//! Plantower PMSA003I: particulate matter.
//!
//! The chip measures by itself and has its newest frame ready at all times: 32 bytes, "Transport protocol - I2C" in the
//! PMSA003I data manual. With steady air the frame changes every 2.3 s, so two samples closer together may well be equal.
//! It cannot be reset and has no serial number, so the hours of its laser, which is on whenever the chip is, are counted for whoever is
//! at the address.
//!
//! # The fan
//! Nothing in a frame tells that the power was away for a moment, and for half a minute after that the values are too small. So the
//! frames are looked at between samples too, not one of them missed, and what a fan that stood still leads to counts as that: no
//! answer, no particle, or less than half the particles at once, which smoke that the wind takes away looks like as well. Where nobody
//! looked for longer, the fan may have started meanwhile.

use std::time::Duration;

use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::laser::{Laser, YEAR};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "PMSA003I",
    members: &[],
    addresses: &[0x12],
    quantities: &[Quantity::PM1, Quantity::PM2_5, Quantity::PM10],
    // The fan needs 30 s to bring a steady flow of air (data manual, "Circuit attentions"), and the frame may be of a while ago.
    warm_up: Duration::from_millis(30_000 + FRAME_MS),
    min_interval: Duration::from_millis(FRAME_MS),
    // Before a frame of steady air gives way to the next.
    tend_every: Some(Duration::from_secs(2)),
    own_waits: Duration::from_millis(50),
};

/// A steady air gives a new frame so often (data manual, "Transport protocol").
const FRAME_MS: u64 = 2300;

const FRAME_BYTES: usize = 32;
/// Start bytes, and the 28 bytes that follow the length.
const HEADER: [u8; 4] = [0x42, 0x4d, 0, 28];

/// Where the concentrations "under atmospheric environment" are; those before them are for calibration with CF=1 particles.
const PM1: usize = 10;
const PM2_5: usize = 12;
const PM10: usize = 14;
/// The number of all particles from 0.3 um on in 0.1 l of air.
const PARTICLES: usize = 16;
/// Before it, the concentrations and the counts of particles.
const VERSION: usize = 28;
const ERROR_CODE: usize = 29;
const CHECKSUM: usize = 30;

/// "Effective range" in the data manual's technical index: beyond it the accuracy is not stated.
const EFFECTIVE: f32 = 500.0;
/// "Maximum range" of the same.
const MAXIMUM: f32 = 1000.0;

/// A fan that started unseen has less than a quarter of its flow after this time, so that the particles have fallen by more than half
/// unless the air got twice as dusty meanwhile. A busy machine may miss two looks.
const LONGEST_GAP: Duration = Duration::from_secs(7);
/// From so many particles in 0.1 l on a fall by half is none of chance (a tenth of them is). So many weigh less than 1 ug/m3, which is
/// what the chip tells apart.
const FALL_FROM: u16 = 100;

/// "Mean time to failure": three years or more, the data manual's only number for it.
const LIFE: Duration = YEAR.saturating_mul(3);

/// What the memory of this layout begins with.
const MEMORY_VERSION: u8 = 1;

/// The driver.
pub struct Pmsa003i<I2C> {
    i2c: I2C,
    address: u8,
    laser: Laser,
    fan: Option<Fan>,
}

/// What the frames show of the fan.
#[derive(Clone, Copy)]
struct Fan {
    /// When it may have started.
    started: Duration,
    /// When the last frame was read, and what it counted.
    seen: Duration,
    particles: u16,
}

/// Whether frames come from `address`. Reading sends the chip nothing.
fn identify(i2c: &mut impl I2c, address: u8) -> Result<String, Failure> {
    read_frame(i2c, address).map(|_| String::new())
}

/// Reads a frame, twice if need be: one frame may be torn; another chip says the same again.
fn read_frame(i2c: &mut impl I2c, address: u8) -> Result<[u8; FRAME_BYTES], Failure> {
    match read_once(i2c, address) {
        Err(failure) if failure.reason == Reason::WRONG_CHIP => read_once(i2c, address),
        outcome => outcome,
    }
}

fn read_once(i2c: &mut impl I2c, address: u8) -> Result<[u8; FRAME_BYTES], Failure> {
    let mut frame = [0; FRAME_BYTES];
    i2c.read(address, &mut frame).map_err(|error| Failure::of_bus(&error))?;
    if !frame.starts_with(&HEADER) {
        let detail = format!("the answer begins with {:02x?}, a PMSA003I's with {HEADER:02x?}", &frame[..4]);
        return Err(Failure::new(Reason::WRONG_CHIP, detail));
    }
    let sum: u16 = frame[..CHECKSUM].iter().map(|byte| u16::from(*byte)).sum();
    if sum != word(&frame, CHECKSUM) {
        return Err(Failure::new(Reason::CHECKSUM, "the frame's checksum does not match"));
    }
    Ok(frame)
}

fn word(frame: &[u8; FRAME_BYTES], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

impl<I2C: I2c> Pmsa003i<I2C> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, address: u8) -> Self {
        Self { i2c, address, laser: Laser::new(LIFE), fan: None }
    }

    /// A frame, and the fan as it is after it.
    fn look(&mut self, now: Duration) -> Result<([u8; FRAME_BYTES], Fan), Failure> {
        let read = read_frame(&mut self.i2c, self.address);
        if read.as_ref().is_err_and(|failure| [Reason::NO_ANSWER, Reason::WRONG_CHIP].contains(&failure.reason)) {
            self.fan = None;
            self.laser.is_off();
        }
        let frame = read?;
        self.laser.is_on(now);
        let particles = word(&frame, PARTICLES);
        let blows_on = self.fan.filter(|fan| !is_empty(&frame) && fan.blows_on(particles, now));
        let fan = Fan { started: blows_on.map_or(now, |fan| fan.started), seen: now, particles };
        self.fan = Some(fan);
        Ok((frame, fan))
    }
}

impl Fan {
    /// Whether it must have been on all the time, by what it brings now.
    fn blows_on(&self, particles: u16, now: Duration) -> bool {
        let has_fallen = self.particles >= FALL_FROM && particles < self.particles / 2;
        !has_fallen && now.saturating_sub(self.seen) <= LONGEST_GAP
    }
}

/// Not one particle in a decilitre: hardly outdoors. A chip that does not get going says so too, and one whose power was away for a
/// moment.
fn is_empty(frame: &[u8; FRAME_BYTES]) -> bool {
    frame[HEADER.len()..VERSION].iter().all(|byte| *byte == 0)
}

impl<I2C: I2c> Driver for Pmsa003i<I2C> {
    fn identify(&mut self) -> Result<String, Failure> {
        identify(&mut self.i2c, self.address)
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.fan = None;
        self.laser.is_off();
        self.look(now).map(|_| None)
    }

    fn is_running(&self) -> bool {
        self.fan.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let (frame, fan) = self.look(now)?;
        if frame[ERROR_CODE] != 0 {
            let detail = format!("the chip reports error code 0x{:02x}", frame[ERROR_CODE]);
            return Err(Failure::new(Reason::SENSOR_FAULT, detail));
        }
        let readings = [(Quantity::PM1, PM1), (Quantity::PM2_5, PM2_5), (Quantity::PM10, PM10)];
        let is_cold = now < fan.started + DATASHEET.warm_up;
        let doubt = match is_empty(&frame) {
            true => Some(Reason::RESET_PATTERN),
            false => is_cold.then_some(Reason::WARMING_UP),
        };
        let judge = |(quantity, at)| self.laser.judge(judge(quantity, word(&frame, at), doubt));
        Ok(readings.into_iter().map(judge).collect())
    }

    fn tend(&mut self, now: Duration, _around: &Surroundings) -> Result<(), Failure> {
        if self.fan.is_some() { self.look(now).map(drop) } else { Ok(()) }
    }

    fn memory(&self, _now: Duration) -> Option<Vec<u8>> {
        Some([MEMORY_VERSION].into_iter().chain(self.laser.seconds().to_be_bytes()).collect())
    }

    fn restore(&mut self, memory: &[u8], _age: Option<Duration>) {
        if let &[MEMORY_VERSION, a, b, c, d] = memory {
            self.laser.add(Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into()));
        }
    }

    /// The fan goes on: the chip takes no commands over I2C.
    fn stop(&mut self) {
        self.fan = None;
        self.laser.is_off();
    }
}

fn judge(quantity: Quantity, micrograms: u16, doubt: Option<Reason>) -> Measured {
    let measured = Measured::within(quantity, f32::from(micrograms), 0.0..=MAXIMUM);
    match doubt {
        Some(reason) => measured.suspect(reason),
        None if measured.value > EFFECTIVE => measured.suspect(Reason::OUT_OF_RANGE),
        None => measured,
    }
}

#[cfg(test)]
mod tests;
