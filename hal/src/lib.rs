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
mod mux;
mod place;
pub mod sim;

pub use board::device_buses;
pub use bus::{Bus, BusSource};
pub use chips::{Chips, Connect, Found, Sample, ScanReport, Unknown};
pub use driver::{Driver, Failure, Measured, Surroundings};
pub use error::{BusError, Busy};
pub use led::{Health, Led};
pub use model::{Model, UnknownModel};
pub use mux::ADDRESSES as MUX_ADDRESSES;
pub use place::{ChipAt, NoPort, Port};
