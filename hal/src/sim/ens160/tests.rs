use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::device::Simulated;
use super::super::{Clock, SimBus, SimError};
use super::*;

const ADDRESS: u8 = 0x53;

fn bus_with(chip: Ens160) -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(Box::new(Simulated::new(chip)));
    assert!(bus.set(ADDRESS, Quantity::TVOC, 176.0) && bus.set(ADDRESS, Quantity::ECO2, 662.0));
    wait_ms(&bus, 10);
    bus
}

fn bus() -> SimBus {
    bus_with(Ens160::new())
}

/// A bus on which the chip has sensed for four minutes, and then for one more second.
fn warm_bus() -> SimBus {
    let mut bus = bus();
    write(&mut bus, OPMODE, STANDARD);
    wait_ms(&bus, 240_000);
    let _ = registers::<6>(&mut bus, DEVICE_STATUS);
    wait_ms(&bus, 1_000);
    bus
}

fn wait_ms(bus: &SimBus, time: u32) {
    bus.clock().delay().delay_ms(time);
}

fn write(bus: &mut SimBus, register: u8, value: u8) {
    bus.write(ADDRESS, &[register, value]).unwrap();
}

fn registers<const N: usize>(bus: &mut SimBus, first: u8) -> [u8; N] {
    let mut values = [0; N];
    bus.write_read(ADDRESS, &[first], &mut values).unwrap();
    values
}

fn register(bus: &mut SimBus, address: u8) -> u8 {
    registers::<1>(bus, address)[0]
}

#[test]
fn registers_hold_their_reset_contents_after_power_on() {
    let mut bus = bus();
    assert_eq!(registers(&mut bus, 0x00), [0x60, 0x01]);
    assert_eq!(registers(&mut bus, OPMODE), [IDLE, 0, 0, 0, 0, 0, 0]);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0x00, 1, 0, 0, 0, 0]);
    assert_eq!(registers(&mut bus, DATA_T), [0x8A, 0x4A, 0x00, 0x64], "25 Cel, 50 %RH");
    assert_eq!(registers(&mut bus, GPR_WRITE), [0; 16]);
}

#[test]
fn data_are_new_every_second_and_good_after_three_minutes() {
    let mut bus = bus();
    write(&mut bus, OPMODE, STANDARD);
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0b1000_0100, "warming up, nothing new");
    wait_ms(&bus, 1_000);
    let [status, aqi, tvoc_low, ..] = registers::<6>(&mut bus, DEVICE_STATUS);
    assert_eq!((status, aqi), (0b1000_0111, 1));
    assert!(tvoc_low < 5, "{tvoc_low}");
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0b1000_0101, "the data were read, the raw ones not");
    wait_ms(&bus, 178_900);
    assert_eq!(register(&mut bus, DEVICE_STATUS) & 0b1100, 0b0100);
    wait_ms(&bus, 1_000);
    // As a log of a real chip has it: 129, 2, 176, 0, 150, 2.
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0x83, 2, 176, 0, 150, 2]);
}

#[test]
fn reading_the_status_takes_the_news_of_the_data() {
    let mut bus = warm_bus();
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0x83);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0x81, 2, 176, 0, 150, 2]);
    let _ = registers::<8>(&mut bus, GPR_READ);
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0x80);
}

#[test]
fn a_new_chip_wants_an_hour() {
    let mut bus = bus_with(Ens160 { is_unused: true, ..Ens160::new() });
    write(&mut bus, OPMODE, STANDARD);
    wait_ms(&bus, 3_598_000);
    assert_eq!(register(&mut bus, DEVICE_STATUS) & 0b1100, 0b1000);
    wait_ms(&bus, 2_000);
    assert_eq!(register(&mut bus, DEVICE_STATUS) & 0b1100, 0);
}

#[test]
fn the_checksum_follows_every_byte_that_is_read() {
    let mut bus = warm_bus();
    let before = register(&mut bus, DATA_MISR);
    let data: [u8; 6] = registers(&mut bus, DEVICE_STATUS);
    let rest: [u8; 4] = registers(&mut bus, DATA_T);
    let _: [u8; 2] = registers(&mut bus, OPMODE);
    let after = data.iter().chain(&rest).fold(before, |misr, byte| {
        // By long division of the polynomial x^8 + x^4 + x^3 + x^2 + 1.
        let shifted = u16::from(misr) << 1;
        (if shifted > 0xFF { shifted ^ 0x11D } else { shifted }) as u8 ^ byte
    });
    assert_eq!(register(&mut bus, DATA_MISR), after);
    assert_eq!(register(&mut bus, DATA_MISR), after, "not by reading itself");
    bus.fault(ADDRESS, Some(Fault::Checksum));
    assert_eq!(register(&mut bus, DATA_MISR), !after);
}

