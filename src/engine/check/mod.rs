//! What is checked once every part of a bundle has been parsed: strict validation, and rules that Cedar does not know.

mod unsaid;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    thread,
};

use cedar_policy::{
    Effect, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;

use super::{
    bundle::PolicyMeta,
    clauses::can_be_cut,
    finding::problem_of,
    guard::on_big_stack,
    nearest::{nearest, suggest},
    policies::annotation_offset,
    problem::{Problem, Problems, Severity},
    reasons::Reasons,
    schema::action_names,
    source::TextFile,
    taxonomy::Taxonomy,
    taxonomy_file::MASK,
};
use crate::domain::Reason;
pub use unsaid::check_context;

/// How many steps from principal and resource a policy may look: as far as a slice reaches.
pub const LEVEL_MAX: u32 = 2;

/// What policies may name, beside the schema.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'b> {
    pub schema: &'b Schema,
    /// `""` or `"Ns::"`.
    pub namespace: &'b str,
    pub taxonomy: &'b Taxonomy,
    /// `None` without a `reasons.yaml`: then every code is known.
    pub reasons: Option<&'b Reasons>,
}

/// Validates every policy strictly, to the level that a slice reaches, warnings counting as errors: a forbid that can
/// never apply is a hole.
///
/// This is the expensive half of loading: a bundle that passed once need not pass again (see
/// [`super::validated::was_validated`]).
pub fn validate_policies(
    set: &PolicySet,
    metas: &BTreeMap<Arc<str>, PolicyMeta>,
    files: &[TextFile],
    known: Vocabulary<'_>,
) -> Vec<Problem> {
    let validator = Validator::new(known.schema.clone());
    let metas: Vec<&PolicyMeta> = metas.values().collect();
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(4);
    let share = metas.len().div_ceil(workers).max(1);
    let validate = |part: &[&PolicyMeta]| -> Vec<Problem> {
        part.iter().flat_map(|meta| validate_one(set, meta, files, &validator, known)).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = metas.chunks(share).map(|part| scope.spawn(|| on_big_stack(|| validate(part)))).collect();
        let ended = parts.into_iter().map(|part| part.join());
        ended
            .flat_map(|part| match part {
                Ok(Ok(problems)) => problems,
                Ok(Err(problems)) => problems.0,
                Err(_panic) => vec![Problem::error("the validator stopped while it worked on the bundle")],
            })
            .collect()
    })
}

/// One policy in a set of its own: a finding in one keeps the level of another from being checked otherwise.
fn validate_one(
    set: &PolicySet,
    meta: &PolicyMeta,
    files: &[TextFile],
    validator: &Validator,
    known: Vocabulary<'_>,
) -> Vec<Problem> {
    let (Some(policy), Some(file)) = (set.policy(&PolicyId::new(&*meta.id)), file_of(files, &meta.file)) else {
        return vec![Problem::error(format!("the policy `{}` is in no file", meta.id)).in_file(&meta.file)];
    };
    if policy.effect() == Effect::Permit
        && let Err(error) = can_be_cut(policy)
    {
        return vec![Problem::error(error.to_string()).in_file(&meta.file)];
    }
    let alone = match PolicySet::from_policies([policy.clone()]) {
        Ok(alone) => alone,
        Err(error) => return vec![Problem::error(error.to_string()).in_file(&meta.file)],
    };
    let result = validator.validate_with_level(&alone, ValidationMode::Strict, LEVEL_MAX);
    let errors = result.validation_errors().map(|error| match error {
        ValidationError::UnrecognizedActionId(unknown) => unknown_action(unknown, file, known),
        other => problem_of(other, file),
    });
    let warnings = result.validation_warnings().map(|warning| {
        let mut problem = problem_of(warning, file);
        if let ValidationWarning::ImpossiblePolicy(_) = warning {
            problem = at_policy(file, meta, "id", format!("the policy `{}` can never apply", meta.id));
            problem.hint = Some(
                "no action, principal and resource of the schema make its conditions true: check the scope and types"
                    .into(),
            );
        }
        problem
    });
    errors.chain(warnings).collect()
}

/// Cedar knows only the actions of the schema, which leaves out classes that no policy names.
fn unknown_action(finding: &dyn Diagnostic, file: &TextFile, known: Vocabulary<'_>) -> Problem {
    let problem = problem_of(finding, file);
    let literal = finding.labels().and_then(|mut labels| labels.next()).and_then(|label| {
        let end = label.offset().saturating_add(label.len());
        file.text.get(label.offset()..end)?.split('"').nth(1)
    });
    let names = action_names(known.taxonomy);
    match literal.and_then(|literal| nearest(literal, names.iter().map(String::as_str))) {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem,
    }
}

