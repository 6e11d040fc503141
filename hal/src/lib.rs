//! From an I2C bus to a physical quantity.
//!
//! A [`Bus`] is a handle to the one thread that owns a bus. It takes two commands: look who is there ([`Bus::scan`]), and
//! measure ([`Bus::sample`]). Behind it, [`Chips`] decides when a chip is started, sampled and given a rest; a
//! [`driver`] per chip turns registers into values; [`board`] opens the devices of this machine, and nothing else does.
//! [`sim`] has the same chips in software, under the same drivers.
//!
//! Everything here blocks. It knows no network, no async runtime and no wall clock, and it never repeats an old value as a
//! new one: where there is no fresh value there is a [`Failure`] with its reason.

pub mod board;
mod bus;
mod chips;
pub mod driver;
mod error;
mod led;
mod model;
mod scan;
pub mod sim;

pub use board::device_buses;
pub use bus::{Bus, BusSource};
pub use chips::{Chips, Connect, Sample};
pub use driver::{Driver, Failure, Measured};
pub use error::{BusError, Busy};
pub use led::{Health, Led};
pub use model::{ChipAt, Model, UnknownModel};
pub use scan::{Found, ScanReport, Unknown};
