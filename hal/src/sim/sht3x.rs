//! Sensirion SHT31: temperature and humidity. After the SHT3x-DIS datasheet, versions 4 (March 2017) and 5 (May 2018); sections
//! and tables are those of version 4.
//!
//! While it measures, it acknowledges nothing; a read without data is not acknowledged. A periodic measurement goes on across
//! the host's restart, and refuses what the datasheet says to send only after a break: all but fetching, the break and the
//! status. A soft reset is refused then too, as it is meant for the idle state (4.9).
//!
//! Where versions differ, in the break, this is version 5: it aborts the running measurement, where version 4 let it end in up
//! to 15 ms. No time is given for that; it takes the least waiting time, 1 ms, as Sensirion's and Adafruit's drivers wait.
//!
//! Where drivers differ: Linux waits 15, 6 and 4 ms for a measurement, as table 4 says for supplies from 2.4 V, and so long does
//! this chip take; Adafruit's driver waits half a millisecond more. Sensirion's C driver starts 10 measurements per second of low repeatability by 0x273A. The
//! datasheet (table 9) and Adafruit's driver say 0x272A, and so does this chip.
//!
//! Not modelled: clock stretching (its commands measure, but the read header is refused until the end, as without), the
//! heater's heat, alert limits, the ART's faster response, the general call reset, and the status bits of a refused command.
//!
//! Faults: busy acknowledges nothing after the next command; the wrong chip is an SHT4x, which knows no command of two bytes;
//! it cannot say that it is broken.

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::periodic::Periodic;
use super::sensirion::{Commanded, Executed, word};

const QUANTITIES: [Quantity; 2] = [Quantity::TEMPERATURE, Quantity::HUMIDITY];

const SERIAL: [u16; 2] = [0x0B1E, 0x77D2];

/// Table 4: power-up and soft reset, at most.
const IDLE_AGAIN: Duration = Duration::from_millis(1);
/// Table 4: the longest measurement of high, medium and low repeatability.
const HIGH: Duration = Duration::from_millis(15);
const MEDIUM: Duration = Duration::from_millis(6);
const LOW: Duration = Duration::from_millis(4);
/// Table 9 of version 5: the least waiting time after a command. The serial number takes as long ("Electronic Identification Code").
const SHORT: Duration = Duration::from_millis(1);

/// Section 4.11: what the status register holds after a reset: "alert pending" and "reset detected".
const STATUS_AFTER_RESET: u16 = 1 << 15 | 1 << 4;
const HEATER_ON: u16 = 1 << 13;
/// The flags that clearing the status clears.
const CLEARED: u16 = 1 << 15 | 1 << 11 | 1 << 10 | 1 << 4;

const FETCH: u16 = 0xE000;
const BREAK: u16 = 0x3093;
const SOFT_RESET: u16 = 0x30A2;
const HEATER_ENABLE: u16 = 0x306D;
const HEATER_DISABLE: u16 = 0x3066;
const READ_STATUS: u16 = 0xF32D;
const CLEAR_STATUS: u16 = 0x3041;

pub(super) struct Sht3x {
    status: u16,
    periodic: Option<Periodic>,
    /// The last periodic measurement, until it is fetched.
    data: Option<[u16; 2]>,
}

impl Sht3x {
    pub(super) fn new() -> Self {
        Self { status: STATUS_AFTER_RESET, periodic: None, data: None }
    }

    /// Section 4.13: T = -45 + 175 S / 65535, RH = 100 S / 65535.
    fn measurement(at: &Moment<'_>) -> [u16; 2] {
        [word(at.air(Quantity::TEMPERATURE), -45.0, 175.0), word(at.air(Quantity::HUMIDITY), 0.0, 100.0)]
    }

    /// Table 8, with clock stretching and without.
    fn single_shot(code: u16) -> Option<Duration> {
        match code {
            0x2C06 | 0x2400 => Some(HIGH),
            0x2C0D | 0x240B => Some(MEDIUM),
            0x2C10 | 0x2416 => Some(LOW),
            _ => None,
        }
    }

    /// Tables 9 and 11: the interval of a periodic measurement.
    fn interval(code: u16) -> Option<Duration> {
        Some(Duration::from_millis(match code {
            0x2032 | 0x2024 | 0x202F => 2_000,
            0x2130 | 0x2126 | 0x212D => 1_000,
            0x2236 | 0x2220 | 0x222B => 500,
            0x2334 | 0x2322 | 0x2329 | 0x2B32 => 250,
            0x2737 | 0x2721 | 0x272A => 100,
            _ => return None,
        }))
    }
}

