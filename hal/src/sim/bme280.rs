//! Bosch BME280: temperature, humidity and pressure. After BST-BME280-DS002 revision 1.6; sections are its. And the BMP280, after
//! BST-BMP280-DS001 revision 1.26, which is the same chip but for humidity, its id, and two standby times.
//!
//! Not modelled: SPI, the copy of trimming data before every conversion (`status.im_update` shows only the one after a
//! reset), and the chip's noise.
//!
//! | Fault | here |
//! |---|---|
//! | busy | `measuring` stays, and the data registers keep what they have |
//! | checksum | nothing: none is sent |
//! | wrong_id | the other of the two |
//! | reset_contents | calibration and id are there, no register keeps what is written |
//! | truncated | from the fourth data register on |
//! | broken | nothing: it cannot say so |

use std::time::Duration;

use reading::Quantity;

use super::bosch::{Filter, Oversampling, Pointer};
use super::device::{Device, Moment};
use super::{Direction, Fault};

#[cfg(test)]
mod bmp280_tests;
mod calibration;
#[cfg(test)]
mod tests;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Bme280,
    Bmp280,
}

impl Part {
    /// Register 0xD0 (table 18; BMP280 section 4.3.1).
    const fn id(self) -> u8 {
        match self {
            Self::Bme280 => 0x60,
            Self::Bmp280 => 0x58,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Bme280 => Self::Bmp280,
            Self::Bmp280 => Self::Bme280,
        }
    }

    const fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Bme280 => &[Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE],
            Self::Bmp280 => &[Quantity::TEMPERATURE, Quantity::PRESSURE],
        }
    }
}

/// Table 1, `t_startup`: from power to the first communication; also how long a reset takes.
const STARTUP: Duration = Duration::from_millis(2);

/// Registers, table 18.
const ID: u8 = 0xD0;
const RESET: u8 = 0xE0;
const CTRL_HUM: u8 = 0xF2;
const STATUS: u8 = 0xF3;
const CTRL_MEAS: u8 = 0xF4;
const CONFIG: u8 = 0xF5;
const DATA: u8 = 0xF7;
const DATA_END: u8 = 0xFE;

/// What the data registers hold before the first conversion (table 18), and what a skipped quantity leaves there (section
/// 5.4.5): pressure and temperature of 20 bits, humidity of 16.
const NOTHING: Sample = Sample { pressure: 0x80000, temperature: 0x80000, humidity: 0x8000 };

#[derive(Clone, Copy)]
struct Sample {
    pressure: u32,
    temperature: u32,
    humidity: u32,
}

impl Sample {
    /// The data registers from 0xF7 to 0xFE.
    fn registers(self) -> [u8; 8] {
        let [_, p_msb, p_lsb, p_xlsb] = (self.pressure << 4).to_be_bytes();
        let [_, t_msb, t_lsb, t_xlsb] = (self.temperature << 4).to_be_bytes();
        let [_, _, h_msb, h_lsb] = self.humidity.to_be_bytes();
        [p_msb, p_lsb, p_xlsb, t_msb, t_lsb, t_xlsb, h_msb, h_lsb]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sleep,
    Forced,
    Normal,
}

/// A measurement period.
struct Conversion {
    ends: Duration,
    /// What was there when it began: the codes of the converters, before the filter.
    codes: Sample,
}

/// The longest time that a quantity takes, section 9.1, in microseconds.
fn longest_us(oversampling: Oversampling, extra: u64) -> u64 {
    if oversampling.is_on() { 2_300 * u64::from(oversampling.samples()) + extra } else { 0 }
}

pub(super) struct Bme280 {
    part: Part,
    /// Until then the trimming parameters are being copied (`status.im_update`).
    copied: Duration,
    pointer: Pointer,
    ctrl_hum: u8,
    /// The humidity oversampling in effect: `ctrl_hum` as it was at the last write of `ctrl_meas` (section 5.4.3).
    ctrl_hum_in_effect: u8,
    ctrl_meas: u8,
    /// A write of `ctrl_meas` that waits for the end of the running measurement (section 3.3.1).
    next_ctrl_meas: Option<u8>,
    config: u8,
    conversion: Option<Conversion>,
    /// In normal mode, when the next conversion begins.
    standby_ends: Option<Duration>,
    data: Sample,
    /// The data registers as they were when the read began (section 4.1: shadowing).
    shadow: [u8; 8],
    temperature_filter: Filter,
    pressure_filter: Filter,
}

impl Bme280 {
    pub(super) fn new(part: Part) -> Self {
        Self {
            part,
            copied: STARTUP,
            pointer: Pointer::default(),
            ctrl_hum: 0,
            ctrl_hum_in_effect: 0,
            ctrl_meas: 0,
            next_ctrl_meas: None,
            config: 0,
            conversion: None,
            standby_ends: None,
            data: NOTHING,
            shadow: NOTHING.registers(),
            temperature_filter: Filter::default(),
            pressure_filter: Filter::default(),
        }
    }

