//! ScioSense ENS160: TVOC and equivalent CO2. After the datasheet version 1.1 (SC-001224-DS-7, March 2022); sections are its.
//!
//! Where the datasheet contradicts itself or the chip:
//! - After power-on the mode is IDLE (section 15), though table 18 says that `OPMODE` begins as 0x00.
//! - `DATA_MISR` goes on from read to read, as the program in section 16.2.14 has it, and not anew for each, as the text before
//!   it can be read. That program's `misr&0x80==0` is, in C, always false: what the comment over it means is modelled, a shift
//!   with the polynomial 0x1D when bit 7 falls out.
//! - `NEWDAT` is "cleared at first DATA_x read". Chips clear it when the status byte alone is read, which comes before the data:
//!   a log of a real one has 0x83, and 0x81 at the next read; and Adafruit's driver says "otherwise the status is lost". So
//!   here a read also takes the flag of the register after the one that was sent, as a chip that looks ahead does.
//!
//! The chip is one that was used before: its hour of initial start-up is over. What its readings are while it warms up is not
//! told; here they come up from clean air. Neither humidity compensation nor the baseline is modelled: `TEMP_IN` and `RH_IN` are
//! kept and read back.
//!
//! | Fault | here |
//! |---|---|
//! | busy | no new data ever |
//! | checksum | `DATA_MISR` is wrong |
//! | wrong_id | another part id |
//! | reset_contents | the id is there, no register keeps what is written |
//! | truncated | the data from `DATA_TVOC`'s second byte on |
//! | broken | the validity flag says "invalid output" |

use std::time::Duration;

use reading::Quantity;

use super::device::{Device, Moment};
use super::{Direction, Fault};

#[cfg(test)]
mod tests;

const QUANTITIES: [Quantity; 2] = [Quantity::TVOC, Quantity::ECO2];

/// The datasheet gives no time; ScioSense's own driver waits so long after a start.
const STARTUP: Duration = Duration::from_millis(10);
/// "Immediate response" (table 9); data are new every second.
const INTERVAL: Duration = Duration::from_secs(1);
/// Table 9.
const WARM_UP: Duration = Duration::from_secs(180);
/// Table 9; counted, as section 10.1 has it, in operation.
const INITIAL_START_UP: Duration = Duration::from_secs(3_600);

const PART_ID: u16 = 0x0160;
const FIRMWARE: [u8; 3] = [5, 4, 6];

/// Registers, table 16.
const OPMODE: u8 = 0x10;
const CONFIG: u8 = 0x11;
const COMMAND: u8 = 0x12;
const TEMP_IN: u8 = 0x13;
const RH_IN: u8 = 0x15;
const DEVICE_STATUS: u8 = 0x20;
const DATA_AQI: u8 = 0x21;
const DATA_TVOC: u8 = 0x22;
const DATA_ECO2: u8 = 0x24;
const DATA_T: u8 = 0x30;
const DATA_RH: u8 = 0x32;
const DATA_END: u8 = 0x37;
const DATA_MISR: u8 = 0x38;
const GPR_WRITE: u8 = 0x40;
const GPR_READ: u8 = 0x48;
const GPR_END: u8 = 0x4F;

/// Values of OPMODE, table 18.
const DEEP_SLEEP: u8 = 0x00;
const IDLE: u8 = 0x01;
const STANDARD: u8 = 0x02;
const RESET: u8 = 0xF0;

/// The quietest that can be said (table 4), in ppb and ppm.
const CLEAN: (f64, f64) = (0.0, 400.0);
/// The highest of both (table 4).
const HIGHEST: f64 = 65_000.0;

/// What a measurement found.
#[derive(Clone, Copy, Default)]
struct Data {
    aqi: u8,
    tvoc_ppb: u16,
    eco2_ppm: u16,
}

/// STANDARD mode.
#[derive(Clone, Copy)]
struct Sensing {
    since: Duration,
    next: Duration,
}

pub(super) struct Ens160 {
    /// Whether it has yet to have its first hour.
    is_unused: bool,
    /// Until then nothing is acknowledged.
    booting: Duration,
    pointer: u8,
    /// Whether the next byte that is written goes into the register, not to the pointer.
    is_chosen: bool,
    opmode: u8,
    config: u8,
    command: u8,
    temp_in: [u8; 2],
    rh_in: [u8; 2],
    /// What is used in calculations: taken over when the upper byte of the input is written (sections 16.2.5, 16.2.6).
    data_t: [u8; 2],
    data_rh: [u8; 2],
    gpr_write: [u8; 8],
    gpr_read: [u8; 8],
    sensing: Option<Sensing>,
    data: Data,
    has_new_data: bool,
    has_new_gpr: bool,
    has_error: bool,
    misr: u8,
}

