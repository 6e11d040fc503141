use embedded_hal::i2c::I2c;

use super::super::chip;
use super::super::sensirion::tests::Host;
use super::*;

/// A host with a chip that is up, in air of 9, 17, 20, 26 ug/m3: 62 particles in a cm3, for which it starts in 30 s.
fn host() -> Host {
    let host = Host::with(chip("SPS30").unwrap());
    for (quantity, value) in MASSES.into_iter().zip([9.0, 17.0, 20.0, 26.0]) {
        host.set(quantity, value);
    }
    host.wait_ms(100);
    host
}

/// A host whose chip has been measuring for so long.
fn measuring(format: u16, seconds: u32) -> Host {
    let mut host = host();
    host.send(0x0010, &[format]).unwrap();
    host.wait_ms(seconds * 1_000);
    host
}

fn ready(host: &mut Host) -> bool {
    host.ask(0x0202, &[], 0, 1).unwrap() == [1]
}

fn floats(host: &mut Host) -> Vec<f32> {
    let words = host.ask(0x0300, &[], 0, 20).unwrap();
    words.chunks(2).map(|pair| f32::from_bits(u32::from(pair[0]) << 16 | u32::from(pair[1]))).collect()
}

#[test]
fn the_start_command_of_the_datasheet_starts_a_measurement_of_floats() {
    let mut host = host();
    // Section 6.3.1, with the checksum of section 6.2.
    host.write(&[0x00, 0x10, 0x03, 0x00, 0xAC]).unwrap();
    assert_eq!(host.send(0x0202, &[]), Err(host.no_answer()), "starting takes 20 ms");
    host.wait_ms(900);
    assert!(!ready(&mut host));
    host.wait_ms(100);
    assert!(ready(&mut host));
    host.wait_ms(40_000);
    let values = floats(&mut host);
    assert_eq!(values[..4], [9.0, 17.0, 20.0, 26.0]);
    assert!(values[4..9].is_sorted() && values[4] > 40.0 && (0.4..1.0).contains(&values[9]), "{values:?}");
    assert!(!ready(&mut host), "read");
    assert_eq!(floats(&mut host), values, "the latest, again");
}

#[test]
fn integers_are_rounded_and_clamped() {
    let mut host = measuring(0x0500, 60);
    host.set(Quantity::PM2_5, 17.6);
    host.set(Quantity::PM10, 1e6);
    host.wait_ms(1_000);
    let words = host.ask(0x0300, &[], 0, 10).unwrap();
    assert_eq!(words[..4], [9, 18, 20, u16::MAX]);
    assert!((400..=1_000).contains(&words[9]), "nm");
    assert_eq!(host.read(33).unwrap()[30..], [0xFF; 3], "integers have thirty bytes");
}

#[test]
fn the_pointer_stays_and_can_be_read_again_but_not_after_a_repeated_start() {
    let mut host = host();
    assert_eq!(host.receive(1), Err(host.no_answer()), "no pointer was set");
    host.send(0xD100, &[]).unwrap();
    assert_eq!(host.receive(1).unwrap(), [FIRMWARE]);
    assert_eq!(host.receive(1).unwrap(), [FIRMWARE]);
    assert!(host.bus.write_read(0x69, &[0xD1, 0x00], &mut [0; 3]).is_err());
}

#[test]
fn zeros_are_read_before_the_first_measurement() {
    let mut host = measuring(0x0300, 0);
    host.wait_ms(500);
    assert_eq!(floats(&mut host), [0.0; 10]);
}

#[test]
fn few_particles_take_long_to_settle() {
    let mut host = measuring(0x0300, 15);
    assert!((8.0..9.0).contains(&floats(&mut host)[1]));
    host.wait_ms(16_000);
    assert_eq!(floats(&mut host)[1], 17.0);
    let mut host = measuring(0x0300, 0);
    host.set(Quantity::PM1, 50.0);
    host.wait_ms(8_100);
    assert_eq!(floats(&mut host)[0], 50.0);
}

#[test]
fn the_chip_says_what_it_is() {
    let mut host = host();
    let ascii = |words: Vec<u16>| String::from_utf8(words.into_iter().flat_map(u16::to_be_bytes).collect()).unwrap();
    assert_eq!(ascii(host.ask(0xD002, &[], 0, 4).unwrap()), "00080000");
    assert_eq!(host.read(15).unwrap()[12..], [0xFF; 3], "without a null character");
    assert_eq!(ascii(host.ask(0xD033, &[], 0, 16).unwrap()).trim_end_matches('\0'), SERIAL);
}

