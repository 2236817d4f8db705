//! Policy files: each parsed by itself, every policy named by its `@id`, and its annotations understood.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::PathBuf,
    sync::Arc,
};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet};

use super::{
    bundle::PolicyMeta,
    finding::problem_of,
    guard::{Piece, Pieces},
    nearest::suggest,
    problem::Problem,
    source::TextFile,
};
use crate::domain::{PolicyEffect, Reason, Tier};

/// What a policy may say of itself.
pub const ANNOTATIONS: [&str; 8] =
    ["id", "text", "reason", "otherwise", "obligation", "requires", "durability", "priority"];

const TEXT_CHARS_MAX: usize = 200;
const ID_CHARS_MAX: usize = 128;

/// Parses every file and reports everything that is wrong with it.
///
/// The set holds every policy that parsed, so that the checks which follow can speak of those too; with an error among
/// the problems it must not go live. Call [`super::guard::guard_policies`] first, and this on a big stack.
pub fn parse_policies(files: &[TextFile]) -> (PolicySet, BTreeMap<Arc<str>, PolicyMeta>, Vec<Problem>) {
    let mut reader = Reader { set: PolicySet::new(), metas: BTreeMap::new(), problems: Vec::new() };
    for file in files {
        reader.file(file);
    }
    (reader.set, reader.metas, reader.problems)
}

/// The same policy, but for what Cedar keeps of its text.
///
/// Every copy of a policy carries a copy of its text, and taking such a policy apart parses that again. Without it a
/// policy is small and taken apart quickly; its `when` and `unless` clauses are then one condition.
pub(super) fn without_text(policy: &Policy) -> Policy {
    Policy::from(policy.as_ref().clone())
}

/// What a policy says of itself under `key`. Cedar's own function parses the key at every call.
pub(super) fn annotation<'p>(policy: &'p Policy, key: &str) -> Option<&'p str> {
    policy.annotations().find(|(known, _)| *known == key).map(|(_, value)| value)
}

struct Reader {
    set: PolicySet,
    metas: BTreeMap<Arc<str>, PolicyMeta>,
    problems: Vec<Problem>,
}

impl Reader {
    fn file(&mut self, file: &TextFile) {
        let parsed = match file.text.parse::<PolicySet>() {
            Ok(parsed) => parsed,
            Err(errors) => {
                self.problems.extend(errors.iter().map(|error| problem_of(error, file)));
                return;
            }
        };
        for template in parsed.templates() {
            let start = template.as_ref().loc().map_or(0, |span| span.start());
            let problem = file.error_at(start, "a template (`?principal`, `?resource`) is not used by anything");
            self.problems.push(problem.hint("write a policy over facts: sets, tags and groups of entities"));
        }
        let mut policies: Vec<(usize, usize, &Policy)> = parsed
            .policies()
            .map(|policy| policy.as_ref().loc().map_or((0, 0, policy), |span| (span.start(), span.end(), policy)))
            .collect();
        policies.sort_by_key(|(start, _, _)| *start);
        for (start, end, policy) in policies {
            self.policy(&Place { file, start, text: file.text.get(start..end).unwrap_or_default() }, policy);
        }
    }

    fn policy(&mut self, place: &Place<'_>, policy: &Policy) {
        let id = self.id(place, policy);
        match self.metas.entry(Arc::clone(&id)) {
            Entry::Occupied(first) => {
                let first = first.get();
                let message = format!("a second policy with the id `{id}`");
                let hint = format!("the first one is at {}:{}", first.file.display(), first.line);
                self.problems.push(place.error("id", message).hint(hint));
            }
            Entry::Vacant(vacant) => {
                // INVARIANT(one-meta-a-policy): the set and the metas hold the same ids.
                if let Err(error) = self.set.add(policy.new_id(PolicyId::new(&*id))) {
                    self.problems.push(place.error("id", error.to_string()));
                    return;
                }
                vacant.insert(meta(place, policy, id, &mut self.problems));
            }
        }
    }

    /// The id it gave itself, or, so that the other checks can go on, one made from its place.
    fn id(&mut self, place: &Place<'_>, policy: &Policy) -> Arc<str> {
        let by_place = || Arc::from(format!("{}:{}", place.file.name, place.line()));
        let Some(id) = annotation(policy, "id") else {
            let hint = "write `@id(\"who-does-what\")` before it: answers and records name policies by their ids";
            self.problems.push(place.error("id", "the policy has no `@id`").hint(hint));
            return by_place();
        };
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
        if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(is_plain) {
            let message = format!("`{}` is not an id", id.escape_default());
            let hint =
                format!("up to {ID_CHARS_MAX} letters, digits and `-_.:/`, for example `therapist-reads-assigned`");
            self.problems.push(place.error("id", message).hint(hint));
            return by_place();
        }
        Arc::from(id)
    }
}

/// Where one policy stands.
struct Place<'f> {
    file: &'f TextFile,
    start: usize,
    text: &'f str,
}

impl Place<'_> {
    fn line(&self) -> usize {
        self.file.line_of(self.start)
    }

    /// An error at one of the policy's annotations; at its beginning if it has no such.
    fn error(&self, annotation: &str, message: impl Into<String>) -> Problem {
        self.file.error_at(self.start.saturating_add(annotation_offset(self.text, annotation)), message)
    }
}

/// The byte of `@name` within a policy's text.
pub(super) fn annotation_offset(text: &str, name: &str) -> usize {
    let is_whole = |at: &usize| {
        let after = text.get(at.saturating_add(name.len()).saturating_add(1)..).unwrap_or_default();
        !after.starts_with(|next: char| next == '_' || next.is_ascii_alphanumeric())
    };
    text.match_indices(&format!("@{name}")).map(|(at, _)| at).find(is_whole).unwrap_or(0)
}

