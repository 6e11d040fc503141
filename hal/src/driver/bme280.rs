//! Bosch BME280: temperature, humidity, pressure.
//!
//! Section numbers are those of the data sheet BST-BME280-DS001 (revision 1.24).
//!
//! The arithmetic and the register traffic are the `bme280` crate's. It trusts the chip more than one should: it waits a
//! fixed 40 ms and never looks whether the conversion ended, so that it can give the reset contents of the registers or the
//! previous measurement as a new one; it takes a BMP280 for a BME280 without humidity; and the chip sends no checksum. So
//! this wrapper oversamples once only (9.3 ms at most, section 9.1), refuses other chips, reads everything a second time
//! and compares, and checks after each measurement that it ended and that the chip still has the configuration it was given.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bme280::i2c::BME280;
use bme280::{Configuration, Error, IIRFilter, Oversampling};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use reading::{Flag, Quantity, Reason};

use super::{Driver, Failure, Measured};

// Registers, section 5.3.
const CALIBRATION_A: u8 = 0x88;
const CALIBRATION_B: u8 = 0xe1;
const ID: u8 = 0xd0;
const CTRL_HUM: u8 = 0xf2;
const DATA: u8 = 0xf7;

const BME280_ID: u8 = 0x60;

/// `ctrl_meas` after a measurement with one sample each of temperature and pressure: asleep again (section 5.4.5).
const CTRL_MEAS_ASLEEP: u8 = 0b001_001_00;
/// One sample of humidity (section 5.4.3).
const CTRL_HUM_X1: u8 = 0b001;
/// `filter` in `config` (section 5.4.6).
const CONFIG_FILTER: u8 = 0b000_111_00;
/// `measuring` in `status` (section 5.4.4).
const STATUS_MEASURING: u8 = 0b1000;

/// What the data registers hold from a reset to the first conversion (section 5.3, table 18).
const RESET_DATA: [u8; 8] = [0x80, 0, 0, 0x80, 0, 0, 0x80, 0];

/// Forced measurements closer together than this have been seen to give the previous one.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// The driver.
pub struct Bme280<I2C, D> {
    wire: Tap<I2C>,
    delay: D,
    address: u8,
    chip: Option<BME280<Tap<I2C>>>,
    sampled: Option<Duration>,
}

/// The id register of the chip at `address`, or which other chip it is.
pub(super) fn identify(i2c: &mut impl I2c, address: u8) -> Result<String, Failure> {
    let mut id = [0];
    i2c.write_read(address, &[ID], &mut id).map_err(|error| Failure::of_bus(&error))?;
    let detail = match id[0] {
        BME280_ID => return Ok(String::new()),
        0x56..=0x58 => "a BMP280 is here, which measures no humidity; it is not supported".to_owned(),
        0x61 => "a BME680 or BME688 is here; it is not supported".to_owned(),
        other => format!("the id register says 0x{other:02x}, a BME280's says 0x60"),
    };
    Err(Failure::new(Reason::WRONG_CHIP, detail))
}

