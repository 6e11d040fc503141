//! Sensirion SHT30, SHT31, SHT33, SHT35: temperature, humidity.
//!
//! Section numbers are those of the SHT3x-DIS data sheet (version 5). Each sample is one single shot at high repeatability,
//! without clock stretching. The heater is never switched on. A SHT4x, which can be at the same address, takes the first byte of a
//! measurement here, 0x24, for its heater; so nothing is measured before the status register has told what sits there.
//!
//! The serial number is not in the data sheet; Sensirion's drivers and Linux read it with the command used here.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::sensirion::{self, Link};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SHT3x",
    members: &["SHT30", "SHT31", "SHT33", "SHT35"],
    addresses: &[0x44, 0x45],
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY],
    warm_up: Duration::ZERO,
    min_interval: Duration::from_millis(20),
    tend_every: None,
    own_waits: Duration::from_millis(50),
};

// Commands, sections 4.3 and 4.8 to 4.11.
const MEASURE_HIGH_REPEATABILITY: u16 = 0x2400;
const BREAK: u16 = 0x3093;
const SOFT_RESET: u16 = 0x30a2;
const READ_STATUS: u16 = 0xf32d;
const CLEAR_STATUS: u16 = 0x3041;
const READ_SERIAL: u16 = 0x3780;

/// Section 2.2, table 4: 15 ms at most (15.5 ms in later versions).
const MEASURE_MS: u32 = 16;
/// A soft reset takes 1.5 ms at most (the same table).
const RESET_MS: u32 = 2;
/// Section 4.3: 1 ms between a command and the next transfer.
const COMMAND_MS: u32 = 1;

// Bits of the status register, section 4.11, table 18.
const HEATER_ON: u16 = 1 << 13;
const RESET_DETECTED: u16 = 1 << 4;

/// The driver.
pub struct Sht3x<I2C, D> {
    link: Link<I2C, D>,
    running: bool,
}

impl<I2C: I2c, D: DelayNs> Sht3x<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Self {
        Self { link: Link { i2c, delay, address }, running: false }
    }

    fn status(&mut self) -> Result<u16, Failure> {
        let [status] = self.link.ask(READ_STATUS, &[], COMMAND_MS)?;
        Ok(status)
    }

    fn recognize(&mut self) -> Result<(), Failure> {
        let status = self.status();
        status.map(drop).map_err(|failure| self.link.or_wrong_chip(failure, READ_STATUS))
    }

    fn serial(&mut self) -> Option<String> {
        self.link.ask::<2>(READ_SERIAL, &[], COMMAND_MS).ok().map(|words| sensirion::hex(&words))
    }

    fn measure(&mut self) -> Result<Vec<Measured>, Failure> {
        let [temperature, humidity] = self.link.ask(MEASURE_HIGH_REPEATABILITY, &[], MEASURE_MS)?;
        let readings = convert(temperature, humidity);
        let status = self.status()?;
        let doubt = match status {
            // A single shot needs nothing that a reset takes away. But a chip that was just reset may also be one that hangs.
            _ if status & RESET_DETECTED != 0 => Reason::RESET_PATTERN,
            _ if status & HEATER_ON != 0 => Reason::SELF_HEATING,
            _ => return Ok(readings),
        };
        self.running = false;
        Ok(readings.into_iter().map(|measured| measured.suspect(doubt)).collect())
    }
}

impl<I2C: I2c, D: DelayNs> Driver for Sht3x<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.recognize()?;
        Ok(self.serial().unwrap_or_default())
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.running = false;
        self.recognize()?;
        // Somebody may have left it measuring by itself, and then it refuses the reset.
        self.link.send(BREAK, &[], COMMAND_MS)?;
        self.link.send(SOFT_RESET, &[], RESET_MS)?;
        self.link.send(CLEAR_STATUS, &[], COMMAND_MS)?;
        let status = self.status()?;
        if status & (RESET_DETECTED | HEATER_ON) != 0 {
            let detail =
                format!("the status register stays at 0x{status:04x} after it was cleared: the chip hangs in reset");
            return Err(Failure::new(Reason::RESET_PATTERN, detail));
        }
        let serial = self.serial();
        self.running = true;
        Ok(serial)
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn sample(&mut self, _now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let outcome = self.measure();
        self.running &= outcome.is_ok();
        outcome
    }

    /// Between two measurements the chip idles by itself.
    fn stop(&mut self) {
        self.running = false;
    }
}

