//! What Chaperone says about itself: logs on stderr, spans, readiness, and the metrics whose names
//! are promises.
//!
//! Nothing leaves the process unless a standard `OTEL_*` endpoint asks for it. No log, span or label carries a person, a
//! client or free text. The trail is not told from here: it has its own room.

mod chain;
mod export;
mod freshness;
mod logs;
mod metrics;
mod readiness;
mod shipping;
mod trace_context;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{
    Layer,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{Environment, LogFormat, TelemetryConfig};

pub use chain::Chain;
pub use freshness::FactsSeen;
pub use metrics::{CacheUse, METRIC_NAMES, Metrics, ReloadResult};
pub use readiness::{Component, Readiness, ReadinessReport, State};
pub use trace_context::TraceContext;

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`RUST_LOG` is not a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    #[error("cannot build the OTLP exporter; look at the `OTEL_EXPORTER_OTLP_*` variables")]
    Otlp(#[source] opentelemetry_otlp::ExporterBuildError),
    #[error("cannot build the metrics")]
    Metrics(#[source] opentelemetry_sdk::error::OTelSdkError),
    #[error("logging was set up before")]
    Twice(#[source] TryInitError),
}

/// What must be flushed before the process ends.
#[derive(Debug)]
pub struct Telemetry {
    pub metrics: Metrics,
    tracer: Option<SdkTracerProvider>,
}

/// Sets up logs, spans and metrics for this process, once.
///
/// # Errors
///
/// [`InitError`] when a variable makes no sense, or on a second call.
pub fn init(config: &TelemetryConfig, environment: &Environment) -> Result<Telemetry, InitError> {
    install_crypto();
    let exports = export::Exports::asked_by(environment);
    let tracer = exports.tracer(environment)?;
    let metrics = Metrics::build(exports.metrics()?, export::resource(environment)).map_err(InitError::Metrics)?;
    let spans = tracer.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer("chaperone")).with_filter(logs::span_filter())
    });
    let is_terminal = std::io::stderr().is_terminal();
    let as_text = match config.log_format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let filter = logs::filter(config.log_level, environment).map_err(InitError::Filter)?;
    let lines = if as_text { logs::text(is_terminal && !environment.has("NO_COLOR")) } else { logs::json() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init().map_err(InitError::Twice)?;
    Ok(Telemetry { metrics, tracer })
}

/// Makes ring the one provider of cryptography. A second call changes nothing.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let lost_race = rustls::crypto::ring::default_provider().install_default().is_err();
        tracing::trace!(lost_race, "cryptography is provided by ring");
    }
}

impl Telemetry {
    /// Sends what is still held back. Blocks for some seconds at most; call it last, outside of async code.
    pub fn flush(&self) {
        if let Some(tracer) = &self.tracer
            && let Err(error) = tracer.shutdown()
        {
            tracing::warn!(error = %error, "the last spans were not exported");
        }
        if let Err(error) = self.metrics.shutdown() {
            tracing::warn!(error = %error, "the last metrics were not exported");
        }
    }
}
