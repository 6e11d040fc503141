//! The program's HTTP listener: `/livez`, `/readyz`, `/metrics`, and what the program adds.
//!
//! Bounded are the connections, the size of a request's head and the time it takes, and the time until an answer begins. It is meant
//! for probes, scrapers and people on the same network, not for the open internet: whoever reads an answer slowly is waited for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
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
/// A handler that has not begun its answer by then is given up. What it streams after that may take as long as it takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
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

/// What `/metrics` shows: the registries of a program's parts, each set when its part has started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<&'static str, Registry>>>);

impl Metrics {
    /// Sets the metrics of a part, in place of those that it had in an earlier life. Their names must be no other part's.
    pub fn set(&self, part: &'static str, registry: Registry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, registry);
    }

    fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for registry in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
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
        .layer(middleware::from_fn(in_time))
}

async fn in_time(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::warn!(path, "no answer in time");
            (StatusCode::GATEWAY_TIMEOUT, "no answer in time; the log may say why\n").into_response()
        }
    }
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tower::ServiceExt;

    use super::*;

    async fn get_page(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, kind, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn probes_follow_the_health() {
        let health = Health::new();
        let router = router(health.clone(), Metrics::default());
        assert_eq!(get_page(&router, "/readyz").await.2, "no components\n");
        let bus = health.component("bus i2c-1");
        let text = "text/plain; charset=utf-8".to_owned();
        let lines = "bus i2c-1: not ready: starting\n".to_owned();
        assert_eq!(get_page(&router, "/livez").await, (StatusCode::OK, text.clone(), lines.clone()));
        assert_eq!(get_page(&router, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, text.clone(), lines));
        bus.ready();
        assert_eq!(get_page(&router, "/readyz").await.0, StatusCode::OK);
        health.stopping();
        let (status, _, lines) = get_page(&router, "/readyz").await;
        assert_eq!((status, lines.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "stopping\nbus i2c-1: ready\n"));
        assert_eq!(get_page(&router, "/livez").await.0, StatusCode::OK);
        let sampler = health.component_with_heartbeat("sampler", Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (status, _, lines) = get_page(&router, "/livez").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(lines.contains("sampler: hangs"), "{lines}");
        drop(sampler);
    }

    #[tokio::test]
    async fn metrics_of_all_parts_are_one_page() {
        let metrics = Metrics::default();
        let router = router(Health::new(), metrics.clone());
        assert_eq!(get_page(&router, "/metrics").await.2, "# EOF\n");
        for part in ["bus", "mesh"] {
            let mut registry = Registry::default();
            let counter = Counter::<u64>::default();
            registry.register(format!("magpie_{part}_errors"), "Errors", counter.clone());
            metrics.set(part, registry);
            counter.inc();
        }
        let (status, kind, page) = get_page(&router, "/metrics").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, METRICS_TYPE));
        assert!(
            page.contains("magpie_bus_errors_total 1\n") && page.contains("magpie_mesh_errors_total 1\n"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"));
        assert_eq!(page.matches("# EOF").count(), 1);
    }

    #[tokio::test]
    async fn whoever_is_lost_is_told_what_there_is() {
        let own = Router::new().route("/v1/sensors", get(async || "[]"));
        let router = router_with(Health::new(), Metrics::default(), own, &["/v1/sensors"]);
        assert_eq!(get_page(&router, "/v1/sensors").await.2, "[]");
        let (status, _, text) = get_page(&router, "/health").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(text, "not found; there is\n/livez\n/readyz\n/metrics\n/v1/sensors\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_given_up() {
        let own = Router::new().route("/slow", get(async || std::future::pending::<&str>().await));
        let router = router_with(Health::new(), Metrics::default(), own, &[]);
        assert_eq!(get_page(&router, "/slow").await.0, StatusCode::GATEWAY_TIMEOUT);
    }

    #[tokio::test]
    async fn a_server_answers_until_it_is_stopped() {
        let server = Server::bind(([127, 0, 0, 1], 0).into(), router(Health::new(), Metrics::default())).await.unwrap();
        let address = server.address();
        let error = Server::bind(address, Router::new()).await.unwrap_err();
        let port = address.port();
        assert!(
            error.to_string().ends_with(&format!("another program uses port {port}: stop it, or choose another")),
            "{error}"
        );
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        assert_eq!(crate::client::get(address, "/livez").await.unwrap(), "no components\n");
        let error = crate::client::get(address, "/nowhere").await.unwrap_err();
        assert!(error.to_string().ends_with("/nowhere answered 404"), "{error}");

        // A head without end is refused, and an idle connection does not hold the stop up.
        let mut endless = TcpStream::connect(address).await.unwrap();
        endless.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let line = format!("x: {}\r\n", "y".repeat(1000));
        for _ in 0..40 {
            // Refused before the end, hence maybe cut off.
            let _ = endless.write_all(line.as_bytes()).await;
        }
        let mut answer = Vec::new();
        let _ = endless.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
        let idle = TcpStream::connect(address).await.unwrap();
        assert_eq!(crate::client::get(address, "/livez").await.unwrap(), "no components\n");
        let asked = Instant::now();
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(asked.elapsed() < DRAIN_TIMEOUT, "{:?}", asked.elapsed());
        drop(idle);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
