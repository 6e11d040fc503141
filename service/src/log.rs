//! Logs go to stderr: lines for people on a terminal, JSON for machines everywhere else.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that says what is logged, e.g. `debug` or `info,node::sampler=trace`.
pub const FILTER_VARIABLE: &str = "MAGPIE_LOG";

/// What others' crates may say unless [`FILTER_VARIABLE`] names them: they report every dial that fails, and on a mesh dials fail.
/// libp2p_gossipsub has a line for each message of a peer that follows too many topics, so a stranger could fill the disk.
const QUIET: &str = "libp2p=warn,libp2p_gossipsub=off,multistream_select=warn,yamux=warn,netlink=warn,if_watch=warn,hickory=warn,hyper=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// [`Human`](Self::Human) on a terminal, [`Json`](Self::Json) otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("use auto, human or json".to_owned()),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is no filter.
    #[error("{FILTER_VARIABLE}={filter}: {source}; write e.g. {FILTER_VARIABLE}=debug")]
    Filter {
        /// What was written.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The log of this process was set up before.
    #[error("the log of this process is set up already")]
    Twice,
}

/// Sets up the log of this process. The filter comes from [`FILTER_VARIABLE`]; `usual`, e.g. `info`, is what is logged without it.
pub fn init(format: Format, usual: &str) -> Result<(), LogError> {
    let filter = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    let filter = filter.unwrap_or_else(|| usual.to_owned());
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    let terminal = io::stderr().is_terminal();
    let subscriber = subscriber(format, terminal, colour, &filter, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

fn filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })
}

fn subscriber<W>(
    format: Format,
    terminal: bool,
    colour: bool,
    filter_text: &str,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The layer reports a failed write with `eprintln!`, which panics when stderr is what failed: it is told not to.
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter(filter_text)?).with_writer(writer).log_internal_errors(false);
    Ok(match (format, terminal) {
        (Format::Human, _) | (Format::Auto, true) => {
            Box::new(lines.with_ansi(terminal && colour).with_target(false).finish())
        }
        (Format::Json, _) | (Format::Auto, false) => Box::new(lines.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, terminal: bool, colour: bool, filter: &str) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, terminal, colour, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(frames = 3, "stored");
            tracing::debug!("detail");
            tracing::info!(target: "libp2p_swarm::dial", "dialling");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn people_read_lines_and_machines_read_json() {
        let human = logged(Format::Auto, true, false, "info");
        assert!(human.ends_with("INFO stored frames=3\n"), "{human:?}");
        assert!(logged(Format::Auto, true, true, "info").contains('\u{1b}'));
        let machine = logged(Format::Auto, false, true, "info");
        assert!(machine.starts_with('{') && machine.contains("\"frames\":3"), "{machine}");
        assert_eq!(machine.lines().count(), 1);
        assert!(!logged(Format::Human, false, true, "info").contains('\u{1b}'));
    }

    #[test]
    fn others_crates_are_quiet_unless_named() {
        let log = logged(Format::Human, false, false, "debug");
        assert!(log.contains("detail") && !log.contains("dialling"), "{log}");
        assert!(logged(Format::Human, false, false, "debug,libp2p=debug").contains("dialling"));
        let error = subscriber(Format::Human, false, false, "node=loud", io::stderr).err().unwrap();
        assert!(error.to_string().starts_with("MAGPIE_LOG=node=loud: "), "{error}");
    }

    #[test]
    fn a_closed_stderr_is_no_panic() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        for format in [Format::Human, Format::Json] {
            let subscriber = subscriber(format, false, false, "info", || Closed).unwrap();
            tracing::subscriber::with_default(subscriber, || tracing::info!("nobody reads this"));
        }
    }
}