/// Section 4.13. Every code is in the range of section 1, but for temperatures of a few codes at either end.
fn convert(temperature: u16, humidity: u16) -> Vec<Measured> {
    let celsius = -45.0 + 175.0 * f32::from(temperature) / 65535.0;
    let percent = 100.0 * f32::from(humidity) / 65535.0;
    vec![
        Measured::within(Quantity::TEMPERATURE, celsius, -40.0..=125.0),
        Measured::within(Quantity::HUMIDITY, percent, 0.0..=100.0),
    ]
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::Flag;

    use super::super::sensirion::script::Script;
    use super::*;

    const AT: Script = Script(0x44);
    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);

    fn start() -> Vec<Transaction> {
        [
            AT.ask(READ_STATUS, &[0x8010]),
            AT.send(BREAK, &[]),
            AT.send(SOFT_RESET, &[]),
            AT.send(CLEAR_STATUS, &[]),
            AT.ask(READ_STATUS, &[0]),
            AT.ask(READ_SERIAL, &[0x0ee0, 0xbeef]),
        ]
        .concat()
    }

    /// Runs `script` after a start, and gives what a sample gave, and whether the chip still counts as running.
    fn sample(script: &[Vec<Transaction>]) -> (Result<Vec<Measured>, Failure>, bool) {
        let mut mock = Mock::new(&[start(), script.concat()].concat());
        let mut driver = Sht3x::new(mock.clone(), NoopDelay::new(), 0x44);
        assert_eq!(driver.start(Duration::ZERO), Ok(Some("0ee0beef".to_owned())));
        let outcome = driver.sample(Duration::ZERO, &Surroundings::default());
        mock.done();
        (outcome, driver.is_running())
    }

    #[test]
    fn a_measurement() {
        // By the formulas of section 4.13, 0x6666 is 25.0 Cel and 0x8000 is 50.0 %RH.
        let (readings, running) =
            sample(&[AT.ask(MEASURE_HIGH_REPEATABILITY, &[0x6666, 0x8000]), AT.ask(READ_STATUS, &[0])]);
        let readings = readings.unwrap();
        assert!((readings[0].value - 25.0).abs() < 0.002 && (readings[1].value - 50.0).abs() < 0.002, "{readings:?}");
        assert!(running && readings.iter().all(|measured| measured.flag == Flag::GOOD));
    }

    #[test]
    fn the_commands_on_the_wire_are_those_of_the_data_sheet() {
        // Table 20: the checksum of 0xbeef is 0x92.
        assert_eq!(
            AT.ask(READ_SERIAL, &[0xbeef]),
            [Transaction::write(0x44, vec![0x37, 0x80]), Transaction::read(0x44, vec![0xbe, 0xef, 0x92])]
        );
    }

    #[test]
    fn a_chip_that_was_reset_or_heats_is_doubted_and_started_again() {
        for (status, reason) in [(0x8010, Reason::RESET_PATTERN), (0x2000, Reason::SELF_HEATING)] {
            let (readings, running) =
                sample(&[AT.ask(MEASURE_HIGH_REPEATABILITY, &[0x6666, 0x8000]), AT.ask(READ_STATUS, &[status])]);
            let readings = readings.unwrap();
            assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == reason), "{readings:?}");
            assert!(!running);
        }
    }

    #[test]
    fn a_chip_that_hangs_in_reset_is_not_started() {
        let script = [
            AT.ask(READ_STATUS, &[0x8010]),
            AT.send(BREAK, &[]),
            AT.send(SOFT_RESET, &[]),
            AT.send(CLEAR_STATUS, &[]),
            AT.ask(READ_STATUS, &[0x8010]),
        ];
        let mut mock = Mock::new(&script.concat());
        let mut driver = Sht3x::new(mock.clone(), NoopDelay::new(), 0x44);
        assert_eq!(driver.start(Duration::ZERO).unwrap_err().reason, Reason::RESET_PATTERN);
        assert!(!driver.is_running());
        mock.done();
    }

    #[test]
    fn a_wrong_checksum_gives_no_value() {
        let broken = AT.broken(MEASURE_HIGH_REPEATABILITY, &[0x6666, 0x8000]);
        let (outcome, running) = sample(&[broken]);
        assert_eq!((outcome.unwrap_err().reason, running), (Reason::CHECKSUM, false));
    }

    #[test]
    fn a_chip_that_does_not_finish_is_not_ready_and_one_that_is_gone_does_not_answer() {
        let never =
            vec![Transaction::write(0x44, vec![0x24, 0x00]), Transaction::read(0x44, vec![0; 6]).with_error(NACK)];
        assert_eq!(sample(&[never]).0.unwrap_err().reason, Reason::NOT_READY);
        let gone = vec![Transaction::write(0x44, vec![0x24, 0x00]).with_error(NACK)];
        assert_eq!(sample(&[gone]).0.unwrap_err().reason, Reason::NO_ANSWER);
    }

    #[test]
    fn a_chip_without_a_serial_number_is_one_all_the_same() {
        let refused = vec![Transaction::write(0x44, vec![0x37, 0x80]).with_error(NACK)];
        let mut mock = Mock::new(&[AT.ask(READ_STATUS, &[0x8010]), refused].concat());
        assert_eq!(Sht3x::new(mock.clone(), NoopDelay::new(), 0x44).identify(), Ok(String::new()));
        mock.done();
    }

    #[test]
    fn a_sht4x_at_the_address_is_told_by_the_status_alone() {
        // It takes the first byte for a command that it does not know.
        let mut mock = Mock::new(&[
            Transaction::write(0x44, vec![0xf3, 0x2d]).with_error(NACK),
            Transaction::read(0x44, vec![0]).with_error(NACK),
            Transaction::write(0x44, vec![0xf3]).with_error(NACK),
        ]);
        let failure = Sht3x::new(mock.clone(), NoopDelay::new(), 0x44).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::NO_ANSWER);
        mock.done();
    }

    #[test]
    fn codes_at_the_ends_of_the_scale() {
        assert_eq!(convert(0, 0)[0].flag, Flag::FAIL);
        assert_eq!(convert(0xffff, 0)[0].flag, Flag::FAIL);
        assert_eq!(convert(0x6666, 0)[1], Measured::good(Quantity::HUMIDITY, 0.0));
        assert_eq!(convert(0x6666, 0xffff)[1], Measured::good(Quantity::HUMIDITY, 100.0));
    }
}
