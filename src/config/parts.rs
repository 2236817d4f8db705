//! The sections that are only numbers, words and folders.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::{notify::NotifyConfig, reader::Section, secret::Secret};
use crate::domain::Tier;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// HIPAA keeps documentation six years (45 CFR 164.316(b)(2)(i)).
const RETENTION_YEARS_MIN: u64 = 6;

#[derive(Clone, Debug, Serialize)]
pub struct PoliciesConfig {
    pub dir: PathBuf,
    pub schemas: PathBuf,
    /// Marks of bundles that were validated before; validating them again is skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}

impl PoliciesConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        Self {
            dir: s.path("dir", "policies", "Folder of the *.cedar files."),
            schemas: s.path("schemas", "schemas", "Folder of the schema, the mapping and the field groups."),
            cache_dir: s
                .optional_path("cache_dir", "Folder of marks of bundles that were validated before; none by default."),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct EntitiesConfig {
    /// S: a revoked fact allows nothing after it.
    pub staleness_ms: u64,
    pub poll_ms: u64,
    pub cache_bytes: u64,
    pub statement_timeout_ms: u64,
    /// Whether to listen for notifications of changes.
    pub hint: bool,
}

impl EntitiesConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let entities = Self {
            staleness_ms: s.number("staleness_ms", 2_000, 100..=60_000, "A revoked fact allows nothing after this."),
            poll_ms: s.number("poll_ms", 250, 10..=30_000, "How often the change feed is polled."),
            cache_bytes: s.number("cache_bytes", 64 * MIB, MIB..=64 * GIB, "Most memory that cached facts take."),
            statement_timeout_ms: s.number("statement_timeout_ms", 1_000, 10..=60_000, "Longest time of one query."),
            hint: s.flag(
                "hint",
                true,
                "Listen for PostgreSQL's notifications, which shorten the pause between two polls.",
            ),
        };
        if entities.poll_ms.saturating_mul(2) > entities.staleness_ms {
            let hint = format!("at most half of staleness_ms ({})", entities.staleness_ms);
            s.problem("poll_ms", "facts would be stale between two polls", Some(hint));
        }
        entities
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct AuditConfig {
    pub dir: PathBuf,
    pub durability: AuditDurability,
    pub segment_bytes: u64,
    pub sync_after_ms: u64,
    pub quota_bytes: u64,
    pub strict: bool,
    pub accept_ephemeral: bool,
    pub retention_years: u64,
    /// Tenants whose records are kept longer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenant_retention_years: BTreeMap<String, u64>,
    pub checkpoint_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints_dir: Option<PathBuf>,
    pub ship: AuditShip,
    /// Where the trail is shipped to; none: beside the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ship_url: Option<Secret>,
    /// Where shipped records are read from; none: where a SQLite file is written, else the folder alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_url: Option<Secret>,
    pub keep_local_hours: u64,
    pub capture: AuditCapture,
    pub capture_bytes: u64,
}

/// Whether it is kept what decisions were made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditCapture {
    Off,
    Slices,
}

/// Where the trail goes besides its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditShip {
    Off,
    Store,
}

/// The tiers where neither the policy nor the action asks for a stronger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AuditDurability {
    /// Reads.
    pub default: Tier,
    /// Grants, administration, writes, exports and disclosures.
    pub changes: Tier,
}

