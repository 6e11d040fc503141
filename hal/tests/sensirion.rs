//! What Sensirion's chips with fans, lasers and algorithms need over hours and weeks, in virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::time::Duration;

use embedded_hal::i2c::I2c;
use hal::sim::{self, Clock, SimBus};
use hal::{ChipAt, Chips, Failure, Measured, Model, Surroundings};
use reading::{Flag, Quantity, Reason};

const HOUR: Duration = Duration::from_secs(3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A chip on a bus of its own, and who looks after it and samples it at an interval.
struct Bench {
    bus: SimBus,
    chips: Chips<SimBus>,
    chip: ChipAt,
    interval: Duration,
}

type Outcome = Result<Vec<Measured>, Failure>;

impl Bench {
    fn new(chip: ChipAt, simulated: &str, interval_s: u64) -> Self {
        let bus = SimBus::new(Clock::virtual_time());
        assert!(bus.attach_at(chip.address, sim::chip(simulated).unwrap()).is_none());
        bus.clock().advance(Duration::from_secs(60));
        let chips = Chips::new(bus.clone());
        Self { bus, chips, chip, interval: Duration::from_secs(interval_s) }
    }

    /// Another program takes the bus over, without an orderly stop of this one.
    fn restart(&mut self) {
        self.chips = Chips::new(self.bus.clone());
    }

    fn set(&self, quantity: Quantity, value: f64) {
        assert!(self.bus.set(self.chip.address, quantity, value));
    }

    fn sample(&mut self) -> hal::Sample {
        let around = Surroundings { interval: self.interval, ..Surroundings::default() };
        self.chips.sample(self.chip, &around)
    }

    fn pass(&mut self, time: Duration) {
        let end = self.bus.clock().now() + time;
        while self.bus.clock().now() < end {
            let left = end.saturating_sub(self.bus.clock().now());
            self.bus.clock().advance(self.chips.tend_in().map_or(left, |tend_in| tend_in.min(left)));
            self.chips.tend();
        }
    }

    /// Samples as often as is due in this time, first one interval from now.
    fn samples(&mut self, time: Duration) -> Vec<Outcome> {
        let end = self.bus.clock().now() + time;
        let mut outcomes = Vec::new();
        let mut due = self.bus.clock().now() + self.interval;
        while due <= end {
            self.pass(due.saturating_sub(self.bus.clock().now()));
            outcomes.push(self.sample().readings);
            due += self.interval;
        }
        outcomes
    }

    fn found(&mut self) -> Vec<(Model, String)> {
        let report = self.chips.scan().unwrap();
        assert!(report.unknown.is_empty(), "{report:?}");
        report.found.into_iter().map(|found| (found.chip.model, found.serial)).collect()
    }
}

fn is_good(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|readings| readings.iter().all(|measured| measured.flag == Flag::GOOD))
}

fn value(outcome: &Outcome, quantity: Quantity) -> f32 {
    outcome.as_ref().unwrap().iter().find(|measured| measured.quantity == quantity).unwrap().value
}

const SPS30: ChipAt = ChipAt::new(Model::Sps30, 0x69);
const SGP40: ChipAt = ChipAt::new(Model::Sgp40, 0x59);
const SGP41: ChipAt = ChipAt::new(Model::Sgp41, 0x59);
const SGP30: ChipAt = ChipAt::new(Model::Sgp30, 0x58);
const SEN5X: [(ChipAt, &str); 3] = [
    (ChipAt::new(Model::Sen50, 0x69), "SEN50"),
    (ChipAt::new(Model::Sen54, 0x69), "SEN54"),
    (ChipAt::new(Model::Sen55, 0x69), "SEN55"),
];

/// Bytes 1 to 4 of what a driver with a laser remembers.
fn laser_on(memory: &[u8]) -> Duration {
    Duration::from_secs(u32::from_be_bytes(memory[1..5].try_into().unwrap()).into())
}

