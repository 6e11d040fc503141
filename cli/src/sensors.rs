//! `magpie sensors`: look at the sensors of this machine. A bus has one owner, so a node that runs here is asked; where none does,
//! the buses are opened, with the multiplexers that the node's configuration names.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hal::{Bus, Model, Port, Surroundings};
use node::sensors::Sensors;
use node::{MuxConfig, ReadingStatus, SensorStatus, SensorsConfig, Status};
use service::Flags;
use tokio::sync::oneshot;

use crate::args::{BusArgs, SensorsCommand};
use crate::exit::Exit;
use crate::line::human_unit;
use crate::{args, output};

pub async fn run(args: args::SensorsArgs) -> anyhow::Result<Exit> {
    let (args, read) = match &args.command {
        SensorsCommand::Scan(args) => (args, false),
        SensorsCommand::Read(args) => (args, true),
        SensorsCommand::Calibrate(args) => return crate::calibrate::run(args).await,
    };
    let file = args.config.clone().or_else(crate::node::default_config);
    let config = crate::node::load(file.as_deref(), std::env::vars(), Flags::new())?;
    let address = crate::node::address(args.http, &config);
    let simulate = args.bus.is_empty() && (args.simulate || config.simulate);
    let config = on_these(config.sensors, &args.bus);
    let status = match running_node(args, address).await {
        Some(status) => status?,
        None => look(config.clone(), simulate.then_some(0), read).await?,
    };
    if args.json {
        output::line(&serde_json::to_string(&status)?)?;
    } else if read {
        for line in status.sensors.iter().flat_map(readings) {
            output::line(&line)?;
        }
    } else {
        for line in chips(&status.sensors) {
            output::line(&line)?;
        }
        if !status.sensors.is_empty() {
            output::line(&configuration(&status.sensors, &config, file.as_deref()))?;
        }
    }
    for problem in &status.problems {
        output::complain(&format!("magpie: {problem}"));
    }
    Ok(if status.sensors.is_empty() { Exit::Failed } else { Exit::Done })
}

/// What a node would look at, or the part of it that is on these buses. A chip that may be on any bus is not expected on these.
fn on_these(config: SensorsConfig, buses: &[PathBuf]) -> SensorsConfig {
    if buses.is_empty() {
        return config;
    }
    let buses: Vec<PathBuf> = buses.iter().map(device).collect();
    let is_one = |name: &str| buses.iter().any(|bus| bus.file_name() == Some(OsStr::new(name)));
    let muxes = config.muxes.into_iter().filter(|mux| mux.bus.as_deref().is_none_or(is_one)).collect();
    let chips = config.chips.into_iter().filter(|chip| chip.bus.as_deref().is_some_and(is_one)).collect();
    SensorsConfig { muxes, chips, buses, ..config }
}

/// What the node on this machine says; `None` where there is none, or where the question is not about its buses.
async fn running_node(args: &BusArgs, address: SocketAddr) -> Option<anyhow::Result<Status>> {
    if args.simulate || !args.bus.is_empty() {
        return None;
    }
    let answer = service::client::get(address, "/sensors").await.ok()?;
    Some(
        serde_json::from_str(&answer)
            .with_context(|| format!("what answers on {address} is no Magpie node; name another with --http")),
    )
}

/// A multiplexer that is not where it is said to be looks like one with nothing behind it.
fn silent(muxes: &[MuxConfig], open: &[&str], sensors: &[SensorStatus]) -> Vec<String> {
    let is_silent = |mux: &&MuxConfig| {
        mux.bus.as_deref().is_none_or(|bus| open.contains(&bus))
            && !sensors.iter().any(|sensor| behind(sensor).is_some_and(|place| is_at(mux, place)))
    };
    let told = |MuxConfig { bus, address }: &MuxConfig| {
        let bus = bus.clone().unwrap_or_else(|| open.join(" or "));
        format!(
            "no known chip answers behind the multiplexer 0x{address:02x} on {bus}: check its address (pins A0 to A2) and wiring"
        )
    };
    if open.is_empty() { Vec::new() } else { muxes.iter().filter(is_silent).map(told).collect() }
}

/// The bus and the multiplexer's port that a sensor is behind.
fn behind(sensor: &SensorStatus) -> Option<(&str, Port)> {
    let (bus, port) = sensor.bus.split_once('/')?;
    Some((bus, port.parse().ok()?))
}

fn is_at(mux: &MuxConfig, (bus, port): (&str, Port)) -> bool {
    mux.address == port.mux && mux.bus.as_deref().is_none_or(|name| name == bus)
}

