//! Makes up for what QEMU's model of the Pi's I2C controller, hw/i2c/bcm2835_i2c.c, leaves behind after a refusal, and after a transfer that
//! the guest gave up.

use std::ffi::CStr;
use std::ptr::null_mut;

use hal::sim::Direction;

use super::abi::{Object, qemu, refuse};
use super::with_slot;

// A real bus ends a transfer when a chip refuses a byte. The model tells the guest, but leaves its bus in the transfer,
// and sends what follows, whatever its address, to the same chip. So the transfer is ended here: from QEMU's main loop,
// because the bus is being walked during the refusal; and, should the guest be faster than that, at its next start,
// which then fails once.

/// To be called when the chip refused a byte.
pub(super) fn finish_transfer_soon(object: *mut Object) {
    extern "C" fn from_main_loop(object: *mut Object) {
        if with_slot(object, |slot| slot.is_unfinished()) {
            finish_transfer(object);
        }
    }
    // SAFETY: the chips of the virtual Pi stay until QEMU ends, so the object is there when the main loop comes to it.
    unsafe {
        let context = (qemu().qemu_get_aio_context)();
        (qemu().aio_bh_schedule_oneshot_full)(context, from_main_loop, object, c"magpie-chip".as_ptr());
    }
}

fn finish_transfer(object: *mut Object) {
    // SAFETY: the device is on a bus, for it is in a transfer there. `I2CBus` begins with its `BusState`. Called at a start,
    // this frees the bus's list of addressed devices, which QEMU does not look at again when the start is refused.
    unsafe { (qemu().i2c_end_transfer)(controllers_bus(object)) };
}

// A guest that was kept waiting for longer than its driver waits gives a transfer up, and the model leaves it on the bus. The next
// start comes to the chips of that transfer, whatever address it is for; so it is refused, and ends the old one.
//
// When a write is refused at its address, the model keeps saying that it wants bytes to send. If the next transfer is a
// read, the guest's driver believes that, and the model sends the chip what is in the guest's buffer, as a successful
// "read". So a read takes that back.

/// include/hw/i2c/bcm2835_i2c.h, `BCM2835_I2C_S_TXW` and `BCM2835_I2C_C_I2CEN`.
const STATUS_WANTS_BYTES: u32 = 1 << 2;
const CONTROL_ENABLED: u32 = 1 << 15;

/// To be called at each start. Returns whether the start is this device's own; if not, it must be refused.
pub(super) fn begin_transfer(object: *mut Object, direction: Direction) -> bool {
    // SAFETY: a plain question.
    let address = unsafe { (qemu().object_property_get_uint)(object, c"address".as_ptr(), null_mut()) };
    let registers = registers(controllers_bus(object));
    // SAFETY: the registers stay, and QEMU, whose lock is held, does not touch them meanwhile.
    let is_for_another = registers.is_some_and(|registers| unsafe { u64::from((*registers).address) != address });
    if is_for_another || with_slot(object, |slot| slot.is_unfinished()) {
        finish_transfer(object);
        return false;
    }
    if let Some(registers) = registers
        && direction == Direction::Read
    {
        // SAFETY: as above.
        unsafe { (*registers).status &= !STATUS_WANTS_BYTES };
    }
    true
}

/// How far into the controller's structure its registers are looked for; they are at about 900 bytes.
const SEARCHED_WORDS: usize = 256;

/// include/hw/i2c/bcm2835_i2c.h, the end of `BCM2835I2CState`.
#[repr(C)]
struct Registers {
    bus: *mut Object,
    irq: usize,
    control: u32,
    status: u32,
    length: u32,
    address: u32,
}

impl Registers {
    /// Whether these are the registers of a controller that begins a transfer on this bus; its device, too, knows the bus.
    fn are_of(&self, bus: *mut Object) -> bool {
        let is_enabled = self.control & CONTROL_ENABLED != 0;
        self.bus == bus && is_enabled && self.control <= 0xffff && self.length <= 0xffff && self.address <= 0x7f
    }
}

/// The registers of the controller that begins a transfer on a bus; none on a bus of another kind of controller.
fn registers(bus: *mut Object) -> Option<*mut Registers> {
    let controller = owner_of(bus).filter(|owner| is_a(*owner, c"bcm2835-i2c"))?;
    for word in 0..SEARCHED_WORDS {
        // SAFETY: the controllers are in the middle of the structure of all peripherals, which is larger than what is
        // searched; and QEMU, whose lock is held, does not touch it meanwhile.
        unsafe {
            let registers = controller.cast::<usize>().add(word).cast::<Registers>();
            if (*registers).are_of(bus) {
                return Some(registers);
            }
        }
    }
    refuse("BCM2835I2CState is laid out otherwise than in QEMU 10.0")
}

/// The bus on which the controller addresses a device: behind multiplexers it is not the device's own. The devices that are
/// addressed are listed there.
fn controllers_bus(object: *mut Object) -> *mut Object {
    // SAFETY: the device is on a bus, for it is addressed there; so is each multiplexer on the way.
    let bus_of = |device| unsafe { (qemu().qdev_get_parent_bus)(device) };
    let mut bus = bus_of(object);
    while let Some(multiplexer) = owner_of(bus).filter(|owner| is_a(*owner, c"pca9548")) {
        bus = bus_of(multiplexer);
    }
    bus
}

/// The device that a bus is the child of.
fn owner_of(bus: *mut Object) -> Option<*mut Object> {
    // SAFETY: the path is a text that is ours to free; the owner of a bus in use stays.
    unsafe {
        let path = (qemu().object_get_canonical_path)(bus);
        let text = CStr::from_ptr(path).to_string_lossy().into_owned();
        (qemu().g_free)(path.cast());
        let parent = super::c_text(text.rsplit_once('/')?.0);
        let owner = (qemu().object_resolve_path)(parent.as_ptr(), null_mut());
        (!owner.is_null()).then_some(owner)
    }
}

fn is_a(object: *mut Object, expected: &CStr) -> bool {
    // SAFETY: a type's name is a text that stays.
    unsafe { CStr::from_ptr((qemu().object_get_typename)(object)) == expected }
}
