//! AuthZEN 1.0: one evaluation, a batch, and the metadata.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::{
    Limits,
    answer::{self, Item},
    callers_api::Room,
    error::ApiError,
    json,
    question::{self, Asked, Batch, Envelope, Misfit, Parts, Semantic},
};
use crate::{
    audit::Recorded,
    authorize::{AuthorizeError, Held},
    domain::{Api, Evaluation, Request, request::Caller},
};

/// Who asks, and the ids of the asking.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) caller: Arc<Caller>,
    pub(super) request_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) decision_id: String,
}

impl Asking {
    fn envelope(self, api: Api) -> Envelope {
        let Self { caller, request_id, trace_id, decision_id } = self;
        Envelope { caller, request_id, trace_id, decision_id, api }
    }

    fn item(&self, index: usize) -> Self {
        Self { decision_id: format!("{}.{index}", self.decision_id), ..self.clone() }
    }
}

/// `POST /access/v1/evaluation`.
pub(super) async fn evaluation(room: Arc<Room>, body: Bytes, asking: Asking) -> Result<Vec<u8>, ApiError> {
    let parts = Parts::take(json::read_object(&body, &room.limits.json)?);
    one(&room, parts, asking.envelope(Api::Evaluation)).await
}

/// `POST /access/v1/evaluations`.
pub(super) async fn evaluations(room: Arc<Room>, body: Bytes, asking: Asking) -> Result<Vec<u8>, ApiError> {
    let limits = json::JsonLimits { nodes_max: room.limits.batch_nodes_max, ..room.limits.json };
    match question::batch(json::read_object(&body, &limits)?, &room.limits)? {
        Asked::One(parts) => one(&room, parts, asking.envelope(Api::Evaluations)).await,
        Asked::Batch(batch) => {
            let with_context = batch.with_context;
            let held = room.authorizer.held();
            let items = answer_items(batch, &asking, &room.limits, |request| held.authorize(request)).await?;
            answer::batch(&settled(items, &held).await?, with_context)
        }
    }
}

async fn one(room: &Room, parts: Parts, envelope: Envelope) -> Result<Vec<u8>, ApiError> {
    let request = question::parse(parts, envelope, &room.limits)?;
    let decision_id = request.decision_id.clone();
    answer::single(&room.authorizer.authorize(request).await?, &decision_id)
}

/// The items as they may leave together: an allow that grew old while the last one was decided is decided again.
async fn settled(mut items: Vec<Item>, held: &Held<'_>) -> Result<Vec<Item>, AuthorizeError> {
    loop {
        let is_old = |item: &Item| matches!(item, Item::Decided { decision_id, .. } if !held.is_good(decision_id));
        // Each is decided again a few times at most, so this ends.
        let Some(position) = items.iter().position(is_old) else { return Ok(items) };
        let mut rest = items.split_off(position);
        let old = if rest.is_empty() { None } else { Some(rest.remove(0)) };
        if let Some(Item::Decided { recorded, decision_id }) = old {
            let recorded = Box::new(held.again(&decision_id, *recorded).await?);
            items.push(Item::Decided { recorded, decision_id });
        }
        items.append(&mut rest);
    }
}

/// Asks for each item, in order. An item that cannot be read is a deny; one that cannot be recorded fails them all,
/// since a deny without a record would be an answer without one.
async fn answer_items<F, A>(batch: Batch, asking: &Asking, limits: &Limits, ask: F) -> Result<Vec<Item>, AuthorizeError>
where
    F: Fn(Request) -> A,
    A: Future<Output = Result<Recorded<Evaluation>, AuthorizeError>>,
{
    let Batch { items, defaults, semantic, .. } = batch;
    let parse = |(index, item)| -> Result<Request, Misfit> {
        let parts = question::item(item, &defaults)?;
        question::parse(parts, asking.item(index).envelope(Api::Evaluations), limits)
    };
    let answered = |parsed: Result<Request, Misfit>| {
        let asked = match parsed {
            Ok(request) => Ok((request.decision_id.clone(), ask(request))),
            Err(misfit) => Err(misfit),
        };
        async move {
            match asked {
                Ok((decision_id, asked)) => Ok(Item::Decided { recorded: Box::new(asked.await?), decision_id }),
                Err(misfit) => Ok(Item::Misfit(misfit)),
            }
        }
    };
    let asked = stream::iter(items.into_iter().enumerate()).map(parse).map(answered);
    let trigger = match semantic {
        Semantic::ExecuteAll => return asked.buffered(limits.batch_width_max).try_collect().await,
        Semantic::DenyOnFirstDeny => false,
        Semantic::PermitOnFirstPermit => true,
    };
    // One after the other: what stands behind the trigger is never asked, and so never recorded.
    let mut answers = Vec::new();
    let mut asked = std::pin::pin!(asked);
    while let Some(next) = asked.next().await {
        let item = next.await?;
        let is_last = item.is_allow() == trigger;
        answers.push(item);
        if is_last {
            break;
        }
    }
    Ok(answers)
}

/// The metadata document and the path at which it stands.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) path: String,
    pub(super) body: Bytes,
}

impl Metadata {
    /// Metadata of the PDP whose public base URL is `base_url`, used as it is given. A path in it goes behind the
    /// well-known one.
    pub(super) fn new(base_url: &str) -> Self {
        #[derive(Serialize)]
        struct Document<'a> {
            policy_decision_point: &'a str,
            access_evaluation_endpoint: String,
            access_evaluations_endpoint: String,
            supported_obligations: [&'static str; 4],
        }
        let root = base_url.trim_end_matches('/');
        let document = Document {
            policy_decision_point: base_url,
            access_evaluation_endpoint: format!("{root}/access/v1/evaluation"),
            access_evaluations_endpoint: format!("{root}/access/v1/evaluations"),
            supported_obligations: ["step-up", "notification", "session_termination", "custom"],
        };
        let after_scheme = root.split_once("://").map_or(root, |(_, rest)| rest);
        let tenant = after_scheme.split_once('/').map(|(_, path)| format!("/{path}")).unwrap_or_default();
        Self {
            path: format!("/.well-known/authzen-configuration{tenant}"),
            body: serde_json::to_vec(&document).unwrap_or_default().into(),
        }
    }
}

#[cfg(test)]
mod tests;