#[test]
fn a_sps30_that_is_asked_every_ten_minutes_rests_and_its_values_are_good() {
    let mut bench = Bench::new(SPS30, "SPS30", 600);
    bench.set(Quantity::PM2_5, 17.0);
    let _ = bench.sample();
    let outcomes = bench.samples(24 * HOUR);
    assert_eq!((outcomes.len(), outcomes.iter().filter(|outcome| is_good(outcome)).count()), (144, 144));
    assert!(outcomes.iter().all(|outcome| value(outcome, Quantity::PM2_5) == 17.0));
    let on = laser_on(&bench.sample().memory.unwrap());
    // Half a minute of ten, and the first ten minutes.
    assert!(on > 24 * HOUR / 20 && on < 24 * HOUR / 15, "{on:?}");
    // Asked more often it runs through.
    bench.interval = Duration::from_secs(60);
    assert!(bench.samples(HOUR).iter().skip(1).all(is_good));
}

#[test]
fn a_sps30_cleans_its_fan_once_a_week_whether_it_rests_or_not() {
    for interval_s in [10, 600] {
        let mut bench = Bench::new(SPS30, "SPS30", interval_s);
        bench.set(Quantity::PM2_5, 17.0);
        let _ = bench.sample();
        let outcomes = bench.samples(WEEK + 2 * HOUR);
        let not_good: Vec<_> = outcomes.iter().skip(3).filter(|outcome| !is_good(outcome)).collect();
        for outcome in &not_good {
            // One that began by itself, as nothing in the chip tells.
            assert_eq!(outcome.as_ref().unwrap_err().reason, Reason::NOT_READY);
        }
        assert!(not_good.len() <= 2, "every {interval_s} s: {not_good:?}");
        // Bytes 5 to 8: seconds since the driver had it cleaned.
        let memory = bench.sample().memory.unwrap();
        let cleaned_ago = Duration::from_secs(u32::from_be_bytes(memory[5..9].try_into().unwrap()).into());
        assert_eq!(cleaned_ago < WEEK, interval_s == 600, "{cleaned_ago:?}");
    }
}

#[test]
fn a_sps30_that_somebody_put_to_sleep_is_woken() {
    let mut bench = Bench::new(SPS30, "SPS30", 10);
    bench.bus.clone().write(0x69, &[0x10, 0x01]).unwrap();
    bench.pass(Duration::from_secs(1));
    let _ = bench.sample();
    assert!(bench.samples(Duration::from_secs(60)).last().is_some_and(is_good));
}

#[test]
fn a_sen5x_that_measures_is_found_for_what_it_is_and_goes_on() {
    for (chip, simulated) in SEN5X {
        let mut bench = Bench::new(chip, simulated, 10);
        assert_eq!(bench.found(), [(chip.model, "5F2A90C41D7E8B36".to_owned())]);
        let _ = bench.sample();
        assert!(bench.samples(Duration::from_secs(300)).last().is_some_and(is_good));
        // Its driver knows it.
        assert_eq!(bench.found(), [(chip.model, "5F2A90C41D7E8B36".to_owned())]);
        assert!(bench.samples(Duration::from_secs(10)).iter().all(is_good));
        // A stranger does not, and it does not tell while it measures.
        bench.restart();
        assert_eq!(bench.found(), [(chip.model, String::new())]);
    }
}

#[test]
fn a_sen54_that_measured_on_while_the_program_was_away_is_doubted_until_its_index_has_settled() {
    let (chip, simulated) = SEN5X[1];
    // Whether it had measured for four hours then or for one minute, it does not tell; what is remembered does.
    for (measured, is_remembered, good_after_s) in
        [(4 * HOUR, true, 30), (4 * HOUR, false, 180), (HOUR / 60, true, 180), (HOUR / 60, false, 180)]
    {
        let mut bench = Bench::new(chip, simulated, 10);
        bench.set(Quantity::VOC_INDEX, 180.0);
        let _ = bench.sample();
        let _ = bench.samples(measured);
        let memory = bench.sample().memory.unwrap();
        bench.restart();
        if is_remembered {
            bench.chips.restore(chip, &memory, Some(Duration::from_secs(5)));
        }
        let _ = bench.sample();
        let outcomes = bench.samples(Duration::from_secs(240));
        let first_good = outcomes.iter().position(is_good).unwrap();
        let good_s = (first_good as u64 + 1) * 10;
        assert!(good_s.abs_diff(good_after_s) <= 10, "{measured:?}, {is_remembered}: good after {good_s} s");
        assert_eq!(value(&outcomes[first_good], Quantity::VOC_INDEX), 180.0, "{measured:?}, {is_remembered}");
    }
}

