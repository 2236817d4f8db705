//! Cedar's own findings, told as problems of a file.

use miette::Diagnostic;

use super::{problem::Problem, source::TextFile};

/// One finding and those related to it. Its labels must index into `file`.
pub(super) fn problems_of(finding: &dyn Diagnostic, file: &TextFile) -> Vec<Problem> {
    let mut problems = vec![problem_of(finding, file)];
    problems.extend(finding.related().into_iter().flatten().map(|other| problem_of(other, file)));
    problems
}

/// One finding, at its first label.
pub(super) fn problem_of(finding: &dyn Diagnostic, file: &TextFile) -> Problem {
    let label = finding.labels().and_then(|mut labels| labels.next());
    let message = finding.to_string();
    let mut problem = match &label {
        Some(label) => file.error_at(label.offset(), message),
        None => Problem::error(message).in_file(&file.path),
    };
    let label = label.as_ref().and_then(|label| label.label()).map(str::to_owned);
    problem.hint = finding.help().map(|help| help.to_string()).or(label);
    problem
}