fn file_of<'f>(files: &'f [TextFile], path: &Path) -> Option<&'f TextFile> {
    files.iter().find(|file| file.path == path)
}

/// An error at one of a policy's annotations.
fn at_policy(file: &TextFile, meta: &PolicyMeta, annotation: &str, message: String) -> Problem {
    let start: usize = file.text.split_inclusive('\n').take(meta.line.saturating_sub(1)).map(str::len).sum();
    let text = file.text.get(start..).unwrap_or_default();
    file.error_at(start.saturating_add(annotation_offset(text, annotation)), message)
}

/// The rules about annotations that need the whole bundle. Cheap: always run.
pub fn lint_policies(
    metas: &BTreeMap<Arc<str>, PolicyMeta>,
    files: &[TextFile],
    known: Vocabulary<'_>,
) -> Vec<Problem> {
    let actions: BTreeSet<String> =
        known.schema.actions().map(|action| AsRef::<str>::as_ref(action.id()).to_owned()).collect();
    let reasons = known.reasons.map(known_reasons);
    let mut problems = Vec::new();
    for meta in metas.values() {
        let Some(file) = file_of(files, &meta.file) else { continue };
        if let Some(reasons) = &reasons {
            // A bundle that says how to explain explains each of its policies.
            if meta.text.is_none() {
                let hint = "write `@text(\"…\")`: one plain sentence for the people whom the answer reaches";
                problems.push(at_policy(file, meta, "id", "the policy has no `@text`".to_owned()).hint(hint));
            }
            let reason = meta.reason.iter().map(|code| ("reason", code));
            let otherwise = meta.otherwise.iter().flatten().map(|code| ("otherwise", code));
            for (annotation, code) in reason.chain(otherwise).filter(|(_, code)| !reasons.contains(code)) {
                let message = format!("the reason `{code}` is not in the `order` of reasons.yaml");
                let hint = suggest(code.as_str(), reasons.iter().map(Reason::as_str));
                problems.push(at_policy(file, meta, annotation, message).hint(hint));
            }
        }
        if let Some(requires) = &meta.requires
            && let Some((message, hint)) = unknown_requirement(requires, &actions, known.taxonomy)
        {
            problems.push(at_policy(file, meta, "requires", message).hint(hint));
        }
    }
    problems
}

fn known_reasons(reasons: &Reasons) -> BTreeSet<Reason> {
    let own = [
        Reason::POLICY_ERROR,
        Reason::DATA_UNAVAILABLE,
        Reason::DATA_STALE,
        Reason::UNKNOWN_PRINCIPAL,
        Reason::UNKNOWN_ACTION,
        Reason::UNKNOWN_RESOURCE,
    ];
    let written = reasons.order.iter().chain(reasons.refine.keys()).chain([&reasons.default]).cloned();
    written.chain(own).collect()
}

/// `@requires` names an action, or a verb that is asked for the same group.
fn unknown_requirement(requires: &str, actions: &BTreeSet<String>, taxonomy: &Taxonomy) -> Option<(String, String)> {
    if actions.contains(requires) {
        return None;
    }
    let verbs = || taxonomy.verbs.keys().map(|verb| &**verb).chain([MASK]);
    let unknown = match requires.split_once(':') {
        Some((verb, group)) if verbs().any(|known| known == verb) => {
            let groups = taxonomy.groups.keys().map(|group| &**group);
            (format!("`@requires` names `{group}`, which `{verb}` is never asked for"), suggest(group, groups))
        }
        _ => {
            let names = verbs().chain(taxonomy.actions.keys().map(|name| &**name));
            (format!("`@requires` names the unknown action `{requires}`"), suggest(requires, names.collect::<Vec<_>>()))
        }
    };
    Some(unknown)
}

/// Errors and warnings together, by file, line and column; each said once.
pub fn sorted(mut problems: Vec<Problem>) -> Problems {
    problems.sort_by(|left, right| {
        let place = |problem: &Problem| {
            (problem.file.clone(), problem.line, problem.column, std::cmp::Reverse(problem.severity))
        };
        place(left).cmp(&place(right)).then_with(|| left.message.cmp(&right.message))
    });
    problems.dedup();
    Problems(problems)
}

/// Errors apart from warnings.
///
/// # Errors
///
/// All problems, sorted, if one of them is an error.
pub fn warnings_or_errors(problems: Vec<Problem>) -> Result<Vec<Problem>, Problems> {
    let problems = sorted(problems);
    if problems.0.iter().any(|problem| problem.severity == Severity::Error) { Err(problems) } else { Ok(problems.0) }
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;
