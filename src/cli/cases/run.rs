//! Asks every check of every file and compares.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::{
    expected::{Difference, differences},
    file::{self, Case, CaseFile, Check, Entity, overlay},
    pattern::Pattern,
    world::World,
};
use crate::{
    cli::{failure::Failure, simulate},
    clock::{Clock, SystemClock},
    domain::{Api, EntityRef, PolicyEffect, PolicyRef, Request, request::Caller},
    engine::Bundle,
    entities::Facts,
};

/// What came of all cases.
#[derive(Debug, Default)]
pub(in crate::cli) struct Ran {
    pub(in crate::cli) cases: Vec<RanCase>,
    /// Policies that were satisfied somewhere.
    pub(in crate::cli) matched: BTreeSet<Arc<str>>,
    pub(in crate::cli) took: Duration,
}

#[derive(Debug)]
pub(in crate::cli) struct RanCase {
    pub(in crate::cli) file: PathBuf,
    pub(in crate::cli) line: usize,
    pub(in crate::cli) name: String,
    pub(in crate::cli) checks: usize,
    pub(in crate::cli) failures: Vec<FailedCheck>,
    pub(in crate::cli) took: Duration,
}

/// A check whose answer was another one.
#[derive(Debug)]
pub(in crate::cli) struct FailedCheck {
    /// `rbt · read · Note/N1 · clin.note`.
    pub(in crate::cli) question: String,
    pub(in crate::cli) differences: Vec<Difference>,
    /// The determining policies, or the ones that came nearest.
    pub(in crate::cli) policies: Vec<Told>,
    /// Why the facts could not be read.
    pub(in crate::cli) unread: Option<String>,
}

/// A policy with the place where it stands.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Told {
    pub(in crate::cli) policy: PolicyRef,
    pub(in crate::cli) place: String,
}

impl Told {
    pub(in crate::cli) fn of(bundle: &Bundle, policies: &[PolicyRef]) -> Vec<Self> {
        policies
            .iter()
            .map(|policy| {
                let meta = bundle.policies.get(&policy.id);
                let place = meta.map_or_else(String::new, |meta| format!("{}:{}", meta.file.display(), meta.line));
                Self { policy: policy.clone(), place }
            })
            .collect()
    }

    /// What the policy did.
    pub(in crate::cli) fn role(&self) -> &'static str {
        match (self.policy.effect, &self.policy.otherwise) {
            (PolicyEffect::Forbid, _) => "denied by",
            (PolicyEffect::Permit, None) => "allowed by",
            (PolicyEffect::Permit, Some(_)) => "nearest",
        }
    }
}

impl Ran {
    pub(in crate::cli) fn failed(&self) -> usize {
        self.cases.iter().map(|case| case.failures.len()).sum()
    }

    pub(in crate::cli) fn checks(&self) -> usize {
        self.cases.iter().map(|case| case.checks).sum()
    }
}

/// Runs the cases of `files` that `only` matches.
pub(in crate::cli) async fn run(
    bundle: &Bundle,
    files: &[(PathBuf, CaseFile)],
    only: Option<&Pattern>,
) -> Result<Ran, Failure> {
    let started = SystemClock.elapsed();
    let mut ran = Ran::default();
    let mut demo: Option<World> = None;
    for (path, file) in files {
        let name = short(path);
        let wanted: Vec<&Case> = file
            .cases
            .iter()
            .filter(|case| only.is_none_or(|only| only.matches(&format!("{name} {}", case.name.value))))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let own;
        let world = match (&file.world, &demo) {
            (file::World::Demo, Some(world)) => world,
            (file::World::Demo, None) => &*demo.insert(World::demo().await?),
            (file::World::Scripts { app, store }, _) => {
                own = World::of_scripts(path, app, store).await?;
                &own
            }
        };
        let mut runner = Runner { bundle, file, path, untouched: world.facts()?, world, matched: &mut ran.matched };
        for case in wanted {
            ran.cases.push(runner.case(case).await?);
        }
    }
    ran.took = SystemClock.elapsed().saturating_sub(started);
    Ok(ran)
}

