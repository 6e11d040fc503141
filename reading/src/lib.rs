//! Readings, quantities and units, identities, frames: the words that every Magpie program shares, and the wire format.
//!
//! Plain data. Nothing here opens a file or a socket, asks a clock, or waits: time and randomness come in as arguments.
//! `docs/wire.md` specifies the bytes.

mod archive;
mod author;
mod code;
mod dating;
mod frame;
mod identity;
mod kind;
mod path;
mod plain;
mod range;
mod text;
mod time;

pub use archive::{ArchiveError, ArchiveReader, ArchiveWriter};
pub use author::{Author, Stamp};
pub use code::{ClockState, EventCode, Flag, Kind, Quantity, Reason, UnknownName};
pub use dating::Dating;
pub use frame::{Epoch, Frame, FrameError, FrameId, MAX_FRAME_BYTES, SIGNATURE_BYTES, Verifier};
pub use identity::{BootId, NodeId, NodeIdError, NodeKey};
pub use kind::{
    Announcement, ClockFix, Event, MAX_ADDRESSES, MAX_CERTIFICATE_BYTES, MAX_READINGS, MAX_SENSORS, Payload, Position,
    Previous, Reading, Readings, Sensor,
};
pub use path::{Label, LabelError, Place, Selector, SelectorError};
pub use plain::{PlainLine, PlainMessage, shortest};
pub use range::EpochRange;
pub use text::{Text, TextError};
pub use time::{parse_rfc3339, rfc3339};
