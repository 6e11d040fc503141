//! Sensirion SCD40, SCD41: CO2, temperature, humidity.
//!
//! Section numbers are those of the SCD4x data sheet (version 1.3). The commands are the `libscd` crate's. The chip measures
//! every 5 s by itself, goes on across our restart, and then refuses nearly every command: so it is stopped before anything
//! else. Each measurement can be read once. What it is told of the air's pressure it forgets with its power.

use std::ops::RangeInclusive;
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use libscd::error::Error;
use libscd::synchronous::scd4x::{I2C_ADDRESS, Scd4x as Chip};
use reading::{Quantity, Reason};

use super::air_pressure::AirPressure;
use super::periodic::Periodic;
use super::{Driver, Failure, Measured, Surroundings, sensirion};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SCD4x",
    members: &["SCD40", "SCD41"],
    addresses: &[0x62],
    quantities: &[Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY],
    // The first measurement is ready one signal update interval after the start (section 3.5.1).
    warm_up: Duration::from_secs(5),
    min_interval: Duration::from_secs(5),
    tend_every: None,
    // Stopping alone takes 500 ms (section 3.5.3).
    own_waits: Duration::from_millis(700),
};

/// A measurement that is just about to be ready is waited for, so that two clocks side by side do not miss each other for
/// minutes.
const POLLS: u32 = 5;
const POLL_MS: u32 = 10;

/// Pressures that the chip takes, hPa. The command is in section 3.6.5, its range only in later versions of the data sheet.
const PRESSURES_HPA: RangeInclusive<u16> = 700..=1200;

/// The driver.
pub struct Scd4x<I2C, D> {
    i2c: I2C,
    delay: D,
    measuring: Option<Periodic>,
    pressure: AirPressure,
}

/// The serial number, where the chip tells it: while it measures it refuses the command, but always says whether data is ready.
fn identify(i2c: &mut impl I2c, delay: &mut impl DelayNs) -> Result<String, Failure> {
    let mut chip = Chip::new(&mut *i2c, delay);
    match chip.data_ready() {
        Ok(_) => Ok(chip.serial_number().map(serial).unwrap_or_default()),
        Err(error) => Err(or_wrong_chip(explain(error), i2c)),
    }
}

/// Whether data is ready is what the chip answers in every state (section 3.8.2).
const GET_DATA_READY_STATUS: [u8; 2] = [0xe4, 0xb8];

fn or_wrong_chip(failure: Failure, i2c: &mut impl I2c) -> Failure {
    sensirion::or_wrong_chip(failure, i2c, I2C_ADDRESS, &GET_DATA_READY_STATUS)
}

fn serial(number: u64) -> String {
    format!("{number:012x}")
}

impl<I2C: I2c, D: DelayNs> Scd4x<I2C, D> {
    /// A driver; it does nothing yet. The chip has only one address.
    pub fn new(i2c: I2C, delay: D) -> Self {
        Self { i2c, delay, measuring: None, pressure: AirPressure::default() }
    }

    /// The crate keeps nothing between two commands but what we know better.
    fn chip(&mut self) -> Chip<&mut I2C, &mut D> {
        Chip::new(&mut self.i2c, &mut self.delay)
    }

    fn wait_for_data(&mut self) -> Result<bool, Failure> {
        for _ in 0..POLLS {
            if self.chip().data_ready().map_err(explain)? {
                return Ok(true);
            }
            self.delay.delay_ms(POLL_MS);
        }
        Ok(false)
    }

    /// A measurement, and then the pressure for the next one, which the chip takes while it measures.
    fn measure(&mut self, around: &Surroundings) -> Result<Option<Vec<Measured>>, Failure> {
        let mut readings = if self.wait_for_data()? { Some(self.read()?) } else { None };
        if let Some(hpa) = self.pressure.news(around, PRESSURES_HPA)
            && self.measuring.is_some()
        {
            self.chip().set_ambient_pressure(hpa).map_err(explain)?;
            self.pressure.tell(hpa, readings.as_deref_mut().unwrap_or_default());
        }
        Ok(readings)
    }

    fn read(&mut self) -> Result<Vec<Measured>, Failure> {
        let measurement = self.chip().read_measurement().map_err(|error| sensirion::not_ready(explain(error)))?;
        Ok(vec![
            co2(measurement.co2),
            // Operating range, section 1.3.
            Measured::within(Quantity::TEMPERATURE, measurement.temperature, -10.0..=60.0),
            Measured::within(Quantity::HUMIDITY, measurement.humidity, 0.0..=100.0),
        ])
    }
}