/// What the buses themselves have, which are opened for that: the chips that were found, each read once if wanted. `simulated` holds the
/// seed of simulated air.
pub async fn look(config: SensorsConfig, simulated: Option<u64>, read: bool) -> anyhow::Result<Status> {
    let muxes = config.muxes.clone();
    let mut sensors = Sensors::new(config, simulated);
    let problems = sensors.look().await;
    let mut status = Status { sensors: Vec::new(), problems };
    for (index, sensor) in sensors.list().iter().enumerate().filter(|(_, sensor)| sensor.was_found()) {
        let mut entry = SensorStatus::of(sensor);
        if read {
            let (reply, sample) = oneshot::channel();
            sensor.bus.sample(sensor.chip, Surroundings::default(), move |sample| drop(reply.send(sample)))?;
            match sample.await.context("the thread of the bus stopped")?.readings {
                Ok(measured) => entry.set(&sensor.readings(index, Ok(&measured)), ""),
                Err(failure) => entry.set(&sensor.readings(index, Err(failure.reason)), &failure.detail),
            }
        }
        status.sensors.push(entry);
    }
    let real: Vec<&str> = sensors.buses().iter().filter(|bus| !bus.is_simulated()).map(Bus::name).collect();
    status.problems.extend(silent(&muxes, &real, &status.sensors));
    for bus in sensors.buses() {
        bus.close(std::time::Duration::from_secs(2));
    }
    Ok(status)
}

/// `i2c-1` means `/dev/i2c-1`.
fn device(bus: &PathBuf) -> PathBuf {
    if bus.components().count() == 1 { PathBuf::from("/dev").join(bus) } else { bus.clone() }
}

/// A line for each, those behind a port of a multiplexer under the name of that port.
fn chips(sensors: &[SensorStatus]) -> Vec<String> {
    let longest = sensors.iter().map(|sensor| sensor.bus.len()).max().unwrap_or_default();
    sensors.iter().map(|sensor| chip(sensor, longest.max(8))).collect()
}

