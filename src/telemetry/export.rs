//! OTLP: off unless a standard variable names an endpoint.

use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use super::InitError;
use crate::config::Environment;

/// What the environment asks to be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exports {
    traces: bool,
    metrics: bool,
}

impl Exports {
    pub(super) fn asked_by(environment: &Environment) -> Self {
        let is_off = environment.var("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let asked = |signal: &str| {
            let has_endpoint = environment.has("OTEL_EXPORTER_OTLP_ENDPOINT")
                || environment.has(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
            let is_none = environment.var(&format!("OTEL_{signal}_EXPORTER")) == Some("none");
            has_endpoint && !is_none && !is_off
        };
        Self { traces: asked("TRACES"), metrics: asked("METRICS") }
    }

    pub(super) fn tracer(self, environment: &Environment) -> Result<Option<SdkTracerProvider>, InitError> {
        if !self.traces {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build().map_err(InitError::Otlp)?;
        let resource = resource(environment);
        Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
    }

    pub(super) fn metrics(self) -> Result<Option<MetricExporter>, InitError> {
        if !self.metrics {
            return Ok(None);
        }
        MetricExporter::builder().with_http().build().map(Some).map_err(InitError::Otlp)
    }
}

/// Who is telling: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or `chaperone`.
pub(super) fn resource(environment: &Environment) -> Resource {
    let builder = Resource::builder();
    let is_named = environment.has("OTEL_SERVICE_NAME")
        || environment.var("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    if is_named { builder.build() } else { builder.with_service_name("chaperone").build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(variables: &[(&str, &str)]) -> (bool, bool) {
        let exports = Exports::asked_by(&variables.iter().copied().collect());
        (exports.traces, exports.metrics)
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_asks() {
        assert_eq!(asked(&[]), (false, false));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), (false, false));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")]), (true, true));
        assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces")]), (true, false));
    }

    #[test]
    fn the_standard_switches_switch_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(asked(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), (false, false));
        assert_eq!(asked(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]), (true, false));
    }
}
