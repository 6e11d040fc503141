//! Bosch BME680 and BME688: temperature, humidity, pressure and gas. After BST-BME680-DS001 revision 1.9, whose sections are
//! cited; what the BME688 has otherwise (`run_gas`, the place of its gas registers, its formula, its variant id) is after Bosch's
//! BME68x Sensor API 4.4.8, as are the conversion times, of which the datasheet gives none.
//!
//! The datasheet does not say when `new_data` goes down. Here it does when data are read. A new measurement cannot take it down:
//! Pimoroni's driver polls for 100 ms, and begins anew when its heater's 150 ms take longer, but finds the data of the time
//! before, in the field. Nor can it stay: Adafruit's polls at once after the start, and would never be up to date. So data
//! that nobody read are new when the next measurement begins, and taken for its own by a driver that does not look at
//! `measuring`.
//!
//! Not modelled: SPI, the BME688's parallel and sequential modes (only forced mode is in the BME680's datasheet), the heater's
//! current (`idac_heat`, kept as written), and the chip's noise.
//!
//! | Fault | here |
//! |---|---|
//! | busy | `measuring` stays, and `new_data` never comes |
//! | checksum | nothing: none is sent |
//! | wrong_id | a BME280's id |
//! | reset_contents | calibration and ids are there, no register keeps what is written |
//! | truncated | from the fourth data register on |
//! | broken | the heater: the plate gets no temperature, `heat_stab` stays 0, temperature, humidity and pressure are right |

use std::time::Duration;

use reading::Quantity;

use super::bosch::{Filter, Oversampling, Pointer};
use super::device::{Device, Moment};
use super::{Direction, Fault};
use gas::SetPoint;

mod calibration;
mod gas;
#[cfg(test)]
mod tests;

const QUANTITIES: [Quantity; 4] =
    [Quantity::TEMPERATURE, Quantity::HUMIDITY, Quantity::PRESSURE, Quantity::GAS_RESISTANCE];

/// Table 1, `t_startup`; also how long a reset takes.
const STARTUP: Duration = Duration::from_millis(2);

/// Registers, table 20.
const FIELD: u8 = 0x1D;
const DATA: u8 = 0x1F;
const FIELD_END: u8 = 0x2D;
const IDAC_HEAT: u8 = 0x50;
const RES_HEAT: u8 = 0x5A;
const GAS_WAIT: u8 = 0x64;
const HEATER_END: u8 = 0x6D;
const CTRL_GAS_0: u8 = 0x70;
const CTRL_GAS_1: u8 = 0x71;
const CTRL_HUM: u8 = 0x72;
const CTRL_MEAS: u8 = 0x74;
const CONFIG: u8 = 0x75;
const ID: u8 = 0xD0;
const RESET: u8 = 0xE0;
const VARIANT_ID: u8 = 0xF0;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Bme680,
    Bme688,
}

impl Part {
    const fn variant_id(self) -> u8 {
        match self {
            Self::Bme680 => 0x00,
            Self::Bme688 => 0x01,
        }
    }

    /// The bit of `ctrl_gas_1` that has the gas converted (section 5.3.3.6).
    const fn run_gas(self) -> u8 {
        match self {
            Self::Bme680 => 1 << 4,
            Self::Bme688 => 1 << 5,
        }
    }

    /// Where in the field its gas registers are: 0x2A on the BME680, 0x2C on the BME688.
    const fn gas_offset(self) -> usize {
        match self {
            Self::Bme680 => 13,
            Self::Bme688 => 15,
        }
    }
}

/// The registers from `meas_status_0` (0x1D) to the BME688's `gas_r_lsb` (0x2D), without the status bits.
type Field = [u8; 17];

/// What a TPHG cycle found, 20 bits for pressure and temperature and 16 for humidity.
#[derive(Clone, Copy)]
struct Codes {
    pressure: u32,
    temperature: u32,
    humidity: u32,
    gas: Option<gas::Conversion>,
}

/// What the data registers hold before the first conversion (table 20), and what a skipped quantity leaves there (section
/// 5.3.2).
const NOTHING: Codes = Codes { pressure: 0x80000, temperature: 0x80000, humidity: 0x8000, gas: None };

/// A TPHG cycle.
struct Running {
    /// From when on the plate is heated and the gas converted.
    heats: Duration,
    ends: Duration,
    /// The heater set-point in use, 0 to 9.
    index: u8,
    codes: Codes,
}

