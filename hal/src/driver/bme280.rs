//! Bosch BME280: temperature, humidity, pressure.
//!
//! Section numbers are those of the data sheet BST-BME280-DS001.
//!
//! The arithmetic and the register traffic are the `bme280` crate's. It trusts the chip more than one should: it waits a
//! fixed 40 ms and never looks whether the conversion ended, so that it can give the reset contents of the registers or the
//! previous measurement as a new one; it takes a BMP280 for a BME280 without humidity; and the chip sends no checksum. So
//! this wrapper oversamples once only (9.3 ms at most, section 9.1), refuses other chips, reads everything a second time
//! and compares, and checks after each measurement that it ended and that the chip still has the configuration it was given.
//!
//! For humidity the crate has Bosch's published C code, which differs from the data sheet's formula where `dig_H3` is not zero
//! (by 0.1 % of the value for each count at 0 Cel); chips are delivered with zero.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bme280::i2c::BME280;
use bme280::{Configuration, Error, IIRFilter, Oversampling};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorType, I2c, Operation};
use reading::{Flag, Quantity, Reason};

use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "BME280",
    members: &[],
    addresses: &[0x76, 0x77],
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE],
    warm_up: Duration::ZERO,
    min_interval: MIN_INTERVAL,
    tend_every: None,
    own_waits: Duration::from_millis(200),
};

// Registers, section 5.3.
const CALIBRATION_A: u8 = 0x88;
const CALIBRATION_B: u8 = 0xe1;
const ID: u8 = 0xd0;
const CTRL_HUM: u8 = 0xf2;
const DATA: u8 = 0xf7;

const BME280_ID: u8 = 0x60;

