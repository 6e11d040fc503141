//! A virtual I2C bus with simulated chips on it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embedded_hal::i2c::{self, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation, SevenBitAddress};
use reading::Quantity;

use super::{Chip, Clock, Direction, Fault, World};

/// The time of one byte with its acknowledge bit at 100 kHz, the Pi's default. Virtual time moves by it, so that a driver
/// that polls without waiting ends as it would on a real bus.
const BYTE_TIME: Duration = Duration::from_micros(90);

/// A bus. Clones are handles to the same bus: a driver holds one, and the test another with which it sets values and faults.
#[derive(Clone)]
pub struct SimBus(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    slots: BTreeMap<SevenBitAddress, Slot>,
    world: Option<World>,
    held: bool,
}

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
        let state = Mutex::new(State { slots: BTreeMap::new(), world, held: false });
        Self(Arc::new(Shared { clock, state, released: Condvar::new() }))
    }

    /// The bus's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Puts a chip at its own address. Returns the chip that it displaces.
    pub fn attach(&self, chip: Box<dyn Chip>) -> Option<Box<dyn Chip>> {
        self.attach_at(chip.address(), chip)
    }

    /// Puts a chip at a 7-bit address. Returns the chip that it displaces.
    pub fn attach_at(&self, address: SevenBitAddress, chip: Box<dyn Chip>) -> Option<Box<dyn Chip>> {
        self.lock().slots.insert(address, Slot { chip, set_by_hand: Vec::new() }).map(|slot| slot.chip)
    }

    /// Takes the chip at an address off the bus.
    pub fn detach(&self, address: SevenBitAddress) -> Option<Box<dyn Chip>> {
        self.lock().slots.remove(&address).map(|slot| slot.chip)
    }

    /// Makes the world around the chip at `address` be `value`, in the quantity's unit, until [`SimBus::follow`]. Returns
    /// `false`, changing nothing, where no chip is or the chip refuses (see [`Chip::set`]).
    pub fn set(&self, address: SevenBitAddress, quantity: Quantity, value: f64) -> bool {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(&address) else { return false };
        let taken = slot.chip.set(quantity, value);
        if taken && !slot.set_by_hand.contains(&quantity) {
            slot.set_by_hand.push(quantity);
        }
        taken
    }

    /// What the world around the chip at `address` is, in the quantity's unit, as of the last transaction.
    pub fn get(&self, address: SevenBitAddress, quantity: Quantity) -> Option<f64> {
        self.lock().slots.get(&address).and_then(|slot| slot.chip.get(quantity))
    }

    /// Lets the chip at `address` follow the bus's world again after [`SimBus::set`].
    pub fn follow(&self, address: SevenBitAddress) {
        if let Some(slot) = self.lock().slots.get_mut(&address) {
            slot.set_by_hand.clear();
        }
    }

    /// Replaces the fault of the chip at `address`; `None` heals it. Returns whether there is a chip.
    pub fn fault(&self, address: SevenBitAddress, fault: Option<Fault>) -> bool {
        self.lock().slots.get_mut(&address).map(|slot| slot.chip.fault(fault)).is_some()
    }

    /// Holds the bus, as a chip that keeps SDA low does: transactions do not return until it is let go.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.0.released.notify_all();
    }

    /// A panic of another holder leaves no half-made state behind, so its poison is ignored.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_when_free(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.0.released.wait_while(state, |state| state.held).unwrap_or_else(PoisonError::into_inner)
    }

    /// The time after one more byte on the wire.
    fn byte(&self) -> Duration {
        self.0.clock.advance(BYTE_TIME);
        self.0.clock.now()
    }

    /// The bytes of one transaction, without its stop condition.
    fn transfer(
        &self,
        chip: &mut dyn Chip,
        address: SevenBitAddress,
        operations: &mut [Operation<'_>],
    ) -> Result<(), SimError> {
        let mut direction = None;
        for operation in operations {
            let wanted = match operation {
                Operation::Write(_) => Direction::Write,
                Operation::Read(_) => Direction::Read,
            };
            // Neighbours of one direction are one message; a change of direction is a repeated start.
            if direction.replace(wanted) != Some(wanted) && !chip.start(wanted, self.byte()) {
                return Err(SimError::Address(address));
            }
            match operation {
                Operation::Write(bytes) => {
                    if !bytes.iter().all(|byte| chip.write(*byte, self.byte())) {
                        return Err(SimError::Data(address));
                    }
                }
                Operation::Read(bytes) => bytes.iter_mut().for_each(|byte| *byte = chip.read(self.byte())),
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
        let world = state.world;
        let Some(Slot { chip, set_by_hand }) = state.slots.get_mut(&address) else {
            self.byte();
            return Err(SimError::Address(address));
        };
        if let Some(world) = world {
            let now = self.0.clock.now();
            for quantity in chip.quantities().iter().filter(|quantity| !set_by_hand.contains(quantity)) {
                chip.set(*quantity, world.at(now, *quantity));
            }
        }
        let result = self.transfer(chip.as_mut(), address, operations);
        chip.stop(self.0.clock.now());
        result
    }
}
