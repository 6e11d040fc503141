use std::cell::Cell;
use std::rc::Rc;

use embedded_hal_mock::eh1::delay::NoopDelay;
use reading::Flag;

use super::super::bosch::fake::{Fake, Map};
use super::*;

const ADDRESS: u8 = 0x76;

/// The example in Bosch's data sheets (BST-BMP280-DS001, section 3.12), with a humidity calibration as chips have it.
struct Calibrated {
    t: (u16, i16, i16),
    p: (u16, [i16; 8]),
    h: (u8, i16, u8, i16, i16, i8),
}

const EXAMPLE: Calibrated = Calibrated {
    t: (27504, 26435, -1000),
    p: (36477, [-10685, 3024, 2855, 140, -7, 15500, -14600, 6000]),
    h: (75, 362, 0, 313, 50, 30),
};

impl Calibrated {
    /// Section 4.2.2, table 16.
    fn store(&self, bytes: &mut [u8; 256]) {
        let (t1, t2, t3) = self.t;
        let (p1, p2_9) = self.p;
        let (h1, h2, h3, h4, h5, h6) = self.h;
        let words = [t1, t2 as u16, t3 as u16, p1].into_iter().chain(p2_9.map(|p| p as u16));
        for (at, word) in words.enumerate() {
            bytes[0x88 + 2 * at..][..2].copy_from_slice(&word.to_le_bytes());
        }
        bytes[0xa1] = h1;
        bytes[0xe1..0xe3].copy_from_slice(&h2.to_le_bytes());
        bytes[0xe3] = h3;
        bytes[0xe4] = (h4 >> 4) as u8;
        bytes[0xe5] = (h4 & 0xf) as u8 | ((h5 & 0xf) << 4) as u8;
        bytes[0xe6] = (h5 >> 4) as u8;
        bytes[0xe7] = h6 as u8;
    }

