//! Sensirion SCD30: CO2, temperature, humidity.
//!
//! Section numbers are those of the SCD30 interface description (version 1.0). The chip measures by itself, keeps that over a loss
//! of power, and overwrites what nobody reads. Its interval is kept too, in a memory that wears out, and so is written only where
//! it is another one. Not the `libscd` crate: that makes a whole number of the CO2 concentration, which turns "no number" into 0.
//!
//! The chip stretches the clock by up to 30 ms, and once a day by 150 ms (section 1.1), which the I2C of a Raspberry Pi 1 to 3 gets
//! wrong at full speed. With `dtparam=i2c_arm_baudrate=10000` in /boot/firmware/config.txt it works; so does the `i2c-gpio` overlay.
//!
//! Temperature and humidity are those of the module, which warms itself; the offset that it subtracts is the owner's to set.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::air_pressure::AirPressure;
use super::periodic::Periodic;
use super::sensirion::{self, Link};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SCD30",
    members: &[],
    addresses: &[0x61],
    quantities: &[Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY],
    // One interval.
    warm_up: Duration::from_secs(INTERVAL_S as u64),
    min_interval: Duration::from_secs(INTERVAL_S as u64),
    tend_every: None,
    own_waits: Duration::from_millis(200),
};

const ADDRESS: u8 = 0x61;

// Commands, section 1.4.
const START_CONTINUOUS: u16 = 0x0010;
const STOP_CONTINUOUS: u16 = 0x0104;
const INTERVAL: u16 = 0x4600;
const IS_DATA_READY: u16 = 0x0202;
const READ_MEASUREMENT: u16 = 0x0300;
// Not in that version of the document, but in Sensirion's drivers; older chips refuse it.
const READ_SERIAL: u16 = 0xd033;

/// Sections 1.4.4 and 1.4.5: more than 3 ms between a command and the reading of its answer.
const COMMAND_MS: u32 = 5;

/// The shortest interval, and that of the factory (section 1.4.3): a sample is never older.
const INTERVAL_S: u16 = 2;

/// A measurement that is just about to be ready is waited for, so that two clocks side by side do not miss each other.
const POLLS: u32 = 5;
const POLL_MS: u32 = 10;

/// Pressures that the chip takes, hPa (section 1.4.1).
const PRESSURES_HPA: std::ops::RangeInclusive<u16> = 700..=1400;
/// Section 1.4.1: without compensation the chip takes 1013.25 hPa, or the altitude that somebody has set.
const NO_PRESSURE: u16 = 0;

/// The driver.
pub struct Scd30<I2C, D> {
    link: Link<I2C, D>,
    measuring: Option<Periodic>,
    pressure: AirPressure,
}

impl<I2C: I2c, D: DelayNs> Scd30<I2C, D> {
    /// A driver; it does nothing yet. The chip has only one address.
    pub fn new(i2c: I2C, delay: D) -> Self {
        Self { link: Link { i2c, delay, address: ADDRESS }, measuring: None, pressure: AirPressure::default() }
    }

    /// Whether a measurement waits, which the chip answers in every state.
    fn is_data_ready(&mut self) -> Result<bool, Failure> {
        let [ready] = self.link.ask(IS_DATA_READY, &[], COMMAND_MS)?;
        Ok(ready == 1)
    }

    fn recognize(&mut self) -> Result<bool, Failure> {
        self.is_data_ready().map_err(|failure| self.link.or_wrong_chip(failure, IS_DATA_READY))
    }

    fn serial(&mut self) -> Option<String> {
        self.link.ask::<16>(READ_SERIAL, &[], COMMAND_MS).ok().map(|words| sensirion::text(&words))
    }

    fn begin(&mut self) -> Result<Option<String>, Failure> {
        if self.recognize()? {
            // It may have waited since somebody stopped the chip yesterday.
            self.link.ask::<6>(READ_MEASUREMENT, &[], COMMAND_MS)?;
        }
        let serial = self.serial();
        let [interval_s] = self.link.ask(INTERVAL, &[], COMMAND_MS)?;
        if interval_s != INTERVAL_S {
            self.link.send(INTERVAL, &[INTERVAL_S], COMMAND_MS)?;
        }
        self.link.send(START_CONTINUOUS, &[self.pressure.told().unwrap_or(NO_PRESSURE)], COMMAND_MS)?;
        Ok(serial)
    }

    fn wait_for_data(&mut self) -> Result<bool, Failure> {
        for _ in 0..POLLS {
            if self.is_data_ready()? {
                return Ok(true);
            }
            self.link.delay.delay_ms(POLL_MS);
        }
        Ok(false)
    }

