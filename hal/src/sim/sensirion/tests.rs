//! The shared part's tests, and the host's side of it for the tests of the chips.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::super::{Chip, Clock, SimBus, SimError};
use super::*;

/// A host with one chip.
pub(in super::super) struct Host {
    pub(in super::super) bus: SimBus,
    address: u8,
}

impl Host {
    /// The chip got its power just now.
    pub(in super::super) fn with(chip: Box<dyn Chip>) -> Self {
        let address = chip.address();
        let bus = SimBus::new(Clock::virtual_time());
        bus.attach(chip);
        Self { bus, address }
    }

    pub(in super::super) fn no_answer(&self) -> SimError {
        SimError::Address(self.address)
    }

    pub(in super::super) fn refused(&self) -> SimError {
        SimError::Data(self.address)
    }

    pub(in super::super) fn wait_ms(&self, time: u32) {
        self.bus.clock().delay().delay_ms(time);
    }

    pub(in super::super) fn set(&self, quantity: Quantity, value: f64) {
        assert!(self.bus.set(self.address, quantity, value), "{quantity}");
    }

    pub(in super::super) fn fault(&self, fault: Option<Fault>) {
        assert!(self.bus.fault(self.address, fault));
    }

    /// Sends a command with its words.
    pub(in super::super) fn send(&mut self, code: u16, words: &[u16]) -> Result<(), SimError> {
        let mut bytes = code.to_be_bytes().to_vec();
        for word in words {
            let [high, low] = word.to_be_bytes();
            bytes.extend([high, low, crc([high, low])]);
        }
        self.write(&bytes)
    }

    pub(in super::super) fn write(&mut self, bytes: &[u8]) -> Result<(), SimError> {
        self.bus.write(self.address, bytes)
    }

    pub(in super::super) fn read(&mut self, bytes: usize) -> Result<Vec<u8>, SimError> {
        let mut answer = vec![0; bytes];
        self.bus.read(self.address, &mut answer).map(|()| answer)
    }

    /// Reads words whose checksums are right.
    pub(in super::super) fn receive(&mut self, words: usize) -> Result<Vec<u16>, SimError> {
        let word = |chunk: &[u8]| {
            let word = [chunk[0], chunk[1]];
            assert_eq!(crc(word), chunk[2]);
            u16::from_be_bytes(word)
        };
        self.read(3 * words).map(|bytes| bytes.chunks(3).map(word).collect())
    }

    /// Sends a command, waits, and reads words.
    pub(in super::super) fn ask(
        &mut self,
        code: u16,
        sent: &[u16],
        wait_ms: u32,
        words: usize,
    ) -> Result<Vec<u16>, SimError> {
        self.send(code, sent)?;
        self.wait_ms(wait_ms);
        self.receive(words)
    }
}

#[test]
fn the_checksum_of_the_datasheets_example_comes_out() {
    assert_eq!(crc([0xBE, 0xEF]), 0x92);
}

#[test]
fn what_no_word_can_say_is_said_by_the_last_word() {
    assert_eq!(word(-45.0, -45.0, 175.0), 0);
    assert_eq!(word(130.0, -45.0, 175.0), u16::MAX);
    assert_eq!(word(1e9, -45.0, 175.0), u16::MAX);
    assert_eq!(word(-1e9, -45.0, 175.0), 0);
}

#[test]
fn texts_and_numbers_of_32_bits_are_words_too() {
    assert_eq!(text("SEN55", 4), [0x5345, 0x4E35, 0x3500, 0]);
    // SCD30 interface description 1.4.5: 400 ppm.
    assert_eq!(float(400.0), [0x43C8, 0x0000]);
    assert_eq!(double(604_800), [0x0009, 0x3A80]);
}

/// Keeps a word, and gives it back with its complement.
#[derive(Default)]
struct Echo(u16);

impl Commanded for Echo {
    const HANGS: bool = true;

