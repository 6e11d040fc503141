//! Plantower PMSA003I: particulate matter.
//!
//! The chip measures by itself and has its newest frame ready at all times: 32 bytes, "Transport protocol - I2C" in the
//! PMSA003I data manual. With steady air the frame changes every 2.3 s, so two samples closer together may well be equal.
//! It cannot be reset and has no serial number.

use std::time::Duration;

use embedded_hal::i2c::I2c;
use reading::{Flag, Quantity, Reason};

use super::{Driver, Failure, Measured};
use crate::model::Model;

const FRAME_BYTES: usize = 32;
/// Start bytes, and the 28 bytes that follow the length.
const HEADER: [u8; 4] = [0x42, 0x4d, 0, 28];

/// Where the concentrations "under atmospheric environment" are; those before them are for calibration with CF=1 particles.
const PM1: usize = 10;
const PM2_5: usize = 12;
const PM10: usize = 14;
const ERROR_CODE: usize = 29;
const CHECKSUM: usize = 30;

/// "Effective range" in the data manual's technical index: beyond it the accuracy is not stated.
const EFFECTIVE: f32 = 500.0;
/// "Maximum range" of the same.
const MAXIMUM: f32 = 1000.0;

/// The driver.
pub struct Pmsa003i<I2C> {
    i2c: I2C,
    address: u8,
    /// Since when frames come without a break, as far as we saw: the fan may have started only then.
    blowing_since: Option<Duration>,
}

/// Whether frames come from `address`. Reading sends the chip nothing.
pub(super) fn identify(i2c: &mut impl I2c, address: u8) -> Result<String, Failure> {
    read_frame(i2c, address).map(|_| String::new())
}

fn read_frame(i2c: &mut impl I2c, address: u8) -> Result<[u8; FRAME_BYTES], Failure> {
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
        Self { i2c, address, blowing_since: None }
    }

    fn frame(&mut self) -> Result<[u8; FRAME_BYTES], Failure> {
        let frame = read_frame(&mut self.i2c, self.address).map_err(|failure| match failure.reason {
            // We know the chip: this is a frame that was torn.
            Reason::WRONG_CHIP if self.blowing_since.is_some() => Failure { reason: Reason::CHECKSUM, ..failure },
            _ => failure,
        })?;
        match frame[ERROR_CODE] {
            0 => Ok(frame),
            code => Err(Failure::new(Reason::SENSOR_FAULT, format!("the chip reports error code 0x{code:02x}"))),
        }
    }
}

impl<I2C: I2c> Driver for Pmsa003i<I2C> {
    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.frame()?;
        self.blowing_since = Some(now);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.blowing_since.is_some()
    }

    fn sample(&mut self, now: Duration) -> Result<Vec<Measured>, Failure> {
        let outcome = self.frame();
        if outcome.as_ref().is_err_and(|failure| failure.reason == Reason::NO_ANSWER) {
            self.blowing_since = None;
        }
        let frame = outcome?;
        let cold = self.blowing_since.is_none_or(|since| now < since + Model::Pmsa003i.warm_up());
        let readings = [(Quantity::PM1, PM1), (Quantity::PM2_5, PM2_5), (Quantity::PM10, PM10)];
        Ok(readings.into_iter().map(|(quantity, at)| judge(quantity, word(&frame, at), cold)).collect())
    }

    /// The fan goes on: the chip takes no commands over I2C.
    fn stop(&mut self) {
        self.blowing_since = None;
    }
}

fn judge(quantity: Quantity, micrograms: u16, cold: bool) -> Measured {
    let mut measured = Measured::within(quantity, f32::from(micrograms), 0.0..=MAXIMUM);
    if cold {
        measured = measured.suspect(Reason::WARMING_UP);
    }
    if measured.value > EFFECTIVE && measured.flag == Flag::GOOD {
        measured.suspect(Reason::OUT_OF_RANGE)
    } else {
        measured
    }
}
