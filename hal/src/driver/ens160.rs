//! ScioSense ENS160: TVOC, equivalent CO2.
//!
//! Section numbers are those of the ENS160 data sheet (revision 0.95). Checked against ScioSense's, DFRobot's, Zephyr's and Adafruit's
//! drivers.
//!
//! The checksum, DATA_MISR, goes on over every byte that is read, and neither a reset nor reading it starts it anew (section 16.2.14
//! speaks of one transaction; others measured it: `nevermore` and Zephyr). So it is read right before and right after the data.
//! The flag for new data is cleared by reading the status, so status and data are read as one.
//!
//! The chip says of itself how far to trust it. It learns its baseline by itself and keeps it: for its first hours of life, and for
//! three minutes after each power-on, what it says is not good. A chip that is measuring is left to it when the program starts.

#[cfg(test)]
mod tests;

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "ENS160",
    members: &[],
    addresses: &[0x53, 0x52],
    quantities: &[Quantity::TVOC, Quantity::ECO2],
    // Section 10.2. A new chip needs an hour (section 10.1), and says so by itself.
    warm_up: Duration::from_secs(180),
    // It measures once a second by its own clock.
    min_interval: Duration::from_secs(2),
    tend_every: None,
    own_waits: Duration::from_millis(100),
};

// Registers, section 16.1.
const PART_ID: u8 = 0x00;
const OPMODE: u8 = 0x10;
const TEMP_IN: u8 = 0x13;
const RH_IN: u8 = 0x15;
/// The status, then the index of the air's quality, TVOC, equivalent CO2.
const DATA: u8 = 0x20;
const DATA_MISR: u8 = 0x38;

/// Little-endian: 0x0160.
const ENS160_ID: [u8; 2] = [0x60, 0x01];

// Operating modes, section 16.2.2.
const IDLE: u8 = 0x01;
const STANDARD: u8 = 0x02;
const RESET: u8 = 0xf0;
/// After a change of the mode; ScioSense's driver waits 10 ms, DFRobot's 20 ms.
const MODE_MS: u32 = 20;

// DEVICE_STATUS, section 16.2.7.
const STATUS_ERROR: u8 = 1 << 6;
const STATUS_NEW_DATA: u8 = 1 << 1;
const STATUS_VALIDITY: u8 = 0b11 << 2;
const WARM_UP: u8 = 1 << 2;
const INITIAL_START_UP: u8 = 2 << 2;
const NO_VALID_OUTPUT: u8 = 3 << 2;

/// Without new data for longer than this the chip does not measure any more. The first data may take a second or two.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// The driver.
pub struct Ens160<I2C, D> {
    i2c: I2C,
    delay: D,
    address: u8,
    /// When the chip last had something new, or was started; `None` while it does not run.
    heard: Option<Duration>,
    /// Whether it had something since it was started.
    has_measured: bool,
    /// Whether the chip needs a reset before it can be trusted again, which costs its warm-up.
    needs_reset: bool,
}

impl<I2C: I2c, D: DelayNs> Ens160<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Self {
        Self { i2c, delay, address, heard: None, has_measured: false, needs_reset: false }
    }

    fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], Failure> {
        let mut answer = [0; N];
        self.i2c.write_read(self.address, &[register], &mut answer).map_err(|error| Failure::of_bus(&error))?;
        Ok(answer)
    }

    fn write<const N: usize>(&mut self, bytes: [u8; N]) -> Result<(), Failure> {
        self.i2c.write(self.address, &bytes).map_err(|error| Failure::of_bus(&error))
    }

    fn check_id(&mut self) -> Result<(), Failure> {
        match self.read(PART_ID)? {
            ENS160_ID => Ok(()),
            [low, high] => {
                let detail = format!("the part id says 0x{high:02x}{low:02x}, an ENS160's says 0x0160");
                Err(Failure::new(Reason::WRONG_CHIP, detail))
            }
        }
    }

    fn set_mode(&mut self, mode: u8) -> Result<(), Failure> {
        self.write([OPMODE, mode])?;
        self.delay.delay_ms(MODE_MS);
        Ok(())
    }

    fn check_mode(&mut self) -> Result<(), Failure> {
        match self.read(OPMODE)? {
            [STANDARD] => Ok(()),
            [other] => {
                let detail =
                    format!("the chip is in mode 0x{other:02x} and not measuring: it was reset, or hangs in reset");
                Err(Failure::new(Reason::RESET_PATTERN, detail))
            }
        }
    }

    /// Tells the chip what the air is like, as far as somebody knows; what it was told before stays (sections 16.2.5 and 16.2.6).
    fn tell(&mut self, around: &Surroundings) -> Result<(), Failure> {
        if let Some(celsius) = around.temperature {
            let [low, high] = fixed(celsius + 273.15, 64.0);
            self.write([TEMP_IN, low, high])?;
        }
        if let Some(percent) = around.humidity {
            let [low, high] = fixed(percent.clamp(0.0, 100.0), 512.0);
            self.write([RH_IN, low, high])?;
        }
        Ok(())
    }

    fn measure(&mut self, around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        // Somebody may have swapped the chip.
        self.check_id()?;
        self.check_mode()?;
        self.tell(around)?;
        let [before] = self.read(DATA_MISR)?;
        let data: [u8; 6] = self.read(DATA)?;
        let [after] = self.read(DATA_MISR)?;
        if misr(before, &data) != after {
            return Err(Failure::new(Reason::CHECKSUM, "the checksum of the data does not match"));
        }
        self.needs_reset = data[0] & STATUS_ERROR != 0;
        convert(&data)
    }

    /// Whether the chip can go on as it is after this failure.
    fn endures(&mut self, failure: &Failure, heard: Duration, now: Duration) -> bool {
        match failure.reason {
            Reason::WARMING_UP | Reason::SENSOR_FAULT => self.heard = Some(now),
            Reason::NOT_READY => self.needs_reset |= now.saturating_sub(heard) > LONGEST_SILENCE,
            Reason::RESET_PATTERN => self.needs_reset = true,
            _ => return false,
        }
        !self.needs_reset
    }
}

