use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use super::super::sensirion::script::Script;
use super::*;

const AT: Script = Script(ADDRESS);
const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
const STATE: [u16; 4] = [0x0001, 0x0203, 0x0405, 0x0607];
/// 4.5, 11.2, 16.0, 18.5 ug/m3; 45.67 %RH; -3.5 Cel; VOC 98.7, NOx 1.0.
const VALUES: [u16; 8] = [45, 112, 160, 185, 4567, 0xfd44, 987, 10];
const OF_SEN54: [u16; 8] = [45, 112, 160, 185, 4567, 0xfd44, 987, 0x7fff];
const WELL: [u16; 2] = [0, 0];

type Transfers = Vec<Vec<Transaction>>;

/// A text as a chip sends it, with zero bytes to the end.
fn text(text: &str) -> [u16; 16] {
    let mut bytes = text.bytes().chain(std::iter::repeat(0));
    std::array::from_fn(|_| u16::from_be_bytes([bytes.next().unwrap(), bytes.next().unwrap()]))
}

fn greeting(part: Part) -> Vec<Transaction> {
    [AT.ask(READ_NAME, &text(part.datasheet().name)), AT.ask(READ_SERIAL, &text("0C2F"))].concat()
}

fn begin(state: Option<[u16; 4]>) -> Vec<Transaction> {
    let state = state.map(|state| AT.send(VOC_STATE, &state)).unwrap_or_default();
    [AT.send(STOP, &[]), state, AT.send(CLEAR_STATUS, &[]), AT.send(START, &[])].concat()
}

/// The start of a chip that was idle.
fn start(part: Part) -> Vec<Transaction> {
    [greeting(part), begin(None)].concat()
}

/// A command that the chip refuses.
fn refused(command: u16) -> Vec<Transaction> {
    AT.send(command, &[]).into_iter().map(|sent| sent.with_error(NACK)).collect()
}

fn measurement(values: [u16; 8], status: [u16; 2]) -> Vec<Transaction> {
    [AT.ask(IS_DATA_READY, &[1]), AT.ask(READ_VALUES, &values), AT.ask(READ_STATUS, &status)].concat()
}

fn started(part: Part, script: Transfers) -> (Mock, Sen5x<Mock, NoopDelay>) {
    let mock = Mock::new(&[start(part), script.concat()].concat());
    let mut driver = Sen5x::new(mock.clone(), NoopDelay::new(), part);
    assert_eq!(driver.start(Duration::ZERO), Ok(Some("0C2F".to_owned())));
    (mock, driver)
}

fn sample(driver: &mut Sen5x<Mock, NoopDelay>, second: u64) -> Result<Vec<Measured>, Failure> {
    driver.sample(Duration::from_secs(second), &Surroundings::default())
}

/// Starts a chip at 0 s and samples it once.
fn sample_once(part: Part, at_s: u64, script: Transfers) -> (Result<Vec<Measured>, Failure>, bool) {
    let (mut mock, mut driver) = started(part, script);
    let outcome = sample(&mut driver, at_s);
    mock.done();
    (outcome, driver.is_running())
}

fn verdicts(readings: &[Measured]) -> Vec<(Flag, Reason)> {
    readings.iter().map(|measured| (measured.flag, measured.reason)).collect()
}

const GOOD: (Flag, Reason) = (Flag::GOOD, Reason::NONE);
const WARMING_UP: (Flag, Reason) = (Flag::SUSPECT, Reason::WARMING_UP);

#[test]
fn each_part_has_its_values() {
    for part in [Part::Sen50, Part::Sen54, Part::Sen55] {
        let (readings, running) = sample_once(part, 180, vec![measurement(VALUES, WELL)]);
        let expected = [4.5, 11.2, 16.0, 18.5, -3.5, 45.67, 98.7, 1.0];
        let quantities = part.datasheet().quantities;
        let expected: Vec<_> =
            quantities.iter().zip(expected).map(|(quantity, value)| Measured::good(*quantity, value)).collect();
        assert_eq!((readings, running), (Ok(expected), true));
    }
}

