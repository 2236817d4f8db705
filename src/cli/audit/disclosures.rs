//! `chaperone audit disclosures`: to whom a client's data went, for the client and for the house.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::ValueEnum;
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use serde_json::{Value as Json, json};

use super::{
    encryption::EncryptionArgs,
    places::{CONFIGURED, Places as TrailPlaces},
    query::{unread, whole},
};
use crate::{
    app,
    audit::{self, Disclosed, DisclosedInTrail, query::Query},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        instant::instant,
        output::{print_bytes, say},
        whole_file::WholeFile,
    },
    clock::{Clock, SystemClock},
    disclosures::{
        self, Case, ClocksError, Copy, Entry, Extension, OutcomeEntry, Rules,
        load::{LoadError, Stored, load},
    },
    domain::mapping::Source,
};

const AFTER: &str = "\
Examples:
  chaperone audit disclosures --client C1 --requested-at 2026-03-10T15:00:00Z --out c1.html
  chaperone audit disclosures --missing --config /etc/chaperone/chaperone.yaml

Exit codes:
  0  done
  1  could not run
  2  the dates, the fee or the tenant cannot be
  6  the trail is damaged: an accounting made of it could lack something

Rows come from the store's `disclosures` and from outcomes in the trail: its folder, and where it was shipped to. The same rows and instants always give the
same bytes: state --requested-at and --generated-at to make one again.";

/// How long the store may take.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// After which an allow that asks for a report is missing it.
const MISSING_AFTER: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one, if there is any]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The store that the trail is shipped to, read beside the folder [default: the configured one]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = CONFIGURED)]
    trail_store: Option<String>,
    /// The client
    #[arg(long, value_name = "ID", required_unless_present = "missing")]
    client: Option<String>,
    /// The tenant [default: the only one that has rows of the client]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// When the accounting was asked for [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    requested_at: Option<Timestamp>,
    /// When it is made: suspensions are judged by it [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    generated_at: Option<Timestamp>,
    /// Only from this instant on; never more than six years
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    period_from: Option<Timestamp>,
    /// The form
    #[arg(long, value_enum, default_value_t)]
    format: ReportFormat,
    /// For whom [default: html for the patient, json and csv for the house]
    #[arg(long, value_enum)]
    copy: Option<CopyFor>,
    /// Who asks [default: the client]
    #[arg(long, value_name = "NAME")]
    requester: Option<String>,
    /// The title of the office that answers
    #[arg(long, value_name = "TITLE")]
    responsible: Option<String>,
    /// When an accounting was asked for before; repeat it for each
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    earlier_request: Vec<Timestamp>,
    /// What an accounting costs that is not the first in twelve months, as 12.50
    #[arg(long, value_name = "AMOUNT")]
    fee: Option<String>,
    /// When the client was told of the one extension
    #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "extension_reason")]
    extended_at: Option<Timestamp>,
    /// The reason that the client was given for it
    #[arg(long, value_name = "TEXT", requires = "extended_at")]
    extension_reason: Option<String>,
    /// When the accounting was handed over
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    fulfilled_at: Option<Timestamp>,
    /// List disclosures of substance use records with consent, of three years (42 CFR 2.25)
    #[arg(long)]
    part2_consented: bool,
    /// Instead: list allows that ask for a report of the disclosure and have none after 24 hours
    #[arg(long)]
    missing: bool,
    /// The store [default: the configured one]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The file to write, whole or not at all [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    #[default]
    Html,
    Json,
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CopyFor {
    Patient,
    Internal,
}

/// Where rows are read from.
struct Places {
    trail: TrailPlaces,
    store: Option<String>,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let places = places(args, context)?;
    let now = args.generated_at.unwrap_or_else(|| SystemClock.now());
    let trail =
        if places.has_trail() { from_trail(args, &places.trail, context, now)? } else { DisclosedInTrail::default() };
    let bytes = if args.missing { missing(&trail, now)? } else { accounting(args, context, &places, &trail, now)? };
    match &args.out {
        None => print_bytes(&bytes)?,
        Some(path) => {
            let failed = |error: std::io::Error| Failure::of(Exit::CannotRun, &error).at(path.display().to_string());
            let mut file = WholeFile::beside(path).map_err(failed)?;
            file.write_all(&bytes).map_err(failed)?;
            file.keep().map_err(failed)?;
        }
    }
    Ok(Exit::Done)
}

impl Places {
    fn has_trail(&self) -> bool {
        self.trail.folder.is_some() || self.trail.store.is_some()
    }
}