impl<I2C: I2c, D: DelayNs> Bme280<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Self {
        let wire = Tap(Rc::new(RefCell::new(Tapped { i2c, seen: BTreeMap::new() })));
        Self { wire, delay, address, chip: None, sampled: None }
    }

    fn configured(&mut self) -> Result<BME280<Tap<I2C>>, Failure> {
        identify(&mut self.wire, self.address)?;
        let mut chip = BME280::new(self.wire.clone(), self.address);
        let configuration = Configuration::default()
            .with_temperature_oversampling(Oversampling::Oversampling1X)
            .with_pressure_oversampling(Oversampling::Oversampling1X)
            .with_humidity_oversampling(Oversampling::Oversampling1X)
            .with_iir_filter(IIRFilter::Off);
        chip.init_with_config(&mut self.delay, configuration).map_err(explain)?;
        // In other pieces than the crate reads them, so that an answer that breaks off does not break off at the same byte.
        self.compare(CALIBRATION_A, 0, 12)?;
        self.compare(CALIBRATION_A, 12, 26)?;
        self.compare(CALIBRATION_B, 0, 3)?;
        self.compare(CALIBRATION_B, 3, 7)?;
        Ok(chip)
    }

    /// Reads a part of a block again that the crate has read from `register`.
    fn compare(&mut self, register: u8, from: u8, to: u8) -> Result<(), Failure> {
        let mut again = vec![0; usize::from(to - from)];
        self.wire.write_read(self.address, &[register + from], &mut again).map_err(|error| Failure::of_bus(&error))?;
        if self.wire.seen(register).get(usize::from(from)..usize::from(to)) == Some(&again) {
            return Ok(());
        }
        Err(Failure::new(Reason::CHECKSUM, "the calibration reads differently the second time"))
    }

    /// Whether the measurement that the crate has read is one.
    fn check(&mut self) -> Result<(), Failure> {
        let mut registers = [0; 13];
        self.wire.write_read(self.address, &[CTRL_HUM], &mut registers).map_err(|error| Failure::of_bus(&error))?;
        let [ctrl_hum, status, ctrl_meas, config, _, data @ ..] = registers;
        if ctrl_meas & !0b11 != CTRL_MEAS_ASLEEP || ctrl_hum & 0b111 != CTRL_HUM_X1 || config & CONFIG_FILTER != 0 {
            let detail = "the chip lost its configuration: it was reset while it was in use";
            return Err(Failure::new(Reason::RESET_PATTERN, detail));
        }
        if status & STATUS_MEASURING != 0 || ctrl_meas != CTRL_MEAS_ASLEEP {
            return Err(Failure::new(Reason::NOT_READY, "the conversion did not end in 40 ms"));
        }
        if self.wire.seen(DATA) != data {
            return Err(Failure::new(Reason::CHECKSUM, "the measurement reads differently the second time"));
        }
        // One value alone may well have this code; two of three never have.
        let unmeasured = [0..3, 3..6, 6..8].into_iter().filter(|part| data[part.clone()] == RESET_DATA[part.clone()]);
        if unmeasured.count() > 1 {
            return Err(Failure::new(Reason::RESET_PATTERN, "the data registers hold what a reset leaves in them"));
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<Vec<Measured>, Failure> {
        let chip = self.chip.as_mut().ok_or_else(|| Failure::new(Reason::NOT_READY, "the chip is not started"))?;
        let measurements = chip.measure(&mut self.delay).map_err(explain)?;
        self.check()?;
        let (temperature, humidity, pressure) =
            (measurements.temperature, measurements.humidity, measurements.pressure);
        // The crate clamps to these ends (section 1.2, table 1), so a value on one is not what the chip measured.
        let mut readings = vec![
            inside(Quantity::TEMPERATURE, temperature, -40.0, 85.0),
            inside(Quantity::HUMIDITY, humidity, 0.0, 100.0),
            inside(Quantity::PRESSURE, pressure, 30_000.0, 110_000.0),
        ];
        // The others are computed with the temperature.
        if readings[0].flag == Flag::FAIL {
            for measured in &mut readings {
                (measured.flag, measured.reason) = (Flag::FAIL, Reason::OUT_OF_RANGE);
            }
        }
        Ok(readings)
    }
}

fn inside(quantity: Quantity, value: f32, low: f32, high: f32) -> Measured {
    if value > low && value < high {
        return Measured::good(quantity, value);
    }
    Measured { quantity, value, flag: Flag::FAIL, reason: Reason::OUT_OF_RANGE }
}

fn explain<E: embedded_hal::i2c::Error>(error: Error<E>) -> Failure {
    match error {
        Error::Bus(error) => Failure::of_bus(&error),
        Error::UnsupportedChip => Failure::new(Reason::WRONG_CHIP, "the id register changed"),
        Error::InvalidData | Error::CompensationFailed => {
            Failure::new(Reason::SENSOR_FAULT, "the calibration in the chip cannot be used")
        }
        Error::NoCalibrationData | Error::Delay => Failure::new(Reason::NOT_READY, "the chip is not started"),
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Bme280<I2C, D> {
    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.chip = Some(self.configured()?);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.chip.is_some()
    }

    fn sample(&mut self, now: Duration) -> Result<Vec<Measured>, Failure> {
        let elapsed = self.sampled.and_then(|sampled| now.checked_sub(sampled));
        let early = elapsed.and_then(|elapsed| MIN_INTERVAL.checked_sub(elapsed)).unwrap_or_default();
        self.delay.delay_us(u32::try_from(early.as_micros()).unwrap_or(0));
        self.sampled = Some(now + early);
        let outcome = self.measure();
        if outcome.is_err() {
            self.chip = None;
        }
        outcome
    }

    /// Between two measurements the chip sleeps by itself.
    fn stop(&mut self) {
        self.chip = None;
    }
}

/// The wire, shared with the crate, which keeps what it is given. It remembers what was read from which register.
struct Tap<I2C>(Rc<RefCell<Tapped<I2C>>>);

struct Tapped<I2C> {
    i2c: I2C,
    /// At most one answer per register, of the few registers that are read here.
    seen: BTreeMap<u8, Vec<u8>>,
}

impl<I2C> Tap<I2C> {
    fn seen(&self, register: u8) -> Vec<u8> {
        self.0.borrow().seen.get(&register).cloned().unwrap_or_default()
    }
}

impl<I2C> Clone for Tap<I2C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I2C: I2c> ErrorType for Tap<I2C> {
    type Error = I2C::Error;
}

impl<I2C: I2c> I2c for Tap<I2C> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Self::Error> {
        let Tapped { i2c, seen } = &mut *self.0.borrow_mut();
        i2c.transaction(address, operations)?;
        if let [Operation::Write([register]), Operation::Read(answer)] = operations {
            seen.insert(*register, answer.to_vec());
        }
        Ok(())
    }
}
