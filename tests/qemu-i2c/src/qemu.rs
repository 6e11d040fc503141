//! QEMU's object model, as far as one I2C device needs it. All `unsafe` of this library is here.
//!
//! Two things make it sound. QEMU calls everything below with its global lock held, so that no two calls run at once
//! and no object goes away during one. And a device's own state is not kept inside QEMU's object, where it would depend
//! on the size of QEMU's structures, but in a table of ours under the object's address.
//!
//! A panic in an `extern "C"` function ends the process; it never unwinds into QEMU.
#![expect(unsafe_code, reason = "this is the border to a C program")]

mod abi;
mod controller;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hal::sim::Direction;

use self::abi::{
    Class, Error, I2cClass, Object, Realize, TypeInfo, Visitor, check_device_class, check_i2c_class, check_version,
    qemu, refuse, symbol,
};
use crate::slot::Slot;

/// The devices that exist, by the address of their object.
static SLOTS: Mutex<BTreeMap<usize, Slot>> = Mutex::new(BTreeMap::new());

// === The device type ===

static MAGPIE_CHIP: TypeInfo = TypeInfo {
    name: c"magpie-chip".as_ptr(),
    parent: c"i2c-slave".as_ptr(),
    instance_size: 0,
    instance_align: 0,
    instance_init: Some(instance_init),
    instance_post_init: None,
    instance_finalize: Some(instance_finalize),
    is_abstract: false,
    class_size: 0,
    class_init: Some(class_init),
    class_base_init: None,
    class_data: null_mut(),
    interfaces: null(),
};

/// Runs when the library is loaded, before QEMU's `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = {
    extern "C" fn on_load() {
        /// include/qemu/module.h
        const MODULE_INIT_QOM: c_int = 3;
        let address = symbol("register_module_init");
        // A shell or another program on the way to QEMU inherits LD_PRELOAD and is left alone.
        if address.is_null() {
            return;
        }
        // SAFETY: include/qemu/module.h declares it so. It only adds to a list that `main` works through later.
        unsafe {
            type RegisterModuleInit = unsafe extern "C" fn(extern "C" fn(), c_int);
            std::mem::transmute::<*mut c_void, RegisterModuleInit>(address)(register_type, MODULE_INIT_QOM);
        }
    }
    on_load
};

extern "C" fn register_type() {
    check_version();
    check_device_class();
    // SAFETY: the description lives as long as the program.
    unsafe { (qemu().type_register_static)(&raw const MAGPIE_CHIP) };
}

/// The `realize` that QEMU's own classes had set before ours.
static PARENT_REALIZE: OnceLock<Option<Realize>> = OnceLock::new();

extern "C" fn class_init(class: *mut Class, _: *mut c_void) {
    // SAFETY: QEMU hands over a new class of a type derived from `i2c-slave`, whose layout is checked before it is
    // written.
    let i2c_class = unsafe { &mut *class.cast::<I2cClass>() };
    check_i2c_class(i2c_class);
    i2c_class.send = Some(send);
    i2c_class.recv = Some(receive);
    i2c_class.event = Some(event);
    let mut parent_realize = None;
    // SAFETY: as above. The names live for the length of the calls, in which QEMU copies them.
    unsafe {
        (qemu().device_class_set_parent_realize)(class, realize, &raw mut parent_realize);
        let add = qemu().object_class_property_add;
        for name in Slot::texts() {
            add(class, c_text(name).as_ptr(), c"str".as_ptr(), get_text, set_text, 0, null_mut());
        }
        for name in Slot::numbers() {
            add(class, c_text(&name).as_ptr(), c"number".as_ptr(), get_number, set_number, 0, null_mut());
        }
    }
    PARENT_REALIZE.get_or_init(|| parent_realize);
}

extern "C" fn instance_init(object: *mut Object) {
    slots().insert(object.addr(), Slot::default());
}

extern "C" fn instance_finalize(object: *mut Object) {
    slots().remove(&object.addr());
}

/// The last step before the device is part of the machine, when its properties are set.
extern "C" fn realize(object: *mut Object, error: *mut *mut Error) {
    if let Err(problem) = with_slot(object, |slot| slot.check()) {
        return set_error(error, &problem);
    }
    if let Some(Some(parent)) = PARENT_REALIZE.get() {
        parent(object, error);
    }
}

fn slots() -> MutexGuard<'static, BTreeMap<usize, Slot>> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_slot<T>(object: *mut Object, f: impl FnOnce(&mut Slot) -> T) -> T {
    match slots().get_mut(&object.addr()) {
        Some(slot) => f(slot),
        None => refuse("QEMU calls a device that it has not made"),
    }
}

// === The bus ===

