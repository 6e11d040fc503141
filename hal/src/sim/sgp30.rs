//! Sensirion SGP30: TVOC and equivalent CO2. After its datasheet, version 1.0 (May 2020), feature set 34; sections are its.
//!
//! While a command is executed nothing is acknowledged (6.2); data are read once, and what nobody asked for not at all. The
//! measurement begins with `iaq_init` and not by itself: without it, and for 15 s after it, 400 ppm and 0 ppb are read. It does
//! not outlive the power, nor does the humidity; the host's restart does it no harm. The baseline is read as (CO2eq, TVOC) and
//! set as (TVOC, CO2eq). In the first 15 s it reads zero, as Sensirion's driver treats zero as none.
//!
//! Not modelled: what the baseline and the humidity do to the values, a host that asks less often than once a second, the
//! coarser steps of high values (table 2), the inceptive baseline's effect, and the general call reset.
//!
//! Faults: busy acknowledges nothing after the next command; broken fails the self test; the wrong chip is an SGPC3, which
//! shares the address and some commands, has a product type of 1, and measures TVOC alone (after Sensirion's driver of it).

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::sensirion::{Commanded, Executed};

const QUANTITIES: [Quantity; 2] = [Quantity::TVOC, Quantity::ECO2];

const SERIAL: [u16; 3] = [0x0000, 0x0157, 0xA3C9];
/// Table 9: product type 0 in the upper four bits. Table 10 is of this version.
const FEATURE_SET: u16 = 0x0022;
const SGPC3_FEATURE_SET: u16 = 0x1006;

/// Table 6.
const POWER_UP: Duration = Duration::from_micros(600);
/// Section 6.5.
const SERIAL_TIME: Duration = Duration::from_micros(500);
/// Section 6.3, "air quality signals".
const INITIALISATION: Duration = Duration::from_secs(15);

/// Section 6.3, "measure test". The datasheet gives no pattern of failure; this is the SGP40's.
const TEST_PASSED: u16 = 0xD400;
const TEST_FAILED: u16 = 0x4B00;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Baseline {
    co2: u16,
    tvoc: u16,
}

const NO_BASELINE: Baseline = Baseline { co2: 0, tvoc: 0 };
/// What the algorithm found by itself.
const FOUND: Baseline = Baseline { co2: 0x8973, tvoc: 0x8AAE };
const INCEPTIVE: u16 = 0x86A1;

pub(super) struct Sgp30 {
    /// When the measurement was initialised.
    since: Option<Duration>,
    /// One that the host set.
    baseline: Option<Baseline>,
}

impl Sgp30 {
    pub(super) fn new() -> Self {
        Self { since: None, baseline: None }
    }

    fn is_initialised(&self, now: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_sub(since) >= INITIALISATION)
    }

    /// Table 2: the ranges. CO2eq comes first.
    fn measurement(&self, at: &Moment<'_>) -> [u16; 2] {
        if !self.is_initialised(at.now) {
            return [400, 0];
        }
        // The casts saturate.
        let co2 = at.air(Quantity::ECO2).round().clamp(400.0, 60_000.0) as u16;
        let tvoc = at.air(Quantity::TVOC).round().clamp(0.0, 60_000.0) as u16;
        [co2, tvoc]
    }

    /// Section 6.3: a tick is 1/512 of the natural logarithm of a concentration, and more gas has fewer. Both signals follow what
    /// is derived from them, from arbitrary references.
    fn raw(at: &Moment<'_>) -> [u16; 2] {
        let ticks = |reference: f64, concentration: f64| reference - 512.0 * concentration.max(1.0).ln();
        // The casts saturate.
        let hydrogen = ticks(17_000.0, at.air(Quantity::ECO2)).round() as u16;
        let ethanol = ticks(21_000.0, at.air(Quantity::TVOC)).round() as u16;
        [hydrogen, ethanol]
    }

    fn baseline(&self, now: Duration) -> Baseline {
        let found = if self.is_initialised(now) { FOUND } else { NO_BASELINE };
        self.baseline.unwrap_or(found)
    }
}

impl Commanded for Sgp30 {
    const HANGS: bool = true;

