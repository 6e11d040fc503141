//! I2C multiplexers: TCA9548A (NXP's PCA9548A is the same to us), one register that says which of eight ports are connected.
//!
//! After the TCA9548A datasheet (SCPS207); sections are its. Two equal chips of one address live behind two ports. A chip behind a
//! port must not have an address that somebody on the bus itself has: the port is connected to the bus, not put in its place.
//!
//! A multiplexer cannot be told from other chips without writing to it, so it is used only where the configuration names it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, Operation};

use crate::place::Port;

/// The addresses that the three address pins can give (section 8.5.1).
pub const ADDRESSES: std::ops::RangeInclusive<u8> = 0x70..=0x77;
/// Ports of one multiplexer.
pub(crate) const CHANNELS: u8 = 8;

/// The multiplexers of one bus. Clones are the same ones.
pub(crate) struct Muxes<I2C>(Rc<Shared<I2C>>);

struct Shared<I2C> {
    muxes: RefCell<Vec<Mux<I2C>>>,
    /// What is connected; `None` while nobody knows, as at the start and after an error.
    connected: Cell<Option<Option<Port>>>,
}

struct Mux<I2C> {
    address: u8,
    i2c: I2C,
}

impl<I2C> Clone for Muxes<I2C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<I2C: I2c> Muxes<I2C> {
    /// Multiplexers at these addresses, each with a handle of its own.
    pub(crate) fn new(muxes: impl IntoIterator<Item = (u8, I2C)>) -> Self {
        let muxes = muxes.into_iter().map(|(address, i2c)| Mux { address, i2c }).collect();
        Self(Rc::new(Shared { muxes: RefCell::new(muxes), connected: Cell::new(None) }))
    }

    /// Their addresses.
    pub(crate) fn addresses(&self) -> Vec<u8> {
        self.0.muxes.borrow().iter().map(|mux| mux.address).collect()
    }

    /// Connects `port` and nothing else, with as few writes as that takes.
    fn connect(&self, port: Option<Port>) -> Result<(), I2C::Error> {
        let connected = self.0.connected.get();
        if connected == Some(port) {
            return Ok(());
        }
        self.0.connected.set(None);
        for mux in self.0.muxes.borrow_mut().iter_mut() {
            let ours = |port: &Port| port.mux == mux.address;
            let wanted = port.filter(ours);
            if connected.is_some_and(|before| before.filter(ours) == wanted) {
                continue;
            }
            // Section 8.6.2: a bit for each port.
            let outcome = mux
                .i2c
                .write(mux.address, &[wanted.map_or(0, |port| 1u8.checked_shl(port.channel.into()).unwrap_or(0))]);
            match outcome {
                // One that is not there connects nothing.
                Err(error) if wanted.is_none() && matches!(error.kind(), ErrorKind::NoAcknowledge(_)) => {}
                outcome => outcome?,
            }
        }
        self.0.connected.set(Some(port));
        Ok(())
    }
}

/// A handle to the bus as it is behind a port, or to the bus itself.
pub(crate) struct Wire<I2C> {
    pub(crate) i2c: I2C,
    pub(crate) port: Option<Port>,
    pub(crate) muxes: Muxes<I2C>,
}

impl<I2C: I2c> ErrorType for Wire<I2C> {
    type Error = I2C::Error;
}

impl<I2C: I2c> I2c for Wire<I2C> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), I2C::Error> {
        self.muxes.connect(self.port)?;
        let outcome = self.i2c.transaction(address, operations);
        // The multiplexer may have lost its power with the chip.
        if outcome.is_err() && self.port.is_some() {
            self.muxes.0.connected.set(None);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::NoAcknowledgeSource;

    use super::*;

    /// A bus that notes what is written to multiplexers, and a chip behind them that is read at 0x44.
    #[derive(Clone, Default)]
    struct Notes {
        notes: Rc<RefCell<Vec<String>>>,
        silent: Rc<Cell<Option<u8>>>,
    }

    const CHIP: u8 = 0x44;

    impl ErrorType for Notes {
        type Error = ErrorKind;
    }

    impl I2c for Notes {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            let note = match operations {
                [Operation::Write(bytes)] => format!("{address:02x}={:02x}", bytes[0]),
                _ => "read".to_owned(),
            };
            self.notes.borrow_mut().push(note);
            match self.silent.get() {
                Some(silent) if silent == address => Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown)),
                _ => Ok(()),
            }
        }
    }

    struct Bench {
        bus: Notes,
        muxes: Muxes<Notes>,
    }

    impl Bench {
        fn new(muxes: &[u8]) -> Self {
            let bus = Notes::default();
            let muxes = Muxes::new(muxes.iter().map(|address| (*address, bus.clone())));
            Self { bus, muxes }
        }

        /// Reads the chip behind a port; gives whether that worked and what was on the bus.
        fn read(&self, port: Option<Port>) -> (bool, String) {
            let mut wire = Wire { i2c: self.bus.clone(), port, muxes: self.muxes.clone() };
            let worked = wire.read(CHIP, &mut [0]).is_ok();
            (worked, std::mem::take(&mut *self.bus.notes.borrow_mut()).join(" "))
        }

        fn silence(&self, address: Option<u8>) {
            self.bus.silent.set(address);
        }
    }

    fn port(mux: u8, channel: u8) -> Option<Port> {
        Some(Port { mux, channel })
    }

    fn well(traffic: &str) -> (bool, String) {
        (true, traffic.to_owned())
    }

    #[test]
    fn a_bus_without_multiplexers_costs_nothing() {
        let bench = Bench::new(&[]);
        assert_eq!(bench.read(None), well("read"));
        assert_eq!(bench.read(None), well("read"));
    }

    #[test]
    fn only_what_changes_is_written() {
        let bench = Bench::new(&[0x70, 0x71]);
        assert_eq!(bench.read(port(0x70, 0)), well("70=01 71=00 read"));
        assert_eq!(bench.read(port(0x70, 0)), well("read"));
        assert_eq!(bench.read(port(0x70, 7)), well("70=80 read"));
        assert_eq!(bench.read(port(0x71, 2)), well("70=00 71=04 read"));
        assert_eq!(bench.read(None), well("71=00 read"));
    }

    #[test]
    fn after_an_error_the_port_is_connected_anew() {
        let bench = Bench::new(&[0x70]);
        bench.silence(Some(CHIP));
        assert!(!bench.read(port(0x70, 1)).0);
        bench.silence(None);
        assert_eq!(bench.read(port(0x70, 1)), well("70=02 read"));
    }

    #[test]
    fn a_multiplexer_that_is_away_hides_its_chips_and_nobody_elses() {
        let bench = Bench::new(&[0x70]);
        bench.silence(Some(0x70));
        assert_eq!(bench.read(port(0x70, 0)), (false, "70=01".to_owned()));
        assert_eq!(bench.read(None), well("70=00 read"));
    }
}
