//! Context keys that a policy reads and nobody may say: to the policy they are absent, whatever is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::PolicyId;
use serde_json::Value as Json;

use super::{at_policy, file_of};
use crate::engine::{
    bundle::PolicyMeta,
    plan::Bodies,
    problem::{Problem, Severity},
    source::TextFile,
};

/// What Chaperone says by itself, whoever asks.
const OWN: [&str; 3] = ["purpose", "group", "asked"];

/// Warns of each policy that reads what callers cannot say. `said`: the keys that they can, dotted.
pub fn check_context<'k>(
    metas: &BTreeMap<Arc<str>, PolicyMeta>,
    files: &[TextFile],
    bodies: &Bodies,
    said: impl Iterator<Item = &'k Arc<str>>,
) -> Vec<Problem> {
    let said: BTreeSet<&str> = said.map(|key| &**key).chain(OWN).collect();
    let mut problems = Vec::new();
    for meta in metas.values() {
        let Some(file) = file_of(files, &meta.file) else { continue };
        let mut read = BTreeSet::new();
        bodies.of_policy(&PolicyId::new(&*meta.id)).iter().for_each(|body| paths(body, &mut read));
        for key in unsaid(&read, &said) {
            let message = format!("the policy `{}` reads `context.{key}`, which nobody may say", meta.id);
            let hint = format!(
                "it is absent from every request: list `{key}` under `context: caller:` of the mapping (texts, whole \
                 numbers and flags can be listed), or do not read it"
            );
            let problem = at_policy(file, meta, "id", message).hint(hint);
            problems.push(Problem { severity: Severity::Warning, ..problem });
        }
    }
    problems
}

/// The longest of the paths that are not said.
fn unsaid<'r>(read: &'r BTreeSet<String>, said: &BTreeSet<&str>) -> Vec<&'r String> {
    // Whoever says a field says something of its record.
    let is_said = |path: &str| said.iter().any(|key| *key == path || is_within(key, path));
    let unsaid: Vec<&String> = read.iter().filter(|path| !is_said(path)).collect();
    let is_longest = |path: &&&String| !unsaid.iter().any(|longer| is_within(longer, path));
    unsaid.iter().filter(is_longest).copied().collect()
}

fn is_within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.starts_with('.'))
}

/// Every path of the context that a condition reads or asks for, in Cedar's JSON form.
fn paths(json: &Json, found: &mut BTreeSet<String>) {
    match json {
        Json::Object(fields) => {
            found.extend(path_of(json));
            fields.values().for_each(|value| paths(value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| paths(item, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn path_of(json: &Json) -> Option<String> {
    let access = json.get(".").or_else(|| json.get("has"))?;
    let last = match access.get("attr")? {
        Json::String(name) => name.clone(),
        // `a has b.c`.
        Json::Array(names) => names.iter().map(Json::as_str).collect::<Option<Vec<_>>>()?.join("."),
        _ => return None,
    };
    let left = access.get("left")?;
    if left.get("Var").and_then(Json::as_str) == Some("context") {
        return Some(last);
    }
    path_of(left).map(|path| format!("{path}.{last}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{check::tests::file, policies::parse_policies};

    fn warned(condition: &str, said: &[&str]) -> Vec<String> {
        let text = format!(
            "@id(\"a\")\n@text(\"t\")\n@reason(\"role\")\nforbid(principal, action, resource)\nwhen {{ {condition} }};"
        );
        let files = [file("a.cedar", &text)];
        let (set, metas, _) = parse_policies(&files);
        let said: Vec<Arc<str>> = said.iter().map(|key| Arc::from(*key)).collect();
        let problems = check_context(&metas, &files, &Bodies::of(&set).unwrap(), said.iter());
        assert!(problems.iter().all(|problem| problem.severity == Severity::Warning && problem.line == Some(1)));
        problems.into_iter().map(|problem| problem.message.split('`').nth(3).unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_that_no_caller_may_say_is_told_where_it_is_read() {
        let condition = "context has session && context.session has mfa && !context.session.mfa";
        assert_eq!(warned(condition, &["session.age"]), ["context.session.mfa"]);
        assert_eq!(warned(condition, &["session.mfa"]), [""; 0]);
        assert_eq!(warned(condition, &["sessions"]), ["context.session.mfa"]);
        assert_eq!(warned("context has device.owned && context.device.owned", &[]), ["context.device.owned"]);
    }

    #[test]
    fn what_chaperone_says_and_what_is_not_the_context_is_left_alone() {
        assert_eq!(warned("context.purpose == \"TREAT\" && context.group == context.asked", &[]), [""; 0]);
        assert_eq!(warned("principal.tenant == resource.tenant && resource has mfa", &[]), [""; 0]);
    }
}
