//! Plantower PMSA003I: particulate matter.
//!
//! The chip measures by itself and has its newest frame ready at all times: 32 bytes, "Transport protocol - I2C" in the
//! PMSA003I data manual. With steady air the frame changes every 2.3 s, so two samples closer together may well be equal.
//! It cannot be reset and has no serial number, so the hours of its laser, which is on whenever the chip is, are counted for whoever is
//! at the address. Nor does a frame tell when the power was away between two samples: if the
//! fan already turns again by the next one, the values are too small for half a minute and nothing here knows it.

use std::time::Duration;

use embedded_hal::i2c::I2c;
use reading::{Quantity, Reason};

use super::laser::{Laser, YEAR};
use super::{Driver, Failure, Measured, Surroundings};
use crate::model::Datasheet;

pub(crate) const DATASHEET: Datasheet = Datasheet {
    name: "PMSA003I",
    members: &[],
    addresses: &[0x12],
    quantities: &[Quantity::PM1, Quantity::PM2_5, Quantity::PM10],
    // The fan needs 30 s to bring a steady flow of air (data manual, "Circuit attentions").
    warm_up: Duration::from_secs(30),
    // A steady air gives a new frame every 2.3 s (data manual, "Transport protocol").
    min_interval: Duration::from_millis(2300),
    tend_every: None,
    own_waits: Duration::from_millis(50),
};

const FRAME_BYTES: usize = 32;
/// Start bytes, and the 28 bytes that follow the length.
const HEADER: [u8; 4] = [0x42, 0x4d, 0, 28];

/// Where the concentrations "under atmospheric environment" are; those before them are for calibration with CF=1 particles.
const PM1: usize = 10;
const PM2_5: usize = 12;
const PM10: usize = 14;
/// Before it, the concentrations and the counts of particles in 0.1 l of air.
const VERSION: usize = 28;
const ERROR_CODE: usize = 29;
const CHECKSUM: usize = 30;

/// "Effective range" in the data manual's technical index: beyond it the accuracy is not stated.
const EFFECTIVE: f32 = 500.0;
/// "Maximum range" of the same.
const MAXIMUM: f32 = 1000.0;

/// "Mean time to failure": three years or more, the data manual's only number for it.
const LIFE: Duration = YEAR.saturating_mul(3);

/// What the memory of this layout begins with.
const MEMORY_VERSION: u8 = 1;

/// The driver.
pub struct Pmsa003i<I2C> {
    i2c: I2C,
    address: u8,
    laser: Laser,
    /// Since when frames come without a break, as far as we saw: the fan may have started only then.
    blowing_since: Option<Duration>,
}

/// Whether frames come from `address`. Reading sends the chip nothing.
fn identify(i2c: &mut impl I2c, address: u8) -> Result<String, Failure> {
    read_frame(i2c, address).map(|_| String::new())
}

/// Reads a frame, twice if need be: one frame may be torn; another chip says the same again.
fn read_frame(i2c: &mut impl I2c, address: u8) -> Result<[u8; FRAME_BYTES], Failure> {
    match read_once(i2c, address) {
        Err(failure) if failure.reason == Reason::WRONG_CHIP => read_once(i2c, address),
        outcome => outcome,
    }
}

fn read_once(i2c: &mut impl I2c, address: u8) -> Result<[u8; FRAME_BYTES], Failure> {
    let mut frame = [0; FRAME_BYTES];
    i2c.read(address, &mut frame).map_err(|error| Failure::of_bus(&error))?;
    if !frame.starts_with(&HEADER) {
        let detail = format!("the answer begins with {:02x?}, a PMSA003I's with {HEADER:02x?}", &frame[..4]);
        return Err(Failure::new(Reason::WRONG_CHIP, detail));
    }
    let sum: u16 = frame[..CHECKSUM].iter().map(|byte| u16::from(*byte)).sum();
    if sum != word(&frame, CHECKSUM) {
        return Err(Failure::new(Reason::CHECKSUM, "the frame's checksum does not match"));
    }
    Ok(frame)
}