#[test]
fn a_sen54_is_given_back_what_it_learned_after_its_power_was_away() {
    let (chip, simulated) = SEN5X[1];
    let mut bench = Bench::new(chip, simulated, 10);
    let _ = bench.sample();
    let _ = bench.samples(4 * HOUR);
    let memory = bench.sample().memory.unwrap();
    for (age_s, good_after_s) in [(300, 40), (900, 190)] {
        assert!(bench.bus.fault(chip.address, Some(sim::Fault::PowerLoss)));
        bench.restart();
        bench.chips.restore(chip, &memory, Some(Duration::from_secs(age_s)));
        let outcomes = bench.samples(Duration::from_secs(240));
        let first_good = outcomes.iter().position(is_good).unwrap() as u64 * 10;
        assert!(first_good.abs_diff(good_after_s) <= 10, "age {age_s} s: good after {first_good} s");
    }
}

#[test]
fn a_sgp_sees_an_event_and_what_it_learned_survives_ten_minutes() {
    for (chip, simulated) in [(SGP40, "SGP40"), (SGP41, "SGP41")] {
        let mut bench = Bench::new(chip, simulated, 10);
        let _ = bench.sample();
        let quiet = bench.samples(4 * HOUR);
        assert!(quiet.iter().skip(18).all(is_good), "{chip}");
        assert!((value(quiet.last().unwrap(), Quantity::VOC_INDEX) - 100.0).abs() <= 2.0);
        let memory = bench.sample().memory.unwrap();

        bench.set(Quantity::VOC_INDEX, 300.0);
        let event = bench.samples(Duration::from_secs(300));
        assert!(is_good(&event[29]) && value(&event[29], Quantity::VOC_INDEX) > 200.0, "{event:?}");
        bench.set(Quantity::VOC_INDEX, 100.0);

        // The NOx index always begins anew.
        let resumes_after_s = if chip == SGP40 { 50 } else { 190 };
        for (age_s, good_after_s) in [(300, resumes_after_s), (900, 190)] {
            bench.restart();
            bench.chips.restore(chip, &memory, Some(Duration::from_secs(age_s)));
            let outcomes = bench.samples(Duration::from_secs(240));
            let first_good = outcomes.iter().position(is_good).unwrap() as u64 * 10;
            assert!(first_good.abs_diff(good_after_s) <= 10, "{chip}, age {age_s} s: good after {first_good} s");
            assert!((value(&outcomes[23], Quantity::VOC_INDEX) - 100.0).abs() <= 5.0, "{chip}, age {age_s} s");
        }
    }
}

#[test]
fn a_sgp41_is_not_damaged_by_a_program_that_starts_over_and_over() {
    let mut bench = Bench::new(SGP41, "SGP41", 10);
    for seconds in 1..40 {
        let _ = bench.sample();
        bench.pass(Duration::from_secs(seconds));
        bench.chips.stop();
        bench.restart();
    }
    let _ = bench.sample();
    assert!(bench.samples(Duration::from_secs(240)).last().is_some_and(is_good));
}

#[test]
fn a_sgp30_remembers_its_baseline_after_half_a_day_and_clean_air_is_good() {
    let mut bench = Bench::new(SGP30, "SGP30", 60);
    bench.set(Quantity::ECO2, 400.0);
    bench.set(Quantity::TVOC, 0.0);
    let _ = bench.sample();
    let outcomes = bench.samples(12 * HOUR);
    assert!(outcomes.iter().all(is_good), "{:?}", outcomes.iter().find(|outcome| !is_good(outcome)));
    let _ = bench.samples(HOUR);
    let memory = bench.sample().memory.unwrap();
    assert_eq!(memory.len(), 11);
}
