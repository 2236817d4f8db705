//! Which rows made a permit true: the membership tests of its conditions, asked again of the rows behind the sets.
//!
//! A test that is negated, or stands in an `unless`, is witnessed by nothing: it holds because a row is *not* there.
//! Inside an `||` only what is true counts. What this reader does not understand it passes over: evidence then names
//! fewer rows, and never a row that does not belong.

mod read;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use cedar_policy::{Effect, EntityUid, Policy, PolicyId, PolicySet};

use crate::domain::{
    Evidence, Value,
    projection::{Contribution, Projected, View},
};

/// How many steps up a hierarchy of parents are followed.
const ANCESTRY_MAX: usize = 16;

/// The permits of a bundle with the tests of those that were asked about.
#[derive(Debug, Default)]
pub struct Probes(BTreeMap<PolicyId, Permit>);

#[derive(Debug)]
struct Permit {
    /// With its text: what stands in an `unless` witnesses nothing, and the text alone tells it apart.
    policy: Policy,
    test: OnceLock<Test>,
}

/// The question that evidence is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub principal: &'a EntityUid,
    pub resource: &'a EntityUid,
    /// Dotted context keys.
    pub context: &'a BTreeMap<Arc<str>, Value>,
}

/// A condition, as far as rows can witness it.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// `set.contains(member)`
    Contains(Path, Member),
    /// `left.containsAny(right)`
    ContainsAny(Side, Side),
    /// `left.containsAll(right)`
    ContainsAll(Side, Side),
    /// `left in right`
    In(Path, Side),
    /// A truth value by itself.
    Flag(Path),
    Has(Path),
    Equal(Member, Member),
    Known(bool),
    Opaque,
}

/// A root and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    root: Root,
    attributes: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Principal,
    Resource,
    Context,
}

#[derive(Clone, Debug, PartialEq)]
enum Member {
    Path(Path),
    Literal(Value),
    Record(BTreeMap<Arc<str>, Self>),
}

/// A set, or on the right of `in` an entity too.
#[derive(Clone, Debug, PartialEq)]
enum Side {
    Path(Path),
    List(Vec<Member>),
}

impl Probes {
    /// Keeps the permits of `policies`, which must have their texts.
    pub fn of(policies: &PolicySet) -> Self {
        let permits = policies.policies().filter(|policy| policy.effect() == Effect::Permit);
        let permits = permits
            .map(|policy| (policy.id().clone(), Permit { policy: policy.clone(), test: OnceLock::new() }))
            .collect();
        Self(permits)
    }

    /// The rows that made these satisfied permits true, each once, sorted.
    pub fn witnesses<'p>(
        &self,
        permits: impl IntoIterator<Item = &'p PolicyId>,
        view: &View<'_>,
        projected: &Projected,
        question: Question<'_>,
    ) -> Vec<Evidence> {
        let mut search = Search { view, projected, question, found: BTreeSet::new() };
        for permit in permits.into_iter().filter_map(|id| self.0.get(id)) {
            search.collect(permit.test());
        }
        search.found.into_iter().collect()
    }
}

impl Permit {
    /// Read when the permit first allows something.
    fn test(&self) -> &Test {
        self.test.get_or_init(|| match self.policy.to_json() {
            Ok(json) => read::test(&self.policy, &json),
            Err(error) => {
                // A bundle goes live only with permits that can be taken apart: see `clauses::can_be_cut`.
                tracing::error!(error = &error as &dyn std::error::Error, "a permit's evidence cannot be told");
                Test::Opaque
            }
        })
    }
}

struct Search<'a> {
    view: &'a View<'a>,
    projected: &'a Projected,
    question: Question<'a>,
    found: BTreeSet<Evidence>,
}

