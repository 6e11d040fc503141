#![allow(clippy::unusual_byte_groupings, reason = "the groups are the fields of the registers")]

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::{Clock, SimBus, SimError, chip};
use super::*;

const ADDRESS: u8 = 0x76;
const NO_ANSWER: SimError = SimError::Address(ADDRESS);

/// Oversampling x1 of all three: at most 9.3 ms (section 9.1).
const FORCED_X1: u8 = 0b001_001_01;
const RESET_DATA: [u8; 8] = [0x80, 0x00, 0x00, 0x80, 0x00, 0x00, 0x80, 0x00];

/// A bus on which the chip has long been up, in air of 21.5 Cel, 45 %RH, 99800 Pa.
fn bus() -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip("BME280").unwrap());
    for (quantity, value) in [(Quantity::TEMPERATURE, 21.5), (Quantity::HUMIDITY, 45.0), (Quantity::PRESSURE, 99_800.0)]
    {
        assert!(bus.set(ADDRESS, quantity, value));
    }
    wait_us(&bus, 2_000);
    bus
}

fn wait_us(bus: &SimBus, time: u32) {
    bus.clock().delay().delay_us(time);
}

fn registers<const N: usize>(bus: &mut SimBus, first: u8) -> [u8; N] {
    let mut values = [0; N];
    bus.write_read(ADDRESS, &[first], &mut values).unwrap();
    values
}

fn register(bus: &mut SimBus, address: u8) -> u8 {
    let [value] = registers(bus, address);
    value
}

fn data(bus: &mut SimBus) -> [u8; 8] {
    registers(bus, DATA)
}

fn measuring(bus: &mut SimBus) -> bool {
    register(bus, STATUS) & 0b1000 != 0
}

