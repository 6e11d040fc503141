//! What must hold whatever happens.

use std::time::Duration;

use mesh::{GapLimits, OrderLimits};

use crate::simulation::City;
use crate::weather::Weather;

const HOUR: Duration = Duration::from_secs(3600);

fn village() -> Weather {
    Weather {
        nodes: 3,
        near: 3,
        caches: 2,
        liars: 0,
        lasts: 2 * HOUR,
        heals_in: HOUR * 2 / 3,
        interval: HOUR / 15,
        loss_percent: 20,
        unanswered_percent: 10,
        cached_percent: 60,
        churn: HOUR / 2,
        restart: HOUR / 2,
        power_cut_percent: 30,
        retention_percent: 30,
        since: None,
        limits: GapLimits::default(),
        order: None,
    }
}

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

/// Runs a city for each seed, and says which seed it was when one fails: `MAGPIE_SEED` runs that one alone, `MAGPIE_SEEDS` so many times as many.
fn each_seed(seeds: std::ops::Range<u64>, weather: impl Fn(u64) -> Weather) {
    let times = given("MAGPIE_SEEDS").unwrap_or(1);
    let all = seeds.start..seeds.start + (seeds.end - seeds.start) * times;
    let mut sums = [0; 6];
    for seed in given("MAGPIE_SEED").map_or(all, |seed| seed..seed + 1) {
        let _says_which = Seed(seed);
        let mut city = City::new(weather(seed), seed);
        city.run();
        city.check();
        let (made, delivered) = (city.made() as u64, city.delivered.len() as u64);
        let counts = [made, delivered, city.gone(), city.repeats, city.asks, city.late];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [made, delivered, gone, repeats, asks, late] = sums;
    println!(
        "{made} frames made, {delivered} delivered, {late} late, {gone} gone, {repeats} repeats dropped, {asks} questions"
    );
}

struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with MAGPIE_SEED={}", self.0);
        }
    }
}

#[test]
fn every_frame_arrives_once_through_loss_partitions_restarts_and_retention() {
    each_seed(0..2000, |_| village());
}

#[test]
fn liars_delay_but_hide_nothing() {
    each_seed(10_000..10_750, |seed| Weather { liars: 1 + (seed % 5) as usize, ..village() });
}

#[test]
fn who_asks_for_what_came_since_a_time_gets_all_of_it() {
    each_seed(20_000..21_000, |_| Weather { since: Some(HOUR / 2), ..village() });
}

#[test]
fn in_order_nothing_is_lost_either_however_little_is_held_back() {
    let little = OrderLimits { frames_per_node: 4, bytes: 2_000, ..OrderLimits::default() };
    each_seed(30_000..30_300, |seed| Weather {
        liars: (seed % 6) as usize,
        since: (seed % 3 == 0).then_some(HOUR / 2),
        order: Some(if seed % 2 == 0 { little } else { OrderLimits::default() }),
        ..village()
    });
}

/// Half a minute of computing; `MAGPIE_HOURS` runs it for as long as wanted.
#[test]
fn five_hundred_nodes_through_days_of_partitions() {
    let city = Weather {
        nodes: 500,
        near: 10,
        caches: 2,
        liars: 1,
        lasts: HOUR * u32::try_from(given("MAGPIE_HOURS").unwrap_or(48)).unwrap(),
        heals_in: HOUR,
        interval: HOUR / 2,
        churn: HOUR,
        restart: 4 * HOUR,
        ..village()
    };
    each_seed(7..8, |_| city);
}
