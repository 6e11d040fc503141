//! Every chip with every fault, in virtual time: what it looks like, when it is over, and that nothing wrong is ever called good.
//! What is expected stands in [`table`], and for people in docs/sensors.md.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod bench;
mod document;
mod table;

use std::time::Duration;

use hal::Model;
use hal::sim::Fault;

use bench::{Bench, GOOD, INTERVAL, Seen};
use table::{Row, TABLE};

/// A chip that fails is started at growing distances, up to 32 s: faults of these lengths, in samples, end at all points of that.
const LENGTHS: std::ops::RangeInclusive<u32> = 1..=16;

#[test]
fn every_chip_is_in_the_table() {
    let listed: Vec<Model> = TABLE.iter().map(|row| row.model).collect();
    for model in Model::ALL {
        assert_eq!(listed.iter().filter(|listed| *listed == model).count(), 1, "{model} in the table");
    }
}

#[test]
fn each_fault_looks_as_the_table_says_and_passes_in_its_time() {
    let mut differences = Vec::new();
    for row in TABLE {
        for (fault, expected) in row.faults() {
            let (seen, back) = if fault == Fault::PowerLoss { lose_power(row) } else { endure(row, fault) };
            if seen.looks != expected.looks || whole_seconds(back) != expected.back_s {
                differences.push(format!("{}, {fault}: seen({:?}, {})", row.model, seen.looks, whole_seconds(back)));
            }
            differences.extend(seen.wrong.iter().map(|what| format!("{}, {fault}: {what}", row.model)));
        }
    }
    assert!(differences.is_empty(), "this was not expected:\n{}", differences.join("\n"));
}

#[test]
fn nothing_wrong_is_good_wherever_in_a_measurement_a_fault_begins() {
    assert_honest_throughout(Bench::new, 1, |_| Duration::ZERO);
}

#[test]
fn nothing_wrong_is_good_wherever_in_a_start_a_fault_begins() {
    // What was not warm before has that before it still.
    assert_honest_throughout(Bench::cold, 2, Model::warm_up);
}

/// Each fault begins before each transfer of the next samples, so many. `late` is what may come to the time that the table has.
fn assert_honest_throughout(bench: fn(&'static Row) -> Bench, samples: u32, late: fn(Model) -> Duration) {
    let mut wrong = Vec::new();
    for row in TABLE {
        let transfers = {
            let mut bench = bench(row);
            let before = bench.transfers();
            bench.samples(samples);
            bench.transfers() - before
        };
        for (fault, expected) in row.faults() {
            for transfer in 1..=transfers {
                let mut bench = bench(row);
                bench.strike_after(fault, transfer);
                let mut seen = bench.samples(6);
                let ended = bench.due() - INTERVAL;
                bench.heal();
                let (after, good) = bench.until_good();
                seen.add(after);
                let limit = Duration::from_secs(expected.back_s) + INTERVAL + late(row.model);
                if good - ended > limit {
                    seen.wrong.push(format!("back after {:?}", good - ended));
                }
                let context = format!("{}, {fault} before transfer {transfer} of {transfers}", row.model);
                wrong.extend(seen.wrong.iter().map(|what| format!("{context}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The fault begins between two samples and lasts for some. All that is seen while it does, and the longest time from its end
/// to the first good sample.
fn endure(row: &'static Row, fault: Fault) -> (Seen, Duration) {
    let mut seen = Seen::default();
    let mut longest = Duration::ZERO;
    for samples in LENGTHS {
        let mut bench = Bench::new(row);
        bench.strike(fault);
        seen.add(bench.samples(samples));
        let ended = bench.due() - INTERVAL;
        bench.heal();
        let (after, good) = bench.until_good();
        seen.wrong.extend(after.wrong);
        longest = longest.max(good - ended);
    }
    (seen, longest)
}

/// The power is away for a moment, and back so long before the next sample; or only with the next transfer, which is not heard then.
/// Times are from the loss.
fn lose_power(row: &'static Row) -> (Seen, Duration) {
    let mut seen = Seen::default();
    let mut longest = Duration::ZERO;
    for early_ms in [0, 300, 1_500, 3_500, 9_500] {
        let mut bench = Bench::new(row);
        bench.approach(Duration::from_millis(early_ms));
        let lost = bench.now();
        bench.strike(Fault::PowerLoss);
        if early_ms > 0 {
            bench.power_up();
        }
        let (after, good) = bench.until_good();
        seen.add(after);
        longest = longest.max(good.saturating_sub(lost));
    }
    // What is good is over, unless nothing else was ever seen.
    if seen.looks != [GOOD] {
        seen.looks.retain(|look| look != GOOD);
    }
    (seen, longest)
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000) as u64
}
