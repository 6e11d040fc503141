//! Asair AHT20, and the DHT20, which is an AHT20 in a case: temperature and humidity. After the AHT20 data sheet version 1.0 of
//! May 2021; sections are its. Versions differ, and where this one is silent an older one (version 1.0 of 2020) is followed.
//!
//! What people stumble over:
//! - Section 7.4 has the status read "by sending 0x71". That is the chip's address with the bit for a read; but programs that
//!   write 0x71 as a command first work as well, so it is acknowledged here, and does nothing.
//! - The 2020 version initialises by 0xBE 0x08 0x00. The 2021 version has registers 0x1B, 0x1C and 0x1E read and written back,
//!   by 0xB0 with the register's number: the third of these is 0xBE. So 0xBE with 0x08 calibrates here, however it comes.
//! - 0xE1, the AHT10's initialisation, is not acknowledged by AHT20s of late (reported to Adafruit's driver, issue 17).
//!
//! A chip may or may not come calibrated from power-on: section 7.4 has it checked. This one does not, as that is what drivers
//! forget.
//!
//! | Fault | here |
//! |---|---|
//! | busy | the status says so for ever, and no measurement ends |
//! | checksum | of the answer: wrong |
//! | wrong_id | a chip that acknowledges its address and no command, and sends zeros. The AHT20 has no id |
//! | reset_contents | not calibrated, and never gets so; commands are acknowledged, but not carried out |
//! | truncated | from the fourth byte of the answer on |
//! | broken | nothing: it cannot say so |

use std::time::Duration;

use reading::Quantity;

use super::device::{Device, Moment};
use super::{Direction, Fault};

const QUANTITIES: [Quantity; 2] = [Quantity::TEMPERATURE, Quantity::HUMIDITY];

/// Section 7.1.
const STARTUP: Duration = Duration::from_millis(100);
/// Soft reset takes no longer (2020 version, section 5.5).
const RESET_TIME: Duration = Duration::from_millis(20);
/// Section 7.4.
const MEASUREMENT: Duration = Duration::from_millis(80);

const SOFT_RESET: u8 = 0xBA;
const MEASURE: u8 = 0xAC;
const STATUS: u8 = 0x71;
/// Writes of registers 0x1B, 0x1C and 0x1E.
const WRITE_1B: u8 = 0xBB;
const WRITE_1C: u8 = 0xBC;
const WRITE_1E: u8 = 0xBE;

/// Bits of the status, table 9.
const BUSY: u8 = 1 << 7;
const CALIBRATED: u8 = 1 << 3;
/// Not explained by table 9, but expected to be set by section 7.4.
const RETAINED: u8 = 1 << 4;

/// How much a chip is off that was not calibrated, in Cel and %RH. The data sheet gives no number: any that is no truth.
const UNCALIBRATED: (f64, f64) = (7.0, -20.0);

/// Humidity and temperature, 20 bits each, as they are sent.
type Codes = [u8; 5];

pub(super) struct Aht20 {
    is_calibrated: bool,
    /// Until then nothing is acknowledged.
    resetting: Duration,
    measurement: Option<(Duration, Codes)>,
    data: Codes,
    /// The bytes of a write so far.
    received: [u8; 3],
    received_count: usize,
    /// The register that the next read is about, after its number was written with two zeros.
    register: Option<u8>,
    answer: [u8; 7],
    sent: usize,
}

impl Aht20 {
    pub(super) fn new() -> Self {
        Self {
            is_calibrated: false,
            resetting: Duration::ZERO,
            measurement: None,
            data: [0; 5],
            received: [0; 3],
            received_count: 0,
            register: None,
            answer: [0; 7],
            sent: 0,
        }
    }

    fn advance(&mut self, at: &Moment<'_>) {
        if at.has(Fault::Busy) {
            return;
        }
        if let Some((_, codes)) = self.measurement.take_if(|(ends, _)| *ends <= at.now) {
            self.data = codes;
        }
    }

