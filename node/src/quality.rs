//! How far a reading can be trusted: QARTOD's tests (gross range, rate of change, spike, flat line) and those of the trade (condensing,
//! fog, the heat of the board).
//!
//! What the chip's driver can know it has said before: the datasheet's range, warming up, reset pattern, the age of a laser. Here is what
//! takes a past, or other sensors. All of it looks at what was measured, before any correction: the tests are about the instrument.
//!
//! Every test gives a flag or has nothing to say; the worst wins, and of equal ones the first. A test never makes a reading better than it
//! came, and has nothing to say of one that is missing. Thresholds and the reasons for them are in [`defaults`].
//!
//! Nothing here asks a clock or a device. What is remembered is bounded by the number of sensors and of their quantities.

mod config;
mod defaults;
mod history;
mod switch;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod week;
#[cfg(test)]
mod world;

use std::time::Duration;

use hal::Model;
use reading::{Flag, Quantity, Reading, Reason};

pub use config::{ChipQuality, QualityConfig, Tests};

use history::History;

/// From this much dust on a counter's noise moves its whole numbers within minutes; below, the wait is as many times longer as there is less dust.
const STEADY_DUST: f64 = 10.0;

/// The particles that one laser counts: they are flat together or not at all.
const PARTICLES: [Quantity; 4] = [Quantity::PM1, Quantity::PM2_5, Quantity::PM4, Quantity::PM10];

/// What is known of a sensor besides its readings.
#[derive(Clone, Copy, Debug)]
pub struct Instrument<'a> {
    /// The chip.
    pub model: Model,
    /// Time between two readings.
    pub interval: Duration,
    /// What its configuration has different.
    pub quality: &'a ChipQuality,
    /// The mean temperature of the CPU on whose board it may sit, Cel; `None` where it does not, or its heat is taken out anyway.
    pub cpu: Option<f64>,
}

/// The past of one sensor.
#[derive(Clone, Debug, Default)]
pub struct SensorHistory {
    series: Vec<(Quantity, History)>,
}

impl SensorHistory {
    /// Tests the readings of one turn of one sensor, in the chip's order.
    pub fn judge(&mut self, now: Duration, config: &QualityConfig, about: Instrument<'_>, readings: &mut [Reading]) {
        let mut flat = Vec::with_capacity(readings.len());
        for reading in readings.iter_mut() {
            let Some(value) = reading.value.map(f64::from).filter(|_| is_of(about.model, reading.quantity)) else {
                continue;
            };
            let tests = config.tests_of(reading.quantity, about.quality);
            self.judge_one(now, &tests, about.interval, value, reading);
            if let Some(test) = tests.flat_line.filter(|_| !is_at_rest(reading.quantity, value)) {
                let time = self.series(reading.quantity).flat_for(now, value, test.tolerance);
                flat.push((reading.quantity, time));
            }
        }
        let dust = dust(readings);
        let steadiest = flat.iter().filter(|(quantity, _)| PARTICLES.contains(quantity)).map(|(_, time)| *time).min();
        for (quantity, time) in flat {
            let Some(test) = config.tests_of(quantity, about.quality).flat_line else { continue };
            let (time, patience) = match (dust, steadiest) {
                (Some(level), Some(steadiest)) if PARTICLES.contains(&quantity) => {
                    (steadiest, (STEADY_DUST / level).max(1.0))
                }
                _ => (time, 1.0),
            };
            note(readings, quantity, test.judge(time, patience), Reason::FLAT_LINE);
        }
        judge_conditions(config, about, readings);
    }

    fn judge_one(&mut self, now: Duration, tests: &Tests, interval: Duration, value: f64, reading: &mut Reading) {
        let out_of_range = tests.gross_range.and_then(|test| history::gross_range(value, test));
        let is_trusted = reading.flag == Flag::GOOD || reading.flag == Flag::NOT_EVALUATED;
        let history = self.series(reading.quantity);
        history.meet(now, interval);
        // What the driver doubts is no measure for what comes after it.
        if is_trusted {
            lower(reading, history.spike(now, value, tests.spike), Reason::SPIKE);
            let rate = tests.rate_of_change.and_then(|test| history.rate_of_change(now, value, test));
            lower(reading, rate, Reason::RATE_OF_CHANGE);
        }
        lower(reading, out_of_range, Reason::OUT_OF_RANGE);
    }

