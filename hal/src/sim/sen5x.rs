//! Sensirion SEN50, SEN54 and SEN55: particulate matter; humidity, temperature and VOC; and NOx. After the SEN5x datasheet,
//! version 2 (March 2022), and Sensirion's note on raw values, with firmware 2.0; sections are the datasheet's.
//!
//! A measurement goes on across the host's restart. While a command is executed nothing is acknowledged; a read gets the answer
//! once. Which commands are taken while it measures, section 5.1 leaves open ("idle: ready to process any command"): here
//! starting again in the same mode and what identifies the module are refused then, as hosts in the field found, and tuning
//! and setting the algorithm's state do nothing, as 6.1.8 says.
//!
//! Before the first measurement every value is unknown. Section 6.1.5 calls that 0xFFFF for all; Sensirion's note and drivers
//! have 0x7FFF for the signed ones (humidity, temperature, indices), and so does this chip. What a member does not measure is
//! unknown always, and so is PM in the mode without it. A known value is at most 0xFFFE or 0x7FFE: saturated modules in the
//! field show the former. NOx stays unknown for 11 s after power-on.
//!
//! Table 5: it takes up to 60 s until gas events are detected. Until then the indices stand at their averages, 100 and 1,
//! unless the state of an earlier measurement was restored.
//!
//! Where drivers differ: ESPHome's stops by 0x3F86, the SCD4x's command. The datasheet says 0x0104; this chip refuses 0x3F86.
//! Sensirion's drivers read the version as four words, of which the datasheet shows one.
//!
//! Not modelled: the smoothing of a temperature offset, warm start and acceleration (kept and read back), what tuning does to
//! the indices (likewise), that values are old at a start without PM, raw values of gases, and the flags of speed, laser and gas.
//!
//! Faults: busy never has data ready; broken is a blocked fan, which the status tells after two seconds of measuring and keeps
//! until it is cleared, while no dust comes in; the wrong chip is another member of the family, which its name tells.

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::dust::{Cleaning, Dust};
use super::humidity;
use super::periodic::Periodic;
use super::sensirion::{Commanded, Executed, double, text};
use command::Command;
use settings::Settings;

mod command;
mod settings;
#[cfg(test)]
mod tests;

const SERIAL: &str = "5F2A90C41D7E8B36";

/// Table 8: "sensor startup time".
const STARTUP: Duration = Duration::from_millis(50);
/// Section 2.1, sampling interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// "During the first 10..11 seconds after power-on or device reset" (note on raw values).
const NOX_UNKNOWN: Duration = Duration::from_secs(11);
/// Table 5, "time until reliably detecting events".
const LEARNING: Duration = Duration::from_secs(60);
/// Section 5.4: the fan is checked once a second, and twice before it is said to be blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(2);

const FAN_FAILURE: u32 = 1 << 4;
const FAN_CLEANING: u32 = 1 << 19;

const UNKNOWN: u16 = 0xFFFF;
const UNKNOWN_SIGNED: u16 = 0x7FFF;

/// Section 6.1.16: version 2; then, as Sensirion's drivers read it, .0, no debugging, hardware 4.0, protocol 1.0.
const VERSION: [u16; 4] = [0x0200, 0x0004, 0x0001, 0x0000];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Sen50,
    Sen54,
    Sen55,
}

impl Member {
    fn name(self) -> &'static str {
        match self {
            Self::Sen50 => "SEN50",
            Self::Sen54 => "SEN54",
            Self::Sen55 => "SEN55",
        }
    }

    fn quantities(self) -> &'static [Quantity] {
        const ALL: &[Quantity] = &[
            Quantity::PM1,
            Quantity::PM2_5,
            Quantity::PM4,
            Quantity::PM10,
            Quantity::TEMPERATURE,
            Quantity::HUMIDITY,
            Quantity::VOC_INDEX,
            Quantity::NOX_INDEX,
        ];
        match self {
            Self::Sen50 => &ALL[..4],
            Self::Sen54 => &ALL[..7],
            Self::Sen55 => ALL,
        }
    }

    /// The one that sits there instead in [`Fault::WrongId`].
    fn another(self) -> Self {
        if self == Self::Sen55 { Self::Sen54 } else { Self::Sen55 }
    }
}

#[derive(Clone, Copy)]
struct Measuring {
    since: Duration,
    /// Since when with PM; `None` in the mode without.
    dusty_since: Option<Duration>,
    rhythm: Periodic,
    /// The algorithm began with the state of an earlier measurement.
    learned: bool,
}

