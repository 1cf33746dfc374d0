//! Seeing: what a process measures, whether it is well, and what it is told from outside.
//!
//! * [`exporter`]: the recorder behind every `metrics` call, and its text for Prometheus.
//! * [`health`]: whether store and broker can be used just now.
//! * [`gauges`]: what is read from the store when somebody looks.
//! * [`hooks`]: signed deliveries from elsewhere that start runs.
//! * [`serve`]: `/metrics`, `/healthz` and `/readyz`.

pub mod exporter;
mod gauges;
pub mod health;
pub mod hooks;
mod server;

pub use exporter::{Exporter, ExporterError};
pub use health::{Health, HealthMonitor, Part};
pub use server::{BoundListener, ServeError, ServerState, bind, serve};
