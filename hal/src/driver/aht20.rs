//! Asair AHT20, and DHT20, which is an AHT20 in a case: temperature, humidity.
//!
//! Section numbers are those of the AHT20 product manual (version 1.1). The byte 0x71, which section 5.4 wants to be sent for the
//! status, is the chip's address with the read bit: a read alone gives the status, and a chip that is sent 0x71 as a command can stay
//! busy for ever (found by others: anglerud/aht20-driver, pull request 10). Checked against the DHT20's data sheet (version 1.0)
//! and Adafruit's and Zephyr's drivers.
//!
//! It has no id. What a chip here answers to a read decides; nothing is written to a chip that does not look like one.

use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};
use sensirion_i2c::crc8;

use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "AHT20",
    members: &["DHT20"],
    addresses: &[0x38],
    quantities: &[Quantity::TEMPERATURE, Quantity::HUMIDITY],
    warm_up: Duration::ZERO,
    // Sampled oftener it warms itself by more than 0.1 Cel (section 4.1).
    min_interval: Duration::from_secs(2),
    tend_every: None,
    own_waits: Duration::from_millis(250),
};

// Commands, sections 5.3 and 5.5.
const INITIALISE: [u8; 3] = [0xbe, 0x08, 0x00];
const MEASURE: [u8; 3] = [0xac, 0x33, 0x00];
const SOFT_RESET: u8 = 0xba;

// The status, table 10.
const BUSY: u8 = 1 << 7;
const CALIBRATED: u8 = 1 << 3;
/// Always zero on an AHT20; an AHT10 had a mode here.
const MODE: u8 = 0b11 << 5;

/// A soft reset takes 20 ms at most (section 5.5).
const RESET_MS: u32 = 20;
/// After `INITIALISE` (section 5.4).
const INITIALISE_MS: u32 = 10;
/// A measurement takes 80 ms (section 5.4).
const MEASURE_MS: u32 = 80;
/// A chip that is later than its data sheet is looked at this many times more, so far apart; after that it counts as stuck.
const EXTRA_LOOKS: u32 = 5;
const LOOK_MS: u32 = 10;

/// A status, 20 bits of humidity, 20 bits of temperature, a checksum (section 5.4, figure 15).
type Frame = [u8; 7];

/// The driver.
pub struct Aht20<I2C, D> {
    i2c: I2C,
    delay: D,
    address: u8,
    running: bool,
}

impl<I2C: I2c, D: DelayNs> Aht20<I2C, D> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, delay: D, address: u8) -> Self {
        Self { i2c, delay, address, running: false }
    }

    fn read(&mut self) -> Result<Frame, Failure> {
        let mut frame = Frame::default();
        self.i2c.read(self.address, &mut frame).map_err(|error| Failure::of_bus(&error))?;
        Ok(frame)
    }

    fn write(&mut self, command: &[u8]) -> Result<(), Failure> {
        self.i2c.write(self.address, command).map_err(|error| Failure::of_bus(&error))
    }

    fn look(&mut self) -> Result<Frame, Failure> {
        let frame = self.read()?;
        if looks_like_one(&frame) {
            return Ok(frame);
        }
        Err(Failure::new(Reason::WRONG_CHIP, "what is here does not answer as an AHT20 does"))
    }

    /// What the chip has after a measurement that was just ordered.
    fn measurement(&mut self) -> Result<Frame, Failure> {
        self.delay.delay_ms(MEASURE_MS);
        for _ in 0..=EXTRA_LOOKS {
            let frame = self.look()?;
            if frame[0] & BUSY == 0 {
                return Ok(frame);
            }
            self.delay.delay_ms(LOOK_MS);
        }
        Err(Failure::new(Reason::NOT_READY, "the measurement does not end"))
    }
}

/// Whether a chip that answers this to a read can be an AHT20: another one repeats itself, as an expander of ports does, or gives
/// an idle bus.
fn looks_like_one(frame: &Frame) -> bool {
    let [first, rest @ ..] = frame;
    first & MODE == 0 && rest.iter().any(|byte| byte != first)
}

impl<I2C: I2c, D: DelayNs> Driver for Aht20<I2C, D> {
    fn identify(&mut self) -> Result<String, Failure> {
        self.look().map(|_| String::new())
    }

