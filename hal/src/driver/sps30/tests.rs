use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use reading::Flag;

use super::super::sensirion::script::Script;
use super::*;

const AT: Script = Script(ADDRESS);
const NACK: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown);
/// "00080000".
const PRODUCT: [u16; 4] = [0x3030, 0x3038, 0x3030, 0x3030];
/// "8D4E1F23", and zero bytes to the end.
const SERIAL: [u16; 16] = [0x3844, 0x3445, 0x3146, 0x3233, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// 4.5, 11.25, 16.0, 18.5 ug/m3.
const VALUES: [u16; 8] = [0x4090, 0, 0x4134, 0, 0x4180, 0, 0x4194, 0];
const WELL: [u16; 2] = [0, 0];

type Transfers = Vec<Vec<Transaction>>;

fn start() -> Vec<Transaction> {
    [
        AT.ask(READ_PRODUCT_TYPE, &PRODUCT),
        AT.ask(READ_SERIAL, &SERIAL),
        AT.ask(READ_VERSION, &[0x0202]),
        AT.send(STOP, &[]),
        AT.send(CLEAR_STATUS, &[]),
        AT.ask(IS_DATA_READY, &[0]),
        AT.send(START, &[FLOATS]),
    ]
    .concat()
}

fn measurement(status: [u16; 2]) -> Vec<Transaction> {
    [AT.ask(IS_DATA_READY, &[1]), AT.ask(READ_VALUES, &VALUES), AT.ask(READ_STATUS, &status)].concat()
}

fn nothing_new() -> Vec<Transaction> {
    AT.ask(IS_DATA_READY, &[0])
}

/// A chip that was started at 0 s.
struct Bench {
    mock: Mock,
    driver: Sps30<Mock, NoopDelay>,
    around: Surroundings,
}

impl Bench {
    fn new(interval_s: u64, script: Transfers) -> Self {
        Self::restored(interval_s, script, |_| {})
    }

    fn restored(interval_s: u64, script: Transfers, before: impl FnOnce(&mut Sps30<Mock, NoopDelay>)) -> Self {
        let mock = Mock::new(&[start(), script.concat()].concat());
        let mut driver = Sps30::new(mock.clone(), NoopDelay::new());
        before(&mut driver);
        assert_eq!(driver.start(Duration::ZERO), Ok(Some("8D4E1F23".to_owned())));
        let around = Surroundings { interval: Duration::from_secs(interval_s), ..Surroundings::default() };
        Self { mock, driver, around }
    }

    fn sample(&mut self, second: u64) -> Result<Vec<Measured>, Failure> {
        self.driver.sample(Duration::from_secs(second), &self.around)
    }

    fn reason(&mut self, second: u64) -> Reason {
        self.sample(second).unwrap_err().reason
    }

    fn tend(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        for second in seconds {
            self.driver.tend(Duration::from_secs(second), &self.around).unwrap();
        }
    }

    fn laser_s(&self) -> u32 {
        self.driver.laser.seconds()
    }

    fn done(mut self) {
        self.mock.done();
    }
}

#[test]
fn a_measurement() {
    let mut bench = Bench::new(10, vec![measurement(WELL)]);
    let readings = bench.sample(30).unwrap();
    let expected = [(Quantity::PM1, 4.5), (Quantity::PM2_5, 11.25), (Quantity::PM4, 16.0), (Quantity::PM10, 18.5)];
    assert_eq!(readings, expected.map(|(quantity, value)| Measured::good(quantity, value)));
    bench.done();
    // Section 6.3.1, with the checksum of section 6.2.
    assert_eq!(AT.send(START, &[FLOATS]), [Transaction::write(0x69, vec![0x00, 0x10, 0x03, 0x00, 0xac])]);
}

#[test]
fn the_fan_needs_half_a_minute() {
    let mut bench = Bench::new(10, vec![nothing_new(), measurement(WELL)]);
    assert_eq!(bench.reason(0), Reason::WARMING_UP);
    let readings = bench.sample(29).unwrap();
    assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::WARMING_UP), "{readings:?}");
    bench.done();
}

#[test]
fn what_the_chip_says_of_itself_is_believed() {
    for status in [[0, 0x0010], [0, 0x0020]] {
        let mut bench = Bench::new(10, vec![measurement(status)]);
        assert_eq!((bench.reason(60), bench.driver.is_running()), (Reason::SENSOR_FAULT, false));
        bench.done();
    }
    let mut bench = Bench::new(10, vec![measurement([0x0020, 0])]);
    let readings = bench.sample(60).unwrap();
    assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::SENSOR_FAULT), "{readings:?}");
    assert!(bench.driver.is_running());
    bench.done();
}

