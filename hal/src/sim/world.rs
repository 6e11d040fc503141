//! Believable air over the day, from a seed.

use std::f64::consts::TAU;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reading::Quantity;

/// The air at one place, as a pure function of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    seed: u64,
    /// Unix time when the bus got its power, in seconds.
    start_unix_s: f64,
}

impl World {
    /// The place that `seed` stands for, on a bus that gets its power at this Unix time, in seconds.
    pub fn new(seed: u64, start_unix_s: f64) -> Self {
        Self { seed, start_unix_s }
    }

    /// The place that `seed` stands for, on a bus that gets its power now.
    pub fn from_now(seed: u64) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::new(seed, since_epoch.as_secs_f64())
    }

    /// What the air is, in the quantity's unit, at a time since power-on.
    pub fn at(&self, now: Duration, quantity: Quantity) -> f64 {
        world(self.seed, self.start_unix_s + now.as_secs_f64(), quantity)
    }
}

/// What the air is at a place and a time, in the quantity's unit; NaN, which no chip takes, for a quantity unknown here.
///
/// A sheltered balcony in a city on Korean time, without seasons: coldest before sunrise and warmest in the afternoon,
/// moisture that stays while the temperature changes (so relative humidity runs against it), weather in the pressure, two
/// rush hours in the dust. The seed chooses the place, its weather and its eddies.
pub fn world(seed: u64, unix_seconds: f64, quantity: Quantity) -> f64 {
    let place = Place { seed, unix_s: unix_seconds };
    match quantity {
        Quantity::TEMPERATURE => place.temperature(),
        Quantity::HUMIDITY => place.humidity(),
        Quantity::PRESSURE => place.sea_level_pressure() + 350.0 * place.character(22),
        Quantity::SEA_LEVEL_PRESSURE => place.sea_level_pressure(),
        Quantity::PM1 => place.pm2_5() * 0.65,
        Quantity::PM2_5 => place.pm2_5(),
        Quantity::PM4 => place.pm2_5() * 1.25,
        Quantity::PM10 => place.pm2_5() * 1.6,
        Quantity::CO2 | Quantity::ECO2 => place.co2(),
        Quantity::VOC_INDEX => 100.0 + 60.0 * place.people() + 20.0 * place.noise(40, 1_800.0),
        Quantity::NOX_INDEX => 1.0 + 20.0 * place.traffic(),
        Quantity::TVOC => 60.0 + 200.0 * place.people() + 20.0 * place.noise(41, 1_800.0),
        Quantity::GAS_RESISTANCE => 120_000.0 - 50_000.0 * place.people() + 5_000.0 * place.noise(42, 1_800.0),
        Quantity::ILLUMINANCE => place.daylight() * (12_000.0 + 6_000.0 * place.noise(43, 900.0)),
        _ => f64::NAN,
    }
}

const HOUR_S: f64 = 3_600.0;
const DAY_S: f64 = 24.0 * HOUR_S;
/// Korea's clock, ahead of UTC.
const UTC_OFFSET_S: f64 = 9.0 * HOUR_S;

struct Place {
    seed: u64,
    unix_s: f64,
}

impl Place {
    /// The hour of the local day, 0 to 24.
    fn hour(&self) -> f64 {
        (self.unix_s + UTC_OFFSET_S).rem_euclid(DAY_S) / HOUR_S
    }

    /// A trait of the place, -1 to 1, that never changes. Each use has a `stream` of its own.
    fn character(&self, stream: u64) -> f64 {
        hash(self.seed, stream, 0)
    }

    /// Something that wanders between -1 and 1, smoothly, and is another about every `period_s`.
    fn noise(&self, stream: u64, period_s: f64) -> f64 {
        let position = self.unix_s / period_s;
        let before = position.floor();
        let (left, right) = (hash(self.seed, stream, before as i64), hash(self.seed, stream, before as i64 + 1));
        let part = position - before;
        left + (right - left) * part * part * (3.0 - 2.0 * part)
    }

    fn mean_temperature(&self) -> f64 {
        19.0 + 3.0 * self.character(1)
    }

    fn temperature(&self) -> f64 {
        let swing = 4.5 + 1.5 * self.character(2);
        let of_day = ((self.hour() - 15.0) / 24.0 * TAU).cos();
        self.mean_temperature() + swing * of_day + 0.4 * self.noise(3, 1_200.0) + 0.05 * self.noise(4, 20.0)
    }

    /// From a dew point that only the weather moves, by the Magnus formula over water (WMO-No. 8, annex 4.B).
    fn humidity(&self) -> f64 {
        let dew_point = self.mean_temperature() - 9.0 + 1.5 * self.noise(10, DAY_S) + 0.15 * self.noise(11, 60.0);
        let vapour = |celsius: f64| (17.62 * celsius / (243.12 + celsius)).exp();
        (100.0 * vapour(dew_point) / vapour(self.temperature())).clamp(0.0, 100.0)
    }

    /// Weather and the half-daily tide of the atmosphere (0.6 hPa); the pressure adds the height of the place.
    fn sea_level_pressure(&self) -> f64 {
        let weather = 700.0 * self.noise(20, 1.5 * DAY_S) + 4.0 * self.noise(21, 300.0);
        let tide = 60.0 * ((self.hour() - 10.0) / 12.0 * TAU).cos();
        101_000.0 + weather + tide
    }

