//! A Raspberry Pi 3 with its I2C bus, its kernel and the binary that goes on it.

use anyhow::{Result, ensure};
use tests::virtual_pi::{Chip, Parts, VirtualPi};

const CHIPS: [Chip; 4] = [
    Chip { id: "bme", model: "BME280", address: 0x76 },
    Chip { id: "sht", model: "SHT40", address: 0x44 },
    Chip { id: "pms", model: "PMSA003I", address: 0x12 },
    Chip { id: "scd", model: "SCD41", address: 0x62 },
];

/// What the other tests here stand on: the kernel's driver, the bus and the chips' faults are real.
#[test]
fn the_kernel_reads_a_chip_and_misses_it_when_it_is_unplugged() -> Result<()> {
    let mut pi = VirtualPi::boot(&Parts { chips: CHIPS.to_vec(), ..Parts::default() })?;
    let driver = pi.run("cat /sys/bus/i2c/devices/i2c-1/name")?;
    ensure!(driver.contains("bcm2835"), "/dev/i2c-1 is {driver}");
    let bme280_id = "i2cget -y 1 0x76 0xd0";
    ensure!(pi.run(bme280_id)? == "0x60\n");
    ensure!(pi.run("i2cget -y 1 0x77 0xd0").is_err(), "somebody answers at an empty address");

    pi.fault("bme", "unplugged")?;
    ensure!(pi.run(bme280_id).is_err(), "an unplugged chip answers");
    pi.fault("bme", "")?;
    // The chip needs a moment after power-on, in which it does not answer.
    let tries = format!("until {bme280_id}; do usleep 2000; done");
    ensure!(pi.run(&tries)?.ends_with("0x60\n"));

    // A chip that refuses a byte (a SCD41 that measures takes no self test) leaves the bus to the next one.
    pi.run("i2ctransfer -y 1 w2@0x62 0x21 0xb1")?;
    let refused = "i2ctransfer -y 1 w2@0x62 0x36 0x39";
    let said = pi.run(&format!("for i in $(seq 20); do {refused} 2> /dev/null && echo taken; {bme280_id}; done"))?;
    ensure!(said == "0x60\n".repeat(20), "after a refused byte: {said}");
    Ok(())
}
