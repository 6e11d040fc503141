//! Sensirion SHT40, SHT41, SHT45: temperature, humidity.
//!
//! Section numbers are those of the SHT4x data sheet (version 6.5). The heater is never switched on.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::Quantity;
use sensirion_i2c::i2c::{read_words_with_crc, write_command_u8};

use super::{Driver, Failure, Measured, sensirion};

// Commands, section 4.5.
const MEASURE_HIGH_PRECISION: u8 = 0xfd;
const READ_SERIAL: u8 = 0x89;
const SOFT_RESET: u8 = 0x94;

/// A measurement at high repeatability takes 8.3 ms at most (section 3.1, table 5).
const MEASURE_MS: u32 = 9;
/// A soft reset takes 1 ms at most (the same table); reading the serial number is as quick.
const COMMAND_MS: u32 = 2;

/// Relative humidity may come out this far outside 0 to 100 % at the accuracy of the chip (section 2.1); section 4.6 says
/// to crop it.
const CROPPED_PERCENT: f32 = 3.0;

/// The driver.
pub struct Sht4x<I2C, D> {
    i2c: I2C,
    delay: D,
    address: u8,
    running: bool,
}

/// The serial number of the chip at `address`. The command is a single byte, which other chips take for a register number.
pub(super) fn identify(i2c: &mut impl I2c, delay: &mut impl DelayNs, address: u8) -> Result<String, Failure> {
    let answer = command(i2c, delay, address, READ_SERIAL, COMMAND_MS);
    let answer = answer.map_err(|failure| sensirion::or_wrong_chip(failure, i2c, address))?;
    let [a, b, _, c, d, _] = answer;
    Ok(format!("{:08x}", u32::from_be_bytes([a, b, c, d])))
}

/// Sends a command and reads the two words of its answer.
fn command(
    i2c: &mut impl I2c,
    delay: &mut impl DelayNs,
    address: u8,
    command: u8,
    wait_ms: u32,
) -> Result<[u8; 6], Failure> {
    let mut answer = [0; 6];
    write_command_u8(i2c, address, command).map_err(|error| Failure::of_bus(&error))?;
    delay.delay_ms(wait_ms);
    read_words_with_crc(i2c, address, &mut answer).map_err(sensirion::explain)?;
    Ok(answer)
}

impl<I2C: I2c, D: DelayNs> Sht4x<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Self {
        Self { i2c, delay, address, running: false }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sht4x<I2C, D> {
    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        write_command_u8(&mut self.i2c, self.address, SOFT_RESET)
            .map_err(|error| sensirion::or_wrong_chip(Failure::of_bus(&error), &mut self.i2c, self.address))?;
        self.delay.delay_ms(COMMAND_MS);
        let serial = identify(&mut self.i2c, &mut self.delay, self.address)?;
        self.running = true;
        Ok(Some(serial))
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn sample(&mut self, _now: Duration) -> Result<Vec<Measured>, Failure> {
        let answer = command(&mut self.i2c, &mut self.delay, self.address, MEASURE_HIGH_PRECISION, MEASURE_MS);
        self.running = answer.is_ok();
        let [t_msb, t_lsb, _, rh_msb, rh_lsb, _] = answer?;
        Ok(convert(u16::from_be_bytes([t_msb, t_lsb]), u16::from_be_bytes([rh_msb, rh_lsb])))
    }

    /// Between two measurements the chip idles by itself.
    fn stop(&mut self) {
        self.running = false;
    }
}

/// Section 4.6, formulas 1 and 2.
fn convert(temperature: u16, humidity: u16) -> Vec<Measured> {
    let celsius = -45.0 + 175.0 * f32::from(temperature) / 65535.0;
    let percent = -6.0 + 125.0 * f32::from(humidity) / 65535.0;
    let cropped = percent.clamp(0.0, 100.0);
    let percent = if (percent - cropped).abs() <= CROPPED_PERCENT { cropped } else { percent };
    vec![
        Measured::within(Quantity::TEMPERATURE, celsius, -40.0..=125.0),
        Measured::within(Quantity::HUMIDITY, percent, 0.0..=100.0),
    ]
}
