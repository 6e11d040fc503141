//! The simulated chips as I2C devices of a stock QEMU, so that a virtual Raspberry Pi has sensors on its bus.
//!
//! QEMU loads this library by `LD_PRELOAD` and then knows one more device, `magpie-chip`:
//!
//! ```text
//! LD_PRELOAD=libmagpie_qemu_i2c.so qemu-system-aarch64 -M raspi3b \
//!     -device magpie-chip,id=bme,bus=i2c-bus.1,address=0x76,chip=BME280 ...
//! ```
//!
//! What the chip measures is set while the guest runs, over QMP, in the units of `reading`:
//! `qom-set path=/machine/peripheral/bme property=temperature value=31.5`. The property `fault` breaks the chip
//! (`unplugged`, ...) and, set to nothing, repairs it. The chips themselves are `hal`'s, the very ones that
//! `--simulate` reads; here the kernel's i2c-bcm2835 stands between them and the driver.
//!
//! Nothing of QEMU is needed to build this. The price is that the layout of a few of QEMU's structures is written down
//! in `qemu`: it is that of the 10.0 series on x86-64, it is checked when the library is loaded, and QEMU is
//! stopped with an explanation where it differs.

mod qemu;
mod slot;
