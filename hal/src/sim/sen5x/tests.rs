use super::super::chip;
use super::super::sensirion::tests::Host;
use super::*;

/// A host with a chip that has long been up, in dusty air of 24.64 Cel, 46.36 %RH, and indices of 150 and 20.
fn host(model: &str) -> Host {
    let host = Host::with(chip(model).unwrap());
    let air = [
        (Quantity::PM1, 9.0),
        (Quantity::PM2_5, 17.3),
        (Quantity::PM4, 20.0),
        (Quantity::PM10, 26.0),
        (Quantity::TEMPERATURE, 24.64),
        (Quantity::HUMIDITY, 46.36),
        (Quantity::VOC_INDEX, 150.0),
        (Quantity::NOX_INDEX, 20.0),
    ];
    let quantities = chip(model).unwrap().quantities();
    for (quantity, value) in air.into_iter().filter(|(quantity, _)| quantities.contains(quantity)) {
        host.set(quantity, value);
    }
    host.wait_ms(20_000);
    host
}

fn measuring(model: &str, seconds: u32) -> Host {
    let mut host = host(model);
    host.send(0x0021, &[]).unwrap();
    host.wait_ms(seconds * 1_000);
    host
}

fn ready(host: &mut Host) -> bool {
    host.ask(0x0202, &[], 20, 1).unwrap() == [1]
}

fn values(host: &mut Host) -> Vec<u16> {
    host.ask(0x03C4, &[], 20, 8).unwrap()
}

fn ascii(words: Vec<u16>) -> String {
    let bytes = words.into_iter().flat_map(u16::to_be_bytes).collect();
    String::from_utf8(bytes).unwrap().trim_end_matches('\0').to_owned()
}

#[test]
fn each_member_measures_what_is_its_own_in_the_scales_of_the_datasheet() {
    for (model, rht, voc, nox) in [
        ("SEN50", [0x7FFF, 0x7FFF], 0x7FFF, 0x7FFF),
        ("SEN54", [4_636, 4_928], 1_500, 0x7FFF),
        ("SEN55", [4_636, 4_928], 1_500, 200),
    ] {
        let mut host = measuring(model, 70);
        assert!(ready(&mut host));
        let [humidity, temperature] = rht;
        assert_eq!(values(&mut host), [90, 173, 200, 260, humidity, temperature, voc, nox], "{model}");
        assert!(!ready(&mut host), "read");
        assert_eq!(values(&mut host)[1], 173, "the latest, again");
        host.send(0x0104, &[]).unwrap();
        host.wait_ms(200);
        assert_eq!(ascii(host.ask(0xD014, &[], 20, 16).unwrap()), model);
        assert_eq!(ascii(host.ask(0xD033, &[], 20, 16).unwrap()), SERIAL);
        assert_eq!(host.ask(0xD100, &[], 20, 1).unwrap(), [0x0200]);
    }
}

#[test]
fn every_value_is_unknown_before_the_first_measurement() {
    let mut host = measuring("SEN55", 0);
    host.wait_ms(60);
    let unknown = [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0x7FFF, 0x7FFF, 0x7FFF, 0x7FFF];
    assert_eq!(values(&mut host), unknown);
    assert_eq!(host.ask(0x03D2, &[], 20, 4).unwrap(), [0x7FFF, 0x7FFF, 0xFFFF, 0xFFFF]);
    assert_eq!(host.ask(0x0413, &[], 20, 10).unwrap(), [0xFFFF; 10]);
    host.wait_ms(900);
    assert!(ready(&mut host));
    assert_ne!(values(&mut host), unknown);
    host.send(0x0104, &[]).unwrap();
    host.wait_ms(190);
    assert_eq!(host.send(0x0202, &[]), Err(host.no_answer()), "stopping takes 200 ms");
    host.wait_ms(10);
    assert!(!ready(&mut host));
    assert_eq!(values(&mut host), unknown);
}

#[test]
fn temperatures_below_zero_are_signed_and_values_clamped() {
    let mut host = measuring("SEN55", 70);
    host.set(Quantity::TEMPERATURE, -10.0);
    host.set(Quantity::PM10, 1e6);
    host.set(Quantity::HUMIDITY, 300.0);
    host.set(Quantity::VOC_INDEX, 9_000.0);
    host.set(Quantity::NOX_INDEX, -5.0);
    host.wait_ms(1_000);
    let words = values(&mut host);
    assert_eq!(words[3..], [0xFFFE, 10_000, (-2_000_i16).cast_unsigned(), 5_000, 10]);
}

#[test]
fn the_mode_without_pm_is_entered_from_the_other_and_left_without_learning_anew() {
    let mut host = measuring("SEN54", 70);
    host.send(0x0037, &[]).unwrap();
    host.wait_ms(1_000);
    assert_eq!(values(&mut host), [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 4_636, 4_928, 1_500, 0x7FFF]);
    assert_eq!(host.send(0x0037, &[]), Err(host.refused()), "in this mode already");
    host.send(0x0021, &[]).unwrap();
    host.wait_ms(2_000);
    let words = values(&mut host);
    assert!((1..173).contains(&words[1]), "the fan starts anew: {}", words[1]);
    assert_eq!(words[6], 1_500);
}

#[test]
fn indices_stand_at_their_averages_until_the_module_has_learned() {
    let mut host = measuring("SEN55", 30);
    assert_eq!(values(&mut host)[6..], [1_000, 10]);
    host.wait_ms(31_000);
    assert_eq!(values(&mut host)[6..], [1_500, 200]);
    let state = host.ask(0x6181, &[], 20, 4).unwrap();
    host.send(0x0104, &[]).unwrap();
    host.wait_ms(200);
    host.send(0x6181, &state).unwrap();
    host.wait_ms(20);
    assert_eq!(host.ask(0x6181, &[], 20, 4).unwrap(), state);
    host.send(0x0021, &[]).unwrap();
    host.wait_ms(1_100);
    assert_eq!(values(&mut host)[6..], [1_500, 200], "it went on where it was");
}