    fn series(&mut self, quantity: Quantity) -> &mut History {
        let at = self.series.iter().position(|(known, _)| *known == quantity).unwrap_or_else(|| {
            self.series.push((quantity, History::default()));
            self.series.len() - 1
        });
        &mut self.series[at].1
    }
}

/// Doubts the particle counts of one turn in air as humid as this, which is that of the best hygrometer of the node, %RH.
pub fn judge_fog(config: &QualityConfig, humidity: Option<f64>, readings: &mut [Reading]) {
    let (Some(limit), Some(humidity)) = (config.high_humidity, humidity) else { return };
    if humidity > limit {
        for quantity in PARTICLES {
            note(readings, quantity, Some(Flag::SUSPECT), Reason::HIGH_HUMIDITY);
        }
    }
}

/// The tests that need no past.
fn judge_conditions(config: &QualityConfig, about: Instrument<'_>, readings: &mut [Reading]) {
    let value = |readings: &[Reading], quantity| {
        readings.iter().find(|reading| reading.quantity == quantity).and_then(|reading| reading.value).map(f64::from)
    };
    if let (Some(limit), Some(humidity)) = (config.condensing, value(readings, Quantity::HUMIDITY))
        && humidity >= limit
    {
        note(readings, Quantity::HUMIDITY, Some(Flag::SUSPECT), Reason::CONDENSING);
    }
    if let (Some(margin), Some(cpu), Some(air)) =
        (config.self_heating, about.cpu, value(readings, Quantity::TEMPERATURE))
        && air > cpu - margin
    {
        note(readings, Quantity::TEMPERATURE, Some(Flag::SUSPECT), Reason::SELF_HEATING);
        // The air in the warm chip is drier than that around it.
        note(readings, Quantity::HUMIDITY, Some(Flag::SUSPECT), Reason::SELF_HEATING);
    }
}

/// What a chip says in clean, dry or saturated air for as long as the air is so: the end of its range, and no measurement that could move.
fn is_at_rest(quantity: Quantity, value: f64) -> bool {
    match quantity {
        Quantity::HUMIDITY => value <= 0.0 || value >= 100.0,
        // What a metal-oxide chip's algorithm gives for outdoor air (SGP30 and ENS160 datasheets).
        Quantity::ECO2 => value <= 400.0,
        Quantity::TVOC | Quantity::ILLUMINANCE => value <= 0.0,
        Quantity::NOX_INDEX | Quantity::VOC_INDEX => value <= 1.0,
        quantity => PARTICLES.contains(&quantity) && value <= 0.0,
    }
}

/// The largest particle count of a turn, if there is any particle at all.
fn dust(readings: &[Reading]) -> Option<f64> {
    let counts = readings.iter().filter(|reading| PARTICLES.contains(&reading.quantity));
    counts.filter_map(|reading| reading.value).map(f64::from).filter(|value| *value > 0.0).reduce(f64::max)
}

fn is_of(model: Model, quantity: Quantity) -> bool {
    model.quantities().contains(&quantity)
}

fn note(readings: &mut [Reading], quantity: Quantity, flag: Option<Flag>, reason: Reason) {
    for reading in readings.iter_mut().filter(|reading| reading.quantity == quantity) {
        lower(reading, flag, reason);
    }
}

/// Gives a reading the flag if that is worse than the one it has.
pub fn lower(reading: &mut Reading, flag: Option<Flag>, reason: Reason) {
    if let Some(flag) = flag.filter(|flag| severity(*flag) > severity(reading.flag)) {
        reading.flag = flag;
        reading.reason = reason;
    }
}

/// QARTOD's precedence: the reference's `qartod_compare` has missing, unknown, good, suspect, fail. A missing value stays missing here,
/// for there is nothing to test, and "not evaluated" and good are equal: only a doubt changes either.
fn severity(flag: Flag) -> u8 {
    match flag {
        Flag::GOOD | Flag::NOT_EVALUATED => 0,
        Flag::SUSPECT => 1,
        Flag::FAIL => 2,
        _ => u8::MAX,
    }
}
