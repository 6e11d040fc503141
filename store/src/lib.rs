//! Frames on disk: the node's memory, and the gateway's. The only crate that names a database.
//!
//! One SQLite file holds the frames of any number of nodes by (node, epoch, seq), each once. A frame is there for good when
//! [`Store::append`] returns, as far as the death of the process goes; a power cut costs what came after the last
//! [`Store::sync`]. Nothing leaves but by retention, the oldest first.
//!
//! [`Store`] is the file, blocking, with one owner. [`StoreHandle`] is the same behind a thread, for async programs.
//! The store asks no clock (the handle's thread does, for the sync interval) and knows nothing of what frames mean, save that
//! readings refer to announcements.

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
