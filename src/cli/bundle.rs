//! The bundle that a command works on: which folders, and how its problems are shown.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use owo_colors::OwoColorize;
use serde_json::{Value as Json, json};

use super::{exit::Exit, failure::Failure, output::say};
use crate::{
    config::Config,
    engine::{
        Bundle,
        load::BundlePaths,
        problem::{Problem, Problems, Severity},
    },
};

/// The folders of a command: as typed, else as configured. Schemas beside the typed policies are preferred to the
/// configured ones, so that a bundle can be moved as a whole.
pub(super) fn folders(policies: Option<&Path>, schemas: Option<&Path>, config: &Config) -> BundlePaths {
    let beside = || policies.and_then(|policies| sibling(policies, "schemas"));
    BundlePaths {
        policies: policies.unwrap_or(&config.policies.dir).to_path_buf(),
        schemas: schemas.map(Path::to_path_buf).or_else(beside).unwrap_or_else(|| config.policies.schemas.clone()),
        cache: None,
    }
}

/// The folder `name` beside `folder`, if it is there.
fn sibling(folder: &Path, name: &str) -> Option<PathBuf> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = parent.map_or_else(|| PathBuf::from(name), |parent| parent.join(name));
    beside.is_dir().then_some(beside)
}

/// Loads the bundle for a command whose result is something else; warnings are talk, errors end the command.
pub(super) fn load(paths: &BundlePaths) -> Result<Bundle, Failure> {
    match Bundle::load(paths) {
        Ok((bundle, warnings)) => {
            for warning in &warnings.0 {
                say(Shown(warning));
            }
            Ok(bundle)
        }
        Err(problems) => Err(invalid(&problems)),
    }
}

/// Says every problem and returns what to end with.
fn invalid(problems: &Problems) -> Failure {
    for problem in &problems.0 {
        say(Shown(problem));
    }
    Failure::new(Exit::Invalid, format!("the policy bundle is not valid: {}", counted(&problems.0)))
        .next("mend the files above; `chaperone check` shows the same")
}

/// `2 errors, 1 warning`.
pub(super) fn counted(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    let mut words = vec![plural(errors, "error")];
    if warnings > 0 {
        words.push(plural(warnings, "warning"));
    }
    words.join(", ")
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A problem for people, with its source line under the place.
pub(super) struct Shown<'a>(pub(super) &'a Problem);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problem) = self;
        match problem.severity {
            Severity::Error => write!(f, "{} {}", "error:".red().bold(), problem.message)?,
            Severity::Warning => write!(f, "{} {}", "warning:".yellow().bold(), problem.message)?,
        }
        if let Some(place) = place(problem) {
            write!(f, "\n  {} {place}", "-->".blue())?;
        }
        if let Some(line) = &problem.source_line {
            write!(f, "\n   {} {line}", "|".blue())?;
            if let Some(column) = problem.column.filter(|column| *column <= line.chars().count() + 1) {
                write!(f, "\n   {} {}{}", "|".blue(), " ".repeat(column.saturating_sub(1)), "^".red().bold())?;
            }
        }
        if let Some(hint) = &problem.hint {
            write!(f, "\n  {} {hint}", "hint:".cyan())?;
        }
        Ok(())
    }
}

/// `file:line:column`, as far as it is known.
fn place(problem: &Problem) -> Option<String> {
    let mut place = problem.file.as_ref()?.display().to_string();
    for number in [problem.line, problem.column.filter(|_| problem.line.is_some())].into_iter().flatten() {
        place = format!("{place}:{number}");
    }
    Some(place)
}

/// A problem for programs.
pub(super) fn as_json(problem: &Problem) -> Json {
    json!({
        "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": problem.message,
        "file": problem.file.as_ref().map(|file| file.display().to_string()),
        "line": problem.line,
        "column": problem.column,
        "source_line": problem.source_line,
        "hint": problem.hint,
    })
}

/// A problem as an annotation of GitHub's workflows.
pub(super) fn as_github(problem: &Problem) -> String {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let hint = problem.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    annotation(level, problem.file.as_deref(), problem.line, problem.column, &format!("{}{hint}", problem.message))
}

/// One workflow command; what it holds is escaped as the runner expects.
pub(super) fn annotation(
    level: &str,
    file: Option<&Path>,
    line: Option<usize>,
    column: Option<usize>,
    message: &str,
) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut properties = Vec::new();
    properties.extend(file.map(|file| format!("file={}", property(&file.display().to_string()))));
    properties.extend(line.map(|line| format!("line={line}")));
    properties.extend(column.map(|column| format!("col={column}")));
    let gap = if properties.is_empty() { "" } else { " " };
    format!("::{level}{gap}{}::{}", properties.join(","), data(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_keeps_to_one_line_whatever_the_message_holds() {
        let written = annotation("error", Some(Path::new("a,b.cedar")), Some(3), None, "100%\nwrong");
        assert_eq!(written, "::error file=a%2Cb.cedar,line=3::100%25%0Awrong");
        assert_eq!(annotation("warning", None, None, None, "x"), "::warning::x");
    }

    #[test]
    fn a_place_is_as_exact_as_the_problem_knows_it() {
        let mut problem = Problem::error("wrong").in_file("a.cedar");
        assert_eq!(place(&problem).as_deref(), Some("a.cedar"));
        problem.line = Some(2);
        problem.column = Some(7);
        assert_eq!(place(&problem).as_deref(), Some("a.cedar:2:7"));
    }
}
