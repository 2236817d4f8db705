//! What a deny is called: lapsed facts, and the way along a path of attributes.

use std::sync::Arc;

use cedar_policy::EntityUid;
use jiff::{SignedDuration, Timestamp};

use super::{
    bundle::Bundle,
    judge::Judge,
    reasons::{Deadline, Refinement},
};
use crate::domain::{
    Reason, Slice, Value,
    mapping::{Mapping, Relation, RowState},
    projection::row_state,
    slice::{Loaded, Row},
    value::Cell,
};

impl Bundle {
    /// Calls a near miss by the fact about the principal that explains it.
    pub(super) fn refine(&self, judge: &Judge<'_>, code: &Reason) -> Reason {
        let Some(refinement) = self.reasons.refine.get(code) else { return code.clone() };
        let rows: Vec<(&Arc<str>, RowState)> = rows_about_principal(&self.mapping, judge.slice)
            .filter_map(|(relation, row)| Some((relation.kind.as_ref()?, row_state(relation, row, judge.now))))
            .collect();
        if let Some(active) = &refinement.active
            && rows.iter().any(|(kind, state)| **kind == active.kind && matches!(state, RowState::Active { .. }))
        {
            let looks =
                matches!(&judge.question.asked, super::question::Asked::Groups { verb, .. } if &**verb == "read");
            return if looks { active.read.clone() } else { active.other.clone() };
        }
        lapsed(refinement, &rows).or_else(|| refinement.otherwise.clone()).unwrap_or_else(|| code.clone())
    }

    /// When a number of the context reaches its nearest limit.
    pub(super) fn deadline(&self, judge: &Judge<'_>, deadline: &Deadline) -> Option<Timestamp> {
        let Some(Value::Long(value)) = judge.question.context.get(&deadline.counts) else { return None };
        let limits = |paths: &[Arc<str>]| -> Vec<i64> {
            paths
                .iter()
                .filter_map(|path| match self.lookup(judge, path) {
                    Some(Value::Long(limit)) => Some(limit),
                    _ => None,
                })
                .collect()
        };
        let mut found = limits(&deadline.limits);
        if found.is_empty() {
            found = limits(&deadline.otherwise);
        }
        let seconds = found.into_iter().min()?.saturating_sub(*value).max(0);
        judge.now.saturating_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// The value at `principal.a.b` or `resource.a.b`.
    pub(super) fn lookup(&self, judge: &Judge<'_>, path: &str) -> Option<Value> {
        let mut parts = path.split('.');
        let mut value = match parts.next()? {
            "principal" => Value::Entity(judge.question.principal.clone()),
            "resource" => Value::Entity(judge.question.resource.clone()),
            _ => return None,
        };
        for part in parts {
            let Value::Entity(uid) = &value else { return None };
            value = judge.projected().entities.get(uid)?.attributes.get(part)?.clone();
        }
        Some(value)
    }

    /// Whose the resource is: the tenant that its own row names, else the one of its client. What a caller says has no part
    /// in it: a principal is asked about by its acting tenant, which it may have chosen, so it has none of its own here.
    pub(super) fn resource_tenant(&self, judge: &Judge<'_>) -> Option<Arc<str>> {
        let tenancy = self.mapping.tenancy.as_ref()?;
        let resource = &judge.question.resource;
        if *resource == judge.question.principal {
            return None;
        }
        let id = |uid: &EntityUid| Arc::from(AsRef::<str>::as_ref(uid.id()));
        let is_a_tenant = |uid: &EntityUid| uid.type_name().to_string() == *tenancy.tenant_type;
        if is_a_tenant(resource) {
            return judge.slice.present(resource).map(|_| id(resource));
        }
        ["resource", "resource.client"].into_iter().find_map(|of| {
            match self.lookup(judge, &format!("{of}.{}", tenancy.attribute)) {
                Some(Value::Entity(uid)) if is_a_tenant(&uid) => Some(id(&uid)),
                _ => None,
            }
        })
    }
}

/// The one that ended last names the reason; where none ended, one that has not started.
fn lapsed(refinement: &Refinement, rows: &[(&Arc<str>, RowState)]) -> Option<Reason> {
    let mut ended: Option<(Option<Timestamp>, Reason)> = None;
    let mut not_started = None;
    for (kind, state) in rows {
        let Some(names) = refinement.lapsed.get(*kind) else { continue };
        let (at, name) = match state {
            RowState::Active { .. } => continue,
            RowState::NotStarted { .. } => {
                not_started = not_started.or_else(|| names.not_started.clone());
                continue;
            }
            RowState::Revoked { at } => (*at, names.revoked.clone()),
            RowState::Expired { at } => (*at, names.expired.clone()),
        };
        let Some(name) = name else { continue };
        if ended.as_ref().is_none_or(|(latest, _)| at > *latest) {
            ended = Some((at, name));
        }
    }
    ended.map(|(_, name)| name).or(not_started)
}

/// Rows of the slice that are about the principal, by the relation's `about` column.
pub(super) fn rows_about_principal<'a>(
    mapping: &'a Mapping,
    slice: &'a Slice,
) -> impl Iterator<Item = (&'a Relation, &'a Row)> {
    slice.entities.iter().flat_map(move |(uid, loaded)| {
        let entity = match loaded {
            Loaded::Present(entity) => Some(entity),
            Loaded::Absent => None,
        };
        let relations = mapping.entity(&uid.type_name().to_string()).map(|mapping| &mapping.relations);
        entity.into_iter().zip(relations).flat_map(move |(entity, relations)| {
            entity.relations.iter().flat_map(move |(name, rows)| {
                let relation = relations.get(name);
                relation.into_iter().flat_map(move |relation| {
                    rows.iter()
                        .filter(move |row| is_about_principal(relation, row, slice))
                        .map(move |row| (relation, row))
                })
            })
        })
    })
}

pub(super) fn is_about_principal(relation: &Relation, row: &Row, slice: &Slice) -> bool {
    match relation.about.and_then(|column| row.cells.get(column)) {
        Some(Cell::Text(id)) => **id == *AsRef::<str>::as_ref(slice.principal.id()),
        _ => false,
    }
}
