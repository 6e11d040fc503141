//! Sensirion SPS30: particulate matter. After its datasheet, version 1.0 (March 2020), with firmware 2.2; sections are its.
//!
//! Commands set a pointer, and a read gets what the pointer stands at, at once and as often as wanted (6.1); reading needs a stop
//! before it. A measurement goes on across the host's restart. While one of the few commands that take time is executed,
//! nothing is acknowledged. What is only to be executed in one mode (starting and sleeping in idle, cleaning while it
//! measures) is refused in another; the datasheet does not say how. In sleep the interface is off: the first start is not
//! acknowledged but wakes the interface for 100 ms, in which only the wake-up is taken (6.3.6).
//!
//! What is read before the first measurement is not told: here zeros, so that a host that does not ask whether data are ready
//! is seen to be wrong. Later the latest measurement comes again and again (6.3.4).
//!
//! Not modelled: the flags of a fan out of speed and of the laser, noise, and the tolerance of times.
//!
//! Faults: busy never has data ready; broken is a blocked fan, which the status register tells after two seconds of measuring
//! and keeps until it is cleared, while no dust comes in; the wrong chip is a SEN5x, which shares the address, the serial
//! number and the status, but neither starts by this command nor knows a product type.

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::dust::{Cleaning, DEFAULT_CLEANING_S, Dust, MASSES};
use super::periodic::Periodic;
use super::sensirion::{Commanded, Executed, double, float, text};

const PRODUCT_TYPE: &str = "00080000";
const SERIAL: &str = "8A5F3C1E7B2D4906";
const FIRMWARE: u16 = 0x0202;

/// Table 8: a reset takes as long at most. The datasheet gives no time for power-on.
const RESET: Duration = Duration::from_millis(100);
/// Section 1.1, sampling interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// Section 6.3.6: for how long the interface is up after a pulse.
const PULSE: Duration = Duration::from_millis(100);
/// Section 4.4: the fan is checked once a second, and twice before it is said to be blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(2);

const FAN_FAILURE: u32 = 1 << 4;

const START: u16 = 0x0010;
const STOP: u16 = 0x0104;
const DATA_READY: u16 = 0x0202;
const VALUES: u16 = 0x0300;
const SLEEP: u16 = 0x1001;
const WAKE_UP: u16 = 0x1103;
const CLEAN: u16 = 0x5607;
const CLEANING_INTERVAL: u16 = 0x8004;
const READ_PRODUCT_TYPE: u16 = 0xD002;
const READ_SERIAL: u16 = 0xD033;
const READ_FIRMWARE: u16 = 0xD100;
const READ_STATUS: u16 = 0xD206;
const CLEAR_STATUS: u16 = 0xD210;
const DEVICE_RESET: u16 = 0xD304;

/// Section 4.3.
#[derive(Clone, Copy)]
enum Format {
    Float,
    Integer,
}

#[derive(Clone, Copy)]
struct Measuring {
    since: Duration,
    rhythm: Periodic,
}

pub(super) struct Sps30 {
    /// Kept in non-volatile memory, in seconds.
    cleaning_interval: u32,
    cleaning: Cleaning,
    measuring: Option<Measuring>,
    format: Format,
    dust: Dust,
    ready: bool,
    fan_failed: bool,
    asleep: bool,
    /// Until when a pulse keeps the interface of a sleeping chip up.
    interface_until: Duration,
    /// What a read gets.
    pointer: Option<u16>,
}

impl Sps30 {
    pub(super) fn new() -> Self {
        Self::with(DEFAULT_CLEANING_S)
    }

    fn with(cleaning_interval: u32) -> Self {
        Self {
            cleaning_interval,
            cleaning: Cleaning::default(),
            measuring: None,
            format: Format::Float,
            dust: Dust::NONE,
            ready: false,
            fan_failed: false,
            asleep: false,
            interface_until: Duration::ZERO,
            pointer: None,
        }
    }

    fn advance(&mut self, at: &Moment<'_>) {
        let Some(Measuring { since, rhythm }) = &mut self.measuring else { return };
        let measuring_for = at.now.saturating_sub(*since);
        let blocked = at.has(Fault::Broken);
        self.fan_failed |= blocked && measuring_for >= BLOCKED_AFTER;
        let cleaning = self.cleaning.is_running(at.now, self.cleaning_interval);
        if !at.has(Fault::Busy) && !cleaning && rhythm.is_due(at.now) {
            self.dust = if blocked { Dust::NONE } else { Dust::sensed(at, measuring_for) };
            self.ready = true;
        }
    }