fn word(frame: &[u8; FRAME_BYTES], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

impl<I2C: I2c> Pmsa003i<I2C> {
    /// A driver for the chip at `address`; it does nothing yet.
    pub fn new(i2c: I2C, address: u8) -> Self {
        Self { i2c, address, laser: Laser::new(LIFE), blowing_since: None }
    }

    fn frame(&mut self) -> Result<[u8; FRAME_BYTES], Failure> {
        let frame = read_frame(&mut self.i2c, self.address)?;
        match frame[ERROR_CODE] {
            0 => Ok(frame),
            code => Err(Failure::new(Reason::SENSOR_FAULT, format!("the chip reports error code 0x{code:02x}"))),
        }
    }
}

impl<I2C: I2c> Driver for Pmsa003i<I2C> {
    fn identify(&mut self) -> Result<String, Failure> {
        identify(&mut self.i2c, self.address)
    }

    fn start(&mut self, now: Duration) -> Result<Option<String>, Failure> {
        self.frame()?;
        self.laser.is_off();
        self.laser.is_on(now);
        self.blowing_since = Some(now);
        Ok(None)
    }

    fn is_running(&self) -> bool {
        self.blowing_since.is_some()
    }

    fn sample(&mut self, now: Duration, _around: &Surroundings) -> Result<Vec<Measured>, Failure> {
        let outcome = self.frame();
        if outcome.as_ref().is_err_and(|failure| [Reason::NO_ANSWER, Reason::WRONG_CHIP].contains(&failure.reason)) {
            self.blowing_since = None;
            self.laser.is_off();
        }
        let frame = outcome?;
        self.laser.is_on(now);
        let empty = frame[HEADER.len()..VERSION].iter().all(|byte| *byte == 0);
        let readings = [(Quantity::PM1, PM1), (Quantity::PM2_5, PM2_5), (Quantity::PM10, PM10)];
        let doubt = if empty {
            // Not one particle in a decilitre: hardly outdoors. A chip that does not get going says so too, and one whose
            // power was away for a moment; so the fan is cold again.
            self.blowing_since = Some(now);
            Some(Reason::RESET_PATTERN)
        } else {
            let cold = self.blowing_since.is_none_or(|since| now < since + DATASHEET.warm_up);
            cold.then_some(Reason::WARMING_UP)
        };
        let judge = |(quantity, at)| self.laser.judge(judge(quantity, word(&frame, at), doubt));
        Ok(readings.into_iter().map(judge).collect())
    }

    fn memory(&self, _now: Duration) -> Option<Vec<u8>> {
        Some([MEMORY_VERSION].into_iter().chain(self.laser.seconds().to_be_bytes()).collect())
    }

    fn restore(&mut self, memory: &[u8], _age: Option<Duration>) {
        if let &[MEMORY_VERSION, a, b, c, d] = memory {
            self.laser.add(Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into()));
        }
    }

    /// The fan goes on: the chip takes no commands over I2C.
    fn stop(&mut self) {
        self.blowing_since = None;
        self.laser.is_off();
    }
}

