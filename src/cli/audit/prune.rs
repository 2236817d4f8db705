//! `chaperone audit prune`: lets segments go whose every record is over its time and under no hold.

use super::{
    encryption::{self, EncryptionArgs},
    hold, keys,
    places::CONFIGURED,
    prune_store, writing,
};
use crate::{
    audit::retention::{Kept, Plan, PlanError, plan, prune},
    cli::{
        bundle::plural,
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print, say},
    },
};

const AFTER: &str = "\
Examples:
  chaperone audit prune --dry-run
  chaperone audit prune --store postgres://pruner@db/ehr --by pri

Exit codes:
  0  done, also when nothing may go
  1  could not run, or the folder has not the whole trail
  6  the trail is damaged, or signed by a key that was not given: nothing of it is pruned

A record is kept for the years of its tenant (`audit.tenant_retention_years`, else `audit.retention_years`), to the day
and never less than six. Whole segments go, a writer's oldest first; a signed stub stays for each writer, so that the
rest still verifies. The trail is held against the key in `audit.key_file` and `audit.checkpoints_dir` first. The pruning is
recorded in the trail, which must not be in use: stop the sidecar first.

With --store the records that the store holds go, of all trails there: what one month of a writer brought at a time, held
against the store's own checkpoints as well. Holds count that stand in any of them or in the folder. The record of it is
shipped before anything goes, so that `audit.ship` must be on; PostgreSQL wants a role for it (`db install --pruner-role`).";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Say what may go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Who prunes, by id
    #[arg(long, value_name = "ID", required_unless_present = "dry_run")]
    by: Option<String>,
    /// A public key that signed before the configured one, or a file of them; repeat it for each
    #[arg(long, value_name = "VKEY")]
    pub(super) key: Vec<String>,
    /// Prune what a store holds instead of the folder [default address: the one it is read at]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = CONFIGURED)]
    store: Option<String>,
    #[command(flatten)]
    pub(super) encryption: EncryptionArgs,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

impl Args {
    /// Who does it; nobody: it is only said what may go.
    pub(super) fn by(&self) -> Option<&str> {
        self.by.as_deref().filter(|_| !self.dry_run)
    }
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    if let Some(url) = &args.store {
        return prune_store::run(url, args, context);
    }
    let place = writing::Place::find(&args.config, &args.encryption, context)?;
    let now = place.now();
    if place.shipped_to.is_some() {
        say("the trail is shipped: the store still holds what goes here, until `audit prune --store`");
    }
    let witnesses = place.witnesses(keys(&args.key)?)?;
    let planned = || plan(&place.dir, &place.retention, &witnesses, now).map_err(|error| unplanned(&error, &place));
    let Some(by) = args.by() else {
        print(words(&planned()?, "segment", "may go"))?;
        return Ok(Exit::Done);
    };
    context.block_on(async {
        let trail = place.open()?;
        // Made of the folder that is ours now: nobody can place a hold between this and the end.
        let done = match planned() {
            Ok(plan) => prune(&trail, &plan, by, now)
                .await
                .map(|_pruned| plan)
                .map_err(|error| Failure::of(Exit::CannotRun, &error)),
            Err(failure) => Err(failure),
        };
        let closed = trail.close().await;
        let plan = done?;
        closed.map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        print(words(&plan, "segment", "are gone"))?;
        if !plan.writers.is_empty() {
            say("what is left still verifies: `chaperone audit verify` names the stubs");
        }
        Ok(Exit::Done)
    })?
}

/// What goes, in parts that are called so.
pub(super) fn words(plan: &Plan, part: &str, verb: &str) -> String {
    let mut lines = Vec::new();
    match plan.segments() {
        0 => lines.push(format!("no {part} may go")),
        segments => lines.push(format!(
            "{} with {}, {} bytes, {verb}",
            plural(segments, part),
            plural(usize::try_from(plan.records()).unwrap_or(usize::MAX), "record"),
            plan.bytes()
        )),
    }
    for writer in &plan.writers {
        lines.push(format!(
            "writer {}: {}, records of {} to {}",
            writer.writer,
            plural(writer.segments, part),
            writer.from,
            writer.to
        ));
    }
    for (writer, segment, why) in &plan.kept {
        let why = match why {
            Kept::Time => "the time of a record of it is not over".to_owned(),
            Kept::Hold(id) => format!("hold {id} keeps it"),
            Kept::Open => "it is not ended".to_owned(),
            Kept::Unread => "a record of it cannot be read by this program".to_owned(),
            Kept::Unshipped => "the store does not hold all of it yet".to_owned(),
        };
        lines.push(format!("writer {writer}: {part} {segment:06} stays, {why}"));
    }
    lines.join("\n")
}

fn unplanned(error: &PlanError, place: &writing::Place) -> Failure {
    if !matches!(error, PlanError::Elsewhere { .. }) {
        return unplanned_anywhere(error);
    }
    let failure = Failure::of(Exit::CannotRun, error);
    match &place.shipped_to {
        Some(_) => failure.next(
            "prune what the store holds: `chaperone audit prune --store URL --by WHO`; what is left here goes by itself \
             once the store holds it, after `audit.keep_local_hours`",
        ),
        None => failure.next(
            "prune where the whole trail is; if none of it was shipped, `chaperone audit verify` says what is missing",
        ),
    }
}

/// The same, whether it is a folder or a store.
pub(super) fn unplanned_anywhere(error: &PlanError) -> Failure {
    match error {
        PlanError::Damaged { .. } => {
            Failure::of(Exit::TrailBroken, error).next("`chaperone audit verify` says what is damaged")
        }
        PlanError::Holds(error) => hold::unseen(error),
        PlanError::Sealed(why) => encryption::sealed(Failure::of(encryption::exit(why), error), why),
        PlanError::Read(error) => encryption::unread(error),
        PlanError::Elsewhere { .. } | PlanError::Verify(_) => Failure::of(Exit::CannotRun, error),
    }
}
