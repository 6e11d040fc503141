// Copyright (c) 2022, Sensirion AG
// All rights reserved.
// SPDX-License-Identifier: BSD-3-Clause (the text is in LICENSES/gas-index-algorithm.txt)

//! Sensirion's gas index: how the air compares with that of the last day or so, from the raw signal of a SGP40 or SGP41.
//!
//! A translation of Sensirion's Gas Index Algorithm, version 3.2.2, with its floating-point operations in their order, so that
//! it gives the same numbers. Left out is what nothing here uses: other sampling intervals than 1 s, and tuning. Where tuning
//! parameters have their defaults the scaled sigmoid has no shift, which shortens it.

//!
//! The first index after a blackout of 45 s is 1, whatever the air, and rises to the average in two minutes, unless the algorithm
//! was resumed. The caller decides what that is worth.

use std::ops::RangeInclusive;

/// Raw signals; another one is none.
pub(super) const SIGNALS: RangeInclusive<u16> = 1..=64_999;

/// One index. It wants a raw signal each second.
pub(super) struct GasIndex {
    gas: &'static Gas,
    uptime_s: f32,
    raw: f32,
    index: f32,
    estimator: Estimator,
    lowpass: Option<Lowpass>,
}

/// The mean and deviation of the raw signal, as learned: what survives a short interruption.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Learned {
    pub(super) mean: f32,
    pub(super) deviation: f32,
}

/// What differs between the two gases.
struct Gas {
    is_nox: bool,
    raw_minimum: i32,
    tau_initial_mean_s: f32,
    init_duration_mean_s: f32,
    init_duration_variance_s: f32,
    gating_threshold: f32,
    gating_max_minutes: f32,
    sigmoid_k: f32,
    sigmoid_x0: f32,
}

const VOC: Gas = Gas {
    is_nox: false,
    raw_minimum: 20_000,
    tau_initial_mean_s: 20.0,
    init_duration_mean_s: 3600.0 * 0.75,
    init_duration_variance_s: 3600.0 * 1.45,
    gating_threshold: 340.0,
    gating_max_minutes: 60.0 * 3.0,
    sigmoid_k: -0.0065,
    sigmoid_x0: 213.0,
};

const NOX: Gas = Gas {
    is_nox: true,
    raw_minimum: 10_000,
    tau_initial_mean_s: 1200.0,
    init_duration_mean_s: 3600.0 * 4.75,
    init_duration_variance_s: 3600.0 * 5.70,
    gating_threshold: 30.0,
    gating_max_minutes: 60.0 * 12.0,
    sigmoid_k: -0.0101,
    sigmoid_x0: 614.0,
};

const INTERVAL_S: f32 = 1.0;
const BLACKOUT_S: f32 = 45.0;
const INDEX_GAIN: f32 = 230.0;
const INDEX_MAX: f32 = 500.0;
const DEVIATION_INITIAL: f32 = 50.0;
const DEVIATION_BONUS_VOC: f32 = 220.0;
const DEVIATION_NOX: f32 = 2000.0;
const TAU_HOURS: f32 = 12.0;
const TAU_INITIAL_VARIANCE_S: f32 = 2500.0;
const INIT_TRANSITION: f32 = 0.01;
const GATING_THRESHOLD_INITIAL: f32 = 510.0;
const GATING_THRESHOLD_TRANSITION: f32 = 0.09;
const GATING_MAX_RATIO: f32 = 0.3;
const GAMMA_SCALING: f32 = 64.0;
const GAMMA_MEAN_SCALING: f32 = 8.0;
const UPTIME_MAX_S: f32 = 32_767.0;
const LOWPASS_TAU_FAST_S: f32 = 20.0;
const LOWPASS_TAU_SLOW_S: f32 = 500.0;
const LOWPASS_ALPHA: f32 = -0.2;

/// States may be carried over after this much continuous operation; a new instance that is given them counts as this old.
const PERSISTENCE_S: f32 = 3.0 * 3600.0;

impl GasIndex {
    /// The VOC index, 1 to 500; 100 is the average air.
    pub(super) fn voc() -> Self {
        Self::new(&VOC)
    }

    /// The NOx index, 1 to 500; 1 is the average air.
    pub(super) fn nox() -> Self {
        Self::new(&NOX)
    }

    /// The VOC index after an interruption of less than ten minutes: it learns on from there, after a blackout. Sensirion
    /// has this for VOC only.
    pub(super) fn resumed(learned: Learned) -> Self {
        let mut resumed = Self::voc();
        resumed.estimator.mean = learned.mean;
        resumed.estimator.deviation = learned.deviation;
        resumed.estimator.uptime_gamma_s = PERSISTENCE_S;
        resumed.estimator.initialized = true;
        resumed.raw = learned.mean;
        resumed
    }