    fn model(&self) -> &'static str {
        "SGP30"
    }

    fn address(&self) -> u8 {
        0x58
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn startup(&self) -> Duration {
        POWER_UP
    }

    fn power_on(&mut self) {
        *self = Self::new();
    }

    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        match code {
            0x202F | 0x3682 | 0x2003 | 0x2008 | 0x2015 | 0x2032 => &[0],
            _ if at.has(Fault::WrongId) => &[],
            0x2050 | 0x20B3 => &[0],
            0x2061 | 0x2077 => &[1],
            0x201E => &[2],
            _ => &[],
        }
    }

    /// With the longest durations of table 10.
    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed {
        let within_10_ms = Executed::within_ms(10);
        match (code, words) {
            (0x2003, _) => {
                *self = Self { since: Some(at.now), baseline: None };
                within_10_ms
            }
            (0x2008, _) if at.has(Fault::WrongId) => Executed::within_ms(50).answering(&self.measurement(at)[1..]),
            (0x2008, _) => Executed::within_ms(12).answering(&self.measurement(at)),
            (0x2015, _) => {
                let Baseline { co2, tvoc } = self.baseline(at.now);
                let both = [co2, tvoc];
                within_10_ms.answering(if at.has(Fault::WrongId) { &both[1..] } else { &both })
            }
            (0x201E, &[tvoc, co2]) => {
                // Before the initialisation there is no algorithm that could take it.
                self.baseline = self.since.map(|_| Baseline { co2, tvoc });
                within_10_ms
            }
            (0x2077, &[tvoc]) => {
                self.baseline = self.since.map(|_| Baseline { tvoc, ..self.baseline(at.now) });
                within_10_ms
            }
            // Afterwards "the sensor is in sleep mode", so what was initialised is no more.
            (0x2032, _) => {
                *self = Self::new();
                let result = if at.has(Fault::Broken) { TEST_FAILED } else { TEST_PASSED };
                Executed::within_ms(220).answering(&[result])
            }
            (0x2050, _) => Executed::within_ms(25).answering(&Self::raw(at)),
            (0x202F, _) if at.has(Fault::WrongId) => within_10_ms.answering(&[SGPC3_FEATURE_SET]),
            (0x202F, _) => within_10_ms.answering(&[FEATURE_SET]),
            (0x20B3, _) => within_10_ms.answering(&[INCEPTIVE]),
            (0x3682, _) => Executed::within(SERIAL_TIME).answering(&SERIAL),
            _ => within_10_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chip;
    use super::super::sensirion::tests::Host;
    use super::*;

    /// A host with a chip that is up, in air of 125 ppb and 612 ppm.
    fn host() -> Host {
        let host = Host::with(chip("SGP30").unwrap());
        host.set(Quantity::TVOC, 125.0);
        host.set(Quantity::ECO2, 612.0);
        host.wait_ms(1);
        host
    }

    /// The same, measuring for so long.
    fn measuring(seconds: u32) -> Host {
        let mut host = host();
        host.send(0x2003, &[]).unwrap();
        host.wait_ms(seconds * 1_000);
        host
    }

    fn measured(host: &mut Host) -> Vec<u16> {
        host.ask(0x2008, &[], 12, 2).unwrap()
    }

    #[test]
    fn fixed_values_come_for_fifteen_seconds_after_the_initialisation_and_without_one() {
        let mut host = host();
        host.wait_ms(60_000);
        assert_eq!(measured(&mut host), [400, 0]);
        host.send(0x2003, &[]).unwrap();
        assert_eq!(host.send(0x2008, &[]), Err(host.no_answer()), "initialising takes 10 ms");
        for _ in 0..14 {
            host.wait_ms(1_000);
            assert_eq!(measured(&mut host), [400, 0]);
        }
        host.wait_ms(1_000);
        assert_eq!(measured(&mut host), [612, 125], "CO2eq first");
    }

    #[test]
    fn an_answer_is_refused_until_its_time_and_read_once() {
        let mut host = measuring(20);
        host.send(0x2008, &[]).unwrap();
        host.wait_ms(11);
        assert_eq!(host.receive(2), Err(host.no_answer()));
        host.wait_ms(1);
        assert_eq!(host.read(9).unwrap()[6..], [0xFF; 3], "a pattern of ones beyond the data");
        assert_eq!(host.receive(2), Err(host.no_answer()));
    }

    #[test]
    fn the_baseline_is_set_in_another_order_than_it_is_read() {
        let mut host = measuring(1);
        assert_eq!(host.ask(0x2015, &[], 10, 2).unwrap(), [0, 0], "none yet");
        host.send(0x201E, &[0x8A11, 0x8B22]).unwrap();
        host.wait_ms(10);
        assert_eq!(host.ask(0x2015, &[], 10, 2).unwrap(), [0x8B22, 0x8A11]);
        host.fault(Some(Fault::PowerLoss));
        assert_eq!(host.send(0x2015, &[]), Err(host.no_answer()));
        host.wait_ms(1);
        assert_eq!(host.ask(0x2015, &[], 10, 2).unwrap(), [0, 0]);
        assert_eq!(measured(&mut host), [400, 0], "to be initialised anew");
        assert_ne!(measuring(16).ask(0x2015, &[], 10, 2).unwrap(), [0, 0]);
    }

    #[test]
    fn words_without_their_checksums_are_not_accepted() {
        let mut host = measuring(20);
        // The datasheet's example of 15.50 g/m3, with a right checksum and a wrong one.
        host.send(0x2061, &[0x0F80]).unwrap();
        host.wait_ms(10);
        assert_eq!(host.write(&[0x20, 0x61, 0x0F, 0x80, 0x00]), Err(host.refused()));
        assert_eq!(host.write(&[0x20, 0x1E, 0x8A, 0x11, 0x00]), Err(host.refused()));
        assert_eq!(host.ask(0x2015, &[], 10, 2).unwrap(), [FOUND.co2, FOUND.tvoc]);
    }

    #[test]
    fn the_chip_says_what_it_is_and_whether_it_works() {
        let mut host = measuring(20);
        assert_eq!(host.ask(0x3682, &[], 1, 3).unwrap(), SERIAL);
        assert_eq!(host.ask(0x202F, &[], 10, 1).unwrap(), [0x0022]);
        assert_eq!(host.ask(0x2032, &[], 220, 1).unwrap(), [0xD400]);
        assert_eq!(measured(&mut host), [400, 0], "the test ended the measurement");
        host.fault(Some(Fault::Broken));
        assert_ne!(host.ask(0x2032, &[], 220, 1).unwrap(), [0xD400]);
        host.fault(Some(Fault::WrongId));
        assert_eq!(host.ask(0x202F, &[], 10, 1).unwrap()[0] >> 12, 1);
        host.send(0x2003, &[]).unwrap();
        host.wait_ms(16_000);
        host.send(0x2008, &[]).unwrap();
        host.wait_ms(50);
        assert_eq!(host.read(6).unwrap()[3..], [0xFF; 3], "TVOC alone");
        assert_eq!(host.send(0x2050, &[]), Err(host.refused()));
    }

    #[test]
    fn values_are_clamped_and_raw_signals_fall_as_gas_rises() {
        let mut host = measuring(20);
        let before = host.ask(0x2050, &[], 25, 2).unwrap();
        host.set(Quantity::TVOC, 1e6);
        host.set(Quantity::ECO2, 1e6);
        assert_eq!(measured(&mut host), [60_000, 60_000]);
        let after = host.ask(0x2050, &[], 25, 2).unwrap();
        assert!(after[0] < before[0] && after[1] < before[1]);
        host.set(Quantity::TVOC, -5.0);
        host.set(Quantity::ECO2, 0.0);
        assert_eq!(measured(&mut host), [400, 0]);
    }

    #[test]
    fn a_hanging_chip_never_finishes() {
        let mut host = measuring(20);
        host.fault(Some(Fault::Busy));
        assert_eq!(host.ask(0x2008, &[], 60_000, 2), Err(host.no_answer()));
        assert_eq!(host.send(0x3682, &[]), Err(host.no_answer()));
    }
}
