//! A virtual I2C bus with simulated chips on it, and behind the ports of multiplexers.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embedded_hal::i2c::{self, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation, SevenBitAddress};
use reading::Quantity;

use super::mux::Mux;
use super::{Chip, Clock, Direction, Fault, World};
use crate::place::Port;

/// The time of one byte with its acknowledge bit at 100 kHz, the Pi's default. Virtual time moves by it, so that a driver
/// that polls without waiting ends as it would on a real bus.
const BYTE_TIME: Duration = Duration::from_micros(90);

/// A bus. Clones are handles to the same bus: a driver holds one, and the test another with which it sets values and faults.
#[derive(Clone)]
pub struct SimBus {
    shared: Arc<Shared>,
    /// Where chips are placed and looked for by this handle. Transactions come from the host and begin on the bus itself, whatever
    /// this is.
    port: Option<Port>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    slots: BTreeMap<Place, Slot>,
    /// At most the eight that addresses allow.
    muxes: BTreeMap<SevenBitAddress, Mux>,
    world: Option<World>,
    held: bool,
}

/// On the bus itself, or behind a port.
type Place = (Option<Port>, SevenBitAddress);

struct Slot {
    chip: Box<dyn Chip>,
    /// Quantities that were set by hand and follow the world no more; at most those of the chip.
    set_by_hand: Vec<Quantity>,
}

/// Why a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// Nobody acknowledged the address: no chip there, or one that is busy.
    #[error("address {0:#04x} not acknowledged")]
    Address(SevenBitAddress),
    /// The chip at the address refused a byte.
    #[error("data not acknowledged by the chip at {0:#04x}")]
    Data(SevenBitAddress),
}

impl i2c::Error for SimError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::NoAcknowledge(match self {
            Self::Address(_) => NoAcknowledgeSource::Address,
            Self::Data(_) => NoAcknowledgeSource::Data,
        })
    }
}

impl SimBus {
    /// A bus without chips in a world where nothing changes but by [`SimBus::set`].
    pub fn new(clock: Clock) -> Self {
        Self::with(clock, None)
    }

    /// A bus without chips, whose chips feel `world`: it is brought up to date before each transaction.
    pub fn in_world(clock: Clock, world: World) -> Self {
        Self::with(clock, Some(world))
    }

    fn with(clock: Clock, world: Option<World>) -> Self {
        let state = Mutex::new(State { slots: BTreeMap::new(), muxes: BTreeMap::new(), world, held: false });
        Self { shared: Arc::new(Shared { clock, state, released: Condvar::new() }), port: None }
    }

    /// The bus's clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Puts a multiplexer, a TCA9548A, on the bus itself, in place of one that was there.
    pub fn attach_mux(&self, address: SevenBitAddress) {
        self.lock().muxes.insert(address, Mux::new(address));
    }

    /// The addresses of the multiplexers.
    pub fn muxes(&self) -> Vec<SevenBitAddress> {
        self.lock().muxes.keys().copied().collect()
    }

    /// The same bus; the chips that this handle places, sets and spoils are those behind a multiplexer's port.
    pub fn behind(&self, port: Port) -> Self {
        Self { port: Some(port), ..self.clone() }
    }

    /// Puts a chip at its own address. Returns the chip that it displaces.
    pub fn attach(&self, chip: Box<dyn Chip>) -> Option<Box<dyn Chip>> {
        self.attach_at(chip.address(), chip)
    }

    /// Puts a chip at a 7-bit address. Returns the chip that it displaces.
    pub fn attach_at(&self, address: SevenBitAddress, chip: Box<dyn Chip>) -> Option<Box<dyn Chip>> {
        self.lock().slots.insert((self.port, address), Slot { chip, set_by_hand: Vec::new() }).map(|slot| slot.chip)
    }

    /// Takes the chip at an address off the bus.
    pub fn detach(&self, address: SevenBitAddress) -> Option<Box<dyn Chip>> {
        self.lock().slots.remove(&(self.port, address)).map(|slot| slot.chip)
    }

