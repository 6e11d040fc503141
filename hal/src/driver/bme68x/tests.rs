use embedded_hal_mock::eh1::delay::NoopDelay;

use super::super::bosch::fake::{Fake, Map};
use super::*;

const ADDRESS: u8 = 0x77;

/// The first calibration and the first codes of the tests of the compensation, as they lie in the chip.
fn fake(part: Part) -> Fake {
    let mut bytes = [0; 256];
    bytes[0xd0] = 0x61;
    bytes[0xf0] = part.variant();
    let words = |bytes: &mut [u8; 256], at: usize, word: u16| bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
    // Section 5.3, tables of the calibration: temperature, pressure, humidity, heater.
    words(&mut bytes, 0xe9, 26125);
    words(&mut bytes, 0x8a, 26369);
    bytes[0x8c] = 3;
    words(&mut bytes, 0x8e, 36165);
    words(&mut bytes, 0x90, -10337_i16 as u16);
    bytes[0x92] = 88;
    words(&mut bytes, 0x94, 7223);
    words(&mut bytes, 0x96, -127_i16 as u16);
    bytes[0x99] = 30;
    bytes[0x98] = 42;
    words(&mut bytes, 0x9c, -2954_i16 as u16);
    words(&mut bytes, 0x9e, -2495_i16 as u16);
    bytes[0xa0] = 30;
    (bytes[0xe1], bytes[0xe2], bytes[0xe3]) =
        ((1015 >> 4) as u8, ((1015 & 0xf) << 4 | (783 & 0xf)) as u8, (783 >> 4) as u8);
    (bytes[0xe4], bytes[0xe5], bytes[0xe6], bytes[0xe7], bytes[0xe8]) = (0, 45, 20, 120, -100_i8 as u8);
    (bytes[0xed], bytes[0xee]) = (-30_i8 as u8, 18);
    words(&mut bytes, 0xeb, -5969_i16 as u16);
    (bytes[0x00], bytes[0x02], bytes[0x04]) = (50, 0x10, 0xf0);
    bytes[0x1f..0x22].copy_from_slice(&(320_000_u32 << 4).to_be_bytes()[1..]);
    bytes[0x22..0x25].copy_from_slice(&(489_000_u32 << 4).to_be_bytes()[1..]);
    bytes[0x25..0x27].copy_from_slice(&22_000_u16.to_be_bytes());
    // Code 700 in range 9, valid and hot, where the chip has its gas; what is in the other place must not matter.
    let (gas, other) = match part {
        Part::Bme680 => (0x2a, 0x2c),
        Part::Bme688 => (0x2c, 0x2a),
    };
    (bytes[gas], bytes[gas + 1]) = ((700 >> 2) as u8, 0b0011_0000 | 9);
    (bytes[other], bytes[other + 1]) = (0x12, 0);
    let map = Map {
        address: ADDRESS,
        configuration: 0x5a..=0x75,
        ctrl_meas: CTRL_MEAS,
        status: (MEAS_STATUS, MEASURING, NEW_DATA),
    };
    Fake::new(map, bytes)
}

fn driver_of(chip: &Fake, part: Part) -> Bme68x<Fake, NoopDelay> {
    Bme68x::new(chip.clone(), NoopDelay::new(), ADDRESS, part)
}

fn started(chip: &Fake) -> Bme68x<Fake, NoopDelay> {
    let mut driver = driver_of(chip, Part::Bme680);
    assert_eq!(driver.start(Duration::ZERO), Ok(None));
    driver
}

fn sample(driver: &mut Bme68x<Fake, NoopDelay>) -> Result<Vec<Measured>, Failure> {
    driver.sample(Duration::ZERO, &Surroundings::default())
}

fn reason(outcome: Result<Vec<Measured>, Failure>) -> Reason {
    outcome.expect_err("there should be no value").reason
}

#[test]
fn a_measurement_of_either_chip() {
    for (part, ohm) in [(Part::Bme680, 13_696.24), (Part::Bme688, 109_871.24)] {
        let chip = fake(part);
        let mut driver = driver_of(&chip, part);
        driver.start(Duration::ZERO).unwrap();
        let readings = sample(&mut driver).unwrap();
        let quantities: Vec<_> = readings.iter().map(|measured| measured.quantity).collect();
        assert_eq!(quantities, crate::Model::Bme680.quantities());
        for (measured, expected) in readings.iter().zip([22.321_102, 48.926_136, 105_418.6, ohm]) {
            assert!((measured.value / expected - 1.0).abs() < 1e-5, "{measured:?}, expected {expected}");
            assert_eq!(measured.flag, Flag::GOOD);
        }
    }
}

