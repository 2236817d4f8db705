//! `chaperone check`: validates policies, schema and mapping.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use owo_colors::OwoColorize;
use serde_json::json;

use super::{
    bundle::{Shown, annotation, as_github, as_json, counted, folders, plural},
    context::{ConfigArgs, Context, warn},
    exit::Exit,
    failure::Failure,
    output::print,
    simulate::configured_facts,
};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::PolicyEffect,
    engine::{
        Bundle,
        guard::guard_schema,
        load::BundlePaths,
        problem::{Problem, Problems},
        schema::{Classes, build_schema},
        source::Sources,
        taxonomy_file::parse_fields,
    },
};

const AFTER: &str = "\
Examples:
  chaperone check policies
  chaperone check --config chaperone.yaml --database -o github

Exit codes:
  0  valid
  1  could not run
  3  policy, schema or mapping is not valid";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// Folder of the policies [default: the configured one]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Folder of the schema and the mapping [default: the configured one]
    #[arg(long, value_name = "DIR")]
    pub(super) schemas: Option<PathBuf>,
    /// Check the columns that the mapping names against the configured databases too
    #[arg(long)]
    pub(super) database: bool,
    /// Print the whole schema instead, with the actions that are made of the field groups
    #[arg(long, conflicts_with_all = ["database", "output"])]
    pub(super) print_schema: bool,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: CheckFormat,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    #[default]
    Pretty,
    Json,
    Github,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let loaded = context.loaded(&args.config)?;
    // A bundle that is checked without a configuration belongs to no sidecar: there is nothing to warn of.
    if loaded.file.is_some() {
        warn(&loaded.warnings);
    }
    let config = loaded.config;
    let paths = folders(args.path.as_deref(), args.schemas.as_deref(), &config);
    if args.print_schema {
        return print_schema(&paths);
    }
    let started = SystemClock.elapsed();
    let (bundle, mut problems) = match Bundle::load(&paths) {
        Ok((bundle, warnings)) => (Some(bundle), warnings.0),
        Err(problems) => (None, problems.0),
    };
    if let Some(bundle) = bundle.as_ref().filter(|_| args.database) {
        problems.extend(context.block_on(misfits(bundle, &config))??);
    }
    let found =
        Found { paths, bundle, problems: Problems(problems), took: SystemClock.elapsed().saturating_sub(started) };
    match args.output {
        CheckFormat::Pretty => found.print_pretty()?,
        CheckFormat::Json => print(format_args!("{:#}", found.to_json()))?,
        CheckFormat::Github => found.print_github()?,
    }
    Ok(if found.problems.has_errors() { Exit::Invalid } else { Exit::Done })
}

/// What the databases have against the mapping; one that cannot be asked ends the command.
async fn misfits(bundle: &Bundle, config: &Config) -> Result<Vec<Problem>, Failure> {
    let facts = configured_facts(config)?;
    let (away, wrong): (Vec<_>, Vec<_>) =
        facts.check(&bundle.mapping).await.into_iter().partition(crate::entities::Problem::is_unreachable);
    if let Some(first) = away.first() {
        return Err(Failure::new(Exit::CannotRun, first.to_string()).next("nothing of it could be checked"));
    }
    let wrong = wrong.iter().map(|misfit| Problem::error(misfit.to_string()));
    Ok(wrong.map(|problem| problem.hint("mend the query in the mapping, or the table")).collect())
}

struct Found {
    paths: BundlePaths,
    bundle: Option<Bundle>,
    problems: Problems,
    took: Duration,
}

/// How many policies of each effect, and actions.
struct Counts {
    permits: usize,
    forbids: usize,
    actions: usize,
}

impl Counts {
    fn of(bundle: &Bundle) -> Self {
        let permits = bundle.policies.values().filter(|policy| policy.effect == PolicyEffect::Permit).count();
        Self { permits, forbids: bundle.policies.len() - permits, actions: bundle.schema.actions().count() }
    }
}

impl Found {
    fn print_pretty(&self) -> Result<(), Failure> {
        for problem in &self.problems.0 {
            print(format_args!("{}\n", Shown(problem)))?;
        }
        print(self.summary())
    }

    fn print_github(&self) -> Result<(), Failure> {
        for problem in &self.problems.0 {
            print(as_github(problem))?;
        }
        print(annotation("notice", None, None, None, &self.summary()))
    }

    fn summary(&self) -> String {
        let took = format!("{:.2} s", self.took.as_secs_f64());
        let Some(bundle) = self.bundle.as_ref().filter(|_| !self.problems.has_errors()) else {
            return format!(
                "{} {} in {} and {} · {took}",
                "✗".red().bold(),
                counted(&self.problems.0),
                self.paths.policies.display(),
                self.paths.schemas.display()
            );
        };
        let Counts { permits, forbids, actions } = Counts::of(bundle);
        let warnings = if self.problems.0.is_empty() {
            String::new()
        } else {
            format!(" · {}", plural(self.problems.0.len(), "warning"))
        };
        format!(
            "{} {} ({}, {}) · {} · {}{warnings} · {took}",
            "✓".green().bold(),
            if bundle.policies.len() == 1 {
                "1 policy".to_owned()
            } else {
                format!("{} policies", bundle.policies.len())
            },
            plural(permits, "permit"),
            plural(forbids, "forbid"),
            plural(actions, "action"),
            bundle.revision,
        )
    }

    fn to_json(&self) -> serde_json::Value {
        let counts = self.bundle.as_ref().map(Counts::of);
        json!({
            "schema_version": 1,
            "valid": !self.problems.has_errors(),
            "policies_folder": self.paths.policies.display().to_string(),
            "schemas_folder": self.paths.schemas.display().to_string(),
            "revision": self.bundle.as_ref().map(|bundle| bundle.revision.to_string()),
            "permits": counts.as_ref().map(|counts| counts.permits),
            "forbids": counts.as_ref().map(|counts| counts.forbids),
            "actions": counts.as_ref().map(|counts| counts.actions),
            "problems": self.problems.0.iter().map(as_json).collect::<Vec<_>>(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// The schema as policies are validated against it, with every action that a policy could name.
fn print_schema(paths: &BundlePaths) -> Result<Exit, Failure> {
    match whole_schema(paths) {
        Ok(text) => print(text.trim_end()).map(|()| Exit::Done),
        Err(problems) => {
            for problem in &problems.0 {
                super::output::say(Shown(problem));
            }
            Err(Failure::new(Exit::Invalid, "the schema is not valid"))
        }
    }
}

fn whole_schema(paths: &BundlePaths) -> Result<String, Problems> {
    let sources = Sources::read(&paths.policies, &paths.schemas)?;
    let refused: Vec<Problem> = guard_schema(&sources.schema).into_iter().collect();
    if !refused.is_empty() {
        return Err(Problems(refused));
    }
    let fields = sources.fields.as_ref().map(parse_fields).transpose().map_err(Problems)?;
    let fields = sources.fields.as_ref().zip(fields.as_ref());
    Ok(build_schema(&sources.schema, fields, Classes::Every).map_err(Problems)?.text)
}
