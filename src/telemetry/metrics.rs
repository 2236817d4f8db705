//! The instruments. Their names are an API: a dashboard breaks when one changes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry::{
    KeyValue, Value,
    metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Instrument, SdkMeterProvider, Stream},
};
use prometheus::{Encoder, Registry, TextEncoder};

use super::freshness::{CACHE_ENTRIES, CACHE_HITS, CACHE_MISSES, CLOCK_SKEW, FactsSeen, LEASE_AGE, Looking, observe};
use super::shipping::{AUDIT_LAG, AUDIT_SHIPPED, ShippingSeen};
use crate::domain::{Api, Decision, Tier, mapping::Source};

/// Every name that `/metrics` may show.
pub const METRIC_NAMES: [&str; 20] = [
    DECISIONS,
    DECISION_DURATION,
    POLICY_ERRORS,
    FACTS_LOAD_DURATION,
    POLICY_INFO,
    POLICY_RELOADS,
    AUDIT_APPENDED,
    AUDIT_APPEND_DURATION,
    AUDIT_LAG,
    AUDIT_SHIPPED,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_ENTRIES,
    LEASE_AGE,
    CLOCK_SKEW,
    REVOCATION_LAG,
    AUDIT_LAST_CHECKPOINT,
    GRANTS_ACTIVE,
    REVIEWS_OVERDUE,
    GRANT_ALERTS,
];

const DECISIONS: &str = "chaperone_decisions_total";
const DECISION_DURATION: &str = "chaperone_decision_duration_seconds";
const POLICY_ERRORS: &str = "chaperone_policy_errors_total";
const FACTS_LOAD_DURATION: &str = "chaperone_facts_load_duration_seconds";
const POLICY_INFO: &str = "chaperone_policy_info";
const POLICY_RELOADS: &str = "chaperone_policy_reloads_total";
const AUDIT_APPENDED: &str = "chaperone_audit_appended_total";
const AUDIT_APPEND_DURATION: &str = "chaperone_audit_append_duration_seconds";
const REVOCATION_LAG: &str = "chaperone_revocation_lag_seconds";
const AUDIT_LAST_CHECKPOINT: &str = "chaperone_audit_last_checkpoint_timestamp_seconds";
const GRANTS_ACTIVE: &str = "chaperone_grants_active";
const REVIEWS_OVERDUE: &str = "chaperone_reviews_overdue";
const GRANT_ALERTS: &str = "chaperone_grant_alerts_total";

/// From a twentieth of a millisecond to the deadline.
const SECONDS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Reasons come from policies; a label must stay small whatever a policy author writes.
const REASONS_MAX: usize = 200;
const REASON_BYTES_MAX: usize = 64;
/// What stands for a reason beyond these.
const OTHER_REASON: &str = "other";

/// Whether an answer rests on cached facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    Hit,
    Miss,
    /// Nothing was looked up, or there is no cache.
    Unused,
}

impl CacheUse {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Unused => "none",
        }
    }
}

/// What became of a changed bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// It is live.
    Live,
    /// It is broken; the last good one stays.
    Refused,
    /// Its digest is the one that is live.
    Unchanged,
}

impl ReloadResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The SDK keeps room for 2,000 series of each instrument from the beginning, which is a quarter of what a sidecar takes
/// before its first question. Most have a few labels with a few values.
const SERIES_MAX: usize = 64;

fn few_series(instrument: &Instrument) -> Option<Stream> {
    let has_many = [DECISIONS, POLICY_ERRORS].contains(&instrument.name());
    if has_many { None } else { Stream::builder().with_cardinality_limit(SERIES_MAX).build().ok() }
}

/// Every instrument; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    registry: Registry,
    /// Without it the registry shows nothing: it holds the pipeline that the exporter reads.
    provider: SdkMeterProvider,
    decisions: Counter<u64>,
    decision_duration: Histogram<f64>,
    policy_errors: Counter<u64>,
    facts_load_duration: Histogram<f64>,
    policy_reloads: Counter<u64>,
    audit_appended: Counter<u64>,
    audit_append_duration: Histogram<f64>,
    shipping: ShippingSeen,
    revocation_lag: Histogram<f64>,
    facts: Looking,
    audit_last_checkpoint: Gauge<u64>,
    grants_active: Gauge<u64>,
    reviews_overdue: Gauge<u64>,
    grant_alerts: Counter<u64>,
    reasons: Mutex<BTreeSet<Arc<str>>>,
    /// Read when somebody looks: a replaced revision leaves no series behind.
    revision: Arc<Mutex<Option<Arc<str>>>>,
}