#[test]
fn the_fan_settles_before_the_indices_do() {
    let warm = |at_s, values| verdicts(&sample_once(Part::Sen55, at_s, vec![measurement(values, WELL)]).0.unwrap());
    assert_eq!(warm(29, VALUES), [[WARMING_UP; 4].as_slice(), &[GOOD, GOOD], &[WARMING_UP, WARMING_UP]].concat());
    assert_eq!(warm(179, VALUES), [[GOOD; 6].as_slice(), &[WARMING_UP, WARMING_UP]].concat());
    // In the first seconds there is no index at all; later that is a fault.
    let without_indices = [45, 112, 160, 185, 4567, 0xfd44, 0, 0x7fff];
    let missing = |reason| (Flag::MISSING, reason);
    assert_eq!(warm(9, without_indices)[6..], [missing(Reason::WARMING_UP); 2]);
    assert_eq!(warm(60, without_indices)[6..], [missing(Reason::SENSOR_FAULT); 2]);
    assert_eq!(warm(60, [0xffff, 0xffff, 0xffff, 0xffff, 4567, 0xfd44, 987, 10])[..5], {
        let unknown = missing(Reason::SENSOR_FAULT);
        [unknown, unknown, unknown, unknown, GOOD]
    });
}

#[test]
fn what_is_broken_takes_only_its_own_values_along() {
    let fault = (Flag::FAIL, Reason::SENSOR_FAULT);
    let doubt = (Flag::SUSPECT, Reason::SENSOR_FAULT);
    let cleaning = (Flag::SUSPECT, Reason::CLEANING);
    for (status, expected) in [
        ([0, 0x0010], [fault, fault, fault, fault, GOOD, GOOD, GOOD, GOOD]),
        ([0, 0x0020], [fault, fault, fault, fault, GOOD, GOOD, GOOD, GOOD]),
        ([0, 0x0040], [GOOD, GOOD, GOOD, GOOD, fault, fault, doubt, doubt]),
        ([0, 0x0080], [GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, fault, fault]),
        ([0x0020, 0], [doubt, doubt, doubt, doubt, GOOD, GOOD, GOOD, GOOD]),
        ([0x0008, 0], [cleaning, cleaning, cleaning, cleaning, GOOD, GOOD, GOOD, GOOD]),
    ] {
        // A failure stays in the register until it is cleared.
        let clear = if status[1] == 0 { Vec::new() } else { AT.send(CLEAR_STATUS, &[]) };
        let (readings, running) = sample_once(Part::Sen55, 200, vec![measurement(VALUES, status), clear]);
        assert_eq!((verdicts(&readings.unwrap()), running), (expected.to_vec(), true), "{status:x?}");
    }
}

#[test]
fn a_chip_with_nothing_new_warms_up_cleans_its_fan_or_was_reset() {
    let not_ready = || AT.ask(IS_DATA_READY, &[0]);
    let nothing = |at_s, script| {
        let (outcome, running) = sample_once(Part::Sen54, at_s, script);
        (outcome.unwrap_err().reason, running)
    };
    assert_eq!(nothing(1, vec![not_ready()]), (Reason::WARMING_UP, true));
    assert_eq!(nothing(9, vec![not_ready(), AT.ask(READ_STATUS, &[0x0008, 0])]), (Reason::CLEANING, true));
    assert_eq!(nothing(9, vec![not_ready(), AT.ask(READ_STATUS, &WELL)]), (Reason::NOT_READY, false));

    let (mut mock, mut driver) = started(Part::Sen54, vec![measurement(VALUES, WELL), not_ready()]);
    assert!(sample(&mut driver, 200).is_ok());
    assert_eq!(sample(&mut driver, 201).unwrap_err().reason, Reason::NOT_READY);
    assert!(driver.is_running());
    mock.done();
}

