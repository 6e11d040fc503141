//! The tests over a week of real drivers on simulated chips: a chip that is stuck is found, and one that is honest is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hal::sim::{Clock, Fault, SimBus, World, chip};
use hal::{ChipAt, Chips, Model, Surroundings};
use reading::{Flag, Quantity, Reading, Reason};

use super::{ChipQuality, Instrument, QualityConfig, SensorHistory};

const MIDNIGHT_S: f64 = 1_793_545_200.0;
const INTERVAL: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A chip, its driver and its history, in the air of a city.
struct Bench {
    bus: SimBus,
    chips: Chips<SimBus>,
    chip: ChipAt,
    history: SensorHistory,
    config: QualityConfig,
}

impl Bench {
    fn new(name: &str, seed: u64) -> Self {
        let model: Model = name.parse().unwrap();
        let bus = SimBus::in_world(Clock::virtual_time(), World::new(seed, MIDNIGHT_S));
        bus.attach(chip(name).unwrap());
        let address = chip(name).unwrap().address();
        let chips = Chips::new(bus.clone());
        let (history, config) = (SensorHistory::default(), QualityConfig::default());
        Self { bus, chips, chip: ChipAt::new(model, address), history, config }
    }

    /// Waits for the next turn after this one.
    fn turn(&mut self, interval: Duration) -> Vec<Reading> {
        let next = self.bus.clock().now() + interval;
        let readings = self.sample(interval);
        let clock = self.bus.clock().clone();
        while let Some(wait) = self.chips.tend_in().filter(|wait| clock.now() + *wait < next) {
            clock.advance(wait);
            self.chips.tend();
        }
        clock.advance(next.saturating_sub(clock.now()));
        readings
    }

    fn sample(&mut self, interval: Duration) -> Vec<Reading> {
        let around = Surroundings { interval, ..Surroundings::default() };
        let sampled = self.chips.sample(self.chip, &around).readings.unwrap_or_default();
        let reading = |measured: hal::Measured| {
            let hal::Measured { quantity, value, flag, reason } = measured;
            Reading { sensor: 0, quantity, value: (flag != Flag::MISSING).then_some(value), raw: None, flag, reason }
        };
        let mut readings: Vec<Reading> = sampled.into_iter().map(reading).collect();
        let quality = ChipQuality(BTreeMap::new());
        let about = Instrument { model: self.chip.model, interval, quality: &quality, cpu: None };
        self.history.judge(self.bus.clock().now(), &self.config, about, &mut readings);
        readings
    }

    fn turns(&mut self, time: Duration, mut each: impl FnMut(Duration, &[Reading])) {
        let start = self.bus.clock().now();
        while self.bus.clock().now() < start + time {
            let since = self.bus.clock().now() - start;
            // After the hours in which everything is found, a look now and then is enough.
            let interval = if since < 7 * HOUR { INTERVAL } else { 4 * INTERVAL };
            each(since, &self.turn(interval));
        }
    }
}

/// Flags that only the tests here give.
fn is_ours(reading: &Reading) -> bool {
    matches!(reading.reason, Reason::RATE_OF_CHANGE | Reason::SPIKE | Reason::FLAT_LINE | Reason::CONDENSING)
}

/// By when a stuck series is suspect, and by when it fails. An index that an algorithm computes first has to come to rest.
fn due(quantity: Quantity) -> (Duration, Duration) {
    match quantity {
        Quantity::TEMPERATURE | Quantity::HUMIDITY => (HOUR / 2, 3 * HOUR),
        Quantity::VOC_INDEX | Quantity::TVOC | Quantity::ECO2 => (12 * HOUR, 30 * HOUR),
        _ => (HOUR, 6 * HOUR),
    }
}

/// What a stuck chip gives away: all but a NOx index, which rests at 1 in clean air.
fn tells(model: Model) -> BTreeSet<Quantity> {
    model.quantities().iter().copied().filter(|quantity| *quantity != Quantity::NOX_INDEX).collect()
}