    fn pm2_5(&self) -> f64 {
        let background = 14.0 + 5.0 * self.character(30) + 6.0 * self.noise(31, 0.7 * DAY_S);
        let eddies = 1.0 + 0.12 * self.noise(32, 600.0) + 0.08 * self.noise(33, 15.0);
        (background + 22.0 * self.traffic()) * eddies
    }

    fn co2(&self) -> f64 {
        435.0 + 330.0 * self.people() + 25.0 * self.noise(34, 900.0) + 4.0 * self.noise(35, 15.0)
    }

    /// Rush hours, 0 to about 1.
    fn traffic(&self) -> f64 {
        self.bump(8.5, 1.1) + 0.9 * self.bump(18.5, 1.7)
    }

    /// How many people breathe here, 0 to about 1: mornings and evenings.
    fn people(&self) -> f64 {
        0.6 * self.bump(8.0, 1.5) + self.bump(21.0, 2.5)
    }

    fn daylight(&self) -> f64 {
        ((self.hour() - 12.5) / 24.0 * TAU).cos().max(0.0)
    }

    /// A bell around an hour of the day, of a width in hours; it wraps at midnight.
    fn bump(&self, hour: f64, width: f64) -> f64 {
        let apart = (self.hour() - hour).abs();
        (-(apart.min(24.0 - apart) / width).powi(2) / 2.0).exp()
    }
}

/// A number in -1 to 1 from three, by the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn hash(seed: u64, stream: u64, index: i64) -> f64 {
    let mut bits = seed;
    for word in [stream, index.cast_unsigned()] {
        bits = bits.wrapping_add(word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
    }
    (bits >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-02T00:00 in Korea.
    const MIDNIGHT_S: f64 = 1_793_545_200.0;

    fn day(seed: u64, quantity: Quantity) -> impl Iterator<Item = f64> {
        (0..24 * 60).map(move |minute| world(seed, MIDNIGHT_S + f64::from(minute) * 60.0, quantity))
    }

    fn at_hour(seed: u64, hour: f64, quantity: Quantity) -> f64 {
        world(seed, MIDNIGHT_S + hour * HOUR_S, quantity)
    }

    #[test]
    fn every_quantity_stays_believable_all_day_for_any_seed() {
        for seed in 0..50 {
            for (quantity, least, most) in [
                (Quantity::TEMPERATURE, 5.0, 32.0),
                (Quantity::HUMIDITY, 25.0, 99.0),
                (Quantity::PRESSURE, 99_500.0, 102_500.0),
                (Quantity::PM1, 0.5, 50.0),
                (Quantity::PM2_5, 1.0, 70.0),
                (Quantity::PM10, 2.0, 110.0),
                (Quantity::CO2, 400.0, 1_000.0),
                (Quantity::ILLUMINANCE, 0.0, 20_000.0),
            ] {
                for value in day(seed, quantity) {
                    assert!((least..=most).contains(&value), "seed {seed}: {quantity} {value}");
                }
            }
            for quantity in Quantity::KNOWN {
                assert!(day(seed, *quantity).all(f64::is_finite), "{quantity}");
            }
        }
    }

    #[test]
    fn the_day_has_the_shape_of_a_day() {
        for seed in 0..50 {
            let temperature = |hour| at_hour(seed, hour, Quantity::TEMPERATURE);
            let humidity = |hour| at_hour(seed, hour, Quantity::HUMIDITY);
            assert!(temperature(15.0) > temperature(4.0) + 3.0, "seed {seed}: warmest in the afternoon");
            assert!(humidity(15.0) < humidity(4.0) - 10.0, "seed {seed}: driest when warmest");
            let mean = |hours: std::ops::Range<u32>| {
                let count = f64::from(hours.end - hours.start);
                hours.map(|hour| at_hour(seed, f64::from(hour), Quantity::PM2_5)).sum::<f64>() / count
            };
            assert!(mean(7..10) > mean(1..4), "seed {seed}: dust at the rush hour");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_air_and_another_seed_another() {
        for quantity in Quantity::KNOWN {
            assert!(day(7, *quantity).eq(day(7, *quantity)));
        }
        assert!(day(7, Quantity::TEMPERATURE).ne(day(8, Quantity::TEMPERATURE)));
        assert_eq!(
            World::new(7, MIDNIGHT_S).at(Duration::from_secs(60), Quantity::CO2),
            day(7, Quantity::CO2).nth(1).unwrap()
        );
    }

    #[test]
    fn the_air_moves_a_little_from_one_sample_to_the_next_but_never_jumps() {
        let at = |second: u32, quantity| world(3, MIDNIGHT_S + f64::from(second), quantity);
        for (quantity, most_a_second) in
            [(Quantity::TEMPERATURE, 0.02), (Quantity::HUMIDITY, 0.2), (Quantity::CO2, 2.0)]
        {
            for second in 0..3_600 {
                let step = (at(second + 1, quantity) - at(second, quantity)).abs();
                assert!(step < most_a_second, "{quantity} moved by {step} in a second");
            }
        }
        assert!(at(0, Quantity::TEMPERATURE) != at(10, Quantity::TEMPERATURE));
        assert!(world(3, MIDNIGHT_S, Quantity(900)).is_nan());
    }
}