#[test]
fn the_heater_is_set_as_bosch_sets_it_and_follows_the_air() {
    let chip = fake(Part::Bme680);
    let mut driver = started(&chip);
    sample(&mut driver).unwrap();
    assert_eq!(chip.file().bytes[usize::from(GAS_WAIT)], 101, "what Bosch's code makes of 150 ms");
    assert_eq!(chip.file().bytes[usize::from(RES_HEAT)], 116, "320 Cel in air of 25 Cel");
    // 38 Cel: the next measurement is set for it.
    chip.file().bytes[0x22..0x25].copy_from_slice(&(540_000_u32 << 4).to_be_bytes()[1..]);
    sample(&mut driver).unwrap();
    sample(&mut driver).unwrap();
    assert_eq!(chip.file().bytes[usize::from(RES_HEAT)], 117);
}

#[test]
fn a_plate_that_does_not_get_hot_spoils_only_the_gas() {
    let chip = fake(Part::Bme680);
    let mut driver = started(&chip);
    let gas = |driver: &mut _| {
        let readings = sample(driver).unwrap();
        assert!(readings[..3].iter().all(|measured| measured.flag == Flag::GOOD));
        (readings[3].flag, readings[3].reason)
    };
    chip.file().bytes[0x2b] &= !HEAT_STABLE;
    for _ in 0..COLD_TRIES {
        assert_eq!(gas(&mut driver), (Flag::SUSPECT, Reason::WARMING_UP));
    }
    assert_eq!(gas(&mut driver), (Flag::FAIL, Reason::SENSOR_FAULT));
    chip.file().bytes[0x2b] |= HEAT_STABLE;
    assert_eq!(gas(&mut driver).0, Flag::GOOD);
    chip.file().bytes[0x2b] &= !GAS_VALID;
    assert_eq!(gas(&mut driver), (Flag::FAIL, Reason::NOT_READY));
}

#[test]
fn other_chips_are_refused_and_named() {
    for (id, variant, word) in [(0x58, 0, "BMP280"), (0x60, 0, "BME280"), (0x61, 1, "BME688"), (0x61, 7, "variant")] {
        let chip = fake(Part::Bme680);
        (chip.file().bytes[0xd0], chip.file().bytes[0xf0]) = (id, variant);
        let failure = driver_of(&chip, Part::Bme680).start(Duration::ZERO).unwrap_err();
        assert_eq!(failure.reason, Reason::WRONG_CHIP);
        assert!(failure.detail.contains(word), "{}", failure.detail);
    }
    let chip = fake(Part::Bme680);
    assert_eq!(driver_of(&chip, Part::Bme688).identify().unwrap_err().detail, "a BME680 is here");
    chip.file().absent = true;
    assert_eq!(driver_of(&chip, Part::Bme680).start(Duration::ZERO).unwrap_err().reason, Reason::NO_ANSWER);
}

#[test]
fn a_reset_in_use_and_what_it_leaves_are_no_measurement() {
    let chip = fake(Part::Bme680);
    let mut driver = started(&chip);
    chip.file().resets = true;
    assert_eq!(reason(sample(&mut driver)), Reason::RESET_PATTERN);
    assert!(!driver.is_running());
    chip.file().resets = false;
    driver.start(Duration::ZERO).unwrap();
    chip.file().bytes[0x1f..0x27].copy_from_slice(&[0x80, 0, 0, 0x80, 0, 0, 0x80, 0]);
    assert_eq!(reason(sample(&mut driver)), Reason::RESET_PATTERN);
}

#[test]
fn a_conversion_that_does_not_end_is_no_measurement() {
    let chip = fake(Part::Bme680);
    let mut driver = started(&chip);
    chip.file().busy = true;
    assert_eq!(reason(sample(&mut driver)), Reason::NOT_READY);
    assert!(!driver.is_running());
    let longest = STARTUP_MS + MEASURE_MS + (EXTRA_LOOKS + 1) * LOOK_MS;
    assert!(Duration::from_millis(longest.into()) <= BME680_DATASHEET.own_waits);
}

#[test]
fn what_reads_differently_twice_is_refused() {
    let torn = fake(Part::Bme680);
    let mut driver1 = started(&torn);
    torn.file().instead.insert(DATA, [vec![0x70; 15]].into());
    assert_eq!(reason(sample(&mut driver1)), Reason::CHECKSUM);
    for (register, length) in [(CALIBRATION_A, 23), (CALIBRATION_B, 14), (CALIBRATION_C, 5)] {
        let chip = fake(Part::Bme680);
        chip.file().instead.insert(register, [vec![0x70; length]].into());
        assert_eq!(driver_of(&chip, Part::Bme680).start(Duration::ZERO).unwrap_err().reason, Reason::CHECKSUM);
    }
}
