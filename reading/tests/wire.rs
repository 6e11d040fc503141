//! What must hold of every frame, whoever made it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic in its helpers too")]

use proptest::prelude::*;
use reading::*;

fn author() -> Author {
    Author::new(NodeKey::from_seed([3; 32]), Epoch([9; 8]), BootId([5; 8]))
}

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    "[ -~\u{a0}-\u{3ff}]{0,12}".prop_map(|text| Text::lossy(&text))
}

fn label() -> impl Strategy<Value = Label> {
    "[a-z0-9_-]{1,32}".prop_map(|text| Label::new(&text).unwrap())
}

fn finite() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |value| value.is_finite())
}

fn reading() -> impl Strategy<Value = Reading> {
    (any::<u8>(), any::<u16>(), proptest::option::of(finite()), proptest::option::of(finite()), 0..16u8, any::<u8>())
        .prop_map(|(sensor, quantity, value, raw, flag, reason)| {
            let flag = match value {
                None => Flag::MISSING,
                Some(_) if flag == 9 => Flag::GOOD,
                Some(_) => Flag(flag),
            };
            Reading { sensor, quantity: Quantity(quantity), value, raw, flag, reason: Reason(reason) }
        })
}

fn sensor() -> impl Strategy<Value = Sensor> {
    (text(), text(), any::<u8>(), text(), text(), any::<bool>()).prop_map(
        |(model, bus, address, serial, correction, simulated)| Sensor {
            model,
            bus,
            address,
            serial,
            correction,
            simulated,
        },
    )
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let place = (label(), label(), label()).prop_map(|(city, area, node)| Place { city, area, node });
    let position = proptest::option::of(
        (any::<i32>(), any::<i32>(), proptest::option::of(any::<i16>()))
            .prop_map(|(latitude_e7, longitude_e7, altitude_m)| Position { latitude_e7, longitude_e7, altitude_m }),
    );
    let previous = proptest::option::of(
        (any::<[u8; 8]>(), any::<u64>()).prop_map(|(epoch, last_seq)| Previous { epoch: Epoch(epoch), last_seq }),
    );
    (
        place,
        proptest::collection::vec(text(), 0..=MAX_ADDRESSES),
        proptest::collection::vec(sensor(), 0..=MAX_SENSORS),
        text(),
        position,
        previous,
        proptest::collection::vec(any::<u8>(), 0..=MAX_CERTIFICATE_BYTES),
    )
        .prop_map(|(place, addresses, sensors, firmware, position, previous, certificate)| Announcement {
            place,
            addresses,
            sensors,
            firmware,
            position,
            previous,
            certificate,
        })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        announcement().prop_map(Payload::Announcement),
        (any::<u64>(), proptest::collection::vec(reading(), 0..=MAX_READINGS))
            .prop_map(|(announcement, readings)| Payload::Readings(Readings { announcement, readings })),
        (any::<[u8; 8]>(), any::<i64>(), any::<u32>()).prop_map(|(boot, wall_at_zero_us, uncertainty_ms)| {
            Payload::ClockFix(ClockFix { boot: BootId(boot), wall_at_zero_us, uncertainty_ms })
        }),
        (any::<u16>(), proptest::option::of(any::<u8>()), text())
            .prop_map(|(code, sensor, detail)| Payload::Event(Event { code: EventCode(code), sensor, detail })),
        (5..u16::MAX, proptest::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(kind, bytes)| Payload::Unknown(Kind(kind), bytes.into())),
    ]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<i64>(), 1..=3u8).prop_map(|(uptime_ms, time_us, clock)| Stamp {
        uptime_ms,
        time_us,
        clock: ClockState(clock),
    })
}