    /// A measurement, and then the pressure for the next one: with it the whole start command is sent again, which may begin
    /// the interval anew (section 1.4.1).
    fn measure(&mut self, around: &Surroundings) -> Result<Option<Vec<Measured>>, Failure> {
        let mut readings =
            if self.wait_for_data()? { Some(convert(self.link.ask(READ_MEASUREMENT, &[], COMMAND_MS)?)) } else { None };
        if let Some(hpa) = self.pressure.news(around, PRESSURES_HPA)
            && self.measuring.is_some()
        {
            self.link.send(START_CONTINUOUS, &[hpa], COMMAND_MS)?;
            self.pressure.tell(hpa, readings.as_deref_mut().unwrap_or_default());
        }
        Ok(readings)
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Scd30<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.recognize()?;
        Ok(self.serial().unwrap_or_default())
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.measuring = None;
        let serial = self.begin()?;
        self.measuring = Some(Periodic::started(DATASHEET.min_interval, now));
        Ok(serial)
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
            let _ = self.link.send(STOP_CONTINUOUS, &[], COMMAND_MS);
        }
    }
}

/// Section 1.4.5: three numbers of four bytes.
fn convert([co2_high, co2_low, celsius_high, celsius_low, percent_high, percent_low]: [u16; 6]) -> Vec<Measured> {
    vec![
        co2(sensirion::float(co2_high, co2_low)),
        // What the data sheet (version 1.0, tables 2 and 3) gives as the ranges of the RH/T sensor.
        Measured::within(Quantity::TEMPERATURE, sensirion::float(celsius_high, celsius_low), -40.0..=70.0),
        Measured::within(Quantity::HUMIDITY, sensirion::float(percent_high, percent_low), 0.0..=100.0),
    ]
}