fn judge(quantity: Quantity, micrograms: u16, doubt: Option<Reason>) -> Measured {
    let measured = Measured::within(quantity, f32::from(micrograms), 0.0..=MAXIMUM);
    match doubt {
        Some(reason) => measured.suspect(reason),
        None if measured.value > EFFECTIVE => measured.suspect(Reason::OUT_OF_RANGE),
        None => measured,
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use reading::Flag;

    use super::*;

    const ADDRESS: u8 = 0x12;

    /// A frame with standard concentrations that must not be taken, and an error code.
    fn frame(pm1: u16, pm2_5: u16, pm10: u16, error: u8) -> Vec<u8> {
        let mut frame = vec![0x42, 0x4d, 0x00, 0x1c];
        for word in [901, 902, 903, pm1, pm2_5, pm10, 1200, 300, 40, 5, 1, 0] {
            frame.extend(u16::to_be_bytes(word));
        }
        frame.extend([0x97, error]);
        let sum: u16 = frame.iter().map(|byte| u16::from(*byte)).sum();
        frame.extend(sum.to_be_bytes());
        frame
    }

    fn read(answer: Vec<u8>) -> Transaction {
        Transaction::read(ADDRESS, answer)
    }

    /// Starts the chip at 0 s with a good frame and samples it at `at_s` with `answers`.
    fn sample(answers: &[Transaction], at_s: u64) -> (Result<Vec<Measured>, Failure>, bool) {
        let mut mock = Mock::new(&[&[read(frame(1, 1, 1, 0))], answers].concat());
        let mut driver = Pmsa003i::new(mock.clone(), ADDRESS);
        driver.start(Duration::ZERO).unwrap();
        let outcome = driver.sample(Duration::from_secs(at_s), &Surroundings::default());
        mock.done();
        (outcome, driver.is_running())
    }

    #[test]
    fn the_atmospheric_concentrations_are_read() {
        let (readings, _) = sample(&[read(frame(11, 22, 33, 0))], 30);
        let expected = [(Quantity::PM1, 11.0), (Quantity::PM2_5, 22.0), (Quantity::PM10, 33.0)];
        assert_eq!(readings, Ok(expected.map(|(quantity, value)| Measured::good(quantity, value)).to_vec()));
    }

    #[test]
    fn the_fan_needs_half_a_minute() {
        let (readings, _) = sample(&[read(frame(11, 22, 33, 0))], 29);
        let readings = readings.unwrap();
        assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::WARMING_UP), "{readings:?}");
    }

    #[test]
    fn beyond_the_effective_range_is_suspect_and_beyond_the_maximum_wrong() {
        let (readings, _) = sample(&[read(frame(500, 501, 1001, 0))], 60);
        let flags: Vec<_> = readings.unwrap().iter().map(|measured| measured.flag).collect();
        assert_eq!(flags, [Flag::GOOD, Flag::SUSPECT, Flag::FAIL]);
    }

    #[test]
    fn air_without_a_single_particle_is_suspect() {
        let mut empty = vec![0x42, 0x4d, 0, 28];
        empty.resize(28, 0);
        empty.extend([0x97, 0, 0x01, 0x42]);
        let (readings, _) = sample(&[read(empty)], 60);
        assert!(readings.unwrap().iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::RESET_PATTERN));
        // Less than half a microgram is not nothing.
        let (readings, _) = sample(&[read(frame(0, 0, 0, 0))], 60);
        assert!(readings.unwrap().iter().all(|measured| measured.flag == Flag::GOOD));
    }

    #[test]
    fn a_torn_frame_gives_no_value_and_the_fan_stays_warm() {
        let mut flipped = frame(11, 22, 33, 0);
        flipped[13] ^= 4;
        let mut broken_off = frame(11, 22, 33, 0);
        broken_off[16..].fill(0xff);
        for torn in [flipped, broken_off] {
            let (outcome, running) = sample(&[read(torn)], 60);
            assert_eq!(outcome.unwrap_err().reason, Reason::CHECKSUM);
            assert!(running);
        }
        let (outcome, running) = sample(&[read(vec![0; 32]), read(frame(1, 2, 3, 0))], 60);
        assert!(outcome.is_ok() && running);
    }

    #[test]
    fn a_chip_that_calls_itself_broken_is_believed() {
        let (outcome, _) = sample(&[read(frame(11, 22, 33, 0x20))], 60);
        let failure = outcome.unwrap_err();
        assert_eq!(failure.reason, Reason::SENSOR_FAULT);
        assert!(failure.detail.contains("0x20"));
    }

    #[test]
    fn a_chip_that_was_away_has_a_cold_fan() {
        let nack = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
        let (outcome, running) = sample(&[read(vec![0; 32]).with_error(nack)], 60);
        assert_eq!(outcome.unwrap_err().reason, Reason::NO_ANSWER);
        assert!(!running);
    }

    #[test]
    fn the_hours_of_the_laser_are_remembered_and_make_it_suspect_in_the_end() {
        let mut mock = Mock::new(&[read(frame(1, 1, 1, 0)), read(frame(11, 22, 33, 0)), read(frame(11, 22, 33, 0))]);
        let mut driver = Pmsa003i::new(mock.clone(), ADDRESS);
        let three_years_s = 3 * 365 * 24 * 3600;
        driver.restore(&[&[1][..], &u32::to_be_bytes(three_years_s - 60)].concat(), None);
        driver.restore(&[9, 0, 0, 0, 1], None);
        driver.start(Duration::ZERO).unwrap();
        for (at_s, reason) in [(60, Reason::NONE), (61, Reason::LASER_AGE)] {
            let readings = driver.sample(Duration::from_secs(at_s), &Surroundings::default()).unwrap();
            assert!(readings.iter().all(|measured| measured.reason == reason), "{readings:?}");
        }
        let memory = [&[1][..], &u32::to_be_bytes(three_years_s + 1)].concat();
        assert_eq!(driver.memory(Duration::from_secs(61)), Some(memory));
        mock.done();
    }

    #[test]
    fn another_chip_is_refused() {
        let (outcome, running) = sample(&[read(vec![7; 32]), read(vec![7; 32])], 60);
        assert_eq!((outcome.unwrap_err().reason, running), (Reason::WRONG_CHIP, false));

        let mut mock = Mock::new(&[read(vec![7; 32]), read(vec![7; 32])]);
        let failure = Pmsa003i::new(mock.clone(), ADDRESS).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        mock.done();
    }
}
