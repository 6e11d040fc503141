//! Looking who is on the buses. It may take long, and the sampler goes on meanwhile.

use std::time::Duration;

use hal::{Bus, BusError, ScanReport};
use tokio::sync::oneshot;

/// Longer than every known address timing out one after another would take.
const SCAN_DEADLINE: Duration = Duration::from_secs(20);

/// What a look at the buses found wrong, for people.
pub type Problems = Vec<String>;

/// Buses to be scanned.
#[derive(Debug)]
pub struct Look {
    pub(super) buses: Vec<Bus>,
    pub(super) problems: Problems,
}

/// What the scans said.
#[derive(Debug, Default)]
pub struct Looked {
    pub(super) reports: Vec<(Bus, Result<ScanReport, String>)>,
    pub(super) problems: Problems,
}

impl Look {
    /// Scans the buses one after the other. Takes as long as the slowest bus lets it.
    pub async fn scan(self) -> Looked {
        let mut reports = Vec::with_capacity(self.buses.len());
        for bus in self.buses {
            let report = scan(&bus).await;
            reports.push((bus, report));
        }
        Looked { reports, problems: self.problems }
    }
}

/// Asks the bus's thread, and waits no longer than a scan may take.
async fn scan(bus: &Bus) -> Result<ScanReport, String> {
    let (reply, answer) = oneshot::channel();
    bus.scan(move |report| drop(reply.send(report))).map_err(|busy| format!("{}: {busy}", bus.name()))?;
    match tokio::time::timeout(SCAN_DEADLINE, answer).await {
        Ok(Ok(Ok(report))) => Ok(report),
        Ok(Ok(Err(error))) => Err(with_source(&error)),
        Ok(Err(_)) => Err(format!("{}: its thread has stopped", bus.name())),
        Err(_) => Err(format!(
            "{} did not finish a scan in {} s: something holds the bus; check the wiring",
            bus.name(),
            SCAN_DEADLINE.as_secs()
        )),
    }
}

/// With what the system said, where it said something.
pub(super) fn with_source(error: &BusError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
