//! One case file, as written: docs/reference/cases.md describes it, schemas/cases.schema.json checks it in an editor.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use serde_saphyr::Spanned;

use crate::engine::{
    nearest::suggest,
    problem::{Problem, Problems},
    source::{FILE_BYTES_MAX, TextFile},
    yaml,
};

/// The top of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct CaseFile {
    #[serde(default)]
    pub(in crate::cli) world: World,
    /// The instant at which every case of the file is judged.
    pub(in crate::cli) now: Timestamp,
    /// Name -> `Type/id`, or that with a context of its own.
    #[serde(default)]
    pub(in crate::cli) principals: BTreeMap<String, Principal>,
    /// Name -> `Type/id`.
    #[serde(default)]
    pub(in crate::cli) resources: BTreeMap<String, String>,
    /// Laid over the default session, for every check of the file.
    #[serde(default)]
    pub(in crate::cli) context: Map<String, Json>,
    pub(in crate::cli) cases: Vec<Case>,
}

/// The rows behind the cases.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum World {
    /// The clinic of `chaperone demo`.
    #[default]
    Demo,
    /// SQL scripts beside the file, run in SQLite in this order.
    Scripts {
        #[serde(default)]
        app: Vec<PathBuf>,
        #[serde(default)]
        store: Vec<PathBuf>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::cli) enum Principal {
    Named(String),
    With {
        is: String,
        #[serde(default)]
        context: Map<String, Json>,
    },
}

/// Checks that share a name, an instant and changed rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Case {
    pub(in crate::cli) name: Spanned<String>,
    #[serde(default)]
    pub(in crate::cli) now: Option<Timestamp>,
    #[serde(default)]
    pub(in crate::cli) setup: Setup,
    #[serde(default)]
    pub(in crate::cli) context: Map<String, Json>,
    pub(in crate::cli) checks: Vec<Check>,
}

/// SQL run before the checks, on databases of the case's own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Setup {
    #[serde(default)]
    pub(in crate::cli) app: String,
    #[serde(default)]
    pub(in crate::cli) store: String,
}

/// One question, or several that must be answered alike, and the answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct Check {
    pub(in crate::cli) who: OneOrMany,
    pub(in crate::cli) action: OneOrMany,
    pub(in crate::cli) on: OneOrMany,
    #[serde(default)]
    pub(in crate::cli) fields: Option<Vec<String>>,
    #[serde(default)]
    pub(in crate::cli) mode: Option<crate::domain::Mode>,
    #[serde(default)]
    pub(in crate::cli) context: Map<String, Json>,
    pub(in crate::cli) expect: crate::domain::Decision,
    #[serde(default)]
    pub(in crate::cli) reason: Option<String>,
    /// Each list below is the whole of what the answer must hold, in any order; left out, it is not compared.
    #[serde(default)]
    pub(in crate::cli) allow: Option<BTreeSet<String>>,
    #[serde(default)]
    pub(in crate::cli) mask: Option<BTreeSet<String>>,
    #[serde(default)]
    pub(in crate::cli) deny: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(in crate::cli) obligations: Option<BTreeSet<String>>,
    /// `kind` or `kind/id`.
    #[serde(default)]
    pub(in crate::cli) evidence: Option<BTreeSet<String>>,
    #[serde(default)]
    pub(in crate::cli) remedies: Option<BTreeSet<String>>,
    /// Policies that must be among the determining ones.
    #[serde(default)]
    pub(in crate::cli) policies: BTreeSet<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(in crate::cli) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(in crate::cli) fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// A principal or a resource, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Entity {
    pub(in crate::cli) kind: String,
    pub(in crate::cli) id: String,
    pub(in crate::cli) context: Map<String, Json>,
}

impl Case {
    pub(in crate::cli) fn line(&self) -> usize {
        usize::try_from(self.name.referenced.line()).unwrap_or(0)
    }
}