#[test]
fn the_firmware_is_told_in_idle_mode_only() {
    let mut bus = bus();
    write(&mut bus, COMMAND, 0x0E);
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0x01);
    assert_eq!(registers(&mut bus, 0x4C), [5, 4, 6]);
    assert_eq!(register(&mut bus, DEVICE_STATUS), 0x00);
    write(&mut bus, COMMAND, 0xCC);
    assert_eq!(registers(&mut bus, GPR_READ), [0; 8]);
    write(&mut bus, OPMODE, STANDARD);
    write(&mut bus, COMMAND, 0x0E);
    assert_eq!(registers(&mut bus, GPR_READ), [0; 8]);
}

#[test]
fn the_air_around_it_counts_from_the_upper_byte_on() {
    let mut bus = bus();
    // The datasheet's example is 25 Cel: 0x4A8A; here 10 Cel and 80 %RH.
    bus.write(ADDRESS, &[TEMP_IN, 0xCA]).unwrap();
    assert_eq!(registers(&mut bus, DATA_T), [0x8A, 0x4A]);
    bus.write(ADDRESS, &[0x14, 0x46]).unwrap();
    bus.write(ADDRESS, &[RH_IN, 0x00, 0xA0]).unwrap();
    assert_eq!(registers(&mut bus, DATA_T), [0xCA, 0x46, 0x00, 0xA0]);
    assert_eq!(registers(&mut bus, TEMP_IN), [0xCA, 0x46, 0x00, 0xA0]);
}

#[test]
fn modes_end_each_other() {
    let mut bus = warm_bus();
    write(&mut bus, OPMODE, 0x77);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0b0100_0011], "an error, and nothing runs");
    write(&mut bus, OPMODE, DEEP_SLEEP);
    write(&mut bus, CONFIG, 0x23);
    assert_eq!(registers(&mut bus, OPMODE), [DEEP_SLEEP, 0], "asleep");
    write(&mut bus, OPMODE, IDLE);
    write(&mut bus, CONFIG, 0x23);
    assert_eq!(registers(&mut bus, OPMODE), [IDLE, 0x23]);
    write(&mut bus, OPMODE, STANDARD);
    assert_eq!(register(&mut bus, DEVICE_STATUS) & 0b1000_1100, 0b1000_0100, "warming up again");
    write(&mut bus, OPMODE, RESET);
    assert_eq!(bus.write(ADDRESS, &[OPMODE]), Err(SimError::Address(ADDRESS)));
    wait_ms(&bus, 10);
    assert_eq!(registers(&mut bus, OPMODE), [IDLE, 0x00]);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn what_the_registers_cannot_say_is_said_by_their_ends() {
    let mut bus = warm_bus();
    assert!(bus.set(ADDRESS, Quantity::TVOC, 1e9) && bus.set(ADDRESS, Quantity::ECO2, -5.0));
    wait_ms(&bus, 1_000);
    assert_eq!(registers(&mut bus, DATA_AQI), [5, 0xE8, 0xFD, 0x90, 0x01], "65000 ppb, 400 ppm");
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut bus = warm_bus();
    let data: [u8; 6] = registers(&mut bus, DEVICE_STATUS);
    bus.fault(ADDRESS, Some(Fault::WrongId));
    assert_ne!(registers(&mut bus, 0x00), [0x60, 0x01]);
    bus.fault(ADDRESS, Some(Fault::Truncated));
    assert_eq!(registers(&mut bus, DATA_AQI), [data[1], data[2], 0xFF, 0xFF, 0xFF]);
    bus.fault(ADDRESS, Some(Fault::Stuck));
    bus.set(ADDRESS, Quantity::TVOC, 900.0);
    wait_ms(&bus, 2_000);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), data);
    bus.fault(ADDRESS, Some(Fault::Busy));
    wait_ms(&bus, 60_000);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0x81, 2, 176, 0, 150, 2]);
    bus.fault(ADDRESS, Some(Fault::Broken));
    assert_eq!(register(&mut bus, DEVICE_STATUS) & 0b1100, 0b1100);
    bus.fault(ADDRESS, None);
    assert_eq!(registers(&mut bus, DATA_AQI), [4, 0x84, 0x03, 150, 2]);
    bus.fault(ADDRESS, Some(Fault::ResetContents));
    let _ = bus.write(ADDRESS, &[0x00]);
    wait_ms(&bus, 10);
    write(&mut bus, OPMODE, STANDARD);
    wait_ms(&bus, 2_000);
    assert_eq!(registers(&mut bus, OPMODE), [IDLE]);
    assert_eq!(registers(&mut bus, DEVICE_STATUS), [0, 1, 0, 0, 0, 0]);
}