/// The chip can put out up to 40,000 ppm; its accuracy is stated from 400 to 10,000 ppm, as 30 ppm and 3 % (data sheet, table 1).
/// Clean air may so read 358.
fn co2(ppm: f32) -> Measured {
    let measured = Measured::within(Quantity::CO2, ppm, 1.0..=40_000.0);
    if (358.0..=10_330.0).contains(&ppm) { measured } else { measured.suspect(Reason::OUT_OF_RANGE) }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::Flag;

    use super::super::sensirion::script::Script;
    use super::*;

    const AT: Script = Script(ADDRESS);
    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
    /// Section 1.4.5: 439 ppm, 27.2 Cel, 48.8 %RH.
    const EXAMPLE: [u16; 6] = [0x43db, 0x8c2e, 0x41d9, 0xe7ff, 0x4243, 0x3a1b];
    /// "1234567890123456", and zero bytes to the end.
    const SERIAL: [u16; 16] = [0x3132, 0x3334, 0x3536, 0x3738, 0x3930, 0x3132, 0x3334, 0x3536, 0, 0, 0, 0, 0, 0, 0, 0];

    fn start() -> Vec<Transaction> {
        start_at(0)
    }

    fn start_at(pressure_hpa: u16) -> Vec<Transaction> {
        [
            AT.ask(IS_DATA_READY, &[0]),
            AT.ask(READ_SERIAL, &SERIAL),
            AT.ask(INTERVAL, &[INTERVAL_S]),
            AT.send(START_CONTINUOUS, &[pressure_hpa]),
        ]
        .concat()
    }

    fn measurement(words: &[u16; 6]) -> Vec<Transaction> {
        [AT.ask(IS_DATA_READY, &[1]), AT.ask(READ_MEASUREMENT, words)].concat()
    }

    fn never_ready() -> Vec<Transaction> {
        (0..POLLS).flat_map(|_| AT.ask(IS_DATA_READY, &[0])).collect()
    }

    /// Starts the chip at 0 s, samples it at `at_s` with `script`.
    fn sample(script: &[Transaction], at_s: u64, around: &Surroundings) -> (Result<Vec<Measured>, Failure>, bool) {
        let mut mock = Mock::new(&[&start(), script].concat());
        let mut driver = Scd30::new(mock.clone(), NoopDelay::new());
        assert_eq!(driver.start(Duration::ZERO), Ok(Some("1234567890123456".to_owned())));
        let outcome = driver.sample(Duration::from_secs(at_s), around);
        mock.done();
        (outcome, driver.is_running())
    }

    fn anywhere() -> Surroundings {
        Surroundings::default()
    }

    #[test]
    fn the_measurement_of_the_interface_description() {
        let (readings, running) = sample(&measurement(&EXAMPLE), 2, &anywhere());
        let readings = readings.unwrap();
        for (measured, expected) in readings.iter().zip([439.09, 27.24, 48.81]) {
            assert!((measured.value - expected).abs() < 0.01 && measured.flag == Flag::GOOD, "{readings:?}");
        }
        assert!(running);
        // The bytes on the wire, with their checksums.
        let bytes = [
            0x43, 0xdb, 0xcb, 0x8c, 0x2e, 0x8f, 0x41, 0xd9, 0x70, 0xe7, 0xff, 0xf5, 0x42, 0x43, 0xbf, 0x3a, 0x1b, 0x74,
        ];
        assert_eq!(AT.ask(READ_MEASUREMENT, &EXAMPLE)[1], Transaction::read(ADDRESS, bytes.to_vec()));
        // Section 1.4.1: without compensation.
        assert_eq!(AT.send(START_CONTINUOUS, &[0])[0], Transaction::write(ADDRESS, vec![0x00, 0x10, 0x00, 0x00, 0x81]));
    }

    #[test]
    fn what_waited_since_the_last_stop_is_thrown_away_and_the_interval_set() {
        let script = [
            measurement(&EXAMPLE),
            AT.ask(READ_SERIAL, &SERIAL),
            AT.ask(INTERVAL, &[60]),
            AT.send(INTERVAL, &[INTERVAL_S]),
            AT.send(START_CONTINUOUS, &[0]),
            AT.send(STOP_CONTINUOUS, &[]),
        ];
        let mut mock = Mock::new(&script.concat());
        let mut driver = Scd30::new(mock.clone(), NoopDelay::new());
        driver.start(Duration::ZERO).unwrap();
        driver.stop();
        driver.stop();
        mock.done();
    }

    #[test]
    fn the_chip_is_told_the_pressure_when_it_changes() {
        let around = |pressure| Surroundings { pressure: Some(pressure), ..Surroundings::default() };
        let script = [
            &start()[..],
            &measurement(&EXAMPLE),
            &AT.send(START_CONTINUOUS, &[985]),
            &measurement(&EXAMPLE),
            &measurement(&EXAMPLE),
            &AT.send(START_CONTINUOUS, &[988]),
            &measurement(&EXAMPLE),
            &start_at(988),
        ];
        let mut mock = Mock::new(&script.concat());
        let mut driver = Scd30::new(mock.clone(), NoopDelay::new());
        driver.start(Duration::ZERO).unwrap();
        let surroundings = [around(98_480.0), around(98_700.0), around(98_800.0), anywhere()];
        let co2 = (10..).step_by(10).zip(surroundings).map(|(second, around)| {
            let readings = driver.sample(Duration::from_secs(second), &around).unwrap();
            (readings[0].flag, readings[0].reason)
        });
        let good = (Flag::GOOD, Reason::NONE);
        assert_eq!(co2.collect::<Vec<_>>(), [(Flag::SUSPECT, Reason::UNCORRECTED), good, good, good]);
        driver.start(Duration::from_secs(60)).unwrap();
        mock.done();
    }

    #[test]
    fn before_the_first_measurement_it_warms_up_and_later_it_is_not_ready() {
        for (at_s, reason, running) in
            [(2, Reason::WARMING_UP, true), (5, Reason::NOT_READY, true), (8, Reason::NOT_READY, false)]
        {
            let (outcome, runs) = sample(&never_ready(), at_s, &anywhere());
            assert_eq!((outcome.unwrap_err().reason, runs), (reason, running), "at {at_s} s");
        }
    }

    #[test]
    fn a_wrong_checksum_gives_no_value() {
        let script = [AT.ask(IS_DATA_READY, &[1]), AT.broken(READ_MEASUREMENT, &EXAMPLE)].concat();
        let (outcome, running) = sample(&script, 5, &anywhere());
        assert_eq!((outcome.unwrap_err().reason, running), (Reason::CHECKSUM, false));
    }

    #[test]
    fn a_chip_that_is_gone_says_so_at_once() {
        let refused = |bytes: Vec<u8>| Transaction::write(ADDRESS, bytes).with_error(NACK);
        let script =
            [refused(vec![0x02, 0x02]), Transaction::read(ADDRESS, vec![0]).with_error(NACK), refused(vec![0x02])];
        let mut mock = Mock::new(&script);
        let failure = Scd30::new(mock.clone(), NoopDelay::new()).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::NO_ANSWER);
        mock.done();
    }

    #[test]
    fn an_older_chip_has_no_serial_number() {
        let refused = vec![Transaction::write(ADDRESS, vec![0xd0, 0x33]).with_error(NACK)];
        let mut mock = Mock::new(&[AT.ask(IS_DATA_READY, &[0]), refused].concat());
        assert_eq!(Scd30::new(mock.clone(), NoopDelay::new()).identify(), Ok(String::new()));
        mock.done();
    }

    #[test]
    fn co2_out_of_range() {
        let flags = [0.0, 200.0, 420.0, 10_000.0, 20_000.0, 40_001.0, f32::NAN].map(|ppm| co2(ppm).flag);
        let expected = [Flag::FAIL, Flag::SUSPECT, Flag::GOOD, Flag::GOOD, Flag::SUSPECT, Flag::FAIL, Flag::FAIL];
        assert_eq!(flags, expected);
    }
}
