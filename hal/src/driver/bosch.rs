//! What Bosch's BMP280, BME280, BME680 and BME688 have in common: registers behind one pointer, an id at one place, measurements
//! that are ordered one by one, and no checksum.
//!
//! Without a checksum a torn answer looks like a value. So whatever becomes a value is read twice, the second time in other pieces:
//! an answer that breaks off does not break off at the same byte then.

#[cfg(test)]
pub(super) mod fake;

use embedded_hal::i2c::I2c;
use reading::{Flag, Quantity, Reason};

use super::{Failure, Measured};

/// The addresses that one pin chooses from.
pub(super) const ADDRESSES: &[u8] = &[0x76, 0x77];

const ID: u8 = 0xd0;
const RESET: u8 = 0xe0;
const RESET_WORD: u8 = 0xb6;

pub(super) const BMP280_ID: u8 = 0x58;
pub(super) const BME280_ID: u8 = 0x60;
/// A BME680 and a BME688 share it.
pub(super) const BME68X_ID: u8 = 0x61;

/// What the data registers hold from a reset to the first conversion: pressure, temperature, humidity.
const RESET_DATA: [u8; 8] = [0x80, 0, 0, 0x80, 0, 0, 0x80, 0];

/// The registers of the chip at an address.
pub(super) struct Registers<I2C> {
    i2c: I2C,
    address: u8,
}

impl<I2C: I2c> Registers<I2C> {
    pub(super) fn new(i2c: I2C, address: u8) -> Self {
        Self { i2c, address }
    }

    /// Whether the chip with this id is here, or which other one.
    pub(super) fn identify(&mut self, wanted: u8) -> Result<(), Failure> {
        let [id] = self.read(ID)?;
        if id == wanted {
            return Ok(());
        }
        let detail = match id {
            BMP280_ID => "a BMP280 is here, which measures no humidity".to_owned(),
            BME280_ID => "a BME280 is here".to_owned(),
            BME68X_ID => "a BME680 or BME688 is here".to_owned(),
            other => format!("the id register says 0x{other:02x}, and should say 0x{wanted:02x}"),
        };
        Err(Failure::new(Reason::WRONG_CHIP, detail))
    }

    /// Orders a reset. The chip does not answer for some milliseconds after it.
    pub(super) fn reset(&mut self) -> Result<(), Failure> {
        self.write(RESET, RESET_WORD)
    }

    pub(super) fn write(&mut self, register: u8, value: u8) -> Result<(), Failure> {
        self.i2c.write(self.address, &[register, value]).map_err(|error| Failure::of_bus(&error))
    }

    pub(super) fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], Failure> {
        let mut answer = [0; N];
        self.i2c.write_read(self.address, &[register], &mut answer).map_err(|error| Failure::of_bus(&error))?;
        Ok(answer)
    }

    /// Reads once as a whole, and once more in two pieces, which are joined after `joint` bytes.
    pub(super) fn read_twice<const N: usize>(&mut self, register: u8, joint: u8) -> Result<[u8; N], Failure> {
        let first: [u8; N] = self.read(register)?;
        let mut again = [0; N];
        let (left, right) = again.split_at_mut_checked(usize::from(joint)).unwrap_or_default();
        for (start, piece) in [(register, left), (register.saturating_add(joint), right)] {
            self.i2c.write_read(self.address, &[start], piece).map_err(|error| Failure::of_bus(&error))?;
        }
        if first != again {
            let detail = format!("what is at 0x{register:02x} reads differently the second time");
            return Err(Failure::new(Reason::CHECKSUM, detail));
        }
        Ok(first)
    }
}

/// Pressure, temperature and, where there is one, humidity, as they lie in the data registers of all these chips: 20 bits, 20 bits,
/// 16 bits. Refuses what cannot be a measurement.
pub(super) fn codes(data: &[u8]) -> Result<(u32, u32, Option<u16>), Failure> {
    let (pressure, temperature, humidity) = match *data {
        [p0, p1, p2, t0, t1, t2] => ([p0, p1, p2], [t0, t1, t2], None),
        [p0, p1, p2, t0, t1, t2, h0, h1] => ([p0, p1, p2], [t0, t1, t2], Some([h0, h1])),
        _ => return Err(Failure::new(Reason::CHECKSUM, "the answer has not the length that was asked for")),
    };
    // The low bits of both `xlsb` registers are zero, those of an idle bus are not.
    if (pressure[2] | temperature[2]) & 0x0f != 0 {
        return Err(Failure::new(Reason::CHECKSUM, "the answer breaks off in the middle"));
    }
    // One value alone may well have this code; two never have.
    let unmeasured = [0..3, 3..6, 6..8]
        .into_iter()
        .filter(|part| data.get(part.clone()).is_some_and(|data| Some(data) == RESET_DATA.get(part.clone())));
    if unmeasured.count() > 1 {
        return Err(Failure::new(Reason::RESET_PATTERN, "the data registers hold what a reset leaves in them"));
    }
    let wide = |[high, middle, low]: [u8; 3]| u32::from_be_bytes([0, high, middle, low]) >> 4;
    Ok((wide(pressure), wide(temperature), humidity.map(u16::from_be_bytes)))
}

/// A value that is wrong where it lies on or beyond the ends of what the chip can measure: the arithmetic stops there.
pub(super) fn inside(quantity: Quantity, value: f64, low: f64, high: f64) -> Measured {
    if value > low && value < high {
        return Measured::good(quantity, value as f32);
    }
    Measured { quantity, value: value as f32, flag: Flag::FAIL, reason: Reason::OUT_OF_RANGE }
}

/// Every value is computed with the temperature: one that is wrong takes the others with it.
pub(super) fn spoiled_by_temperature(mut readings: Vec<Measured>) -> Vec<Measured> {
    let is_wrong = |measured: &Measured| measured.quantity == Quantity::TEMPERATURE && measured.flag == Flag::FAIL;
    if readings.iter().any(is_wrong) {
        for measured in &mut readings {
            (measured.flag, measured.reason) = (Flag::FAIL, Reason::OUT_OF_RANGE);
        }
    }
    readings
}

/// What is written does not stay, or does not stay for long.
pub(super) fn lost_configuration() -> Failure {
    Failure::new(Reason::RESET_PATTERN, "the chip does not hold its configuration: it was reset, or hangs in reset")
}