/// A typed place leaves the configuration alone; without any, it names all.
fn places(args: &Args, context: &Context<'_>) -> Result<Places, Failure> {
    let is_typed = args.dir.is_some() || args.store.is_some() || args.trail_store.is_some();
    let mut places = Places { trail: TrailPlaces::default(), store: args.store.clone() };
    if args.dir.is_some() || args.trail_store.is_some() {
        places.trail = TrailPlaces::of(args.dir.as_ref(), args.trail_store.as_deref(), &args.config, context)?;
    }
    if !is_typed || args.config.config.is_some() {
        let config = context.offline_config(&args.config)?;
        let configured = config.sources.of(Source::Store).map(|store| store.url.expose().to_owned());
        places.store = places.store.or(configured);
        if places.trail.store.is_none() && args.dir.is_none() {
            places.trail.store = app::reading_address(&config);
        }
        if args.dir.is_none() && args.trail_store.is_none() {
            let has_store = places.trail.store.is_some();
            places.trail.folder = Some(config.audit.dir).filter(|dir| !has_store || dir.is_dir());
        }
    }
    if let Some(dir) = places.trail.folder.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(Failure::new(Exit::CannotRun, "there is no trail").at(dir.display().to_string()));
    }
    match places.has_trail() {
        false if args.missing => Err(Failure::new(Exit::CannotRun, "what is missing is seen in the trail")
            .next("name its folder: `chaperone audit disclosures --missing DIR`")),
        false => {
            say("no trail is named: outcomes that stand in one are not in this accounting");
            Ok(places)
        }
        true => {
            if places.store.is_none() && !args.missing {
                say("no store is named: its `disclosures` are not in this accounting");
            }
            Ok(places)
        }
    }
}

fn from_trail(
    args: &Args,
    trail: &TrailPlaces,
    context: &Context<'_>,
    until: Timestamp,
) -> Result<DisclosedInTrail, Failure> {
    let query = Query { client: args.client.clone(), tenant: args.tenant.clone(), ..Query::default() };
    // Six years to the day before the request; what was pruned is older than that, or missing.
    let asked = args.requested_at.unwrap_or(until).to_zoned(TimeZone::UTC).date();
    let since = asked.checked_sub(6.years()).and_then(|day| day.to_zoned(TimeZone::UTC));
    let since = since.map_or(Timestamp::MIN, |day| day.timestamp());
    let keys = args.encryption.keys(args.dir.is_some() && args.config.config.is_none(), &args.config, context)?;
    let found = context.block_on(async {
        is_whole(trail, since).await?;
        let found = audit::disclosed(&*trail.source(keys)?, query, until).await.map_err(|error| unread(&error))?;
        // A store can be pruned while it is read.
        is_whole(trail, since).await?;
        Ok::<_, Failure>(found)
    })??;
    // A list that lacks something is worse than none: it would be handed over as the whole.
    whole(found.lost.as_deref(), None, &trail.named())?;
    Ok(found)
}

async fn is_whole(trail: &TrailPlaces, since: Timestamp) -> Result<(), Failure> {
    match trail.first_missing(since).await? {
        None => Ok(()),
        Some(record) => Err(Failure::new(
            Exit::TrailBroken,
            format!(
                "the records from {record} on are not in this trail any more: an accounting of the rest would lack them"
            ),
        )
        .at(trail.named())
        .next("name all of its places: its folder, and the store that it was shipped to (`--trail-store URL`)")),
    }
}

fn accounting(
    args: &Args,
    context: &Context<'_>,
    places: &Places,
    trail: &DisclosedInTrail,
    now: Timestamp,
) -> Result<Vec<u8>, Failure> {
    let client = args.client.clone().unwrap_or_default();
    let stored = match &places.store {
        None => Stored::default(),
        Some(url) => context.block_on(load(url, &client, STORE_WAIT))?.map_err(|error| unloaded(&error))?,
    };
    let outcomes = trail.disclosed.iter().flat_map(outcome_entries).collect();
    let entries = disclosures::entries(stored.rows, outcomes);
    let case = Case {
        tenant: tenant(args, &entries)?,
        client,
        requester: args.requester.clone(),
        requested_at: args.requested_at.unwrap_or(now),
        generated_at: now,
        period_from: args.period_from,
        extension: args
            .extended_at
            .zip(args.extension_reason.clone())
            .map(|(told_at, reason)| Extension { told_at, reason }),
        fulfilled_at: args.fulfilled_at,
        earlier_requests: args.earlier_request.clone(),
        fee: args.fee.clone(),
        responsible: args.responsible.clone(),
        policies_revision: trail.policies_revision.clone(),
        rules: Rules { part2_consented: args.part2_consented },
    };
    let copy = match (args.copy, args.format) {
        (Some(CopyFor::Patient), _) | (None, ReportFormat::Html) => Copy::Patient,
        (Some(CopyFor::Internal), _) | (None, ReportFormat::Json | ReportFormat::Csv) => Copy::Internal,
    };
    let impossible = |error: ClocksError| Failure::of(Exit::Usage, &error);
    let report = disclosures::report(&case, &entries, &stored.suspensions, copy).map_err(impossible)?;
    match args.format {
        ReportFormat::Html => Ok(disclosures::html(&report).into_bytes()),
        ReportFormat::Csv => Ok(disclosures::csv(&report).into_bytes()),
        ReportFormat::Json => pretty(&report),
    }
}

