//! `chaperone audit hold`: legal holds, which keep records beyond their time. Each is a record of the trail.

use clap::Subcommand;
use jiff::Timestamp;

use super::{encryption::EncryptionArgs, verify_store, writing};
use crate::{
    audit::retention::{Hold, HoldError, HoldScope, HoldTurn, HoldsError, hold_record, holds, holds_of},
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        instant::instant,
        output::{print, say},
    },
    domain::Tier,
};

const AFTER: &str = "\
Examples:
  chaperone audit hold place case-26-113 --client C1 --by pri --reason subpoena-26-113
  chaperone audit hold list

Exit codes:
  0  done
  1  could not run";

const AFTER_PLACE: &str = "\
Examples:
  chaperone audit hold place case-26-113 --client C1 --by pri --reason subpoena-26-113
  chaperone audit hold place audit-26 --tenant T1 --by pri --reason ocr-audit

Exit codes:
  0  the hold stands, and its record is on disk
  1  could not run
  2  a hold of this name stands already, or the words are none

Without --tenant, --client, --from and --to it keeps all. The trail must not be in use: stop the sidecar first.";

const AFTER_LIFT: &str = "\
Examples:
  chaperone audit hold lift case-26-113 --by pri --reason settled
  chaperone audit hold lift audit-26 --by pri --reason closed --config chaperone.yaml

Exit codes:
  0  the hold is lifted, and the record of it is on disk
  1  could not run
  2  no such hold stands

The trail must not be in use: stop the sidecar first.";

const AFTER_LIST: &str = "\
Examples:
  chaperone audit hold list
  chaperone audit hold list --config /etc/chaperone/chaperone.yaml

Exit codes:
  0  done, also when none stands
  1  could not run, or the beginning of the trail is elsewhere, and with it holds perhaps";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: HoldCommand,
}

#[derive(Debug, Subcommand)]
enum HoldCommand {
    /// Keep records beyond their time
    Place(PlaceArgs),
    /// Let records go again once their time is over
    Lift(LiftArgs),
    /// Print the holds that stand
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_PLACE)]
struct PlaceArgs {
    /// A name for it
    #[arg(value_name = "ID")]
    id: String,
    /// Only records of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Only records about this client
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only records from this instant on
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only records before this instant
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    to: Option<Timestamp>,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIFT)]
struct LiftArgs {
    /// The name of the hold
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    trail: TrailArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_LIST)]
struct ListArgs {
    #[command(flatten)]
    trail: TrailArgs,
}

/// Which trail.
#[derive(Debug, clap::Args)]
struct TrailArgs {
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

impl TrailArgs {
    fn place(&self, context: &Context<'_>) -> Result<writing::Place, Failure> {
        writing::Place::find(&self.config, &self.encryption, context)
    }
}

#[derive(Debug, clap::Args)]
struct WhoArgs {
    /// Who does it, by id
    #[arg(long, value_name = "ID")]
    by: String,
    /// Why, as the case's number: it stands in the trail
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    match &args.command {
        HoldCommand::Place(args) => {
            let scope =
                HoldScope { tenant: args.tenant.clone(), client: args.client.clone(), from: args.from, to: args.to };
            turn(&args.id, HoldTurn::Place(scope), &args.who, &args.trail, context)
        }
        HoldCommand::Lift(args) => turn(&args.id, HoldTurn::Lift, &args.who, &args.trail, context),
        HoldCommand::List(args) => list(&args.trail, context),
    }
}

fn turn(id: &str, turn: HoldTurn, who: &WhoArgs, trail: &TrailArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let place = trail.place(context)?;
    // Looked at before the folder is taken: a word that is wrong begins no writer.
    let record = hold_record(id, turn.clone(), (&who.by, &who.reason), &standing(&place, context)?, place.now())
        .map_err(|error| refused(&error))?;
    context.block_on(async {
        let trail = place.open()?;
        let kept = trail.append((), record, Tier::Disk).await;
        let closed = trail.close().await;
        let receipt = kept.map_err(|error| Failure::of(Exit::CannotRun, &error))?.into_parts().1;
        closed.map_err(|error| Failure::of(Exit::CannotRun, &error))?;
        let done = if turn == HoldTurn::Lift { "lifted" } else { "placed" };
        say(format_args!("hold {id} is {done}: record {}/{}", receipt.writer, receipt.seq));
        if place.shipped_to.is_some() {
            say("the sidecar's next start ships that record: only then does it count where the store is pruned from another folder");
        }
        Ok(Exit::Done)
    })?
}

fn list(trail: &TrailArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    let standing = standing(&trail.place(context)?, context)?;
    if standing.is_empty() {
        say("no hold stands");
        return Ok(Exit::Done);
    }
    print(standing.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    Ok(Exit::Done)
}

/// By the folder; where segments were shipped and taken away, by the folder and the store together.
fn standing(place: &writing::Place, context: &Context<'_>) -> Result<Vec<Hold>, Failure> {
    let url = match (holds(&place.dir, place.keys.clone()), &place.read_at) {
        (Err(HoldsError::Elsewhere { .. }), Some(url)) => url,
        (found, _) => return found.map_err(|error| unseen(&error)),
    };
    let room = verify_store::Room::new()?;
    let together = context.block_on(verify_store::together(url, &room, &place.dir, None))??;
    holds_of(together.rebuilt.dir(), &place.dir, place.keys.clone()).map_err(|error| unseen(&error))
}

/// Nobody can say which holds stand.
pub(super) fn unseen(error: &HoldsError) -> Failure {
    match error {
        HoldsError::Elsewhere { .. } => Failure::of(Exit::CannotRun, error).next(
            "segments that were shipped are in the store: set `audit.read_url` to the address of a role that may read it, so \
             that folder and store are looked at together; nothing is pruned meanwhile",
        ),
        HoldsError::Read(error) => super::encryption::unread(error),
    }
}

fn line(hold: &Hold) -> String {
    let scope = &hold.scope;
    let words = [
        ("tenant", scope.tenant.clone()),
        ("client", scope.client.clone()),
        ("from", scope.from.map(|at| at.to_string())),
        ("to", scope.to.map(|at| at.to_string())),
    ];
    let words = words.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", value?)));
    let keeps = words.collect::<Vec<_>>().join(", ");
    let keeps = if keeps.is_empty() { "all records".to_owned() } else { keeps };
    format!("{}  {keeps}  placed {} by {}: {}", hold.id, hold.placed, hold.by, hold.reason)
}

fn refused(error: &HoldError) -> Failure {
    let failure = Failure::of(Exit::Usage, error);
    match error {
        HoldError::Unknown(_) | HoldError::Stands(_) => failure.next("`chaperone audit hold list` says which stand"),
        HoldError::Name(_) | HoldError::Missing(_) | HoldError::TooLong { .. } | HoldError::Backwards => failure,
    }
}
