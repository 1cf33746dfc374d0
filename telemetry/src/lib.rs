//! Observability: what a process measures, whether it is well, what it logs, and the trace that it is part of.
//!
//! * [`attempt_log`]: the layer of the log that hands the events of an attempt to the attempt.
//! * [`exporter`]: the recorder behind every `metrics` call, and its text for Prometheus.
//! * [`health`]: whether the store and the broker can be used now.
//! * `listener`: HTTP to untrusted peers, within the bounds of [`ListenerSettings`].
//! * [`log`]: the process's log, on standard error.
//! * [`trace`]: the trace that a command begins or continues.
//! * [`bind`]: an address, and [`BoundListener::serve`]: `/metrics`, `/healthz` and `/readyz` on it. The gauges among
//!   the metrics are read from the store on request.

pub mod attempt_log;
pub mod exporter;
mod gauges;
pub mod health;
mod listener;
pub mod log;
mod server;
pub mod trace;

pub use exporter::{Exporter, ExporterError};
pub use health::{Health, HealthMonitor, Part};
pub use listener::{Certificates, ConnectionSeat, Encrypted, ListenerSettings, Peer, Serving, TlsError, peer_network};
pub use server::{BoundListener, ServeError, ServerState, bind, watched};
