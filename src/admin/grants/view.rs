//! A grant as it is told: ids, codes and instants. What the person wrote is for the review alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    admin::version::Version,
    domain::{
        Timestamp,
        grant::{Grant, Standing},
        review::Review,
    },
};

/// What the application and an administrator are told of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    pub grant_id: Arc<str>,
    /// As of now: `expired` is never stored.
    pub state: Arc<str>,
    pub kind: Arc<str>,
    pub tenant: Arc<str>,
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub reason_code: Arc<str>,
    pub fields: Vec<Arc<str>>,
    pub requested_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approve_by: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approver: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activated_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub extensions: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_by: Option<Arc<str>>,
    pub obligations: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review: Option<ReviewGist>,
    /// For `If-Match`.
    pub version: String,
}

/// What of its review is told beside a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewGist {
    pub review_id: Arc<str>,
    pub state: Arc<str>,
    pub due_at: Timestamp,
}

impl GrantView {
    pub(in crate::admin) fn of(
        grant: &Grant,
        review: Option<Review>,
        obligations: &[Arc<str>],
        now: Timestamp,
    ) -> Self {
        let standing = grant.standing(now);
        let review = review.map(|review| review.as_of(grant, now)).map(|review| ReviewGist {
            review_id: review.id,
            state: review.state.as_str().into(),
            due_at: review.due_at,
        });
        let is_live = matches!(standing, Standing::Pending | Standing::Active);
        Self {
            grant_id: grant.id.clone(),
            state: standing.as_str().into(),
            kind: "emergency".into(),
            tenant: grant.tenant.clone(),
            user: grant.user.clone(),
            client: grant.client.clone(),
            reason_code: grant.reason_code.clone(),
            fields: grant.groups.clone(),
            requested_at: grant.requested_at,
            approve_by: (standing == Standing::Pending).then(|| grant.approve_by()),
            approver: grant.approver.clone(),
            activated_at: grant.activated_at,
            expires_at: grant.expires_at,
            extensions: grant.extensions,
            ended_at: grant.ended_at,
            ended_by: grant.ended_by.clone(),
            obligations: if is_live { obligations.to_vec() } else { Vec::new() },
            review,
            version: version(grant).as_str().to_owned(),
        }
    }
}

/// The columns that a step changes; the rest never does.
pub(super) fn version(grant: &Grant) -> Version {
    Version::of(&state(grant))
}

/// What a record says of a grant before and after a step.
pub(super) fn state(grant: &Grant) -> Json {
    json!({
        "id": &*grant.id,
        "state": grant.state.as_str(),
        "activated_at": grant.activated_at,
        "expires_at": grant.expires_at,
        "extensions": grant.extensions,
        "approver": grant.approver.as_deref(),
        "ended_at": grant.ended_at,
        "ended_by": grant.ended_by.as_deref(),
    })
}