    fn status(&self, at: &Moment<'_>) -> u8 {
        let is_busy = self.measurement.is_some() || at.has(Fault::Busy);
        let busy = if is_busy { BUSY } else { 0 };
        let calibrated = if self.is_calibrated { CALIBRATED } else { 0 };
        RETAINED | busy | calibrated
    }

    /// Section 8: RH = 100 S / 2^20, T = 200 S / 2^20 - 50.
    fn codes(&self, at: &Moment<'_>) -> Codes {
        let (celsius, percent) = if self.is_calibrated { (0.0, 0.0) } else { UNCALIBRATED };
        let humidity = code((at.air(Quantity::HUMIDITY) + percent) / 100.0);
        let temperature = code((at.air(Quantity::TEMPERATURE) + celsius + 50.0) / 200.0);
        let both = u64::from(humidity) << 20 | u64::from(temperature);
        let [_, _, _, a, b, c, d, e] = both.to_be_bytes();
        [a, b, c, d, e]
    }

    /// Does what was written, when it is whole.
    fn execute(&mut self, at: &Moment<'_>) {
        if at.has(Fault::ResetContents) {
            return;
        }
        match (self.received, self.received_count) {
            ([SOFT_RESET, ..], 1) => *self = Self { resetting: at.now + RESET_TIME, ..Self::new() },
            // What a second trigger does in mid-measurement is not told: it is ignored here.
            ([MEASURE, 0x33, 0x00], 3) if self.measurement.is_none() => {
                self.measurement = Some((at.now + MEASUREMENT, self.codes(at)));
            }
            ([register @ (0x1B | 0x1C | 0x1E), 0x00, 0x00], 3) => self.register = Some(register),
            ([WRITE_1E, parameter, _], 3) => self.is_calibrated |= parameter & CALIBRATED != 0,
            _ => {}
        }
    }
}

/// So much of one, as 20 bits.
fn code(part: f64) -> u32 {
    const SPAN: u32 = 1 << 20;
    // The cast saturates.
    ((part * f64::from(SPAN)).round() as u32).min(SPAN - 1)
}

/// Section 7.4: 1 + X^4 + X^5 + X^8, start 0xFF, over the six bytes before it.
fn crc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    })
}

