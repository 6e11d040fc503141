//! Bosch BME280: temperature, humidity and pressure. After BST-BME280-DS002 revision 1.6; sections are its.
//!
//! Not modelled: SPI, the copy of trimming data before every conversion (`status.im_update` shows only the one after a
//! reset), and the chip's noise.

use std::time::Duration;

use reading::Quantity;

use super::device::{Device, Moment};
use super::{Direction, Fault};

mod calibration;
#[cfg(test)]
mod tests;

const QUANTITIES: [Quantity; 3] = [Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE];

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

/// How many samples are averaged for one quantity (section 5.4.5), 0 where it is skipped.
#[derive(Clone, Copy)]
struct Oversampling(u32);

impl Oversampling {
    fn from_bits(bits: u8) -> Self {
        Self(match bits & 0b111 {
            0 => 0,
            bits => 1 << (bits.min(5) - 1),
        })
    }

    /// Section 3.4.2: without the filter a result has 16 bits, and one more for each doubling.
    fn resolution_bits(self) -> u32 {
        16 + self.0.max(1).ilog2()
    }

    /// The longest time that it takes, section 9.1, in microseconds.
    fn longest_us(self, extra: u64) -> u64 {
        if self.0 == 0 { 0 } else { 2_300 * u64::from(self.0) + extra }
    }
}

pub(super) struct Bme280 {
    /// Until then the trimming parameters are being copied (`status.im_update`).
    copied: Duration,
    pointer: u8,
    /// Whether the next byte that is written goes into the register, not to the pointer.
    register_chosen: bool,
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
    /// The filter's memory of temperature and pressure (section 3.4.4).
    filtered: (Option<f64>, Option<f64>),
}

impl Bme280 {
    pub(super) fn new() -> Self {
        Self {
            copied: STARTUP,
            pointer: 0,
            register_chosen: false,
            ctrl_hum: 0,
            ctrl_hum_in_effect: 0,
            ctrl_meas: 0,
            next_ctrl_meas: None,
            config: 0,
            conversion: None,
            standby_ends: None,
            data: NOTHING,
            shadow: NOTHING.registers(),
            filtered: (None, None),
        }
    }