    /// What power-on and the reset register do (section 5.4.2).
    fn reset(&mut self, now: Duration) {
        *self = Self { copied: now + STARTUP, ..Self::new(self.part) };
    }

    fn mode(&self) -> Mode {
        match self.ctrl_meas & 0b11 {
            0b00 => Mode::Sleep,
            0b11 => Mode::Normal,
            _ => Mode::Forced,
        }
    }

    fn temperature_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_meas >> 5)
    }

    fn pressure_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_meas >> 2)
    }

    fn humidity_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_hum_in_effect)
    }

    /// The filter coefficient, 1 where it is off (section 5.4.6).
    fn filter(&self) -> u32 {
        1 << (self.config >> 2 & 0b111).min(4)
    }

    /// The longest measurement time, section 9.1.
    fn measurement_time(&self) -> Duration {
        Duration::from_micros(
            1_250
                + longest_us(self.temperature_oversampling(), 0)
                + longest_us(self.pressure_oversampling(), 575)
                + longest_us(self.humidity_oversampling(), 575),
        )
    }

    /// Table 27; BMP280 table 11.
    fn standby_time(&self) -> Duration {
        Duration::from_micros(match (self.config >> 5, self.part) {
            (0, _) => 500,
            (1, _) => 62_500,
            (2, _) => 125_000,
            (3, _) => 250_000,
            (4, _) => 500_000,
            (5, _) => 1_000_000,
            (6, Part::Bme280) => 10_000,
            (6, Part::Bmp280) => 2_000_000,
            (_, Part::Bme280) => 20_000,
            (_, Part::Bmp280) => 4_000_000,
        })
    }

    fn begin_conversion(&mut self, start: Duration, at: &Moment<'_>) {
        let codes = self.codes(at);
        self.conversion = Some(Conversion { ends: start + self.measurement_time(), codes });
        self.standby_ends = None;
    }

    /// What the converters make of the air now.
    fn codes(&self, at: &Moment<'_>) -> Sample {
        let is_filtered = self.filter() > 1;
        let temperature_on = self.temperature_oversampling();
        let celsius = at.air(Quantity::TEMPERATURE);
        let temperature = temperature_on.rounded(calibration::temperature_code(celsius), is_filtered);
        // The host compensates with the temperature that it reads, or with the reset contents if that one is skipped.
        let t_fine = calibration::t_fine(if temperature_on.is_on() { temperature } else { NOTHING.temperature });
        let pressure = calibration::pressure_code(at.air(Quantity::PRESSURE), t_fine);
        let pressure = self.pressure_oversampling().rounded(pressure, is_filtered);
        let humidity = match self.part {
            Part::Bme280 => calibration::humidity_code(at.air(Quantity::HUMIDITY), t_fine),
            Part::Bmp280 => NOTHING.humidity,
        };
        Sample { pressure, temperature, humidity }
    }

    /// Writes a finished conversion to the data registers.
    fn deliver(&mut self, codes: Sample) {
        let coefficient = self.filter();
        let (temperature_on, pressure_on) = (self.temperature_oversampling(), self.pressure_oversampling());
        self.data = NOTHING;
        if temperature_on.is_on() {
            self.data.temperature = self.temperature_filter.pass(codes.temperature, coefficient);
        }
        if pressure_on.is_on() {
            self.data.pressure = self.pressure_filter.pass(codes.pressure, coefficient);
        }
        if self.humidity_oversampling().is_on() {
            self.data.humidity = codes.humidity;
        }
    }

    /// Lets everything happen that is due by now.
    fn advance(&mut self, at: &Moment<'_>) {
        // A busy chip stays in its conversion; nothing else moves either.
        if at.has(Fault::Busy) {
            return;
        }
        if let Some(ended) = self.conversion.take_if(|conversion| conversion.ends <= at.now) {
            self.deliver(ended.codes);
            if let Some(ctrl_meas) = self.next_ctrl_meas.take() {
                self.apply(ctrl_meas, ended.ends, at);
            } else if self.mode() == Mode::Normal {
                self.standby_ends = Some(ended.ends + self.standby_time());
            } else {
                self.ctrl_meas &= !0b11;
            }
        }
        self.cycle(at);
    }

    /// Normal mode: of the cycles that went by unseen only as many are played as the filter can remember, and the last one
    /// is left where it is.
    fn cycle(&mut self, at: &Moment<'_>) {
        const REMEMBERED: u32 = 64;
        let Some(mut start) = self.standby_ends.filter(|start| *start <= at.now) else { return };
        let length = self.measurement_time() + self.standby_time();
        let passed = (at.now - start).as_nanos() / length.as_nanos();
        let played = passed.min(REMEMBERED.into()) as u32;
        let skipped = u64::try_from((passed - u128::from(played)) * length.as_nanos()).unwrap_or(u64::MAX);
        start += Duration::from_nanos(skipped);
        for _ in 0..played {
            let codes = self.codes(at);
            self.deliver(codes);
            start += length;
        }
        self.begin_conversion(start, at);
        if let Some(ended) = self.conversion.take_if(|conversion| conversion.ends <= at.now) {
            self.deliver(ended.codes);
            self.standby_ends = Some(ended.ends + self.standby_time());
        }
    }

    /// Takes a value of `ctrl_meas` into effect.
    fn apply(&mut self, ctrl_meas: u8, start: Duration, at: &Moment<'_>) {
        self.ctrl_meas = ctrl_meas;
        self.ctrl_hum_in_effect = self.ctrl_hum;
        self.standby_ends = None;
        if self.mode() != Mode::Sleep {
            self.begin_conversion(start, at);
        }
    }

    fn write_register(&mut self, register: u8, value: u8, at: &Moment<'_>) {
        match register {
            RESET if value == 0xB6 => self.reset(at.now),
            // Section 3.3.1: while a mode change waits, further writes to either are ignored.
            CTRL_HUM | CTRL_MEAS if self.next_ctrl_meas.is_some() => {}
            CTRL_HUM if self.part == Part::Bme280 => self.ctrl_hum = value & 0b111,
            CTRL_MEAS if self.conversion.is_some() => self.next_ctrl_meas = Some(value),
            CTRL_MEAS => self.apply(value, at.now, at),
            // Section 5.4.6: in normal mode it may be ignored. A simulator that never does would hide the mistake.
            CONFIG if self.mode() != Mode::Normal => {
                self.config = value;
                self.temperature_filter = Filter::default();
                self.pressure_filter = Filter::default();
            }
            _ => {}
        }
    }

    fn register(&self, register: u8, at: &Moment<'_>) -> u8 {
        let copying = at.now < self.copied;
        match register {
            ID if at.has(Fault::WrongId) => self.part.other().id(),
            ID => self.part.id(),
            CTRL_HUM => self.ctrl_hum,
            STATUS => {
                let measuring = self.conversion.is_some() || at.has(Fault::Busy);
                u8::from(measuring) << 3 | u8::from(copying)
            }
            CTRL_MEAS => self.ctrl_meas,
            CONFIG => self.config,
            // Where a BME280 has its humidity and what it is made of.
            0xA1 | 0xE1..=0xE7 | 0xFD | DATA_END if self.part == Part::Bmp280 => 0,
            DATA..=DATA_END => self.shadow.get(usize::from(register - DATA)).copied().unwrap_or(0),
            _ if copying => 0,
            _ => calibration::register(register),
        }
    }
}