#[test]
fn a_running_measurement_outlives_the_host() {
    let mut host = measuring(0x0300, 60);
    for refused in [0x0010, 0x1001] {
        assert!(host.send(refused, if refused == 0x0010 { &[0x0300] } else { &[] }).is_err(), "{refused:#x}");
    }
    assert!(host.ask(0xD033, &[], 0, 16).is_ok());
    host.send(0x0104, &[]).unwrap();
    assert_eq!(host.send(0xD033, &[]), Err(host.no_answer()), "stopping takes 20 ms");
    host.wait_ms(2_000);
    assert!(!ready(&mut host));
    assert_eq!(host.send(0x5607, &[]), Err(host.refused()), "no cleaning while the fan stands");
    host.send(0x0010, &[0x0300]).unwrap();
}

#[test]
fn a_sleeping_chip_wakes_by_two_wake_ups_within_a_tenth_of_a_second() {
    let mut host = host();
    host.send(0x1103, &[]).unwrap();
    host.wait_ms(5);
    host.send(0x1001, &[]).unwrap();
    host.wait_ms(1_000);
    assert_eq!(host.send(0x1103, &[]), Err(host.no_answer()), "a pulse");
    host.wait_ms(150);
    assert_eq!(host.send(0xD100, &[]), Err(host.no_answer()), "too late: another pulse");
    host.wait_ms(5);
    assert_eq!(host.send(0xD100, &[]), Err(host.refused()), "only the wake-up");
    host.send(0x1103, &[]).unwrap();
    host.wait_ms(5);
    assert_eq!(host.ask(0xD100, &[], 0, 1).unwrap(), [FIRMWARE]);
}

#[test]
fn no_values_come_while_the_fan_is_cleaned_and_the_interval_outlives_the_power() {
    let mut host = measuring(0x0300, 60);
    let before = floats(&mut host);
    host.set(Quantity::PM2_5, 100.0);
    host.send(0x5607, &[]).unwrap();
    host.wait_ms(9_000);
    assert!(!ready(&mut host));
    assert_eq!(floats(&mut host), before);
    host.wait_ms(2_000);
    assert!(ready(&mut host));
    assert_eq!(host.ask(0x8004, &[], 5, 2).unwrap(), double(604_800));
    host.send(0x8004, &double(86_400)).unwrap();
    host.fault(Some(Fault::PowerLoss));
    assert_eq!(host.send(0x8004, &[]), Err(host.no_answer()));
    host.wait_ms(100);
    assert_eq!(host.ask(0x8004, &[], 5, 2).unwrap(), double(86_400));
    assert!(!ready(&mut host), "idle after a loss of power");
    host.send(0x0010, &[0x0300]).unwrap();
    host.wait_ms(86_405_000);
    let _ = floats(&mut host);
    assert!(!ready(&mut host), "cleaning by itself");
}

#[test]
fn a_blocked_fan_is_told_and_brings_no_dust() {
    let mut host = measuring(0x0300, 60);
    let status = |host: &mut Host| host.ask(0xD206, &[], 0, 2).unwrap();
    assert_eq!(status(&mut host), double(0));
    host.fault(Some(Fault::Broken));
    host.wait_ms(1_000);
    assert_eq!(status(&mut host), double(1 << 4));
    assert_eq!(floats(&mut host)[1], 0.0);
    host.fault(None);
    host.wait_ms(1_000);
    assert_eq!(status(&mut host), double(1 << 4), "kept");
    host.send(0xD210, &[]).unwrap();
    host.wait_ms(5);
    assert_eq!(status(&mut host), double(0));
    assert_eq!(floats(&mut host)[1], 17.0);
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut host = measuring(0x0300, 60);
    let _ = floats(&mut host);
    host.fault(Some(Fault::Busy));
    host.wait_ms(60_000);
    assert!(!ready(&mut host));
    host.fault(Some(Fault::Truncated));
    host.send(0x0300, &[]).unwrap();
    assert_eq!(host.read(60).unwrap()[30..], [0xFF; 30]);
    host.fault(Some(Fault::WrongId));
    assert_eq!(host.send(0xD002, &[]), Err(host.refused()));
    assert_eq!(host.send(0x0300, &[]), Err(host.refused()));
    host.fault(Some(Fault::ResetContents));
    assert_eq!(host.send(0xD002, &[]), Err(host.no_answer()));
    host.wait_ms(100);
    assert_eq!(host.ask(0xD002, &[], 0, 4), Err(host.no_answer()));
}

#[test]
fn a_reset_stops_everything() {
    let mut host = measuring(0x0300, 60);
    host.send(0xD304, &[]).unwrap();
    host.wait_ms(50);
    assert_eq!(host.send(0x0202, &[]), Err(host.no_answer()));
    host.wait_ms(2_000);
    assert!(!ready(&mut host));
    assert_eq!(floats(&mut host), [0.0; 10]);
}