/// The file's name, as reports show it.
pub(in crate::cli) fn short(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

struct Runner<'a> {
    bundle: &'a Bundle,
    file: &'a CaseFile,
    path: &'a Path,
    world: &'a World,
    /// Facts that no case has changed.
    untouched: Facts,
    matched: &'a mut BTreeSet<Arc<str>>,
}

impl Runner<'_> {
    async fn case(&mut self, case: &Case) -> Result<RanCase, Failure> {
        let started = SystemClock.elapsed();
        let is_untouched = case.setup.app.trim().is_empty() && case.setup.store.trim().is_empty();
        let own = if is_untouched {
            None
        } else {
            let place = format!("{}:{}", self.path.display(), case.line());
            Some(self.world.facts_after(&case.setup).await.map_err(|failure| failure.at(place))?)
        };
        let now = case.now.unwrap_or(self.file.now);
        let mut outcome = RanCase {
            file: self.path.to_path_buf(),
            line: case.line(),
            name: case.name.value.clone(),
            checks: 0,
            failures: Vec::new(),
            took: Duration::ZERO,
        };
        for check in &case.checks {
            for (who, action, on) in questions(check) {
                // Names were resolved when the file was read.
                let (Some(principal), Some(resource)) = (self.file.principal(who), self.file.resource(on)) else {
                    continue;
                };
                let request = self.request(case, check, principal, action, resource);
                let asked = format!("{who} · {action} · {on}{}", fields_words(check));
                let facts = own.as_ref().unwrap_or(&self.untouched);
                let failure = ask(self.bundle, facts, self.matched, check, &request, now).await;
                outcome.failures.extend(failure.map(|failure| FailedCheck { question: asked, ..failure }));
                outcome.checks += 1;
            }
        }
        outcome.took = SystemClock.elapsed().saturating_sub(started);
        Ok(outcome)
    }

    fn request(&self, case: &Case, check: &Check, principal: Entity, action: &str, resource: Entity) -> Request {
        let mut context = default_context();
        for over in [&self.file.context, &principal.context, &case.context, &check.context] {
            overlay(&mut context, over);
        }
        Request {
            subject: EntityRef { kind: principal.kind, id: principal.id },
            subject_properties: Map::new(),
            action: action.to_owned(),
            fields: check.fields.clone(),
            mode: check.mode,
            action_properties: Map::new(),
            resource: EntityRef { kind: resource.kind, id: resource.id },
            resource_properties: Map::new(),
            context,
            caller: Arc::new(Caller::default()),
            request_id: String::new(),
            trace_id: None,
            decision_id: String::new(),
            api: Api::Cli,
        }
    }
}

/// An ordinary session: a second factor, just active, opened a quarter of an hour ago.
fn default_context() -> Map<String, Json> {
    let session = json!({ "mfa": true, "idle_seconds": 12, "age_seconds": 900 });
    Map::from_iter([("session".to_owned(), session)])
}

/// Every combination that a check stands for.
fn questions(check: &Check) -> Vec<(&str, &str, &str)> {
    let mut questions = Vec::new();
    for who in check.who.words() {
        for action in check.action.words() {
            questions.extend(check.on.words().iter().map(|on| (who.as_str(), action.as_str(), on.as_str())));
        }
    }
    questions
}

fn fields_words(check: &Check) -> String {
    check.fields.as_ref().map(|fields| format!(" · {}", fields.join(" "))).unwrap_or_default()
}

async fn ask(
    bundle: &Bundle,
    facts: &Facts,
    matched: &mut BTreeSet<Arc<str>>,
    check: &Check,
    request: &Request,
    now: Timestamp,
) -> Option<FailedCheck> {
    let simulated = simulate::ask(bundle, facts, request, now).await;
    if let Some((question, slice)) = &simulated.facts {
        matched.extend(bundle.matched(question, slice, now));
    }
    let differences = differences(check, &simulated.evaluation);
    (!differences.is_empty()).then(|| FailedCheck {
        question: String::new(),
        differences,
        policies: Told::of(bundle, &simulated.evaluation.policies),
        unread: simulated.unread.map(|error| error.to_string()),
    })
}
