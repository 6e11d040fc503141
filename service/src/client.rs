//! Asks a program of ours on this machine over HTTP: what `magpie sensors` needs of a running node, and no more.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// A program on this machine answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A longer answer is not one of ours.
const MAX_BYTES: usize = 1024 * 1024;

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The text.
    pub body: String,
}

/// The text at `path`. Any status but 200 is an error.
pub async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    match ask(address, path).await? {
        Answer { status: 200, body } => Ok(body),
        Answer { status, .. } => Err(io::Error::other(format!("{address}{path} answered {status}"))),
    }
}

/// The answer at `path`, whatever its status.
pub async fn ask(address: SocketAddr, path: &str) -> io::Result<Answer> {
    match tokio::time::timeout(TIMEOUT, ask_unbounded(address, path)).await {
        Ok(answer) => answer,
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer in {} s", TIMEOUT.as_secs())))
        }
    }
}

async fn ask_unbounded(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await.map_err(io::Error::other)?;
    drop(connection);
    Ok(Answer { status, body: String::from_utf8(body.to_bytes().into()).map_err(io::Error::other)? })
}