impl Ens160 {
    pub(super) fn new() -> Self {
        Self {
            is_unused: false,
            booting: STARTUP,
            pointer: 0,
            is_chosen: false,
            opmode: IDLE,
            config: 0,
            command: 0,
            temp_in: [0; 2],
            rh_in: [0; 2],
            data_t: [0x8A, 0x4A],
            data_rh: [0x00, 0x64],
            gpr_write: [0; 8],
            gpr_read: [0; 8],
            sensing: None,
            data: Data { aqi: 1, ..Data::default() },
            has_new_data: false,
            has_new_gpr: false,
            has_error: false,
            misr: 0,
        }
    }

    fn reset(&mut self, now: Duration) {
        *self = Self { is_unused: self.is_unused, booting: now + STARTUP, ..Self::new() };
    }

    /// Makes the measurement that is due by now, if one is.
    fn advance(&mut self, at: &Moment<'_>) {
        if at.has(Fault::Busy) {
            return;
        }
        let Some(Sensing { since, next }) = self.sensing.filter(|sensing| sensing.next <= at.now) else { return };
        let missed = (at.now - next).as_nanos() / INTERVAL.as_nanos();
        let late = u64::try_from(missed * INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        self.sensing = Some(Sensing { since, next: next + Duration::from_nanos(late) + INTERVAL });
        let warm = ((at.now - since).as_secs_f64() / WARM_UP.as_secs_f64()).min(1.0);
        self.measure(warm, at);
    }

    fn measure(&mut self, warm: f64, at: &Moment<'_>) {
        let shown = |clean: f64, air: f64| (clean + (air - clean) * warm).round().clamp(clean, HIGHEST);
        let tvoc = shown(CLEAN.0, at.air(Quantity::TVOC));
        // The casts are within their ranges.
        let (tvoc_ppb, eco2_ppm) = (tvoc as u16, shown(CLEAN.1, at.air(Quantity::ECO2)) as u16);
        self.data = Data { aqi: aqi(tvoc_ppb), tvoc_ppb, eco2_ppm };
        // Section 7: R = 2^(raw / 2048) of sensors 1 and 4. How they hang together with the gases is not told.
        let raw = |ohm: f64| ((ohm.log2() * 2_048.0).round() as u16).to_le_bytes();
        let [low, high] = raw(200_000.0 / (1.0 + tvoc / 300.0));
        self.gpr_read = [low, high, 0, 0, 0, 0, low, high];
        self.has_new_data = true;
        self.has_new_gpr = true;
    }

    /// Table 10.
    fn validity(&self, at: &Moment<'_>) -> u8 {
        let Some(Sensing { since, .. }) = self.sensing else { return 0 };
        let sensing_for = at.now.saturating_sub(since);
        if at.has(Fault::Broken) {
            3
        } else if self.is_unused && sensing_for < INITIAL_START_UP {
            2
        } else if sensing_for < WARM_UP {
            1
        } else {
            0
        }
    }

    /// Table 26.
    fn status(&self, at: &Moment<'_>) -> u8 {
        u8::from(self.sensing.is_some()) << 7
            | u8::from(self.has_error) << 6
            | self.validity(at) << 2
            | u8::from(self.has_new_data) << 1
            | u8::from(self.has_new_gpr)
    }

    fn set_mode(&mut self, opmode: u8, now: Duration) {
        self.has_error = false;
        match opmode {
            RESET => return self.reset(now),
            // It goes on with what it does.
            STANDARD if self.sensing.is_some() => {}
            STANDARD => self.sensing = Some(Sensing { since: now, next: now + INTERVAL }),
            DEEP_SLEEP | IDLE => self.sensing = None,
            // Table 26: "e.g. invalid operating mode has been selected". The one before ends (section 16.2.2).
            _ => {
                self.sensing = None;
                self.has_error = true;
                self.opmode = IDLE;
                return;
            }
        }
        self.opmode = opmode;
    }

    /// Section 16.2.4: only in IDLE mode.
    fn execute(&mut self, command: u8) {
        self.command = command;
        if self.opmode != IDLE {
            return;
        }
        match command {
            0x0E => {
                self.gpr_read[4..7].copy_from_slice(&FIRMWARE);
                self.has_new_gpr = true;
            }
            0xCC => self.gpr_read = [0; 8],
            _ => {}
        }
    }

    fn write_register(&mut self, register: u8, value: u8, now: Duration) {
        match register {
            OPMODE => self.set_mode(value, now),
            // "In DEEP SLEEP mode, ENS160 has limited functionality but will respond to an OPMODE write."
            _ if self.opmode == DEEP_SLEEP => {}
            CONFIG => self.config = value & 0b0110_1011,
            COMMAND => self.execute(value),
            0x13 => self.temp_in[0] = value,
            0x14 => {
                self.temp_in[1] = value;
                self.data_t = self.temp_in;
            }
            0x15 => self.rh_in[0] = value,
            0x16 => {
                self.rh_in[1] = value;
                self.data_rh = self.rh_in;
            }
            // Section 16.2.15: only in IDLE mode.
            GPR_WRITE..GPR_READ if self.opmode == IDLE => self.gpr_write[usize::from(register - GPR_WRITE)] = value,
            _ => {}
        }
    }

    /// A register; those of two bytes are little endian (section 16.1).
    fn register(&self, register: u8, at: &Moment<'_>) -> u8 {
        let byte_of = |word: u16, first: u8| word.to_le_bytes()[usize::from(register - first)];
        match register {
            0x00 | 0x01 => byte_of(if at.has(Fault::WrongId) { 0x0210 } else { PART_ID }, 0x00),
            OPMODE => self.opmode,
            CONFIG => self.config,
            COMMAND => self.command,
            0x13 | 0x14 => self.temp_in[usize::from(register - TEMP_IN)],
            0x15 | 0x16 => self.rh_in[usize::from(register - RH_IN)],
            DEVICE_STATUS => self.status(at),
            DATA_AQI => self.data.aqi,
            0x22 | 0x23 => byte_of(self.data.tvoc_ppb, DATA_TVOC),
            0x24 | 0x25 => byte_of(self.data.eco2_ppm, DATA_ECO2),
            0x30 | 0x31 => self.data_t[usize::from(register - DATA_T)],
            0x32 | 0x33 => self.data_rh[usize::from(register - DATA_RH)],
            DATA_MISR if at.has(Fault::Checksum) => !self.misr,
            DATA_MISR => self.misr,
            GPR_WRITE..GPR_READ => self.gpr_write[usize::from(register - GPR_WRITE)],
            GPR_READ..=GPR_END => self.gpr_read[usize::from(register - GPR_READ)],
            _ => 0,
        }
    }

    /// What sending a register changes.
    fn sent(&mut self, register: u8, byte: u8) {
        if (DEVICE_STATUS..=DATA_END).contains(&register) {
            self.misr = misr(self.misr, byte);
        }
        let takes = |first: u8, last: u8| (first - 1..=last).contains(&register);
        self.has_new_data &= !takes(DATA_AQI, DATA_END);
        self.has_new_gpr &= !takes(GPR_READ, GPR_END);
    }
}

/// Section 16.2.14.
fn misr(before: u8, byte: u8) -> u8 {
    let shifted = before << 1 ^ byte;
    if before & 0x80 == 0 { shifted } else { shifted ^ 0x1D }
}

/// Section 5.3 names the UBA's levels and not their limits; these are the UBA's (2007) of 0.3, 1, 3 and 10 mg/m3, taken as
/// ppb of the mixture that they are used with in the field.
fn aqi(tvoc_ppb: u16) -> u8 {
    match tvoc_ppb {
        0..65 => 1,
        65..220 => 2,
        220..660 => 3,
        660..2_200 => 4,
        _ => 5,
    }
}

impl Device for Ens160 {
    fn model(&self) -> &'static str {
        "ENS160"
    }

    /// Section 14.1.1, with ADDR high, as breakout boards have it; 0x52 with ADDR low.
    fn address(&self) -> u8 {
        0x53
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

    fn start(&mut self, _direction: Direction, at: &Moment<'_>) -> bool {
        if at.now < self.booting {
            return false;
        }
        // Between the bytes of a transaction nothing changes: a measurement is whole.
        self.advance(at);
        self.is_chosen = false;
        true
    }

    /// Section 14.1.4: a register, and what goes into it and those after it.
    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool {
        if !self.is_chosen {
            self.is_chosen = true;
            self.pointer = byte;
            return true;
        }
        let register = self.pointer;
        self.pointer = register.wrapping_add(1);
        if !at.has(Fault::ResetContents) {
            self.write_register(register, byte, at.now);
        }
        true
    }

    /// Section 14.1.3.
    fn read(&mut self, at: &Moment<'_>) -> u8 {
        let register = self.pointer;
        self.pointer = register.wrapping_add(1);
        let byte = self.register(register, at);
        self.sent(register, byte);
        if at.has(Fault::Truncated) && (DATA_TVOC + 1..=DATA_END).contains(&register) { 0xFF } else { byte }
    }
}
