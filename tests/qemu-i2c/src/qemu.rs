//! QEMU's object model, as far as one I2C device needs it. All `unsafe` of this library is here.
//!
//! Two things make it sound. QEMU calls everything below with its global lock held, so that no two calls run at once and no
//! object goes away during one. And a device's own state is not kept inside QEMU's object, where it would depend on
//! the size of QEMU's structures, but in a table of ours under the object's address.
//!
//! A panic in an `extern "C"` function ends the process; it never unwinds into QEMU.
#![expect(unsafe_code, reason = "this is the border to a C program")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hal::sim::Direction;

use crate::slot::Slot;

/// The devices that exist, by the address of their object.
static SLOTS: Mutex<BTreeMap<usize, Slot>> = Mutex::new(BTreeMap::new());

// QEMU's types that are only ever pointed to.
type Class = c_void;
type Object = c_void;
type Visitor = c_void;
type Error = c_void;
type Accessor = extern "C" fn(*mut Object, *mut Visitor, *const c_char, *mut c_void, *mut *mut Error);
type Realize = extern "C" fn(*mut Object, *mut *mut Error);

// === QEMU's functions ===

/// Declares a table of functions that are looked up by name in the running program.
macro_rules! functions {
    ($($name:ident: $type:ty,)+) => {
        struct Functions { $($name: $type,)+ }

        impl Functions {
            fn find() -> Self {
                // SAFETY: the symbols are those functions, with these signatures, in QEMU 10.0 and in GLib 2; the
                // version is checked before any but `qmp_query_version` is called.
                unsafe { Self { $($name: std::mem::transmute::<*mut c_void, $type>(existing(stringify!($name))),)+ } }
            }
        }
    };
}

functions! {
    // include/qom/object.h
    type_register_static: unsafe extern "C" fn(*const TypeInfo) -> *mut c_void,
    object_class_property_add:
        unsafe extern "C" fn(*mut Class, *const c_char, *const c_char, Accessor, Accessor, usize, *mut c_void) -> *mut c_void,
    // include/hw/qdev-core.h
    device_class_set_parent_realize: unsafe extern "C" fn(*mut Class, Realize, *mut Option<Realize>),
    qdev_get_parent_bus: unsafe extern "C" fn(*mut Object) -> *mut c_void,
    // include/qapi/visitor.h
    visit_type_number: unsafe extern "C" fn(*mut Visitor, *const c_char, *mut f64, *mut *mut Error) -> bool,
    visit_type_str: unsafe extern "C" fn(*mut Visitor, *const c_char, *mut *mut c_char, *mut *mut Error) -> bool,
    // include/qapi/error.h
    error_setg_internal:
        unsafe extern "C" fn(*mut *mut Error, *const c_char, c_int, *const c_char, *const c_char, ...),
    // include/qemu/main-loop.h and include/block/aio.h
    qemu_get_aio_context: unsafe extern "C" fn() -> *mut c_void,
    aio_bh_schedule_oneshot_full: unsafe extern "C" fn(*mut c_void, extern "C" fn(*mut Object), *mut Object, *const c_char),
    // include/hw/i2c/i2c.h
    i2c_end_transfer: unsafe extern "C" fn(*mut c_void),
    // include/qemu/timer.h
    qemu_clock_get_ns: unsafe extern "C" fn(c_int) -> i64,
    // qapi/misc.json, query-version
    qmp_query_version: unsafe extern "C" fn(*mut *mut Error) -> *const VersionInfo,
    // GLib
    g_free: unsafe extern "C" fn(*mut c_void),
}

/// The address of a symbol of the running program, null where it has none of that name.
fn symbol(name: &str) -> *mut c_void {
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    let Ok(name) = CString::new(name) else { return null_mut() };
    // SAFETY: a null handle (RTLD_DEFAULT) searches the whole program, and `name` ends in a zero.
    unsafe { dlsym(null_mut(), name.as_ptr()) }
}

fn existing(name: &str) -> *mut c_void {
    let address = symbol(name);
    if address.is_null() {
        refuse(&format!("this program exports no {name}"));
    }
    address
}

fn qemu() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(Functions::find)
}

/// Ends QEMU. To go on with another layout would corrupt its memory, and to go on without the device would only
/// end later with a stranger message.
#[expect(clippy::print_stderr, reason = "QEMU's own messages go there")]
fn refuse(problem: &str) -> ! {
    eprintln!("magpie-qemu-i2c: {problem}; this library fits QEMU 10.0.x for x86-64 only (tools/setup-qemu has it)");
    std::process::abort()
}

// === The layout of QEMU's structures ===

/// include/qom/object.h, `struct TypeInfo`.
#[repr(C)]
struct TypeInfo {
    name: *const c_char,
    parent: *const c_char,
    /// 0: that of the parent.
    instance_size: usize,
    instance_align: usize,
    instance_init: Option<extern "C" fn(*mut Object)>,
    instance_post_init: Option<extern "C" fn(*mut Object)>,
    instance_finalize: Option<extern "C" fn(*mut Object)>,
    is_abstract: bool,
    /// 0: that of the parent.
    class_size: usize,
    class_init: Option<extern "C" fn(*mut Class, *mut c_void)>,
    class_base_init: Option<extern "C" fn(*mut Class, *mut c_void)>,
    class_data: *mut c_void,
    interfaces: *const c_void,
}

