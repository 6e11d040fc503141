//! Data goes to stdout, words to stderr.

use std::io::{self, IsTerminal, Write};

/// Writes one line of data at once, so that a reader on a pipe sees it now.
pub fn line(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// Writes one line of words. Where even stderr is closed there is nobody to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether a person is reading.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether to use colour: on a terminal, unless NO_COLOR says otherwise (no-color.org).
pub fn has_colour() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether an error is that the reader of our output has gone.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe))
}
