use embedded_hal::delay::DelayNs;

use super::super::{MODELS, chip};
use super::*;

/// A chip that notes what happens to it, in one letter each, and refuses bytes above 0x7F.
struct Scribe(Arc<Mutex<String>>);

impl Scribe {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

impl Chip for Scribe {
    fn model(&self) -> &'static str {
        "scribe"
    }
    fn address(&self) -> u8 {
        0x21
    }
    fn start(&mut self, direction: Direction, _now: Duration) -> bool {
        self.note(if direction == Direction::Write { "W" } else { "R" });
        true
    }
    fn write(&mut self, byte: u8, _now: Duration) -> bool {
        self.note("w");
        byte < 0x80
    }
    fn read(&mut self, _now: Duration) -> u8 {
        self.note("r");
        0x5A
    }
    fn stop(&mut self, _now: Duration) {
        self.note(".");
    }
    fn quantities(&self) -> &'static [Quantity] {
        &[]
    }
    fn set(&mut self, _quantity: Quantity, _value: f64) -> bool {
        false
    }
    fn get(&self, _quantity: Quantity) -> Option<f64> {
        None
    }
    fn fault(&mut self, _fault: Option<Fault>) {}
}

fn with_an_sht40(bus: SimBus) -> SimBus {
    assert!(bus.attach(chip("SHT40").unwrap()).is_none());
    bus
}

#[test]
fn a_transaction_is_started_and_stopped_once_and_restarted_where_it_turns() {
    let notes = Arc::new(Mutex::new(String::new()));
    let mut bus = SimBus::new(Clock::virtual_time());
    bus.attach(Box::new(Scribe(notes.clone())));
    bus.write_read(0x21, &[1, 2], &mut [0; 2]).unwrap();
    bus.transaction(
        0x21,
        &mut [Operation::Write(&[1]), Operation::Write(&[2]), Operation::Read(&mut [0]), Operation::Write(&[3])],
    )
    .unwrap();
    assert_eq!(bus.write(0x21, &[1, 0x80, 3]), Err(SimError::Data(0x21)));
    bus.transaction(0x21, &mut []).unwrap();
    assert_eq!(*notes.lock().unwrap(), "WwwRrr.WwwRrWw.Www.");
}

#[test]
fn errors_say_who_was_silent_as_embedded_hal_asks() {
    let mut bus = SimBus::new(Clock::virtual_time());
    let error = bus.read(0x44, &mut [0]).unwrap_err();
    assert_eq!(i2c::Error::kind(&error), ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
    assert_eq!(error.to_string(), "address 0x44 not acknowledged");
    let kind = i2c::Error::kind(&SimError::Data(0x44));
    assert_eq!(kind, ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data));
}

#[test]
fn bytes_take_time_on_the_wire() {
    let mut bus = SimBus::new(Clock::virtual_time());
    bus.attach_at(0x22, Box::new(Scribe(Arc::default())));
    bus.write_read(0x22, &[1], &mut [0; 7]).unwrap();
    assert_eq!(bus.clock().now(), 10 * BYTE_TIME);
}

#[test]
fn a_quantity_follows_the_world_until_it_is_set_by_hand() {
    let world = World::new(5, 1.7e9);
    let mut bus = with_an_sht40(SimBus::in_world(Clock::virtual_time(), world));
    let touch = |bus: &mut SimBus| {
        let _ = bus.write(0x44, &[0xFD]);
        (bus.get(0x44, Quantity::TEMPERATURE).unwrap(), bus.get(0x44, Quantity::HUMIDITY).unwrap())
    };
    bus.clock().delay().delay_ms(3_600_000);
    let hour = bus.clock().now();
    assert_eq!(touch(&mut bus), (world.at(hour, Quantity::TEMPERATURE), world.at(hour, Quantity::HUMIDITY)));
    assert!(bus.set(0x44, Quantity::TEMPERATURE, -3.0));
    let now = bus.clock().now();
    assert_eq!(touch(&mut bus), (-3.0, world.at(now, Quantity::HUMIDITY)));
    bus.follow(0x44);
    assert!(touch(&mut bus).0 > 0.0);
    assert!(!bus.set(0x44, Quantity::CO2, 400.0), "not measured there");
    assert!(!bus.set(0x44, Quantity::TEMPERATURE, f64::NAN));
    assert!(!bus.set(0x45, Quantity::TEMPERATURE, 1.0), "nobody there");
}

#[test]
fn a_held_bus_blocks_until_it_is_let_go() {
    let bus = with_an_sht40(SimBus::new(Clock::virtual_time()));
    bus.clock().advance(Duration::from_secs(5));
    bus.hold(true);
    let mut driver = bus.clone();
    let blocked = std::thread::spawn(move || driver.write(0x44, &[0xFD]));
    std::thread::yield_now();
    assert_eq!(bus.clock().now(), Duration::from_secs(5), "no byte passes");
    assert!(bus.fault(0x44, Some(Fault::Unplugged)), "the handle still works");
    bus.hold(false);
    assert_eq!(blocked.join().unwrap(), Err(SimError::Address(0x44)));
}

#[test]
fn no_chip_panics_whatever_is_done_to_it() {
    let bus = SimBus::in_world(Clock::virtual_time(), World::new(1, 0.0));
    // Some share an address from the factory.
    let addresses: Vec<u8> = (0x10..).take(MODELS.len()).collect();
    for (address, model) in addresses.iter().zip(MODELS) {
        let chip = chip(model).unwrap();
        assert_eq!(chip.model(), *model);
        assert!(chip.quantities().iter().all(|quantity| chip.get(*quantity).is_some_and(f64::is_finite)), "{model}");
        bus.attach_at(*address, chip);
    }
    let mut driver = bus.clone();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize
    };
    for _ in 0..5_000 * addresses.len() {
        let address = addresses[random() % addresses.len()];
        match random() % 20 {
            0 => bus.clock().advance(Duration::from_millis(random() as u64 % 20_000)),
            1 => bus.clock().advance(Duration::from_nanos(random() as u64)),
            2 => assert!(bus.fault(address, Fault::ALL.get(random() % 12).copied())),
            3 => {
                let value = [f64::MAX, f64::MIN, 0.0, -273.15, 1e5][random() % 5];
                let _ = bus.set(address, Quantity::KNOWN[random() % Quantity::KNOWN.len()], value);
            }
            4..8 => {
                let _ = driver.read(address, &mut [0; 64][..random() % 64]);
            }
            _ => {
                let starts: [&[u8]; 20] = [
                    &[0xF4],
                    &[0xF2],
                    &[0xFD],
                    &[0x21, 0xB1],
                    &[0xEC, 0x05],
                    &[0x36, 0x2F, 0, 0, 0x81],
                    &[0x00, 0x10, 0x03, 0x00, 0xAC],
                    &[0x00, 0x21],
                    &[0x00, 0x37],
                    &[0x01, 0x04],
                    &[0x03, 0x00],
                    &[0x03, 0xC4],
                    &[0x10, 0x01],
                    &[0x11, 0x03],
                    &[0x20, 0x03],
                    &[0x20, 0x08],
                    &[0x21, 0x30],
                    &[0x26, 0x19, 0x80, 0x00, 0xA2, 0x66, 0x66, 0x93],
                    &[0x56, 0x07],
                    &[0xE0, 0x00],
                ];
                let mut bytes = starts[random() % starts.len()].to_vec();
                bytes.extend((0..random() % 4).map(|_| random() as u8));
                let _ = driver.write_read(address, &bytes, &mut [0; 12][..random() % 12]);
            }
        }
    }
}
