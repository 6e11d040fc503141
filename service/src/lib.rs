//! What long-running programs share: configuration, logs, owned tasks and an orderly stop, health, HTTP, systemd.
//!
//! Nothing here knows what the program does. There are no globals but the log, so several programs can run in one process.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let health = service::Health::new();
//! let sampler = health.component("sampler");
//! let router = service::http::router(health.clone(), service::Metrics::default());
//! let server = service::http::Server::bind(([127, 0, 0, 1], 0).into(), router).await?;
//!
//! let mut program = service::Program::new();
//! program.spawn("sampler", |stop| async move {
//!     sampler.ready();
//!     stop.cancelled().await;
//!     Ok::<_, std::io::Error>(())
//! });
//! program.spawn("http", |stop| server.run(stop));
//! program.spawn("systemd", { let health = health.clone(); |stop| service::systemd::run(health, stop) });
//! program.on_stop(move || health.stopping());
//! program.run_until_signal().await?;
//! # Ok(()) }
//! ```

pub mod client;
pub mod config;
pub mod health;
pub mod http;
pub mod log;
mod signals;
pub mod systemd;
pub mod tasks;

pub use config::{Flags, Problems};
pub use health::{Component, Health};
pub use http::Metrics;
pub use signals::stop_requested;
pub use tasks::{Ended, Program, STOP_DEADLINE};