fn chip(sensor: &SensorStatus, width: usize) -> String {
    let quantities: Vec<String> = sensor
        .model
        .parse::<Model>()
        .map(|model| model.quantities().iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    let serial = if sensor.serial.is_empty() { String::new() } else { format!("  serial {}", sensor.serial) };
    let simulated = if sensor.simulated { "  simulated" } else { "" };
    format!(
        "{:<width$} 0x{:02x}  {:<9} {}{serial}{simulated}",
        sensor.bus,
        sensor.address,
        sensor.model,
        quantities.join(", ")
    )
}

/// What makes a node expect exactly these chips, to be pasted into its configuration: with the multiplexers that are configured, and
/// those that a node which runs with another configuration found chips behind.
fn configuration(sensors: &[SensorStatus], config: &SensorsConfig, file: Option<&Path>) -> String {
    let instead = if config.muxes.is_empty() && config.chips.is_empty() {
        ""
    } else {
        ", instead of the [[sensors.mux]] and [[sensors.chip]] there; keep what is special about a chip"
    };
    let mut muxes = config.muxes.clone();
    for (bus, port) in sensors.iter().filter_map(behind) {
        if !muxes.iter().any(|mux| is_at(mux, (bus, port))) {
            muxes.push(MuxConfig { bus: Some(bus.to_owned()), address: port.mux });
        }
    }
    let muxes = muxes.iter().map(|MuxConfig { bus, address }| {
        let bus = bus.as_ref().map(|bus| format!("bus = \"{bus}\"\n")).unwrap_or_default();
        format!("\n[[sensors.mux]]\n{bus}address = 0x{address:02x}")
    });
    let chips = sensors.iter().map(|sensor| {
        let (bus, port) = match sensor.bus.split_once('/') {
            Some((bus, port)) => (bus, format!("port = \"{port}\"\n")),
            None => (sensor.bus.as_str(), String::new()),
        };
        format!(
            "\n[[sensors.chip]]\nmodel = \"{}\"\nbus = \"{bus}\"\n{port}address = 0x{:02x}",
            sensor.model, sensor.address
        )
    });
    let entries: Vec<String> = muxes.chain(chips).collect();
    let file = file.unwrap_or(Path::new(crate::node::DEFAULT_CONFIG)).display();
    format!("\n# To be warned when one of them is missing, put this into {file}{instead}:{}", entries.join("\n"))
}

fn readings(sensor: &SensorStatus) -> Vec<String> {
    let name = format!("{}@{}/0x{:02x}", sensor.model, sensor.bus, sensor.address);
    if sensor.readings.is_empty() {
        return vec![format!("{name:<24} not read yet")];
    }
    sensor.readings.iter().map(|reading| value(&name, reading, &sensor.detail)).collect()
}

fn value(name: &str, reading: &ReadingStatus, detail: &str) -> String {
    let value = match reading.value {
        Some(value) => format!("{value:>10.2} {}", human_unit(&reading.unit)),
        None => format!("{:>10}", "-"),
    };
    let flag = match (reading.flag.as_str(), reading.reason.as_str()) {
        ("good", _) => String::new(),
        (flag, "none") => flag.to_owned(),
        (flag, reason) => format!("{flag} ({reason})"),
    };
    format!("{name:<24} {:<14} {value:<17} {flag} {detail}", reading.quantity).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor(bus: &str, address: u8) -> SensorStatus {
        SensorStatus {
            bus: bus.to_owned(),
            address,
            model: "BME280".to_owned(),
            serial: String::new(),
            simulated: false,
            interval_ms: 10_000,
            readings: Vec::new(),
            detail: String::new(),
        }
    }

    fn mux(bus: Option<&str>, address: u8) -> MuxConfig {
        MuxConfig { bus: bus.map(str::to_owned), address }
    }

    /// The configuration of sensors that a file with this text gives.
    fn read(text: &str) -> SensorsConfig {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        std::fs::write(&file, text).unwrap();
        crate::node::load(Some(&file), std::iter::empty(), Flags::new()).unwrap().sensors
    }

    fn places(muxes: &[MuxConfig]) -> Vec<(Option<&str>, u8)> {
        muxes.iter().map(|mux| (mux.bus.as_deref(), mux.address)).collect()
    }

    #[test]
    fn what_is_printed_can_be_pasted() {
        let found = [sensor("i2c-1", 0x76), sensor("i2c-1/0x70.3", 0x77), sensor("i2c-1/0x70.4", 0x77)];
        let config = read(&configuration(&found, &SensorsConfig::default(), None));
        let [plain, behind, _] = config.chips.as_slice() else { panic!("{:?}", config.chips) };
        assert_eq!((plain.bus.as_deref(), plain.address, plain.port), (Some("i2c-1"), Some(0x76), None));
        assert_eq!(behind.port, Some(Port { mux: 0x70, channel: 3 }));
        assert_eq!(places(&config.muxes), [(Some("i2c-1"), 0x70)]);
    }

    #[test]
    fn what_is_printed_keeps_the_multiplexers_that_are_configured() {
        let found = [sensor("i2c-1/0x70.3", 0x77), sensor("i2c-3/0x71.0", 0x77)];
        let muxes = vec![mux(None, 0x70), mux(Some("i2c-1"), 0x71)];
        let config = SensorsConfig { muxes, ..SensorsConfig::default() };
        let text = configuration(&found, &config, Some(Path::new("my.toml")));
        let expected = [(None, 0x70), (Some("i2c-1"), 0x71), (Some("i2c-3"), 0x71)];
        assert_eq!(places(&read(&text).muxes), expected);
        assert!(text.contains("into my.toml, instead of"), "{text}");
    }

    #[test]
    fn chips_behind_a_multiplexer_are_in_line_with_the_others() {
        let lines = chips(&[sensor("i2c-1", 0x76), sensor("i2c-1/0x70.3", 0x77)]);
        assert!(lines[0].starts_with("i2c-1        0x76  BME280 "), "{lines:?}");
        assert!(lines[1].starts_with("i2c-1/0x70.3 0x77  BME280 "), "{lines:?}");
    }

    #[test]
    fn a_multiplexer_behind_which_nobody_answers_is_told() {
        let muxes = [mux(None, 0x70), mux(None, 0x72), mux(Some("i2c-1"), 0x71), mux(Some("i2c-3"), 0x70)];
        let found = [sensor("i2c-1", 0x71), sensor("i2c-1/0x70.0", 0x76)];
        let told = silent(&muxes, &["i2c-1", "i2c-3"], &found);
        let places = ["0x72 on i2c-1 or i2c-3", "0x71 on i2c-1", "0x70 on i2c-3"];
        assert_eq!(told.len(), places.len(), "{told:?}");
        assert!(told.iter().zip(places).all(|(told, place)| told.contains(place)), "{told:?}");
        // A bus that could not be opened has its own words.
        assert_eq!(silent(&muxes[2..], &["i2c-3"], &found).len(), 1);
        assert!(silent(&muxes, &[], &found).is_empty());
    }

    #[test]
    fn one_bus_is_looked_at_as_a_node_would() {
        let text = "[sensors]\nbuses = [\"/dev/i2c-1\", \"/dev/i2c-3\"]\n[[sensors.mux]]\naddress = 0x70\n\
                    [[sensors.mux]]\nbus = \"i2c-1\"\naddress = 0x71\n[[sensors.mux]]\nbus = \"i2c-3\"\naddress = 0x72\n\
                    [[sensors.chip]]\nmodel = \"BME280\"\n[[sensors.chip]]\nmodel = \"SCD4x\"\nbus = \"i2c-3\"\n\
                    [[sensors.chip]]\nmodel = \"SHT4x\"\nbus = \"i2c-1\"\n";
        let whole = on_these(read(text), &[]);
        assert_eq!((whole.buses.len(), whole.muxes.len(), whole.chips.len()), (2, 3, 3));
        let part = on_these(read(text), &[PathBuf::from("i2c-3")]);
        assert_eq!(part.buses, [PathBuf::from("/dev/i2c-3")]);
        assert_eq!(places(&part.muxes), [(None, 0x70), (Some("i2c-3"), 0x72)]);
        assert_eq!(part.chips.iter().map(|chip| chip.model).collect::<Vec<_>>(), [Model::Scd4x]);
    }
}
