//! Log lines: text for eyes, JSON with the keys of the Elastic Common Schema for machines; always on stderr.

use std::fmt;

use serde_json::{Map, Value as Json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{LevelFilter, ParseError, Targets},
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{
    clock::{Clock, SystemClock},
    config::{Environment, LogLevel},
};

/// Libraries speak up when something is wrong.
const QUIET: &str =
    "sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,rustls=warn,opentelemetry=warn,notify=warn";

/// `RUST_LOG` if it is set, otherwise the configured level with libraries kept quiet.
pub(super) fn filter(level: LogLevel, environment: &Environment) -> Result<EnvFilter, ParseError> {
    match environment.var("RUST_LOG").filter(|filter| !filter.is_empty()) {
        Some(filter) => EnvFilter::builder().parse(filter),
        None => EnvFilter::builder().parse(format!("{},{QUIET}", level.as_str())),
    }
}

/// Spans leave at `info`, and only our own: a library's span could carry what must not leave.
pub(super) fn span_filter() -> Targets {
    Targets::new().with_target("chaperone", LevelFilter::INFO)
}

pub(super) fn text(with_color: bool) -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(with_color).with_timer(Now).boxed()
}

pub(super) fn json() -> Box<dyn Layer<Registry> + Send + Sync> {
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .fmt_fields(JsonFields::new())
        .event_format(EcsLines)
        .boxed()
}

/// Log lines carry the machine's time even where the demo's clock is frozen.
struct Now;

impl tracing_subscriber::fmt::time::FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", SystemClock.now())
    }
}

/// One JSON object a line.
struct EcsLines;

impl<S> FormatEvent<S, JsonFields> for EcsLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("@timestamp".to_owned(), Json::String(format!("{:.3}", SystemClock.now())));
        line.insert("log.level".to_owned(), Json::String(event.metadata().level().as_str().to_ascii_lowercase()));
        line.insert("log.logger".to_owned(), Json::String(event.metadata().target().to_owned()));
        line.insert("message".to_owned(), Json::String(String::new()));
        for span in context.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
            // A field recorded twice makes the text no object; the line is worth more than the field.
            let Ok(fields) = serde_json::from_str::<Map<String, Json>>(&fields.fields) else { continue };
            for (key, value) in fields {
                if !RESERVED.contains(&key.as_str()) {
                    line.insert(key, value);
                }
            }
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Json::Object(line))
    }
}

/// Keys that a span's field must not overwrite.
const RESERVED: [&str; 4] = ["@timestamp", "log.level", "log.logger", "message"];

struct Fields<'a>(&'a mut Map<String, Json>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Json::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Json::String(value.to_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(talk: impl FnOnce()) -> Vec<Json> {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .fmt_fields(JsonFields::new())
            .event_format(EcsLines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), talk);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_json_line_has_the_keys_that_collectors_know() {
        let lines = lines(|| {
            let span = tracing::info_span!("request", request_id = "r-1", message = "no");
            let _guard = span.enter();
            tracing::warn!(error = "disk full", count = 3, "the trail is late");
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["log.level"], "warn");
        assert_eq!(line["message"], "the trail is late");
        assert_eq!(line["log.logger"], "chaperone::telemetry::logs::tests");
        assert_eq!(
            (&line["error"], &line["count"], &line["request_id"]),
            (&"disk full".into(), &3.into(), &"r-1".into())
        );
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn rust_log_wins_over_the_configured_level() {
        let environment = [("RUST_LOG", "chaperone=trace")].into_iter().collect();
        assert_eq!(filter(LogLevel::Error, &environment).unwrap().to_string(), "chaperone=trace");
        assert!(filter(LogLevel::Error, &Environment::default()).unwrap().to_string().contains("error"));
    }

    #[test]
    fn a_broken_filter_is_an_error() {
        assert!(filter(LogLevel::Info, &[("RUST_LOG", "a=b=c")].into_iter().collect()).is_err());
    }
}
