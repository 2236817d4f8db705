//! `chaperone test`: runs the cases of the policies.

use std::path::PathBuf;

use clap::ValueEnum;
use owo_colors::OwoColorize;

use super::{
    bundle::{self, Shown, folders},
    cases::{self, coverage::Coverage, file::CaseFile, pattern::Pattern, report, run::Ran},
    context::{ConfigArgs, Context},
    exit::Exit,
    failure::Failure,
    output::{print, say},
};
use crate::{
    config::Config,
    engine::load::BundlePaths,
    watch::{Pace, Watch},
};

const AFTER: &str = "\
Examples:
  chaperone test policies
  chaperone test --coverage --threshold 90 -o junit

Exit codes:
  0  every case passed
  1  could not run
  3  policy, schema or mapping is not valid
  4  a case failed, no case ran, or the coverage is too low";

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(super) struct Args {
    /// A case file, or a folder with policies and cases [default: the configured one]
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Folder of the schema and the mapping [default: the configured one]
    #[arg(long, value_name = "DIR")]
    pub(super) schemas: Option<PathBuf>,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: TestFormat,
    /// Say which policies no case matched
    #[arg(long)]
    pub(super) coverage: bool,
    /// Fail below this share of matched policies
    #[arg(long, value_name = "PERCENT", requires = "coverage", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) threshold: Option<u8>,
    /// Run again whenever a file changes
    #[arg(long)]
    pub(super) watch: bool,
    /// Run only the cases whose file and name hold this text; `*` stands for anything, letter case does not matter
    #[arg(short = 'r', long = "run", value_name = "PATTERN")]
    pub(super) run: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum TestFormat {
    #[default]
    Pretty,
    Json,
    Junit,
    Github,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Result<Exit, Failure> {
    let config = context.offline_config(&args.config)?;
    if args.watch {
        return context.block_on(run_again_and_again(&args, &config))?;
    }
    context.block_on(run_once(&args, &config))?
}

/// Where everything is, for one run or many.
fn places(args: &Args, config: &Config) -> (BundlePaths, PathBuf) {
    let located = cases::locate(args.path.as_deref(), &config.policies.dir);
    (folders(located.policies.as_deref(), args.schemas.as_deref(), config), located.cases)
}

async fn run_once(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let (paths, place) = places(args, config);
    let bundle = bundle::load(&paths)?;
    let files = read(&cases::files(&place)?)?;
    let only = args.run.as_deref().map(Pattern::new);
    let ran = cases::run::run(&bundle, &files, only.as_ref()).await?;
    let coverage = Coverage::of(&bundle, &ran.matched);
    match args.output {
        TestFormat::Pretty => report::pretty(&ran, &coverage, args.coverage)?,
        TestFormat::Json => print(format_args!("{:#}", report::json(&ran, &coverage)))?,
        TestFormat::Junit => print(report::junit(&ran))?,
        TestFormat::Github => report::github(&ran, &coverage)?,
    }
    Ok(judge(args, &ran, &coverage))
}

/// Reads every file before any case runs: a mistake in one is told at once.
fn read(paths: &[PathBuf]) -> Result<Vec<(PathBuf, CaseFile)>, Failure> {
    let mut files = Vec::new();
    let mut wrong = 0_usize;
    for path in paths {
        match CaseFile::read(path) {
            Ok(file) => files.push((path.clone(), file)),
            Err(problems) => {
                wrong += problems.0.len();
                problems.0.iter().for_each(|problem| say(Shown(problem)));
            }
        }
    }
    if wrong > 0 {
        return Err(Failure::new(Exit::CasesFailed, format!("case files have {}", bundle::plural(wrong, "mistake")))
            .next("docs/reference/cases.md describes the format; no case ran"));
    }
    Ok(files)
}

fn judge(args: &Args, ran: &Ran, coverage: &Coverage) -> Exit {
    if ran.checks() == 0 {
        say(format_args!("{} no case ran", "failed:".red().bold()));
        return Exit::CasesFailed;
    }
    if let Some(threshold) = args.threshold.filter(|threshold| coverage.percent() < usize::from(*threshold)) {
        let percent = coverage.percent();
        say(format_args!("{} {percent} % of policies matched, less than {threshold} %", "failed:".red().bold()));
        return Exit::CasesFailed;
    }
    if ran.failed() > 0 { Exit::CasesFailed } else { Exit::Done }
}

/// Runs at once and after every change, until Ctrl-C.
async fn run_again_and_again(args: &Args, config: &Config) -> Result<Exit, Failure> {
    let (paths, place) = places(args, config);
    let cases = if place.is_dir() { Some(place.clone()) } else { place.parent().map(PathBuf::from) };
    let mut watched = vec![paths.policies.clone(), paths.schemas.clone()];
    watched.extend(cases.filter(|cases| !cases.starts_with(&paths.policies)));
    let digest = move || {
        let cases = cases::files(&place).unwrap_or_default();
        let texts: Vec<_> = cases.iter().map(|path| std::fs::read(path).unwrap_or_default()).collect();
        Some(format!("{:?} {texts:?}", paths.digest().ok()))
    };
    let (_watching, mut changes) = Watch::start(watched, Pace::default(), digest)
        .map_err(|error| Failure::of(Exit::CannotRun, &error).because("the folders cannot be watched"))?;
    let mut last;
    loop {
        last = match run_once(args, config).await {
            Ok(exit) => exit,
            Err(failure) => {
                say(&failure);
                failure.exit
            }
        };
        say(format_args!("{}", "waiting for a change; Ctrl-C ends".dimmed()));
        tokio::select! {
            changed = changes.recv() => if changed.is_none() { return Ok(last) },
            _interrupted = tokio::signal::ctrl_c() => return Ok(last),
        }
    }
}
