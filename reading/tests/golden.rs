//! Golden bytes of wire version 1.
//!
//! If a test here fails, do not change the test: deployed nodes and stored files hold these bytes.
//! `tests/wire/check.py` reads the same files with a decoder that shares nothing with this crate.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic in its helpers too")]

use reading::*;

const EPOCH: Epoch = Epoch([0xe9, 0x0c, 0x4a, 0x11, 0x22, 0x33, 0x44, 0x55]);
const BOOT: BootId = BootId([0xb0, 0x07, 0, 0, 0, 0, 0, 1]);
const STAMP: Stamp = Stamp { uptime_ms: 86_400_123, time_us: 1_764_000_000_123_456, clock: ClockState::SYNCED };

/// Ends up as `frames` in the order of the files: announcement is seq 1, and so on.
fn payloads() -> Vec<(&'static str, Payload)> {
    let label = |text| Label::new(text).unwrap();
    let sensor = |model: &str, address, serial: &str| Sensor {
        model: Text::new(model).unwrap(),
        bus: Text::new("i2c-1").unwrap(),
        address,
        serial: Text::new(serial).unwrap(),
        correction: Text::default(),
        simulated: false,
    };
    let reading = |sensor, quantity, value| Reading {
        sensor,
        quantity,
        value: Some(value),
        raw: None,
        flag: Flag::GOOD,
        reason: Reason::NONE,
    };
    vec![
        (
            "announcement",
            Payload::Announcement(Announcement {
                place: Place { city: label("seoul"), area: label("seongbuk"), node: label("roof-3") },
                addresses: vec![Text::new("/ip4/192.0.2.7/tcp/4710").unwrap()],
                sensors: vec![
                    sensor("BME280", 0x76, ""),
                    Sensor {
                        correction: Text::new("offset/1").unwrap(),
                        simulated: true,
                        ..sensor("SCD4x", 0x62, "f896-9f07-3bbe")
                    },
                ],
                firmware: Text::new("0.1.0").unwrap(),
                position: Some(Position {
                    latitude_e7: 375_894_000,
                    longitude_e7: 1_270_167_000,
                    altitude_m: Some(-3),
                }),
                previous: Some(Previous { epoch: Epoch([1, 2, 3, 4, 5, 6, 7, 8]), last_seq: 8640 }),
                certificate: vec![0xca, 0xfe],
            }),
        ),
        (
            "readings",
            Payload::Readings(Readings {
                announcement: 1,
                readings: vec![
                    reading(0, Quantity::TEMPERATURE, 21.5),
                    Reading { raw: Some(48.25), ..reading(0, Quantity::HUMIDITY, 45.0) },
                    Reading { flag: Flag::SUSPECT, reason: Reason::WARMING_UP, ..reading(1, Quantity::CO2, 417.0) },
                    Reading {
                        value: None,
                        flag: Flag::MISSING,
                        reason: Reason::NO_ANSWER,
                        ..reading(1, Quantity(900), 0.0)
                    },
                ],
            }),
        ),
        (
            "clock_fix",
            Payload::ClockFix(ClockFix { boot: BOOT, wall_at_zero_us: 1_763_913_600_000_456, uncertainty_ms: 25 }),
        ),
        (
            "event",
            Payload::Event(Event {
                code: EventCode::SENSOR_LOST,
                sensor: Some(1),
                detail: Text::new("SCD4x at 0x62 on i2c-1 does not answer").unwrap(),
            }),
        ),
        ("unknown_kind", Payload::Unknown(Kind(77), vec![0xde, 0xad, 0xbe, 0xef].into())),
    ]
}

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn version_1_is_written_and_read_as_it_always_was() {
    let mut author = Author::new(NodeKey::from_seed(*b"magpie golden bytes, version one"), EPOCH, BOOT);
    for (index, (name, payload)) in payloads().into_iter().enumerate() {
        let frame = author.sign(STAMP, &payload).unwrap();
        if let Some(directory) = std::env::var_os("MAGPIE_WRITE_NEW_GOLDEN") {
            let file = std::path::Path::new(&directory).join(format!("{name}.hex"));
            let hex: Vec<String> = frame.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let lines: Vec<String> = hex.chunks(32).map(|line| line.concat()).collect();
            std::fs::write(file, lines.join("\n") + "\n").unwrap();
        }
        let bytes = golden(name);
        assert!(frame.bytes() == bytes, "{name} is written differently now");

        let read = Frame::verify(&bytes).unwrap();
        assert_eq!(read.id(), FrameId { node: author.node(), epoch: EPOCH, seq: index as u64 + 1 });
        assert_eq!(read.boot(), BOOT);
        assert_eq!(read.stamp(), STAMP);
        assert_eq!(read.payload().unwrap(), payload, "{name}");
    }
}
