//! A review as the person who reviews is told of it: with what the holder wrote when asking.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::rows::Stored;
use crate::{
    admin::version::Version,
    domain::{
        Timestamp,
        grant::Grant,
        review::{Disposition, Review},
    },
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewView {
    pub review_id: Arc<str>,
    pub grant_id: Arc<str>,
    pub tenant: Arc<str>,
    /// As of now: past due is `escalated`.
    pub state: Arc<str>,
    pub priority: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<Arc<str>>,
    /// It closes when it is due, without a person.
    pub closes_by_itself: bool,
    pub due_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reviewer: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub disposition: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident_id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proposal_id: Option<Arc<str>>,
    pub grant: Reviewed,
    /// For `If-Match`.
    pub version: String,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    pub state: Arc<str>,
    pub user: Arc<str>,
    pub client: Arc<str>,
    pub reason_code: Arc<str>,
    pub justification: Arc<str>,
    pub fields: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approver: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub activated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub over_at: Option<Timestamp>,
    pub extensions: i64,
}

impl ReviewView {
    pub(super) fn of(stored: Stored, grant: &Grant, now: Timestamp) -> Self {
        let version = version(&stored.review).as_str().to_owned();
        let closes_by_itself = stored.review.closes_by_itself();
        let review = stored.review.as_of(grant, now);
        Self {
            review_id: review.id,
            grant_id: review.grant_id,
            tenant: review.tenant,
            state: review.state.as_str().into(),
            priority: review.priority.as_str().into(),
            explanation: review.explanation,
            closes_by_itself,
            due_at: review.due_at,
            reviewer: review.reviewer,
            disposition: review.disposition.map(|disposition| disposition.as_str().into()),
            closed_at: review.closed_at,
            incident_id: stored.incident,
            proposal_id: stored.proposal,
            grant: Reviewed {
                state: grant.standing(now).as_str().into(),
                user: grant.user.clone(),
                client: grant.client.clone(),
                reason_code: grant.reason_code.clone(),
                justification: grant.justification.clone(),
                fields: grant.groups.clone(),
                approver: grant.approver.clone(),
                activated_at: grant.activated_at,
                over_at: grant.over_at(),
                extensions: grant.extensions,
            },
            version,
        }
    }
}

pub(super) fn version(review: &Review) -> Version {
    Version::of(&state(review))
}

/// What a record says of a review before and after a step.
pub(super) fn state(review: &Review) -> Json {
    json!({
        "id": &*review.id,
        "state": review.state.as_str(),
        "reviewer": review.reviewer.as_deref(),
        "disposition": review.disposition.map(Disposition::as_str),
        "due_at": review.due_at,
        "closed_at": review.closed_at,
    })
}
