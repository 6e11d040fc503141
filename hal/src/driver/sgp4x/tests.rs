use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use reading::Flag;

use super::super::sensirion::script::Script;
use super::*;

const AT: Script = Script(ADDRESS);
const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
const SERIAL: [u16; 3] = [0x0000, 0x065d, 0xa03b];
const OFF: [u16; 2] = [0x8000, 0x6666];
const HOUR_S: u64 = 3600;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn start(part: Part) -> Vec<Transaction> {
    let feature_set = if part == Part::Sgp40 { 0x3220 } else { 0x0240 };
    [AT.ask(GET_FEATURE_SET, &[feature_set]), AT.ask(GET_SERIAL, &SERIAL)].concat()
}

fn sgp40(voc: u16) -> Vec<Transaction> {
    AT.ask_with(SGP40_MEASURE_RAW, &OFF, &[voc])
}

/// Clean air for so many seconds, with a little noise.
fn clean_air(seconds: usize) -> Vec<Vec<Transaction>> {
    (30_000..=30_001).cycle().take(seconds).map(sgp40).collect()
}

fn heater_off() -> Vec<Transaction> {
    AT.send(TURN_HEATER_OFF, &[])
}

fn started(part: Part, script: Vec<Vec<Transaction>>) -> (Mock, Sgp4x<Mock, NoopDelay>) {
    let mock = Mock::new(&[start(part), script.concat()].concat());
    let mut driver = Sgp4x::new(mock.clone(), NoopDelay::new(), part);
    assert_eq!(driver.start(secs(0)), Ok(Some("0000065da03b".to_owned())));
    (mock, driver)
}

/// Tends each second from the first to the last.
fn tend(driver: &mut Sgp4x<Mock, NoopDelay>, seconds: std::ops::RangeInclusive<u64>) {
    for second in seconds {
        driver.tend(secs(second), &Surroundings::default()).unwrap();
    }
}

fn sample(driver: &mut Sgp4x<Mock, NoopDelay>, second: u64) -> Result<Vec<Measured>, Failure> {
    driver.sample(secs(second), &Surroundings::default())
}

#[test]
fn the_commands_on_the_wire_are_those_of_the_data_sheet() {
    // SGP40 data sheet, "Description of the I2C measurement command".
    let bytes = vec![0x26, 0x0f, 0x80, 0x00, 0xa2, 0x66, 0x66, 0x93];
    assert_eq!(AT.send(SGP40_MEASURE_RAW, &OFF), [Transaction::write(0x59, bytes)]);
}

#[test]
fn the_air_is_told_in_ticks() {
    let ticks = |percent, celsius| {
        compensation(&Surroundings { humidity: Some(percent), temperature: Some(celsius), ..Surroundings::default() })
    };
    // The table's default, minimum and maximum, and the numbers that a published driver cannot express.
    assert_eq!(ticks(50.0, 25.0), OFF);
    assert_eq!(ticks(0.0, -45.0), [0, 0]);
    assert_eq!(ticks(100.0, 130.0), [0xffff, 0xffff]);
    assert_eq!(ticks(80.0, 40.0), [52_428, 31_831]);
    assert_eq!(ticks(f32::NAN, 20.0), OFF);
    let half = Surroundings { humidity: Some(80.0), ..Surroundings::default() };
    assert_eq!(compensation(&half), OFF);
}

#[test]
fn an_index_is_missing_in_the_blackout_suspect_while_it_rises_and_given_once() {
    let (mut mock, mut driver) = started(Part::Sgp40, clean_air(181));
    assert_eq!(sample(&mut driver, 0).unwrap_err().reason, Reason::WARMING_UP);
    tend(&mut driver, 1..=46);
    assert_eq!(sample(&mut driver, 46).unwrap_err().reason, Reason::WARMING_UP);
    tend(&mut driver, 47..=60);
    let rising = sample(&mut driver, 60).unwrap()[0];
    assert_eq!((rising.flag, rising.reason, rising.quantity), (Flag::SUSPECT, Reason::WARMING_UP, Quantity::VOC_INDEX));
    assert!(rising.value < 60.0, "{rising:?}");
    tend(&mut driver, 61..=180);
    assert_eq!(sample(&mut driver, 180), Ok(vec![Measured::good(Quantity::VOC_INDEX, 100.0)]));
    assert_eq!(sample(&mut driver, 181).unwrap_err().reason, Reason::NOT_READY);
    tend(&mut driver, 181..=181);
    assert_eq!(sample(&mut driver, 185).unwrap_err().reason, Reason::NOT_READY, "four seconds old");
    mock.done();
}

#[test]
fn a_sgp41_is_conditioned_for_less_than_ten_seconds() {
    // With the default air, whatever the air is; and the signals make a little noise.
    let condition = AT.ask_with(SGP41_CONDITION, &OFF, &[30_000]);
    let humid = Surroundings { humidity: Some(80.0), temperature: Some(40.0), ..Surroundings::default() };
    let measure = |noise: u16| AT.ask_with(SGP41_MEASURE_RAW, &[52_428, 31_831], &[30_000 + noise, 15_000 + noise]);
    let script = [vec![condition; 8], [measure(0), measure(1)].into_iter().cycle().take(172).collect()];
    let (mut mock, mut driver) = started(Part::Sgp41, script.concat());
    for second in 1..=180 {
        driver.tend(secs(second), &humid).unwrap();
    }
    let expected = [Measured::good(Quantity::VOC_INDEX, 100.0), Measured::good(Quantity::NOX_INDEX, 1.0)];
    assert_eq!(sample(&mut driver, 180), Ok(expected.to_vec()));
    mock.done();
}

