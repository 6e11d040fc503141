use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use reading::Flag;

use super::super::sensirion::script::Script;
use super::*;

const AT: Script = Script(ADDRESS);
const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
const SERIAL: [u16; 3] = [0x0000, 0x01b8, 0x9fe2];
const HOUR_S: u64 = 3600;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn start() -> Vec<Transaction> {
    [AT.ask(GET_FEATURE_SET, &[0x0022]), AT.ask(GET_SERIAL, &SERIAL), AT.send(INIT_AIR_QUALITY, &[])].concat()
}

fn measure(eco2: u16, tvoc: u16) -> Vec<Transaction> {
    AT.ask(MEASURE_AIR_QUALITY, &[eco2, tvoc])
}

/// A driver with what it is to see, started at 0 s after what `before` does to it.
fn started(
    script: &[Vec<Transaction>],
    before: impl FnOnce(&mut Sgp30<Mock, NoopDelay>),
) -> (Mock, Sgp30<Mock, NoopDelay>) {
    let mock = Mock::new(&[start(), script.concat()].concat());
    let mut driver = Sgp30::new(mock.clone(), NoopDelay::new());
    before(&mut driver);
    assert_eq!(driver.start(secs(0)), Ok(Some("000001b89fe2".to_owned())));
    (mock, driver)
}

fn nowhere() -> Surroundings {
    Surroundings::default()
}

#[test]
fn each_measurement_is_given_once_and_none_of_the_first_fifteen_seconds() {
    let script = [measure(400, 0), measure(417, 12), measure(418, 13)];
    let (mut mock, mut driver) = started(&script, |_| {});
    driver.tend(secs(9), &nowhere()).unwrap();
    assert_eq!(driver.sample(secs(10), &nowhere()).unwrap_err().reason, Reason::WARMING_UP);
    driver.tend(secs(16), &nowhere()).unwrap();
    driver.tend(secs(17), &nowhere()).unwrap();
    let readings = driver.sample(secs(17), &nowhere()).unwrap();
    assert_eq!(readings, [Measured::good(Quantity::TVOC, 13.0), Measured::good(Quantity::ECO2, 418.0)]);
    assert_eq!(driver.sample(secs(18), &nowhere()).unwrap_err().reason, Reason::NOT_READY);
    assert!(driver.is_running());
    mock.done();
}

#[test]
fn a_measurement_that_nobody_asked_for_in_time_is_not_given() {
    let (mut mock, mut driver) = started(&[measure(400, 0), measure(417, 12)], |_| {});
    driver.tend(secs(8), &nowhere()).unwrap();
    driver.tend(secs(16), &nowhere()).unwrap();
    assert_eq!(driver.sample(secs(20), &nowhere()).unwrap_err().reason, Reason::NOT_READY);
    mock.done();
}

#[test]
fn after_a_gap_the_algorithm_is_started_again() {
    let (mut mock, mut driver) = started(&[measure(400, 0), start()], |_| {});
    driver.tend(secs(1), &nowhere()).unwrap();
    assert_eq!(driver.tend(secs(12), &nowhere()).unwrap_err().reason, Reason::NOT_READY);
    assert!(!driver.is_running());
    driver.start(secs(13)).unwrap();
    // Nobody looked after it at all.
    assert_eq!(driver.sample(secs(30), &nowhere()).unwrap_err().reason, Reason::NOT_READY);
    assert!(!driver.is_running());
    mock.done();
}

#[test]
fn the_air_is_told_in_256ths_of_a_gram() {
    // "Humidity Compensation": 0x0f80 is 15.50 g/m3, which is what 25 Cel and 67.4 %RH are.
    let air = Surroundings { temperature: Some(25.0), humidity: Some(67.4), ..nowhere() };
    let drier = Surroundings { humidity: Some(67.1), ..air };
    let script = [
        AT.send(SET_HUMIDITY, &[absolute_humidity(&air)]),
        measure(400, 0),
        measure(400, 0),
        AT.send(SET_HUMIDITY, &[0]),
        measure(400, 0),
    ];
    let (mut mock, mut driver) = started(&script, |_| {});
    assert!(absolute_humidity(&air).abs_diff(0x0f80) <= 13, "{:#06x}", absolute_humidity(&air));
    for (second, around) in (1..).zip([air, drier, nowhere()]) {
        driver.tend(secs(second), &around).unwrap();
    }
    mock.done();
    // Dry air is told as the driest that there is, for 0 would turn the compensation off.
    assert_eq!(absolute_humidity(&Surroundings { humidity: Some(0.0), ..air }), 1);
    assert_eq!(absolute_humidity(&Surroundings { temperature: Some(-243.12), ..air }), 1);
    assert_eq!(absolute_humidity(&Surroundings { humidity: Some(f32::NAN), ..air }), 0);
}

