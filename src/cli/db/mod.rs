//! `chaperone db`: the store's own tables, and the change feed in the databases that facts come from.

mod doctor;
mod install;
mod tables;

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{
    bundle,
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
    output::say,
};
use crate::{
    app,
    config::{Config, Database},
    domain::mapping::Source,
    engine::Bundle,
    entities::{FeedDatabase, InstallError, Place},
};

const AFTER: &str = "\
Examples:
  chaperone db install --dry-run
  chaperone db doctor --config chaperone.yaml

Exit codes:
  0  done, and whole
  1  could not run, or the feed is not whole
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: DbCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Make the store's tables, and the change feed in the databases of the mapping
    Install(install::Args),
    /// Say whether tables and change feed are whole, and what is wrong with them
    Doctor(doctor::Args),
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match args.command {
        DbCommand::Install(args) => install::run(&args, context),
        DbCommand::Doctor(args) => doctor::run(&args, context),
    }
}

/// Which databases are meant, and as whom to write there.
#[derive(Debug, clap::Args)]
struct Meant {
    /// Only this source [default: every one in PostgreSQL]
    #[arg(long, value_enum)]
    source: Option<Which>,
    /// Address of the same database for a role that owns the tables [default: the source's own]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    App,
    Store,
}

/// Configuration and bundle, as far as the feed is concerned.
struct Found {
    bundle: Bundle,
    databases: Vec<FeedDatabase>,
    meant: Vec<Source>,
    /// The store, if it is meant: its own address, and the one of a role that may make tables there.
    store: Option<StorePlace>,
    limit: Duration,
}

/// How the store is reached.
struct StorePlace {
    url: String,
    owner_url: String,
    /// Where the trail is shipped to, if that is a PostgreSQL, and whether it says so by an address of its own.
    trail_url: Option<String>,
    has_own_trail_url: bool,
}

impl Meant {
    /// Reads both. Sources that need no feed are said, and left out.
    fn find(&self, context: &Context<'_>) -> Result<Found, Failure> {
        let config = context.offline_config(&self.config)?;
        let bundle = bundle::load(&bundle::folders(None, None, &config))?;
        let mut databases = Vec::new();
        let mut meant = Vec::new();
        let mut store = None;
        for source in [Source::App, Source::Store] {
            let is_meant = self.source.is_none_or(|which| which.source() == source);
            let Some(configured) = config.sources.of(source) else { continue };
            let url = configured.url.expose().to_owned();
            if is_meant && source == Source::Store {
                let owner_url = self.url.clone().unwrap_or_else(|| url.clone());
                let trail_url = app::shipping_address(&config).filter(|url| url.starts_with("postgres"));
                let has_own_trail_url = config.audit.ship_url.is_some();
                store = Some(StorePlace { url: url.clone(), owner_url, trail_url, has_own_trail_url });
            }
            if configured.database != Database::Postgres {
                if is_meant && source == Source::App {
                    say("source app is SQLite: nothing needs to be installed there");
                }
                continue;
            }
            if is_meant {
                meant.push(source);
            }
            databases.push(FeedDatabase { source, url, owner_url: self.url.clone().filter(|_| is_meant) });
        }
        self.check(&meant, &config)?;
        let limit = Duration::from_millis(config.entities.statement_timeout_ms.max(5_000));
        Ok(Found { bundle, databases, meant, store, limit })
    }

    fn check(&self, meant: &[Source], config: &Config) -> Result<(), Failure> {
        if let Some(which) = self.source.filter(|which| config.sources.of(which.source()).is_none()) {
            let source = which.source().as_str();
            return Err(Failure::new(Exit::CannotRun, format!("source `{source}` is not configured"))
                .next(format!("name its database: `sources.{source}.url`")));
        }
        if config.sources.app.is_none() && config.sources.store.is_none() {
            return Err(Failure::new(Exit::CannotRun, "no source of facts is configured")
                .next("name the databases under `sources`"));
        }
        if self.url.is_some() && meant.len() > 1 {
            return Err(Failure::new(Exit::CannotRun, "one --url cannot lead to two sources")
                .next("give --source app or --source store with it"));
        }
        Ok(())
    }
}

impl Which {
    const fn source(self) -> Source {
        match self {
            Self::App => Source::App,
            Self::Store => Source::Store,
        }
    }
}

/// Says which facts no trigger can tell changes of.
fn say_untold(untold: &[(Place, String)]) {
    for (place, why) in untold {
        say(format_args!("note: facts of {place} are read anew after each poll: {why}"));
    }
}

fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.as_str()).collect::<Vec<_>>().join(" and ")
}

fn failed(error: &InstallError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        InstallError::Url { .. } => failure.next("as postgres://owner@db/ehr"),
        InstallError::Away { .. } => failure.next("start it, or mend `sources` or --url; nothing was changed"),
        InstallError::Standby { .. } | InstallError::TooOld { .. } => failure.next("nothing was changed"),
        InstallError::NoSchema { .. } => failure.next("put a schema into the role's search_path"),
        InstallError::Refused { .. } => failure.next(
            "nothing was changed; give --url of a role that owns the tables and may create in their schema, or hand what --dry-run prints to its owner",
        ),
        InstallError::Unmended { .. } => failure.next("nothing was changed; mend it by hand and try again"),
    }
}
