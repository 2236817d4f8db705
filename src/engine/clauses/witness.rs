//! Witnesses: the tests of a permit that rows can make true, and the rows that did.
//!
//! Looked at are memberships in positive position: `SET.contains(X)`, `SET.containsAny(SET)` and the scope's
//! `principal in GROUP`. A test under a negation is no witness of anything; one in an `||` is, if it is true.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::{EntityUid, Policy, PrincipalConstraint};
use serde_json::Value as Json;

use crate::domain::{
    Evidence, Value,
    projection::{Contribution, Projected, View},
};

/// One membership test of a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Contains { set: Path, member: Operand },
    ContainsAny { set: Path, other: Path },
    PrincipalIn(EntityUid),
}

/// `principal.a.b`, `resource.a` or `context.a.b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    root: Root,
    attributes: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Principal,
    Resource,
    Context,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Path(Path),
    Literal(Value),
    Record(BTreeMap<Arc<str>, Operand>),
}

/// What the tests are resolved over.
pub(super) struct World<'a, 'v> {
    pub(super) principal: &'a EntityUid,
    pub(super) resource: &'a EntityUid,
    pub(super) view: &'a View<'v>,
    pub(super) projected: &'a Projected,
    pub(super) context: &'a BTreeMap<Arc<str>, Value>,
}

impl Probe {
    /// Every test of `policy` that rows could witness.
    pub(super) fn all(policy: &Policy, conditions: &[Json]) -> Vec<Self> {
        let mut probes = Vec::new();
        if let PrincipalConstraint::In(group) | PrincipalConstraint::IsIn(_, group) = policy.principal_constraint() {
            probes.push(Self::PrincipalIn(group));
        }
        for condition in conditions {
            if condition.get("kind").and_then(Json::as_str) == Some("when")
                && let Some(body) = condition.get("body")
            {
                collect(body, &mut probes);
            }
        }
        probes
    }

    /// The rows that make this test true; none where it is false.
    pub(super) fn witnesses(&self, world: &World<'_, '_>) -> Vec<Evidence> {
        match self {
            Self::PrincipalIn(group) => evidence(world.view.parent_contributions(world.principal, group)),
            Self::Contains { set, member } => {
                let Some(member) = member.resolve(world) else { return Vec::new() };
                set.contributions(world, &member)
            }
            Self::ContainsAny { set, other } => {
                let (Some(Value::Set(here)), Some(Value::Set(there))) = (set.resolve(world), other.resolve(world)) else {
                    return Vec::new();
                };
                let shared = here.iter().filter(|member| there.contains(member));
                shared.flat_map(|member| [set.contributions(world, member), other.contributions(world, member)].concat()).collect()
            }
        }
    }
}

fn evidence(contributions: Vec<Contribution<'_>>) -> Vec<Evidence> {
    contributions
        .into_iter()
        .map(|found| Evidence { kind: found.kind.clone(), id: found.row.id.clone(), until: found.until })
        .collect()
}

/// Walks the positive part of a condition.
fn collect(body: &Json, probes: &mut Vec<Probe>) {
    let Some((operator, operands)) = body.as_object().and_then(|object| object.iter().next()) else { return };
    let side = |name: &str| operands.get(name);
    match operator.as_str() {
        "&&" | "||" => {
            for name in ["left", "right"] {
                if let Some(inner) = side(name) {
                    collect(inner, probes);
                }
            }
        }
        "if-then-else" => {
            for name in ["if", "then", "else"] {
                if let Some(inner) = side(name) {
                    collect(inner, probes);
                }
            }
        }
        "contains" => {
            if let (Some(set), Some(member)) = (side("left").and_then(Path::read), side("right").and_then(Operand::read)) {
                probes.push(Probe::Contains { set, member });
            }
        }
        "containsAny" => {
            if let (Some(set), Some(other)) = (side("left").and_then(Path::read), side("right").and_then(Path::read)) {
                probes.push(Probe::ContainsAny { set, other });
            }
        }
        "in" => principal_in(operands, probes),
        _ => {}
    }
}

/// `principal in Role::"x"`, or in a list of them, inside a condition.
fn principal_in(operands: &Json, probes: &mut Vec<Probe>) {
    if operands.pointer("/left/Var").and_then(Json::as_str) != Some("principal") {
        return;
    }
    let groups = match operands.pointer("/right/Set") {
        Some(groups) => groups.as_array().cloned().unwrap_or_default(),
        None => operands.get("right").into_iter().cloned().collect(),
    };
    for group in groups {
        if let Some(Operand::Literal(Value::Entity(group))) = Operand::read(&group) {
            probes.push(Probe::PrincipalIn(group));
        }
    }
}

impl Path {
    fn read(expression: &Json) -> Option<Self> {
        if let Some(access) = expression.get(".") {
            let mut path = Self::read(access.get("left")?)?;
            path.attributes.push(access.get("attr")?.as_str()?.into());
            return Some(path);
        }
        let root = match expression.get("Var")?.as_str()? {
            "principal" => Root::Principal,
            "resource" => Root::Resource,
            "context" => Root::Context,
            _ => return None,
        };
        Some(Self { root, attributes: Vec::new() })
    }

    fn resolve(&self, world: &World<'_, '_>) -> Option<Value> {
        let mut value = match self.root {
            Root::Principal => Value::Entity(world.principal.clone()),
            Root::Resource => Value::Entity(world.resource.clone()),
            Root::Context => return world.context.get(self.attributes.join(".").as_str()).cloned(),
        };
        for attribute in &self.attributes {
            value = match &value {
                Value::Entity(uid) => world.projected.entities.get(uid)?.attributes.get(attribute)?.clone(),
                Value::Record(fields) => fields.get(attribute)?.clone(),
                Value::Bool(_) | Value::Long(_) | Value::Text(_) | Value::Set(_) => return None,
            };
        }
        Some(value)
    }

    /// The rows that put `member` into the set at this path.
    fn contributions(&self, world: &World<'_, '_>, member: &Value) -> Vec<Evidence> {
        let Some((attribute, owner)) = self.attributes.split_last() else { return Vec::new() };
        let owner = Self { root: self.root, attributes: owner.to_vec() };
        match owner.resolve(world) {
            Some(Value::Entity(uid)) => evidence(world.view.contributions(&uid, attribute, member)),
            _ => Vec::new(),
        }
    }
}

impl Operand {
    fn read(expression: &Json) -> Option<Self> {
        if let Some(path) = Path::read(expression) {
            return Some(Self::Path(path));
        }
        if let Some(fields) = expression.get("Record") {
            let fields = fields.as_object()?.iter();
            return fields.map(|(name, value)| Some((Arc::from(name.as_str()), Self::read(value)?))).collect::<Option<_>>().map(Self::Record);
        }
        literal(expression.get("Value")?).map(Self::Literal)
    }

    fn resolve(&self, world: &World<'_, '_>) -> Option<Value> {
        match self {
            Self::Path(path) => path.resolve(world),
            Self::Literal(value) => Some(value.clone()),
            Self::Record(fields) => {
                fields.iter().map(|(name, value)| Some((name.clone(), value.resolve(world)?))).collect::<Option<_>>().map(Value::Record)
            }
        }
    }
}

fn literal(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::Number(number) => number.as_i64().map(Value::Long),
        Json::String(text) => Some(Value::Text(text.as_str().into())),
        Json::Object(_) => {
            let entity = value.get("__entity")?;
            let uid = crate::domain::projection::uid(&entity.get("type")?.as_str()?.into(), entity.get("id")?.as_str()?);
            uid.ok().map(Value::Entity)
        }
        Json::Null | Json::Array(_) => None,
    }
}
