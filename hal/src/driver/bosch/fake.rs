//! A register file for the tests of the drivers beside it: it measures in no time, and goes wrong to order.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::rc::Rc;

use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

/// Clones are the same chip.
#[derive(Clone)]
pub(in crate::driver) struct Fake(Rc<RefCell<File>>);

/// What is in the chip and what is wrong with it.
pub(in crate::driver) struct File {
    pub(in crate::driver) bytes: [u8; 256],
    map: Map,
    /// Answers from a register are replaced by these, once each.
    pub(in crate::driver) instead: BTreeMap<u8, VecDeque<Vec<u8>>>,
    /// It never ends a conversion.
    pub(in crate::driver) busy: bool,
    /// It forgets its configuration when it measures.
    pub(in crate::driver) resets: bool,
    pub(in crate::driver) absent: bool,
    pub(in crate::driver) transfers: usize,
}

/// Where a chip has what.
pub(in crate::driver) struct Map {
    pub(in crate::driver) address: u8,
    /// What a reset clears.
    pub(in crate::driver) configuration: RangeInclusive<u8>,
    /// The register whose two lowest bits order a measurement.
    pub(in crate::driver) ctrl_meas: u8,
    /// The status register, what it holds while a measurement runs, and after it.
    pub(in crate::driver) status: (u8, u8, u8),
}

impl Fake {
    pub(in crate::driver) fn new(map: Map, bytes: [u8; 256]) -> Self {
        let instead = BTreeMap::new();
        let file = File { bytes, map, instead, busy: false, resets: false, absent: false, transfers: 0 };
        Self(Rc::new(RefCell::new(file)))
    }

    pub(in crate::driver) fn file(&self) -> RefMut<'_, File> {
        self.0.borrow_mut()
    }
}

impl File {
    fn write(&mut self, register: u8, value: u8) {
        let (status, running, done) = self.map.status;
        let orders = register == self.map.ctrl_meas && value & 0b11 != 0;
        match register {
            0xe0 => self.reset(),
            _ if orders && self.resets => self.reset(),
            _ if orders && self.busy => {
                (self.bytes[usize::from(register)], self.bytes[usize::from(status)]) = (value, running)
            }
            _ if orders => (self.bytes[usize::from(register)], self.bytes[usize::from(status)]) = (value & !0b11, done),
            _ => self.bytes[usize::from(register)] = value,
        }
    }

    fn reset(&mut self) {
        let (first, last) = (usize::from(*self.map.configuration.start()), usize::from(*self.map.configuration.end()));
        self.bytes[first..=last].fill(0);
        self.bytes[usize::from(self.map.status.0)] = 0;
    }

    fn read(&mut self, register: u8, answer: &mut [u8]) {
        let start = usize::from(register);
        answer.copy_from_slice(&self.bytes[start..start + answer.len()]);
        if let Some(other) = self.instead.get_mut(&register).and_then(VecDeque::pop_front) {
            answer.copy_from_slice(&other);
        }
    }
}

impl ErrorType for Fake {
    type Error = ErrorKind;
}

impl I2c for Fake {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let file = &mut *self.0.borrow_mut();
        file.transfers += 1;
        if file.absent || address != file.map.address {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        match operations {
            [Operation::Write([register, value])] => file.write(*register, *value),
            [Operation::Write([register]), Operation::Read(answer)] => file.read(*register, answer),
            other => panic!("no transfer of these drivers: {other:?}"),
        }
        Ok(())
    }
}
