//! Exceptional access: which grant an allow rests on, whether it was needed, and what it then asks for.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    bundle::Bundle,
    evaluate::Outcome,
    explain::is_about_principal,
    judge::{Ask, Verdict},
};
use crate::domain::{
    Evaluation, Loaded, Slice,
    mapping::{Mapping, RowState},
    projection::row_state,
};

/// An active exceptional row about the principal.
pub(super) struct Exception<'a> {
    mapping: &'a Mapping,
    now: Timestamp,
    pub(super) id: Arc<str>,
}

impl<'a> Exception<'a> {
    /// The first active exceptional row about the principal, by id.
    pub(super) fn find(bundle: &'a Bundle, slice: &Slice, now: Timestamp) -> Option<Self> {
        let mut ids = Vec::new();
        for (uid, loaded) in &*slice.entities {
            let (Loaded::Present(entity), Some(mapping)) =
                (loaded, bundle.mapping.entity(&uid.type_name().to_string()))
            else {
                continue;
            };
            for (name, rows) in &entity.relations {
                let Some(relation) = mapping.relations.get(name).filter(|relation| relation.exceptional) else {
                    continue;
                };
                ids.extend(
                    rows.iter()
                        .filter(|row| is_about_principal(relation, row, slice))
                        .filter(|row| matches!(row_state(relation, row, now), RowState::Active { .. }))
                        .map(|row| row.id.clone()),
                );
            }
        }
        let id = ids.into_iter().min()?;
        Some(Self { mapping: &bundle.mapping, now, id })
    }

    /// The same slice without the principal's active exceptional rows.
    pub(super) fn without(&self, slice: &Slice) -> Slice {
        let mut reduced = slice.clone();
        for (uid, loaded) in &mut *reduced.entities {
            let (Loaded::Present(entity), Some(mapping)) = (loaded, self.mapping.entity(&uid.type_name().to_string()))
            else {
                continue;
            };
            for (name, rows) in &mut entity.relations {
                let Some(relation) = mapping.relations.get(name).filter(|relation| relation.exceptional) else {
                    continue;
                };
                *rows = rows
                    .iter()
                    .filter(|row| {
                        !is_about_principal(relation, row, slice)
                            || !matches!(row_state(relation, row, self.now), RowState::Active { .. })
                    })
                    .cloned()
                    .collect();
            }
        }
        reduced
    }
}

impl Bundle {
    /// Names the grant, and adds its duties where the allow would have been less without it.
    pub(super) fn say_exception(
        &self,
        evaluation: &mut Evaluation,
        with: &Outcome,
        without: &Outcome,
        exception: &Exception<'_>,
    ) {
        evaluation.grant = Some(exception.id.clone());
        let gained: Vec<_> = with
            .lines
            .iter()
            .zip(&without.lines)
            .filter(|(with, without)| gives(&with.verdict) && !gives(&without.verdict))
            .collect();
        evaluation.would_have_been_allowed = Some(gained.is_empty());
        let Some(duties) = self.reasons.exceptional.as_ref().filter(|_| !gained.is_empty()) else { return };
        for duty in &duties.obligations {
            self.oblige(evaluation, duty);
        }
        for (with, without) in gained {
            if let Verdict::Deny(denied) = &without.verdict {
                for reason in self.codes(denied) {
                    for duty in duties.lifted.get(&reason).into_iter().flatten() {
                        self.oblige(evaluation, duty);
                    }
                }
            }
            if let Some(Ask { group: Some(group), .. }) = &with.ask {
                for duty in duties.groups.get(group).into_iter().flatten() {
                    self.oblige(evaluation, duty);
                }
            }
        }
    }
}

fn gives(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Allow { .. } | Verdict::Mask { .. } => true,
        Verdict::Deny(_) => false,
    }
}