impl Metrics {
    /// Instruments that only `/metrics` shows.
    ///
    /// # Errors
    ///
    /// When the registry refuses them.
    pub fn local() -> Result<Self, OTelSdkError> {
        Self::build(None, Resource::builder_empty().build())
    }

    pub(super) fn build(otlp: Option<MetricExporter>, resource: Resource) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .without_units()
            .without_target_info()
            .scope_info_enabled(false)
            .build()?;
        let mut provider =
            SdkMeterProvider::builder().with_resource(resource).with_reader(prometheus).with_view(few_series);
        if let Some(otlp) = otlp {
            provider = provider.with_periodic_exporter(otlp);
        }
        let provider = provider.build();
        let meter = provider.meter("chaperone");
        let revision = Arc::new(Mutex::new(None));
        observe_revision(&meter, &revision);
        let facts = Looking::default();
        observe(&meter, &facts);
        let metrics = Self(Arc::new(Instruments::new(&meter, registry, provider, revision, facts)));
        metrics.0.shipping.observe(&meter);
        metrics.0.audit_appended.add(0, &[]);
        Ok(metrics)
    }

    /// One decision was answered. `reason` is `None` on an allow.
    pub fn decided(&self, decision: Decision, reason: Option<&str>, api: Api, cache: CacheUse, seconds: f64) {
        let reason = reason.map_or(Value::from(""), |reason| Value::from(self.reason_label(reason)));
        let labels = [
            KeyValue::new("decision", decision.as_str()),
            KeyValue::new("reason", reason),
            KeyValue::new("api", api.as_str()),
        ];
        self.0.decisions.add(1, &labels);
        let labels = [KeyValue::new("api", api.as_str()), KeyValue::new("cache", cache.as_str())];
        self.0.decision_duration.record(seconds, &labels);
    }

    /// A policy could not be evaluated; the request was denied.
    pub fn policy_failed(&self, policy: &Arc<str>) {
        self.0.policy_errors.add(1, &[KeyValue::new("policy", Arc::clone(policy))]);
    }

    /// The facts of one request were read from a source.
    pub fn facts_loaded(&self, source: Source, seconds: f64) {
        self.0.facts_load_duration.record(seconds, &[KeyValue::new("source", source.as_str())]);
    }

    /// A change was taken in this long after it was written, by the database's clock.
    pub fn change_taken_in(&self, seconds: f64) {
        self.0.revocation_lag.record(seconds, &[]);
    }

    /// Where the numbers of the facts room come from, each time somebody looks.
    pub fn watch_facts(&self, look: impl Fn() -> FactsSeen + Send + Sync + 'static) {
        self.0.facts.at(Box::new(look));
    }

    /// This bundle decides from now on.
    pub fn policies_live(&self, revision: &Arc<str>) {
        *self.0.revision.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(revision));
    }

    pub fn reloaded(&self, result: ReloadResult) {
        self.0.policy_reloads.add(1, &[KeyValue::new("result", result.as_str())]);
    }

    /// One record is in the trail.
    pub fn appended(&self, durability: Tier, seconds: f64) {
        self.0.audit_appended.add(1, &[]);
        self.0.audit_append_duration.record(seconds, &[KeyValue::new("durability", durability.as_str())]);
    }

    /// Where the numbers of shipped records and of those that wait come from, each time somebody looks.
    pub fn watch_shipping(&self, look: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        self.0.shipping.at(Box::new(look));
    }

    /// When the last checkpoint of the trail was signed. Without one there is no series.
    pub fn audit_checkpoint(&self, unix_seconds: u64) {
        self.0.audit_last_checkpoint.record(unix_seconds, &[]);
    }

    /// How many emergency grants run, and how many reviews are past due.
    pub fn grants(&self, active: u64, overdue: u64) {
        self.0.grants_active.record(active, &[KeyValue::new("kind", "emergency")]);
        self.0.reviews_overdue.record(overdue, &[]);
    }

    /// A soft limit of emergency grants was met.
    pub fn grant_alert(&self, limit: &'static str) {
        self.0.grant_alerts.add(1, &[KeyValue::new("limit", limit)]);
    }

    /// The page behind `/metrics`.
    pub fn render(&self) -> String {
        let mut page = Vec::new();
        match TextEncoder::new().encode(&self.0.registry.gather(), &mut page) {
            Ok(()) => String::from_utf8_lossy(&page).into_owned(),
            Err(error) => {
                tracing::error!(error = %error, "the metrics cannot be shown");
                String::new()
            }
        }
    }

    /// Exports what is still held back, and ends.
    pub(super) fn shutdown(&self) -> OTelSdkResult {
        self.0.provider.shutdown()
    }

    /// The reason itself, while it is a code and there are few of them.
    fn reason_label(&self, reason: &str) -> Arc<str> {
        let mut known = self.0.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(reason) {
            return Arc::clone(label);
        }
        let is_code = !reason.is_empty()
            && reason.len() <= REASON_BYTES_MAX
            && reason.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_code || known.len() >= REASONS_MAX {
            return Arc::from(OTHER_REASON);
        }
        let label: Arc<str> = Arc::from(reason);
        known.insert(Arc::clone(&label));
        label
    }
}