impl CaseFile {
    /// Reads a file and resolves every name in it.
    ///
    /// # Errors
    ///
    /// What does not fit, with its place.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, Problems> {
        let refuse = |message: String| Problems(vec![Problem::error(message).in_file(path)]);
        let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        if text.len() > FILE_BYTES_MAX {
            return Err(refuse(format!("the file has more than {FILE_BYTES_MAX} bytes")));
        }
        let file = TextFile { path: path.to_path_buf(), name: path.display().to_string(), text: Arc::from(text) };
        let parsed: Self = yaml::parse(&file)?;
        parsed.resolve(&file)?;
        Ok(parsed)
    }

    fn resolve(&self, file: &TextFile) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for case in &self.cases {
            let mut complain = |message: String, hint: Option<String>| {
                let mut problem = file.error_on(case.line(), None, message);
                problem.hint = hint;
                problems.push(problem);
            };
            if case.checks.is_empty() {
                complain(
                    format!("case `{}` checks nothing", case.name.value),
                    Some("a case has at least one check".into()),
                );
            }
            for check in &case.checks {
                if [&check.who, &check.action, &check.on].into_iter().any(|list| list.words().is_empty()) {
                    let hint = "`who`, `action` and `on` each name at least one".to_owned();
                    complain("a check with an empty list asks nothing".into(), Some(hint));
                }
                for word in check.who.words().iter().filter(|word| self.principal(word).is_none()) {
                    let hint = suggest(word, self.principals.keys().map(String::as_str));
                    complain(format!("principal `{word}` is neither named above nor written `Type/id`"), Some(hint));
                }
                for word in check.on.words().iter().filter(|word| self.resource(word).is_none()) {
                    let hint = suggest(word, self.resources.keys().map(String::as_str));
                    complain(format!("resource `{word}` is neither named above nor written `Type/id`"), Some(hint));
                }
                if check.expect.is_allow() && check.reason.is_some() {
                    complain("an allow has no reason".into(), Some("leave `reason` out, or expect a deny".into()));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    pub(in crate::cli) fn principal(&self, word: &str) -> Option<Entity> {
        match self.principals.get(word) {
            Some(Principal::Named(reference)) => entity(reference, &Map::new()),
            Some(Principal::With { is, context }) => entity(is, context),
            None => entity(word, &Map::new()),
        }
    }

    pub(in crate::cli) fn resource(&self, word: &str) -> Option<Entity> {
        entity(self.resources.get(word).map_or(word, String::as_str), &Map::new())
    }
}

fn entity(reference: &str, context: &Map<String, Json>) -> Option<Entity> {
    let (kind, id) = reference.split_once('/')?;
    let is_whole = !kind.is_empty() && !id.is_empty();
    is_whole.then(|| Entity { kind: kind.to_owned(), id: id.to_owned(), context: context.clone() })
}

/// Lays `over` on `base`: objects merge key by key, null takes a key away.
pub(in crate::cli) fn overlay(base: &mut Map<String, Json>, over: &Map<String, Json>) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Json::Null) => drop(base.remove(key)),
            (Some(Json::Object(below)), Json::Object(above)) => overlay(below, above),
            _ => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<CaseFile, Problems> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
        CaseFile::read(&path)
    }

    const HEAD: &str =
        "now: 2026-03-10T15:00:00Z\nprincipals: { ana: User/ana, eng: { is: User/eng, context: { ip: x } } }\n";

    #[test]
    fn names_are_resolved_and_references_stand_for_themselves() {
        let file = read(&format!(
            "{HEAD}cases:\n- name: one\n  checks:\n  - {{ who: [ana, eng], action: read, on: Note/N1, expect: allow }}\n"
        ))
        .unwrap();
        assert_eq!(file.cases[0].line(), 4);
        assert_eq!(file.principal("eng").unwrap().context["ip"], "x");
        assert_eq!(file.resource("Note/N1").unwrap().id, "N1");
    }

    #[test]
    fn a_name_that_nobody_gave_is_told_with_its_neighbour() {
        let text =
            format!("{HEAD}cases:\n- name: one\n  checks:\n  - {{ who: anna, action: read, on: N1, expect: allow }}\n");
        let problems = read(&text).unwrap_err().to_string();
        assert!(problems.contains("did you mean `ana`?") && problems.contains("resource `N1`"), "{problems}");
    }

    #[test]
    fn a_check_that_would_ask_nothing_is_refused() {
        let text =
            format!("{HEAD}cases:\n- name: one\n  checks:\n  - {{ who: ana, action: read, on: [], expect: deny }}\n");
        assert!(read(&text).unwrap_err().to_string().contains("asks nothing"));
    }

    #[test]
    fn an_unknown_key_and_a_reason_of_an_allow_are_refused() {
        assert!(read("now: 2026-03-10T15:00:00Z\ncase: []\n").is_err());
        let text = format!(
            "{HEAD}cases:\n- name: one\n  checks:\n  - {{ who: ana, action: read, on: Note/N1, expect: allow, reason: role }}\n"
        );
        assert!(read(&text).unwrap_err().to_string().contains("an allow has no reason"));
    }

    #[test]
    fn a_context_is_laid_over_key_by_key_and_null_takes_away() {
        let mut base = serde_json::json!({ "session": { "mfa": true, "idle_seconds": 1 }, "ip": "a" });
        let over = serde_json::json!({ "session": { "mfa": null, "tenant": "T1" }, "ip": "b" });
        overlay(base.as_object_mut().unwrap(), over.as_object().unwrap());
        assert_eq!(base, serde_json::json!({ "session": { "idle_seconds": 1, "tenant": "T1" }, "ip": "b" }));
    }
}
