//! `chaperone audit prune --store`: lets records go that a store holds. The store's frames and what the folder has behind
//! them are laid down as one trail, verified and planned as a folder is; each writer's range then goes in one transaction.

use super::{keys, places::CONFIGURED, prune, verify_store, writing::Place};
use crate::{
    audit::{
        self, Trail, VerifyOptions,
        retention::{Plan, PlanError, PruneError, begin_in_store, end_in_store, in_store, plan},
    },
    cli::{
        context::Context,
        exit::Exit,
        failure::Failure,
        output::{print, say},
    },
    domain::Timestamp,
    store::{PruneStoreError, StoreError, TrailPruner},
};

/// What goes at a time.
const PART: &str = "part";

/// One pruning.
struct Task<'a> {
    place: &'a Place,
    url: &'a str,
    witnesses: VerifyOptions,
    now: Timestamp,
}

pub(super) fn run(url: &str, args: &prune::Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let place = Place::find(&args.config, &args.encryption, context)?;
    let url = if url == CONFIGURED { configured(&place)? } else { url };
    let task = Task { place: &place, url, witnesses: place.witnesses(keys(&args.key)?)?, now: place.now() };
    let Some(by) = args.by() else {
        let plan = context.block_on(task.planned())??;
        print(prune::words(&plan, PART, "may go"))?;
        return Ok(Exit::Done);
    };
    let gone = context.block_on(task.pruned(by))??;
    print(prune::words(&gone, PART, "are gone"))?;
    if !gone.writers.is_empty() {
        say("what is left still verifies: `chaperone audit verify --store` names the stubs");
    }
    Ok(Exit::Done)
}

fn configured(place: &Place) -> Result<&str, Failure> {
    place.read_at.as_deref().ok_or_else(|| {
        Failure::new(Exit::CannotRun, "the configuration names no store that may be read")
            .next("name one, for a role that may prune: `--store URL` (`chaperone db install --pruner-role NAME`)")
    })
}

impl Task<'_> {
    async fn planned(&self) -> Result<Plan, Failure> {
        let room = verify_store::Room::new()?;
        let outside = self.witnesses.checkpoints.as_deref();
        let together = verify_store::together(self.url, &room, &self.place.dir, outside).await?;
        if let Some(bad) = together.beside.into_iter().next() {
            let damaged = PlanError::Damaged { writer: bad.writer, seq: bad.seq, detail: bad.detail };
            return Err(unplanned(&damaged));
        }
        let checkpoints = Some(together.rebuilt.checkpoints().to_owned());
        let options = VerifyOptions { is_rebuilt: true, checkpoints, ..self.witnesses.clone() };
        let plan = plan(together.rebuilt.dir(), &self.place.retention, &options, self.now);
        Ok(in_store(plan.map_err(|error| unplanned(&error))?, &together.held))
    }

    async fn pruned(&self, by: &str) -> Result<Plan, Failure> {
        let pruner = TrailPruner::open(self.url).map_err(|error| unpruned(&error.into()))?;
        pruner.check().await.map_err(|error| unpruned(&error))?;
        let trail = self.place.open_shipping()?;
        let gone = self.prune(&trail, &pruner, by).await;
        let closed = trail.close().await;
        pruner.close().await;
        let gone = gone?;
        closed.map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        Ok(gone)
    }

    async fn prune(&self, trail: &Trail, pruner: &TrailPruner, by: &str) -> Result<Plan, Failure> {
        // The plan knows those of its own folder, shipped or not.
        let own = audit::changes::writers(&self.place.dir).map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        let holds = pruner.turns_of_holds(&own).await.map_err(|error| unpruned(&error))?;
        // Made of the folder that is ours now: nobody can place a hold in it between this and the end.
        let plan = self.planned().await?;
        if plan.writers.is_empty() {
            return Ok(plan);
        }
        let ranges = begin_in_store(trail, &plan, by, self.now).await.map_err(|error| unbegun(&error))?;
        let (mut gone, mut failed) = (0, None);
        for range in &ranges {
            // In another folder somebody can.
            let part = match pruner.turns_of_holds(&own).await {
                Ok(now) if now == holds => pruner.prune(range, self.now).await.map(drop),
                Ok(_more) => Err(PruneStoreError::Held),
                Err(error) => Err(error),
            };
            if let Err(error) = part {
                failed = Some(error);
                break;
            }
            gone += 1;
        }
        // What went is recorded, also where the rest did not go.
        let recorded = end_in_store(trail, &plan, gone, by, self.now).await;
        let recorded = recorded.map_err(|error| unbegun(&error));
        match failed {
            Some(error) => recorded.and(Err(unpruned(&error))),
            None => recorded,
        }
    }
}

fn unplanned(error: &PlanError) -> Failure {
    let failure = prune::unplanned_anywhere(error);
    match error {
        PlanError::Damaged { .. } => failure.next(
            "`chaperone audit verify --store` says what is damaged; a trail that another key signed needs its --key VKEY too",
        ),
        PlanError::Elsewhere { .. } => failure.next(
            "neither the store nor this folder has it, and a hold may stand there: prune with the configuration of the \
             sidecar in whose folder it is",
        ),
        PlanError::Holds(_) | PlanError::Read(_) | PlanError::Sealed(_) | PlanError::Verify(_) => failure,
    }
}

fn unbegun(error: &PruneError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        PruneError::Unrecorded(_) => {
            failure.next("the store has to hold the record before anything goes: see that `audit.ship_url` answers")
        }
        PruneError::NoKey | PruneError::Stub(_) | PruneError::Io(_) => failure,
    }
}

fn unpruned(error: &PruneStoreError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        PruneStoreError::Refused(_) => failure.next(
            "what went before it is recorded; is this the store that the trail is shipped to (`audit.ship_url`), and the \
             server's clock right?",
        ),
        PruneStoreError::Held => failure.next("run it again: what the hold names is kept; what went before it is recorded"),
        PruneStoreError::NotAllowed { .. } => failure
            .next("give the address of a role that may prune: `chaperone db install --pruner-role NAME`, by the owner"),
        PruneStoreError::Store(StoreError::Unmigrated { .. }) => failure.next("`chaperone db install`, by the owner"),
        PruneStoreError::Store(_) => failure.next("each part went whole or stays whole: run it again"),
    }
}