#[test]
fn a_stuck_chip_is_found_within_its_time_and_stays_found_for_a_week() {
    for name in hal::sim::MODELS.iter().filter(|name| !["SGP40", "SGP41"].contains(name)) {
        let mut bench = Bench::new(name, 1);
        bench.turn(INTERVAL);
        // A chip that wants a word each second costs a test sixty times as much.
        let (before, week) = if bench.chips.tend_in().is_some() { (3 * HOUR, 32 * HOUR) } else { (DAY, 7 * DAY) };
        bench.turns(before, |_, readings| assert!(!readings.iter().any(is_ours), "{name}: {readings:?}"));
        bench.bus.fault(bench.chip.address, Some(Fault::Stuck));
        let mut found = BTreeSet::new();
        bench.turns(week, |since, readings| {
            for reading in readings.iter().filter(|reading| reading.quantity != Quantity::NOX_INDEX) {
                let (suspect, fail) = due(reading.quantity);
                // The air may have rested before the chip did.
                let wanted: &[Flag] = if since >= fail {
                    &[Flag::FAIL]
                } else if since >= suspect {
                    &[Flag::SUSPECT, Flag::FAIL]
                } else {
                    continue;
                };
                let is_found = wanted.contains(&reading.flag) && reading.reason == Reason::FLAT_LINE;
                assert!(is_found, "{name} after {since:?}: {reading:?}");
                found.insert(reading.quantity);
            }
        });
        assert_eq!(found, tells(bench.chip.model), "{name}");
        bench.bus.fault(bench.chip.address, None);
        bench.turn(INTERVAL);
        bench.turns(before, |since, readings| {
            assert!(!readings.iter().any(is_ours), "{name} is honest again after {since:?}: {readings:?}");
        });
    }
}

/// The index of a signal that stands still creeps towards 100 for days, a point in some hours: too slowly for these tests. The driver sees
/// the signal, and takes one that rests for none.
#[test]
fn a_stuck_gas_signal_under_an_index_of_ours_gives_no_reading_after_minutes() {
    let mut bench = Bench::new("SGP40", 1);
    bench.turns(6 * HOUR, |_, readings| assert!(!readings.iter().any(is_ours), "{readings:?}"));
    bench.bus.fault(bench.chip.address, Some(Fault::Stuck));
    bench.turns(6 * HOUR, |since, readings| {
        assert!(since < 4 * INTERVAL || readings.is_empty(), "after {since:?}: {readings:?}");
    });
}

/// Lets a particle counter lose its power `lost` before the next sample, behind its driver's back; whether a wrong value was believed, and
/// whether any was at the end.
fn power_loss(lost: Duration, interval: Duration) -> (bool, bool) {
    let mut bench = Bench::new("PMSA003I", 1);
    for (quantity, dust) in [(Quantity::PM1, 20.0), (Quantity::PM2_5, 30.0), (Quantity::PM10, 45.0)] {
        bench.bus.set(0x12, quantity, dust);
    }
    for _ in 0..20 {
        bench.turn(interval);
    }
    bench.sample(interval);
    let clock = bench.bus.clock().clone();
    clock.advance(interval - lost);
    bench.bus.fault(0x12, Some(Fault::PowerLoss));
    // Somebody's word to the chip gives it its power back, as late as it is meant to be; its own driver hears nothing of that.
    let _ = Chips::new(bench.bus.clone()).sample(bench.chip, &Surroundings::default());
    clock.advance(lost);
    let (mut believed_wrong, mut believes) = (false, false);
    for _ in 0..20 {
        for reading in bench.turn(interval) {
            let dust = bench.bus.get(0x12, reading.quantity).unwrap();
            let is_wrong = (f64::from(reading.value.unwrap()) - dust).abs() > 0.1 * dust;
            believes = reading.flag == Flag::GOOD;
            believed_wrong |= believes && is_wrong;
        }
    }
    (believed_wrong, believes)
}

#[test]
fn a_particle_counter_that_lost_its_power_between_two_samples_is_doubted_while_its_fan_starts() {
    for (lost_s, interval_s) in [(3, 10), (9, 10), (3, 5), (4, 5), (12, 20), (3, 60)] {
        let (lost, interval) = (Duration::from_secs(lost_s), Duration::from_secs(interval_s));
        let (believed_wrong, believes) = power_loss(lost, interval);
        assert!(!believed_wrong && believes, "lost {lost:?} before a sample, every {interval:?}");
    }
}
