//! The recorder behind every `metrics` call of the process, and its text for Prometheus.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds in seconds: from a job that does nothing to one that takes a quarter of an hour.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0];

/// The process's recorder.
#[derive(Debug, Clone)]
pub struct Exporter(PrometheusHandle);

/// Why there is no recorder.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct ExporterError(String);

impl Exporter {
    /// Installs this recorder for the process. Call it before the worker and the scheduler are created: metrics that
    /// they look up earlier record nothing.
    ///
    /// # Errors
    ///
    /// When the process already has a recorder.
    pub fn install() -> Result<Self, ExporterError> {
        builder()?.install_recorder().map(Self).map_err(|error| ExporterError(error.to_string()))
    }

    /// Returns everything recorded so far, in the text format of Prometheus. Also keeps the recorder's memory from
    /// growing.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

fn builder() -> Result<PrometheusBuilder, ExporterError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|error| ExporterError(error.to_string()))
}