pub(super) struct Bme68x {
    part: Part,
    /// Until then the calibration is being copied.
    copied: Duration,
    pointer: Pointer,
    /// `idac_heat_x`, `res_heat_x` and `gas_wait_x`, ten of each.
    heater: [u8; 30],
    ctrl_gas_0: u8,
    ctrl_gas_1: u8,
    ctrl_hum: u8,
    ctrl_meas: u8,
    /// A write of `ctrl_meas` that waits for the end of the running cycle (section 3.1).
    next_ctrl_meas: Option<u8>,
    config: u8,
    running: Option<Running>,
    has_new_data: bool,
    /// The index of the set-point of the last cycle.
    index: u8,
    /// How many cycles ended: `meas_index_0`.
    cycles: u8,
    data: Codes,
    /// The data registers as they were when the read began (section 5.3.4: shadowing).
    shadow: Field,
    temperature_filter: Filter,
    pressure_filter: Filter,
}

impl Bme68x {
    pub(super) fn new(part: Part) -> Self {
        Self {
            part,
            copied: STARTUP,
            pointer: Pointer::default(),
            heater: [0; 30],
            ctrl_gas_0: 0,
            ctrl_gas_1: 0,
            ctrl_hum: 0,
            ctrl_meas: 0,
            next_ctrl_meas: None,
            config: 0,
            running: None,
            has_new_data: false,
            index: 0,
            cycles: 0,
            data: NOTHING,
            shadow: [0; 17],
            temperature_filter: Filter::default(),
            pressure_filter: Filter::default(),
        }
    }

    /// What power-on and the reset register do (section 5.3.1.5).
    fn reset(&mut self, now: Duration) {
        *self = Self { copied: now + STARTUP, ..Self::new(self.part) };
    }