impl Instruments {
    fn new(
        meter: &Meter,
        registry: Registry,
        provider: SdkMeterProvider,
        revision: Arc<Mutex<Option<Arc<str>>>>,
        facts: Looking,
    ) -> Self {
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        let seconds = |name, text| {
            meter.f64_histogram(name).with_description(text).with_unit("s").with_boundaries(SECONDS.to_vec()).build()
        };
        Self {
            registry,
            provider,
            decisions: counter(DECISIONS, "Decisions answered."),
            decision_duration: seconds(DECISION_DURATION, "Time from the question to the recorded answer."),
            policy_errors: counter(
                POLICY_ERRORS,
                "Policies that failed to evaluate; each time the request was denied.",
            ),
            facts_load_duration: seconds(FACTS_LOAD_DURATION, "Time to read the facts of one request."),
            policy_reloads: counter(POLICY_RELOADS, "Changed bundles, by what became of them."),
            audit_appended: counter(AUDIT_APPENDED, "Records appended to the trail."),
            audit_append_duration: seconds(AUDIT_APPEND_DURATION, "Time until a record was as durable as asked."),
            shipping: ShippingSeen::default(),
            revocation_lag: seconds(REVOCATION_LAG, "From a change in the database until it was taken in here."),
            facts,
            audit_last_checkpoint: meter
                .u64_gauge(AUDIT_LAST_CHECKPOINT)
                .with_description("When the last tree head of the trail was signed, in Unix time.")
                .build(),
            grants_active: meter.u64_gauge(GRANTS_ACTIVE).with_description("Grants that run.").build(),
            reviews_overdue: meter.u64_gauge(REVIEWS_OVERDUE).with_description("Reviews that are past due.").build(),
            grant_alerts: counter(GRANT_ALERTS, "Soft limits of grants that were met, by which."),
            reasons: Mutex::new(BTreeSet::new()),
            revision,
        }
    }
}