    fn new(gas: &'static Gas) -> Self {
        Self { gas, uptime_s: 0.0, raw: 0.0, index: 0.0, estimator: Estimator::new(gas), lowpass: None }
    }

    /// What an instance may be [resumed](Self::resumed) from; `None` until it has learned for three hours.
    pub(super) fn learned(&self) -> Option<Learned> {
        (self.estimator.initialized && self.estimator.uptime_gamma_s >= PERSISTENCE_S)
            .then(|| Learned { mean: self.estimator.absolute_mean(), deviation: self.estimator.deviation })
    }

    /// Takes this second's raw signal and gives the index, which is `None` in the blackout of the first 45 s. A raw signal of
    /// 0 or from 65000 on is none; the last one counts again.
    pub(super) fn process(&mut self, raw: u16) -> Option<f32> {
        if self.uptime_s <= BLACKOUT_S {
            self.uptime_s += INTERVAL_S;
            return None;
        }
        if SIGNALS.contains(&raw) {
            let above = (i32::from(raw) - self.gas.raw_minimum).clamp(1, 32_767);
            self.raw = above as f32;
        }
        let scaled = if !self.gas.is_nox || self.estimator.initialized {
            scaled_sigmoid(self.gas, self.normalized())
        } else {
            1.0
        };
        let lowpass = self.lowpass.get_or_insert(Lowpass { fast: scaled, slow: scaled, adaptive: scaled });
        self.index = lowpass.process(scaled).max(0.5);
        if self.raw > 0.0 {
            self.estimator.process(self.gas, self.raw, self.index);
        }
        Some((self.index + 0.5).trunc())
    }

    /// How far the raw signal is from its mean, in units of its deviation and scaled.
    fn normalized(&self) -> f32 {
        let from_mean = self.raw - self.estimator.absolute_mean();
        if self.gas.is_nox {
            from_mean / DEVIATION_NOX * INDEX_GAIN
        } else {
            from_mean / -(self.estimator.deviation + DEVIATION_BONUS_VOC) * INDEX_GAIN
        }
    }
}

/// The mean and deviation of the raw signal. They are learned fast at first, slowly later, and hardly at all during an event.
struct Estimator {
    initialized: bool,
    mean: f32,
    /// Added to the mean, so that small steps do not vanish beside a large number.
    offset: f32,
    deviation: f32,
    uptime_gamma_s: f32,
    uptime_gating_s: f32,
    gating_minutes: f32,
    gamma_initial_mean: f32,
}

/// How much one sample counts.
struct Gamma {
    mean: f32,
    variance: f32,
}

const INTERVAL_HOURS: f32 = INTERVAL_S / 3600.0;
const GAMMA_MEAN: f32 = GAMMA_MEAN_SCALING * GAMMA_SCALING * INTERVAL_HOURS / (TAU_HOURS + INTERVAL_HOURS);
const GAMMA_VARIANCE: f32 = GAMMA_SCALING * INTERVAL_HOURS / (TAU_HOURS + INTERVAL_HOURS);
const GAMMA_INITIAL_VARIANCE: f32 = GAMMA_SCALING * INTERVAL_S / (TAU_INITIAL_VARIANCE_S + INTERVAL_S);

impl Estimator {
    fn new(gas: &Gas) -> Self {
        Self {
            initialized: false,
            mean: 0.0,
            offset: 0.0,
            deviation: DEVIATION_INITIAL,
            uptime_gamma_s: 0.0,
            uptime_gating_s: 0.0,
            gating_minutes: 0.0,
            gamma_initial_mean: GAMMA_MEAN_SCALING * GAMMA_SCALING * INTERVAL_S / (gas.tau_initial_mean_s + INTERVAL_S),
        }
    }

    fn absolute_mean(&self) -> f32 {
        self.mean + self.offset
    }

    fn process(&mut self, gas: &Gas, raw: f32, index: f32) {
        if !self.initialized {
            self.initialized = true;
            self.offset = raw;
            self.mean = 0.0;
            return;
        }
        if self.mean >= 100.0 || self.mean <= -100.0 {
            self.offset += self.mean;
            self.mean = 0.0;
        }
        let gamma = self.gamma(gas, index);
        let delta = (raw - self.offset - self.mean) / GAMMA_SCALING;
        let c = self.deviation + delta.abs();
        let scaling = if c > 1440.0 { c / 1440.0 * (c / 1440.0) } else { 1.0 };
        self.deviation = (scaling * (GAMMA_SCALING - gamma.variance)).sqrt()
            * (self.deviation * (self.deviation / (GAMMA_SCALING * scaling))
                + gamma.variance * delta / scaling * delta)
                .sqrt();
        self.mean += gamma.mean * delta / GAMMA_MEAN_SCALING;
    }

