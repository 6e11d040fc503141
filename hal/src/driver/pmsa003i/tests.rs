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

/// A driver that started the chip at 0 s with a good frame, and looked at so many more up to `until_s`, two seconds apart.
fn looked_at(until_s: u64, answers: &[Transaction]) -> (Mock, Pmsa003i<Mock>) {
    let seen = vec![read(frame(1, 1, 1, 0)); 1 + until_s as usize / 2];
    let mock = Mock::new(&[&seen, answers].concat());
    let mut driver = Pmsa003i::new(mock.clone(), ADDRESS);
    driver.start(Duration::ZERO).unwrap();
    for second in (2..=until_s).step_by(2) {
        driver.tend(Duration::from_secs(second), &Surroundings::default()).unwrap();
    }
    (mock, driver)
}

/// Samples such a chip once, two seconds after the last look.
fn sample(answers: &[Transaction], at_s: u64) -> (Result<Vec<Measured>, Failure>, bool) {
    let (mut mock, mut driver) = looked_at(at_s - 2, answers);
    let outcome = driver.sample(Duration::from_secs(at_s), &Surroundings::default());
    mock.done();
    (outcome, driver.is_running())
}

#[test]
fn the_atmospheric_concentrations_are_read() {
    let (readings, _) = sample(&[read(frame(11, 22, 33, 0))], 34);
    let expected = [(Quantity::PM1, 11.0), (Quantity::PM2_5, 22.0), (Quantity::PM10, 33.0)];
    assert_eq!(readings, Ok(expected.map(|(quantity, value)| Measured::good(quantity, value)).to_vec()));
}

#[test]
fn the_fan_needs_half_a_minute() {
    let (readings, _) = sample(&[read(frame(11, 22, 33, 0))], 32);
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

/// A frame with so many particles.
fn dusty(particles: u16) -> Transaction {
    let mut frame = frame(11, 22, 33, 0);
    frame[PARTICLES..PARTICLES + 2].copy_from_slice(&particles.to_be_bytes());
    let sum: u16 = frame[..CHECKSUM].iter().map(|byte| u16::from(*byte)).sum();
    frame[CHECKSUM..].copy_from_slice(&sum.to_be_bytes());
    read(frame)
}

/// What is said of the frames that a warm chip has, each two seconds after the other.
fn reasons(particles: &[u16]) -> Vec<Reason> {
    let answers: Vec<_> = particles.iter().copied().map(dusty).collect();
    let (mut mock, mut driver) = looked_at(60, &answers);
    let reason = |second| driver.sample(Duration::from_secs(second), &Surroundings::default()).unwrap()[0].reason;
    let reasons = (62..).step_by(2).take(particles.len()).map(reason).collect();
    mock.done();
    reasons
}

#[test]
fn particles_that_fall_by_more_than_half_at_once_are_those_of_a_fan_that_starts() {
    const COLD: Reason = Reason::WARMING_UP;
    const WARM: Reason = Reason::NONE;
    assert_eq!(reasons(&[1200, 700, 400, 201, 3000]), [WARM; 5], "as wind does");
    assert_eq!(reasons(&[1200, 599, 900, 1200]), [WARM, COLD, COLD, COLD]);
    let half_a_minute = reasons(&[&[1200, 100][..], &[1200; 18]].concat());
    assert_eq!(half_a_minute.iter().filter(|reason| **reason == COLD).count(), 17);
    assert_eq!(half_a_minute.last(), Some(&WARM));
    // A few particles more or less in the cleanest air are chance.
    assert_eq!(reasons(&[600, 300, 150, 99, 20, 60, 5]), [WARM; 7]);
}

#[test]
fn a_fan_that_nobody_watched_may_have_started_meanwhile() {
    for (gap_s, reason) in [(7, Reason::NONE), (8, Reason::WARMING_UP)] {
        let (mut mock, mut driver) = looked_at(60, &[read(frame(1, 2, 3, 0))]);
        let readings = driver.sample(Duration::from_secs(60 + gap_s), &Surroundings::default()).unwrap();
        assert!(readings.iter().all(|measured| measured.reason == reason), "after {gap_s} s: {readings:?}");
        mock.done();
    }
}

#[test]
fn a_frame_without_a_particle_between_two_samples_is_not_missed() {
    let mut empty = vec![0x42, 0x4d, 0, 28];
    empty.resize(28, 0);
    empty.extend([0x97, 0, 0x01, 0x42]);
    let (mut mock, mut driver) = looked_at(60, &[read(empty), read(frame(1, 2, 3, 0))]);
    driver.tend(Duration::from_secs(62), &Surroundings::default()).unwrap();
    let readings = driver.sample(Duration::from_secs(64), &Surroundings::default()).unwrap();
    assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::WARMING_UP), "{readings:?}");
    mock.done();
}

#[test]
fn the_hours_of_the_laser_are_remembered_and_make_it_suspect_in_the_end() {
    let (mut mock, mut driver) = looked_at(60, &[read(frame(11, 22, 33, 0)), read(frame(11, 22, 33, 0))]);
    let three_years_s = 3 * 365 * 24 * 3600;
    driver.restore(&[&[1][..], &u32::to_be_bytes(three_years_s - 62)].concat(), None);
    driver.restore(&[9, 0, 0, 0, 1], None);
    for (at_s, reason) in [(62, Reason::NONE), (63, Reason::LASER_AGE)] {
        let readings = driver.sample(Duration::from_secs(at_s), &Surroundings::default()).unwrap();
        assert!(readings.iter().all(|measured| measured.reason == reason), "{readings:?}");
    }
    let memory = [&[1][..], &u32::to_be_bytes(three_years_s + 1)].concat();
    assert_eq!(driver.memory(Duration::from_secs(63)), Some(memory));
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
