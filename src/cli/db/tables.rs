//! The store's own tables and those of the shipped trail, for `db install` and `db doctor`.

use owo_colors::OwoColorize;

use super::{StorePlace, install::Roles};
use crate::{
    cli::{bundle::plural, context::Context, exit::Exit, failure::Failure, output::print},
    clock::{Clock as _, SystemClock},
    entities::Mode,
    store::{Part, Right, Store, StoreError, StoreOptions},
};

/// One database, what it needs, and who gets which right there.
struct Task<'a> {
    url: &'a str,
    what: &'static str,
    part: Part,
    roles: Vec<(&'a str, Right)>,
}

/// Brings the tables up to date, or prints how. True: tables of the store were to be made.
pub(super) fn install(store: &StorePlace, roles: &Roles, mode: Mode, context: &Context<'_>) -> Result<bool, Failure> {
    let tables = Task {
        url: &store.owner_url,
        what: "schema",
        part: Part::Tables,
        roles: roles.role.iter().map(|role| (role.as_str(), Right::WriteTables)).collect(),
    };
    let appends = roles.trail_role.iter().map(|role| (role.as_str(), Right::AppendTrail));
    let reads = roles.auditor_role.iter().map(|role| (role.as_str(), Right::ReadTrail));
    let prunes = roles.pruner_role.iter().map(|role| (role.as_str(), Right::PruneTrail));
    let trail = Task {
        url: roles.trail_url.as_deref().or(store.own_trail_url()).unwrap_or(&store.owner_url),
        what: "trail",
        part: Part::Trail,
        roles: appends.chain(reads).chain(prunes).collect(),
    };
    let needs_tables = tables.run(mode, context)?;
    if store.trail_url.is_some() || !trail.roles.is_empty() || roles.trail_url.is_some() {
        trail.run(mode, context)?;
    }
    Ok(needs_tables)
}

impl StorePlace {
    fn own_trail_url(&self) -> Option<&str> {
        self.trail_url.as_deref().filter(|_| self.has_own_trail_url)
    }
}

impl Task<'_> {
    fn run(&self, mode: Mode, context: &Context<'_>) -> Result<bool, Failure> {
        let parts = [self.part];
        let work = async {
            let store = Store::open(self.url, StoreOptions { create: true, ..StoreOptions::default() })?;
            let pending = store.pending(&parts).await?;
            let mut script = store.script(&pending);
            script.extend(store.grant_script(&self.roles));
            if mode == Mode::Install {
                store.install(&parts, SystemClock.now()).await?;
                store.grant(&self.roles).await?;
            }
            store.close().await;
            Ok((pending.len(), script))
        };
        let (pending, script) = context.block_on(work)?.map_err(|error| failed(&error))?;
        match mode {
            Mode::DryRun => self.print_script(&script)?,
            Mode::Install => self.print_done(pending)?,
        }
        Ok(pending > 0)
    }

    fn print_script(&self, script: &[String]) -> Result<(), Failure> {
        if script.is_empty() {
            return print(format_args!("-- store: the {} is up to date, nothing is to be done", self.what));
        }
        print(format_args!("-- store: the {}", self.what))?;
        script.iter().try_for_each(|statement| print(format_args!("{statement};")))
    }

    fn print_done(&self, pending: usize) -> Result<(), Failure> {
        let tick = "✓".green().bold().to_string();
        let what = self.what;
        if pending == 0 {
            print(format_args!("{tick} store: nothing was to be done for the {what}"))?;
        } else {
            let count = plural(pending, "migration");
            print(format_args!("{tick} store: the {what}: {count} applied"))?;
        }
        for (role, right) in &self.roles {
            let may = match right {
                Right::WriteTables => "read and write the tables",
                Right::AppendTrail => "append to the trail and nothing else",
                Right::ReadTrail => "read the trail",
                Right::PruneTrail => "read the trail, and let go what a signed stub stands for",
            };
            print(format_args!("  role {role} may {may}"))?;
        }
        Ok(())
    }
}

/// Says whether the tables are up to date, and whether what must stay is still kept from being changed.
pub(super) fn examine(store: &StorePlace, context: &Context<'_>) -> Result<bool, Failure> {
    let has_tables = examine_one(&store.url, "schema", Part::Tables, context)?;
    let has_trail = match &store.trail_url {
        Some(url) => examine_one(url, "trail", Part::Trail, context)?,
        None => true,
    };
    Ok(has_tables && has_trail)
}

fn examine_one(url: &str, what: &str, part: Part, context: &Context<'_>) -> Result<bool, Failure> {
    let work = async {
        let opened = Store::open(url, StoreOptions::default())?;
        opened.check(&[part]).await?;
        let unguarded = opened.unguarded(part).await?;
        opened.close().await;
        Ok(unguarded)
    };
    let problems = match context.block_on(work)? {
        Ok(problems) => problems,
        Err(error @ (StoreError::Unmigrated { .. } | StoreError::Changed { .. })) => vec![error.to_string()],
        Err(error) => return Err(failed(&error)),
    };
    if problems.is_empty() {
        print(format_args!("{} store: the {what} is whole", "✓".green().bold()))?;
    }
    problems.iter().try_for_each(|problem| print(format_args!("{} store: {problem}", "✗".red().bold())))?;
    Ok(problems.is_empty())
}

fn failed(error: &StoreError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        StoreError::Scheme { .. } | StoreError::Url(_) => failure.next("as postgres://owner@db/ehr"),
        StoreError::Away { .. } => failure.next("start it, or mend `sources.store` or --url; nothing was changed"),
        StoreError::Migration { .. } | StoreError::Refused { .. } => failure.next(
            "what is marked ✓ stands, this was not done; give --url of a role that owns the tables and may create in their schema (--trail-url for the trail) and roles, or hand what --dry-run prints to its owner",
        ),
        StoreError::Unreadable { .. }
        | StoreError::Unmigrated { .. }
        | StoreError::Changed { .. }
        | StoreError::Encrypted { .. } => {
            failure.next("nothing was changed")
        }
    }
}
