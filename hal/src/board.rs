//! The devices of this machine: I2C buses and the pin of a LED. Nothing else in Magpie opens one.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind as IoErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use linux_embedded_hal::i2cdev::linux::LinuxI2CError;
use linux_embedded_hal::{Delay, I2cdev};

use crate::chips::Connect;
use crate::error::BusError;

/// The I2C buses of this machine, in numeric order; empty where there are none.
pub fn device_buses() -> Vec<PathBuf> {
    numbered("/dev", "i2c-")
}

/// `<directory>/<prefix><number>`, in numeric order.
fn numbered(directory: &str, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// A bus that the kernel drives. Opening one handle per chip keeps `linux-embedded-hal` from reopening the device at each
/// change of address.
///
/// # When a chip holds the wires
/// I2C's cure is nine clocks (UM10204, section 3.1.16), and `/dev/i2c-*` has no call for them. A kernel's bus driver may give them by
/// itself (`i2c_bus_recovery_info`); the Pi's, i2c-bcm2835, does not: it ends a transfer after a second with ETIMEDOUT, clears its
/// controller, and makes the next transfer as if nothing had been, whose own clocks free a chip that was waiting for the rest of
/// its byte. So all that is left to do here is done above: each failure is reported, the next transfer is tried, a chip that
/// answers but does not work is started again at growing distances, and a device that was away is opened anew. A chip that
/// still holds the wires must lose its power.
pub(crate) struct DeviceBus {
    path: PathBuf,
    opened: Instant,
}

impl DeviceBus {
    /// Opens the device once, to find out that it can be.
    pub(crate) fn open(path: &Path) -> Result<Self, BusError> {
        I2cdev::new(path).map_err(|error| explain(path, error.into()))?;
        Ok(Self { path: path.to_owned(), opened: Instant::now() })
    }
}

fn explain(path: &Path, error: io::Error) -> BusError {
    let path = path.to_owned();
    match error.kind() {
        IoErrorKind::NotFound => BusError::NotFound { path },
        IoErrorKind::PermissionDenied => BusError::Permission { path },
        IoErrorKind::ResourceBusy => BusError::Busy { path },
        _ => BusError::Open { path, source: error },
    }
}

impl Connect for DeviceBus {
    type I2c = DeviceWire;
    type Delay = Delay;

    fn i2c(&self) -> DeviceWire {
        DeviceWire { path: self.path.clone(), handle: None }
    }

    fn delay(&self) -> Delay {
        Delay
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }
}

/// One chip's handle to the bus. It is opened at its first transfer, and again after the device was away.
pub(crate) struct DeviceWire {
    path: PathBuf,
    handle: Option<I2cdev>,
}

impl ErrorType for DeviceWire {
    type Error = Fault;
}

impl I2c for DeviceWire {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Fault> {
        let handle = match &mut self.handle {
            Some(handle) => handle,
            empty => empty.insert(I2cdev::new(&self.path).map_err(Fault::from)?),
        };
        let outcome = handle.transaction(address, operations).map_err(|error| Fault::of(error.inner()));
        if outcome.as_ref().is_err_and(Fault::device_is_gone) {
            self.handle = None;
        }
        outcome
    }
}

/// What the kernel said to a transfer.
pub(crate) struct Fault(io::Error);

// Linux error numbers that i2c drivers give (Documentation/i2c/fault-codes.rst, and i2c-bcm2835's own).
const ENXIO: i32 = 6;
const EAGAIN: i32 = 11;
const EBUSY: i32 = 16;
const ENODEV: i32 = 19;
const ETIMEDOUT: i32 = 110;
const EREMOTEIO: i32 = 121;

impl Fault {
    fn of(error: &LinuxI2CError) -> Self {
        match error {
            LinuxI2CError::Errno(number) => Self(io::Error::from_raw_os_error(*number)),
            LinuxI2CError::Io(error) => match error.raw_os_error() {
                Some(number) => Self(io::Error::from_raw_os_error(number)),
                None => Self(io::Error::new(error.kind(), error.to_string())),
            },
        }
    }

    fn device_is_gone(&self) -> bool {
        self.0.raw_os_error() == Some(ENODEV) || self.0.kind() == IoErrorKind::NotFound
    }
}

impl From<LinuxI2CError> for Fault {
    fn from(error: LinuxI2CError) -> Self {
        Self::of(&error)
    }
}

impl Error for Fault {
    /// `linux-embedded-hal` calls EREMOTEIO "other", but it is what a Pi says where nobody acknowledges.
    fn kind(&self) -> ErrorKind {
        match self.0.raw_os_error() {
            Some(ENXIO | EREMOTEIO) => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown),
            Some(EAGAIN) => ErrorKind::ArbitrationLoss,
            Some(EBUSY | ETIMEDOUT) => ErrorKind::Bus,
            _ => ErrorKind::Other,
        }
    }
}

