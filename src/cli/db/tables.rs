//! The store's own tables, for `db install` and `db doctor`.

use owo_colors::OwoColorize;

use crate::{
    cli::{bundle::plural, context::Context, exit::Exit, failure::Failure, output::print},
    clock::{Clock as _, SystemClock},
    entities::Mode,
    store::{Part, Store, StoreError, StoreOptions},
};

/// The parts that a store needs.
const PARTS: [Part; 1] = [Part::Tables];

/// Brings the tables of the store up to date, or prints how. True: something was to be done.
pub(super) fn install(url: &str, mode: Mode, context: &Context<'_>) -> Result<bool, Failure> {
    let work = async {
        let store = Store::open(url, StoreOptions { create: true, ..StoreOptions::default() })?;
        let pending = store.pending(&PARTS).await?;
        let script = store.script(&pending);
        if mode == Mode::Install {
            store.install(&PARTS, SystemClock.now()).await?;
        }
        store.close().await;
        Ok((pending, script))
    };
    let (pending, script) = context.block_on(work)?.map_err(|error| failed(&error))?;
    match mode {
        Mode::DryRun if script.is_empty() => print("-- store: the tables are up to date, nothing is to be done")?,
        Mode::DryRun => {
            print("-- store: the tables")?;
            script.iter().try_for_each(|statement| print(format_args!("{statement};")))?;
        }
        Mode::Install if pending.is_empty() => {
            print(format_args!("{} store: the tables were up to date already", "✓".green().bold()))?;
        }
        Mode::Install => print(format_args!(
            "{} store: the tables are up to date now · {} applied",
            "✓".green().bold(),
            plural(pending.len(), "migration"),
        ))?,
    }
    Ok(!pending.is_empty())
}

/// Says whether the tables are up to date.
pub(super) fn examine(url: &str, context: &Context<'_>) -> Result<bool, Failure> {
    let work = async {
        let store = Store::open(url, StoreOptions::default())?;
        let checked = store.check(&PARTS).await;
        store.close().await;
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
