use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::sensirion::crc;
use super::super::{Clock, SimBus, SimError, chip};
use super::*;

const ADDRESS: u8 = 0x62;
const NO_ANSWER: SimError = SimError::Address(ADDRESS);
const REFUSED: SimError = SimError::Data(ADDRESS);

/// A bus on which the chip has long been up, in air of 655 ppm, 21 Cel, 44 %RH.
fn bus() -> SimBus {
    let bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip("SCD41").unwrap());
    for (quantity, value) in [(Quantity::CO2, 655.0), (Quantity::TEMPERATURE, 21.0), (Quantity::HUMIDITY, 44.0)] {
        assert!(bus.set(ADDRESS, quantity, value));
    }
    wait_ms(&bus, 1_000);
    bus
}

fn wait_ms(bus: &SimBus, time: u32) {
    bus.clock().delay().delay_ms(time);
}

fn send(bus: &mut SimBus, command: u16) -> Result<(), SimError> {
    bus.write(ADDRESS, &command.to_be_bytes())
}

fn send_with(bus: &mut SimBus, command: u16, argument: u16) -> Result<(), SimError> {
    let [high, low] = argument.to_be_bytes();
    let [code_high, code_low] = command.to_be_bytes();
    bus.write(ADDRESS, &[code_high, code_low, high, low, crc([high, low])])
}

fn receive<const WORDS: usize>(bus: &mut SimBus) -> Result<[u16; WORDS], SimError> {
    let mut bytes = vec![0; 3 * WORDS];
    bus.read(ADDRESS, &mut bytes)?;
    Ok(std::array::from_fn(|index| {
        let word = [bytes[3 * index], bytes[3 * index + 1]];
        assert_eq!(crc(word), bytes[3 * index + 2]);
        u16::from_be_bytes(word)
    }))
}

fn ask<const WORDS: usize>(bus: &mut SimBus, command: u16) -> Result<[u16; WORDS], SimError> {
    send(bus, command)?;
    wait_ms(bus, 1);
    receive(bus)
}

fn ready(bus: &mut SimBus) -> bool {
    let [status] = ask(bus, 0xE4B8).unwrap();
    status & 0x07FF != 0
}

/// ppm, Cel, %RH by the formulas of section 3.5.2.
fn measured(bus: &mut SimBus) -> (u16, f64, f64) {
    let [co2, temperature, humidity] = ask(bus, 0xEC05).unwrap();
    (co2, -45.0 + 175.0 * f64::from(temperature) / 65_535.0, 100.0 * f64::from(humidity) / 65_535.0)
}

fn assert_air(found: (u16, f64, f64), expected: (u16, f64, f64)) {
    let (co2, celsius, percent) = found;
    let close = (celsius - expected.1).abs() < 0.01 && (percent - expected.2).abs() < 0.05;
    assert!(co2 == expected.0 && close, "{found:?} is not {expected:?}");
}

#[test]
fn the_chip_answers_a_second_after_power_on() {
    let mut bus = SimBus::new(Clock::virtual_time());
    bus.attach(chip("SCD41").unwrap());
    wait_ms(&bus, 990);
    assert_eq!(send(&mut bus, 0x3682), Err(NO_ANSWER));
    wait_ms(&bus, 10);
    assert_eq!(ask(&mut bus, 0x3682), Ok(SERIAL));
    assert_eq!(ask(&mut bus, 0x202F).map(|[variant]: [u16; 1]| variant >> 12), Ok(1));
}

#[test]
fn a_measurement_comes_every_five_seconds_and_is_read_once() {
    let mut bus = bus();
    assert!(!ready(&mut bus));
    send(&mut bus, 0x21B1).unwrap();
    wait_ms(&bus, 4_900);
    assert!(!ready(&mut bus));
    assert_eq!(ask::<3>(&mut bus, 0xEC05), Err(NO_ANSWER), "nothing to read yet");
    wait_ms(&bus, 100);
    assert!(ready(&mut bus));
    assert_air(measured(&mut bus), (655, 21.0, 44.0));
    assert!(!ready(&mut bus));
    assert_eq!(ask::<3>(&mut bus, 0xEC05), Err(NO_ANSWER), "read once");
    bus.set(ADDRESS, Quantity::CO2, 1_200.0);
    wait_ms(&bus, 5_000);
    assert_air(measured(&mut bus), (1_200, 21.0, 44.0));
    wait_ms(&bus, 3_600_000);
    assert!(ready(&mut bus), "unread ones are overwritten");
}

#[test]
fn the_answer_is_not_there_before_the_execution_time() {
    let mut bus = bus();
    let mut answer = [0; 3];
    let asked = bus.write_read(ADDRESS, &[0xE4, 0xB8], &mut answer);
    assert_eq!(asked, Err(NO_ANSWER), "a repeated start comes too soon");
    wait_ms(&bus, 1);
    bus.read(ADDRESS, &mut answer).unwrap();
    assert_eq!(answer[..2], [0x80, 0x00]);
    assert_eq!(bus.read(ADDRESS, &mut answer), Err(NO_ANSWER), "nothing was asked");
}