#[test]
fn a_chip_found_measuring_is_given_back_only_what_was_seen_growing_old() {
    let memory = |state: [u8; 8]| [&[1, 0, 0, 0, 0][..], &state, b"0C2F"].concat();
    let (old, young) = (memory([0, 1, 2, 3, 4, 5, 6, 7]), memory([0; 8]));
    for (memory, state, voc) in
        [(Some(old), Some(STATE), GOOD), (Some(young), None, WARMING_UP), (None, None, WARMING_UP)]
    {
        let [stop, rest @ ..] = &begin(state)[..] else { panic!() };
        let refuses_its_name = [
            refused(READ_NAME),
            AT.ask(READ_VALUES, &OF_SEN54),
            vec![stop.clone()],
            greeting(Part::Sen54),
            rest.to_vec(),
            measurement(VALUES, WELL),
        ];
        let tells = [greeting(Part::Sen54), begin(state), measurement(VALUES, WELL)];
        for found in [tells.concat(), refuses_its_name.concat()] {
            let mut mock = Mock::new(&found);
            let mut driver = Sen5x::new(mock.clone(), NoopDelay::new(), Part::Sen54);
            if let Some(memory) = &memory {
                driver.restore(memory, Some(Duration::from_secs(60)));
            }
            assert_eq!(driver.start(Duration::ZERO), Ok(Some("0C2F".to_owned())));
            assert_eq!(verdicts(&sample(&mut driver, 31).unwrap()), [[GOOD; 6].as_slice(), &[voc]].concat());
            mock.done();
        }
    }
}

#[test]
fn a_chip_that_measures_is_known_by_its_values_and_not_stopped() {
    let of_sen50 = [45, 112, 160, 185, 0x7fff, 0x7fff, 0x7fff, 0x7fff];
    let none = [0xffff, 0xffff, 0xffff, 0xffff, 0x7fff, 0x7fff, 0x7fff, 0x7fff];
    for (values, is) in
        [(of_sen50, Some(Part::Sen50)), (OF_SEN54, Some(Part::Sen54)), (VALUES, Some(Part::Sen55)), (none, None)]
    {
        for part in [Part::Sen50, Part::Sen54, Part::Sen55] {
            let mut mock = Mock::new(&[refused(READ_NAME), AT.ask(READ_VALUES, &values)].concat());
            let found = Sen5x::new(mock.clone(), NoopDelay::new(), part).identify();
            let expected = match is {
                None => Err(Reason::NOT_READY),
                Some(is) if is == part => Ok(String::new()),
                Some(_) => Err(Reason::WRONG_CHIP),
            };
            assert_eq!(found.map_err(|failure| failure.reason), expected);
            mock.done();
        }
    }
}

#[test]
fn the_algorithms_state_is_remembered_after_three_hours_and_given_back_within_ten_minutes() {
    let (mut mock, mut driver) = started(Part::Sen54, vec![AT.ask(VOC_STATE, &STATE)]);
    let tend = |driver: &mut Sen5x<Mock, NoopDelay>, second| {
        driver.tend(Duration::from_secs(second), &Surroundings::default()).unwrap();
    };
    tend(&mut driver, 10_799);
    let without = [&[1][..], &[0; 12], b"0C2F"].concat();
    assert_eq!(driver.memory(Duration::from_secs(10_799)), Some(without.clone()));
    tend(&mut driver, 10_800);
    let memory = [&[1, 0, 0, 0, 0][..], &[0, 1, 2, 3, 4, 5, 6, 7], b"0C2F"].concat();
    assert_eq!(driver.memory(Duration::from_secs(11_339)), Some(memory.clone()));
    assert_eq!(driver.memory(Duration::from_secs(11_340)), Some(without.clone()));
    mock.done();

    let another = [&memory[..13], b"0C30"].concat();
    for (memory, age_s, state) in [
        (&memory[..], Some(539), Some(STATE)),
        (&memory, Some(540), None),
        (&memory, None, None),
        (&without, Some(1), None),
        (&another, Some(1), None),
        (&memory[..12], Some(1), None),
    ] {
        let script = [greeting(Part::Sen54), begin(state)];
        let mut mock = Mock::new(&script.concat());
        let mut driver = Sen5x::new(mock.clone(), NoopDelay::new(), Part::Sen54);
        driver.restore(memory, age_s.map(Duration::from_secs));
        driver.start(Duration::ZERO).unwrap();
        mock.done();
    }
}

