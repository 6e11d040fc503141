use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Config {
    name: String,
    mesh: Mesh,
    sensors: Vec<Sensor>,
    plain: BTreeMap<String, String>,
    log: crate::log::Format,
    interval: Option<Interval>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Mesh {
    listen: String,
    port: u16,
    connect: Vec<String>,
    mdns: bool,
}

impl Default for Mesh {
    fn default() -> Self {
        Self { listen: "0.0.0.0".to_owned(), port: 4710, connect: Vec::new(), mdns: true }
    }
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sensor {
    model: String,
    address: u8,
}

/// A value that checks itself.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(try_from = "String")]
struct Interval(u64);

impl TryFrom<String> for Interval {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let seconds = text.strip_suffix('s').and_then(|number| number.parse().ok());
        seconds.map(Self).ok_or_else(|| format!("\"{text}\" is no interval; write e.g. 10s"))
    }
}

struct Case {
    folder: tempfile::TempDir,
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Flags,
}

impl Case {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), file: None, environment: Vec::new(), flags: Flags::new() }
    }

    fn file(mut self, text: &str) -> Self {
        let path = self.folder.path().join("magpie.toml");
        fs::write(&path, text).unwrap();
        self.file = Some(path);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, key: &str, flag: &str, value: impl Into<toml::Value>) -> Self {
        self.flags.set(key, flag, value);
        self
    }

    fn load<T: DeserializeOwned>(self) -> Result<T, String> {
        let folder = format!("{}/", self.folder.path().display());
        load(self.file.as_deref(), self.environment, &["MAGPIE_LOG"], self.flags)
            .map_err(|problems| problems.to_string().replace(&folder, ""))
    }

    fn problems(self) -> Vec<String> {
        self.load::<Config>().unwrap_err().lines().map(str::to_owned).collect()
    }
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Case::new().load(), Ok(Config::default()));
    assert_eq!(Case::new().file("").load(), Ok(Config::default()));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let config: Config = Case::new()
        .file("name = 'file'\n[mesh]\nlisten = 'file'\nport = 1\nconnect = ['a', 'b']\n[plain]\npm2_5 = 'dust'")
        .variable("MAGPIE_MESH__PORT", "2")
        .variable("MAGPIE_MESH__LISTEN", "variable")
        .variable("MAGPIE_MESH__CONNECT", "['c']")
        .variable("MAGPIE_PLAIN__TEMPERATURE", "temp")
        .variable("MAGPIE_LOG", "debug")
        .variable("HOME", "/root")
        .flag("mesh.listen", "--listen", "flag")
        .flag("mesh.mdns", "--no-mdns", false)
        .load()
        .unwrap();
    assert_eq!(config.name, "file");
    let connect = vec!["c".to_owned()];
    assert_eq!(config.mesh, Mesh { listen: "flag".to_owned(), port: 2, connect, mdns: false });
    assert_eq!(config.plain["pm2_5"], "dust");
    assert_eq!(config.plain["temperature"], "temp");
}

#[test]
fn a_variable_is_toml_or_text_whichever_the_key_takes() {
    let name = |value: &str| Case::new().variable("MAGPIE_NAME", value).load::<Config>().map(|config| config.name);
    for text in ["roof-3", "3", "true", "0x10", "1979-05-27", "[1]", "a = 1\nb = 2", "\"", "", " x "] {
        assert_eq!(name(text).as_deref(), Ok(text), "{text:?}");
    }
    assert_eq!(name("\"3\"").as_deref(), Ok("3"));
    let config: Config = Case::new().variable("MAGPIE_MESH", "{ port = 3, mdns = false }").load().unwrap();
    assert_eq!((config.mesh.port, config.mesh.mdns, config.mesh.listen.as_str()), (3, false, "0.0.0.0"));
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let problems = Case::new()
        .file(
            "nmae = 'x'\ninterval = '10 parsecs'\n\n[mesh]\nport = 70000\nlisten = 4\nfoo = 1\n\n\
             [[sensors]]\nmodel = 'BME280'\naddress = 0x76\n[[sensors]]\nmodel = 'BME280'\naddress = 300\n",
        )
        .variable("MAGPIE_MESH__CONECT", "['x']")
        .variable("MAGPIE_MESH__MDNS", "maybe")
        .flag("log", "--log-format", "xml")
        .problems();
    let expected = [
        "magpie.toml:1:1: nmae: unknown key; did you mean `name`?",
        "magpie.toml:2:1: interval: \"10 parsecs\" is no interval; write e.g. 10s",
        "magpie.toml:5:1: mesh.port: invalid value: integer `70000`, expected u16",
        "magpie.toml:6:1: mesh.listen: invalid type: integer `4`, expected a string",
        "magpie.toml:7:1: mesh.foo: unknown key; there is listen, port, connect, mdns",
        "magpie.toml:14:1: sensors[1].address: invalid value: integer `300`, expected u8",
        "MAGPIE_MESH__CONECT: mesh.conect: unknown key; did you mean `connect`?",
        "MAGPIE_MESH__MDNS: mesh.mdns: invalid type: string \"maybe\", expected a boolean",
        "--log-format: log: unknown variant `xml`, expected one of `auto`, `human`, `json`",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for line in expected {
        assert!(problems.iter().any(|problem| problem == line), "{line}\nis not in\n{problems:#?}");
    }
}

#[test]
fn what_is_missing_is_said_and_what_was_wrong_is_not_missing_too() {
    let missing =
        Case::new().file("[[sensors]]\nmodel = 'BME280'\n[[sensors]]\naddres = 1\nmodel = 'SHT40'").problems();
    assert_eq!(
        missing,
        [
            "magpie.toml:1:1: sensors[0]: `address` is missing",
            "magpie.toml:4:1: sensors[1].addres: unknown key; did you mean `address`?",
            "magpie.toml:3:1: sensors[1]: `address` is missing",
        ]
    );
    let wrong = Case::new().file("[[sensors]]\nmodel = 'BME280'\naddress = 'x'\n[mesh]\nport = 'x'").problems();
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
}

#[test]
fn a_required_key_at_the_top_is_said() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[expect(dead_code)]
        city: String,
    }
    assert_eq!(Case::new().load::<Strict>().unwrap_err(), "`city` is missing");
    assert_eq!(
        Case::new().variable("MAGPIE_CITY", "[1]").variable("MAGPIE_X", "1").load::<Strict>().unwrap_err(),
        "MAGPIE_X: x: unknown key; there is city"
    );
}

