//! The chips that the other tests here do not have, all on one Raspberry Pi: some on the bus, and those whose address somebody has
//! already behind its multiplexer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::magpie::{self, NodeConfig, PLACE};
use tests::needs;
use tests::virtual_pi::{Chip, MULTIPLEXER, Parts, VirtualPi};

/// What is put on the Pi, and what the air around it is. All of it is to arrive as a good reading, but for what the chip or its
/// algorithm needs three minutes for: that is to be told as warming up, and never as good.
struct Sensor {
    chip: Chip,
    good: &'static [(&'static str, f64)],
    warming_up: &'static [(&'static str, f64)],
}

// No two values of one quantity are alike, and the air is neither so humid nor so warm that the node would doubt it.
const SENSORS: &[Sensor] = &[
    Sensor {
        chip: Chip::new("bme680", "BME680", 0x76),
        good: &[("temperature", 21.5), ("humidity", 47.0), ("pressure", 98_700.0), ("gas_resistance", 61_000.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("sht31", "SHT31", 0x44),
        good: &[("temperature", -7.25), ("humidity", 66.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("aht20", "AHT20", 0x38),
        good: &[("temperature", 28.75), ("humidity", 35.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("scd30", "SCD30", 0x61),
        good: &[("co2", 812.0), ("temperature", 19.5), ("humidity", 52.0)],
        warming_up: &[],
    },
    Sensor { chip: Chip::new("sgp30", "SGP30", 0x58), good: &[("tvoc", 143.0), ("eco2", 702.0)], warming_up: &[] },
    Sensor { chip: Chip::new("ens160", "ENS160", 0x53), good: &[], warming_up: &[("tvoc", 96.0), ("eco2", 611.0)] },
    Sensor {
        chip: Chip::new("bmp280", "BMP280", 0x77).behind(0),
        good: &[("temperature", 12.0), ("pressure", 101_900.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("sps30", "SPS30", 0x69).behind(0),
        good: &[("pm1", 11.0), ("pm2_5", 24.0), ("pm4", 33.0), ("pm10", 41.0)],
        warming_up: &[],
    },
    Sensor { chip: Chip::new("sgp40", "SGP40", 0x59).behind(0), good: &[], warming_up: &[("voc_index", 100.0)] },
    Sensor {
        chip: Chip::new("bme688", "BME688", 0x77).behind(1),
        good: &[("temperature", 16.5), ("humidity", 58.0), ("pressure", 96_300.0), ("gas_resistance", 145_000.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("sen50", "SEN50", 0x69).behind(1),
        good: &[("pm1", 52.0), ("pm2_5", 70.0), ("pm4", 88.0), ("pm10", 99.0)],
        warming_up: &[],
    },
    Sensor {
        chip: Chip::new("sgp41", "SGP41", 0x59).behind(1),
        good: &[],
        warming_up: &[("voc_index", 100.0), ("nox_index", 1.0)],
    },
    Sensor {
        chip: Chip::new("sen54", "SEN54", 0x69).behind(2),
        good: &[
            ("pm1", 7.0),
            ("pm2_5", 14.0),
            ("pm4", 18.0),
            ("pm10", 21.0),
            ("temperature", 23.0),
            ("humidity", 44.0),
        ],
        warming_up: &[("voc_index", 130.0)],
    },
    Sensor {
        chip: Chip::new("sen55", "SEN55", 0x69).behind(7),
        good: &[("pm1", 3.0), ("pm2_5", 6.0), ("pm4", 8.0), ("pm10", 10.0), ("temperature", 25.5), ("humidity", 39.0)],
        warming_up: &[("voc_index", 170.0), ("nox_index", 4.0)],
    },
];

/// Particle counters are warm after half a minute; a guest on a busy machine takes its time.
const READINGS: Duration = Duration::from_secs(180);

#[test]
fn every_chip_is_found_and_read_through_the_kernel_on_the_bus_and_behind_a_multiplexer() -> Result<()> {
    let config = NodeConfig {
        http: "127.0.0.1:4711".to_owned(),
        interval: "3s",
        buses: vec!["/dev/i2c-1".to_owned()],
        ..NodeConfig::new("pi3")
    };
    let config = config.toml(Path::new("/var/lib/magpie"));
    let mux = format!("[[sensors.mux]]\naddress = {MULTIPLEXER}\n");
    let mut pi = VirtualPi::boot(&Parts {
        chips: SENSORS.iter().map(|sensor| sensor.chip).collect(),
        ports: Vec::new(),
        files: vec![
            ("magpie", 0o755, fs::read(needs::pi_magpie()?)?),
            ("etc/magpie.toml", 0o644, (config + &mux).into_bytes()),
        ],
        ..Parts::default()
    })?;
    for Sensor { chip, good, warming_up } in SENSORS {
        for (quantity, value) in good.iter().chain(*warming_up) {
            pi.set(chip.id, quantity, *value)?;
        }
    }
    // It feels the air that the BME680 measures and the node tells it of.
    pi.set("scd30", "pressure", 98_700.0)?;
    refuse_behind_the_multiplexer(&mut pi)?;
    // Before there is a node, from what it will be told of the multiplexer.
    scan(&mut pi, "/magpie sensors scan --config /etc/magpie.toml")?;
    pi.start("/magpie node --config /etc/magpie.toml")?;
    // On the Pi itself: the way over the network is another test's.
    pi.start("/magpie sub '+/+/pi3/+' --json --no-mdns --connect /ip4/127.0.0.1/tcp/4710")?;
    listen(&pi)?;
    // The node tells, while all of them measure.
    scan(&mut pi, "/magpie sensors scan")
}

/// A chip behind the multiplexer that refuses a byte leaves the bus to the next one.
fn refuse_behind_the_multiplexer(pi: &mut VirtualPi) -> Result<()> {
    pi.run(&format!("i2cset -y 1 {MULTIPLEXER:#04x} 1"))?;
    // No SGP40 has such a command.
    let refused = "i2ctransfer -y 1 w3@0x59 0x12 0x34 0x56";
    // An emulator that is late to end the refused transfer lets the next one fail, once.
    let id = |address| format!("{{ i2cget -y 1 {address} 0xd0 2> /dev/null || i2cget -y 1 {address} 0xd0; }}");
    let both = format!("{}; {}", id("0x76"), id("0x77"));
    let said = pi.run(&format!("for i in $(seq 5); do {refused} 2> /dev/null && echo taken; {both}; done"))?;
    // A BME680 on the bus, a BMP280 behind port 0.
    ensure!(said == "0x61\n0x58\n".repeat(5), "after a refused byte: {said}");
    Ok(())
}

/// Where each chip is, to be read and to be pasted.
fn scan(pi: &mut VirtualPi, command: &str) -> Result<()> {
    let said = pi.run(command)?;
    ensure!(said.matches("\n[[sensors.mux]]\n").count() == 1, "one multiplexer is to be pasted:\n{said}");
    ensure!(
        said.contains(&format!("\naddress = {MULTIPLEXER:#04x}\n")),
        "the multiplexer is not to be pasted:\n{said}"
    );
    for Sensor { chip, .. } in SENSORS {
        let port = chip.port.map(|port| format!("port = \"{MULTIPLEXER:#04x}.{port}\"\n")).unwrap_or_default();
        let place = chip.port.map_or("i2c-1".to_owned(), |port| format!("i2c-1/{MULTIPLEXER:#04x}.{port}"));
        let line = format!("{place:<12} {:#04x}  {} ", chip.address, family(chip));
        ensure!(said.contains(&line), "nobody says\n{line}in:\n{said}");
        let entry = format!("model = \"{}\"\nbus = \"i2c-1\"\n{port}address = {:#04x}\n", family(chip), chip.address);
        ensure!(said.contains(&entry), "nobody says\n{entry}in:\n{said}");
    }
    Ok(())
}

/// One thing that is to be heard of.
#[derive(Clone, Copy, Debug)]
struct Expected {
    chip: Chip,
    quantity: &'static str,
    value: f64,
    is_warm: bool,
}

impl Expected {
    fn all() -> Vec<Self> {
        let of = |sensor: &Sensor, known: &[(&'static str, f64)], is_warm| {
            let chip = sensor.chip;
            known.iter().map(|&(quantity, value)| Self { chip, quantity, value, is_warm }).collect::<Vec<_>>()
        };
        SENSORS
            .iter()
            .flat_map(|sensor| [of(sensor, sensor.good, true), of(sensor, sensor.warming_up, false)].concat())
            .collect()
    }

    fn is_subject_of(&self, line: &Value) -> bool {
        is_of(line, &self.chip) && line["path"] == format!("{PLACE}/pi3/{}", self.quantity)
    }

    /// Whether the line says all that there is to be said: what was set, or that the chip warms up.
    fn is_told_by(&self, line: &Value) -> bool {
        if !self.is_warm {
            return line["flag"] != "good" && line["reason"] == "warming_up";
        }
        let tolerance = 0.05 + self.value.abs() * 0.01;
        let is_near = |heard: f64| (heard - self.value).abs() <= tolerance;
        magpie::is_good(line) && line["simulated"] == false && line["value"].as_f64().is_some_and(is_near)
    }
}

fn listen(pi: &VirtualPi) -> Result<()> {
    let all = Expected::all();
    let mut missing = all.clone();
    let mut wrong = None;
    let heard = pi.wait_for("what every chip measures", READINGS, |line| {
        let Some(line) = reading(line) else { return false };
        let line = &line;
        missing.retain(|expected| !(expected.is_subject_of(line) && expected.is_told_by(line)));
        let subject = all.iter().find(|expected| expected.is_subject_of(line));
        if subject.is_none_or(|expected| line["flag"] == "good" && !expected.is_told_by(line)) {
            wrong = Some(line.clone());
        }
        missing.is_empty() || wrong.is_some()
    });
    ensure!(wrong.is_none(), "this is not what was set: {wrong:?}");
    heard.map(|_| ()).with_context(|| format!("not heard of: {missing:?}"))
}

/// What the subscriber says on the console, where the node's log is too.
fn reading(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line.strip_prefix("| ")?).ok().filter(|line| line.get("path").is_some())
}

/// The name under which a node knows the chip.
fn family(chip: &Chip) -> &'static str {
    if chip.model == "SHT31" { "SHT3x" } else { chip.model }
}

/// Whether a line is of this chip at this place: `BME688@i2c-1/0x70.1/0x77`.
fn is_of(line: &Value, chip: &Chip) -> bool {
    let port = chip.port.map(|port| format!("{MULTIPLEXER:#04x}.{port}/")).unwrap_or_default();
    line["sensor"] == format!("{}@i2c-1/{port}{:#04x}", family(chip), chip.address)
}