/// The integer arithmetic of section 4.2.3, on the calibration as it is read from the chip: Cel, %RH, Pa.
fn compensated(bus: &mut SimBus, data: [u8; 8]) -> (f64, f64, f64) {
    let block: [u8; 26] = registers(bus, 0x88);
    let humid: [u8; 7] = registers(bus, 0xE1);
    let unsigned = |at: usize| i64::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let signed = |at: usize| i64::from(i16::from_le_bytes([block[at], block[at + 1]]));
    let code = |at: usize| i64::from(data[at]) << 12 | i64::from(data[at + 1]) << 4 | i64::from(data[at + 2]) >> 4;
    let (adc_p, adc_t, adc_h) = (code(0), code(3), i64::from(data[6]) << 8 | i64::from(data[7]));

    let linear = (((adc_t >> 3) - (unsigned(0) << 1)) * signed(2)) >> 11;
    let away = (adc_t >> 4) - unsigned(0);
    let t_fine = linear + ((((away * away) >> 12) * signed(4)) >> 14);

    let mut var1 = t_fine - 128_000;
    let mut var2 = var1 * var1 * signed(16) + ((var1 * signed(14)) << 17) + (signed(12) << 35);
    var1 = ((var1 * var1 * signed(10)) >> 8) + ((var1 * signed(8)) << 12);
    var1 = (((1 << 47) + var1) * unsigned(6)) >> 33;
    let mut p = ((((1_048_576 - adc_p) << 31) - var2) * 3_125) / var1;
    var1 = (signed(22) * (p >> 13) * (p >> 13)) >> 25;
    var2 = (signed(20) * p) >> 19;
    p = ((p + var1 + var2) >> 8) + (signed(18) << 4);

    let (h1, h2) = (i64::from(block[25]), i64::from(i16::from_le_bytes([humid[0], humid[1]])));
    let (h3, h6) = (i64::from(humid[2]), i64::from(humid[6].cast_signed()));
    let h4 = i64::from(humid[3].cast_signed()) << 4 | i64::from(humid[4] & 0x0F);
    let h5 = i64::from(humid[5].cast_signed()) << 4 | i64::from(humid[4] >> 4);
    let warm = t_fine - 76_800;
    let zeroed = ((adc_h << 14) - (h4 << 20) - h5 * warm + 16_384) >> 15;
    let bent = (((((warm * h6) >> 10) * (((warm * h3) >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8_192;
    let mut h = zeroed * (bent >> 14);
    h -= ((((h >> 15) * (h >> 15)) >> 7) * h1) >> 4;
    let h = h.clamp(0, 419_430_400) >> 12;

    (((t_fine * 5 + 128) >> 8) as f64 / 100.0, h as f64 / 1_024.0, p as f64 / 256.0)
}

fn assert_air((celsius, percent, pascal): (f64, f64, f64), expected: (f64, f64, f64)) {
    let close = (celsius - expected.0).abs() <= 0.011
        && (percent - expected.1).abs() <= 0.05
        && (pascal - expected.2).abs() <= 2.0;
    assert!(close, "{celsius} Cel {percent} %RH {pascal} Pa is not {expected:?}");
}

/// Configures and measures once, in forced mode at x1.
fn measure(bus: &mut SimBus) -> (f64, f64, f64) {
    bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, FORCED_X1]).unwrap();
    wait_us(bus, 9_300);
    let data = data(bus);
    compensated(bus, data)
}

#[test]
fn registers_hold_their_reset_contents_after_power_on() {
    let mut bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip("BME280").unwrap());
    assert_eq!(bus.write(ADDRESS, &[ID]), Err(NO_ANSWER), "starting up");
    wait_us(&bus, 2_000);
    assert_eq!(register(&mut bus, ID), 0x60);
    assert_eq!(registers(&mut bus, RESET), [0x00]);
    assert_eq!(registers(&mut bus, CTRL_HUM), [0x00; 4], "ctrl_hum, status, ctrl_meas, config");
    assert_eq!(data(&mut bus), RESET_DATA);
    let calibration: [u8; 6] = registers(&mut bus, 0x88);
    assert_eq!(calibration, [0x70, 0x6B, 0x43, 0x67, 0x18, 0xFC]);
    assert_eq!(bus.write(0x77, &[ID]), Err(SimError::Address(0x77)), "nobody there");
}

#[test]
fn a_forced_measurement_takes_its_time_and_goes_back_to_sleep() {
    let mut bus = bus();
    bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, FORCED_X1]).unwrap();
    assert!(measuring(&mut bus));
    assert_eq!(register(&mut bus, CTRL_MEAS), FORCED_X1);
    wait_us(&bus, 7_500);
    assert!(measuring(&mut bus));
    assert_eq!(data(&mut bus), RESET_DATA, "too early");
    wait_us(&bus, 1_000);
    assert!(!measuring(&mut bus));
    assert_eq!(register(&mut bus, CTRL_MEAS), FORCED_X1 & !0b11);
    let first = data(&mut bus);
    assert_air(compensated(&mut bus, first), (21.5, 45.0, 99_800.0));
    bus.set(ADDRESS, Quantity::TEMPERATURE, 30.0);
    wait_us(&bus, 10_000_000);
    assert_eq!(data(&mut bus), first, "asleep");
    bus.write(ADDRESS, &[CTRL_MEAS, FORCED_X1]).unwrap();
    assert_eq!(data(&mut bus), first, "the previous sample while it measures");
}

#[test]
fn the_measurement_time_follows_the_oversampling() {
    // Section 9.1, in microseconds: all at x1, all at x16, only temperature at x2, x2/x16/x1.
    for (humidity, meas, longest_us) in
        [(1, 0b001_001_01, 9_300), (5, 0b101_101_01, 112_800), (0, 0b010_000_01, 5_850), (1, 0b010_101_01, 46_100)]
    {
        let mut bus = bus();
        bus.write(ADDRESS, &[CTRL_HUM, humidity, CTRL_MEAS, meas]).unwrap();
        let start = bus.clock().now();
        while measuring(&mut bus) {
            wait_us(&bus, 10);
        }
        let took = (bus.clock().now() - start).as_micros() as i64;
        assert!((took - longest_us).abs() < 500, "{took} us is not {longest_us}");
    }
}

#[test]
fn the_air_comes_out_again_over_the_whole_range() {
    let mut bus = bus();
    for (celsius, percent, pascal) in [
        (-40.0, 10.0, 30_000.0),
        (-5.5, 85.0, 101_325.0),
        (0.0, 0.0, 95_000.0),
        (24.99, 50.0, 100_000.0),
        (85.0, 100.0, 110_000.0),
    ] {
        bus.set(ADDRESS, Quantity::TEMPERATURE, celsius);
        bus.set(ADDRESS, Quantity::HUMIDITY, percent);
        bus.set(ADDRESS, Quantity::PRESSURE, pascal);
        assert_air(measure(&mut bus), (celsius, percent, pascal));
    }
}