impl Device for Aht20 {
    fn model(&self) -> &'static str {
        "AHT20"
    }

    fn address(&self) -> u8 {
        0x38
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn startup(&self) -> Duration {
        STARTUP
    }

    fn power_on(&mut self, _now: Duration) {
        *self = Self::new();
    }

    fn start(&mut self, direction: Direction, at: &Moment<'_>) -> bool {
        if at.now < self.resetting {
            return false;
        }
        self.advance(at);
        self.received_count = 0;
        self.sent = 0;
        if direction == Direction::Read {
            let status = self.status(at);
            let [a, b, c, d, e] = self.data;
            self.answer = match self.register.take() {
                // The contents are not told, but that bit 3 of the first of register 0x1E is for the calibration.
                Some(0x1E) => [status, CALIBRATED, 0x00, 0xFF, 0xFF, 0xFF, 0xFF],
                Some(_) => [status, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF],
                None => [status, a, b, c, d, e, 0],
            };
            let [content @ .., check] = &mut self.answer;
            *check = crc(content);
            if at.has(Fault::Checksum) {
                *check = !*check;
            }
        }
        true
    }

    fn write(&mut self, byte: u8, at: &Moment<'_>) -> bool {
        let Some(slot) = self.received.get_mut(self.received_count) else { return false };
        *slot = byte;
        self.received_count += 1;
        let known = [SOFT_RESET, MEASURE, STATUS, 0x1B, 0x1C, 0x1E, WRITE_1B, WRITE_1C, WRITE_1E];
        if at.has(Fault::WrongId) || !known.contains(&self.received[0]) {
            return false;
        }
        self.execute(at);
        true
    }

    fn read(&mut self, at: &Moment<'_>) -> u8 {
        if at.has(Fault::WrongId) {
            return 0x00;
        }
        let end = if at.has(Fault::Truncated) { 3 } else { self.answer.len() };
        let Some(byte) = self.answer[..end].get(self.sent) else { return 0xFF };
        self.sent += 1;
        *byte
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::delay::DelayNs;
    use embedded_hal::i2c::I2c;

    use super::super::{Clock, SimBus, SimError, chip};
    use super::*;

    const ADDRESS: u8 = 0x38;
    const INITIALISE: [u8; 3] = [0xBE, 0x08, 0x00];
    const TRIGGER: [u8; 3] = [0xAC, 0x33, 0x00];

    /// A bus on which the chip has just been up long enough, in air of 25 Cel, 60 %RH.
    fn bus() -> SimBus {
        let bus = SimBus::new(Clock::virtual_time());
        bus.attach(chip("AHT20").unwrap());
        assert!(bus.set(ADDRESS, Quantity::TEMPERATURE, 25.0) && bus.set(ADDRESS, Quantity::HUMIDITY, 60.0));
        wait_ms(&bus, 100);
        bus
    }

    fn wait_ms(bus: &SimBus, time: u32) {
        bus.clock().delay().delay_ms(time);
    }

    fn read<const N: usize>(bus: &mut SimBus) -> [u8; N] {
        let mut bytes = [0; N];
        bus.read(ADDRESS, &mut bytes).unwrap();
        bytes
    }

    fn status(bus: &mut SimBus) -> u8 {
        read::<1>(bus)[0]
    }

    /// Section 8, on the bytes of section 7.4: Cel and %RH.
    fn converted([_, a, b, c, d, e, _]: [u8; 7]) -> (f64, f64) {
        let humidity = u32::from(a) << 12 | u32::from(b) << 4 | u32::from(c) >> 4;
        let temperature = u32::from(c & 0x0F) << 16 | u32::from(d) << 8 | u32::from(e);
        let part = |code: u32| f64::from(code) / 1_048_576.0;
        (part(temperature) * 200.0 - 50.0, part(humidity) * 100.0)
    }

    fn measure(bus: &mut SimBus) -> [u8; 7] {
        bus.write(ADDRESS, &TRIGGER).unwrap();
        wait_ms(bus, 80);
        read(bus)
    }

    fn assert_air(answer: [u8; 7], (celsius, percent): (f64, f64)) {
        let (c, p) = converted(answer);
        assert!((c - celsius).abs() < 0.001 && (p - percent).abs() < 0.001, "{c} Cel {p} %RH");
    }

    #[test]
    fn an_answer_of_a_real_chip_converts_and_has_this_checksum() {
        // Published by the authors of a driver for Elixir.
        let answer = [0x1C, 0x26, 0x9A, 0x76, 0x42, 0xE7, 0x76];
        assert_eq!(crc(&answer[..6]), answer[6]);
        let (celsius, percent) = converted(answer);
        assert_eq!(format!("{celsius:.2} {percent:.2}"), "28.27 15.08");
    }

    #[test]
    fn a_measurement_takes_its_time() {
        let mut bus = bus();
        bus.write(ADDRESS, &INITIALISE).unwrap();
        wait_ms(&bus, 10);
        assert_eq!(status(&mut bus), 0x18);
        bus.write(ADDRESS, &TRIGGER).unwrap();
        wait_ms(&bus, 79);
        assert_eq!(status(&mut bus), 0x98, "busy");
        wait_ms(&bus, 1);
        let answer = read(&mut bus);
        assert_eq!(answer[0], 0x18);
        assert_eq!(answer[6], crc(&answer[..6]));
        assert_air(answer, (25.0, 60.0));
        bus.set(ADDRESS, Quantity::TEMPERATURE, -39.5);
        assert_eq!(read(&mut bus), answer, "nobody triggered");
        assert_air(measure(&mut bus), (-39.5, 60.0));
    }

    #[test]
    fn who_does_not_calibrate_it_gets_no_truth() {
        let mut bus = bus();
        let answer = measure(&mut bus);
        assert_eq!(answer[0], 0x10);
        assert!((converted(answer).0 - 25.0).abs() > 1.0);
    }

    #[test]
    fn the_way_of_the_2021_data_sheet_calibrates_too() {
        let mut bus = bus();
        for register in [0x1B, 0x1C, 0x1E] {
            bus.write(ADDRESS, &[register, 0x00, 0x00]).unwrap();
            wait_ms(&bus, 5);
            let [_, high, low] = read(&mut bus);
            bus.write(ADDRESS, &[0xB0 | register, high, low]).unwrap();
        }
        assert_eq!(status(&mut bus), 0x18);
        assert_air(measure(&mut bus), (25.0, 60.0));
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        let mut bus = bus();
        assert_eq!(bus.write(ADDRESS, &[0xE1, 0x08, 0x00]), Err(SimError::Data(ADDRESS)));
        assert_eq!(bus.write(ADDRESS, &[0xAC, 0x33, 0x00, 0x00]), Err(SimError::Data(ADDRESS)));
        bus.write(ADDRESS, &[0x71]).unwrap();
        assert_eq!(status(&mut bus) & 0x08, 0);
    }

    #[test]
    fn a_reset_takes_20_ms_and_the_calibration() {
        let mut bus = bus();
        bus.write(ADDRESS, &INITIALISE).unwrap();
        bus.write(ADDRESS, &[0xBA]).unwrap();
        assert_eq!(bus.read(ADDRESS, &mut [0]), Err(SimError::Address(ADDRESS)));
        wait_ms(&bus, 20);
        assert_eq!(read(&mut bus), [0x10, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_no_code_can_say_is_said_by_the_last_code() {
        let mut bus = bus();
        bus.write(ADDRESS, &INITIALISE).unwrap();
        bus.set(ADDRESS, Quantity::HUMIDITY, 120.0);
        bus.set(ADDRESS, Quantity::TEMPERATURE, -300.0);
        assert_eq!(measure(&mut bus)[1..6], [0xFF, 0xFF, 0xF0, 0x00, 0x00]);
    }

    #[test]
    fn faults_show_as_the_chip_would_show_them() {
        let mut bus = bus();
        bus.write(ADDRESS, &INITIALISE).unwrap();
        let before = measure(&mut bus);
        bus.fault(ADDRESS, Some(Fault::Checksum));
        assert_eq!(measure(&mut bus), [&before[..6], &[!before[6]]].concat()[..]);
        bus.fault(ADDRESS, Some(Fault::Truncated));
        assert_eq!(measure(&mut bus), [&before[..3], &[0xFF; 4]].concat()[..]);
        bus.fault(ADDRESS, Some(Fault::Stuck));
        bus.set(ADDRESS, Quantity::TEMPERATURE, 35.0);
        assert_eq!(measure(&mut bus), before);
        bus.fault(ADDRESS, Some(Fault::Busy));
        bus.write(ADDRESS, &TRIGGER).unwrap();
        wait_ms(&bus, 60_000);
        assert_eq!(status(&mut bus), 0x98);
        bus.fault(ADDRESS, None);
        assert_air(read(&mut bus), (35.0, 60.0));
        bus.fault(ADDRESS, Some(Fault::WrongId));
        assert_eq!(bus.write(ADDRESS, &TRIGGER), Err(SimError::Data(ADDRESS)));
        assert_eq!(read(&mut bus), [0; 7]);
    }

    #[test]
    fn without_power_the_calibration_is_lost_and_a_chip_held_in_reset_takes_none() {
        let mut bus = bus();
        for (fault, after) in [(Fault::PowerLoss, 0x18), (Fault::ResetContents, 0x10)] {
            bus.write(ADDRESS, &INITIALISE).unwrap();
            assert_eq!(status(&mut bus), 0x18);
            bus.fault(ADDRESS, Some(fault));
            assert_eq!(bus.read(ADDRESS, &mut [0]), Err(SimError::Address(ADDRESS)));
            wait_ms(&bus, 100);
            assert_eq!(status(&mut bus), 0x10);
            bus.write(ADDRESS, &INITIALISE).unwrap();
            assert_eq!(status(&mut bus), after);
        }
    }
}