#[test]
fn old_firmware_has_no_status() {
    let script = [
        AT.ask(READ_PRODUCT_TYPE, &PRODUCT),
        AT.ask(READ_SERIAL, &SERIAL),
        AT.ask(READ_VERSION, &[0x0100]),
        AT.send(STOP, &[]),
        AT.ask(IS_DATA_READY, &[1]),
        AT.ask(READ_VALUES, &VALUES),
        AT.send(START, &[FLOATS]),
        AT.ask(IS_DATA_READY, &[1]),
        AT.ask(READ_VALUES, &VALUES),
        AT.send(STOP, &[]),
    ];
    let mut mock = Mock::new(&script.concat());
    let mut driver = Sps30::new(mock.clone(), NoopDelay::new());
    driver.start(Duration::ZERO).unwrap();
    assert!(driver.sample(Duration::from_secs(60), &Surroundings::default()).is_ok());
    driver.stop();
    driver.stop();
    mock.done();
}

#[test]
fn a_chip_that_cleans_its_fan_by_itself_is_waited_for() {
    let still = vec![nothing_new(); 9];
    let mut bench = Bench::new(
        10,
        [vec![measurement(WELL), nothing_new()], still, vec![AT.ask(IS_DATA_READY, &[1]), measurement(WELL)]].concat(),
    );
    assert!(bench.sample(40).is_ok());
    assert_eq!(bench.reason(50), Reason::NOT_READY);
    bench.tend(51..=60);
    assert!(bench.sample(60).is_ok() && bench.driver.is_running());
    bench.done();
}

#[test]
fn a_chip_that_does_not_measure_any_more_is_started_again() {
    let mut bench = Bench::new(60, [vec![measurement(WELL)], vec![nothing_new(); 15]].concat());
    assert!(bench.sample(40).is_ok());
    assert_eq!(bench.reason(100), Reason::NOT_READY);
    bench.tend(101..=113);
    let failure = bench.driver.tend(Duration::from_secs(114), &bench.around).unwrap_err();
    assert_eq!((failure.reason, bench.driver.is_running()), (Reason::NOT_READY, false));
    bench.done();
}

#[test]
fn where_samples_are_minutes_apart_fan_and_laser_rest_in_between() {
    let mut bench = Bench::new(
        600,
        vec![
            nothing_new(),
            measurement(WELL),
            AT.send(STOP, &[]),
            AT.send(START, &[FLOATS]),
            measurement(WELL),
            AT.send(STOP, &[]),
        ],
    );
    assert_eq!(bench.reason(0), Reason::WARMING_UP);
    // There was no sample since it was started.
    bench.tend(1..=599);
    assert!(bench.sample(600).is_ok());
    bench.tend(601..=1199);
    assert_eq!(bench.laser_s(), 601 + 31);
    let readings = bench.sample(1200).unwrap();
    assert!(readings.iter().all(|measured| measured.flag == Flag::GOOD), "{readings:?}");
    bench.tend(1201..=1500);
    assert_eq!(bench.laser_s(), 601 + 33);
    bench.done();
}

#[test]
fn a_sample_that_comes_early_finds_the_fan_at_rest_and_starts_it() {
    let mut bench =
        Bench::new(600, vec![measurement(WELL), AT.send(STOP, &[]), AT.send(START, &[FLOATS]), measurement(WELL)]);
    assert!(bench.sample(40).is_ok());
    bench.tend(41..=100);
    assert_eq!(bench.reason(101), Reason::WARMING_UP);
    assert!(bench.driver.is_running());
    bench.around.interval = Duration::from_secs(10);
    bench.tend(102..=131);
    assert!(bench.sample(132).unwrap().iter().all(|measured| measured.flag == Flag::GOOD));
    bench.done();
}

#[test]
fn a_chip_that_rests_is_told_to_clean_once_a_week() {
    let week_s = 7 * 24 * 3600;
    let mut bench = Bench::new(600, vec![measurement(WELL), AT.send(CLEAN, &[]), AT.send(STOP, &[])]);
    bench.driver.cleaned.ago = Duration::from_secs(week_s);
    assert!(bench.sample(40).is_ok());
    bench.tend(41..=45);
    assert_eq!(bench.reason(45), Reason::CLEANING);
    bench.tend(46..=100);
    assert_eq!(bench.driver.cleaned.age(Duration::from_secs(100)), Duration::from_secs(59));
    bench.done();
}