impl AuditConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let (ship, ship_url, read_url, keep_local_hours) = Self::read_shipping(s);
        let (capture, capture_bytes) = Self::read_capture(s);
        let audit = Self {
            dir: s.path("dir", "/var/lib/chaperone/audit", "Folder of the trail; one process at a time writes there."),
            durability: s.section(
                "durability",
                "How durable a record is before its answer leaves.",
                AuditDurability::read,
            ),
            segment_bytes: s.number("segment_bytes", 64 * MIB, MIB..=GIB, "Size of one segment file."),
            sync_after_ms: s.number(
                "sync_after_ms",
                50,
                1..=1_000,
                "A record of the `process` tier is on the disk after this.",
            ),
            quota_bytes: s.number(
                "quota_bytes",
                10 * GIB,
                16 * MIB..=1024 * GIB,
                "Most space that the trail takes in its folder.",
            ),
            strict: s.flag("strict", false, "Refuse to start on a trail that was damaged."),
            accept_ephemeral: s.flag(
                "accept_ephemeral",
                false,
                "Accept a folder that dies with the pod or the machine.",
            ),
            retention_years: s.number(
                "retention_years",
                RETENTION_YEARS_MIN,
                RETENTION_YEARS_MIN..=100,
                "Years that records are kept; the law's six are the least.",
            ),
            tenant_retention_years: Self::read_tenants(s),
            checkpoint_seconds: s.number(
                "checkpoint_seconds",
                60,
                1..=86_400,
                "Seconds between two signed checkpoints, if there are new records.",
            ),
            key_file: s.optional_path("key_file", "The Ed25519 key that signs checkpoints (`audit keygen`)."),
            encryption_key_file: s.optional_path(
                "encryption_key_file",
                "Keys that encrypt the records of the trail (`audit encryption-key`).",
            ),
            checkpoints_dir: s.optional_path("checkpoints_dir", "A folder elsewhere that gets every checkpoint too."),
            ship,
            ship_url,
            read_url,
            keep_local_hours,
            capture,
            capture_bytes,
        };
        audit.check_shipping(s);
        audit.check_room(s);
        audit.check_signing(s);
        audit
    }

    fn check_room(&self, s: &mut Section<'_, '_>) {
        if self.segment_bytes > self.quota_bytes {
            s.problem(
                "segment_bytes",
                "one segment is larger than the quota",
                Some(format!("quota_bytes is {}", self.quota_bytes)),
            );
        }
        if self.capture == AuditCapture::Slices && self.encryption_key_file.is_some() {
            s.problem(
                "capture",
                "what decisions were made of would lie in the clear beside an encrypted trail",
                Some("`capture: off`, or no `encryption_key_file`".to_owned()),
            );
        }
    }

    fn check_signing(&self, s: &mut Section<'_, '_>) {
        for key in ["checkpoints_dir", "checkpoint_seconds"] {
            if s.has(key) && self.key_file.is_none() {
                s.warning(key, "without `key_file` no checkpoint is signed; the key has no effect");
            }
        }
        if self.checkpoints_dir.as_ref().is_some_and(|dir| dir.starts_with(&self.dir)) {
            s.problem(
                "checkpoints_dir",
                "is inside of the trail's own folder",
                Some("checkpoints protect the trail where it cannot be written with it".to_owned()),
            );
        }
    }

    fn read_tenants(s: &mut Section<'_, '_>) -> BTreeMap<String, u64> {
        let pairs =
            s.pairs("tenant_retention_years", "Years by tenant, as `T1: 10`; all others keep `retention_years`.");
        let mut years = BTreeMap::new();
        for (tenant, text) in pairs {
            match text.parse::<u64>().ok().filter(|years| (RETENTION_YEARS_MIN..=100).contains(years)) {
                Some(number) => drop(years.insert(tenant, number)),
                None => s.problem(
                    "tenant_retention_years",
                    format!("`{tenant}: {text}` is out of range"),
                    Some(format!("a number from {RETENTION_YEARS_MIN} to 100: the law's six years are the least")),
                ),
            }
        }
        years
    }

    fn read_shipping(s: &mut Section<'_, '_>) -> (AuditShip, Option<Secret>, Option<Secret>, u64) {
        let ship = s.choice(
            "ship",
            AuditShip::Off,
            &[("off", AuditShip::Off), ("store", AuditShip::Store)],
            "Whether each record goes to a database as well.",
        );
        let url = s.secret(
            "ship_url",
            "ship_url_file",
            "Another address, as of a role that may append alone; by default that of `sources.store`.",
        );
        let read_url = s.secret(
            "read_url",
            "read_url_file",
            "The address of a role that may read the trail: queries then see what was shipped as well.",
        );
        let keep_local_hours = s.number(
            "keep_local_hours",
            72,
            0..=87_600,
            "Hours that a sealed segment stays in the folder though store and checkpoint hold it.",
        );
        (ship, url, read_url, keep_local_hours)
    }

    fn read_capture(s: &mut Section<'_, '_>) -> (AuditCapture, u64) {
        let capture = s.choice(
            "capture",
            AuditCapture::Off,
            &[("off", AuditCapture::Off), ("slices", AuditCapture::Slices)],
            "Whether the facts of each decision are kept, ids and labels alone, for `audit rederive`.",
        );
        let bytes = s.number(
            "capture_bytes",
            GIB,
            64 * MIB..=1024 * GIB,
            "Most space that they take beside the trail; the oldest go first.",
        );
        if capture == AuditCapture::Off && s.has("capture_bytes") {
            s.warning("capture_bytes", "nothing is kept with `capture: off`; the key has no effect");
        }
        (capture, bytes)
    }

    fn check_shipping(&self, s: &mut Section<'_, '_>) {
        if self.ship == AuditShip::Off {
            for key in ["ship_url", "ship_url_file", "read_url", "read_url_file", "keep_local_hours"] {
                if s.has(key) {
                    s.warning(key, "nothing is shipped with `ship: off`; the key has no effect");
                }
            }
            for tier in [self.durability.default, self.durability.changes] {
                if tier == Tier::Remote {
                    let hint = "set `ship: store`; `disk` survives the loss of power without it".to_owned();
                    return s.problem("durability", "`remote` waits for a store, and nothing is shipped", Some(hint));
                }
            }
        } else if s.has("keep_local_hours") && self.key_file.is_none() {
            s.warning("keep_local_hours", "without `key_file` no checkpoint is signed, and no segment is taken away");
        }
    }
}

