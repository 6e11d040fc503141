//! Configuration: a TOML file, over it the environment, over that the flags; every problem reported at once, each with its place.
//!
//! A variable `MAGPIE_MESH__LISTEN` sets the key `listen` of the table `mesh`: two underscores go one level down. Its value is
//! read as TOML where it is TOML, and as text otherwise, so that neither `MAGPIE_NODE__NAME=roof-3` nor
//! `MAGPIE_MESH__CONNECT='["/ip4/10.0.0.1/tcp/4710"]'` needs more quotes. Tables are merged, everything else is replaced.
//!
//! The values are read into `T`, which should carry `#[serde(deny_unknown_fields)]` and check its values by types; what serde
//! says of a value becomes a problem, the value is taken out, and the rest is read again, until nothing is wrong but what was found.

mod layers;
mod problem;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::de::DeserializeOwned;

use layers::{Layers, Taken};
pub use problem::{Place, Problem, Problems};

/// What every variable of ours begins with.
pub const PREFIX: &str = "MAGPIE_";

/// Problems reported at most; whoever has more has given us the wrong file.
const MAX_PROBLEMS: usize = 50;

/// Keys that were set on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    set: Vec<(Vec<String>, String, toml::Value)>,
}

impl Flags {
    /// No flag.
    pub fn new() -> Self {
        Self::default()
    }

    /// `flag`, e.g. `--listen`, sets `key`, e.g. `mesh.listen`, to `value`.
    pub fn set(&mut self, key: &str, flag: &str, value: impl Into<toml::Value>) -> &mut Self {
        self.set.push((key.split('.').map(str::to_owned).collect(), flag.to_owned(), value.into()));
        self
    }
}

/// Flags that go by their keys' names: `listen` of the table `mesh` is called `--mesh-listen`.
impl From<toml::Table> for Flags {
    fn from(table: toml::Table) -> Self {
        fn walk(flags: &mut Flags, path: &[String], table: toml::Table) {
            for (key, value) in table {
                let path = [path, &[key]].concat();
                match value {
                    toml::Value::Table(table) => walk(flags, &path, table),
                    value => {
                        let flag = format!("--{}", path.join("-").replace('_', "-"));
                        flags.set.push((path, flag, value));
                    }
                }
            }
        }
        let mut flags = Self::new();
        walk(&mut flags, &[], table);
        flags
    }
}

/// Reads the configuration `T` from `file`, `environment` and `flags`, the later winning.
///
/// `environment` may be all of it: variables without [`PREFIX`] are not looked at. `other_variables` are ours, but no keys
/// (`MAGPIE_LOG`, `MAGPIE_CONFIG`). What Kubernetes sets for a service that is called `magpie` is no key either.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    other_variables: &[&str],
    flags: impl Into<Flags>,
) -> Result<T, Problems> {
    let mut layers = Layers::default();
    let mut problems = Vec::new();
    if let Some(file) = file {
        layers.file(file, &mut problems);
    }
    let mut variables: Vec<_> = environment
        .into_iter()
        .filter(|(name, value)| {
            name.starts_with(PREFIX) && !other_variables.contains(&name.as_str()) && !is_service_link(name, value)
        })
        .collect();
    variables.sort();
    for (name, value) in variables {
        layers.variable(&name, value, &mut problems);
    }
    for (path, flag, value) in flags.into().set {
        layers.flag(&path, &flag, value, &mut problems);
    }
    read(layers, problems)
}

fn read<T: DeserializeOwned>(mut layers: Layers, mut problems: Vec<Problem>) -> Result<T, Problems> {
    // Each round takes one value out, or reads one variable as text; there is an end to both.
    while problems.len() < MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize(layers.value()) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        match layers.take_out(error.path(), error.inner().message()) {
            Taken::AsText => {}
            Taken::Out(problem) => problems.extend(problem),
            Taken::Nothing(problem) => {
                problems.extend(problem);
                break;
            }
        }
    }
    Err(Problems::new(problems))
}

/// Whether Kubernetes set this variable, in every pod, for a service named `magpie` or `magpie-...` (`enableServiceLinks`).
fn is_service_link(name: &str, value: &str) -> bool {
    let protocol = |text: &str| ["tcp", "udp", "sctp"].contains(&text.to_lowercase().as_str());
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    if name.ends_with("_PORT") && value.split_once("://").is_some_and(|(scheme, _)| protocol(scheme)) {
        return true;
    }
    // MAGPIE_PORT_4710_TCP and the same with _PROTO, _PORT, _ADDR.
    name.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_port_link(rest, protocol))
        || ["_PROTO", "_PORT", "_ADDR"].iter().any(|end| {
            name.strip_suffix(end)
                .and_then(|name| name.rsplit_once("_PORT_"))
                .is_some_and(|(_, rest)| is_port_link(rest, protocol))
        })
}

fn is_port_link(text: &str, protocol: impl Fn(&str) -> bool) -> bool {
    text.split_once('_').is_some_and(|(port, name)| port.parse::<u16>().is_ok() && protocol(name))
}
