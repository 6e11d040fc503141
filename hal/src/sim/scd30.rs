//! Sensirion SCD30: CO2, temperature and humidity. After its Interface Description, version 1.0 (May 2020); sections are its.
//!
//! A running measurement goes on across the host's restart, and also across a loss of power: it is kept in non-volatile memory
//! with the interval, the pressure, the altitude, the temperature offset, the self-calibration and the recalibration (1.4.1 ff.).
//! Every command is taken at any time. Reading needs a stop before it and 3 ms after the command (1.4.4); a read that nobody
//! asked for is not acknowledged. What is read while no data are ready is not told: here the last measurement comes again, and
//! zeros before the first, so that a host that does not ask whether data are ready is seen to be wrong.
//!
//! From Sensirion's drivers, not from the description: the serial number (0xD033). From Adafruit's: 0x0010 without a word
//! reads the pressure. Where drivers differ: Adafruit's waits 100 ms after a soft reset; the description gives 2 s for booting,
//! and so does this chip.
//!
//! Not modelled: clock stretching (up to 30 ms, once a day 150 ms), what altitude and self-calibration do to CO2 (they are kept
//! and read back), its own heat, and how long a value takes to settle. What is out of its range is ignored.
//!
//! Faults: busy never has data ready; the wrong chip knows none of the commands; it cannot say that it is broken.

use std::time::Duration;

use reading::Quantity;

use super::Fault;
use super::carbon_dioxide;
use super::device::Moment;
use super::humidity;
use super::periodic::Periodic;
use super::sensirion::{Commanded, Executed, float, text};

const QUANTITIES: [Quantity; 3] = [Quantity::CO2, Quantity::TEMPERATURE, Quantity::HUMIDITY];

/// Section 1.1: "The boot-up time is < 2 s".
const BOOT: Duration = Duration::from_secs(2);
/// Sections 1.4.4 and 1.4.5: the read header comes more than 3 ms after the write sequence. The others are taken to be like them.
const READING: Duration = Duration::from_millis(3);
/// Section 1.4.9, the example: 3.66.
const FIRMWARE: u16 = 0x0342;
const SERIAL: &str = "1A5C3E7F90B2";
/// After FRC: what a read of the reference gives after power-on.
const DEFAULT_REFERENCE: u16 = 400;

/// What the non-volatile memory holds.
#[derive(Clone, Copy)]
struct Settings {
    measuring: bool,
    interval_s: u16,
    /// In hPa; 0 while none was set.
    pressure_hpa: u16,
    self_calibration: u16,
    /// In 0.01 Cel.
    temperature_offset: u16,
    altitude_m: u16,
    /// What forced recalibration adds to CO2, in ppm.
    recalibration_ppm: f64,
}

const FACTORY: Settings = Settings {
    measuring: false,
    interval_s: 2,
    pressure_hpa: 0,
    self_calibration: 0,
    temperature_offset: 0,
    altitude_m: 0,
    recalibration_ppm: 0.0,
};

pub(super) struct Scd30 {
    settings: Settings,
    periodic: Option<Periodic>,
    ready: bool,
    /// CO2, temperature, humidity as they are read.
    data: [f64; 3],
    reference: u16,
}

impl Scd30 {
    pub(super) fn new() -> Self {
        Self::with(FACTORY)
    }

    fn with(settings: Settings) -> Self {
        Self { settings, periodic: None, ready: false, data: [0.0; 3], reference: DEFAULT_REFERENCE }
    }

    fn begin(&mut self, start: Duration) {
        self.periodic = Some(Periodic::from(start, Duration::from_secs(self.settings.interval_s.into())));
    }

    /// Section 1.5: IEEE 754 numbers in the quantities' units, within their ranges.
    fn measure(&mut self, at: &Moment<'_>) {
        let [celsius, percent] = [Quantity::TEMPERATURE, Quantity::HUMIDITY].map(|quantity| at.air(quantity));
        let co2 = carbon_dioxide::seen(at, self.settings.pressure_hpa);
        let shown = celsius - f64::from(self.settings.temperature_offset) / 100.0;
        self.data = [
            (co2 + self.settings.recalibration_ppm).clamp(0.0, 10_000.0),
            shown.clamp(-40.0, 125.0),
            humidity::moved(percent, celsius, shown).clamp(0.0, 100.0),
        ];
        self.ready = true;
    }