    /// Makes the world around the chip at `address` be `value`, in the quantity's unit, until [`SimBus::follow`]. Returns
    /// `false`, changing nothing, where no chip is or the chip refuses (see [`Chip::set`]).
    pub fn set(&self, address: SevenBitAddress, quantity: Quantity, value: f64) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&(self.port, address)) else { return false };
        let taken = slot.chip.set(quantity, value);
        if taken && !slot.set_by_hand.contains(&quantity) {
            slot.set_by_hand.push(quantity);
        }
        taken
    }

    /// What the world around the chip at `address` is, in the quantity's unit, as of the last transaction.
    pub fn get(&self, address: SevenBitAddress, quantity: Quantity) -> Option<f64> {
        self.lock().slots.get(&(self.port, address)).and_then(|slot| slot.chip.get(quantity))
    }

    /// Lets the chip at `address` follow the bus's world again after [`SimBus::set`].
    pub fn follow(&self, address: SevenBitAddress) {
        if let Some(slot) = self.lock().slots.get_mut(&(self.port, address)) {
            slot.set_by_hand.clear();
        }
    }

    /// Replaces the fault of the chip or the multiplexer at `address`; `None` heals it. Returns whether there is one.
    pub fn fault(&self, address: SevenBitAddress, fault: Option<Fault>) -> bool {
        let state = &mut *self.lock();
        if let Some(slot) = state.slots.get_mut(&(self.port, address)) {
            slot.chip.fault(fault);
            return true;
        }
        let mux = state.muxes.get_mut(&address).filter(|_| self.port.is_none());
        mux.map(|mux| mux.fault(fault)).is_some()
    }

    /// Holds the bus, as a chip that keeps SDA low does: transactions do not return until it is let go.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.shared.released.notify_all();
    }

    /// A panic of another holder leaves no half-made state behind, so its poison is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_when_free(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.shared.released.wait_while(state, |state| state.held).unwrap_or_else(PoisonError::into_inner)
    }

    /// The time after one more byte on the wire.
    fn byte(&self) -> Duration {
        self.shared.clock.advance(BYTE_TIME);
        self.shared.clock.now()
    }

    /// The bytes of one transaction, without its stop condition. Whoever has the address takes part: several pull the wire low
    /// together, so that one acknowledgement is enough and a bit that one of them sends as zero is zero.
    fn transfer(
        &self,
        chips: &mut [&mut dyn Chip],
        address: SevenBitAddress,
        operations: &mut [Operation<'_>],
    ) -> Result<(), SimError> {
        let mut direction = None;
        // A chip that did not acknowledge its address stays out until the next start.
        let mut listening = vec![false; chips.len()];
        for operation in operations {
            let wanted = match operation {
                Operation::Write(_) => Direction::Write,
                Operation::Read(_) => Direction::Read,
            };
            // Neighbours of one direction are one message; a change of direction is a repeated start.
            if direction.replace(wanted) != Some(wanted) {
                let now = self.byte();
                for (listens, chip) in listening.iter_mut().zip(chips.iter_mut()) {
                    *listens = chip.start(wanted, now);
                }
                if !listening.contains(&true) {
                    return Err(SimError::Address(address));
                }
            }
            let mut listeners: Vec<_> =
                chips.iter_mut().zip(&listening).filter(|(_, listens)| **listens).map(|(chip, _)| chip).collect();
            match operation {
                Operation::Write(bytes) => {
                    for byte in bytes.iter() {
                        let now = self.byte();
                        let taken = listeners.iter_mut().fold(false, |taken, chip| chip.write(*byte, now) | taken);
                        if !taken {
                            return Err(SimError::Data(address));
                        }
                    }
                }
                Operation::Read(bytes) => {
                    for byte in bytes.iter_mut() {
                        let now = self.byte();
                        *byte = listeners.iter_mut().fold(0xFF, |wire, chip| wire & chip.read(now));
                    }
                }
            }
        }
        Ok(())
    }
}

impl ErrorType for SimBus {
    type Error = SimError;
}

impl I2c<SevenBitAddress> for SimBus {
    fn transaction(&mut self, address: SevenBitAddress, operations: &mut [Operation<'_>]) -> Result<(), SimError> {
        let mut state = self.lock_when_free();
        if operations.is_empty() {
            return Ok(());
        }
        let State { slots, muxes, world, .. } = &mut *state;
        let is_joined = |port: Option<Port>| {
            port.is_none_or(|port| muxes.get(&port.mux).is_some_and(|mux| mux.joins(port.channel)))
        };
        let now = self.shared.clock.now();
        let mut chips: Vec<&mut dyn Chip> = Vec::new();
        for (_, slot) in slots.iter_mut().filter(|((port, at), _)| *at == address && is_joined(*port)) {
            if let Some(world) = world {
                slot.follow(world, now);
            }
            chips.push(slot.chip.as_mut());
        }
        if let Some(mux) = muxes.get_mut(&address) {
            chips.push(mux);
        }
        if chips.is_empty() {
            self.byte();
            return Err(SimError::Address(address));
        }
        let result = self.transfer(&mut chips, address, operations);
        let now = self.shared.clock.now();
        chips.iter_mut().for_each(|chip| chip.stop(now));
        result
    }
}

impl Slot {
    fn follow(&mut self, world: &World, now: Duration) {
        let Self { chip, set_by_hand } = self;
        for quantity in chip.quantities().iter().filter(|quantity| !set_by_hand.contains(quantity)) {
            chip.set(*quantity, world.at(now, *quantity));
        }
    }
}

#[cfg(test)]
mod tests {
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
            assert!(
                chip.quantities().iter().all(|quantity| chip.get(*quantity).is_some_and(f64::is_finite)),
                "{model}"
            );
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
}