#[test]
fn humidity_oversampling_takes_effect_with_the_next_ctrl_meas() {
    let mut bus = bus();
    bus.write(ADDRESS, &[CTRL_MEAS, FORCED_X1, CTRL_HUM, 1]).unwrap();
    wait_us(&bus, 10_000);
    assert_eq!(data(&mut bus)[6..], [0x80, 0x00], "skipped");
    bus.write(ADDRESS, &[CTRL_MEAS, FORCED_X1]).unwrap();
    wait_us(&bus, 10_000);
    assert_ne!(data(&mut bus)[6..], [0x80, 0x00]);
}

#[test]
fn a_mode_change_waits_for_the_end_of_the_measurement() {
    let mut bus = bus();
    bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, FORCED_X1]).unwrap();
    bus.write(ADDRESS, &[CTRL_MEAS, 0b010_010_01, CTRL_MEAS, 0b101_101_11, CTRL_HUM, 5]).unwrap();
    assert_eq!(register(&mut bus, CTRL_MEAS), FORCED_X1);
    wait_us(&bus, 9_300);
    assert_eq!(register(&mut bus, CTRL_MEAS), 0b010_010_01, "the first of the two");
    assert_eq!(register(&mut bus, CTRL_HUM), 1);
    assert!(measuring(&mut bus));
    wait_us(&bus, 20_000);
    assert!(!measuring(&mut bus));
}

#[test]
fn normal_mode_measures_again_and_again_and_ignores_config() {
    let mut bus = bus();
    // Standby of 125 ms.
    bus.write(ADDRESS, &[CONFIG, 0b010_000_00, CTRL_HUM, 1, CTRL_MEAS, 0b001_001_11, CONFIG, 0xFC]).unwrap();
    assert_eq!(register(&mut bus, CONFIG), 0b010_000_00);
    wait_us(&bus, 9_300);
    let first = data(&mut bus);
    assert_air(compensated(&mut bus, first), (21.5, 45.0, 99_800.0));
    bus.set(ADDRESS, Quantity::TEMPERATURE, 25.0);
    wait_us(&bus, 110_000);
    assert!(!measuring(&mut bus));
    assert_eq!(data(&mut bus), first, "standing by");
    wait_us(&bus, 30_000);
    let second = data(&mut bus);
    assert_air(compensated(&mut bus, second), (25.0, 45.0, 99_800.0));
    bus.set(ADDRESS, Quantity::TEMPERATURE, -5.0);
    wait_us(&bus, 4_000_000_000);
    let late = data(&mut bus);
    assert_air(compensated(&mut bus, late), (-5.0, 45.0, 99_800.0));
    bus.write(ADDRESS, &[CTRL_MEAS, 0]).unwrap();
    wait_us(&bus, 10_000);
    assert_eq!(register(&mut bus, CTRL_MEAS), 0);
    assert!(!measuring(&mut bus));
}

#[test]
fn the_filter_lets_a_jump_through_slowly_and_gives_all_bits() {
    let mut bus = bus();
    bus.write(ADDRESS, &[CONFIG, 0b000_010_00]).unwrap();
    let (first, ..) = measure(&mut bus);
    bus.set(ADDRESS, Quantity::TEMPERATURE, 31.5);
    let (second, ..) = measure(&mut bus);
    assert!((first - 21.5).abs() < 0.011, "the first goes through: {first}");
    assert!((second - 24.0).abs() < 0.05, "a quarter of the way: {second}");
    bus.write(ADDRESS, &[CONFIG, 0]).unwrap();
    measure(&mut bus);
    let data = data(&mut bus);
    assert_eq!((data[2], data[5]), (0, 0), "16 bits at x1 without the filter");
}

#[test]
fn a_burst_read_is_of_one_sample() {
    let mut bus = bus();
    measure(&mut bus);
    let before = data(&mut bus);
    bus.set(ADDRESS, Quantity::PRESSURE, 90_000.0);
    bus.set(ADDRESS, Quantity::HUMIDITY, 80.0);
    let mut chip = bus.detach(ADDRESS).unwrap();
    let start = bus.clock().now();
    let later = start + Duration::from_millis(50);
    assert!(chip.start(Direction::Write, start) && chip.write(CTRL_MEAS, start) && chip.write(FORCED_X1, start));
    assert!(chip.start(Direction::Write, start) && chip.write(DATA, start) && chip.start(Direction::Read, start));
    let torn: Vec<u8> = (0..8).map(|index| chip.read(if index < 4 { start } else { later })).collect();
    assert_eq!(torn, before);
    assert!(chip.start(Direction::Write, later) && chip.write(DATA, later) && chip.start(Direction::Read, later));
    let whole: Vec<u8> = (0..8).map(|_| chip.read(later)).collect();
    assert_ne!(whole[..3], before[..3]);
}