#[test]
fn a_file_that_is_no_toml_is_said_with_its_line() {
    let problems = Case::new().file("name = \n[mesh\nport = 1\n").problems();
    assert!(problems.iter().any(|problem| problem.starts_with("magpie.toml:1:")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.starts_with("magpie.toml:2:")), "{problems:?}");
    let twice = Case::new().file("name = 'a'\nname = 'b'\n").problems();
    assert!(twice[0].starts_with("magpie.toml:2:1: "), "{twice:?}");

    let mut missing = Case::new();
    missing.file = Some(missing.folder.path().join("missing.toml"));
    assert_eq!(missing.problems(), ["missing.toml: cannot be read: No such file or directory (os error 2)"]);
    let mut folder = Case::new();
    folder.file = Some(folder.folder.path().join(""));
    assert!(folder.problems()[0].contains("cannot be read"));
}

#[test]
fn variables_that_are_no_keys() {
    assert_eq!(Case::new().variable("MAGPIE_", "1").problems(), ["MAGPIE_: no key is named like this"]);
    assert_eq!(
        Case::new().variable("MAGPIE_MESH____PORT", "1").problems(),
        ["MAGPIE_MESH____PORT: mesh..port: no key is named like this"]
    );
    assert_eq!(
        Case::new().variable("MAGPIE_NAME__X", "1").problems(),
        ["MAGPIE_NAME__X: name: invalid type: map, expected a string"]
    );
}

/// What a pod finds in its environment when the namespace has services named `magpie` and `magpie-gateway`.
#[test]
fn what_kubernetes_sets_for_services_is_no_key() {
    let mut case = Case::new();
    for name in ["MAGPIE", "MAGPIE_GATEWAY"] {
        for (end, value) in [
            ("SERVICE_HOST", "10.96.0.12"),
            ("SERVICE_PORT", "4710"),
            ("SERVICE_PORT_P2P", "4710"),
            ("PORT", "tcp://10.96.0.12:4710"),
            ("PORT_4710_TCP", "tcp://10.96.0.12:4710"),
            ("PORT_4710_TCP_PROTO", "tcp"),
            ("PORT_4710_TCP_PORT", "4710"),
            ("PORT_4710_TCP_ADDR", "10.96.0.12"),
            ("PORT_53_UDP_ADDR", "10.96.0.12"),
        ] {
            case = case.variable(&format!("{name}_{end}"), value);
        }
    }
    assert_eq!(case.load(), Ok(Config::default()));
    // But these are ours, and wrong.
    for (name, value) in [("MAGPIE_MESH_PORT", "4710"), ("MAGPIE_PORT_SPEED", "1"), ("MAGPIE_PORT", "4710")] {
        assert_eq!(Case::new().variable(name, value).problems().len(), 1, "{name}");
    }
}

#[test]
fn a_file_full_of_problems_ends_somewhere() {
    let text: String = (0..200).map(|i| format!("wrong{i} = 1\n")).collect();
    assert_eq!(Case::new().file(&text).problems().len(), MAX_PROBLEMS);
}

#[test]
fn a_table_of_flags_names_them_by_their_keys() {
    let table: toml::Table = "mesh.port = 70000\nbig = 1".parse().unwrap();
    let problems = load::<Config>(None, [], &[], table).unwrap_err().to_string();
    assert!(problems.contains("--mesh-port: mesh.port: "), "{problems}");
    assert!(problems.contains("--big: big: unknown key"), "{problems}");
}
