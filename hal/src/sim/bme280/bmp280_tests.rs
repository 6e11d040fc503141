//! What is otherwise on a BMP280; the rest is tested on the BME280.

#![allow(clippy::unusual_byte_groupings, reason = "the groups are the fields of the registers")]

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::{Clock, SimBus, chip};
use super::*;

const ADDRESS: u8 = 0x76;

fn bus() -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip("BMP280").unwrap());
    assert!(bus.set(ADDRESS, Quantity::TEMPERATURE, 21.5) && bus.set(ADDRESS, Quantity::PRESSURE, 99_800.0));
    bus.clock().delay().delay_ms(2);
    bus
}

fn registers<const N: usize>(bus: &mut SimBus, first: u8) -> [u8; N] {
    let mut values = [0; N];
    bus.write_read(ADDRESS, &[first], &mut values).unwrap();
    values
}

/// BMP280 section 8.1, with the parameters as they are read from the chip: Cel and Pa.
fn compensated(bus: &mut SimBus) -> (f64, f64) {
    let block: [u8; 24] = registers(bus, 0x88);
    let data: [u8; 6] = registers(bus, DATA);
    let unsigned = |at: usize| f64::from(u16::from_le_bytes([block[at], block[at + 1]]));
    let signed = |at: usize| f64::from(i16::from_le_bytes([block[at], block[at + 1]]));
    let code =
        |at: usize| f64::from(u32::from(data[at]) << 12 | u32::from(data[at + 1]) << 4 | u32::from(data[at + 2]) >> 4);
    let (adc_p, adc_t) = (code(0), code(3));

    let var1 = (adc_t / 16_384.0 - unsigned(0) / 1_024.0) * signed(2);
    let var2 = (adc_t / 131_072.0 - unsigned(0) / 8_192.0) * (adc_t / 131_072.0 - unsigned(0) / 8_192.0) * signed(4);
    let t_fine = var1 + var2;
    let mut var1 = t_fine / 2.0 - 64_000.0;
    let mut var2 = var1 * var1 * signed(16) / 32_768.0;
    var2 += var1 * signed(14) * 2.0;
    var2 = var2 / 4.0 + signed(12) * 65_536.0;
    var1 = (signed(10) * var1 * var1 / 524_288.0 + signed(8) * var1) / 524_288.0;
    var1 = (1.0 + var1 / 32_768.0) * unsigned(6);
    let mut p = 1_048_576.0 - adc_p;
    p = (p - var2 / 4_096.0) * 6_250.0 / var1;
    var1 = signed(22) * p * p / 2_147_483_648.0;
    var2 = p * signed(20) / 32_768.0;
    (t_fine / 5_120.0, p + (var1 + var2 + signed(18)) / 16.0)
}

#[test]
fn it_has_its_own_id_and_no_humidity() {
    let mut bus = bus();
    assert_eq!(registers(&mut bus, ID), [0x58]);
    assert!(!bus.set(ADDRESS, Quantity::HUMIDITY, 50.0));
    assert_eq!(registers(&mut bus, 0xE1), [0; 7]);
    assert_eq!(registers(&mut bus, 0xA1), [0]);
    bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, 0b001_001_01]).unwrap();
    bus.clock().delay().delay_us(6_425);
    assert_eq!(registers(&mut bus, CTRL_HUM), [0x00, 0x00, 0b001_001_00], "table 13: x1, x1 takes 6.4 ms at most");
    assert_eq!(registers(&mut bus, 0xFD), [0, 0]);
    let (celsius, pascal) = compensated(&mut bus);
    assert!((celsius - 21.5).abs() < 0.01 && (pascal - 99_800.0).abs() < 2.0, "{celsius} Cel {pascal} Pa");
    bus.fault(ADDRESS, Some(Fault::WrongId));
    assert_eq!(registers(&mut bus, ID), [0x60]);
}

#[test]
fn its_longest_standby_times_are_seconds() {
    for (bits, standby_ms) in [(0b110, 2_000), (0b111, 4_000)] {
        let mut bus = bus();
        bus.write(ADDRESS, &[CONFIG, bits << 5, CTRL_MEAS, 0b001_001_11]).unwrap();
        bus.clock().delay().delay_ms(8);
        bus.set(ADDRESS, Quantity::TEMPERATURE, 30.0);
        bus.clock().delay().delay_ms(standby_ms - 20);
        assert!(compensated(&mut bus).0 < 25.0, "standing by");
        bus.clock().delay().delay_ms(40);
        assert!(compensated(&mut bus).0 > 25.0);
    }
}