proptest! {
    #[test]
    fn what_is_signed_is_read_back_the_same(payload in payload(), stamp in stamp()) {
        let frame = author().sign(stamp, &payload).unwrap();
        let read = Frame::verify(frame.bytes()).unwrap();
        prop_assert_eq!(read.payload().unwrap(), payload);
        prop_assert_eq!(read.stamp(), stamp);
        prop_assert_eq!(read.id(), frame.id());
        prop_assert_eq!(read.bytes(), frame.bytes());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused(payload in payload(), stamp in stamp(), at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let frame = author().sign(stamp, &payload).unwrap();
        let mut bytes = frame.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Frame::verify(&bytes).is_err());
    }

    #[test]
    fn a_cut_or_lengthened_frame_is_refused(payload in payload(), stamp in stamp(), keep in any::<proptest::sample::Index>()) {
        let frame = author().sign(stamp, &payload).unwrap();
        prop_assert!(Frame::verify(&frame.bytes()[..keep.index(frame.bytes().len())]).is_err());
        let longer = [frame.bytes(), &[0]].concat();
        prop_assert!(Frame::verify(&longer).is_err());
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 1..=4u16) {
        let _ = Frame::verify(&bytes);
        // The payload decoder sees only what a key signed, but a key may belong to a fool.
        let author = &mut author();
        if let Ok(frame) = author.sign(Stamp { uptime_ms: 0, time_us: 0, clock: ClockState::SYNCED }, &Payload::Unknown(Kind(kind), bytes.clone().into())) {
            let _ = frame.payload();
        }
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let _ = Frame::verify(&bytes);
    }
}

fn now() -> Stamp {
    Stamp { uptime_ms: 30 * 86_400_000, time_us: 1_764_000_000_123_456, clock: ClockState::SYNCED }
}

fn seven(raw: Option<f32>) -> Payload {
    let reading = Reading {
        sensor: 3,
        quantity: Quantity::PM2_5,
        value: Some(12.5),
        raw,
        flag: Flag::GOOD,
        reason: Reason::NONE,
    };
    Payload::Readings(Readings { announcement: 1, readings: vec![reading; 7] })
}

#[test]
fn seven_readings_fit_the_air() {
    let mut author = author();
    for _ in 0..20_000 {
        author.sign(now(), &Payload::Unknown(Kind(77), Box::default())).unwrap();
    }
    let plain = author.sign(now(), &seven(None)).unwrap();
    assert!(plain.bytes().len() <= 192, "{} bytes", plain.bytes().len());
    let with_raw = author.sign(now(), &seven(Some(13.0))).unwrap();
    assert!(with_raw.bytes().len() <= 220, "{} bytes", with_raw.bytes().len());
}

#[test]
fn no_frame_is_signed_that_could_not_be_read_back() {
    let mut author = author();
    let mut refuse = |payload: Payload, says: &str| {
        let error = author.sign(now(), &payload).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(author.last_seq(), 0, "a refused payload must not use up a number");
    };
    let reading =
        |value, flag| Reading { sensor: 0, quantity: Quantity::CO2, value, raw: None, flag, reason: Reason::NONE };
    let readings = |reading| Payload::Readings(Readings { announcement: 1, readings: vec![reading] });
    refuse(readings(reading(Some(f32::NAN), Flag::GOOD)), "readings cannot be encoded");
    refuse(readings(reading(Some(f32::INFINITY), Flag::FAIL)), "readings cannot be encoded");
    refuse(readings(reading(None, Flag::GOOD)), "readings cannot be encoded");
    refuse(readings(reading(Some(1.0), Flag::MISSING)), "readings cannot be encoded");
    refuse(readings(reading(Some(1.0), Flag(16))), "readings cannot be encoded");
    let many = Payload::Readings(Readings { announcement: 1, readings: vec![reading(Some(1.0), Flag::GOOD); 256] });
    refuse(many, "beyond its limits");
    refuse(Payload::Unknown(Kind(77), vec![0; MAX_FRAME_BYTES].into()), "longer than 8192");
}

#[test]
fn another_version_has_a_name_of_its_own_so_that_it_can_be_ignored() {
    let frame = author().sign(now(), &seven(None)).unwrap();
    let mut bytes = frame.bytes().to_vec();
    bytes[0] = 2;
    assert_eq!(Frame::verify(&bytes), Err(FrameError::UnknownVersion(2)));
    assert_eq!(Frame::verify(&[]), Err(FrameError::TooShort(0)));
    assert_eq!(Frame::verify(&vec![1; MAX_FRAME_BYTES + 1]), Err(FrameError::TooLarge(MAX_FRAME_BYTES + 1)));
}
