//! `magpie node`: configuration from file, environment and flags, then a node until a signal comes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use service::{Flags, Problems, Program};
use toml::Value;

use crate::args::NodeArgs;
use crate::exit::Exit;

/// Read where no other file is named, if it is there.
pub const DEFAULT_CONFIG: &str = "/etc/magpie/magpie.toml";
/// Names another file.
pub const CONFIG_VARIABLE: &str = "MAGPIE_CONFIG";

pub async fn run(args: NodeArgs) -> anyhow::Result<Exit> {
    let file = args.config.clone().or_else(default_config);
    let config = load(file.as_deref(), std::env::vars(), flags(&args))?;
    let mut program = Program::new();
    node::Node::start(config, &mut program).await?;
    program.run_until_signal().await?;
    Ok(Exit::Done)
}

/// The file that is read where no other is named, if it is there.
pub fn default_config() -> Option<PathBuf> {
    Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists())
}

/// The configuration as a node reads it.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: Flags,
) -> Result<node::Config, Problems> {
    service::config::load(file, environment, &[service::log::FILTER_VARIABLE, CONFIG_VARIABLE], flags)
}

/// Where the node on this machine answers about its health and sensors: where it is said to, else as configured, else as by default.
pub fn address(said: Option<SocketAddr>, config: &node::Config) -> SocketAddr {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), node::HTTP_PORT);
    said.or(config.http.listen).unwrap_or(default)
}

/// The keys that the flags set.
fn flags(args: &NodeArgs) -> Flags {
    let mut flags = Flags::new();
    let list = |items: &[String]| Value::Array(items.iter().cloned().map(Value::String).collect());
    for (key, flag, label) in
        [("city", "--city", &args.city), ("area", "--area", &args.area), ("name", "--name", &args.name)]
    {
        if let Some(label) = label {
            flags.set(key, flag, label.as_str());
        }
    }
    if let Some(state) = &args.state {
        flags.set("state", "--state", state.to_string_lossy().into_owned());
    }
    if args.simulate {
        flags.set("simulate", "--simulate", true);
    }
    if let Some(interval) = args.interval {
        flags.set("sensors.interval", "--interval", humantime::format_duration(interval).to_string());
    }
    if !args.listen.is_empty() {
        flags.set("mesh.listen", "--listen", list(&args.listen));
    }
    if !args.meet.connect.is_empty() {
        flags.set("mesh.connect", "--connect", list(&args.meet.connect));
    }
    if args.meet.no_mdns {
        flags.set("mesh.mdns", "--no-mdns", false);
    }
    if let Some(http) = &args.http {
        flags.set("http.listen", "--http", http.as_str());
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn node_args(words: &[&str]) -> NodeArgs {
        match Args::try_parse_from(["magpie", "node"].iter().chain(words)).unwrap().command {
            Command::Node(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_configuration_is_what_the_node_does_without_one() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/magpie.toml");
        let read = load(Some(Path::new(example)), std::iter::empty(), flags(&node_args(&["--name", "roof"]))).unwrap();
        let default =
            load(None, std::iter::empty(), flags(&node_args(&["--name", "roof", "--state", "/var/lib/magpie"])))
                .unwrap();
        assert_eq!(format!("{read:#?}"), format!("{default:#?}"));
    }

    #[test]
    fn the_systemd_unit_agrees_with_the_program() {
        let unit = include_str!("../../packaging/magpie.service");
        let value = |key: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("the unit has no {key}"))
        };
        let command = Args::try_parse_from(value("ExecStart").split(' ')).unwrap().command;
        assert!(matches!(command, Command::Node(_)));
        assert_eq!(value("RestartPreventExitStatus"), (Exit::Usage as u8).to_string());
        assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > service::STOP_DEADLINE.as_secs());
        // What `magpie doctor` looks for.
        assert_eq!(value("RuntimeDirectory"), "magpie");
        assert_eq!(value("RuntimeDirectoryPreserve"), "yes");
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        std::fs::write(&file, "city = \"file\"\narea = \"file\"\nname = \"file\"\n[sensors]\ninterval = \"1m\"\n")
            .unwrap();
        let environment = [("MAGPIE_AREA", "variable"), ("MAGPIE_NAME", "variable"), ("MAGPIE_MESH__MDNS", "false")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = load(Some(&file), environment.into_iter(), flags(&node_args(&["--name", "flag"]))).unwrap();
        assert_eq!(config.city.as_str(), "file");
        assert_eq!(config.area.as_str(), "variable");
        assert_eq!(config.name().as_str(), "flag");
        assert_eq!(config.sensors.interval.as_secs(), 60);
        assert!(!config.mesh.mdns);
    }

    #[test]
    fn what_is_wrong_with_tests_and_corrections_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        let text = "[sensors.quality]\ncondensing = true\nco3 = {}\n[sensors.quality.temperature]\nspike = { suspect = 3 }\n\
                    flat_line = \"30m\"\n[sensors.correction]\nsea_level = true\n\
                    [[sensors.chip]]\nmodel = \"BME280\"\ncorrection = { co2 = { offset = 5 } }\n\
                    [[sensors.chip]]\nmodel = \"SCD4x\"\nquality = { co2 = { spikes = false } }\n\
                    correction = { co2 = { slope = -1 } }\n";
        std::fs::write(&file, text).unwrap();
        let problems = load(Some(&file), std::iter::empty(), flags(&node_args(&[]))).unwrap_err().to_string();
        for says in [
            "magpie.toml:2:",
            "write false to switch the test off",
            "magpie.toml:3:",
            "did you mean `co2`?",
            "magpie.toml:5:",
            "there is suspect_threshold, fail_threshold",
            "magpie.toml:6:",
            "false or a table",
            "magpie.toml:8:",
            "there is sea_level_pressure",
            "magpie.toml:9:",
            "a BME280 measures no co2; correct temperature, humidity, pressure",
            "magpie.toml:14:",
            "did you mean `spike`?",
            "magpie.toml:15:",
            "a slope is a number above 0",
        ] {
            assert!(problems.contains(says), "no {says} in:\n{problems}");
        }
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("magpie.toml");
        let text = "city = \"Seoul\"\ntypo = 1\n[sensors]\ninterval = \"1ms\"\n[[sensors.chip]]\nmodel = \"BME820\"\n[mesh]\nlisten = [\"0.0.0.0:4710\"]\n";
        std::fs::write(&file, text).unwrap();
        let problems = load(Some(&file), std::iter::empty(), flags(&node_args(&[]))).unwrap_err().to_string();
        for says in [
            "magpie.toml:1",
            "is not a label",
            "magpie.toml:2",
            "typo",
            "magpie.toml:4",
            "50ms",
            "magpie.toml:6",
            "BME820",
            "magpie.toml:8",
            "is not a multiaddress",
        ] {
            assert!(problems.contains(says), "no {says} in:\n{problems}");
        }
    }
}