#[test]
fn a_running_measurement_outlives_the_host_and_refuses_all_but_four_commands() {
    let mut bus = bus();
    send(&mut bus, 0x21B1).unwrap();
    for refused in
        [0x21B1, 0x21AC, 0x3682, 0x2318, 0x2322, 0x2313, 0x3615, 0x3639, 0x3632, 0x3646, 0x219D, 0x36E0, 0x202F]
    {
        assert_eq!(send(&mut bus, refused), Err(REFUSED), "{refused:#x}");
    }
    assert_eq!(send_with(&mut bus, 0x2427, 100), Err(REFUSED));
    wait_ms(&bus, 5_000);
    assert!(ready(&mut bus));
    send_with(&mut bus, 0xE000, 987).unwrap();
    wait_ms(&bus, 1);
    assert_eq!(ask(&mut bus, 0xE000), Ok([987]));
    send(&mut bus, 0x3F86).unwrap();
    wait_ms(&bus, 490);
    assert_eq!(send(&mut bus, 0x3682), Err(NO_ANSWER), "stopping takes 500 ms");
    wait_ms(&bus, 10);
    assert_eq!(ask(&mut bus, 0x3682), Ok(SERIAL));
    assert!(!ready(&mut bus));
}

#[test]
fn settings_last_until_the_power_goes_unless_they_were_persisted() {
    let mut bus = bus();
    send_with(&mut bus, 0x2427, 1_950).unwrap();
    wait_ms(&bus, 1);
    send_with(&mut bus, 0x241D, 0x07E6).unwrap();
    wait_ms(&bus, 1);
    send_with(&mut bus, 0x2416, 0).unwrap();
    wait_ms(&bus, 1);
    let settings = |bus: &mut SimBus| [0x2322, 0x2318, 0x2313].map(|code| ask::<1>(bus, code).unwrap()[0]);
    assert_eq!(settings(&mut bus), [1_950, 0x07E6, 0]);
    send(&mut bus, 0x3646).unwrap();
    wait_ms(&bus, 20);
    assert_eq!(settings(&mut bus), [0, 1_498, 1]);
    send_with(&mut bus, 0x2427, 44).unwrap();
    wait_ms(&bus, 1);
    send(&mut bus, 0x3615).unwrap();
    wait_ms(&bus, 800);
    bus.fault(ADDRESS, Some(Fault::PowerLoss));
    assert_eq!(send(&mut bus, 0x3682), Err(NO_ANSWER));
    wait_ms(&bus, 1_000);
    assert_eq!(settings(&mut bus), [44, 1_498, 1]);
    send(&mut bus, 0x3632).unwrap();
    wait_ms(&bus, 1_200);
    assert_eq!(settings(&mut bus), [0, 1_498, 1]);
}

#[test]
fn an_argument_with_a_wrong_checksum_is_refused() {
    let mut bus = bus();
    assert_eq!(bus.write(ADDRESS, &[0x24, 0x27, 0x00, 0x10, 0x00]), Err(REFUSED));
    assert_eq!(ask(&mut bus, 0x2322), Ok([0]));
    assert_eq!(send_with(&mut bus, 0x3682, 1), Err(REFUSED), "an argument that nobody asked for");
    wait_ms(&bus, 1);
    assert_eq!(send(&mut bus, 0x1234), Err(REFUSED));
}

#[test]
fn without_its_offset_the_chip_shows_its_own_heat_and_drier_air() {
    let mut bus = bus();
    send_with(&mut bus, 0x241D, 0).unwrap();
    wait_ms(&bus, 1);
    send(&mut bus, 0x219D).unwrap();
    assert_eq!(send(&mut bus, 0xE4B8), Err(NO_ANSWER), "a single shot takes 5 s");
    wait_ms(&bus, 5_000);
    // 44 %RH at 21 Cel is a dew point of 8.3 Cel, which at 25 Cel is 34.5 %RH.
    assert_air(measured(&mut bus), (655, 25.0, 34.53));
    send(&mut bus, 0x2196).unwrap();
    wait_ms(&bus, 50);
    assert_eq!(measured(&mut bus).0, 0, "no CO2 in a single shot without it");
}