/// The tenant that is meant: rows of another one are another house's.
fn tenant(args: &Args, entries: &[Entry]) -> Result<String, Failure> {
    if let Some(tenant) = &args.tenant {
        return Ok(tenant.clone());
    }
    let mut tenants: Vec<_> = entries.iter().map(|entry| entry.current().tenant.clone()).collect();
    tenants.sort();
    tenants.dedup();
    match tenants.as_slice() {
        [] => Err(Failure::new(Exit::Usage, "there is no row of this client, and no --tenant")
            .next("name the tenant, and look at the client's id: an accounting without rows is made for a tenant")),
        [tenant] => Ok(tenant.clone()),
        [_, _, ..] => Err(Failure::new(Exit::Usage, format!("the client has rows of tenants {}", tenants.join(", ")))
            .next("give --tenant: each house accounts for itself")),
    }
}

fn outcome_entries(disclosed: &Disclosed) -> Vec<OutcomeEntry> {
    let decision = &disclosed.decision;
    let text = |value: &Option<std::sync::Arc<str>>| value.as_deref().map(str::to_owned);
    let consent = decision.evidence.iter().find(|evidence| &*evidence.kind == "consent");
    let is_part2 = decision.fields.as_ref().is_some_and(|fields| fields.allowed.iter().any(|field| is_sud(field)));
    let said = |detail: &std::collections::BTreeMap<String, Json>, key: &str| {
        detail.get(key).and_then(Json::as_str).map(str::to_owned)
    };
    disclosed
        .reports()
        .map(|(record, outcome)| OutcomeEntry {
            record: record.clone(),
            decision_id: decision.decision_id.clone().unwrap_or_default(),
            decided_at: decision.at,
            // The house whose client it is accounts for it, whoever disclosed.
            tenant: text(&decision.resource_tenant).or_else(|| text(&decision.tenant)).unwrap_or_default(),
            client: text(&decision.client).unwrap_or_default(),
            recipient: said(&outcome.detail, "recipient").unwrap_or_default(),
            address: said(&outcome.detail, "address"),
            description: said(&outcome.detail, "description").unwrap_or_default(),
            basis: said(&outcome.detail, "basis").unwrap_or_default(),
            purpose: text(&decision.purpose),
            maker: decision.principal.as_ref().map(|who| format!("{}/{}", who.kind, who.id)),
            consent: consent.map(|consent| consent.id.to_string()),
            is_part2,
        })
        .collect()
}

/// The groups of substance use records, and the column of the one.
fn is_sud(field: &str) -> bool {
    matches!(field, "clin.sud" | "clin.sudnote" | "sud_history")
}

/// Allows whose disclosure nobody reported, the oldest first.
fn missing(trail: &DisclosedInTrail, now: Timestamp) -> Result<Vec<u8>, Failure> {
    let is_late =
        |disclosed: &&Disclosed| disclosed.is_missing() && now.duration_since(disclosed.decision.at) >= MISSING_AFTER;
    let rows: Vec<Json> = trail.disclosed.iter().filter(is_late).map(missing_row).collect();
    if rows.is_empty() {
        say("every allow that asks for a report has one, or is younger than 24 hours");
    }
    pretty(&json!({ "schema_version": 1, "generated_at": now.to_string(), "missing": rows }))
}

fn missing_row(disclosed: &Disclosed) -> Json {
    let decision = &disclosed.decision;
    // Those of treatment, payment and operations are reported as well, though no accounting lists them.
    let is_exempt = matches!(
        decision.purpose.as_deref(),
        Some("TREAT" | "ETREAT" | "CAREMGT" | "HPAYMT" | "HOPERAT" | "PATRQT" | "FAMRQT")
    );
    json!({
        "at": decision.at.to_string(),
        "decision_id": decision.decision_id,
        "tenant": decision.tenant,
        "resource_tenant": decision.resource_tenant,
        "client": decision.client,
        "principal": decision.principal.as_ref().map(|who| format!("{}/{}", who.kind, who.id)),
        "action": decision.action,
        "resource": decision.resource.as_ref().map(|what| format!("{}/{}", what.kind, what.id)),
        "purpose": decision.purpose,
        "caller": decision.caller,
        "accountable": !is_exempt,
    })
}

fn pretty(value: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
    text.push(b'\n');
    Ok(text)
}

fn unloaded(error: &LoadError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        LoadError::Scheme | LoadError::Url(_) => failure.next("as --store sqlite:///var/lib/clinic/store.db"),
        LoadError::Silent(_) | LoadError::Database(_) => {
            failure.next("the store must be there with the tables `disclosures` and `disclosure_suspensions`")
        }
        LoadError::Value { .. } => {
            failure.next("mend the row: an accounting leaves nothing out because it cannot be read")
        }
        LoadError::TooMany(_) => failure,
    }
}