#[test]
fn laser_hours_and_cleaning_are_remembered_of_their_chip() {
    let mut bench = Bench::new(10, vec![measurement(WELL)]);
    bench.tend(1..=100);
    assert!(bench.sample(100).is_ok());
    let memory = bench.driver.memory(Duration::from_secs(100)).unwrap();
    assert_eq!(memory, [&[1, 0, 0, 0, 100, 0, 0, 0, 100][..], b"8D4E1F23"].concat());
    bench.done();

    let hour = Some(Duration::from_secs(3600));
    let bench = Bench::restored(10, Vec::new(), |driver| driver.restore(&memory, hour));
    assert_eq!((bench.laser_s(), bench.driver.cleaned.age(Duration::ZERO).as_secs()), (100, 3700));
    bench.done();
    let another = [&memory[..9], b"8D4E1F24"].concat();
    for memory in [&another[..], &memory[..8], &[]] {
        let bench = Bench::restored(10, Vec::new(), |driver| driver.restore(memory, None));
        assert_eq!(bench.laser_s(), 0);
        bench.done();
    }
}

#[test]
fn a_laser_beyond_its_life_is_suspect() {
    let ten_years_s: u32 = 10 * 365 * 24 * 3600 + 1;
    let memory = [&[1][..], &ten_years_s.to_be_bytes(), &[0; 4], b"8D4E1F23"].concat();
    let mut bench = Bench::restored(10, vec![measurement(WELL)], |driver| driver.restore(&memory, None));
    let readings = bench.sample(60).unwrap();
    assert!(readings.iter().all(|m| m.flag == Flag::SUSPECT && m.reason == Reason::LASER_AGE), "{readings:?}");
    bench.done();
}

#[test]
fn a_sleeping_chip_is_woken_by_a_start_but_not_by_a_scan() {
    let product = || AT.send(READ_PRODUCT_TYPE, &[]);
    let refused = |sent: Vec<Transaction>| sent.into_iter().map(|sent| sent.with_error(NACK)).collect::<Vec<_>>();
    let asleep = [refused(product()), refused(AT.send(WAKE_UP, &[])), AT.send(WAKE_UP, &[]), start()];
    let mut mock = Mock::new(&asleep.concat());
    Sps30::new(mock.clone(), NoopDelay::new()).start(Duration::ZERO).unwrap();
    mock.done();

    let nobody = [Transaction::read(ADDRESS, vec![0]), Transaction::write(ADDRESS, vec![0xd0])]
        .map(|transfer| transfer.with_error(NACK))
        .to_vec();
    let mut mock = Mock::new(&[refused(product()), nobody].concat());
    let failure = Sps30::new(mock.clone(), NoopDelay::new()).identify().unwrap_err();
    assert_eq!(failure.reason, Reason::NO_ANSWER);
    mock.done();
}

#[test]
fn a_sen5x_at_the_address_is_refused() {
    // It takes a command that it does not know and then has nothing to say.
    let deaf = [
        AT.send(READ_PRODUCT_TYPE, &[]),
        vec![Transaction::read(ADDRESS, vec![0; 12]).with_error(NACK)],
        AT.send(READ_PRODUCT_TYPE, &[]),
    ];
    // Or says something else.
    let other = AT.ask(READ_PRODUCT_TYPE, &[0x5345, 0x4e35, 0x3400, 0]);
    for script in [deaf.concat(), other] {
        let mut mock = Mock::new(&script);
        let failure = Sps30::new(mock.clone(), NoopDelay::new()).identify().unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        mock.done();
    }
}

#[test]
fn a_wrong_checksum_gives_no_value() {
    let mut bench = Bench::new(10, vec![AT.ask(IS_DATA_READY, &[1]), AT.broken(READ_VALUES, &VALUES)]);
    assert_eq!((bench.reason(60), bench.driver.is_running()), (Reason::CHECKSUM, false));
    bench.done();
}

#[test]
fn values_beyond_the_scale_and_empty_air() {
    let float = |value: f32| [(value.to_bits() >> 16) as u16, value.to_bits() as u16];
    let of = |values: [f32; 4]| {
        let words: Vec<u16> = values.into_iter().flat_map(float).collect();
        convert(words.try_into().unwrap(), None).into_iter().map(|m| (m.flag, m.reason)).collect::<Vec<_>>()
    };
    let (good, wrong) = ((Flag::GOOD, Reason::NONE), (Flag::FAIL, Reason::OUT_OF_RANGE));
    assert_eq!(of([0.0, 1000.0, 1000.1, -0.1]), [good, good, wrong, wrong]);
    assert_eq!(of([0.0; 4]), [(Flag::SUSPECT, Reason::RESET_PATTERN); 4]);
}