/// `ctrl_meas` after a measurement with one sample each of temperature and pressure: asleep again (section 5.4.5).
const CTRL_MEAS_ASLEEP: u8 = 1 << 5 | 1 << 2;
/// One sample of humidity (section 5.4.3).
const CTRL_HUM_X1: u8 = 0b001;
/// `filter` in `config` (section 5.4.6).
const CONFIG_FILTER: u8 = 0b111 << 2;
/// `measuring` in `status` (section 5.4.4).
const STATUS_MEASURING: u8 = 1 << 3;

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
fn identify(i2c: &mut impl I2c, address: u8) -> Result<String, Failure> {
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
        self.wire.read_again(self.address, register + from, &mut again)?;
        if self.wire.seen(register).get(usize::from(from)..usize::from(to)) == Some(&again) {
            return Ok(());
        }
        Err(Failure::new(Reason::CHECKSUM, "the calibration reads differently the second time"))
    }

    /// Whether the measurement that the crate has read is one.
    fn check(&mut self) -> Result<(), Failure> {
        // Somebody may have swapped the chip.
        identify(&mut self.wire, self.address)?;
        let mut registers = [0; 13];
        self.wire.read_again(self.address, CTRL_HUM, &mut registers)?;
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
        // The low bits of both `xlsb` registers are zero (sections 5.4.7 and 5.4.8), those of an idle bus are not.
        if (data[2] | data[5]) & 0x0f != 0 {
            return Err(Failure::new(Reason::CHECKSUM, "the answer breaks off in the middle"));
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
        // The crate clamps to these ends (sections 1.1 to 1.4), so a value on one is not what the chip measured.
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
    fn identify(&mut self) -> Result<String, Failure> {
        identify(&mut self.wire, self.address)
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.chip = Some(self.configured()?);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.chip.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
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

/// The wire, shared with the crate, which keeps what it is given. It remembers what the crate read from which register.
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

impl<I2C: I2c> Tap<I2C> {
    /// Reads without remembering.
    fn read_again(&mut self, address: u8, register: u8, answer: &mut [u8]) -> Result<(), Failure> {
        self.0.borrow_mut().i2c.write_read(address, &[register], answer).map_err(|error| Failure::of_bus(&error))
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use embedded_hal_mock::eh1::delay::NoopDelay;

    use super::*;

    const ADDRESS: u8 = 0x76;

    /// A register file that measures in no time. `script` changes registers after so many transfers.
    #[derive(Clone)]
    struct Registers(Rc<RefCell<File>>);

    struct File {
        bytes: [u8; 256],
        /// Answers from a register are replaced by these, once each.
        instead: BTreeMap<u8, VecDeque<Vec<u8>>>,
        /// A chip that never ends a conversion.
        busy: bool,
        /// A chip that forgets its configuration when it measures.
        resets: bool,
        absent: bool,
        transfers: usize,
    }

    impl ErrorType for Registers {
        type Error = embedded_hal::i2c::ErrorKind;
    }

    impl I2c for Registers {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Self::Error> {
            let file = &mut *self.0.borrow_mut();
            file.transfers += 1;
            if file.absent || address != ADDRESS {
                let source = embedded_hal::i2c::NoAcknowledgeSource::Address;
                return Err(embedded_hal::i2c::ErrorKind::NoAcknowledge(source));
            }
            match operations {
                [Operation::Write([register, value])] => file.write(*register, *value),
                [Operation::Write([register]), Operation::Read(answer)] => file.read(*register, answer),
                other => panic!("no transfer of this driver: {other:?}"),
            }
            Ok(())
        }
    }

    impl File {
        fn write(&mut self, register: u8, value: u8) {
            match register {
                0xe0 => self.reset(),
                0xf4 if value & 0b11 != 0 && self.resets => self.reset(),
                0xf4 if value & 0b11 != 0 && !self.busy => self.bytes[0xf4] = value & !0b11,
                _ => self.bytes[usize::from(register)] = value,
            }
            self.bytes[0xf3] = if self.busy && self.bytes[0xf4] & 0b11 != 0 { 0b1000 } else { 0 };
        }

        fn reset(&mut self) {
            self.bytes[0xf2..0xf6].fill(0);
        }

        fn read(&mut self, register: u8, answer: &mut [u8]) {
            let start = usize::from(register);
            answer.copy_from_slice(&self.bytes[start..start + answer.len()]);
            if let Some(other) = self.instead.get_mut(&register).and_then(VecDeque::pop_front) {
                answer.copy_from_slice(&other);
            }
        }
    }

    /// The example in Bosch's data sheets (BST-BMP280-DS001, section 3.12), with a humidity calibration as chips have it.
    struct Calibration {
        t: (u16, i16, i16),
        p: (u16, [i16; 8]),
        h: (u8, i16, u8, i16, i16, i8),
    }

    const EXAMPLE: Calibration = Calibration {
        t: (27504, 26435, -1000),
        p: (36477, [-10685, 3024, 2855, 140, -7, 15500, -14600, 6000]),
        h: (75, 362, 0, 313, 50, 30),
    };

    impl Calibration {
        /// Section 4.2.2, table 16.
        fn store(&self, bytes: &mut [u8; 256]) {
            let (t1, t2, t3) = self.t;
            let (p1, p2_9) = self.p;
            let (h1, h2, h3, h4, h5, h6) = self.h;
            let words = [t1, t2 as u16, t3 as u16, p1].into_iter().chain(p2_9.map(|p| p as u16));
            for (at, word) in words.enumerate() {
                bytes[0x88 + 2 * at..][..2].copy_from_slice(&word.to_le_bytes());
            }
            bytes[0xa1] = h1;
            bytes[0xe1..0xe3].copy_from_slice(&h2.to_le_bytes());
            bytes[0xe3] = h3;
            bytes[0xe4] = (h4 >> 4) as u8;
            bytes[0xe5] = (h4 & 0xf) as u8 | ((h5 & 0xf) << 4) as u8;
            bytes[0xe6] = (h5 >> 4) as u8;
            bytes[0xe7] = h6 as u8;
        }

        /// The fixed-point code of section 4.2.3, in i64 so that nothing overflows where the datasheet says it does not.
        fn compensate(&self, adc_t: i64, adc_p: i64, adc_h: i64) -> (f64, f64, f64) {
            let (t1, t2, t3) = (i64::from(self.t.0), i64::from(self.t.1), i64::from(self.t.2));
            let var1 = (((adc_t >> 3) - (t1 << 1)) * t2) >> 11;
            let var2 = (((((adc_t >> 4) - t1) * ((adc_t >> 4) - t1)) >> 12) * t3) >> 14;
            let t_fine = var1 + var2;
            let celsius = ((t_fine * 5 + 128) >> 8) as f64 / 100.0;

            let p1 = i64::from(self.p.0);
            let [p2, p3, p4, p5, p6, p7, p8, p9] = self.p.1.map(i64::from);
            let var1 = t_fine - 128_000;
            let var2 = var1 * var1 * p6 + ((var1 * p5) << 17) + (p4 << 35);
            let var1 = ((var1 * var1 * p3) >> 8) + ((var1 * p2) << 12);
            let var1 = (((1i64 << 47) + var1) * p1) >> 33;
            let p = ((((1_048_576 - adc_p) << 31) - var2) * 3125) / var1;
            let var1 = (p9 * (p >> 13) * (p >> 13)) >> 25;
            let var2 = (p8 * p) >> 19;
            let pascal = (((p + var1 + var2) >> 8) + (p7 << 4)) as f64 / 256.0;

            let (h1, h2, h3) = (i64::from(self.h.0), i64::from(self.h.1), i64::from(self.h.2));
            let (h4, h5, h6) = (i64::from(self.h.3), i64::from(self.h.4), i64::from(self.h.5));
            let v = t_fine - 76_800;
            let gain = (((((v * h6) >> 10) * (((v * h3) >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8192;
            let v = (((adc_h << 14) - (h4 << 20) - (h5 * v) + 16_384) >> 15) * (gain >> 14);
            let v = v - (((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4);
            let percent = (v.clamp(0, 419_430_400) >> 12) as f64 / 1024.0;
            (celsius, pascal, percent)
        }
    }

    fn chip(calibration: &Calibration, adc_t: u32, adc_p: u32, adc_h: u16) -> Registers {
        let mut bytes = [0; 256];
        bytes[0xd0] = 0x60;
        calibration.store(&mut bytes);
        bytes[0xf7..0xfa].copy_from_slice(&(adc_p << 4).to_be_bytes()[1..]);
        bytes[0xfa..0xfd].copy_from_slice(&(adc_t << 4).to_be_bytes()[1..]);
        bytes[0xfd..0xff].copy_from_slice(&adc_h.to_be_bytes());
        let instead = BTreeMap::new();
        Registers(Rc::new(RefCell::new(File {
            bytes,
            instead,
            busy: false,
            resets: false,
            absent: false,
            transfers: 0,
        })))
    }

    fn started(registers: &Registers) -> Bme280<Registers, NoopDelay> {
        let mut driver = Bme280::new(registers.clone(), NoopDelay::new(), ADDRESS);
        assert_eq!(driver.start(Duration::ZERO), Ok(None));
        driver
    }

    /// A sample of the example's codes.
    fn example() -> Registers {
        chip(&EXAMPLE, 519_888, 415_148, 27_000)
    }

    fn reason(outcome: Result<Vec<Measured>, Failure>) -> Reason {
        outcome.expect_err("there should be no value").reason
    }

    #[test]
    fn the_example_of_the_data_sheet() {
        let readings = started(&example()).sample(Duration::ZERO, &Surroundings::default()).unwrap();
        assert!((readings[0].value - 25.08).abs() < 0.005, "{readings:?}");
        assert!((readings[2].value - 100_653.27).abs() < 1.0, "{readings:?}");
        assert!(readings.iter().all(|measured| measured.flag == Flag::GOOD));
        let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
        assert_eq!(quantities, crate::Model::Bme280.quantities());
    }

    #[test]
    fn the_crate_computes_as_the_data_sheet_does() {
        let negative = Calibration { h: (75, 360, 0, -300, -20, -30), ..EXAMPLE };
        for calibration in [EXAMPLE, negative] {
            for adc_t in (350_000..650_000).step_by(23_456) {
                for adc_p in (250_000..600_000).step_by(34_567) {
                    let adc_h = 20_000 + (adc_p / 30) as u16;
                    let (celsius, pascal, percent) = calibration.compensate(adc_t.into(), adc_p.into(), adc_h.into());
                    let readings = started(&chip(&calibration, adc_t, adc_p, adc_h))
                        .sample(Duration::ZERO, &Surroundings::default())
                        .unwrap();
                    for (measured, expected, tolerance) in
                        [(readings[0], celsius, 0.02), (readings[1], percent, 0.05), (readings[2], pascal, 5.0)]
                    {
                        // A failed value is one that the crate has clamped.
                        let close = (f64::from(measured.value) - expected).abs() < tolerance;
                        assert!(close || measured.flag == Flag::FAIL, "{measured:?}, expected {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn another_chip_is_refused_and_named() {
        for (id, word) in [(0x58, "BMP280"), (0x61, "BME680"), (0x42, "0x42")] {
            let registers = example();
            registers.0.borrow_mut().bytes[0xd0] = id;
            let failure = Bme280::new(registers.clone(), NoopDelay::new(), ADDRESS).start(Duration::ZERO).unwrap_err();
            assert_eq!(failure.reason, Reason::WRONG_CHIP);
            assert!(failure.detail.contains(word), "{}", failure.detail);
            assert_eq!(registers.0.borrow().transfers, 1, "nothing is written to a chip that is not known");
        }
    }

    #[test]
    fn an_absent_chip_costs_one_transfer() {
        let registers = example();
        registers.0.borrow_mut().absent = true;
        let failure = Bme280::new(registers.clone(), NoopDelay::new(), ADDRESS).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::NO_ANSWER);
        assert_eq!(registers.0.borrow().transfers, 1);
    }

    #[test]
    fn reset_contents_are_no_measurement() {
        let registers = chip(&EXAMPLE, 0x80000, 0x80000, 0x8000);
        assert_eq!(reason(started(&registers).sample(Duration::ZERO, &Surroundings::default())), Reason::RESET_PATTERN);
        // One value alone may have that code.
        let registers = chip(&EXAMPLE, 0x80000, 415_148, 27_000);
        assert!(started(&registers).sample(Duration::ZERO, &Surroundings::default()).is_ok());
    }

    #[test]
    fn a_chip_that_was_reset_in_between_is_started_again() {
        let registers = example();
        let mut driver = started(&registers);
        registers.0.borrow_mut().resets = true;
        assert_eq!(reason(driver.sample(Duration::ZERO, &Surroundings::default())), Reason::RESET_PATTERN);
        assert!(!driver.is_running());
        registers.0.borrow_mut().resets = false;
        driver.start(Duration::ZERO).unwrap();
        assert!(driver.sample(Duration::from_secs(1), &Surroundings::default()).is_ok());
    }

    #[test]
    fn a_conversion_that_does_not_end_is_no_measurement() {
        let registers = example();
        let mut driver = started(&registers);
        registers.0.borrow_mut().busy = true;
        assert_eq!(reason(driver.sample(Duration::ZERO, &Surroundings::default())), Reason::NOT_READY);
        assert!(!driver.is_running());
    }

    #[test]
    fn what_reads_differently_twice_is_refused() {
        let registers = example();
        let mut driver = started(&registers);
        let torn = vec![0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x69, 0x79];
        registers.0.borrow_mut().instead.insert(DATA, [torn].into());
        assert_eq!(reason(driver.sample(Duration::ZERO, &Surroundings::default())), Reason::CHECKSUM);

        // Torn alike both times.
        let registers = example();
        let mut driver = started(&registers);
        registers.0.borrow_mut().bytes[0xf9..0xff].fill(0xff);
        assert_eq!(reason(driver.sample(Duration::ZERO, &Surroundings::default())), Reason::CHECKSUM);

        for (register, length) in [(CALIBRATION_A, 26), (CALIBRATION_B, 7)] {
            let registers = example();
            registers.0.borrow_mut().instead.insert(register, [vec![0x70; length]].into());
            let failure = Bme280::new(registers, NoopDelay::new(), ADDRESS).start(Duration::ZERO).unwrap_err();
            assert_eq!(failure.reason, Reason::CHECKSUM);
        }
    }

    #[test]
    fn a_value_on_a_clamp_fails_and_a_temperature_takes_the_others_with_it() {
        let readings = started(&chip(&EXAMPLE, 519_888, 415_148, 0xffff))
            .sample(Duration::ZERO, &Surroundings::default())
            .unwrap();
        let flags: Vec<_> = readings.iter().map(|measured| measured.flag).collect();
        assert_eq!(flags, [Flag::GOOD, Flag::FAIL, Flag::GOOD]);
        let readings = started(&chip(&EXAMPLE, 0xfffff, 415_148, 27_000))
            .sample(Duration::ZERO, &Surroundings::default())
            .unwrap();
        assert!(readings.iter().all(|measured| measured.reason == Reason::OUT_OF_RANGE), "{readings:?}");
    }

    #[test]
    fn two_samples_are_never_closer_than_50_ms() {
        #[derive(Clone, Default)]
        struct Stopwatch(Rc<RefCell<u64>>);
        impl DelayNs for Stopwatch {
            fn delay_ns(&mut self, ns: u32) {
                *self.0.borrow_mut() += u64::from(ns);
            }
        }
        let waited = Stopwatch::default();
        let mut driver = Bme280::new(example(), waited.clone(), ADDRESS);
        driver.start(Duration::ZERO).unwrap();
        driver.sample(Duration::from_secs(1), &Surroundings::default()).unwrap();
        let before = *waited.0.borrow();
        driver.sample(Duration::from_millis(1041), &Surroundings::default()).unwrap();
        assert_eq!(*waited.0.borrow() - before, (9 + 40) * 1_000_000);
    }
}
