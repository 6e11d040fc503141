//! The program's HTTP listener: `/livez`, `/readyz`, `/metrics`, and what the program adds.
//!
//! Everything is bounded: connections, the size and the time of a request's head, the time of an answer. It is meant for probes,
//! scrapers and people on the same network, not for the open internet.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Health;

/// Connections served at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not sent its request's head by then is cut off. Also ends idle kept-alive connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, at most.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Answers under way when the program stops get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// After an error of `accept` (too many open files) it is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// What every program serves.
const OWN_PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// OpenMetrics text, as prometheus-client writes it.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen for HTTP on {address}: {source}{}", hint(.source, .address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
}

fn hint(error: &io::Error, address: &SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program uses port {}: stop it, or choose another", address.port())
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root: choose a higher one".to_owned(),
        _ => String::new(),
    }
}

/// What `/metrics` shows: the registries of a program's parts, each added when its part has started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<Registry>>>);

impl Metrics {
    /// Adds a part's metrics. Their names must be no other part's.
    pub fn add(&self, registry: Registry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(registry);
    }

    fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for registry in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            text::encode_registry(&mut text, registry)?;
        }
        text::encode_eof(&mut text)?;
        Ok(text)
    }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(health: Health, metrics: Metrics) -> Router {
    router_with(health, metrics, Router::new(), &[])
}

/// The same, and the program's own routes. `paths` names those to whoever asks for a path that does not exist.
pub fn router_with(health: Health, metrics: Metrics, own: Router, paths: &[&str]) -> Router {
    let live = health.clone();
    let ready = health;
    let known: Arc<str> =
        OWN_PATHS.iter().chain(paths).fold("not found; there is\n".to_owned(), |text, path| text + path + "\n").into();
    Router::new()
        .route(
            "/livez",
            get(async move || {
                let report = live.report(Instant::now());
                probe(report.live, report.to_string())
            }),
        )
        .route(
            "/readyz",
            get(async move || {
                let report = ready.report(Instant::now());
                probe(report.ready, report.to_string())
            }),
        )
        .route("/metrics", get(async move || metrics_page(&metrics)))
        .merge(own)
        .fallback(async move || (StatusCode::NOT_FOUND, known.to_string()))
}

fn probe(good: bool, mut lines: String) -> Response {
    if lines.is_empty() {
        let _ = writeln!(lines, "no components");
    }
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], lines).into_response()
}

fn metrics_page(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written; the log says why\n").into_response()
        }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Server {
    /// Takes the address; nobody is answered before [`run`](Self::run).
    pub async fn bind(address: SocketAddr, router: Router) -> Result<Self, HttpError> {
        let refused = |source| HttpError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, router })
    }

    /// Where it listens: the port that the kernel chose, where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`; then takes no more connections and finishes the answers under way.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        let Self { listener, router, .. } = self;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &room) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let connection = connection(stream, router.clone(), stop.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no HTTP connection accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "HTTP answers cut off");
        }
        Ok(())
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN_TIMEOUT, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "HTTP connection ended badly");
    }
}
