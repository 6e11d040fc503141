//! Sensirion SHT40: temperature and humidity. After the SHT4x datasheet (version 6); sections are its.
//!
//! Not modelled: the heat of the heater (its commands take their time and measure), the lesser repeatability of the faster
//! measurements, the general call reset, and a soft reset that aborts a measurement (a busy chip refuses everything).

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::device::Moment;
use super::sensirion::{Commanded, Executed, word};

const QUANTITIES: [Quantity; 2] = [Quantity::TEMPERATURE, Quantity::HUMIDITY];

const SERIAL: [u16; 2] = [0x0F57, 0x1C3A];

/// Table 4, "system timing specifications": power-up and soft reset, at most. A serial number takes as long here, as the
/// datasheet has no figure for it.
const IDLE_AGAIN: Duration = Duration::from_millis(1);
/// Table 4: the longest measurement of high, medium and low repeatability. For the last, versions give 1.6 or 1.7 ms.
const HIGH: Duration = Duration::from_micros(8_300);
const MEDIUM: Duration = Duration::from_micros(4_500);
const LOW: Duration = Duration::from_micros(1_700);
/// Table 4: the longest heater pulses of 1 s and 0.1 s. A measurement of high repeatability follows them.
const LONG_PULSE: Duration = Duration::from_millis(1_100);
const SHORT_PULSE: Duration = Duration::from_millis(110);

pub(super) struct Sht4x;

impl Commanded for Sht4x {
    const CODE_BYTES: usize = 1;
    const HANGS: bool = true;