/// A measurement, as words.
#[derive(Clone, Copy)]
struct Values {
    masses: [u16; 4],
    humidity: u16,
    temperature: u16,
    voc: u16,
    nox: u16,
    /// PM0.5 to PM10 in 0.1 / cm3, and the typical size in nm.
    numbers: [u16; 6],
    raw: [u16; 2],
}

const NOTHING: Values = Values {
    masses: [UNKNOWN; 4],
    humidity: UNKNOWN_SIGNED,
    temperature: UNKNOWN_SIGNED,
    voc: UNKNOWN_SIGNED,
    nox: UNKNOWN_SIGNED,
    numbers: [UNKNOWN; 6],
    raw: [UNKNOWN_SIGNED; 2],
};

pub(super) struct Sen5x {
    member: Member,
    settings: Settings,
    cleaning: Cleaning,
    measuring: Option<Measuring>,
    values: Values,
    ready: bool,
    fan_failed: bool,
    reset_at: Duration,
    /// The algorithm's state for the next start.
    restored: Option<[u16; 4]>,
}

impl Sen5x {
    pub(super) fn new(member: Member) -> Self {
        Self {
            member,
            settings: Settings::default(),
            cleaning: Cleaning::default(),
            measuring: None,
            values: NOTHING,
            ready: false,
            fan_failed: false,
            reset_at: Duration::ZERO,
            restored: None,
        }
    }

    fn advance(&mut self, at: &Moment<'_>) {
        let Some(mut measuring) = self.measuring else { return };
        let dusty_for = measuring.dusty_since.map(|since| at.now.saturating_sub(since));
        self.fan_failed |= at.has(Fault::Broken) && dusty_for.is_some_and(|time| time >= BLOCKED_AFTER);
        if !at.has(Fault::Busy) && !self.is_cleaning(at) && measuring.rhythm.is_due(at.now) {
            self.values = self.measured(&measuring, dusty_for, at);
            self.ready = true;
        }
        self.measuring = Some(measuring);
    }

    fn is_cleaning(&self, at: &Moment<'_>) -> bool {
        let dusty = self.measuring.is_some_and(|measuring| measuring.dusty_since.is_some());
        dusty && self.cleaning.is_running(at.now, self.settings.cleaning_s)
    }

    fn measured(&self, measuring: &Measuring, dusty_for: Option<Duration>, at: &Moment<'_>) -> Values {
        let blocked = at.has(Fault::Broken);
        let dust = dusty_for.map(|time| if blocked { Dust::NONE } else { Dust::sensed(at, time) });
        let (masses, numbers) = dust.map_or((NOTHING.masses, NOTHING.numbers), |dust| {
            let [to_0_5, to_1, to_2_5, to_4, to_10] = dust.numbers().map(|number| unsigned(number * 10.0));
            let size = unsigned(dust.typical_size() * 1_000.0);
            (dust.masses().map(|mass| unsigned(mass * 10.0)), [to_0_5, to_1, to_2_5, to_4, to_10, size])
        });
        let (celsius, percent) = (at.air(Quantity::TEMPERATURE), at.air(Quantity::HUMIDITY));
        // Section 6.1.6; the settings are signed.
        let [offset, slope, _] = self.settings.temperature.map(|word| f64::from(word.cast_signed()));
        let shown = celsius + celsius * slope / 10_000.0 + offset / 200.0;
        let learned = measuring.learned || at.now.saturating_sub(measuring.since) >= LEARNING;
        let index = |quantity: Quantity, average: f64| {
            let index = at.air(quantity);
            if learned || index.is_nan() { index } else { average }.clamp(1.0, 500.0) * 10.0
        };
        let up = at.powered_for().min(at.now.saturating_sub(self.reset_at));
        Values {
            masses,
            humidity: signed(humidity::moved(percent, celsius, shown).clamp(0.0, 100.0) * 100.0),
            temperature: signed(shown * 200.0),
            voc: signed(index(Quantity::VOC_INDEX, 100.0)),
            nox: if up < NOX_UNKNOWN { UNKNOWN_SIGNED } else { signed(index(Quantity::NOX_INDEX, 1.0)) },
            numbers,
            raw: [signed(percent * 100.0), signed(celsius * 200.0)],
        }
    }

    /// Starts, or turns PM on or off in a running measurement.
    fn begin(&mut self, with_pm: bool, now: Duration) {
        let learned = self.restored.take().is_some();
        let fresh = Measuring { since: now, dusty_since: None, rhythm: Periodic::from(now, INTERVAL), learned };
        let measuring = self.measuring.unwrap_or(fresh);
        self.measuring = Some(Measuring { dusty_since: with_pm.then_some(now), ..measuring });
        self.ready = false;
        if with_pm {
            self.cleaning.measurement_starts(now);
        }
    }

