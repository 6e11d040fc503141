use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use reading::Flag;

use super::*;

const ADDRESS: u8 = 0x53;
/// What a chip of its owner sent (github.com/TimHanewich/diagnosing-ens160), with new data.
const DATA_BLOCK: [u8; 6] = [0x83, 2, 174, 0, 148, 2];
const NOTHING_NEW: [u8; 6] = [0x81, 2, 174, 0, 148, 2];

fn write(bytes: &[u8]) -> Transaction {
    Transaction::write(ADDRESS, bytes.to_vec())
}

fn read(register: u8, answer: &[u8]) -> Transaction {
    Transaction::write_read(ADDRESS, vec![register], answer.to_vec())
}

fn identity() -> Transaction {
    read(0x00, &[0x60, 0x01])
}

/// A chip that measures already.
fn taken_over() -> Vec<Transaction> {
    vec![identity(), read(0x10, &[0x02])]
}

fn data_with(block: [u8; 6], misr_after: u8) -> Vec<Transaction> {
    vec![read(0x38, &[0x5a]), read(0x20, &block), read(0x38, &[misr_after])]
}

fn data(block: [u8; 6]) -> Vec<Transaction> {
    data_with(block, misr(0x5a, &block))
}

fn driver(script: &[Vec<Transaction>]) -> (Mock, Ens160<Mock, NoopDelay>) {
    let mock = Mock::new(&script.concat());
    (mock.clone(), Ens160::new(mock, NoopDelay::new(), ADDRESS))
}

/// A sample after a start, and whether the chip still counts as running.
fn sample(block: Vec<Transaction>) -> (Result<Vec<Measured>, Failure>, bool) {
    let (mut mock, mut driver) = driver(&[taken_over(), taken_over(), block]);
    assert_eq!(driver.start(Duration::ZERO), Ok(None));
    let outcome = driver.sample(Duration::from_secs(2), &Surroundings::default());
    mock.done();
    (outcome, driver.is_running())
}

#[test]
fn a_measurement() {
    let (readings, running) = sample(data(DATA_BLOCK));
    assert_eq!(readings.unwrap(), [Measured::good(Quantity::TVOC, 174.0), Measured::good(Quantity::ECO2, 660.0)]);
    assert!(running);
}

#[test]
fn the_checksum_is_that_of_a_shift_register() {
    assert_eq!(misr(0, &[]), 0);
    assert_eq!(misr(0, &[0x01, 0x00]), 0x02);
    assert_eq!(misr(0x80, &[0x00]), 0x1d);
    assert_eq!(misr(0, &NOTHING_NEW), 0xe3);
}

#[test]
fn a_chip_that_sleeps_is_reset_and_set_to_measure() {
    let modes = vec![write(&[0x10, 0xf0]), write(&[0x10, 0x01]), write(&[0x10, 0x02]), read(0x10, &[0x02])];
    let (mut mock, mut driver) = driver(&[vec![identity(), read(0x10, &[0x00])], modes]);
    assert_eq!(driver.start(Duration::ZERO), Ok(None));
    mock.done();
    assert!(driver.is_running());
}

#[test]
fn a_chip_that_warms_up_says_so() {
    for validity in [WARM_UP, INITIAL_START_UP] {
        let (readings, running) = sample(data([0x83 | validity, 2, 174, 0, 148, 2]));
        for measured in readings.unwrap() {
            assert_eq!((measured.flag, measured.reason), (Flag::SUSPECT, Reason::WARMING_UP));
        }
        assert!(running);
        let (outcome, running) = sample(data([0x83 | validity, 0, 0, 0, 0, 0]));
        assert_eq!(outcome.unwrap_err().reason, Reason::WARMING_UP);
        assert!(running);
    }
}