#[test]
fn a_baseline_is_remembered_after_twelve_hours_and_set_within_a_week() {
    let (mut mock, mut driver) =
        started(&[measure(417, 12), measure(417, 12), AT.ask(GET_BASELINE, &[0x8a2b, 0x8c4d])], |_| {});
    let last = 12 * HOUR_S;
    driver.running.as_mut().unwrap().measured = secs(last - 2);
    driver.tend(secs(last - 1), &nowhere()).unwrap();
    assert_eq!(driver.memory(secs(last - 1)), None);
    driver.tend(secs(last), &nowhere()).unwrap();
    let memory = driver.memory(secs(last)).unwrap();
    mock.done();

    let set = AT.send(SET_BASELINE, &[0x8c4d, 0x8a2b]);
    let (mut mock, mut driver) = started(&[set], |driver| driver.restore(&memory, Some(secs(6 * 24 * HOUR_S))));
    assert_eq!(driver.memory(secs(0)), Some(memory.clone()));
    driver.stop();
    mock.done();

    let mut anothers = memory.clone();
    anothers[3] ^= 1;
    for (memory, age) in [
        (&memory, Some(secs(7 * 24 * HOUR_S))),
        (&memory, None),
        (&anothers, Some(secs(60))),
        (&memory[..5].to_vec(), Some(secs(60))),
        (&[&[9], &memory[1..]].concat(), Some(secs(60))),
    ] {
        started(&[], |driver| driver.restore(memory, age)).0.done();
    }
}

#[test]
fn a_chip_that_says_400_and_0_without_a_baseline_is_doubted_or_has_lost_its_power() {
    let clean = |eco2, tvoc| [measure(400, 0), AT.ask(GET_BASELINE, &[eco2, tvoc])].concat();
    let script = [clean(0, 0), clean(0x8a2b, 0x8c4d), clean(0, 0)];
    let (mut mock, mut driver) = started(&script, |_| {});
    driver.running.as_mut().unwrap().measured = secs(15);
    for (second, flag) in [(16, Flag::SUSPECT), (17, Flag::GOOD)] {
        driver.tend(secs(second), &nowhere()).unwrap();
        assert!(driver.sample(secs(second), &nowhere()).unwrap().iter().all(|measured| measured.flag == flag));
    }
    assert_eq!(driver.tend(secs(18), &nowhere()).unwrap_err().reason, Reason::RESET_PATTERN);
    assert!(!driver.is_running());
    mock.done();

    let (mut mock, mut driver) = started(&[measure(417, 12), clean(0, 0)], |_| {});
    driver.running.as_mut().unwrap().measured = secs(15);
    driver.tend(secs(16), &nowhere()).unwrap();
    assert_eq!(driver.tend(secs(17), &nowhere()).unwrap_err().reason, Reason::RESET_PATTERN);
    mock.done();
}

#[test]
fn failures_end_it_with_their_reason() {
    let broken = AT.broken(MEASURE_AIR_QUALITY, &[417, 12]);
    let busy =
        vec![Transaction::write(ADDRESS, vec![0x20, 0x08]), Transaction::read(ADDRESS, vec![0; 6]).with_error(NACK)];
    let gone = vec![Transaction::write(ADDRESS, vec![0x20, 0x08]).with_error(NACK)];
    for (script, reason) in [(broken, Reason::CHECKSUM), (busy, Reason::NOT_READY), (gone, Reason::NO_ANSWER)] {
        let (mut mock, mut driver) = started(&[script], |_| {});
        assert_eq!(driver.tend(secs(1), &nowhere()).unwrap_err().reason, reason);
        assert!(!driver.is_running());
        mock.done();
    }
}

#[test]
fn another_product_is_refused() {
    // A SGPC3, and a SGP30 from before its commands.
    for feature_set in [0x1006, 0x0009] {
        let mut mock = Mock::new(&AT.ask(GET_FEATURE_SET, &[feature_set]));
        let failure = Sgp30::new(mock.clone(), NoopDelay::new()).identify().unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        mock.done();
    }
}

#[test]
fn values_beyond_the_scale_are_wrong() {
    let flags = |eco2, tvoc| convert(eco2, tvoc).iter().map(|measured| measured.flag).collect::<Vec<_>>();
    assert_eq!(flags(60_000, 60_000), [Flag::GOOD; 2]);
    assert_eq!(flags(399, 60_001), [Flag::FAIL; 2]);
}