    fn model(&self) -> &'static str {
        "SHT40"
    }

    /// Of the SHT40-AD1B; the -BD1B has 0x45.
    fn address(&self) -> u8 {
        0x44
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn startup(&self) -> Duration {
        IDLE_AGAIN
    }

    fn power_on(&mut self) {}

    /// Section 4.5. No command takes a word.
    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        match code {
            // An SHT3x has commands of two bytes: it acknowledges, waits for the second, and has nothing to say.
            _ if at.has(Fault::WrongId) => &[1],
            0xFD | 0xF6 | 0xE0 | 0x39 | 0x2F | 0x1E | 0x32 | 0x24 | 0x15 | 0x89 | 0x94 => &[0],
            _ => &[],
        }
    }

    fn execute(&mut self, code: u16, _words: &[u16], at: &Moment<'_>) -> Executed {
        let measuring = match code {
            0x89 => return Executed::within(IDLE_AGAIN).answering(&SERIAL),
            0x94 => return Executed::within(IDLE_AGAIN),
            0xF6 => MEDIUM,
            0xE0 => LOW,
            0x39 | 0x2F | 0x1E => LONG_PULSE + HIGH,
            0x32 | 0x24 | 0x15 => SHORT_PULSE + HIGH,
            _ => HIGH,
        };
        // Section 4.6: T = -45 + 175 S / 65535, RH = -6 + 125 S / 65535. The words reach past 0 and 100 %RH on purpose.
        let temperature = word(at.air(Quantity::TEMPERATURE), -45.0, 175.0);
        let humidity = word(at.air(Quantity::HUMIDITY), -6.0, 125.0);
        Executed::within(measuring).answering(&[temperature, humidity])
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::delay::DelayNs;
    use embedded_hal::i2c::I2c;

    use super::super::sensirion::crc;
    use super::super::{Clock, SimBus, SimError, chip};
    use super::*;

    const ADDRESS: u8 = 0x44;
    const NO_ANSWER: SimError = SimError::Address(ADDRESS);

    /// A bus on which the chip has long been up.
    fn bus() -> SimBus {
        let bus = SimBus::new(Clock::virtual_time());
        bus.attach(chip("SHT40").unwrap());
        bus.clock().advance(Duration::from_millis(5));
        bus
    }

    fn ask(bus: &mut SimBus, command: u8, wait_us: u32) -> Result<[u8; 6], SimError> {
        let mut answer = [0; 6];
        bus.write(ADDRESS, &[command])?;
        bus.clock().delay().delay_us(wait_us);
        bus.read(ADDRESS, &mut answer)?;
        Ok(answer)
    }

    /// Cel and %RH by the formulas of section 4.6.
    fn values(answer: [u8; 6]) -> (f64, f64) {
        assert_eq!((crc([answer[0], answer[1]]), crc([answer[3], answer[4]])), (answer[2], answer[5]));
        let part = |at: usize| f64::from(u16::from_be_bytes([answer[at], answer[at + 1]])) / 65_535.0;
        (-45.0 + 175.0 * part(0), -6.0 + 125.0 * part(3))
    }

    fn assert_close((celsius, percent): (f64, f64), expected: (f64, f64)) {
        assert!((celsius - expected.0).abs() < 0.002 && (percent - expected.1).abs() < 0.001, "{celsius} {percent}");
    }

    #[test]
    fn each_measurement_is_refused_until_its_time_has_passed_and_then_read_once() {
        let mut bus = bus();
        assert!(bus.set(ADDRESS, Quantity::TEMPERATURE, -12.34) && bus.set(ADDRESS, Quantity::HUMIDITY, 66.6));
        for (command, longest_us) in [(0xFD, 8_300), (0xF6, 4_500), (0xE0, 1_700), (0x39, 1_108_300), (0x15, 118_300)] {
            // The read's own address byte takes 90 us on the bus.
            assert_eq!(ask(&mut bus, command, longest_us - 100), Err(NO_ANSWER), "{command:#x}");
            bus.clock().advance(Duration::from_millis(1));
            let mut answer = [0; 6];
            bus.read(ADDRESS, &mut answer).unwrap();
            assert_close(values(answer), (-12.34, 66.6));
            assert_eq!(bus.read(ADDRESS, &mut answer), Err(NO_ANSWER), "read once");
        }
    }

    #[test]
    fn a_busy_chip_refuses_a_new_command_too() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0xFD]).unwrap();
        assert_eq!(bus.write(ADDRESS, &[0xFD]), Err(NO_ANSWER));
    }

    #[test]
    fn the_chip_is_silent_until_it_is_up_and_after_a_soft_reset() {
        let mut bus = SimBus::new(Clock::virtual_time());
        bus.attach(chip("SHT40").unwrap());
        assert_eq!(bus.write(ADDRESS, &[0x89]), Err(NO_ANSWER));
        bus.clock().advance(Duration::from_millis(1));
        assert_eq!(ask(&mut bus, 0x94, 500), Err(NO_ANSWER));
        bus.clock().advance(Duration::from_millis(1));
        let serial = ask(&mut bus, 0x89, 1_000).unwrap();
        assert_eq!(serial, [0x0F, 0x57, crc([0x0F, 0x57]), 0x1C, 0x3A, crc([0x1C, 0x3A])]);
    }

    #[test]
    fn a_measurement_shows_the_air_when_it_began() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0xFD]).unwrap();
        bus.set(ADDRESS, Quantity::TEMPERATURE, 40.0);
        bus.clock().advance(Duration::from_millis(9));
        let mut answer = [0; 6];
        bus.read(ADDRESS, &mut answer).unwrap();
        assert_close(values(answer), (20.0, 50.0));
    }

    #[test]
    fn words_are_clamped_and_unknown_commands_refused() {
        let mut bus = bus();
        bus.set(ADDRESS, Quantity::TEMPERATURE, 500.0);
        bus.set(ADDRESS, Quantity::HUMIDITY, -50.0);
        assert_close(values(ask(&mut bus, 0xFD, 8_300).unwrap()), (130.0, -6.0));
        assert_eq!(bus.write(ADDRESS, &[0x00]), Err(SimError::Data(ADDRESS)));
        assert_eq!(bus.write(ADDRESS, &[0x24, 0x00]), Err(SimError::Data(ADDRESS)), "one byte is a command");
    }

    #[test]
    fn faults_show_as_the_chip_would_show_them() {
        let mut bus = bus();
        let whole = ask(&mut bus, 0xFD, 8_300).unwrap();
        bus.fault(ADDRESS, Some(Fault::Checksum));
        let wrong = ask(&mut bus, 0xFD, 8_300).unwrap();
        assert!(wrong[..2] == whole[..2] && wrong[2] != whole[2] && wrong[5] != whole[5]);
        bus.fault(ADDRESS, Some(Fault::Truncated));
        assert_eq!(ask(&mut bus, 0xFD, 8_300).unwrap()[3..], [0xFF; 3]);
        for silent in [Fault::WrongId, Fault::ResetContents] {
            bus.fault(ADDRESS, Some(silent));
            bus.clock().advance(Duration::from_millis(5));
            let _ = bus.write(ADDRESS, &[]);
            bus.clock().advance(Duration::from_millis(5));
            bus.write(ADDRESS, &[0xFD]).unwrap();
            bus.clock().advance(Duration::from_millis(9));
            assert_eq!(bus.read(ADDRESS, &mut [0; 6]), Err(NO_ANSWER), "{silent}");
        }
        bus.fault(ADDRESS, Some(Fault::Unplugged));
        assert_eq!(bus.write(ADDRESS, &[0xFD]), Err(NO_ANSWER));
        bus.fault(ADDRESS, None);
        assert_eq!(bus.write(ADDRESS, &[0xFD]), Err(NO_ANSWER), "powering up");
        bus.clock().advance(Duration::from_millis(2));
        assert_eq!(ask(&mut bus, 0xFD, 8_300).unwrap(), whole);
    }

    #[test]
    fn a_hanging_chip_never_finishes_and_a_stuck_one_never_changes() {
        let mut bus = bus();
        let whole = ask(&mut bus, 0xFD, 8_300).unwrap();
        bus.fault(ADDRESS, Some(Fault::Stuck));
        bus.set(ADDRESS, Quantity::TEMPERATURE, 30.0);
        assert_eq!(ask(&mut bus, 0xFD, 8_300).unwrap(), whole);
        bus.fault(ADDRESS, Some(Fault::Busy));
        assert_eq!(ask(&mut bus, 0xFD, 60_000_000), Err(NO_ANSWER));
        assert_eq!(bus.write(ADDRESS, &[0x94]), Err(NO_ANSWER));
        bus.fault(ADDRESS, None);
        assert_close(values(ask(&mut bus, 0xFD, 8_300).unwrap()), (30.0, 50.0));
    }
}
