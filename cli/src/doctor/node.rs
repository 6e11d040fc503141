//! The node on this machine: its configuration, and what it says of itself where it runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::node::{Config, Status};
use service::client;

use super::finding::Finding;

/// What a running node answered.
pub struct Running {
    /// A line a component.
    health: String,
    metrics: String,
    /// What it says of its sensors; `None` where it did not answer that.
    pub sensors: Option<Status>,
}

impl Running {
    /// Whether it reads nothing but chips in software, and so needs no bus.
    pub fn is_simulated(&self) -> bool {
        self.sensors
            .as_ref()
            .is_some_and(|status| !status.sensors.is_empty() && status.sensors.iter().all(|sensor| sensor.simulated))
    }

    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let line = self.metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }
}

/// Asks the node at `address`; `None` where nobody answers.
pub async fn ask(address: SocketAddr) -> Option<Running> {
    let health = client::ask(address, "/readyz").await.ok()?.body;
    let metrics = client::get(address, "/metrics").await.unwrap_or_default();
    let sensors = client::get(address, "/sensors").await.ok().and_then(|text| serde_json::from_str(&text).ok());
    Some(Running { health, metrics, sensors })
}

/// The configuration as the node would read it, or the default with what is wrong in it.
pub fn configuration(file: Option<PathBuf>) -> (Config, Vec<Finding>) {
    let file = file.or_else(crate::node::default_config);
    let name = file.as_ref().map_or_else(|| "no file: the defaults hold".to_owned(), |file| file.display().to_string());
    match crate::node::load(file.as_deref(), std::env::vars(), service::Flags::new()) {
        Ok(config) => (config, vec![Finding::ok("configuration", name)]),
        Err(problems) => {
            let fix = "correct it; packaging/magpie.toml shows every setting";
            let of = |line: &str| Finding::problem("configuration", line, fix);
            (Config::default(), problems.to_string().lines().map(of).collect())
        }
    }
}

pub fn look(address: SocketAddr, running: Option<&Running>) -> Vec<Finding> {
    let Some(running) = running else {
        let fix = "sudo systemctl start magpie; where it listens elsewhere: --http ADDRESS";
        return vec![Finding::warning("node", format!("no node answers on {address}"), fix)];
    };
    let findings: Vec<Finding> = running.health.lines().filter_map(component).collect();
    if findings.is_empty() { vec![Finding::ok("node", format!("runs and is ready ({address})"))] } else { findings }
}

const SEE_LOG: &str = "see the log: journalctl -u magpie -e";

/// A line of /readyz about a component that is not well.
fn component(line: &str) -> Option<Finding> {
    let (_, condition) = line.split_once(": ").unwrap_or((line, line));
    match condition {
        "ready" => None,
        degraded if degraded.starts_with("degraded") => Some(Finding::warning("node", line, SEE_LOG)),
        _ => Some(Finding::problem("node", line, SEE_LOG)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let metrics = "# TYPE a gauge\na_b 3\na 2\na{x=\"y\"} 9\n".to_owned();
        let running = Running { health: String::new(), metrics, sensors: None };
        assert_eq!(running.metric("a"), Some(2.0));
        assert_eq!(running.metric("a_b"), Some(3.0));
        assert_eq!(running.metric("c"), None);
    }

    #[test]
    fn what_is_degraded_is_no_reason_to_fail() {
        use crate::doctor::finding::State;
        let state = |line| component(line).map(|finding| finding.state);
        assert_eq!(state("store: ready"), None);
        assert_eq!(state("clock: degraded: no time server"), Some(State::Warning));
        assert_eq!(state("sensors: not ready: no sensor"), Some(State::Problem));
        assert_eq!(state("sampler: hangs (no sign of life for 40 s); ready"), Some(State::Problem));
    }
}
