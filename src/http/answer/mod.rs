//! The bodies of decisions. Every function here takes a [`Recorded`] evaluation: an answer without a record does not
//! compile.

use serde::Serialize;

use super::{error::ApiError, layers::to_json, question::Misfit};
use crate::{
    audit::Recorded,
    domain::{Evaluation, Evidence, Fields, Obligation, PolicyRef, Reason, Receipt, Remedy, Timestamp},
};

/// The body of one decision.
pub(super) fn single(recorded: &Recorded<Evaluation>, decision_id: &str) -> Result<Vec<u8>, ApiError> {
    to_json(&Answer::of(recorded, decision_id))
}

/// One item of a batch that was answered, or that could not be read.
#[derive(Debug)]
pub(super) enum Item {
    Decided { recorded: Box<Recorded<Evaluation>>, decision_id: String },
    Misfit(Misfit),
}

impl Item {
    /// What could not be read is never allowed.
    pub(super) fn is_allow(&self) -> bool {
        match self {
            Self::Decided { recorded, .. } => recorded.value().decision.is_allow(),
            Self::Misfit(_) => false,
        }
    }
}

/// The body of a batch. Nothing in it changes from one asking to the next unless contexts were asked for.
pub(super) fn batch(items: &[Item], with_context: bool) -> Result<Vec<u8>, ApiError> {
    let evaluations = items
        .iter()
        .map(|item| match item {
            Item::Decided { recorded, decision_id } if with_context => {
                Entry::Full(Box::new(Answer::of(recorded, decision_id)))
            }
            Item::Decided { recorded, .. } => Entry::Bare { decision: recorded.value().decision.is_allow() },
            Item::Misfit(misfit) => Entry::Failed {
                decision: false,
                context: FailedContext { error: ItemError { status: 400, message: misfit.message() } },
            },
        })
        .collect();
    to_json(&Evaluations { evaluations })
}

#[derive(Serialize)]
struct Evaluations<'a> {
    evaluations: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Full(Box<Answer<'a>>),
    Bare { decision: bool },
    Failed { decision: bool, context: FailedContext },
}

#[derive(Serialize)]
struct FailedContext {
    error: ItemError,
}

#[derive(Serialize)]
struct ItemError {
    status: u16,
    message: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    decision: bool,
    context: Context<'a>,
}

#[derive(Serialize)]
struct Context<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Reason>,
    obligations: &'a [Obligation],
    chaperone: Vendor<'a>,
}

#[derive(Serialize)]
struct Vendor<'a> {
    decision_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Fields>,
    policies: &'a [PolicyRef],
    evidence: &'a [Evidence],
    remedies: &'a [Remedy],
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    revisions: Revisions<'a>,
    receipt: &'a Receipt,
}

#[derive(Serialize)]
struct Revisions<'a> {
    policies: &'a str,
    facts: &'a str,
    facts_age_ms: u64,
}

impl<'a> Answer<'a> {
    fn of(recorded: &'a Recorded<Evaluation>, decision_id: &'a str) -> Self {
        let evaluation = recorded.value();
        let is_allow = evaluation.decision.is_allow();
        Self {
            decision: is_allow,
            context: Context {
                reason: evaluation.reason.as_ref().filter(|_| !is_allow),
                obligations: &evaluation.obligations,
                chaperone: Vendor {
                    decision_id,
                    fields: evaluation.fields.as_ref(),
                    policies: &evaluation.policies,
                    evidence: &evaluation.evidence,
                    remedies: &evaluation.remedies,
                    not_after: evaluation.not_after.filter(|_| is_allow),
                    revisions: Revisions {
                        policies: &evaluation.policies_revision,
                        facts: &evaluation.facts_revision,
                        facts_age_ms: evaluation.facts_age_ms,
                    },
                    receipt: recorded.receipt(),
                },
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
