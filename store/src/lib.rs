//! Frames on disk: the node's memory, and the gateway's. The only crate that names a database.
//!
//! One SQLite file holds the frames of any number of nodes by (node, epoch, seq), each once. A frame is there for good when
//! [`Store::append`] returns, as far as the death of the process goes; a power cut costs what came after the last
//! [`Store::sync`]. Nothing leaves but by retention, the oldest first.
//!
//! [`Store`] is the file, blocking, with one owner. [`StoreHandle`] is the same behind a thread, for async programs.
//! The store asks no clock (the handle's thread does, for the sync interval) and knows nothing of what frames mean, save that
//! readings refer to announcements, and when frames say that they were made.
//!
//! # What a card has to take
//!
//! A frame of seven readings takes 138 bytes, because what is the same for a whole run is stored once: three fit on a page of 512
//! bytes. A commit writes the pages that it changed to SQLite's write-ahead log: one for most frames, four where a page is full. The
//! log is carried over into the file every 256 KiB, not at every sync; a sync is one write in sequence.
//!
//! The kernel writes 4 KiB where 512 bytes changed, and begins to do so by itself after 30 s (`vm.dirty_expire_centisecs`), whatever
//! the sync interval is. So the card is spared by touching it once per sync: with a *tail* ([`Store::keep_tail`]) frames wait for
//! that in one open transaction, and in memory that outlives the process.
//!
//! Bytes per reading that the kernel writes to the disk, by its own account (proc_pid_io(5)), at one frame of seven readings in ten
//! seconds; ext4 on x86-64, `tests/store/wear.rs`. In haste: four hours' frames as fast as they go, with the log carried over, but without
//! the kernel's own write-back. In real time: twenty minutes with that, but too short for the log to be carried over, which is some 30
//! more.
//!
//! | sync interval | in haste | in a full store | in real time | with a tail, in haste | in a full store | in real time |
//! |-|-|-|-|-|-|-|
//! | 10 s | 765 | 833 | 785 | 765 | 834 | 731 |
//! | 60 s | 279 | 350 | 380 | 210 | 244 | 185 |
//! | 2 min | 231 | 301 | 351 | 135 | 155 | 136 |
//! | 5 min | 202 | 272 | 385 | 79 | 114 | 78 |
//!
//! The full store has 2 MiB. A larger one is emptied in larger parts, and costs less.
//!
//! What reaches the device is more, since ext4 commits its own journal for every write that changes a file's time. A file system by
//! itself, 4 KiB blocks, fifteen minutes: at 2 min 2171 bytes a reading without a tail and 305 with one, at 60 s 552 with one.
//!
//! # What a power cut costs
//!
//! At most the frames since the last sync, in the order in which they came: the log's checksums end it at the first page
//! that did not reach the disk, and the file is not touched before the log is safe. `tests/store/power.rs` cuts the power between any two
//! writes, and keeps, drops or tears what was not synced.
//!
//! # What a disk that fails costs
//!
//! | what happens | what the store does |
//! |-|-|
//! | a write fails | the append is refused, and what was stored stays; the next may go well, without opening the store again |
//! | a sync fails | the same; the log is written again before the next, since the kernel takes what it could not write for written |
//! | the disk is full | the oldest frames make room in the file; where not even a log has room, appends are refused |
//! | the disk is read-only | appends are refused until it is not |
//! | the file is gone | [`StoreError::Gone`] at the next sync; the handle goes on when it is back, with what the tail has; what came after the last sync to a store without a tail is lost |
//! | a page is damaged | frames on it are named ([`Batch::damaged`]); where the page holds the tables together, [`StoreError::is_damaged`], and [`Store::set_aside`] makes way for a new store |
//!
//! # How much it can take
//!
//! A million frames, 167 MiB, on one core of a PC (`tests/store/million.rs`): opened in a millisecond, as is a time found; 1,400,000 a second
//! read in batches of 64 KiB; 400,000 a second appended, a thousand at once. Memory
//! stays as it is.

mod age;
mod closed;
mod error;
mod file;
mod handle;
mod log;
mod memory;
mod owner;
mod packed;
mod query;
mod retention;
mod room;
mod run;
mod store;
mod tail;

pub use error::StoreError;
pub use handle::{StoreHandle, StoreStats};
pub use memory::is_in_memory;
pub use query::Batch;
pub use store::{Options, Store};