/// In fixed point, little-endian, no further than it goes.
fn fixed(value: f32, steps: f32) -> [u8; 2] {
    ((value * steps).round() as u16).to_le_bytes()
}

/// The checksum after these bytes (section 16.2.14): x^8 + x^4 + x^3 + x^2 + 1.
fn misr(before: u8, bytes: &[u8]) -> u8 {
    bytes.iter().fold(before, |misr, byte| (misr << 1) ^ byte ^ if misr & 0x80 == 0 { 0 } else { 0x1d })
}

fn convert(&[status, index, tvoc_low, tvoc_high, eco2_low, eco2_high]: &[u8; 6]) -> Result<Vec<Measured>, Failure> {
    let validity = status & STATUS_VALIDITY;
    if status & STATUS_ERROR != 0 {
        return Err(Failure::new(Reason::SENSOR_FAULT, "the chip says that it has an error"));
    }
    if validity == NO_VALID_OUTPUT {
        return Err(Failure::new(Reason::SENSOR_FAULT, "the chip says that its output is not valid"));
    }
    if status & STATUS_NEW_DATA == 0 {
        return Err(Failure::new(Reason::NOT_READY, "the chip has nothing new"));
    }
    let warms_up = matches!(validity, WARM_UP | INITIAL_START_UP);
    let (tvoc, eco2) = (u16::from_le_bytes([tvoc_low, tvoc_high]), u16::from_le_bytes([eco2_low, eco2_high]));
    // The index goes from 1 to 5, and equivalent CO2 begins at 400 ppm (section 6): zeros are what a reset leaves.
    if index == 0 || eco2 == 0 {
        return Err(match warms_up {
            true => Failure::new(Reason::WARMING_UP, "the chip warms up and has no value yet"),
            false => Failure::new(Reason::RESET_PATTERN, "the data registers hold what a reset leaves in them"),
        });
    }
    let readings = [
        Measured::within(Quantity::TVOC, tvoc.into(), 0.0..=65_000.0),
        Measured::within(Quantity::ECO2, eco2.into(), 400.0..=65_000.0),
    ];
    Ok(readings.map(|measured| if warms_up { measured.suspect(Reason::WARMING_UP) } else { measured }).to_vec())
}

impl<I2C: I2c, D: DelayNs> Driver for Ens160<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.check_id().map(|()| String::new())
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.heard = None;
        self.check_id()?;
        if self.needs_reset || self.check_mode().is_err() {
            // From idle alone into the others (section 16.2.2).
            for mode in [RESET, IDLE, STANDARD] {
                self.set_mode(mode)?;
            }
            self.check_mode()?;
        }
        self.needs_reset = false;
        self.has_measured = false;
        self.heard = Some(now);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.heard.is_some()
    }

    fn sample(&mut self, now: Duration, around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let Some(heard) = self.heard else {
            return Err(Failure::new(Reason::NOT_READY, "the chip is not started"));
        };
        let outcome = self.measure(around);
        match outcome {
            Ok(_) => (self.heard, self.has_measured) = (Some(now), true),
            Err(ref failure) if self.endures(failure, heard, now) => {
                if failure.reason == Reason::NOT_READY && !self.has_measured {
                    return Err(Failure::new(Reason::WARMING_UP, "the first measurement has not ended yet"));
                }
            }
            Err(_) => self.heard = None,
        }
        outcome
    }

    /// It goes on measuring: what it learns, and its warmth, would be lost.
    fn stop(&mut self) {
        self.heard = None;
    }
}