/// Drivers show a bus error to people through `Debug`: it is all that `embedded-hal` asks of one.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(EBUSY) => write!(f, "a kernel driver owns this address ({})", self.0),
            Some(ETIMEDOUT) => write!(f, "the bus is held, or the chip stretches the clock for too long ({})", self.0),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// A pin that drives a LED.
pub(crate) trait Pin: Send {
    fn set(&mut self, on: bool) -> io::Result<()>;
    fn name(&self) -> &'static str;
}

/// Opens GPIO `number` (BCM numbering): by rppal on a Pi, else through the kernel's first GPIO chip, else not at all.
pub(crate) fn open_pin(number: u8) -> Option<Box<dyn Pin>> {
    match open_rppal(number) {
        Ok(pin) => return Some(pin),
        Err(error) => tracing::debug!(pin = number, %error, "rppal cannot drive the LED"),
    }
    match open_cdev(number) {
        Ok(pin) => Some(pin),
        Err(error) => {
            tracing::debug!(pin = number, %error, "the kernel's GPIO device cannot drive the LED either");
            None
        }
    }
}

fn open_rppal(number: u8) -> Result<Box<dyn Pin>, rppal::gpio::Error> {
    struct Rppal(rppal::gpio::OutputPin);
    impl Pin for Rppal {
        fn set(&mut self, on: bool) -> io::Result<()> {
            self.0.write(if on { rppal::gpio::Level::High } else { rppal::gpio::Level::Low });
            Ok(())
        }

        fn name(&self) -> &'static str {
            "rppal"
        }
    }
    Ok(Box::new(Rppal(rppal::gpio::Gpio::new()?.get(number)?.into_output_low())))
}

fn open_cdev(number: u8) -> Result<Box<dyn Pin>, gpio_cdev::Error> {
    struct Cdev(gpio_cdev::LineHandle);
    impl Pin for Cdev {
        fn set(&mut self, on: bool) -> io::Result<()> {
            self.0.set_value(on.into()).map_err(io::Error::other)
        }

        fn name(&self) -> &'static str {
            "gpio-cdev"
        }
    }
    let line = gpio_cdev::Chip::new("/dev/gpiochip0")?.get_line(number.into())?;
    Ok(Box::new(Cdev(line.request(gpio_cdev::LineRequestFlags::OUTPUT, 0, "magpie")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pi_says_eremoteio_where_no_chip_is() {
        for number in [ENXIO, EREMOTEIO] {
            let fault = Fault::of(&LinuxI2CError::Errno(number));
            assert!(matches!(fault.kind(), ErrorKind::NoAcknowledge(_)), "{fault:?}");
        }
        let fault = Fault::of(&LinuxI2CError::Io(io::Error::from_raw_os_error(EREMOTEIO)));
        assert!(matches!(fault.kind(), ErrorKind::NoAcknowledge(_)));
        for number in [EAGAIN, EBUSY, ETIMEDOUT, ENODEV] {
            let fault = Fault::of(&LinuxI2CError::Errno(number));
            assert!(!matches!(fault.kind(), ErrorKind::NoAcknowledge(_)), "{fault:?}");
        }
    }

    #[test]
    fn a_bus_that_cannot_be_opened_says_what_to_do() {
        let directory = std::env::temp_dir().join(format!("magpie-hal-board-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let missing = DeviceBus::open(&directory.join("i2c-9")).err().unwrap();
        assert!(matches!(missing, BusError::NotFound { .. }));
        assert!(missing.to_string().contains("raspi-config") && missing.to_string().contains("dtparam=i2c_arm=on"));

        let file = directory.join("i2c-8");
        fs::write(&file, b"no bus").unwrap();
        let no_bus = DeviceBus::open(&file).err().unwrap();
        assert!(matches!(no_bus, BusError::Open { .. }), "{no_bus}");
        fs::remove_dir_all(&directory).unwrap();

        let path = Path::new("/dev/i2c-1");
        assert!(explain(path, IoErrorKind::PermissionDenied.into()).to_string().contains("usermod -aG i2c"));
        assert!(matches!(explain(path, io::Error::from_raw_os_error(EBUSY)), BusError::Busy { .. }));
    }

    #[test]
    fn buses_are_listed_by_number() {
        let directory = std::env::temp_dir().join(format!("magpie-hal-buses-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["i2c-10", "i2c-2", "i2c-1", "i2c-", "i2c-x", "spi-1"] {
            fs::write(directory.join(name), []).unwrap();
        }
        let names: Vec<_> = numbered(directory.to_str().unwrap(), "i2c-")
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(names, ["i2c-1", "i2c-2", "i2c-10"]);
        assert!(numbered("/nonexistent", "i2c-").is_empty());
    }
}