impl Search<'_> {
    /// Adds the rows behind what is true in a test.
    fn collect(&mut self, test: &Test) {
        match (test, self.truth(test)) {
            (_, Some(false)) => {}
            // Part of it may be unknown to this reader, and part of it true.
            (Test::All(tests) | Test::Any(tests), _) => tests.iter().for_each(|test| self.collect(test)),
            (_, None) => {}
            (Test::Contains(set, member), Some(true)) => {
                if let Some(member) = self.value(member) {
                    self.add_members(set, &member);
                }
            }
            (Test::ContainsAny(left, right) | Test::ContainsAll(left, right), Some(true)) => {
                let (ours, theirs) = (self.values(left).unwrap_or_default(), self.values(right).unwrap_or_default());
                for member in ours.iter().filter(|member| theirs.contains(member)) {
                    for side in [left, right] {
                        if let Side::Path(path) = side {
                            self.add_members(path, member);
                        }
                    }
                }
            }
            (Test::In(left, right), Some(true)) => self.add_ancestry(left, right),
            (Test::Flag(path), Some(true)) => self.add_members(path, &Value::Bool(true)),
            (Test::Not(_) | Test::Has(_) | Test::Equal(_, _) | Test::Known(_) | Test::Opaque, Some(true)) => {}
        }
    }

    /// `None`: not known.
    fn truth(&self, test: &Test) -> Option<bool> {
        match test {
            Test::All(tests) => {
                let truths: Vec<_> = tests.iter().map(|test| self.truth(test)).collect();
                if truths.contains(&Some(false)) {
                    return Some(false);
                }
                (!truths.contains(&None)).then_some(true)
            }
            Test::Any(tests) => {
                let truths: Vec<_> = tests.iter().map(|test| self.truth(test)).collect();
                if truths.contains(&Some(true)) {
                    return Some(true);
                }
                (!truths.contains(&None)).then_some(false)
            }
            Test::Not(test) => self.truth(test).map(|truth| !truth),
            Test::Contains(set, member) => {
                let members = self.values(&Side::Path(set.clone()))?;
                Some(members.contains(&self.value(member)?))
            }
            Test::ContainsAny(left, right) => {
                let (left, right) = (self.values(left)?, self.values(right)?);
                Some(left.iter().any(|member| right.contains(member)))
            }
            Test::ContainsAll(left, right) => {
                let (left, right) = (self.values(left)?, self.values(right)?);
                Some(right.iter().all(|member| left.contains(member)))
            }
            Test::In(left, right) => {
                let Value::Entity(entity) = self.at(left)? else { return None };
                let right = self.values(right)?;
                Some(right.iter().any(|value| match value {
                    Value::Entity(ancestor) => self.ancestry(&entity, ancestor, ANCESTRY_MAX).is_some(),
                    Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Set(_) | Value::Record(_) => false,
                }))
            }
            Test::Flag(path) => match self.at(path)? {
                Value::Bool(value) => Some(value),
                Value::Long(_) | Value::Text(_) | Value::Entity(_) | Value::Set(_) | Value::Record(_) => None,
            },
            Test::Has(path) => Some(self.at(path).is_some()),
            Test::Equal(one, other) => Some(self.value(one)? == self.value(other)?),
            Test::Known(truth) => Some(*truth),
            Test::Opaque => None,
        }
    }

    fn add_members(&mut self, set: &Path, member: &Value) {
        let Some((last, before)) = set.attributes.split_last() else { return };
        let holder = Path { root: set.root, attributes: before.to_vec() };
        let Some(Value::Entity(holder)) = self.at(&holder) else { return };
        self.add(&self.view.contributions(&holder, last, member));
    }

    fn add_ancestry(&mut self, left: &Path, right: &Side) {
        let Some(Value::Entity(entity)) = self.at(left) else { return };
        for value in self.values(right).unwrap_or_default() {
            let Value::Entity(ancestor) = &value else { continue };
            let Some(steps) = self.ancestry(&entity, ancestor, ANCESTRY_MAX) else { continue };
            for (child, parent) in steps {
                self.add(&self.view.parent_contributions(&child, &parent));
            }
            if let Side::Path(path) = right {
                self.add_members(path, &value);
            }
        }
    }

    fn add(&mut self, rows: &[Contribution<'_>]) {
        let evidence =
            rows.iter().map(|row| Evidence { kind: row.kind.clone(), id: row.row.id.clone(), until: row.until });
        self.found.extend(evidence);
    }

    /// The steps from an entity to an ancestor of it; none for itself.
    fn ancestry(&self, entity: &EntityUid, ancestor: &EntityUid, steps: usize) -> Option<Vec<(EntityUid, EntityUid)>> {
        if entity == ancestor {
            return Some(Vec::new());
        }
        let steps = steps.checked_sub(1)?;
        let parents = &self.projected.entities.get(entity)?.parents;
        parents.iter().find_map(|parent| {
            let mut rest = self.ancestry(parent, ancestor, steps)?;
            rest.push((entity.clone(), parent.clone()));
            Some(rest)
        })
    }

    /// The members of a set; an entity counts as the set of itself.
    fn values(&self, side: &Side) -> Option<Vec<Value>> {
        match side {
            Side::List(members) => members.iter().map(|member| self.value(member)).collect(),
            Side::Path(path) => match self.at(path)? {
                Value::Set(members) => Some(members),
                entity @ Value::Entity(_) => Some(vec![entity]),
                Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Record(_) => None,
            },
        }
    }

    fn value(&self, member: &Member) -> Option<Value> {
        match member {
            Member::Path(path) => self.at(path),
            Member::Literal(value) => Some(value.clone()),
            Member::Record(fields) => {
                let fields = fields.iter().map(|(name, field)| Some((name.clone(), self.value(field)?)));
                Some(Value::Record(fields.collect::<Option<_>>()?))
            }
        }
    }

    /// What stands at a path.
    fn at(&self, path: &Path) -> Option<Value> {
        let mut attributes = path.attributes.as_slice();
        let mut value = match path.root {
            Root::Principal => Value::Entity(self.question.principal.clone()),
            Root::Resource => Value::Entity(self.question.resource.clone()),
            Root::Context => {
                let (known, rest) = (1..=attributes.len()).rev().find_map(|length| {
                    let (key, rest) = attributes.split_at_checked(length)?;
                    Some((self.question.context.get(&*key.join("."))?, rest))
                })?;
                attributes = rest;
                known.clone()
            }
        };
        for attribute in attributes {
            value = match value {
                Value::Entity(uid) => self.projected.entities.get(&uid)?.attributes.get(attribute)?.clone(),
                Value::Record(fields) => fields.get(attribute)?.clone(),
                Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Set(_) => return None,
            };
        }
        Some(value)
    }
}