    fn get(&mut self, code: u16) -> Vec<u16> {
        match code {
            0x0010 => vec![self.settings.pressure_hpa],
            0x4600 => vec![self.settings.interval_s],
            0x0202 => vec![self.ready.into()],
            0x0300 => {
                self.ready = false;
                self.data.iter().flat_map(|value| float(*value)).collect()
            }
            0x5306 => vec![self.settings.self_calibration],
            0x5204 => vec![self.reference],
            0x5403 => vec![self.settings.temperature_offset],
            0x5102 => vec![self.settings.altitude_m],
            0xD100 => vec![FIRMWARE],
            0xD033 => text(SERIAL, 16),
            _ => Vec::new(),
        }
    }

    fn set(&mut self, code: u16, word: u16, at: &Moment<'_>) {
        match (code, word) {
            (0x0010, 0 | 700..=1_400) => {
                self.settings.pressure_hpa = word;
                if !self.settings.measuring {
                    self.settings.measuring = true;
                    self.begin(at.now);
                }
            }
            (0x4600, 2..=1_800) => {
                self.settings.interval_s = word;
                if self.periodic.is_some() {
                    self.begin(at.now);
                }
            }
            (0x5306, 0 | 1) => self.settings.self_calibration = word,
            (0x5204, 400..=2_000) => {
                self.reference = word;
                self.settings.recalibration_ppm =
                    f64::from(word) - carbon_dioxide::seen(at, self.settings.pressure_hpa);
            }
            (0x5403, _) => self.settings.temperature_offset = word,
            (0x5102, _) => self.settings.altitude_m = word,
            _ => {}
        }
    }
}

impl Commanded for Scd30 {
    const REPEATED_START: bool = false;