    fn start(&mut self, _now: Duration) -> Result<Option<String>, Failure> {
        self.running = false;
        self.look()?;
        self.write(&[SOFT_RESET])?;
        self.delay.delay_ms(RESET_MS);
        let [mut status, ..] = self.look()?;
        if status & CALIBRATED == 0 {
            self.write(&INITIALISE)?;
            self.delay.delay_ms(INITIALISE_MS);
            [status, ..] = self.look()?;
        }
        if status & CALIBRATED == 0 {
            return Err(uncalibrated());
        }
        self.running = true;
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.running
    }

    fn sample(&mut self, _now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let frame = self.write(&MEASURE).and_then(|()| self.measurement());
        let outcome = frame.and_then(|frame| convert(&frame));
        self.running = outcome.is_ok();
        outcome
    }

    /// Between two measurements the chip idles by itself.
    fn stop(&mut self) {
        self.running = false;
    }
}

fn uncalibrated() -> Failure {
    Failure::new(Reason::RESET_PATTERN, "the chip has not loaded its calibration")
}

/// Section 6.
fn convert(frame: &Frame) -> Result<Vec<Measured>, Failure> {
    let [status, h0, h1, shared, t1, t0, checksum] = *frame;
    if crc8::calculate(&frame[..6]) != checksum {
        return Err(Failure::new(Reason::CHECKSUM, "the checksum of the measurement does not match"));
    }
    if status & CALIBRATED == 0 {
        return Err(uncalibrated());
    }
    let humidity = u32::from_be_bytes([0, h0, h1, shared]) >> 4;
    let temperature = u32::from_be_bytes([0, shared & 0x0f, t1, t0]);
    // Nothing measured: zero, or the middle of the scale.
    if humidity == temperature && matches!(humidity, 0 | 0x8_0000) {
        return Err(Failure::new(Reason::RESET_PATTERN, "the chip has not measured since it was reset"));
    }
    let part = |code: u32| code as f32 / (1 << 20) as f32;
    Ok(vec![
        Measured::within(Quantity::TEMPERATURE, part(temperature) * 200.0 - 50.0, -40.0..=85.0),
        Measured::within(Quantity::HUMIDITY, part(humidity) * 100.0, 0.0..=100.0),
    ])
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::delay::NoopDelay;
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::Flag;

    use super::*;

    const ADDRESS: u8 = 0x38;
    const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);

    /// What two chips of their owners sent (github.com/elixir-sensors/aht20, github.com/peff74/ESP_AHT20_BMP280).
    const FRAMES: [Frame; 2] = [[0x1c, 0x26, 0x9a, 0x76, 0x42, 0xe7, 0x76], [0x18, 0x93, 0xac, 0x95, 0x2a, 0xc5, 0xb3]];

    fn with_checksum(bytes: [u8; 6]) -> Frame {
        let [a, b, c, d, e, f] = bytes;
        [a, b, c, d, e, f, crc8::calculate(&bytes)]
    }

    fn read(frame: Frame) -> Transaction {
        Transaction::read(ADDRESS, frame.to_vec())
    }

    fn write(bytes: &[u8]) -> Transaction {
        Transaction::write(ADDRESS, bytes.to_vec())
    }

    fn start() -> Vec<Transaction> {
        vec![read(FRAMES[0]), write(&[0xba]), read(FRAMES[0])]
    }

    fn driver(script: &[Transaction]) -> (Mock, Aht20<Mock, NoopDelay>) {
        let mock = Mock::new(script);
        (mock.clone(), Aht20::new(mock, NoopDelay::new(), ADDRESS))
    }

    /// Runs `script` after a start, and gives what a sample gave, and whether the chip still counts as running.
    fn sample(script: Vec<Transaction>) -> (Result<Vec<Measured>, Failure>, bool) {
        let (mut mock, mut driver) = driver(&[start(), vec![write(&[0xac, 0x33, 0x00])], script].concat());
        assert_eq!(driver.start(Duration::ZERO), Ok(None));
        let outcome = driver.sample(Duration::ZERO, &Surroundings::default());
        mock.done();
        (outcome, driver.is_running())
    }

    #[test]
    fn measurements_of_real_chips() {
        for (frame, celsius, percent) in [(FRAMES[0], 28.2667, 15.0794), (FRAMES[1], 14.5884, 57.6852)] {
            let (readings, running) = sample(vec![read(frame)]);
            let readings = readings.unwrap();
            assert!((readings[0].value - celsius).abs() < 1e-3, "{readings:?}");
            assert!((readings[1].value - percent).abs() < 1e-3, "{readings:?}");
            assert!(running && readings.iter().all(|measured| measured.flag == Flag::GOOD));
        }
    }

    #[test]
    fn a_chip_that_is_late_is_waited_for_and_one_that_is_stuck_is_not() {
        let busy = with_checksum([0x98, 0x26, 0x9a, 0x76, 0x42, 0xe7]);
        let (readings, _) = sample(vec![read(busy), read(busy), read(FRAMES[0])]);
        assert!(readings.is_ok());
        let (failure, running) = sample(vec![read(busy); 6]);
        assert_eq!(failure.unwrap_err().reason, Reason::NOT_READY);
        assert!(!running);
    }

    #[test]
    fn what_is_torn_or_was_never_measured_is_no_value() {
        let mut torn = FRAMES[0];
        torn[4..].fill(0xff);
        let blank = |status| with_checksum([status, 0x80, 0x00, 0x08, 0x00, 0x00]);
        for (frame, reason) in [
            (torn, Reason::CHECKSUM),
            ([0xff; 7], Reason::WRONG_CHIP),
            (with_checksum([0x10, 0x26, 0x9a, 0x76, 0x42, 0xe7]), Reason::RESET_PATTERN),
            (blank(0x18), Reason::RESET_PATTERN),
            (with_checksum([0x18, 0, 0, 0, 0, 0]), Reason::RESET_PATTERN),
        ] {
            let (outcome, running) = sample(vec![read(frame)]);
            assert_eq!(outcome.unwrap_err().reason, reason, "{frame:02x?}");
            assert!(!running);
        }
    }

    #[test]
    fn a_chip_without_calibration_is_initialised_and_one_that_stays_so_refused() {
        let blank = with_checksum([0x10, 0x80, 0x00, 0x08, 0x00, 0x00]);
        let script = [read(blank), write(&[0xba]), read(blank), write(&[0xbe, 0x08, 0x00])];
        let (mut mock, mut driver1) = driver(&[&script[..], &[read(FRAMES[0])]].concat());
        assert_eq!(driver1.start(Duration::ZERO), Ok(None));
        mock.done();
        let (mut mock, mut driver2) = driver(&[&script[..], &[read(blank)]].concat());
        assert_eq!(driver2.start(Duration::ZERO).unwrap_err().reason, Reason::RESET_PATTERN);
        assert!(!driver2.is_running());
        mock.done();
    }

    #[test]
    fn nothing_is_written_to_another_chip() {
        // An expander of ports, an idle bus, a chip with something else in its first byte.
        for other in [[0x5a; 7], [0xff; 7], [0x3c, 0, 1, 2, 3, 4, 5]] {
            let (mut mock, mut driver) = driver(&[read(other), read(other)]);
            assert_eq!(driver.identify().unwrap_err().reason, Reason::WRONG_CHIP);
            assert_eq!(driver.start(Duration::ZERO).unwrap_err().reason, Reason::WRONG_CHIP);
            mock.done();
        }
        let (mut mock, mut driver) = driver(&[read([0; 7]).with_error(NACK)]);
        assert_eq!(driver.start(Duration::ZERO).unwrap_err().reason, Reason::NO_ANSWER);
        mock.done();
    }

    #[test]
    fn what_the_chip_cannot_measure_fails() {
        let frame = with_checksum([0x18, 0x80, 0x00, 0x0f, 0xff, 0xff]);
        let readings = convert(&frame).unwrap();
        assert_eq!((readings[0].flag, readings[0].reason), (Flag::FAIL, Reason::OUT_OF_RANGE), "{readings:?}");
        assert_eq!(readings[1], Measured::good(Quantity::HUMIDITY, 50.0));
    }
}