#[test]
fn laser_hours_are_remembered_and_beyond_its_life_it_is_suspect() {
    let ten_years_s: u32 = 10 * 365 * 24 * 3600;
    let memory = [&[1][..], &ten_years_s.to_be_bytes(), &[0; 8], b"0C2F"].concat();
    let mut mock = Mock::new(&[start(Part::Sen54), measurement(VALUES, WELL)].concat());
    let mut driver = Sen5x::new(mock.clone(), NoopDelay::new(), Part::Sen54);
    driver.restore(&memory, None);
    driver.start(Duration::ZERO).unwrap();
    let old = (Flag::SUSPECT, Reason::LASER_AGE);
    assert_eq!(verdicts(&sample(&mut driver, 200).unwrap()), [[old; 4].as_slice(), &[GOOD; 3]].concat());
    let remembered = driver.memory(Duration::from_secs(200)).unwrap();
    assert_eq!(remembered[1..5], (ten_years_s + 200).to_be_bytes());
    mock.done();
}

#[test]
fn the_others_at_the_address_are_refused() {
    let name = |name| AT.ask(READ_NAME, &text(name));
    let sps30 = [
        refused(READ_NAME),
        refused(READ_VALUES),
        vec![Transaction::read(ADDRESS, vec![0]).with_error(NACK), Transaction::write(ADDRESS, vec![0xd0])],
    ];
    for (part, script) in [
        (Part::Sen50, name("SEN54")),
        (Part::Sen54, name("SEN55")),
        (Part::Sen55, name("SEN50")),
        (Part::Sen55, sps30.concat()),
    ] {
        let mut mock = Mock::new(&script);
        let failure = Sen5x::new(mock.clone(), NoopDelay::new(), part).identify().unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        mock.done();
    }
}

#[test]
fn failures_end_it_with_their_reason() {
    let broken = [AT.ask(IS_DATA_READY, &[1]), AT.broken(READ_VALUES, &VALUES)].concat();
    let busy = [AT.send(IS_DATA_READY, &[]), vec![Transaction::read(ADDRESS, vec![0; 3]).with_error(NACK)]].concat();
    let gone = refused(IS_DATA_READY);
    for (script, reason) in [(broken, Reason::CHECKSUM), (busy, Reason::NOT_READY), (gone, Reason::NO_ANSWER)] {
        let (outcome, running) = sample_once(Part::Sen50, 60, vec![script]);
        assert_eq!((outcome.unwrap_err().reason, running), (reason, false));
    }
}

#[test]
fn it_is_left_idle() {
    let (mut mock, mut driver) = started(Part::Sen50, vec![AT.send(STOP, &[])]);
    driver.stop();
    driver.stop();
    mock.done();
}

#[test]
fn values_beyond_the_scale_and_empty_air() {
    let of = |values| verdicts(&sample_once(Part::Sen55, 200, vec![measurement(values, WELL)]).0.unwrap());
    let wrong = (Flag::FAIL, Reason::OUT_OF_RANGE);
    assert_eq!(
        of([10_001, 10_000, 0, 1, 10_001, 10_001, 5001, 9]),
        [wrong, GOOD, GOOD, GOOD, wrong, wrong, wrong, wrong]
    );
    assert_eq!(of([0, 0, 0, 0, 4567, 0xfd44, 987, 10])[..4], [(Flag::SUSPECT, Reason::RESET_PATTERN); 4]);
}
