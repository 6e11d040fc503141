//! The words of `magpie doctor` and `magpie sensors scan` on a Raspberry Pi where something is wrong.

use std::fs;

use anyhow::{Context, Result, ensure};
use tests::needs;
use tests::virtual_pi::{Chip, Parts, VirtualPi};

/// The owner believes that the BME280 is at its usual address.
const CONFIG: &str = "state = \"/var/lib/magpie\"\n[[sensors.chip]]\nmodel = \"BME280\"\naddress = 0x76\n";
const DOCTOR: &str = "/magpie doctor --config /etc/magpie.toml";

#[test]
fn the_words_help() -> Result<()> {
    let mut pi = VirtualPi::boot(&Parts {
        chips: vec![Chip::new("bme", "BME280", 0x77), Chip::new("sht", "SHT40", 0x44)],
        ports: Vec::new(),
        files: vec![
            ("magpie", 0o755, fs::read(needs::pi_magpie()?)?),
            ("etc/magpie.toml", 0o644, CONFIG.into()),
            ("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\npi:x:1000:1000::/:/bin/sh\n".into()),
            ("etc/group", 0o644, "root:x:0:\ni2c:x:998:\n".into()),
        ],
        ..Parts::default()
    })?;
    story(&mut pi).with_context(|| pi.tail())
}

fn story(pi: &mut VirtualPi) -> Result<()> {
    // A chip at the wrong address.
    let said = fails(pi, DOCTOR)?;
    says(&said, &["BME280 at 0x76", "does not answer", "one answers at 0x77", "SHT4x at 0x44"])?;
    says(&said, &["Raspberry Pi 3 Model B"])?;
    let said = pi.run("/magpie sensors scan")?;
    says(&said, &["i2c-1    0x44  SHT4x", "i2c-1    0x77  BME280", "[[sensors.chip]]", "address = 0x77"])?;
    let findings = pi.run(&format!("{DOCTOR} --json | grep -c '\"state\":\"problem\"'"))?;
    ensure!(findings.trim() == "1", "{findings} problems");

    // The user is outside the group of the bus.
    pi.run("chgrp i2c /dev/i2c-1 && chmod 660 /dev/i2c-1 && chmod 777 /var/lib")?;
    let said = fails(pi, &format!("su pi -c '{DOCTOR}'"))?;
    says(&said, &["uid 1000", "may not open /dev/i2c-1", "sudo usermod -aG i2c"])?;
    let said = fails(pi, "su pi -c '/magpie sensors scan'")?;
    says(&said, &["no permission to open /dev/i2c-1", "usermod -aG i2c"])?;

    // The module that makes the device is missing.
    pi.run("rmmod i2c_dev")?;
    says(&fails(pi, DOCTOR)?, &["the module i2c-dev is not loaded", "modprobe i2c-dev"])?;

    // I2C is off.
    pi.run("rmmod i2c_bcm2835")?;
    says(&fails(pi, DOCTOR)?, &["I2C is off", "raspi-config", "dtparam=i2c_arm=on"])?;
    says(&fails(pi, "/magpie sensors scan")?, &["no I2C bus", "raspi-config"])
}

/// Runs a command that must end with 1, and gives what it said.
fn fails(pi: &mut VirtualPi, command: &str) -> Result<String> {
    let said = pi.run(&format!("{command}; echo \"ended with $?\""))?;
    ensure!(said.contains("ended with 1"), "`{command}` did not fail:\n{said}");
    Ok(said)
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "nobody says {word:?} in:\n{said}");
    }
    Ok(())
}
