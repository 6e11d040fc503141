//! What can go wrong with a bus as a whole. What goes wrong with one chip is a [`Failure`](crate::Failure).

use std::io;
use std::path::PathBuf;

/// A bus that cannot be opened or used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no such device.
    #[error(
        "{} does not exist: turn I2C on with `sudo raspi-config` (Interface Options), or put `dtparam=i2c_arm=on` into \
         /boot/firmware/config.txt and restart; `ls /dev/i2c-*` shows the buses there are", .path.display()
    )]
    NotFound {
        /// The device.
        path: PathBuf,
    },
    /// The user may not open it.
    #[error(
        "no permission to open {}: add the user to the group that owns it (`sudo usermod -aG i2c $USER`, then log in \
         again), or give the service `SupplementaryGroups=i2c`", .path.display()
    )]
    Permission {
        /// The device.
        path: PathBuf,
    },
    /// Something else holds it.
    #[error("{} is busy: a kernel driver or another program uses it; stop that first", .path.display())]
    Busy {
        /// The device.
        path: PathBuf,
    },
    /// It is there, but it is no I2C bus, or the system refuses it otherwise.
    #[error("cannot open {} as an I2C bus", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Every address gave a bus error.
    #[error(
        "{bus} answers nothing but errors ({detail}): a chip or a wire holds SDA or SCL low; check the wiring and the 3.3 V \
         supply, unplug the chips one by one"
    )]
    Held {
        /// The bus.
        bus: String,
        /// The last error.
        detail: String,
    },
    /// There is no model of that chip.
    #[error(transparent)]
    UnknownModel(#[from] crate::UnknownModel),
    /// More chips on a simulated bus than have room there.
    #[error("a {model} has no room on the simulated bus: other chips have all of its addresses; take one of them away")]
    NoAddress {
        /// The chip.
        model: crate::Model,
    },
    /// The thread that would own the bus could not be started.
    #[error("cannot start the thread of {bus}")]
    Thread {
        /// The bus.
        bus: String,
        /// What the system says.
        source: io::Error,
    },
}

impl BusError {
    /// Whether trying again later can help without anybody doing something.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Held { .. } | Self::Thread { .. })
    }
}

/// The bus takes no command now: 32 are waiting already, or it was closed. The command is not executed, and its reply is
/// dropped uncalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus takes no command: its queue is full, or it was closed")]
pub struct Busy;