impl Commanded for Sht3x {
    const HANGS: bool = true;

    fn model(&self) -> &'static str {
        "SHT31"
    }

    /// Table 7 (section 3.4), with ADDR to ground; 0x45 with ADDR to the supply.
    fn address(&self) -> u8 {
        0x44
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn startup(&self) -> Duration {
        IDLE_AGAIN
    }

    fn power_on(&mut self) {
        *self = Self::new();
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        if self.periodic.as_mut().is_some_and(|periodic| periodic.is_due(at.now)) {
            self.data = Some(Self::measurement(at));
        }
        true
    }

    /// No command here takes a word.
    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        match code {
            _ if at.has(Fault::WrongId) => &[],
            FETCH | BREAK | READ_STATUS | CLEAR_STATUS => &[0],
            _ if self.periodic.is_some() => &[],
            SOFT_RESET | HEATER_ENABLE | HEATER_DISABLE | 0x3780 | 0x3682 => &[0],
            _ if Self::single_shot(code).is_some() || Self::interval(code).is_some() => &[0],
            _ => &[],
        }
    }

    fn execute(&mut self, code: u16, _words: &[u16], at: &Moment<'_>) -> Executed {
        if let Some(longest) = Self::single_shot(code) {
            return Executed::within(longest).answering(&Self::measurement(at));
        }
        if let Some(interval) = Self::interval(code) {
            self.periodic = Some(Periodic::from(at.now, interval));
            self.data = None;
            return Executed::within(SHORT);
        }
        match code {
            // Section 4.6: what is fetched is gone, and where there is nothing the read header is not acknowledged.
            FETCH => {
                let executed = Executed::within(Duration::ZERO);
                return self.data.take().map_or(executed, |words| Executed::within(Duration::ZERO).answering(&words));
            }
            BREAK => {
                self.periodic = None;
                self.data = None;
            }
            SOFT_RESET => {
                *self = Self::new();
                return Executed::within(IDLE_AGAIN);
            }
            HEATER_ENABLE => self.status |= HEATER_ON,
            HEATER_DISABLE => self.status &= !HEATER_ON,
            CLEAR_STATUS => self.status &= !CLEARED,
            READ_STATUS => return Executed::within(SHORT).answering(&[self.status]),
            _ => return Executed::within(SHORT).answering(&SERIAL),
        }
        Executed::within(SHORT)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sensirion::tests::Host;
    use super::super::{Clock, chip};
    use super::*;

    /// A host with a chip that has long been up, in air of -12.34 Cel and 66.6 %RH.
    fn host() -> Host {
        let host = Host::with(chip("SHT31").unwrap());
        host.set(Quantity::TEMPERATURE, -12.34);
        host.set(Quantity::HUMIDITY, 66.6);
        host.wait_ms(5);
        host
    }

    fn wait_us(host: &Host, time: u64) {
        host.bus.clock().advance(Duration::from_micros(time));
    }

    fn assert_air(words: &[u16], celsius: f64, percent: f64) {
        let [temperature, humidity] = [words[0], words[1]].map(|word| f64::from(word) / 65_535.0);
        let found = (-45.0 + 175.0 * temperature, 100.0 * humidity);
        assert!((found.0 - celsius).abs() < 0.002 && (found.1 - percent).abs() < 0.001, "{found:?}");
    }

    #[test]
    fn each_measurement_is_refused_until_its_time_has_passed_and_then_read_once() {
        for (code, longest_us) in [(0x2400, 15_000), (0x240B, 6_000), (0x2416, 4_000), (0x2C06, 15_000)] {
            let mut host = host();
            host.send(code, &[]).unwrap();
            wait_us(&host, longest_us - 200);
            assert_eq!(host.receive(2), Err(host.no_answer()), "{code:#x}");
            assert_eq!(host.send(0xF32D, &[]), Err(host.no_answer()), "a second command");
            wait_us(&host, 200);
            assert_air(&host.receive(2).unwrap(), -12.34, 66.6);
            assert_eq!(host.receive(2), Err(host.no_answer()), "read once");
        }
    }

    #[test]
    fn a_periodic_measurement_outlives_the_host_until_a_break() {
        let mut host = host();
        host.send(0x2126, &[]).unwrap();
        host.wait_ms(500);
        assert_eq!(host.ask(0xE000, &[], 0, 2), Err(host.no_answer()), "no data yet");
        host.wait_ms(600);
        assert_air(&host.ask(0xE000, &[], 0, 2).unwrap(), -12.34, 66.6);
        assert_eq!(host.ask(0xE000, &[], 0, 2), Err(host.no_answer()), "fetched once");
        for refused in [0x2400, 0x30A2, 0x3682, 0x306D, 0x2130] {
            assert_eq!(host.send(refused, &[]), Err(host.refused()), "{refused:#x}");
        }
        host.send(0x3093, &[]).unwrap();
        host.wait_ms(1);
        assert_air(&host.ask(0x2400, &[], 16, 2).unwrap(), -12.34, 66.6);
    }

    #[test]
    fn every_periodic_command_of_table_9_measures_at_its_rate() {
        let rates: [(u32, &[u16]); 5] = [
            (2_000, &[0x2032, 0x2024, 0x202F]),
            (1_000, &[0x2130, 0x2126, 0x212D]),
            (500, &[0x2236, 0x2220, 0x222B]),
            (250, &[0x2334, 0x2322, 0x2329, 0x2B32]),
            (100, &[0x2737, 0x2721, 0x272A]),
        ];
        for (interval_ms, codes) in rates {
            for code in codes {
                let mut host = host();
                host.send(*code, &[]).unwrap();
                host.wait_ms(interval_ms - 5);
                assert!(host.ask(0xE000, &[], 0, 2).is_err(), "{code:#x}");
                host.wait_ms(10);
                assert!(host.ask(0xE000, &[], 0, 2).is_ok(), "{code:#x}");
            }
        }
        let mut host = host();
        assert_eq!(host.send(0x273A, &[]), Err(host.refused()), "not in the datasheet");
    }

    #[test]
    fn the_status_tells_of_a_reset_and_of_the_heater() {
        let mut host = host();
        assert_eq!(host.ask(0xF32D, &[], 1, 1).unwrap(), [0x8010]);
        host.send(0x3041, &[]).unwrap();
        host.wait_ms(1);
        host.send(0x306D, &[]).unwrap();
        host.wait_ms(1);
        assert_eq!(host.ask(0xF32D, &[], 1, 1).unwrap(), [0x2000]);
        host.send(0x30A2, &[]).unwrap();
        wait_us(&host, 800);
        assert_eq!(host.send(0xF32D, &[]), Err(host.no_answer()), "resetting");
        host.wait_ms(1);
        assert_eq!(host.ask(0xF32D, &[], 1, 1).unwrap(), [0x8010]);
        assert_eq!(host.ask(0x3682, &[], 1, 2).unwrap(), SERIAL);
        assert_eq!(host.ask(0x3780, &[], 1, 2).unwrap(), SERIAL);
    }

    #[test]
    fn words_are_clamped_and_what_no_sht3x_knows_is_refused() {
        let mut host = host();
        host.set(Quantity::TEMPERATURE, 500.0);
        host.set(Quantity::HUMIDITY, -50.0);
        assert_eq!(host.ask(0x2400, &[], 16, 2).unwrap(), [u16::MAX, 0]);
        for unknown in [0xFD00, 0x2C0E, 0x0000] {
            assert_eq!(host.send(unknown, &[]), Err(host.refused()), "{unknown:#x}");
        }
        host.fault(Some(Fault::WrongId));
        assert_eq!(host.send(0x2400, &[]), Err(host.refused()));
    }

    #[test]
    fn a_hanging_chip_never_finishes_and_power_takes_what_ran() {
        let mut host = host();
        host.fault(Some(Fault::Busy));
        assert_eq!(host.ask(0x2400, &[], 60_000, 2), Err(host.no_answer()));
        assert_eq!(host.send(0x3093, &[]), Err(host.no_answer()));
        host.fault(None);
        host.send(0x2130, &[]).unwrap();
        host.fault(Some(Fault::PowerLoss));
        assert_eq!(host.send(0xF32D, &[]), Err(host.no_answer()));
        host.wait_ms(2_000);
        assert_eq!(host.ask(0xE000, &[], 0, 2), Err(host.no_answer()), "it does not measure any more");
        assert_air(&host.ask(0x2400, &[], 16, 2).unwrap(), -12.34, 66.6);
    }

    #[test]
    fn nothing_is_acknowledged_before_the_chip_is_up() {
        let mut host = Host::with(chip("SHT31").unwrap());
        assert_eq!(host.bus.clock().now(), Clock::virtual_time().now());
        assert_eq!(host.send(0xF32D, &[]), Err(host.no_answer()));
    }
}