fn observe_revision(meter: &Meter, revision: &Arc<Mutex<Option<Arc<str>>>>) {
    let revision = Arc::clone(revision);
    // The registration lives as long as the meter; its handle does nothing.
    let _handle = meter
        .u64_observable_gauge(POLICY_INFO)
        .with_description("The bundle that decides.")
        .with_callback(move |observer| {
            if let Some(revision) = &*revision.lock().unwrap_or_else(PoisonError::into_inner) {
                observer.observe(1, &[KeyValue::new("revision", Arc::clone(revision))]);
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every instrument, used once.
    fn used() -> Metrics {
        let metrics = Metrics::local().unwrap();
        metrics.decided(Decision::Deny, Some("no_assignment"), Api::Evaluation, CacheUse::Unused, 0.002);
        metrics.decided(Decision::Allow, None, Api::Evaluations, CacheUse::Miss, 0.000_2);
        metrics.policy_failed(&Arc::from("hours"));
        metrics.facts_loaded(Source::App, 0.001);
        metrics.policies_live(&Arc::from("sha256:aa"));
        metrics.reloaded(ReloadResult::Refused);
        metrics.appended(Tier::Process, 0.000_01);
        metrics.change_taken_in(0.004);
        metrics.watch_shipping(|| (9, 3));
        metrics.grants(2, 1);
        metrics.grant_alert("many_in_a_day");
        metrics.watch_facts(|| FactsSeen {
            hits: 7,
            misses: 2,
            entries: 5,
            silences: vec![(Source::App, std::time::Duration::from_millis(250))],
            skews: vec![(Source::App, -0.5)],
        });
        metrics.audit_checkpoint(1_773_154_800);
        metrics
    }

    #[test]
    fn the_page_shows_the_promised_names_and_no_others() {
        let page = used().render();
        let mut shown: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        shown.sort_unstable();
        let mut promised = METRIC_NAMES.to_vec();
        promised.sort_unstable();
        assert_eq!(shown, promised, "{page}");
    }

    #[test]
    fn the_page_shows_the_promised_labels_and_no_others() {
        let page = used().render();
        for line in [
            r#"chaperone_decisions_total{api="evaluation",decision="deny",reason="no_assignment"} 1"#,
            r#"chaperone_decisions_total{api="evaluations",decision="allow",reason=""} 1"#,
            r#"chaperone_decision_duration_seconds_count{api="evaluation",cache="none"} 1"#,
            r#"chaperone_policy_errors_total{policy="hours"} 1"#,
            r#"chaperone_facts_load_duration_seconds_count{source="app"} 1"#,
            r#"chaperone_policy_info{revision="sha256:aa"} 1"#,
            r#"chaperone_policy_reloads_total{result="refused"} 1"#,
            "chaperone_audit_appended_total 1",
            r#"chaperone_audit_append_duration_seconds_count{durability="process"} 1"#,
            "chaperone_audit_lag_records 3",
            "chaperone_audit_shipped_total 9",
            "chaperone_facts_cache_hits_total 7",
            "chaperone_facts_cache_misses_total 2",
            "chaperone_facts_cache_entries 5",
            r#"chaperone_lease_age_seconds{source="app"} 0.25"#,
            r#"chaperone_clock_skew_seconds{source="app"} -0.5"#,
            "chaperone_revocation_lag_seconds_count 1",
            "chaperone_audit_last_checkpoint_timestamp_seconds 1773154800",
            r#"chaperone_grants_active{kind="emergency"} 2"#,
            "chaperone_reviews_overdue 1",
            r#"chaperone_grant_alerts_total{limit="many_in_a_day"} 1"#,
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is missing in\n{page}");
        }
    }

    #[test]
    fn a_replaced_revision_leaves_no_series_behind() {
        let metrics = used();
        assert!(metrics.render().contains("sha256:aa"));
        metrics.policies_live(&Arc::from("sha256:bb"));
        let page = metrics.render();
        assert!(page.contains("sha256:bb") && !page.contains("sha256:aa"), "{page}");
    }

    #[test]
    fn free_text_never_becomes_a_label() {
        let metrics = used();
        metrics.decided(Decision::Deny, Some("Ana saw N1"), Api::Evaluation, CacheUse::Unused, 0.1);
        let page = metrics.render();
        assert!(!page.contains("Ana") && page.contains(r#"reason="other""#), "{page}");
    }

    #[test]
    fn the_reasons_on_the_page_are_bounded() {
        let metrics = used();
        for number in 0..REASONS_MAX * 2 {
            metrics.decided(Decision::Deny, Some(&format!("reason_{number}")), Api::Evaluation, CacheUse::Unused, 0.1);
        }
        let page = metrics.render();
        let series = page.lines().filter(|line| line.starts_with("chaperone_decisions_total{")).count();
        // The allow, the codes that fit, and `other`.
        assert_eq!(series, 1 + REASONS_MAX + 1, "{series}");
    }
}