    fn temperature_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_meas >> 5)
    }

    fn pressure_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_meas >> 2)
    }

    fn humidity_oversampling(&self) -> Oversampling {
        Oversampling::from_bits(self.ctrl_hum)
    }

    /// Section 5.3.2.4: 0, 1, 3, 7... 127; below 2 there is nothing to filter with.
    fn filter(&self) -> u32 {
        (1_u32 << (self.config >> 2 & 0b111)) - 1
    }

    fn set_point(&self, index: u8) -> SetPoint {
        let part = |first: u8| self.heater.get(usize::from(first - IDAC_HEAT + index)).copied().unwrap_or(0);
        SetPoint { res_heat: part(RES_HEAT), gas_wait: part(GAS_WAIT), is_off: self.ctrl_gas_0 & 1 << 3 != 0 }
    }

    /// Begins a TPHG cycle: Bosch's API counts 1963 us for a sample, 477 us for each of four switches of the converter and
    /// five of the gas slot, which is there even when it is a dummy (section 5.3.5.5), and 1000 us to wake up.
    fn begin(&mut self, start: Duration, at: &Moment<'_>) {
        let samples = self.temperature_oversampling().samples()
            + self.pressure_oversampling().samples()
            + self.humidity_oversampling().samples();
        // Values above 9 are reserved.
        let index = (self.ctrl_gas_1 & 0x0F).min(9);
        let runs_gas = self.ctrl_gas_1 & self.part.run_gas() != 0;
        let set_point = self.set_point(index);
        let heating_ms = if runs_gas { set_point.wait_ms() } else { 0 };
        let heats = start + Duration::from_micros(1_000 + 477 * 4 + 1_963 * u64::from(samples));
        let ends = heats + Duration::from_micros(477 * 5) + Duration::from_millis(heating_ms.into());
        self.running = Some(Running { heats, ends, index, codes: self.codes(runs_gas.then_some(set_point), at) });
    }

    /// What the converters make of the air now.
    fn codes(&self, set_point: Option<SetPoint>, at: &Moment<'_>) -> Codes {
        let [celsius, percent, pascal, ohm] = QUANTITIES.map(|quantity| at.air(quantity));
        let is_filtered = self.config >> 2 & 0b111 != 0;
        let temperature_on = self.temperature_oversampling();
        let temperature = temperature_on.rounded(calibration::temperature_code(celsius), is_filtered);
        // The host compensates with the temperature that it reads, or with the reset contents if that one is skipped.
        let t_fine = calibration::t_fine(if temperature_on.is_on() { temperature } else { NOTHING.temperature });
        let pressure = self.pressure_oversampling().rounded(calibration::pressure_code(pascal, t_fine), is_filtered);
        let is_broken = at.has(Fault::Broken);
        let gas = set_point.map(|set_point| gas::Conversion::of(self.part, ohm, set_point, celsius, is_broken));
        Codes { pressure, temperature, humidity: calibration::humidity_code(percent, t_fine), gas }
    }

    /// Writes a finished cycle to the data registers.
    fn deliver(&mut self, Running { index, codes, .. }: Running) {
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
        self.data.gas = codes.gas;
        self.index = index;
        self.cycles = self.cycles.wrapping_add(1);
        self.has_new_data = true;
    }

    /// Lets everything happen that is due by now.
    fn advance(&mut self, at: &Moment<'_>) {
        // A busy chip stays in its cycle; nothing else moves either.
        if at.has(Fault::Busy) {
            return;
        }
        if let Some(ended) = self.running.take_if(|running| running.ends <= at.now) {
            let end = ended.ends;
            self.deliver(ended);
            self.ctrl_meas &= !0b11;
            if let Some(ctrl_meas) = self.next_ctrl_meas.take() {
                self.apply(ctrl_meas, end, at);
            }
        }
    }

    /// Takes a value of `ctrl_meas` into effect.
    fn apply(&mut self, ctrl_meas: u8, start: Duration, at: &Moment<'_>) {
        self.ctrl_meas = ctrl_meas;
        match ctrl_meas & 0b11 {
            0b01 => self.begin(start, at),
            // Section 5.3.1.3 knows sleep and forced mode only.
            _ => self.ctrl_meas &= !0b11,
        }
    }

    fn write_register(&mut self, register: u8, value: u8, at: &Moment<'_>) {
        match register {
            RESET if value == 0xB6 => self.reset(at.now),
            // Section 3.1: while a mode change waits, further writes to control registers are ignored.
            IDAC_HEAT..=CONFIG if self.next_ctrl_meas.is_some() => {}
            IDAC_HEAT..=HEATER_END => {
                if let Some(kept) = self.heater.get_mut(usize::from(register - IDAC_HEAT)) {
                    *kept = value;
                }
            }
            CTRL_GAS_0 => self.ctrl_gas_0 = value & 1 << 3,
            CTRL_GAS_1 => self.ctrl_gas_1 = value & 0b1011_1111,
            CTRL_HUM => self.ctrl_hum = value & 0b0100_0111,
            CTRL_MEAS if self.running.is_some() => self.next_ctrl_meas = Some(value),
            CTRL_MEAS => self.apply(value, at.now, at),
            // Section 3.3.4: writing it resets the filter.
            CONFIG => {
                self.config = value & 0b1111_1101;
                self.temperature_filter = Filter::default();
                self.pressure_filter = Filter::default();
            }
            _ => {}
        }
    }

    /// The data and status registers as they are now.
    fn field(&self, at: &Moment<'_>) -> Field {
        let is_measuring = self.running.is_some() || at.has(Fault::Busy);
        let is_heating =
            self.running.as_ref().is_some_and(|running| at.now >= running.heats && running.codes.gas.is_some());
        let index = self.running.as_ref().map_or(self.index, |running| running.index);
        let [_, p_msb, p_lsb, p_xlsb] = (self.data.pressure << 4).to_be_bytes();
        let [_, t_msb, t_lsb, t_xlsb] = (self.data.temperature << 4).to_be_bytes();
        let [_, _, h_msb, h_lsb] = self.data.humidity.to_be_bytes();
        let status = u8::from(self.has_new_data) << 7 | u8::from(is_heating) << 6 | u8::from(is_measuring) << 5 | index;
        let mut field = [0; 17];
        let known = [status, self.cycles, p_msb, p_lsb, p_xlsb, t_msb, t_lsb, t_xlsb, h_msb, h_lsb];
        field[..10].copy_from_slice(&known);
        let gas = self.part.gas_offset();
        field[gas..gas + 2].copy_from_slice(&self.data.gas.map_or([0; 2], gas::Conversion::registers));
        field
    }

    fn register(&self, register: u8, at: &Moment<'_>) -> u8 {
        match register {
            ID if at.has(Fault::WrongId) => 0x60,
            ID => 0x61,
            VARIANT_ID => self.part.variant_id(),
            FIELD..=FIELD_END => self.shadow.get(usize::from(register - FIELD)).copied().unwrap_or(0),
            IDAC_HEAT..=HEATER_END => self.heater.get(usize::from(register - IDAC_HEAT)).copied().unwrap_or(0),
            CTRL_GAS_0 => self.ctrl_gas_0,
            CTRL_GAS_1 => self.ctrl_gas_1,
            CTRL_HUM => self.ctrl_hum,
            CTRL_MEAS => self.ctrl_meas,
            CONFIG => self.config,
            _ if at.now < self.copied => 0,
            _ => calibration::register(register),
        }
    }
}

impl Device for Bme68x {
    fn model(&self) -> &'static str {
        match self.part {
            Part::Bme680 => "BME680",
            Part::Bme688 => "BME688",
        }
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
        self.pointer.release();
        if direction == Direction::Read {
            self.shadow = self.field(at);
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
        self.has_new_data &= !(DATA..=FIELD_END).contains(&register);
        // A chip that stops sending does so within the data, not before them: it was fine when it was set up.
        if at.has(Fault::Truncated) && (DATA + 3..=FIELD_END).contains(&register) {
            return 0xFF;
        }
        self.register(register, at)
    }
}
