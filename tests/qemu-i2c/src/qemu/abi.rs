//! QEMU's functions and the layout of its structures, as in the 10.0 series on x86-64, and the checks that both are so.
//!
//! Each comment names the header of QEMU's source that declares what follows.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

// QEMU's types that are only ever pointed to.
pub(super) type Class = c_void;
pub(super) type Object = c_void;
pub(super) type Visitor = c_void;
pub(super) type Error = c_void;
pub(super) type Accessor = extern "C" fn(*mut Object, *mut Visitor, *const c_char, *mut c_void, *mut *mut Error);
pub(super) type Realize = extern "C" fn(*mut Object, *mut *mut Error);

// === QEMU's functions ===

/// Declares a table of functions that are looked up by name in the running program.
macro_rules! functions {
    ($($name:ident: $type:ty,)+) => {
        pub(super) struct Functions { $(pub(super) $name: $type,)+ }

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
        unsafe extern "C" fn(*mut Class, *const c_char, *const c_char, Accessor, Accessor, usize, *mut c_void)
        -> *mut c_void,
    object_get_typename: unsafe extern "C" fn(*mut Object) -> *const c_char,
    object_get_canonical_path: unsafe extern "C" fn(*mut Object) -> *mut c_char,
    object_resolve_path: unsafe extern "C" fn(*const c_char, *mut bool) -> *mut Object,
    object_property_get_uint: unsafe extern "C" fn(*mut Object, *const c_char, *mut *mut Error) -> u64,
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
    aio_bh_schedule_oneshot_full:
        unsafe extern "C" fn(*mut c_void, extern "C" fn(*mut Object), *mut Object, *const c_char),
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
pub(super) fn symbol(name: &str) -> *mut c_void {
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

pub(super) fn qemu() -> &'static Functions {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    FUNCTIONS.get_or_init(Functions::find)
}

/// Ends QEMU. To go on with another layout would corrupt its memory, and to go on without the device would only
/// end later with a stranger message.
#[expect(clippy::print_stderr, reason = "QEMU's own messages go there")]
pub(super) fn refuse(problem: &str) -> ! {
    eprintln!("magpie-qemu-i2c: {problem}; this library fits QEMU 10.0.x for x86-64 only (tools/setup-qemu has it)");
    std::process::abort()
}

// === The layout of QEMU's structures ===

/// include/qom/object.h, `struct TypeInfo`.
#[repr(C)]
pub(super) struct TypeInfo {
    pub(super) name: *const c_char,
    pub(super) parent: *const c_char,
    /// 0: that of the parent.
    pub(super) instance_size: usize,
    pub(super) instance_align: usize,
    pub(super) instance_init: Option<extern "C" fn(*mut Object)>,
    pub(super) instance_post_init: Option<extern "C" fn(*mut Object)>,
    pub(super) instance_finalize: Option<extern "C" fn(*mut Object)>,
    pub(super) is_abstract: bool,
    /// 0: that of the parent.
    pub(super) class_size: usize,
    pub(super) class_init: Option<extern "C" fn(*mut Class, *mut c_void)>,
    pub(super) class_base_init: Option<extern "C" fn(*mut Class, *mut c_void)>,
    pub(super) class_data: *mut c_void,
    pub(super) interfaces: *const c_void,
}

// SAFETY: constant, and its pointers lead to constants.
unsafe impl Sync for TypeInfo {}

/// qapi/misc.json, `VersionInfo`.
#[repr(C)]
pub(super) struct VersionInfo {
    qemu: *const VersionTriple,
    package: *const c_char,
}

/// qapi/misc.json, `VersionTriple`.
#[repr(C)]
pub(super) struct VersionTriple {
    major: i64,
    minor: i64,
    micro: i64,
}

/// include/hw/i2c/i2c.h, `I2CSlaveClass`. It begins with include/hw/qdev-core.h, `DeviceClass`, of which only the two
/// fields are named that are looked at to see that the layout is the expected one.
#[repr(C)]
pub(super) struct I2cClass {
    /// `ObjectClass`, then `categories` to `legacy_reset`.
    pub(super) object_class_and_more: [usize; 18],
    pub(super) realize: Option<Realize>,
    /// `unrealize`, `sync_config`, `vmsd`.
    pub(super) unrealize_and_more: [usize; 3],
    pub(super) bus_type: *const c_char,
    pub(super) send: Option<extern "C" fn(*mut Object, u8) -> c_int>,
    pub(super) send_async: Option<extern "C" fn(*mut Object, u8)>,
    pub(super) recv: Option<extern "C" fn(*mut Object) -> u8>,
    pub(super) event: Option<extern "C" fn(*mut Object, c_int) -> c_int>,
    pub(super) match_and_add: Option<extern "C" fn()>,
}

pub(super) fn check_version() {
    // SAFETY: the answer is a VersionInfo of QEMU's own making. It is leaked, once.
    let version = unsafe { &*(*(qemu().qmp_query_version)(null_mut())).qemu };
    if (version.major, version.minor) != (10, 0) {
        refuse(&format!("this is QEMU {}.{}.{}", version.major, version.minor, version.micro));
    }
}

/// Has QEMU write the `realize` field of a class that is not one of its own, and sees where it lands.
pub(super) fn check_device_class() {
    extern "C" fn probe(_: *mut Object, _: *mut *mut Error) {}
    let mut class = [0_usize; size_of::<I2cClass>() / size_of::<usize>()];
    let mut before: Option<Realize> = None;
    // SAFETY: the function reads and writes that one field; nothing near the end of `DeviceClass`, which `class`
    // exceeds.
    unsafe { (qemu().device_class_set_parent_realize)(class.as_mut_ptr().cast(), probe, &raw mut before) };
    let expected = std::mem::offset_of!(I2cClass, realize) / size_of::<usize>();
    if class.iter().position(|word| *word != 0) != Some(expected) {
        refuse("DeviceClass is laid out otherwise than in QEMU 10.0");
    }
}

/// A class that was only just derived from `i2c-slave` has exactly what that class sets.
pub(super) fn check_i2c_class(class: &I2cClass) {
    let only_matches = class.match_and_add.is_some()
        && class.send.is_none()
        && class.send_async.is_none()
        && class.recv.is_none()
        && class.event.is_none();
    // SAFETY: a constant text, at an offset that lies between `realize` and the callbacks, which are where they should
    // be.
    if !only_matches || class.bus_type.is_null() || unsafe { CStr::from_ptr(class.bus_type) } != c"i2c-bus" {
        refuse("I2CSlaveClass is laid out otherwise than in QEMU 10.0");
    }
}