/// The chip can put out up to 40,000 ppm; its accuracy is stated from 400 to 2000 (SCD40) or 5000 ppm (SCD41), as 50 ppm and
/// 5 % (section 1.1). Clean air may so read 330.
fn co2(ppm: u16) -> Measured {
    let measured = Measured::within(Quantity::CO2, f32::from(ppm), 1.0..=40_000.0);
    if (330..=5300).contains(&ppm) { measured } else { measured.suspect(Reason::OUT_OF_RANGE) }
}

fn explain<E: embedded_hal::i2c::Error>(error: Error<E>) -> Failure {
    match error {
        Error::I2C(error) => Failure::of_bus(&error),
        Error::CRC => Failure::new(Reason::CHECKSUM, sensirion::CHECKSUM),
        Error::NotAllowed | Error::InvalidInput => {
            Failure::new(Reason::NOT_READY, "the chip takes no such command now")
        }
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Scd4x<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        identify(&mut self.i2c, &mut self.delay)
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.measuring = None;
        let stopped = self.chip().stop_periodic_measurement();
        let number = stopped.and_then(|()| self.chip().serial_number());
        let number = number.map_err(|error| or_wrong_chip(explain(error), &mut self.i2c))?;
        self.chip().start_periodic_measurement().map_err(explain)?;
        if let Some(hpa) = self.pressure.told() {
            self.chip().set_ambient_pressure(hpa).map_err(explain)?;
        }
        self.measuring = Some(Periodic::started(DATASHEET.min_interval, now));
        Ok(Some(serial(number)))
    }

    fn is_running(&self) -> bool {
        self.measuring.is_some()
    }

    fn sample(&mut self, now: Duration, around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let looked = self.measure(around);
        Periodic::judge(&mut self.measuring, looked, now)
    }

    fn stop(&mut self) {
        if self.measuring.take().is_some() {
            let _ = self.chip().stop_periodic_measurement();
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::Flag;

    use super::*;

    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
    /// Section 3.9.2: serial number 273325796834238.
    const SERIAL: [u8; 9] = [0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89];
    /// Section 3.5.2: 500 ppm, 25 Cel, 37 %RH.
    const MEASUREMENT: [u8; 9] = [0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c];
    /// Section 3.8.2: nothing is ready when the lower eleven bits are zero.
    const NOT_READY: [u8; 3] = [0x80, 0x00, 0xa2];
    const READY: [u8; 3] = [0x80, 0x06, 0x04];

    fn write(command: [u8; 2]) -> Transaction {
        Transaction::write(I2C_ADDRESS, command.to_vec())
    }

    fn read(answer: &[u8]) -> Transaction {
        Transaction::read(I2C_ADDRESS, answer.to_vec())
    }

    const STOP: [u8; 2] = [0x3f, 0x86];
    const START: [u8; 2] = [0x21, 0xb1];
    const GET_SERIAL: [u8; 2] = [0x36, 0x82];
    const IS_READY: [u8; 2] = [0xe4, 0xb8];
    const MEASURE: [u8; 2] = [0xec, 0x05];

    /// Starts the chip at 0 s, samples it at `at_s` with `script`.
    fn sample(script: &[Transaction], at_s: u64) -> (Result<Vec<Measured>, Failure>, bool) {
        let start = [write(STOP), write(GET_SERIAL), read(&SERIAL), write(START)];
        let mut mock = Mock::new(&[&start, script].concat());
        let mut driver = Scd4x::new(mock.clone(), NoopDelay::new());
        assert_eq!(driver.start(Duration::ZERO), Ok(Some("f8969f073bbe".to_owned())));
        let outcome = driver.sample(Duration::from_secs(at_s), &Surroundings::default());
        mock.done();
        (outcome, driver.is_running())
    }

    fn never_ready() -> Vec<Transaction> {
        (0..POLLS).flat_map(|_| [write(IS_READY), read(&NOT_READY)]).collect()
    }

    #[test]
    fn the_measurement_of_the_data_sheet() {
        let (readings, running) = sample(&[write(IS_READY), read(&READY), write(MEASURE), read(&MEASUREMENT)], 5);
        let readings = readings.unwrap();
        assert_eq!(readings[0], Measured::good(Quantity::CO2, 500.0));
        assert!((readings[1].value - 25.0).abs() < 0.005 && (readings[2].value - 37.0).abs() < 0.005, "{readings:?}");
        assert!(running && readings.iter().all(|measured| measured.flag == Flag::GOOD));
    }

    #[test]
    fn the_chip_is_told_the_pressure_when_it_changes_and_again_after_a_start() {
        let start = [write(STOP), write(GET_SERIAL), read(&SERIAL), write(START)];
        let measurement = [write(IS_READY), read(&READY), write(MEASURE), read(&MEASUREMENT)];
        // Section 3.6.5: 98,700 Pa.
        let told_987 = [Transaction::write(I2C_ADDRESS, vec![0xe0, 0x00, 0x03, 0xdb, 0x42])];
        let told_990 = [Transaction::write(I2C_ADDRESS, vec![0xe0, 0x00, 0x03, 0xde, 0xb7])];
        let script = [
            &start[..],
            &never_ready(),
            &told_987,
            &measurement,
            &measurement,
            &told_990,
            &measurement,
            &start,
            &told_990,
            &measurement,
            &told_987,
        ];
        let mut mock = Mock::new(&script.concat());
        let mut driver = Scd4x::new(mock.clone(), NoopDelay::new());
        let co2_at = |driver: &mut Scd4x<_, _>, second, pressure| {
            let around = Surroundings { pressure, ..Surroundings::default() };
            driver.sample(Duration::from_secs(second), &around).map(|readings| readings[0].reason)
        };
        driver.start(Duration::ZERO).unwrap();
        assert_eq!(co2_at(&mut driver, 0, Some(98_700.0)).unwrap_err().reason, Reason::WARMING_UP);
        let told = [(10, Some(98_900.0)), (20, Some(99_000.0)), (30, None)];
        assert!(told.iter().all(|(second, pressure)| co2_at(&mut driver, *second, *pressure) == Ok(Reason::NONE)));
        driver.start(Duration::from_secs(40)).unwrap();
        assert_eq!(co2_at(&mut driver, 50, Some(98_700.0)), Ok(Reason::NONE));
        mock.done();
    }

    #[test]
    fn a_measurement_about_to_come_is_waited_for() {
        let script =
            [write(IS_READY), read(&NOT_READY), write(IS_READY), read(&READY), write(MEASURE), read(&MEASUREMENT)];
        assert!(sample(&script, 5).0.is_ok());
    }

    #[test]
    fn before_the_first_measurement_it_warms_up_and_later_it_is_not_ready() {
        for (at_s, reason, running) in
            [(3, Reason::WARMING_UP, true), (10, Reason::NOT_READY, true), (17, Reason::NOT_READY, false)]
        {
            let (outcome, runs) = sample(&never_ready(), at_s);
            assert_eq!((outcome.unwrap_err().reason, runs), (reason, running), "at {at_s} s");
        }
    }

    #[test]
    fn a_wrong_checksum_gives_no_value() {
        let mut broken = MEASUREMENT;
        broken[1] ^= 1;
        let (outcome, running) = sample(&[write(IS_READY), read(&READY), write(MEASURE), read(&broken)], 5);
        assert_eq!(outcome.unwrap_err().reason, Reason::CHECKSUM);
        assert!(!running);
    }

    #[test]
    fn a_chip_that_is_gone_says_so_at_once() {
        let (outcome, running) = sample(&[write(IS_READY).with_error(NACK)], 5);
        assert_eq!(outcome.unwrap_err().reason, Reason::NO_ANSWER);
        assert!(!running);

        let first_byte = Transaction::write(I2C_ADDRESS, vec![0xe4]);
        let mut mock =
            Mock::new(&[write(STOP).with_error(NACK), read(&[0]).with_error(NACK), first_byte.with_error(NACK)]);
        let failure = Scd4x::new(mock.clone(), NoopDelay::new()).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::NO_ANSWER);
        mock.done();
    }

    #[test]
    fn a_chip_that_measures_is_found_without_being_stopped() {
        let mut mock = Mock::new(&[write(IS_READY), read(&NOT_READY), write(GET_SERIAL).with_error(NACK)]);
        assert_eq!(identify(&mut mock, &mut NoopDelay::new()), Ok(String::new()));
        mock.done();
        let mut mock = Mock::new(&[write(IS_READY), read(&NOT_READY), write(GET_SERIAL), read(&SERIAL)]);
        assert_eq!(identify(&mut mock, &mut NoopDelay::new()), Ok("f8969f073bbe".to_owned()));
        mock.done();
    }

    #[test]
    fn it_is_left_idle() {
        let start = [write(STOP), write(GET_SERIAL), read(&SERIAL), write(START), write(STOP)];
        let mut mock = Mock::new(&start);
        let mut driver = Scd4x::new(mock.clone(), NoopDelay::new());
        driver.start(Duration::ZERO).unwrap();
        driver.stop();
        driver.stop();
        mock.done();
    }

    #[test]
    fn co2_out_of_range() {
        let flags = [0, 200, 420, 5000, 6000, 40_001].map(|ppm| co2(ppm).flag);
        let expected = [Flag::FAIL, Flag::SUSPECT, Flag::GOOD, Flag::GOOD, Flag::SUSPECT, Flag::FAIL];
        assert_eq!(flags, expected);
    }
}