#[test]
fn what_is_wrong_has_its_reason() {
    let torn = [0x83, 2, 174, 0xff, 0xff, 0xff];
    for (block, reason, runs_on) in [
        (data_with(torn, misr(0x5a, &DATA_BLOCK)), Reason::CHECKSUM, false),
        (data_with(DATA_BLOCK, 0), Reason::CHECKSUM, false),
        (data([0x83 | NO_VALID_OUTPUT, 2, 174, 0, 148, 2]), Reason::SENSOR_FAULT, true),
        (data([0x83, 0, 0, 0, 0, 0]), Reason::RESET_PATTERN, false),
        (data(NOTHING_NEW), Reason::WARMING_UP, true),
    ] {
        let (outcome, running) = sample(block);
        assert_eq!((outcome.unwrap_err().reason, running), (reason, runs_on));
    }
    let (readings, _) = sample(data([0x83, 2, 174, 0, 0x8f, 1]));
    assert_eq!(readings.unwrap()[1].reason, Reason::OUT_OF_RANGE, "399 ppm");
}

#[test]
fn a_chip_that_lost_its_mode_or_its_place_gives_nothing() {
    for (transfers, reason) in [
        (vec![identity(), read(0x10, &[0x00])], Reason::RESET_PATTERN),
        (vec![read(0x00, &[0xe5, 0x00])], Reason::WRONG_CHIP),
    ] {
        let (mut mock, mut driver) = driver(&[taken_over(), transfers]);
        driver.start(Duration::ZERO).unwrap();
        let failure = driver.sample(Duration::from_secs(2), &Surroundings::default()).unwrap_err();
        assert_eq!(failure.reason, reason);
        assert!(!driver.is_running());
        mock.done();
    }
}

#[test]
fn a_chip_that_stopped_measuring_or_reports_an_error_is_reset() {
    let reset = vec![identity(), write(&[0x10, 0xf0]), write(&[0x10, 0x01]), write(&[0x10, 0x02]), read(0x10, &[0x02])];
    let nothing = || [taken_over(), data(NOTHING_NEW)].concat();
    let good = [taken_over(), data(DATA_BLOCK)].concat();
    let (mut mock, mut driver1) = driver(&[taken_over(), good, nothing(), nothing(), reset.clone()]);
    driver1.start(Duration::ZERO).unwrap();
    assert!(driver1.sample(Duration::from_secs(2), &Surroundings::default()).is_ok());
    for (second, runs) in [(7, true), (8, false)] {
        let failure = driver1.sample(Duration::from_secs(second), &Surroundings::default()).unwrap_err();
        assert_eq!((failure.reason, driver1.is_running()), (Reason::NOT_READY, runs));
    }
    driver1.start(Duration::from_secs(9)).unwrap();
    mock.done();

    let error = data([0xc3, 2, 174, 0, 148, 2]);
    let (mut mock, mut driver2) = driver(&[taken_over(), taken_over(), error, reset]);
    driver2.start(Duration::ZERO).unwrap();
    let failure = driver2.sample(Duration::from_secs(2), &Surroundings::default()).unwrap_err();
    assert_eq!((failure.reason, driver2.is_running()), (Reason::SENSOR_FAULT, false));
    driver2.start(Duration::from_secs(7)).unwrap();
    mock.done();
}

#[test]
fn it_is_told_what_the_air_is_like() {
    // The examples of sections 16.2.5 and 16.2.6: 25 Cel and 50 %RH.
    let told = vec![write(&[0x13, 0x8a, 0x4a]), write(&[0x15, 0x00, 0x64])];
    let (mut mock, mut driver) = driver(&[taken_over(), taken_over(), told, data(DATA_BLOCK)]);
    driver.start(Duration::ZERO).unwrap();
    let around = Surroundings { temperature: Some(25.0), humidity: Some(50.0), ..Surroundings::default() };
    assert!(driver.sample(Duration::from_secs(2), &around).is_ok());
    mock.done();
}

#[test]
fn an_absent_chip_costs_one_transfer() {
    let nack = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
    let (mut mock, mut driver) = driver(&[vec![identity().with_error(nack)]]);
    assert_eq!(driver.start(Duration::ZERO).unwrap_err().reason, Reason::NO_ANSWER);
    mock.done();
}