#[test]
fn nox_is_unknown_for_eleven_seconds_after_power_on_and_reset() {
    let mut host = measuring("SEN55", 70);
    host.send(0xD304, &[]).unwrap();
    host.wait_ms(100);
    host.send(0x0021, &[]).unwrap();
    host.wait_ms(9_000);
    assert_eq!(values(&mut host)[7], 0x7FFF);
    host.wait_ms(3_000);
    assert_eq!(values(&mut host)[7], 10);
}

#[test]
fn a_running_measurement_outlives_the_host_and_refuses_what_is_for_idle() {
    let mut host = measuring("SEN55", 70);
    for refused in [0x0021, 0xD014, 0xD033, 0xD100, 0x3F86, 0x1234] {
        assert_eq!(host.send(refused, &[]), Err(host.refused()), "{refused:#x}");
    }
    host.send(0x60D0, &[90, 24, 24, 60, 50, 230]).unwrap();
    host.wait_ms(20);
    assert_eq!(host.ask(0x60D0, &[], 20, 6).unwrap(), [100, 12, 12, 180, 50, 230], "no effect");
    assert!(ready(&mut host));
    assert_eq!(host.ask(0xD206, &[], 20, 2).unwrap(), [0, 0]);
}

#[test]
fn settings_are_read_back_where_they_are_in_range_and_lost_with_the_power() {
    let mut host = host("SEN55");
    for (code, set) in [
        (0x60B2, &[0xFF38, 100, 30][..]),
        (0x60C6, &[500]),
        (0x60D0, &[90, 24, 24, 60, 100, 200]),
        (0x60E1, &[2, 24, 12, 60, 50, 200]),
        (0x60F7, &[2]),
        (0x8004, &[0x0001, 0x5180]),
    ] {
        let before = host.ask(code, &[], 20, set.len()).unwrap();
        host.send(code, set).unwrap();
        host.wait_ms(20);
        assert_eq!(host.ask(code, &[], 20, set.len()).unwrap(), set, "{code:#x}");
        host.fault(Some(Fault::PowerLoss));
        let _ = host.send(code, &[]);
        host.wait_ms(50);
        assert_eq!(host.ask(code, &[], 20, set.len()).unwrap(), before, "{code:#x}");
    }
    for (code, wrong) in
        [(0x60D0, &[0, 12, 12, 180, 50, 230][..]), (0x60E1, &[1, 12, 13, 720, 50, 230]), (0x60F7, &[3])]
    {
        let before = host.ask(code, &[], 20, wrong.len()).unwrap();
        host.send(code, wrong).unwrap();
        host.wait_ms(20);
        assert_eq!(host.ask(code, &[], 20, wrong.len()).unwrap(), before, "{code:#x}");
    }
    let mut host = self::host("SEN50");
    assert_eq!(host.send(0x60D0, &[]), Err(host.refused()), "no gas sensor");
    assert_eq!(host.send(0x0037, &[]), Err(host.refused()));
}

#[test]
fn a_temperature_offset_moves_the_temperature_and_the_humidity_with_it() {
    let mut host = host("SEN54");
    host.set(Quantity::TEMPERATURE, 25.0);
    host.set(Quantity::HUMIDITY, 34.53);
    host.send(0x60B2, &[(-800_i16).cast_unsigned(), 0, 0]).unwrap();
    host.wait_ms(20);
    host.send(0x0021, &[]).unwrap();
    host.wait_ms(1_100);
    let words = values(&mut host);
    assert_eq!(words[5], 4_200, "21 Cel");
    assert!(words[4].abs_diff(4_400) < 5, "{}", words[4]);
}

#[test]
fn no_values_come_while_the_fan_is_cleaned_and_the_status_says_so() {
    let mut host = measuring("SEN50", 70);
    host.send(0x5607, &[]).unwrap();
    host.wait_ms(5_000);
    assert!(!ready(&mut host));
    assert_eq!(host.ask(0xD206, &[], 20, 2).unwrap(), double(1 << 19));
    host.wait_ms(6_000);
    assert!(ready(&mut host));
    assert_eq!(host.ask(0xD206, &[], 20, 2).unwrap(), double(0));
}

#[test]
fn a_blocked_fan_is_told_until_the_status_is_cleared() {
    let mut host = measuring("SEN55", 70);
    host.fault(Some(Fault::Broken));
    host.wait_ms(1_000);
    assert_eq!(host.ask(0xD206, &[], 20, 2).unwrap(), double(1 << 4));
    assert_eq!(values(&mut host)[..4], [0; 4]);
    host.fault(None);
    assert_eq!(host.ask(0xD210, &[], 20, 2).unwrap(), double(1 << 4));
    assert_eq!(host.ask(0xD206, &[], 20, 2).unwrap(), double(0));
}

#[test]
fn faults_show_as_the_chip_would_show_them() {
    let mut host = measuring("SEN55", 70);
    let _ = values(&mut host);
    host.fault(Some(Fault::Busy));
    host.wait_ms(60_000);
    assert!(!ready(&mut host));
    host.fault(Some(Fault::WrongId));
    host.send(0x0104, &[]).unwrap();
    host.wait_ms(200);
    assert_eq!(ascii(host.ask(0xD014, &[], 20, 16).unwrap()), "SEN54");
    assert_eq!(host.send(0xD014, &[1]), Err(host.refused()), "a word that nobody asked for");
}