// SAFETY: constant, and its pointers lead to constants.
unsafe impl Sync for TypeInfo {}

/// qapi/misc.json, `VersionInfo`.
#[repr(C)]
struct VersionInfo {
    qemu: *const VersionTriple,
    package: *const c_char,
}

/// qapi/misc.json, `VersionTriple`.
#[repr(C)]
struct VersionTriple {
    major: i64,
    minor: i64,
    micro: i64,
}

/// include/hw/i2c/i2c.h, `I2CSlaveClass`. It begins with include/hw/qdev-core.h, `DeviceClass`, of which only the two fields are
/// named that are looked at to see that the layout is the expected one.
#[repr(C)]
struct I2cClass {
    /// `ObjectClass`, then `categories` to `legacy_reset`.
    object_class_and_more: [usize; 18],
    realize: Option<Realize>,
    /// `unrealize`, `sync_config`, `vmsd`.
    unrealize_and_more: [usize; 3],
    bus_type: *const c_char,
    send: Option<extern "C" fn(*mut Object, u8) -> c_int>,
    send_async: Option<extern "C" fn(*mut Object, u8)>,
    recv: Option<extern "C" fn(*mut Object) -> u8>,
    event: Option<extern "C" fn(*mut Object, c_int) -> c_int>,
    match_and_add: Option<extern "C" fn()>,
}

fn check_version() {
    // SAFETY: the answer is a VersionInfo of QEMU's own making. It is leaked, once.
    let version = unsafe { &*(*(qemu().qmp_query_version)(null_mut())).qemu };
    if (version.major, version.minor) != (10, 0) {
        refuse(&format!("this is QEMU {}.{}.{}", version.major, version.minor, version.micro));
    }
}

/// Has QEMU write the `realize` field of a class that is not one of its own, and sees where it lands.
fn check_device_class() {
    extern "C" fn probe(_: *mut Object, _: *mut *mut Error) {}
    let mut class = [0_usize; size_of::<I2cClass>() / size_of::<usize>()];
    let mut before: Option<Realize> = None;
    // SAFETY: the function reads and writes that one field; nothing near the end of `DeviceClass`, which `class` exceeds.
    unsafe { (qemu().device_class_set_parent_realize)(class.as_mut_ptr().cast(), probe, &raw mut before) };
    let expected = std::mem::offset_of!(I2cClass, realize) / size_of::<usize>();
    if class.iter().position(|word| *word != 0) != Some(expected) {
        refuse("DeviceClass is laid out otherwise than in QEMU 10.0");
    }
}

/// A class that was only just derived from `i2c-slave` has exactly what that class sets.
fn check_i2c_class(class: &I2cClass) {
    let only_matches = class.match_and_add.is_some()
        && class.send.is_none()
        && class.send_async.is_none()
        && class.recv.is_none()
        && class.event.is_none();
    // SAFETY: a constant text, at an offset that lies between `realize` and the callbacks, which are where they should be.
    if !only_matches || class.bus_type.is_null() || unsafe { CStr::from_ptr(class.bus_type) } != c"i2c-bus" {
        refuse("I2CSlaveClass is laid out otherwise than in QEMU 10.0");
    }
}

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
    // SAFETY: QEMU hands over a new class of a type derived from `i2c-slave`, whose layout is checked before it is written.
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
    if finish_transfer(object) {
        return NACK;
    }
    ack(with_slot(object, |slot| slot.start(direction, now())))
}

extern "C" fn send(object: *mut Object, byte: u8) -> c_int {
    let acknowledged = with_slot(object, |slot| slot.write(byte, now()));
    if !acknowledged {
        finish_transfer_soon(object);
    }
    ack(acknowledged)
}

extern "C" fn receive(object: *mut Object) -> u8 {
    with_slot(object, |slot| slot.read(now()))
}

// A real bus ends a transfer when a chip refuses a byte. QEMU's bcm2835-i2c tells the guest, but leaves its bus in the transfer, and sends
// what follows, whatever its address, to the same chip. So the transfer is ended here: from QEMU's main loop, because the
// bus is being walked during the refusal; and, should the guest be faster than that, at its next start, which then fails once.

fn finish_transfer_soon(object: *mut Object) {
    extern "C" fn from_main_loop(object: *mut Object) {
        finish_transfer(object);
    }
    // SAFETY: the chips of the virtual Pi stay until QEMU ends, so the object is there when the main loop comes to it.
    unsafe {
        let context = (qemu().qemu_get_aio_context)();
        (qemu().aio_bh_schedule_oneshot_full)(context, from_main_loop, object, c"magpie-chip".as_ptr());
    }
}

/// Returns whether there was a transfer to finish.
fn finish_transfer(object: *mut Object) -> bool {
    let unfinished = with_slot(object, |slot| slot.is_unfinished());
    if unfinished {
        // SAFETY: the device is on a bus, for it is in a transfer there. `I2CBus` begins with its `BusState`. Called at a start, this
        // frees the bus's list of addressed devices; QEMU does not look at that list again when the start is refused.
        unsafe { (qemu().i2c_end_transfer)((qemu().qdev_get_parent_bus)(object)) };
    }
    unfinished
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
    // SAFETY: a printf format with its one argument; QEMU copies the text, and keeps the other two, which are constants.
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
