//! Sensirion SHT40, SHT41, SHT45: temperature, humidity.
//!
//! Section numbers are those of the SHT4x data sheet (version 6.5). The heater is never switched on.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::Quantity;
use sensirion_i2c::i2c::{read_words_with_crc, write_command_u8};

use super::{Driver, Failure, Measured, Surroundings, sensirion};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "SHT4x",
    members: &["SHT40", "SHT41", "SHT45"],
    addresses: &[0x44, 0x45],
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY],
    warm_up: Duration::ZERO,
    // A measurement takes 8.3 ms at high repeatability (table 5).
    min_interval: Duration::from_millis(10),
    tend_every: None,
    own_waits: Duration::from_millis(50),
};

// Commands, section 4.5.
const MEASURE_HIGH_PRECISION: u8 = 0xfd;
const READ_SERIAL: u8 = 0x89;
const SOFT_RESET: u8 = 0x94;

/// A measurement at high repeatability takes 8.3 ms at most (section 3.1, table 5).
const MEASURE_MS: u32 = 10;
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
fn identify(i2c: &mut impl I2c, delay: &mut impl DelayNs, address: u8) -> Result<String, Failure> {
    let answer = command(i2c, delay, address, READ_SERIAL, COMMAND_MS);
    let answer = answer.map_err(|failure| sensirion::or_wrong_chip(failure, i2c, address, &[READ_SERIAL]))?;
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
    fn identify(&mut self) -> Result<String, Failure> {
        identify(&mut self.i2c, &mut self.delay, self.address)
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        write_command_u8(&mut self.i2c, self.address, SOFT_RESET).map_err(|error| {
            sensirion::or_wrong_chip(Failure::of_bus(&error), &mut self.i2c, self.address, &[SOFT_RESET])
        })?;
        self.delay.delay_ms(COMMAND_MS);
        let serial = identify(&mut self.i2c, &mut self.delay, self.address)?;
        self.running = true;
        Ok(Some(serial))
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn sample(&mut self, _now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
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

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::{Flag, Reason};
    use sensirion_i2c::crc8;

    use super::*;

    const ADDRESS: u8 = 0x44;
    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);

    fn words(first: u16, second: u16) -> Vec<u8> {
        [first, second]
            .into_iter()
            .flat_map(|word| word.to_be_bytes().into_iter().chain([crc8::calculate(&word.to_be_bytes())]))
            .collect()
    }

    fn start() -> Vec<Transaction> {
        vec![
            Transaction::write(ADDRESS, vec![0x94]),
            Transaction::write(ADDRESS, vec![0x89]),
            Transaction::read(ADDRESS, words(0x0ee0, 0xbeef)),
        ]
    }

    /// Runs `script` after a start, and gives what a sample gave, and whether the chip still counts as running.
    fn sample(script: Vec<Transaction>) -> (Result<Vec<Measured>, Failure>, bool) {
        let mut mock = Mock::new(&[start(), script].concat());
        let mut driver = Sht4x::new(mock.clone(), NoopDelay::new(), ADDRESS);
        assert_eq!(driver.start(Duration::ZERO), Ok(Some("0ee0beef".to_owned())));
        let outcome = driver.sample(Duration::ZERO, &Surroundings::default());
        mock.done();
        (outcome, driver.is_running())
    }

    #[test]
    fn a_measurement() {
        // 0x6666 is 25.0 Cel; 0x72b0 is 50.0 %RH, by the formulas of section 4.6.
        let (readings, running) =
            sample(vec![Transaction::write(ADDRESS, vec![0xfd]), Transaction::read(ADDRESS, words(0x6666, 0x72b0))]);
        let readings = readings.unwrap();
        assert!((readings[0].value - 25.0).abs() < 0.002 && (readings[1].value - 50.0).abs() < 0.002, "{readings:?}");
        assert!(running && readings.iter().all(|measured| measured.flag == Flag::GOOD));
    }

    #[test]
    fn a_wrong_checksum_gives_no_value() {
        let mut broken = words(0x6666, 0x72b0);
        broken[4] ^= 1;
        let (outcome, running) =
            sample(vec![Transaction::write(ADDRESS, vec![0xfd]), Transaction::read(ADDRESS, broken)]);
        assert_eq!(outcome.unwrap_err().reason, Reason::CHECKSUM);
        assert!(!running);
    }

    #[test]
    fn a_chip_that_does_not_finish_is_not_ready() {
        let (outcome, _) = sample(vec![
            Transaction::write(ADDRESS, vec![0xfd]),
            Transaction::read(ADDRESS, vec![0; 6]).with_error(NACK),
        ]);
        assert_eq!(outcome.unwrap_err().reason, Reason::NOT_READY);
    }

    #[test]
    fn errors_of_the_bus_are_told_apart() {
        for (error, reason) in [(NACK, Reason::NO_ANSWER), (ErrorKind::Bus, Reason::BUS_ERROR)] {
            let (outcome, running) = sample(vec![Transaction::write(ADDRESS, vec![0xfd]).with_error(error)]);
            assert_eq!(outcome.unwrap_err().reason, reason);
            assert!(!running);
        }
    }

    #[test]
    fn another_chip_at_the_address_is_told_from_none() {
        for (answer, reason) in [
            (Transaction::read(ADDRESS, vec![0]), Reason::WRONG_CHIP),
            (Transaction::read(ADDRESS, vec![0]).with_error(NACK), Reason::NO_ANSWER),
        ] {
            let mut mock = Mock::new(&[Transaction::write(ADDRESS, vec![0x94]).with_error(NACK), answer]);
            let failure = Sht4x::new(mock.clone(), NoopDelay::new(), ADDRESS).start(Duration::ZERO).unwrap_err();
            assert_eq!(failure.reason, reason);
            mock.done();
        }
    }

    #[test]
    fn humidity_is_cropped_as_the_data_sheet_says_but_nonsense_is_not() {
        let percent = |code| convert(0x6666, code)[1];
        // 101 %RH and -1 %RH.
        assert_eq!(percent(56_098), Measured::good(Quantity::HUMIDITY, 100.0));
        assert_eq!(percent(2621), Measured::good(Quantity::HUMIDITY, 0.0));
        assert_eq!((percent(0).flag, percent(0).reason), (Flag::FAIL, Reason::OUT_OF_RANGE));
        assert_eq!(percent(0xffff).flag, Flag::FAIL);
        assert_eq!(convert(0, 0x72b0)[0].flag, Flag::FAIL);
        assert_eq!(convert(0xffff, 0x72b0)[0].flag, Flag::FAIL);
    }
}
