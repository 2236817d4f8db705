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
        what: "tables",
        part: Part::Tables,
        roles: roles.role.iter().map(|role| (role.as_str(), Right::WriteTables)).collect(),
    };
    let appends = roles.trail_role.iter().map(|role| (role.as_str(), Right::AppendTrail));
    let reads = roles.auditor_role.iter().map(|role| (role.as_str(), Right::ReadTrail));
    let trail = Task {
        url: roles.trail_url.as_deref().unwrap_or(&store.owner_url),
        what: "trail",
        part: Part::Trail,
        roles: appends.chain(reads).collect(),
    };
    let needs_tables = tables.run(mode, context)?;
    if store.has_trail || !trail.roles.is_empty() || roles.trail_url.is_some() {
        trail.run(mode, context)?;
    }
    Ok(needs_tables)
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
            };
            print(format_args!("  role {role} may {may}"))?;
        }
        Ok(())
    }
}

/// Says whether the tables are up to date.
pub(super) fn examine(store: &StorePlace, context: &Context<'_>) -> Result<bool, Failure> {
    let work = async {
        let opened = Store::open(&store.url, StoreOptions::default())?;
        let checked = opened.check(&[Part::Tables]).await;
        opened.close().await;
        checked
    };
    match context.block_on(work)? {
        Ok(()) => print(format_args!("{} store: the tables are up to date", "✓".green().bold())).map(|()| true),
        Err(error @ (StoreError::Unmigrated { .. } | StoreError::Changed { .. })) => {
            print(format_args!("{} store: {error}", "✗".red().bold())).map(|()| false)
        }
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &StoreError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        StoreError::Scheme { .. } | StoreError::Url(_) => failure.next("as postgres://owner@db/ehr"),
        StoreError::Away { .. } => failure.next("start it, or mend `sources.store` or --url; nothing was changed"),
        StoreError::Migration { .. } | StoreError::Refused { .. } => failure.next(
            "nothing was changed; give --url of a role that owns the tables and may create in their schema, or hand what --dry-run prints to its owner",
        ),
        StoreError::Unreadable { .. } | StoreError::Unmigrated { .. } | StoreError::Changed { .. } => {
            failure.next("nothing was changed")
        }
    }
}