#[test]
fn a_sgp41_that_fails_is_not_left_conditioning() {
    let broken =
        vec![AT.send(SGP41_CONDITION, &OFF), vec![Transaction::read(ADDRESS, vec![0x75, 0x30, 0x00])], heater_off()];
    let (mut mock, mut driver) = started(Part::Sgp41, broken);
    let failure = driver.tend(secs(1), &Surroundings::default()).unwrap_err();
    assert_eq!((failure.reason, driver.is_running()), (Reason::CHECKSUM, false));
    mock.done();
}

#[test]
fn a_short_gap_is_none_and_after_a_long_one_the_algorithm_starts_again() {
    let script = vec![sgp40(30_000), sgp40(30_000), heater_off(), start(Part::Sgp40), heater_off()];
    let (mut mock, mut driver) = started(Part::Sgp40, script);
    tend(&mut driver, 1..=1);
    tend(&mut driver, 6..=6);
    let failure = driver.tend(secs(12), &Surroundings::default()).unwrap_err();
    assert_eq!((failure.reason, driver.is_running()), (Reason::NOT_READY, false));
    driver.start(secs(13)).unwrap();
    // Nobody looks after it at all.
    assert_eq!(sample(&mut driver, 20).unwrap_err().reason, Reason::NOT_READY);
    assert!(!driver.is_running());
    mock.done();
}

#[test]
fn a_chip_whose_signals_stand_still_has_no_index() {
    let measure = |voc, nox| AT.ask_with(SGP41_MEASURE_RAW, &OFF, &[voc, nox]);
    let condition = AT.ask_with(SGP41_CONDITION, &OFF, &[30_000]);
    let alive = [measure(30_000, 15_000), measure(30_001, 15_001)].into_iter().cycle().take(172);
    let nox_stuck = [measure(30_000, 15_001), measure(30_001, 15_001)].into_iter().cycle().take(120);
    let both_stuck = vec![measure(30_001, 15_001); 120];
    let script = [vec![condition; 8], alive.collect(), nox_stuck.collect(), both_stuck].concat();
    let (mut mock, mut driver) = started(Part::Sgp41, script);
    tend(&mut driver, 1..=300);
    let readings = sample(&mut driver, 300).unwrap();
    assert_eq!(readings[0], Measured::good(Quantity::VOC_INDEX, 100.0));
    assert_eq!(readings[1], Measured::missing(Quantity::NOX_INDEX, Reason::FLAT_LINE));
    tend(&mut driver, 301..=420);
    let failure = sample(&mut driver, 420).unwrap_err();
    assert_eq!((failure.reason, driver.is_running()), (Reason::FLAT_LINE, true));
    mock.done();
}

#[test]
fn the_other_chip_at_the_address_is_refused() {
    for (part, feature_set) in [(Part::Sgp40, 0x0240), (Part::Sgp41, 0x3220)] {
        let mut mock = Mock::new(&AT.ask(GET_FEATURE_SET, &[feature_set]));
        let failure = Sgp4x::new(mock.clone(), NoopDelay::new(), part).identify().unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        mock.done();
    }
}

#[test]
fn failures_end_it_with_their_reason() {
    let measure = || AT.send(SGP40_MEASURE_RAW, &OFF);
    let busy = [measure(), vec![Transaction::read(ADDRESS, vec![0; 3]).with_error(NACK)]].concat();
    let gone: Vec<_> = measure().into_iter().map(|sent| sent.with_error(NACK)).collect();
    for (script, reason) in [(busy, Reason::NOT_READY), (gone, Reason::NO_ANSWER)] {
        let (mut mock, mut driver) = started(Part::Sgp40, vec![script, heater_off()]);
        let failure = driver.tend(secs(1), &Surroundings::default()).unwrap_err();
        assert_eq!((failure.reason, driver.is_running()), (reason, false));
        mock.done();
    }
}

/// What four hours of clean air leave.
fn memory() -> Vec<u8> {
    let (mut mock, mut driver) = started(Part::Sgp40, clean_air(4 * HOUR_S as usize));
    tend(&mut driver, 1..=2 * HOUR_S);
    assert_eq!(driver.memory(secs(2 * HOUR_S)), None);
    tend(&mut driver, 2 * HOUR_S + 1..=4 * HOUR_S);
    let memory = driver.memory(secs(4 * HOUR_S)).unwrap();
    mock.done();
    memory
}

#[test]
fn what_was_learned_counts_for_ten_minutes_and_for_its_chip() {
    let memory = memory();
    assert_eq!(memory.len(), 15);
    let mut anothers = memory.clone();
    anothers[2] ^= 1;
    for (memory, age, resumes) in [
        (&memory, Some(secs(599)), true),
        (&memory, Some(secs(600)), false),
        (&memory, None, false),
        (&anothers, Some(secs(1)), false),
        (&memory[..14].to_vec(), Some(secs(1)), false),
        (&[&memory[..7], &[0xff; 8]].concat(), Some(secs(1)), false),
    ] {
        let mut mock = Mock::new(&[start(Part::Sgp40), clean_air(47).concat()].concat());
        let mut driver = Sgp4x::new(mock.clone(), NoopDelay::new(), Part::Sgp40);
        driver.restore(memory, age);
        driver.start(secs(0)).unwrap();
        tend(&mut driver, 1..=47);
        let first = sample(&mut driver, 47).unwrap()[0];
        if resumes {
            assert_eq!(first, Measured::good(Quantity::VOC_INDEX, 100.0));
        } else {
            assert_eq!((first.value, first.flag), (1.0, Flag::SUSPECT));
        }
        mock.done();
    }
}
