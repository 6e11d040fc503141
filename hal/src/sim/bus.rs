//! A virtual I2C bus with simulated chips on it, and behind the ports of multiplexers.

#[cfg(test)]
mod tests;

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
    /// Quantities that were set by hand and follow the world no more; at most those that the chip measures or feels.
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
        let felt = chip.quantities().iter().chain(chip.feels());
        for quantity in felt.filter(|quantity| !set_by_hand.contains(quantity)) {
            chip.set(*quantity, world.at(now, *quantity));
        }
    }
}