impl AuditDurability {
    fn read(s: &mut Section<'_, '_>) -> Self {
        let words = [("process", Tier::Process), ("disk", Tier::Disk), ("remote", Tier::Remote)];
        Self {
            default: s.choice("default", Tier::Process, &words, "Reads."),
            changes: s.choice(
                "changes",
                Tier::Disk,
                &words,
                "Grants, administration, writes, exports and disclosures.",
            ),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct GrantsConfig {
    pub default_minutes: u64,
    pub most_minutes: u64,
    pub extensions: u64,
    /// `None`: nobody is told.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub notify: Option<NotifyConfig>,
}

impl GrantsConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let grants = Self {
            default_minutes: s.number("default_minutes", 60, 1..=1_440, "How long a grant lasts when nobody says."),
            most_minutes: s.number(
                "most_minutes",
                240,
                1..=1_440,
                "How long a grant lasts at most, extensions included.",
            ),
            extensions: s.number("extensions", 1, 0..=10, "How often a grant may be extended."),
            notify: NotifyConfig::read(s),
        };
        if grants.default_minutes > grants.most_minutes {
            s.problem(
                "default_minutes",
                "is longer than `most_minutes`",
                Some(format!("most_minutes is {}", grants.most_minutes)),
            );
        }
        grants
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct TelemetryConfig {
    pub log_format: LogFormat,
    pub log_level: LogLevel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl TelemetryConfig {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        use LogLevel::{Debug, Error, Info, Trace, Warn};
        Self {
            log_format: s.choice(
                "log_format",
                LogFormat::Auto,
                &[("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)],
                "Text on a terminal and JSON otherwise, or one of them always.",
            ),
            log_level: s.choice(
                "log_level",
                Info,
                &[("error", Error), ("warn", Warn), ("info", Info), ("debug", Debug), ("trace", Trace)],
                "The least level that is logged; RUST_LOG says more.",
            ),
        }
    }
}

/// Everything has a limit, and meeting it is a clear error.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    pub body_bytes: usize,
    pub batch_bytes: usize,
    pub batch_items: usize,
    pub json_depth: usize,
    pub json_nodes: usize,
    pub json_nodes_batch: usize,
    pub string_bytes: usize,
    pub id_bytes: usize,
    pub header_read_ms: u64,
    pub idle_ms: u64,
    pub connections: usize,
    pub in_flight: usize,
    pub queue_wait_ms: u64,
    pub deadline_ms: u64,
}

impl Limits {
    pub(super) fn read(s: &mut Section<'_, '_>) -> Self {
        let limits = Self {
            body_bytes: s.size("body_bytes", 65_536, 1_024..=16 * MIB, "Largest body of one question."),
            batch_bytes: s.size("batch_bytes", 1_048_576, 1_024..=64 * MIB, "Largest body of a batch."),
            batch_items: s.size("batch_items", 1_000, 1..=100_000, "Most questions in a batch."),
            json_depth: s.size("json_depth", 32, 4..=128, "Deepest nesting of a body."),
            json_nodes: s.size("json_nodes", 10_000, 100..=1_000_000, "Most values in the body of one question."),
            json_nodes_batch: s.size(
                "json_nodes_batch",
                100_000,
                100..=10_000_000,
                "Most values in the body of a batch.",
            ),
            string_bytes: s.size("string_bytes", 4_096, 64..=MIB, "Longest string of a body."),
            id_bytes: s.size("id_bytes", 256, 16..=4_096, "Longest id."),
            header_read_ms: s.number("header_read_ms", 2_000, 100..=60_000, "Time for a request's headers."),
            idle_ms: s.number("idle_ms", 60_000, 1_000..=3_600_000, "An idle connection is closed after this."),
            connections: s.size("connections", 2_048, 1..=100_000, "Most connections."),
            in_flight: s.size("in_flight", 256, 1..=100_000, "Most requests worked on at a time."),
            queue_wait_ms: s.number(
                "queue_wait_ms",
                50,
                0..=10_000,
                "A request waits this long for its turn, then 503.",
            ),
            deadline_ms: s.number("deadline_ms", 2_000, 50..=60_000, "Longest time of one request."),
        };
        if limits.body_bytes > limits.batch_bytes {
            s.problem("batch_bytes", "is smaller than `body_bytes`", None);
        }
        limits
    }
}
