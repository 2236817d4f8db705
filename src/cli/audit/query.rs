//! `chaperone audit query`: the records of a question, page by page.

use std::path::PathBuf;

use clap::ValueEnum;

use super::{
    encryption::{self, EncryptionArgs},
    filters::FilterArgs,
    line::short,
    places::{CONFIGURED, Places},
};
use crate::{
    audit::{
        Missing,
        query::{self, Cursor, PAGE_DEFAULT, PAGE_MAX, Page, QueryError},
    },
    cli::{
        context::{ConfigArgs, Context},
        exit::Exit,
        failure::Failure,
        output::{print, print_bytes, say},
    },
};

const AFTER: &str = "\
Examples:
  chaperone audit query --client C1 --decision deny --from 2026-03-10T00:00:00Z
  chaperone audit query --store postgres://auditor@db/ehr --principal ana --limit 20 -o json

Exit codes:
  0  done, also when nothing was found
  1  could not run
  2  a filter or cursor is none
  6  the trail is damaged, or no place that is read has some records; what is there was printed

Rows come in the order of instant, writer and number. A page names the cursor of the next one, which goes on in
what was there when the first page was asked for, however many records come meanwhile. Without DIR and --store both
the configured folder and the store are read, where the store may be (`audit.read_url`); a record that both have comes
once. Unlike the operators' interface (GET /admin/v1/decisions) this records nothing of the reading.";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Args {
    /// Folder of the trail [default: the configured one]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read what a store holds, beside DIR if it is given [default address: the configured one]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = CONFIGURED)]
    store: Option<String>,
    #[command(flatten)]
    filters: FilterArgs,
    /// At most so many records, up to 1000
    #[arg(long, value_name = "N", default_value_t = PAGE_DEFAULT)]
    limit: usize,
    /// Go on behind an earlier page
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: PageFormat,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PageFormat {
    /// A short line for each
    #[default]
    Pretty,
    /// The stored records, and the next page's cursor
    Json,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let query = args.filters.query()?;
    if !(1..=PAGE_MAX).contains(&args.limit) {
        return Err(Failure::new(Exit::Usage, format!("--limit must be from 1 to {PAGE_MAX}"))
            .next("for more, go on with the cursor that a page names, or use `chaperone audit export`"));
    }
    let after = match &args.cursor {
        None => None,
        Some(text) => Some(Cursor::decode(text, &query, None).map_err(|error| {
            Failure::new(Exit::Usage, format!("--cursor {error}")).next("give the one that the page before named")
        })?),
    };
    let places = Places::of(args.dir.as_ref(), args.store.as_deref(), &args.config, context)?;
    let keys = args.encryption.keys(args.dir.is_some(), &args.config, context)?;
    let page = context.block_on(async {
        let source = places.source(keys)?;
        query::page(&*source, query.clone(), after, args.limit).await.map_err(|error| unread(&error))
    })??;
    let next = page.next.as_ref().map(|next| next.encode(&query, None));
    match args.output {
        PageFormat::Json => {
            let mut json = page.to_json(next.as_deref());
            json.push(b'\n');
            print_bytes(&json)?;
        }
        PageFormat::Pretty => show(&page, next.as_deref())?,
    }
    whole(page.lost.as_deref(), page.missing.as_ref(), &places.named())
}

/// Readers go on behind damage; a reader of what they print must not take it for all there is.
pub(super) fn whole(lost: Option<&str>, missing: Option<&Missing>, place: &str) -> Result<Exit, Failure> {
    match (lost, missing) {
        (None, None) => Ok(Exit::Done),
        (None, Some(Missing { upto, whole_from })) => Err(Failure::new(
            Exit::TrailBroken,
            format!("the records of a writer up to {upto} are not here any more"),
        )
        .at(place.to_owned())
        .next(format!(
            "name all places that may have them, the folder and the store that it is shipped to (`--store URL`); if they were \
             pruned, ask `--from {whole_from}`"
        ))),
        (Some(lost), _) => Err(Failure::new(Exit::TrailBroken, format!("record {lost} is damaged or missing"))
            .at(place.to_owned())
            .next("`chaperone audit verify` says what else is")),
    }
}

fn show(page: &Page, next: Option<&str>) -> Result<(), Failure> {
    if page.records.is_empty() {
        say("no record is like that");
        return Ok(());
    }
    let lines = page.records.iter().map(|found| match found.record() {
        Some(record) => short(found.seq, &record),
        None => String::from_utf8_lossy(&found.line).into_owned(),
    });
    print(lines.collect::<Vec<_>>().join("\n"))?;
    if let Some(next) = next {
        say(format_args!("there are more: --cursor {next}"));
    }
    Ok(())
}

pub(super) fn unread(error: &QueryError) -> Failure {
    let failure = Failure::of(Exit::CannotRun, error);
    match error {
        QueryError::Sealed(why) => encryption::sealed(Failure::of(encryption::exit(why), error), why),
        QueryError::TooMany(_) => failure.next("give --from and --to, or another filter"),
        QueryError::CursorGone(_) | QueryError::Gone { .. } => failure.next("ask again from the start"),
        QueryError::Source(_) => failure.next(
            "name the store's address, `--store URL`, of a role that may read the trail, or a folder alone: `DIR`",
        ),
        QueryError::Io { .. } | QueryError::Unfinished { .. } => failure,
    }
}