    fn gamma(&mut self, gas: &Gas, index: f32) -> Gamma {
        let uptime_limit_s = UPTIME_MAX_S - INTERVAL_S;
        if self.uptime_gamma_s < uptime_limit_s {
            self.uptime_gamma_s += INTERVAL_S;
        }
        if self.uptime_gating_s < uptime_limit_s {
            self.uptime_gating_s += INTERVAL_S;
        }
        let early_mean = sigmoid(self.uptime_gamma_s, gas.init_duration_mean_s, INIT_TRANSITION);
        let early_variance = sigmoid(self.uptime_gamma_s, gas.init_duration_variance_s, INIT_TRANSITION);
        let gamma_mean = GAMMA_MEAN + (self.gamma_initial_mean - GAMMA_MEAN) * early_mean;
        let gamma_variance = GAMMA_VARIANCE + (GAMMA_INITIAL_VARIANCE - GAMMA_VARIANCE) * (early_variance - early_mean);

        let quiet_mean = self.quiet(gas, index, gas.init_duration_mean_s);
        let quiet_variance = self.quiet(gas, index, gas.init_duration_variance_s);
        self.gating_minutes += INTERVAL_S / 60.0 * ((1.0 - quiet_mean) * (1.0 + GATING_MAX_RATIO) - GATING_MAX_RATIO);
        if self.gating_minutes < 0.0 {
            self.gating_minutes = 0.0;
        }
        if self.gating_minutes > gas.gating_max_minutes {
            self.uptime_gating_s = 0.0;
        }
        Gamma { mean: quiet_mean * gamma_mean, variance: quiet_variance * gamma_variance }
    }

    /// 1 while the index is ordinary, towards 0 during an event.
    fn quiet(&self, gas: &Gas, index: f32, init_duration_s: f32) -> f32 {
        let early = sigmoid(self.uptime_gating_s, init_duration_s, INIT_TRANSITION);
        let threshold = gas.gating_threshold + (GATING_THRESHOLD_INITIAL - gas.gating_threshold) * early;
        sigmoid(index, threshold, GATING_THRESHOLD_TRANSITION)
    }
}

/// A lowpass that is fast where the signal moves and slow where it rests.
struct Lowpass {
    fast: f32,
    slow: f32,
    adaptive: f32,
}

impl Lowpass {
    fn process(&mut self, sample: f32) -> f32 {
        const FAST: f32 = INTERVAL_S / (LOWPASS_TAU_FAST_S + INTERVAL_S);
        const SLOW: f32 = INTERVAL_S / (LOWPASS_TAU_SLOW_S + INTERVAL_S);
        self.fast = (1.0 - FAST) * self.fast + FAST * sample;
        self.slow = (1.0 - SLOW) * self.slow + SLOW * sample;
        let rest = (LOWPASS_ALPHA * (self.fast - self.slow).abs()).exp();
        let tau_s = (LOWPASS_TAU_SLOW_S - LOWPASS_TAU_FAST_S) * rest + LOWPASS_TAU_FAST_S;
        let weight = INTERVAL_S / (INTERVAL_S + tau_s);
        self.adaptive = (1.0 - weight) * self.adaptive + weight * sample;
        self.adaptive
    }
}

/// From 1 for small values to 0 for large ones.
fn sigmoid(value: f32, x0: f32, k: f32) -> f32 {
    let x = k * (value - x0);
    if x < -50.0 {
        1.0
    } else if x > 50.0 {
        0.0
    } else {
        1.0 / (1.0 + x.exp())
    }
}

