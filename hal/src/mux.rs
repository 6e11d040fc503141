//! I2C multiplexers: TCA9548A (NXP's PCA9548A is the same to us), one register that says which of eight ports are connected.
//!
//! After the TCA9548A datasheet (SCPS207); sections are its. Two equal chips of one address live behind two ports. A chip behind a
//! port must not have an address that somebody on the bus itself has: the port is connected to the bus, not put in its place.
//!
//! What is written has no checksum, and the wrong port may have a chip with the same address: so it is read back (section 8.5.3).
//!
//! A multiplexer cannot be told from other chips without writing to it, so it is used only where the configuration names it.

use std::cell::{Cell, RefCell};
use std::fmt;
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
    fn connect(&self, port: Option<Port>) -> Result<(), WireError<I2C::Error>> {
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
            let control = wanted.map_or(0, |port| 1u8.checked_shl(port.channel.into()).unwrap_or(0));
            match mux.i2c.write(mux.address, &[control]) {
                // One that is not there connects nothing.
                Err(error) if wanted.is_none() && matches!(error.kind(), ErrorKind::NoAcknowledge(_)) => continue,
                outcome => outcome.map_err(WireError::Bus)?,
            }
            let mut held = [0];
            mux.i2c.read(mux.address, &mut held).map_err(WireError::Bus)?;
            if held != [control] {
                return Err(WireError::NotSwitched { mux: mux.address, wanted: control, held: held[0] });
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

/// Why a transfer behind a port failed.
pub(crate) enum WireError<E> {
    /// What the bus says.
    Bus(E),
    /// The multiplexer does not hold what was written to it.
    NotSwitched { mux: u8, wanted: u8, held: u8 },
}

impl<E: Error> Error for WireError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Bus(error) => error.kind(),
            Self::NotSwitched { .. } => ErrorKind::Other,
        }
    }
}

/// Drivers show a bus error to people through `Debug`: it is all that `embedded-hal` asks of one.
impl<E: fmt::Debug> fmt::Debug for WireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::NotSwitched { mux, wanted, held } => write!(
                f,
                "the multiplexer at 0x{mux:02x} was told to connect ports 0x{wanted:02x} and says 0x{held:02x}: is it one?"
            ),
        }
    }
}

impl<I2C: I2c> ErrorType for Wire<I2C> {
    type Error = WireError<I2C::Error>;
}

impl<I2C: I2c> I2c for Wire<I2C> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Self::Error> {
        self.muxes.connect(self.port)?;
        let outcome = self.i2c.transaction(address, operations).map_err(WireError::Bus);
        // The multiplexer may have lost its power with the chip.
        if outcome.is_err() && self.port.is_some() {
            self.muxes.0.connected.set(None);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use embedded_hal::i2c::NoAcknowledgeSource;

    use super::*;

    /// A bus that notes what is written to multiplexers, and a chip behind them that is read at 0x44.
    #[derive(Clone, Default)]
    struct Notes {
        notes: Rc<RefCell<Vec<String>>>,
        silent: Rc<Cell<Option<u8>>>,
        /// What the multiplexers hold, and whether they hold anything new.
        held: Rc<RefCell<BTreeMap<u8, u8>>>,
        forgets: Rc<Cell<bool>>,
    }

    const CHIP: u8 = 0x44;

    impl ErrorType for Notes {
        type Error = ErrorKind;
    }

    impl I2c for Notes {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            let note = match operations {
                [Operation::Write(bytes)] => format!("{address:02x}={:02x}", bytes[0]),
                _ if address == CHIP => "read".to_owned(),
                _ => format!("{address:02x}?"),
            };
            self.notes.borrow_mut().push(note);
            if self.silent.get() == Some(address) {
                return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown));
            }
            let mut held = self.held.borrow_mut();
            match operations {
                [Operation::Write(bytes)] if !self.forgets.get() => drop(held.insert(address, bytes[0])),
                [Operation::Read(bytes)] => bytes[0] = held.get(&address).copied().unwrap_or_default(),
                _ => {}
            }
            Ok(())
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
        assert_eq!(bench.read(port(0x70, 0)), well("70=01 70? 71=00 71? read"));
        assert_eq!(bench.read(port(0x70, 0)), well("read"));
        assert_eq!(bench.read(port(0x70, 7)), well("70=80 70? read"));
        assert_eq!(bench.read(port(0x71, 2)), well("70=00 70? 71=04 71? read"));
        assert_eq!(bench.read(None), well("71=00 71? read"));
    }

    #[test]
    fn after_an_error_the_port_is_connected_anew() {
        let bench = Bench::new(&[0x70]);
        bench.silence(Some(CHIP));
        assert!(!bench.read(port(0x70, 1)).0);
        bench.silence(None);
        assert_eq!(bench.read(port(0x70, 1)), well("70=02 70? read"));
    }

    #[test]
    fn a_multiplexer_that_is_away_hides_its_chips_and_nobody_elses() {
        let bench = Bench::new(&[0x70]);
        bench.silence(Some(0x70));
        assert_eq!(bench.read(port(0x70, 0)), (false, "70=01".to_owned()));
        assert_eq!(bench.read(None), well("70=00 read"));
    }

    #[test]
    fn a_multiplexer_that_does_not_switch_is_no_way_to_a_chip() {
        let bench = Bench::new(&[0x70]);
        bench.bus.forgets.set(true);
        let mut wire = Wire { i2c: bench.bus.clone(), port: port(0x70, 3), muxes: bench.muxes.clone() };
        let error = wire.read(CHIP, &mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(format!("{error:?}").contains("at 0x70 was told to connect ports 0x08 and says 0x00"), "{error:?}");
        bench.bus.notes.borrow_mut().clear();
        bench.bus.forgets.set(false);
        assert_eq!(bench.read(port(0x70, 3)), well("70=08 70? read"));
    }
}