const ACK: c_int = 0;
const NACK: c_int = 1;

/// include/hw/i2c/i2c.h, `enum i2c_event`.
const I2C_START_RECV: c_int = 0;
const I2C_START_SEND: c_int = 1;
const I2C_FINISH: c_int = 3;

extern "C" fn event(object: *mut Object, event: c_int) -> c_int {
    let direction = match event {
        I2C_START_SEND => Direction::Write,
        I2C_START_RECV => Direction::Read,
        I2C_FINISH => {
            with_slot(object, |slot| slot.stop(now()));
            return ACK;
        }
        _ => return ACK,
    };
    if !controller::begin_transfer(object, direction) {
        return NACK;
    }
    ack(with_slot(object, |slot| slot.start(direction, now())))
}

extern "C" fn send(object: *mut Object, byte: u8) -> c_int {
    let acknowledged = with_slot(object, |slot| slot.write(byte, now()));
    if !acknowledged {
        controller::finish_transfer_soon(object);
    }
    ack(acknowledged)
}

extern "C" fn receive(object: *mut Object) -> u8 {
    with_slot(object, |slot| slot.read(now()))
}

fn ack(acknowledged: bool) -> c_int {
    if acknowledged { ACK } else { NACK }
}

/// The guest's time: it stands still while the guest does.
fn now() -> Duration {
    /// include/qemu/timer.h
    const QEMU_CLOCK_VIRTUAL: c_int = 1;
    // SAFETY: a plain question.
    let ns = unsafe { (qemu().qemu_clock_get_ns)(QEMU_CLOCK_VIRTUAL) };
    Duration::from_nanos(ns.unsigned_abs())
}

// === Properties ===

extern "C" fn get_number(
    object: *mut Object,
    visitor: *mut Visitor,
    name: *const c_char,
    _: *mut c_void,
    error: *mut *mut Error,
) {
    match with_slot(object, |slot| slot.number(&rust_text(name))) {
        // SAFETY: QEMU's visitor takes the number out of the variable that it is given.
        Ok(mut value) => unsafe {
            (qemu().visit_type_number)(visitor, name, &raw mut value, error);
        },
        Err(problem) => set_error(error, &problem),
    }
}

extern "C" fn set_number(
    object: *mut Object,
    visitor: *mut Visitor,
    name: *const c_char,
    _: *mut c_void,
    error: *mut *mut Error,
) {
    let mut value = 0.0;
    // SAFETY: QEMU's visitor puts the number into the variable, or sets the error.
    if unsafe { (qemu().visit_type_number)(visitor, name, &raw mut value, error) }
        && let Err(problem) = with_slot(object, |slot| slot.set_number(&rust_text(name), value))
    {
        set_error(error, &problem);
    }
}

extern "C" fn get_text(
    object: *mut Object,
    visitor: *mut Visitor,
    name: *const c_char,
    _: *mut c_void,
    error: *mut *mut Error,
) {
    let text = c_text(&with_slot(object, |slot| slot.text(&rust_text(name))));
    let mut pointer = text.as_ptr().cast_mut();
    // SAFETY: QEMU's visitor copies the text.
    unsafe { (qemu().visit_type_str)(visitor, name, &raw mut pointer, error) };
}

extern "C" fn set_text(
    object: *mut Object,
    visitor: *mut Visitor,
    name: *const c_char,
    _: *mut c_void,
    error: *mut *mut Error,
) {
    let mut pointer = null_mut();
    // SAFETY: QEMU's visitor allocates a text with GLib, or sets the error.
    if !unsafe { (qemu().visit_type_str)(visitor, name, &raw mut pointer, error) } {
        return;
    }
    let text = rust_text(pointer);
    // SAFETY: that allocation, once.
    unsafe { (qemu().g_free)(pointer.cast()) };
    if let Err(problem) = with_slot(object, |slot| slot.set_text(&rust_text(name), &text)) {
        set_error(error, &problem);
    }
}

/// Tells QEMU's caller, a person at the command line or a QMP client, what is wrong.
fn set_error(error: *mut *mut Error, problem: &str) {
    let (file, function) = (c"tests/qemu-i2c".as_ptr(), c"magpie-chip".as_ptr());
    // SAFETY: a printf format with its one argument; QEMU copies the text, and keeps the other two, which are
    // constants.
    unsafe { (qemu().error_setg_internal)(error, file, 0, function, c"%s".as_ptr(), c_text(problem).as_ptr()) };
}

fn rust_text(text: *const c_char) -> String {
    // SAFETY: QEMU's texts end in a zero and stay during the call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn c_text(text: &str) -> CString {
    // Ours have no zero inside; one would cut the text short there.
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
