//! Frames on disk: the node's memory, and the gateway's. The only crate that names a database.
//!
//! One SQLite file holds the frames of any number of nodes by (node, epoch, seq), each once. A frame is there for good when
//! [`Store::append`] returns, as far as the death of the process goes; a power cut costs what came after the last
//! [`Store::sync`]. Nothing leaves but by retention, the oldest first.
//!
//! [`Store`] is the file, blocking, with one owner. [`StoreHandle`] is the same behind a thread, for async programs.
//! The store asks no clock (the handle's thread does, for the sync interval) and knows nothing of what frames mean, save that
//! readings refer to announcements.
//!
//! # What a card has to take
//!
//! An append writes one 512-byte page to SQLite's write-ahead log, and four where a page is full, which is every third frame: a
//! frame of seven readings takes 138 bytes, because what is the same for a whole run is stored once. The log is carried over into
//! the file every 256 KiB, not at every sync; a sync is one write in sequence.
//!
//! Bytes per reading, at seven readings a frame (`tests/store/wear.rs`; ext4 on x86-64, proc_pid_io(5)):
//!
//! | sync after | handed to the kernel | written, by the kernel's account | the same in a full store |
//! |-|-|-|-|
//! | each frame | 163 | 759 | 819 |
//! | 3 frames, 30 s | 163 | 371 | 432 |
//! | 6 frames, 60 s | 163 | 274 | 334 |
//! | 30 frames, 5 min | 163 | 196 | 256 |
//!
//! That is without the kernel's own write-back, which begins after 30 s (`vm.dirty_expire_centisecs`) whatever the sync interval is.
//! With it, at one frame in ten seconds of real time, 60 s give 351 and 5 min 312. Below that, ext4 commits its own journal for
//! every append, since the file's time changes: 4.8 KB a reading reach the device, 3.2 KB with the mount option `commit=60`, and
//! `lazytime` changes nothing. No SQLite setting helps there; not touching the card between syncs would.
//!
//! # What a power cut costs
//!
//! At most the frames since the last sync, in the order in which they came: the log's checksums end it at the first page
//! that did not reach the disk, and the file is not touched before the log is safe. A sync interval above half a minute mostly says
//! how long the kernel may be late, see above.

mod error;
mod file;
mod handle;
mod packed;
mod query;
mod retention;
mod store;

pub use error::StoreError;
pub use handle::{StoreHandle, StoreStats};
pub use query::{Batch, EpochRange};
pub use store::{Options, Store};
