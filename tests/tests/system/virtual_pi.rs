//! A Raspberry Pi 3 with its I2C bus, its kernel and the binary that goes on it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::magpie::{self, NodeConfig, PLACE};
use tests::program::Program;
use tests::virtual_pi::{Chip, Parts, VirtualPi};
use tests::{http, needs};

const CHIPS: [Chip; 4] = [
    Chip::new("bme", "BME280", 0x76),
    Chip::new("sht", "SHT40", 0x44),
    Chip::new("pms", "PMSA003I", 0x12),
    Chip::new("scd", "SCD41", 0x62),
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

    // A read after a write that nobody acknowledged is a read: this chip's frames begin so.
    ensure!(pi.run("i2ctransfer -y 1 r4@0x12")? == "0x42 0x4d 0x00 0x1c\n");

    pi.fault("bme", "unplugged")?;
    ensure!(pi.run(bme280_id).is_err(), "an unplugged chip answers");
    pi.fault("bme", "")?;
    // The chip needs a moment after power-on, in which it does not answer.
    let tries = format!("until {bme280_id}; do usleep 2000; done");
    ensure!(pi.run(&tries)?.ends_with("0x60\n"));

    // A chip that refuses a byte (a SCD41 that measures takes no self test) leaves the bus to the next one.
    pi.run("i2ctransfer -y 1 w2@0x62 0x21 0xb1")?;
    let refused = "i2ctransfer -y 1 w2@0x62 0x36 0x39";
    // An emulator that is late to end the refused transfer lets the next one fail, once.
    let id = format!("{{ {bme280_id} 2> /dev/null || {bme280_id}; }}");
    let said = pi.run(&format!("for i in $(seq 20); do {refused} 2> /dev/null && echo taken; {id}; done"))?;
    ensure!(said == "0x60\n".repeat(20), "after a refused byte: {said}");
    Ok(())
}

/// The ports of the configuration's defaults.
const MESH: u16 = 4710;
const HTTP: u16 = 4711;
/// A sensor of particulate matter needs 30 s of air, a guest on a busy machine takes its time.
const READING: Duration = Duration::from_secs(120);

/// The path that the project exists for: a register on a sensor, the kernel's I2C, the driver, a signed frame, gossip,
/// a subscriber on another machine. Then everything that can happen to a cable.
#[test]
fn what_the_chips_measure_reaches_a_subscriber_and_so_does_their_loss() -> Result<()> {
    let config = NodeConfig { http: format!("0.0.0.0:{HTTP}"), interval: "1s", ..NodeConfig::new("pi3") };
    let mut pi = VirtualPi::boot(&Parts {
        chips: CHIPS.to_vec(),
        ports: vec![(MESH, 0), (HTTP, 0)],
        files: vec![
            ("magpie", 0o755, fs::read(needs::pi_magpie()?)?),
            ("etc/magpie.toml", 0o644, config.toml(Path::new("/var/lib/magpie")).into_bytes()),
        ],
        ..Parts::default()
    })?;
    pi.start("/magpie node --config /etc/magpie.toml")?;
    let mesh = format!("/ip4/127.0.0.1/tcp/{}", pi.address(MESH)?.port());
    let paths = format!("{PLACE}/pi3/+");
    let subscriber = magpie::subscribe(magpie::here()?, &[&paths, "--no-mdns", "--connect", &mesh])?;
    story(&mut pi, &subscriber).with_context(|| pi.tail())
}

fn story(pi: &mut VirtualPi, subscriber: &Program) -> Result<()> {
    let health = pi.address(HTTP)?;

    // The node found the chips by itself, and they are real to it.
    let mut wanted = BTreeSet::from(["temperature", "humidity", "pm2_5", "co2"]);
    subscriber.wait_for_json("good temperature, humidity, pm2_5 and co2", READING, |line| {
        if magpie::is_good(line) && line["simulated"] == false {
            wanted.retain(|quantity| line["path"] != format!("{PLACE}/pi3/{quantity}"));
        }
        wanted.is_empty()
    })?;
    http::wait_for_status(health, "/readyz", 200, READING)?;

    // The air gets warmer.
    pi.set("bme", "temperature", 31.5)?;
    hear(subscriber, "BME280", "the new temperature", |line| {
        magpie::is_good(line) && is_near(line, "temperature", 31.5)
    })?;
    pi.set("scd", "co2", 1234.0)?;
    hear(subscriber, "SCD4", "the new CO2", |line| magpie::is_good(line) && is_near(line, "co2", 1234.0))?;

    // One cable comes off: its readings are missing, and say why; the node still measures.
    pi.fault("bme", "unplugged")?;
    hear(subscriber, "BME280", "that the BME280 is missing", is_missing)?;
    http::wait_for_status(health, "/readyz", 200, READING)?;

    // All of them: healthy means measuring. Restarting the node would not help, so it stays alive.
    for chip in CHIPS {
        pi.fault(chip.id, "unplugged")?;
    }
    http::wait_for_status(health, "/readyz", 503, READING)?;
    ensure!(http::get(health, "/livez")?.0 == 200);

    for chip in CHIPS {
        pi.fault(chip.id, "")?;
    }
    hear(subscriber, "BME280", "the BME280 again", |line| magpie::is_good(line) && is_near(line, "temperature", 31.5))?;
    http::wait_for_status(health, "/readyz", 200, READING)?;

    // Somebody plugs in another chip.
    pi.fault("bme", "wrong_id")?;
    hear(subscriber, "BME280", "that it is another chip", |line| {
        line["flag"] != "good" && line["value"].is_null() && line["reason"] == "wrong_chip"
    })?;
    Ok(())
}

/// Waits for a line of one sensor, whose name begins with its model.
fn hear(subscriber: &Program, model: &str, what: &str, mut accept: impl FnMut(&Value) -> bool) -> Result<Value> {
    subscriber.wait_for_json(what, READING, |line| {
        line["sensor"].as_str().is_some_and(|sensor| sensor.starts_with(model)) && accept(line)
    })
}

fn is_missing(line: &Value) -> bool {
    line["flag"] == "missing" && line["value"].is_null() && line["reason"] == "no_answer" && line["verified"] == true
}

fn is_near(line: &Value, quantity: &str, value: f64) -> bool {
    let is_quantity = line["path"] == format!("{PLACE}/pi3/{quantity}");
    is_quantity && line["value"].as_f64().is_some_and(|heard| (heard - value).abs() <= value.abs() * 0.01)
}