    /// What power-on and the reset register do (section 5.4.2).
    fn reset(&mut self, now: Duration) {
        *self = Self { copied: now + STARTUP, ..Self::new() };
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
                + self.temperature_oversampling().longest_us(0)
                + self.pressure_oversampling().longest_us(575)
                + self.humidity_oversampling().longest_us(575),
        )
    }

    /// Table 27.
    fn standby_time(&self) -> Duration {
        Duration::from_micros(match self.config >> 5 {
            0 => 500,
            1 => 62_500,
            2 => 125_000,
            3 => 250_000,
            4 => 500_000,
            5 => 1_000_000,
            6 => 10_000,
            _ => 20_000,
        })
    }

    fn begin_conversion(&mut self, start: Duration, at: &Moment<'_>) {
        let codes = self.codes(at);
        self.conversion = Some(Conversion { ends: start + self.measurement_time(), codes });
        self.standby_ends = None;
    }

    /// What the converters make of the air now.
    fn codes(&self, at: &Moment<'_>) -> Sample {
        let [celsius, percent, pascal] = QUANTITIES.map(|quantity| at.air(quantity));
        let fine = |oversampling: Oversampling| if self.filter() > 1 { 20 } else { oversampling.resolution_bits() };
        let temperature = rounded(calibration::temperature_code(celsius), fine(self.temperature_oversampling()));
        // The host compensates with the temperature that it reads, or with the reset contents if that one is skipped.
        let skipped = self.temperature_oversampling().0 == 0;
        let t_fine = calibration::t_fine(if skipped { NOTHING.temperature } else { temperature });
        let pressure = rounded(calibration::pressure_code(pascal, t_fine), fine(self.pressure_oversampling()));
        Sample { pressure, temperature, humidity: calibration::humidity_code(percent, t_fine) }
    }

    /// Writes a finished conversion to the data registers.
    fn deliver(&mut self, codes: Sample) {
        let coefficient = self.filter();
        let through = |memory: &mut Option<f64>, code: u32| {
            let coefficient = f64::from(coefficient);
            let code = f64::from(code);
            let value = memory.map_or(code, |old| (old * (coefficient - 1.0) + code) / coefficient);
            *memory = Some(value);
            value.round() as u32
        };
        let temperature_on = self.temperature_oversampling().0 > 0;
        let pressure_on = self.pressure_oversampling().0 > 0;
        let humidity_on = self.humidity_oversampling().0 > 0;
        let (t_memory, p_memory) = &mut self.filtered;
        self.data = Sample {
            temperature: if temperature_on { through(t_memory, codes.temperature) } else { NOTHING.temperature },
            pressure: if pressure_on { through(p_memory, codes.pressure) } else { NOTHING.pressure },
            humidity: if humidity_on { codes.humidity } else { NOTHING.humidity },
        };
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
            CTRL_HUM => self.ctrl_hum = value & 0b111,
            CTRL_MEAS if self.conversion.is_some() => self.next_ctrl_meas = Some(value),
            CTRL_MEAS => self.apply(value, at.now, at),
            // Section 5.4.6: in normal mode it may be ignored. A simulator that never does would hide the mistake.
            CONFIG if self.mode() != Mode::Normal => {
                self.config = value;
                self.filtered = (None, None);
            }
            _ => {}
        }
    }

    fn register(&self, register: u8, at: &Moment<'_>) -> u8 {
        let copying = at.now < self.copied;
        match register {
            ID if at.has(Fault::WrongId) => 0x58,
            ID => 0x60,
            CTRL_HUM => self.ctrl_hum,
            STATUS => {
                let measuring = self.conversion.is_some() || at.has(Fault::Busy);
                u8::from(measuring) << 3 | u8::from(copying)
            }
            CTRL_MEAS => self.ctrl_meas,
            CONFIG => self.config,
            DATA..=DATA_END => self.shadow.get(usize::from(register - DATA)).copied().unwrap_or(0),
            _ if copying => 0,
            _ => calibration::register(register),
        }
    }
}

/// A 20-bit code to so many bits, the rest zero.
fn rounded(code: u32, bits: u32) -> u32 {
    let step = 1 << (20 - bits.min(20));
    let top = (1 << 20) - step;
    ((code + step / 2) / step * step).min(top)
}

impl Device for Bme280 {
    fn model(&self) -> &'static str {
        "BME280"
    }

    /// Section 6.2, with SDO to ground; 0x77 with SDO to the supply.
    fn address(&self) -> u8 {
        0x76
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn startup(&self) -> Duration {
        STARTUP
    }

    fn power_on(&mut self, now: Duration) {
        self.reset(now);
    }

    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool {
        self.advance(at);
        match direction {
            Direction::Write => self.register_chosen = false,
            Direction::Read => self.shadow = self.data.registers(),
        }
        true
    }

    /// Section 6.2.1: pairs of register and value, with no increment.
    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool {
        if self.register_chosen && !at.has(Fault::ResetContents) {
            self.advance(at);
            self.write_register(self.pointer, byte, at);
        } else if !self.register_chosen {
            self.pointer = byte;
        }
        self.register_chosen = !self.register_chosen;
        true
    }

    /// Section 6.2.2: the register goes up by itself.
    fn read(&mut self, at: &Moment<'_>) -> u8 {
        self.advance(at);
        let register = self.pointer;
        self.pointer = register.wrapping_add(1);
        // A chip that stops sending does so within the data, not before them: it was fine when it was set up.
        if at.has(Fault::Truncated) && (DATA + 3..=DATA_END).contains(&register) {
            return 0xFF;
        }
        self.register(register, at)
    }

    fn stop(&mut self) {
        self.register_chosen = false;
    }
}