    /// The fixed-point code of section 4.2.3, in i64 so that nothing overflows where the datasheet says it does not.
    fn compensate(&self, adc_t: i64, adc_p: i64, adc_h: i64) -> (f64, f64, f64) {
        let (t1, t2, t3) = (i64::from(self.t.0), i64::from(self.t.1), i64::from(self.t.2));
        let var1 = (((adc_t >> 3) - (t1 << 1)) * t2) >> 11;
        let var2 = (((((adc_t >> 4) - t1) * ((adc_t >> 4) - t1)) >> 12) * t3) >> 14;
        let t_fine = var1 + var2;
        let celsius = ((t_fine * 5 + 128) >> 8) as f64 / 100.0;

        let p1 = i64::from(self.p.0);
        let [p2, p3, p4, p5, p6, p7, p8, p9] = self.p.1.map(i64::from);
        let var1 = t_fine - 128_000;
        let var2 = var1 * var1 * p6 + ((var1 * p5) << 17) + (p4 << 35);
        let var1 = ((var1 * var1 * p3) >> 8) + ((var1 * p2) << 12);
        let var1 = (((1i64 << 47) + var1) * p1) >> 33;
        let p = ((((1_048_576 - adc_p) << 31) - var2) * 3125) / var1;
        let var1 = (p9 * (p >> 13) * (p >> 13)) >> 25;
        let var2 = (p8 * p) >> 19;
        let pascal = (((p + var1 + var2) >> 8) + (p7 << 4)) as f64 / 256.0;

        let (h1, h2, h3) = (i64::from(self.h.0), i64::from(self.h.1), i64::from(self.h.2));
        let (h4, h5, h6) = (i64::from(self.h.3), i64::from(self.h.4), i64::from(self.h.5));
        let v = t_fine - 76_800;
        let gain = (((((v * h6) >> 10) * (((v * h3) >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8192;
        let v = (((adc_h << 14) - (h4 << 20) - (h5 * v) + 16_384) >> 15) * (gain >> 14);
        let v = v - (((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4);
        let percent = (v.clamp(0, 419_430_400) >> 12) as f64 / 1024.0;
        (celsius, pascal, percent)
    }
}

fn fake(calibration: &Calibrated, adc_t: u32, adc_p: u32, adc_h: u16) -> Fake {
    let mut bytes = [0; 256];
    bytes[0xd0] = 0x60;
    calibration.store(&mut bytes);
    bytes[0xf7..0xfa].copy_from_slice(&(adc_p << 4).to_be_bytes()[1..]);
    bytes[0xfa..0xfd].copy_from_slice(&(adc_t << 4).to_be_bytes()[1..]);
    bytes[0xfd..0xff].copy_from_slice(&adc_h.to_be_bytes());
    let map = Map { address: ADDRESS, configuration: 0xf2..=0xf5, ctrl_meas: CTRL_MEAS, status: (STATUS, 0b1000, 0) };
    Fake::new(map, bytes)
}

fn driver_of(chip: &Fake) -> Bme280<Fake, NoopDelay> {
    Bme280::new(chip.clone(), NoopDelay::new(), ADDRESS, Part::Bme280)
}

fn started(chip: &Fake) -> Bme280<Fake, NoopDelay> {
    let mut driver = driver_of(chip);
    assert_eq!(driver.start(Duration::ZERO), Ok(None));
    driver
}

fn sample(driver: &mut Bme280<Fake, NoopDelay>) -> Result<Vec<Measured>, Failure> {
    driver.sample(Duration::ZERO, &Surroundings::default())
}

/// A sample of the example's codes.
fn example() -> Fake {
    fake(&EXAMPLE, 519_888, 415_148, 27_000)
}

fn reason(outcome: Result<Vec<Measured>, Failure>) -> Reason {
    outcome.expect_err("there should be no value").reason
}

#[test]
fn the_example_of_the_data_sheet() {
    let readings = sample(&mut started(&example())).unwrap();
    assert!((readings[0].value - 25.08).abs() < 0.005, "{readings:?}");
    assert!((readings[2].value - 100_653.27).abs() < 1.0, "{readings:?}");
    assert!(readings.iter().all(|measured| measured.flag == Flag::GOOD));
    let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
    assert_eq!(quantities, crate::Model::Bme280.quantities());
}

#[test]
fn floating_point_computes_as_fixed_point_does() {
    let negative = Calibrated { h: (75, 360, 20, -300, -20, -30), ..EXAMPLE };
    for calibration in [EXAMPLE, negative] {
        for adc_t in (350_000..650_000).step_by(23_456) {
            for adc_p in (250_000..600_000).step_by(34_567) {
                let adc_h = 20_000 + (adc_p / 30) as u16;
                let (celsius, pascal, percent) = calibration.compensate(adc_t.into(), adc_p.into(), adc_h.into());
                let readings = started(&fake(&calibration, adc_t, adc_p, adc_h))
                    .sample(Duration::ZERO, &Surroundings::default())
                    .unwrap();
                for (measured, expected, tolerance) in
                    [(readings[0], celsius, 0.02), (readings[1], percent, 0.05), (readings[2], pascal, 5.0)]
                {
                    // A failed value is one that was clamped.
                    let close = (f64::from(measured.value) - expected).abs() < tolerance;
                    assert!(close || measured.flag == Flag::FAIL, "{measured:?}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn another_chip_is_refused_and_named() {
    for (id, word) in [(0x58, "BMP280"), (0x61, "BME680"), (0x42, "0x42")] {
        let chip = example();
        chip.file().bytes[0xd0] = id;
        let failure = driver_of(&chip).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        assert!(failure.detail.contains(word), "{}", failure.detail);
        assert_eq!(chip.file().transfers, 1, "nothing is written to a chip that is not known");
    }
}

#[test]
fn an_absent_chip_costs_one_transfer() {
    let chip = example();
    chip.file().absent = true;
    let failure = driver_of(&chip).start(Duration::ZERO).unwrap_err();
    assert_eq!(failure.reason, Reason::NO_ANSWER);
    assert_eq!(chip.file().transfers, 1);
}

#[test]
fn reset_contents_are_no_measurement() {
    let chip = fake(&EXAMPLE, 0x80000, 0x80000, 0x8000);
    assert_eq!(reason(sample(&mut started(&chip))), Reason::RESET_PATTERN);
    // One value alone may have that code.
    let chip = fake(&EXAMPLE, 0x80000, 415_148, 27_000);
    assert!(sample(&mut started(&chip)).is_ok());
}

#[test]
fn a_chip_that_was_reset_in_between_is_started_again() {
    let chip = example();
    let mut driver = started(&chip);
    chip.file().resets = true;
    assert_eq!(reason(sample(&mut driver)), Reason::RESET_PATTERN);
    assert!(!driver.is_running());
    chip.file().resets = false;
    driver.start(Duration::ZERO).unwrap();
    assert!(sample(&mut driver).is_ok());
}

#[test]
fn a_conversion_that_does_not_end_is_no_measurement() {
    let chip = example();
    let mut driver = started(&chip);
    chip.file().busy = true;
    assert_eq!(reason(sample(&mut driver)), Reason::NOT_READY);
    assert!(!driver.is_running());
}

#[test]
fn what_reads_differently_twice_is_refused() {
    let chip = example();
    let mut driver = started(&chip);
    let torn = vec![0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x69, 0x79];
    chip.file().instead.insert(DATA, [torn].into());
    assert_eq!(reason(sample(&mut driver)), Reason::CHECKSUM);

    // Torn alike both times.
    let chip = example();
    let mut driver = started(&chip);
    chip.file().bytes[0xf9..0xff].fill(0xff);
    assert_eq!(reason(sample(&mut driver)), Reason::CHECKSUM);

    for (register, length) in [(CALIBRATION_A, 26), (CALIBRATION_B, 7)] {
        let chip = example();
        chip.file().instead.insert(register, [vec![0x70; length]].into());
        let failure = driver_of(&chip).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::CHECKSUM);
    }
}

#[test]
fn a_value_on_a_clamp_fails_and_a_temperature_takes_the_others_with_it() {
    let readings = sample(&mut started(&fake(&EXAMPLE, 519_888, 415_148, 0xffff))).unwrap();
    let flags: Vec<_> = readings.iter().map(|measured| measured.flag).collect();
    assert_eq!(flags, [Flag::GOOD, Flag::FAIL, Flag::GOOD]);
    let readings = sample(&mut started(&fake(&EXAMPLE, 0xfffff, 415_148, 27_000))).unwrap();
    assert!(readings.iter().all(|measured| measured.reason == Reason::OUT_OF_RANGE), "{readings:?}");
}

#[test]
fn a_bmp280_is_the_same_without_humidity() {
    let chip = example();
    chip.file().bytes[0xd0] = 0x58;
    let mut driver = Bme280::new(chip.clone(), NoopDelay::new(), ADDRESS, Part::Bmp280);
    driver.start(Duration::ZERO).unwrap();
    let readings = sample(&mut driver).unwrap();
    let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
    assert_eq!(quantities, crate::Model::Bmp280.quantities());
    assert!((readings[0].value - 25.08).abs() < 0.005 && (readings[1].value - 100_653.27).abs() < 1.0, "{readings:?}");
    assert_eq!(chip.file().bytes[usize::from(CTRL_HUM)], 0, "it has no such register");
    chip.file().bytes[0xf7..0xfd].copy_from_slice(&[0x80, 0, 0, 0x80, 0, 0]);
    assert_eq!(reason(sample(&mut driver)), Reason::RESET_PATTERN);
}

#[test]
fn a_calibration_that_no_factory_wrote_is_no_calibration() {
    for blank in [0, 0xff] {
        let chip = example();
        chip.file().bytes[0x88..0xa2].fill(blank);
        assert_eq!(driver_of(&chip).start(Duration::ZERO).unwrap_err().reason, Reason::SENSOR_FAULT);
    }
}

#[test]
fn a_stuck_chip_is_waited_for_no_longer_than_promised() {
    #[derive(Clone, Default)]
    struct Stopwatch(Rc<Cell<u64>>);
    impl DelayNs for Stopwatch {
        fn delay_ns(&mut self, ns: u32) {
            self.0.set(self.0.get() + u64::from(ns));
        }
    }
    let waited = Stopwatch::default();
    let chip = example();
    let mut driver = Bme280::new(chip.clone(), waited.clone(), ADDRESS, Part::Bme280);
    chip.file().busy = true;
    driver.start(Duration::ZERO).unwrap();
    assert!(driver.sample(Duration::ZERO, &Surroundings::default()).is_err());
    assert!(Duration::from_nanos(waited.0.get()) <= DATASHEET.own_waits);
}
