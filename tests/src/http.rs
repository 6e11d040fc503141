//! As much of HTTP as it takes to ask a program how it is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Nobody tells when a health answer changes, so it is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The status code and the body of an answer.
pub fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    let asking = || format!("GET http://{server}{path}");
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_TIMEOUT).with_context(asking)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).with_context(asking)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").with_context(asking)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(asking)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{}: not HTTP: {answer}", asking()))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.with_context(|| format!("{}: no status: {head}", asking()))?, body.to_owned()))
}

/// Asks until the answer has this status code, and returns its body.
pub fn wait_for_status(server: SocketAddr, path: &str, status: u16, timeout: Duration) -> Result<String> {
    let deadline = Instant::now() + timeout;
    loop {
        let answer = get(server, path);
        match answer {
            Ok((code, body)) if code == status => return Ok(body),
            answer if Instant::now() >= deadline => {
                bail!("{path} did not come to {status} within {timeout:?}; last: {answer:?}")
            }
            _ => thread::sleep(ASK_AGAIN),
        }
    }
}