    fn model(&self) -> &'static str {
        "SCD30"
    }

    fn address(&self) -> u8 {
        0x61
    }

    fn quantities(&self) -> &'static [Quantity] {
        &QUANTITIES
    }

    fn feels(&self) -> &'static [Quantity] {
        &[Quantity::PRESSURE]
    }

    fn startup(&self) -> Duration {
        BOOT
    }

    fn power_on(&mut self) {
        *self = Self::with(self.settings);
    }

    fn start(&mut self, at: &Moment<'_>) -> bool {
        if self.settings.measuring && self.periodic.is_none() {
            let booted = at.now.saturating_sub(at.powered_for()) + BOOT;
            self.begin(booted);
        }
        let due = |periodic: &mut Periodic| periodic.is_due(at.now);
        if !at.has(Fault::Busy) && self.periodic.as_mut().is_some_and(due) {
            self.measure(at);
        }
        true
    }

    fn words(&self, code: u16, at: &Moment<'_>) -> &'static [usize] {
        match code {
            _ if at.has(Fault::WrongId) => &[],
            0x0010 | 0x4600 | 0x5306 | 0x5204 | 0x5403 | 0x5102 => &[0, 1],
            0x0104 | 0x0202 | 0x0300 | 0xD100 | 0xD033 | 0xD304 => &[0],
            _ => &[],
        }
    }

    fn execute(&mut self, code: u16, words: &[u16], at: &Moment<'_>) -> Executed {
        match (code, words) {
            (0x0104, _) => {
                self.settings.measuring = false;
                self.periodic = None;
                self.ready = false;
            }
            // Section 1.4.10: "the same state as after powering up".
            (0xD304, _) => {
                *self = Self::with(self.settings);
                if self.settings.measuring {
                    self.begin(at.now + BOOT);
                }
                return Executed::within(BOOT);
            }
            (_, [word]) => self.set(code, *word, at),
            _ => return Executed::within(READING).answering(&self.get(code)),
        }
        Executed::within(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sensirion::tests::Host;
    use super::super::{Direction, chip};
    use super::*;

    /// A host with a chip that is up, in the air of section 1.4.5: 439 ppm, 27.2 Cel, 48.8 %RH.
    fn host() -> Host {
        let host = Host::with(chip("SCD30").unwrap());
        let example =
            [(Quantity::CO2, 0x43DB_8C2E), (Quantity::TEMPERATURE, 0x41D9_E7FF), (Quantity::HUMIDITY, 0x4243_3A1B)];
        for (quantity, bits) in example {
            host.set(quantity, f64::from(f32::from_bits(bits)));
        }
        host.wait_ms(2_000);
        host
    }

    fn ready(host: &mut Host) -> bool {
        host.ask(0x0202, &[], 3, 1).unwrap() == [1]
    }

    fn measured(host: &mut Host) -> [f32; 3] {
        let words = host.ask(0x0300, &[], 3, 6).unwrap();
        let value = |at: usize| f32::from_bits(u32::from(words[at]) << 16 | u32::from(words[at + 1]));
        [value(0), value(2), value(4)]
    }

    #[test]
    fn the_example_of_the_description_is_sent_byte_for_byte() {
        let mut host = host();
        host.write(&[0x00, 0x10, 0x00, 0x00, 0x81]).unwrap();
        host.wait_ms(2_000);
        host.write(&[0x02, 0x02]).unwrap();
        host.wait_ms(3);
        assert_eq!(host.read(3).unwrap(), [0x00, 0x01, 0xB0]);
        host.write(&[0x03, 0x00]).unwrap();
        host.wait_ms(3);
        let example = [
            0x43, 0xDB, 0xCB, 0x8C, 0x2E, 0x8F, 0x41, 0xD9, 0x70, 0xE7, 0xFF, 0xF5, 0x42, 0x43, 0xBF, 0x3A, 0x1B, 0x74,
        ];
        assert_eq!(host.read(18).unwrap(), example);
        assert!(!ready(&mut host), "read once");
    }

    #[test]
    fn the_other_examples_come_out_too() {
        let mut host = host();
        for (set, get) in [
            ([0x46, 0x00, 0x00, 0x02, 0xE3], [0x00, 0x02, 0xE3]),
            ([0x53, 0x06, 0x00, 0x00, 0x81], [0x00, 0x00, 0x81]),
            ([0x52, 0x04, 0x01, 0xC2, 0x50], [0x01, 0xC2, 0x50]),
            ([0x54, 0x03, 0x01, 0xF4, 0x33], [0x01, 0xF4, 0x33]),
            ([0x51, 0x02, 0x03, 0xE8, 0xD4], [0x03, 0xE8, 0xD4]),
        ] {
            host.write(&set).unwrap();
            host.write(&set[..2]).unwrap();
            host.wait_ms(3);
            assert_eq!(host.read(3).unwrap(), get);
        }
        host.write(&[0xD1, 0x00]).unwrap();
        host.wait_ms(3);
        assert_eq!(host.read(3).unwrap(), [0x03, 0x42, 0xF3]);
    }

    #[test]
    fn a_read_needs_a_stop_before_it_and_three_milliseconds() {
        let mut host = host();
        let mut alone = chip("SCD30").unwrap();
        let (asked, later) = (Duration::from_secs(2), Duration::from_secs(3));
        assert!(alone.start(Direction::Write, asked) && alone.write(0xD1, asked) && alone.write(0x00, asked));
        assert!(!alone.start(Direction::Read, later), "a repeated start, however late");
        alone.stop(later);
        assert!(alone.start(Direction::Read, later));
        assert_eq!(host.ask(0xD100, &[], 2, 1), Err(host.no_answer()), "too soon");
        host.wait_ms(3);
        assert_eq!(host.ask(0xD100, &[], 3, 1).unwrap(), [FIRMWARE]);
        assert_eq!(host.receive(1), Err(host.no_answer()), "nothing was asked");
    }

    #[test]
    fn an_unready_chip_gives_zeros_at_first_and_then_its_last_measurement() {
        let mut host = host();
        assert_eq!(measured(&mut host), [0.0; 3]);
        host.send(0x0010, &[0]).unwrap();
        host.wait_ms(1_950);
        assert!(!ready(&mut host));
        host.wait_ms(100);
        let first = measured(&mut host);
        host.set(Quantity::CO2, 1_200.0);
        assert!(!ready(&mut host));
        assert_eq!(measured(&mut host), first);
        host.wait_ms(2_000);
        assert!(ready(&mut host));
        assert_eq!(measured(&mut host)[0], 1_200.0);
    }

    #[test]
    fn a_measurement_outlives_the_host_and_the_power() {
        let mut host = host();
        host.send(0x4600, &[5]).unwrap();
        host.send(0x0010, &[987]).unwrap();
        host.fault(Some(Fault::PowerLoss));
        assert_eq!(host.send(0x0202, &[]), Err(host.no_answer()), "booting");
        host.wait_ms(2_000);
        assert!(!ready(&mut host));
        host.wait_ms(5_000);
        assert!(ready(&mut host));
        assert_eq!(host.ask(0x0010, &[], 3, 1).unwrap(), [987]);
        host.send(0xD304, &[]).unwrap();
        host.wait_ms(1_900);
        assert_eq!(host.send(0x0202, &[]), Err(host.no_answer()), "booting");
        host.wait_ms(5_200);
        assert!(ready(&mut host));
        host.send(0x0104, &[]).unwrap();
        host.wait_ms(10_000);
        assert!(!ready(&mut host));
    }

    #[test]
    fn thin_air_has_less_co2_for_a_chip_that_was_not_told() {
        let mut host = host();
        host.set(Quantity::CO2, 800.0);
        host.set(Quantity::PRESSURE, 91_192.5);
        for (told_hpa, expected) in [(0, 720.0), (912, 799.94), (1_013, 720.18), (2_000, 720.18)] {
            host.send(0x0010, &[told_hpa]).unwrap();
            host.wait_ms(4_000);
            let [co2, ..] = measured(&mut host);
            assert!((co2 - expected).abs() < 0.01, "told {told_hpa} hPa: {co2}");
        }
    }

    #[test]
    fn an_offset_is_taken_off_and_the_humidity_follows() {
        let mut host = host();
        host.set(Quantity::TEMPERATURE, 25.0);
        host.set(Quantity::HUMIDITY, 34.53);
        host.send(0x5403, &[400]).unwrap();
        host.send(0x0010, &[0]).unwrap();
        host.wait_ms(2_000);
        let [_, celsius, percent] = measured(&mut host);
        // A dew point of 8.3 Cel, which at 21 Cel is 44 %RH.
        assert!((celsius - 21.0).abs() < 0.001 && (percent - 44.0).abs() < 0.05, "{celsius} {percent}");
    }

    #[test]
    fn what_is_out_of_range_is_ignored_and_values_are_clamped() {
        let mut host = host();
        for (code, wrong, kept) in [(0x4600, 1, 2), (0x4600, 1_801, 2), (0x0010, 699, 0), (0x5204, 399, 400)] {
            host.send(code, &[wrong]).unwrap();
            assert_eq!(host.ask(code, &[], 3, 1).unwrap(), [kept], "{code:#x}");
        }
        host.set(Quantity::CO2, 1e6);
        host.set(Quantity::TEMPERATURE, -400.0);
        host.set(Quantity::HUMIDITY, 300.0);
        host.send(0x0010, &[0]).unwrap();
        host.wait_ms(2_000);
        assert_eq!(measured(&mut host), [10_000.0, -40.0, 100.0]);
        host.send(0x5204, &[2_000]).unwrap();
        host.set(Quantity::CO2, 1e6 - 1_500.0);
        host.wait_ms(2_000);
        assert_eq!(measured(&mut host)[0], 500.0, "recalibrated to 2000 ppm where there were a million");
    }

    #[test]
    fn faults_show_as_the_chip_would_show_them() {
        let mut host = host();
        host.send(0x0010, &[0]).unwrap();
        host.fault(Some(Fault::Busy));
        host.wait_ms(60_000);
        assert!(!ready(&mut host));
        host.fault(Some(Fault::WrongId));
        assert_eq!(host.send(0x0202, &[]), Err(host.refused()));
        host.fault(None);
        assert!(ready(&mut host));
    }
}
