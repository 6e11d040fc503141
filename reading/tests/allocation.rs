//! Reading a frame never allocates more than a small multiple of its bytes, whatever lengths it claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use reading::*;

/// The system's allocator, remembering the largest single request.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only looks")]
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[test]
fn a_claimed_length_is_refused_before_it_is_allocated() {
    let mut author = Author::new(NodeKey::from_seed([3; 32]), Epoch([9; 8]), BootId([5; 8]));
    let stamp = Stamp { uptime_ms: 0, time_us: 0, clock: ClockState::SYNCED };
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    // A prefix that is right up to a length field, then a length of nearly 2^63: one for each list and text of every kind.
    let prefixes: [(Kind, &[u8]); 8] = [
        (Kind::ANNOUNCEMENT, &[]),
        (Kind::ANNOUNCEMENT, &[1, b'a', 1, b'b', 1, b'c']),
        (Kind::ANNOUNCEMENT, &[1, b'a', 1, b'b', 1, b'c', 1]),
        (Kind::ANNOUNCEMENT, &[1, b'a', 1, b'b', 1, b'c', 0]),
        (Kind::ANNOUNCEMENT, &[1, b'a', 1, b'b', 1, b'c', 0, 1]),
        (Kind::ANNOUNCEMENT, &[1, b'a', 1, b'b', 1, b'c', 0, 0, 0, 0, 0]),
        (Kind::READINGS, &[1]),
        (Kind::EVENT, &[1, 0]),
    ];
    for (kind, prefix) in prefixes {
        // Signing refuses a malformed payload of a known kind, so the bytes are signed by hand as a stranger would.
        let bytes = [prefix, &huge].concat();
        let forged = author.sign_unchecked(stamp, kind, &bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        let frame = Frame::verify(forged.bytes()).unwrap();
        let error = frame.payload().unwrap_err();
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(matches!(error, FrameError::Payload { .. }), "{error}");
        assert!(largest <= MAX_FRAME_BYTES, "{kind} after {prefix:?} asked for {largest} bytes");
    }
}