fn scaled_sigmoid(gas: &Gas, value: f32) -> f32 {
    let x = gas.sigmoid_k * (value - gas.sigmoid_x0);
    if x < -50.0 {
        INDEX_MAX
    } else if x > 50.0 {
        0.0
    } else {
        INDEX_MAX / (1.0 + x.exp())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Noise from a number, the same in every language.
    fn noise(t: u32) -> u32 {
        let mut x = t.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        x ^= x >> 16;
        x = x.wrapping_mul(2_246_822_519);
        x ^ (x >> 13)
    }

    fn step(t: u32, steps: &[(Range<u32>, i32)]) -> i32 {
        steps.iter().find(|(during, _)| during.contains(&t)).map_or(0, |(_, by)| *by)
    }

    /// A drift, a short event, one at full scale, one that outlasts the gating, better air; now and then no signal at all.
    fn voc_raw(t: u32) -> u16 {
        let raw = match t {
            _ if t % 997 == 500 => 0,
            _ if t % 1499 == 700 => 65_000,
            _ if t % 1999 == 900 => 19_000,
            _ if t % 2503 == 1000 => 60_000,
            _ => {
                let events = [(3600..3900, -2500), (9000..9060, -6000), (12_000..26_000, -1500), (27_000..27_600, 900)];
                30_000 + (t / 60 % 240) as i32 + (noise(t) % 41) as i32 + step(t, &events)
            }
        };
        u16::try_from(raw).unwrap()
    }

    fn nox_raw(t: u32) -> u16 {
        let raw = match t {
            _ if t % 997 == 500 => 0,
            _ if t % 1499 == 700 => 65_000,
            _ if t % 2999 == 900 => 9000,
            _ if t % 5003 == 1000 => 60_000,
            _ => {
                let events = [(3600..4200, 800), (15_000..15_600, 4000), (22_000..68_000, 250)];
                15_500 + (t / 90 % 100) as i32 + (noise(t) % 15) as i32 + step(t, &events)
            }
        };
        u16::try_from(raw).unwrap()
    }

    /// A line of the data.
    struct Golden {
        t: u32,
        raw: u16,
        index: Option<f32>,
        mean: f32,
        deviation: f32,
    }

    fn golden(csv: &str) -> Vec<Golden> {
        let line = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let float = |hex| f32::from_bits(u32::from_str_radix(hex, 16).unwrap());
            Golden {
                t: fields[0].parse().unwrap(),
                raw: fields[1].parse().unwrap(),
                index: Some(fields[2].parse().unwrap()).filter(|index| *index > 0.0),
                mean: float(fields[3]),
                deviation: float(fields[4]),
            }
        };
        csv.lines().filter(|line| !line.starts_with('#')).map(line).collect()
    }

    /// Another machine's `exp` may differ in the last bit, so the states are held to a hundred-thousandth.
    fn assert_like(index: &GasIndex, got: Option<f32>, golden: &Golden) {
        assert_eq!(got, golden.index, "at {} s", golden.t);
        let states = [index.estimator.absolute_mean(), index.estimator.deviation];
        for (state, expected) in states.into_iter().zip([golden.mean, golden.deviation]) {
            assert!((state - expected).abs() <= expected.abs() * 1e-5, "at {} s: {state}, {expected}", golden.t);
        }
    }

    #[test]
    fn the_voc_index_is_sensirions_also_across_a_restart() {
        let golden = golden(include_str!("gas_index/voc.csv"));
        let mut index = GasIndex::voc();
        let mut rows = golden.iter().peekable();
        for t in 0..=golden.last().unwrap().t {
            if t == 28_800 {
                index = GasIndex::resumed(index.learned().unwrap());
            }
            let got = index.process(voc_raw(t));
            if let Some(row) = rows.next_if(|row| row.t == t) {
                assert_eq!(row.raw, voc_raw(t));
                assert_like(&index, got, row);
            }
        }
        assert_eq!((rows.count(), golden.len()), (0, 520));
    }

    #[test]
    fn the_nox_index_is_sensirions() {
        let golden = golden(include_str!("gas_index/nox.csv"));
        let mut index = GasIndex::nox();
        let mut rows = golden.iter().peekable();
        for t in 0..=golden.last().unwrap().t {
            let got = index.process(nox_raw(t));
            if let Some(row) = rows.next_if(|row| row.t == t) {
                assert_eq!(row.raw, nox_raw(t));
                assert_like(&index, got, row);
            }
        }
        assert_eq!((rows.count(), golden.len()), (0, 420));
    }

    #[test]
    fn nothing_is_said_for_45_seconds_and_nothing_remembered_before_three_hours() {
        let mut index = GasIndex::voc();
        let silent = (0..100).take_while(|_| index.process(30_000).is_none()).count();
        assert_eq!(silent, 46);
        while index.estimator.uptime_gamma_s < PERSISTENCE_S {
            assert_eq!(index.learned(), None);
            assert!(index.process(30_000).is_some());
        }
        assert_eq!(index.process(30_000), Some(100.0));
        assert_eq!(index.learned().map(|learned| learned.mean), Some(10_000.0));
    }

    #[test]
    fn no_raw_signal_leads_out_of_the_scale() {
        for mut index in [GasIndex::voc(), GasIndex::nox()] {
            for t in 0..20_000 {
                let raw = noise(t) as u16;
                if let Some(value) = index.process(raw) {
                    assert!((1.0..=500.0).contains(&value), "{value} at {t} s");
                }
            }
        }
    }
}