#[test]
fn a_soft_reset_forgets_everything_and_copies_the_calibration_again() {
    let mut bus = bus();
    measure(&mut bus);
    bus.write(ADDRESS, &[RESET, 0x55]).unwrap();
    assert_ne!(data(&mut bus), RESET_DATA, "only 0xB6 resets");
    bus.write(ADDRESS, &[RESET, 0xB6]).unwrap();
    assert_eq!(register(&mut bus, STATUS), 0b0001, "copying");
    wait_us(&bus, 2_000);
    assert_eq!(registers(&mut bus, CTRL_HUM), [0x00; 4]);
    assert_eq!(data(&mut bus), RESET_DATA);
    assert_eq!(register(&mut bus, 0x88), 0x70);
    assert_air(measure(&mut bus), (21.5, 45.0, 99_800.0));
}

#[test]
fn read_only_registers_stay_as_they_are() {
    let mut bus = bus();
    for address in [0x88, 0xA1, ID, 0xE1, STATUS, DATA, DATA_END] {
        let before = register(&mut bus, address);
        bus.write(ADDRESS, &[address, !before]).unwrap();
        assert_eq!(register(&mut bus, address), before, "{address:#x}");
    }
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut bus = bus();
    measure(&mut bus);
    let before = data(&mut bus);
    bus.fault(ADDRESS, Some(Fault::WrongId));
    assert_eq!(register(&mut bus, ID), 0x58);
    bus.fault(ADDRESS, Some(Fault::Truncated));
    assert_eq!(data(&mut bus)[..3], before[..3]);
    assert_eq!(data(&mut bus)[3..], [0xFF; 5]);

    bus.fault(ADDRESS, Some(Fault::Stuck));
    bus.set(ADDRESS, Quantity::TEMPERATURE, 35.0);
    measure(&mut bus);
    assert_eq!(data(&mut bus), before);

    bus.fault(ADDRESS, Some(Fault::Busy));
    bus.write(ADDRESS, &[CTRL_MEAS, FORCED_X1]).unwrap();
    wait_us(&bus, 60_000_000);
    assert!(measuring(&mut bus));
    assert_eq!(data(&mut bus), before);

    bus.fault(ADDRESS, None);
    assert_air(measure(&mut bus), (35.0, 45.0, 99_800.0));
}

#[test]
fn a_loss_of_power_loses_the_configuration() {
    let mut bus = bus();
    measure(&mut bus);
    bus.fault(ADDRESS, Some(Fault::Unplugged));
    assert_eq!(bus.write(ADDRESS, &[ID]), Err(NO_ANSWER));
    bus.fault(ADDRESS, None);
    assert_eq!(bus.write(ADDRESS, &[ID]), Err(NO_ANSWER), "starting up");
    wait_us(&bus, 2_000);
    assert_eq!(register(&mut bus, CTRL_HUM), 0);
    bus.write(ADDRESS, &[CTRL_MEAS, FORCED_X1]).unwrap();
    bus.fault(ADDRESS, Some(Fault::PowerLoss));
    let _ = bus.write(ADDRESS, &[ID]);
    wait_us(&bus, 20_000);
    assert_eq!(data(&mut bus), RESET_DATA, "lost in mid-measurement");
}

#[test]
fn a_chip_held_in_reset_takes_no_configuration() {
    let mut bus = bus();
    measure(&mut bus);
    bus.fault(ADDRESS, Some(Fault::ResetContents));
    let _ = bus.write(ADDRESS, &[ID]);
    wait_us(&bus, 2_000);
    bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, FORCED_X1]).unwrap();
    wait_us(&bus, 10_000);
    assert_eq!(registers(&mut bus, CTRL_HUM), [0x00; 4]);
    assert_eq!(data(&mut bus), RESET_DATA);
    assert_eq!(register(&mut bus, ID), 0x60);
}