    fn model(&self) -> &'static str {
        "echo"
    }
    fn address(&self) -> u8 {
        0x55
    }
    fn quantities(&self) -> &'static [Quantity] {
        &[]
    }
    fn startup(&self) -> Duration {
        Duration::from_millis(2)
    }
    fn power_on(&mut self) {
        self.0 = 0;
    }
    fn words(&self, code: u16, _at: &Moment<'_>) -> &'static [usize] {
        if code == 0x1234 { &[0, 1] } else { &[] }
    }
    fn execute(&mut self, _code: u16, words: &[u16], _at: &Moment<'_>) -> Executed {
        match words {
            [word] => {
                self.0 = *word;
                Executed::within(Duration::from_millis(5))
            }
            _ => Executed::within(Duration::from_millis(1)).answering(&[self.0, !self.0]),
        }
    }
}

fn echo() -> Host {
    let host = Host::with(Box::new(super::super::device::Simulated::new(Interface::new(Echo::default()))));
    host.wait_ms(2);
    host
}

#[test]
fn an_answer_is_words_with_their_checksums_then_an_idle_bus_and_given_once() {
    let mut host = echo();
    host.send(0x1234, &[0xBEEF]).unwrap();
    host.wait_ms(5);
    host.send(0x1234, &[]).unwrap();
    assert_eq!(host.read(8), Err(host.no_answer()), "busy");
    host.wait_ms(1);
    assert_eq!(host.read(8).unwrap(), [0xBE, 0xEF, 0x92, 0x41, 0x10, crc([0x41, 0x10]), 0xFF, 0xFF]);
    assert_eq!(host.read(8), Err(host.no_answer()), "read once");
}

#[test]
fn a_word_counts_only_with_its_checksum_and_a_command_only_with_its_words() {
    let mut host = echo();
    for wrong in [&[0x12, 0x34, 0xBE, 0xEF, 0x93][..], &[0x12, 0x35], &[0x12, 0x34, 0xBE, 0xEF, 0x92, 0]] {
        assert_eq!(host.write(wrong), Err(host.refused()), "{wrong:x?}");
        host.wait_ms(5);
    }
    assert_eq!(host.ask(0x1234, &[], 1, 1).unwrap(), [0xBEEF], "of the last, what came before the end was right");
    host.write(&[0x12, 0x34, 0x00]).unwrap();
    host.wait_ms(5);
    host.write(&[0x12]).unwrap();
    assert_eq!(host.read(1), Err(host.no_answer()), "no half command is executed");
    assert_eq!(host.ask(0x1234, &[], 1, 1).unwrap(), [0xBEEF]);
}

#[test]
fn faults_show_on_the_bus() {
    let mut host = echo();
    host.fault(Some(Fault::Checksum));
    host.send(0x1234, &[]).unwrap();
    host.wait_ms(1);
    assert_eq!(host.read(3).unwrap(), [0x00, 0x00, !0x81]);
    host.fault(Some(Fault::Truncated));
    host.send(0x1234, &[]).unwrap();
    host.wait_ms(1);
    assert_eq!(host.read(6).unwrap(), [0x00, 0x00, 0x81, 0xFF, 0xFF, 0xFF]);
    host.fault(Some(Fault::Busy));
    host.send(0x1234, &[]).unwrap();
    host.wait_ms(60_000);
    assert_eq!(host.send(0x1234, &[]), Err(host.no_answer()));
    host.fault(None);
    host.send(0x1234, &[7]).unwrap();
    for fault in [Fault::PowerLoss, Fault::ResetContents] {
        host.fault(Some(fault));
        assert_eq!(host.send(0x1234, &[]), Err(host.no_answer()), "powering up");
        host.wait_ms(2);
    }
    assert_eq!(host.ask(0x1234, &[], 1, 2), Err(host.no_answer()), "acknowledged, but nothing happens");
    host.fault(None);
    let _ = host.send(0x1234, &[]);
    host.wait_ms(2);
    assert_eq!(host.ask(0x1234, &[], 1, 2).unwrap(), [0, !0], "power takes what was set");
}