    fn status(&self, at: &Moment<'_>) -> u32 {
        let failed = if self.fan_failed { FAN_FAILURE } else { 0 };
        let cleaning = if self.is_cleaning(at) { FAN_CLEANING } else { 0 };
        failed | cleaning
    }

    fn get(&mut self, command: Command, at: &Moment<'_>) -> Vec<u16> {
        let Values { masses, humidity, temperature, voc, nox, numbers, raw } = self.values;
        match command {
            Command::DataReady => vec![self.ready.into()],
            Command::Values => {
                self.ready = false;
                [&masses[..], &[humidity, temperature, voc, nox]].concat()
            }
            Command::RawValues => {
                self.ready = false;
                [&raw[..], &[UNKNOWN; 2]].concat()
            }
            Command::PmValues => {
                self.ready = false;
                [&masses[..], &numbers].concat()
            }
            // Any eight bytes will do: what they mean is the module's own affair.
            Command::VocState => self.restored.unwrap_or([0x4C9A, 0x1F00, 0x02D8, self.values.voc]).to_vec(),
            Command::ProductName => {
                let member = if at.has(Fault::WrongId) { self.member.another() } else { self.member };
                text(member.name(), 16)
            }
            Command::SerialNumber => text(SERIAL, 16),
            Command::Version => VERSION.to_vec(),
            Command::Status | Command::ClearStatus => double(self.status(at)).to_vec(),
            _ => self.settings.get(command),
        }
    }

    fn do_it(&mut self, command: Command, at: &Moment<'_>) {
        match command {
            Command::Start => self.begin(true, at.now),
            Command::StartWithoutPm => self.begin(false, at.now),
            Command::Stop => {
                self.measuring = None;
                self.values = NOTHING;
                self.ready = false;
                self.cleaning.measurement_stops();
            }
            // In any other mode it does nothing.
            Command::Clean if self.measuring.is_some_and(|measuring| measuring.dusty_since.is_some()) => {
                self.cleaning.start(at.now);
                self.ready = false;
            }
            Command::ClearStatus => self.fan_failed = false,
            Command::Reset => *self = Self { reset_at: at.now, ..Self::new(self.member) },
            _ => {}
        }
    }

    fn set(&mut self, command: Command, words: &[u16]) {
        let idle = self.measuring.is_none();
        match (command, words) {
            (Command::VocState, &[a, b, c, d]) if idle => self.restored = Some([a, b, c, d]),
            _ => self.settings.set(command, words, idle),
        }
    }

    /// Whether the member, in its mode, acknowledges the command.
    fn takes(&self, command: Command) -> bool {
        let with_pm = self.measuring.map(|measuring| measuring.dusty_since.is_some());
        let by_mode = match command {
            Command::Start => with_pm != Some(true),
            Command::StartWithoutPm => with_pm != Some(false),
            Command::ProductName | Command::SerialNumber | Command::Version => with_pm.is_none(),
            _ => true,
        };
        let by_member = match command {
            Command::NoxTuning => self.member == Member::Sen55,
            command if command.is_of_rht_or_gas() => self.member != Member::Sen50,
            _ => true,
        };
        by_mode && by_member
    }
}

/// A scaled value as an unsigned word.
fn unsigned(scaled: f64) -> u16 {
    // The cast saturates.
    (scaled.round() as u16).min(UNKNOWN - 1)
}

/// A scaled value as a signed word; NaN, of what the member does not measure, is unknown.
fn signed(scaled: f64) -> u16 {
    if scaled.is_nan() {
        return UNKNOWN_SIGNED;
    }
    // The cast saturates.
    (scaled.round() as i16).min(i16::MAX - 1).cast_unsigned()
}

impl Commanded for Sen5x {
    fn model(&self) -> &'static str {
        self.member.name()
    }

    fn address(&self) -> u8 {
        0x69
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.member.quantities()
    }

    fn startup(&self) -> Duration {
        STARTUP
    }

    fn power_on(&mut self) {
        *self = Self::new(self.member);
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        self.advance(at);
        true
    }

    fn words(&self, code: u16, _at: &Moment<'_>) -> &'static [usize] {
        Command::from_code(code).filter(|command| self.takes(*command)).map_or(&[], Command::words)
    }

    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed {
        let Some(command) = Command::from_code(code) else { return Executed::within(Duration::ZERO) };
        let executed = Executed::within(command.execution_time());
        if !words.is_empty() {
            self.set(command, words);
            return executed;
        }
        let answer = self.get(command, at);
        self.do_it(command, at);
        executed.answering(&answer)
    }
}