#[test]
fn thin_air_has_less_co2_for_a_chip_that_was_not_told() {
    let mut bus = bus();
    bus.set(ADDRESS, Quantity::CO2, 800.0);
    bus.set(ADDRESS, Quantity::PRESSURE, 91_192.5);
    send(&mut bus, 0x21B1).unwrap();
    wait_ms(&bus, 5_000);
    assert_eq!(measured(&mut bus).0, 720);
    // What is no pressure of the air changes nothing.
    for (told_hpa, kept, expected) in [(699, 0, 720), (912, 912, 800), (1_201, 912, 800), (1_013, 1_013, 720)] {
        send_with(&mut bus, 0xE000, told_hpa).unwrap();
        wait_ms(&bus, 5_000);
        assert_eq!((ask(&mut bus, 0xE000), measured(&mut bus).0), (Ok([kept]), expected), "told {told_hpa} hPa");
    }
    bus.fault(ADDRESS, Some(Fault::PowerLoss));
    let _ = send(&mut bus, 0xE000);
    wait_ms(&bus, 1_000);
    assert_eq!(ask(&mut bus, 0xE000), Ok([0]), "it does not outlast the power");
}

#[test]
fn recalibration_says_how_far_it_moved_and_the_self_test_what_is_broken() {
    let mut bus = bus();
    send_with(&mut bus, 0x362F, 600).unwrap();
    wait_ms(&bus, 400);
    assert_eq!(receive(&mut bus), Ok([0x8000 - 55]));
    send(&mut bus, 0x219D).unwrap();
    wait_ms(&bus, 5_000);
    assert_eq!(measured(&mut bus).0, 600);
    for (fault, result) in [(None, 0), (Some(Fault::Broken), 1)] {
        bus.fault(ADDRESS, fault);
        send(&mut bus, 0x3639).unwrap();
        wait_ms(&bus, 10_000);
        assert_eq!(receive(&mut bus), Ok([result]));
    }
}

#[test]
fn a_sleeping_chip_only_wakes_up() {
    let mut bus = bus();
    assert_eq!(send(&mut bus, 0x36F6), Err(REFUSED));
    send(&mut bus, 0x36E0).unwrap();
    wait_ms(&bus, 1);
    assert_eq!(send(&mut bus, 0x3682), Err(REFUSED));
    assert_eq!(send(&mut bus, 0x36F6), Err(REFUSED), "it works, but is not acknowledged");
    wait_ms(&bus, 20);
    assert_eq!(ask(&mut bus, 0x3682), Ok(SERIAL));
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut bus = bus();
    send(&mut bus, 0x21B1).unwrap();
    bus.fault(ADDRESS, Some(Fault::Busy));
    wait_ms(&bus, 60_000);
    assert!(!ready(&mut bus), "never ready");
    bus.fault(ADDRESS, Some(Fault::Stuck));
    bus.set(ADDRESS, Quantity::CO2, 5_000.0);
    assert_air(measured(&mut bus), (655, 21.0, 44.0));
    wait_ms(&bus, 5_000);
    let mut answer = [0; 9];
    for (fault, expected) in [(Fault::Checksum, !crc([0x13, 0x88])), (Fault::Truncated, crc([0x13, 0x88]))] {
        bus.fault(ADDRESS, Some(fault));
        wait_ms(&bus, 5_000);
        send(&mut bus, 0xEC05).unwrap();
        wait_ms(&bus, 1);
        bus.read(ADDRESS, &mut answer).unwrap();
        assert_eq!(answer[..3], [0x13, 0x88, expected], "{fault}");
    }
    assert_eq!(answer[4..], [0xFF; 5], "truncated");
    bus.fault(ADDRESS, Some(Fault::WrongId));
    assert_eq!(send(&mut bus, 0x3F86), Err(REFUSED));
    bus.fault(ADDRESS, Some(Fault::Unplugged));
    assert_eq!(send(&mut bus, 0x3F86), Err(NO_ANSWER));
}

#[test]
fn a_chip_in_reset_takes_commands_and_does_nothing() {
    let mut bus = bus();
    send(&mut bus, 0x21B1).unwrap();
    bus.fault(ADDRESS, Some(Fault::ResetContents));
    assert_eq!(send(&mut bus, 0x21B1), Err(NO_ANSWER), "powering up");
    wait_ms(&bus, 1_000);
    send(&mut bus, 0x21B1).unwrap();
    wait_ms(&bus, 5_000);
    assert_eq!(ask::<1>(&mut bus, 0xE4B8), Err(NO_ANSWER));
    bus.fault(ADDRESS, None);
    let _ = send(&mut bus, 0x21B1);
    wait_ms(&bus, 1_000);
    assert_eq!(ask(&mut bus, 0x3682), Ok(SERIAL), "idle, not measuring");
}

#[test]
fn words_are_clamped() {
    let mut bus = bus();
    bus.set(ADDRESS, Quantity::CO2, 1e6);
    bus.set(ADDRESS, Quantity::TEMPERATURE, -400.0);
    bus.set(ADDRESS, Quantity::HUMIDITY, 300.0);
    send(&mut bus, 0x219D).unwrap();
    wait_ms(&bus, 5_000);
    assert_eq!(ask(&mut bus, 0xEC05), Ok([u16::MAX, 0, u16::MAX]));
}
