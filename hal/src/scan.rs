//! Who answers on a bus. Only the known addresses are asked, and only in ways that change nothing.

use crate::place::{ChipAt, Port};

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Known chips, by address.
    pub found: Vec<Found>,
    /// Answers that are no known chip's, by address.
    pub unknown: Vec<Unknown>,
}

/// A known chip, told by its id or by a checksum that only its family makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What and where.
    pub chip: ChipAt,
    /// Its serial number; empty where it has none, or none that can be read without disturbing it.
    pub serial: String,
}

/// Something answered that is no chip we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where.
    pub address: u8,
    /// Behind which port of a multiplexer; `None` on the bus itself.
    pub port: Option<Port>,
    /// What it looks like, for people.
    pub detail: String,
}