impl Device for Bme280 {
    fn model(&self) -> &'static str {
        match self.part {
            Part::Bme280 => "BME280",
            Part::Bmp280 => "BMP280",
        }
    }

    /// Section 6.2, with SDO to ground; 0x77 with SDO to the supply.
    fn address(&self) -> u8 {
        0x76
    }

    fn quantities(&self) -> &'static [Quantity] {
        self.part.quantities()
    }

    fn startup(&self) -> Duration {
        STARTUP
    }

    fn power_on(&mut self, now: Duration) {
        self.reset(now);
    }

    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool {
        self.advance(at);
        self.pointer.release();
        if direction == Direction::Read {
            self.shadow = self.data.registers();
        }
        true
    }

    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool {
        if let Some((register, value)) = self.pointer.write(byte)
            && !at.has(Fault::ResetContents)
        {
            self.advance(at);
            self.write_register(register, value, at);
        }
        true
    }

    fn read(&mut self, at: &Moment<'_>) -> u8 {
        self.advance(at);
        let register = self.pointer.next();
        // A chip that stops sending does so within the data, not before them: it was fine when it was set up.
        if at.has(Fault::Truncated) && (DATA + 3..=DATA_END).contains(&register) {
            return 0xFF;
        }
        self.register(register, at)
    }
}