    /// Section 4.3: masses in ug/m3, numbers in 1/cm3, and the size in um as a float and in nm as an integer.
    fn values(&self) -> Vec<u16> {
        let numbers = self.dust.masses().into_iter().chain(self.dust.numbers());
        let size = self.dust.typical_size();
        match self.format {
            Format::Float => numbers.chain([size]).flat_map(float).collect(),
            // The cast saturates.
            Format::Integer => numbers.chain([size * 1_000.0]).map(|value| value.round() as u16).collect(),
        }
    }

    /// Whether the pointer can be set in this mode.
    fn is_taken(&self, code: u16) -> bool {
        match code {
            WAKE_UP => true,
            _ if self.asleep => false,
            START | SLEEP => self.measuring.is_none(),
            CLEAN => self.measuring.is_some(),
            _ => true,
        }
    }

    fn begin(&mut self, format: Format, now: Duration) {
        self.format = format;
        self.measuring = Some(Measuring { since: now, rhythm: Periodic::from(now, INTERVAL) });
        self.cleaning.measurement_starts(now);
    }
}

impl Commanded for Sps30 {
    const REPEATED_START: bool = false;

    fn model(&self) -> &'static str {
        "SPS30"
    }

    fn address(&self) -> u8 {
        0x69
    }

    fn quantities(&self) -> &'static [Quantity] {
        &MASSES
    }

    fn startup(&self) -> Duration {
        RESET
    }

    fn power_on(&mut self) {
        *self = Self::with(self.cleaning_interval);
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        if self.asleep && at.now >= self.interface_until {
            self.interface_until = at.now + PULSE;
            return false;
        }
        self.advance(at);
        true
    }

    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        let sen5x_knows_it = matches!(
            code,
            STOP | DATA_READY
                | CLEAN
                | CLEANING_INTERVAL
                | READ_SERIAL
                | READ_FIRMWARE
                | READ_STATUS
                | CLEAR_STATUS
                | DEVICE_RESET
        );
        match code {
            _ if at.has(Fault::WrongId) && !sen5x_knows_it => &[],
            _ if !self.is_taken(code) => &[],
            START => &[1],
            CLEANING_INTERVAL => &[0, 2],
            STOP | SLEEP | WAKE_UP | CLEAN | CLEAR_STATUS | DEVICE_RESET => &[0],
            DATA_READY | VALUES | READ_PRODUCT_TYPE | READ_SERIAL | READ_FIRMWARE | READ_STATUS => &[0],
            _ => &[],
        }
    }

    /// With the execution times of table 8.
    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed {
        self.pointer = Some(code);
        match (code, words) {
            (START, [0x0300]) => self.begin(Format::Float, at.now),
            (START, [0x0500]) => self.begin(Format::Integer, at.now),
            (STOP, _) => {
                self.measuring = None;
                self.ready = false;
                self.cleaning.measurement_stops();
            }
            (SLEEP, _) => self.asleep = true,
            (WAKE_UP, _) => self.asleep = false,
            (CLEAN, _) => self.cleaning.start(at.now),
            (CLEANING_INTERVAL, [high, low]) => self.cleaning_interval = u32::from(*high) << 16 | u32::from(*low),
            (CLEAR_STATUS, _) => self.fan_failed = false,
            (DEVICE_RESET, _) => *self = Self::with(self.cleaning_interval),
            _ => {}
        }
        Executed::within_ms(match (code, words) {
            (START | STOP, _) | (CLEANING_INTERVAL, [_, _]) => 20,
            (SLEEP | WAKE_UP | CLEAN | CLEAR_STATUS | CLEANING_INTERVAL, _) => 5,
            (DEVICE_RESET, _) => return Executed::within(RESET),
            _ => 0,
        })
    }

    fn reread(&mut self, at: &Moment<'_>) -> Vec<u16> {
        if self.asleep || at.has(Fault::WrongId) && matches!(self.pointer, Some(VALUES | READ_PRODUCT_TYPE)) {
            return Vec::new();
        }
        match self.pointer {
            Some(DATA_READY) => vec![self.ready.into()],
            Some(VALUES) => {
                self.ready = false;
                self.values()
            }
            Some(CLEANING_INTERVAL) => double(self.cleaning_interval).to_vec(),
            Some(READ_PRODUCT_TYPE) => text(PRODUCT_TYPE, 4),
            Some(READ_SERIAL) => text(SERIAL, 16),
            Some(READ_FIRMWARE) => vec![FIRMWARE],
            Some(READ_STATUS) => double(if self.fan_failed { FAN_FAILURE } else { 0 }).to_vec(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
