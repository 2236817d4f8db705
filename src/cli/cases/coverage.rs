//! Which policies the cases matched, and which none did.

use std::{collections::BTreeSet, sync::Arc};

use crate::engine::Bundle;

/// The share of policies that were satisfied in at least one check.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Coverage {
    pub(in crate::cli) matched: usize,
    pub(in crate::cli) total: usize,
    /// Policies that no check matched, by id.
    pub(in crate::cli) never: Vec<Arc<str>>,
}

impl Coverage {
    pub(in crate::cli) fn of(bundle: &Bundle, matched: &BTreeSet<Arc<str>>) -> Self {
        let never: Vec<_> = bundle.policies.keys().filter(|id| !matched.contains(*id)).cloned().collect();
        Self { matched: bundle.policies.len() - never.len(), total: bundle.policies.len(), never }
    }

    /// In whole percent, rounded down: 99.9 % is not all.
    pub(in crate::cli) fn percent(&self) -> usize {
        (self.matched * 100).checked_div(self.total).unwrap_or(100)
    }
}