fn meta(place: &Place<'_>, policy: &Policy, id: Arc<str>, problems: &mut Vec<Problem>) -> PolicyMeta {
    let mut notes = Notes { place, policy, effect: effect(policy), problems };
    notes.unknown();
    let (text, reason, otherwise) = (notes.text(), notes.reason(), notes.otherwise());
    let (requires, durability, priority) = (notes.requires(), notes.durability(), notes.priority());
    let obligations = annotation(policy, "obligation").unwrap_or_default().split_whitespace().map(Arc::from).collect();
    let (file, line): (PathBuf, usize) = (place.file.path.clone(), place.line());
    let effect = notes.effect;
    PolicyMeta { id, effect, text, reason, otherwise, obligations, requires, durability, priority, file, line }
}

fn effect(policy: &Policy) -> PolicyEffect {
    match policy.effect() {
        Effect::Permit => PolicyEffect::Permit,
        Effect::Forbid => PolicyEffect::Forbid,
    }
}

/// The annotations of one policy.
struct Notes<'a> {
    place: &'a Place<'a>,
    policy: &'a Policy,
    effect: PolicyEffect,
    problems: &'a mut Vec<Problem>,
}

impl Notes<'_> {
    fn complain(&mut self, annotation: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(self.place.error(annotation, message).hint(hint));
    }

    fn unknown(&mut self) {
        let mut unknown: Vec<_> =
            self.policy.annotations().map(|(key, _)| key).filter(|key| !ANNOTATIONS.contains(key)).collect();
        unknown.sort_unstable();
        for key in unknown {
            self.complain(key, format!("unknown annotation `@{key}`"), suggest(key, ANNOTATIONS));
        }
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let text = annotation(self.policy, "text")?;
        let chars = text.chars().count();
        if text.trim().is_empty() || chars > TEXT_CHARS_MAX || text.contains(char::is_control) {
            let hint = format!("one sentence of 1 to {TEXT_CHARS_MAX} characters on one line");
            self.complain("text", format!("`@text` has {chars} characters, is blank, or spans lines"), hint);
        }
        Some(Arc::from(text))
    }

    fn reason(&mut self) -> Option<Reason> {
        match (self.effect, annotation(self.policy, "reason")) {
            (PolicyEffect::Forbid, Some(code)) => self.code("reason", code),
            (PolicyEffect::Forbid, None) => {
                let hint = "write `@reason(\"code\")`: a deny by this policy is answered with it";
                self.complain("id", "the forbid has no `@reason`", hint);
                None
            }
            (PolicyEffect::Permit, Some(_)) => {
                self.complain(
                    "reason",
                    "a permit has no `@reason`",
                    "say `@otherwise` for the reason when it does not hold",
                );
                None
            }
            (PolicyEffect::Permit, None) => None,
        }
    }

    fn otherwise(&mut self) -> Vec<Option<Reason>> {
        let Some(codes) = annotation(self.policy, "otherwise") else { return Vec::new() };
        if self.effect == PolicyEffect::Forbid {
            self.complain("otherwise", "a forbid has no `@otherwise`", "say `@reason` for the reason when it holds");
            return Vec::new();
        }
        let otherwise: Vec<Option<Reason>> = codes
            .split_whitespace()
            .map(|code| if code == "-" { None } else { self.code("otherwise", code) })
            .collect();
        let clauses = if otherwise.len() == 1 { 1 } else { clause_count(self.place.text) };
        if otherwise.len() != clauses {
            let message =
                format!("`@otherwise` names {} codes for {clauses} `when` and `unless` clauses", otherwise.len());
            self.complain(
                "otherwise",
                message,
                "give one code for all clauses, or one for each in order, `-` for none",
            );
        }
        otherwise
    }

    fn code(&mut self, annotation: &str, code: &str) -> Option<Reason> {
        let is_snake = |letter: char| letter == '_' || letter.is_ascii_lowercase() || letter.is_ascii_digit();
        if code.is_empty() || code.len() > 64 || !code.chars().all(is_snake) {
            let message = format!("`{}` is not a reason code", code.escape_default());
            self.complain(annotation, message, "a reason code has small letters, digits and `_`: `no_assignment`");
            return None;
        }
        Some(Reason::from(code))
    }

    fn requires(&mut self) -> Option<Arc<str>> {
        let requires = annotation(self.policy, "requires")?;
        if self.effect == PolicyEffect::Forbid {
            let hint = "only a permit can ask that another question be allowed too";
            self.complain("requires", "a forbid has no `@requires`", hint);
            return None;
        }
        Some(Arc::from(requires))
    }

    fn durability(&mut self) -> Option<Tier> {
        let tier = annotation(self.policy, "durability")?;
        let known = [Tier::Process, Tier::Disk];
        let found = known.into_iter().find(|known| known.as_str() == tier);
        if found.is_none() {
            let message = format!("unknown durability `{}`", tier.escape_default());
            self.complain("durability", message, suggest(tier, known.map(Tier::as_str)));
        }
        found
    }

    fn priority(&mut self) -> i64 {
        let Some(priority) = annotation(self.policy, "priority") else { return 0 };
        priority.parse().unwrap_or_else(|_not_a_number| {
            let message = format!("`{}` is not a priority", priority.escape_default());
            self.complain("priority", message, "a whole number; the smaller one is named first");
            0
        })
    }
}

/// How many `when` and `unless` clauses the author wrote; the parser joins them into one expression.
fn clause_count(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut count = 0_usize;
    for (_, piece) in Pieces::new(text) {
        match piece {
            Piece::Open(_) => depth = depth.saturating_add(1),
            Piece::Close(_) => depth = depth.saturating_sub(1),
            Piece::Word("when" | "unless") if depth == 0 => count = count.saturating_add(1),
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests;
