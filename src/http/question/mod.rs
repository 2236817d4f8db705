//! AuthZEN's words to [`Request`]: parsed once, whole entities inherited, every refusal with its place.
//!
//! The only room of the house where a principal is called "subject".

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{
    Limits,
    error::{ApiError, Code},
};
use crate::domain::{Api, EntityRef, Mode, Request, request::Caller};

/// What was wrong with one member: where, from the root of the question, and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// A JSON pointer relative to the question.
    pub(super) path: String,
    pub(super) expected: String,
}

impl Misfit {
    fn new(path: &str, expected: impl Into<String>) -> Self {
        Self { path: path.to_owned(), expected: expected.into() }
    }

    /// The sentence in a failed item: `resource.id must be a string`.
    pub(super) fn message(&self) -> String {
        let name = self.path.trim_start_matches('/').replace('/', ".");
        if name.is_empty() { format!("the item {}", self.expected) } else { format!("{name} {}", self.expected) }
    }
}

impl From<Misfit> for ApiError {
    fn from(misfit: Misfit) -> Self {
        Self::new(Code::Malformed, misfit.message()).at(misfit.path)
    }
}

/// The four members of a question, raw: inherited whole and parsed only after that.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    subject: Option<Json>,
    action: Option<Json>,
    resource: Option<Json>,
    context: Option<Json>,
}

impl Parts {
    /// Takes the members out of an object; what it holds beside them is ignored.
    pub(super) fn take(mut object: Map<String, Json>) -> Self {
        Self {
            subject: object.swap_remove("subject"),
            action: object.swap_remove("action"),
            resource: object.swap_remove("resource"),
            context: object.swap_remove("context"),
        }
    }

    /// Fills what is missing from `defaults`, each member as a whole.
    pub(super) fn or(mut self, defaults: &Self) -> Self {
        let fill = |own: &mut Option<Json>, default: &Option<Json>| {
            if own.is_none() {
                own.clone_from(default);
            }
        };
        fill(&mut self.subject, &defaults.subject);
        fill(&mut self.action, &defaults.action);
        fill(&mut self.resource, &defaults.resource);
        fill(&mut self.context, &defaults.context);
        self
    }
}

/// Who asks and under which ids.
pub(super) struct Envelope {
    pub(super) caller: Arc<Caller>,
    pub(super) request_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) decision_id: String,
    pub(super) api: Api,
}

/// Parses one question.
pub(super) fn parse(parts: Parts, envelope: Envelope, limits: &Limits) -> Result<Request, Misfit> {
    let id_bytes_max = limits.id_bytes_max;
    let (subject, subject_properties) = entity("/subject", parts.subject, id_bytes_max)?;
    let mut action = object("/action", parts.action)?.ok_or_else(|| Misfit::new("/action", "is required"))?;
    let name = text("/action/name", action.swap_remove("name"), id_bytes_max)?;
    let mut action_properties = object("/action/properties", action.swap_remove("properties"))?.unwrap_or_default();
    let fields = fields(action_properties.shift_remove("fields"), limits)?;
    let mode = mode(action_properties.shift_remove("mode"))?;
    let (resource, resource_properties) = entity("/resource", parts.resource, id_bytes_max)?;
    let mut context = object("/context", parts.context)?.unwrap_or_default();
    // Advice to the PDP about the caller, not a fact about the access.
    drop(context.shift_remove("supported_obligations"));
    Ok(Request {
        subject,
        subject_properties,
        action: name,
        fields,
        mode,
        action_properties,
        resource,
        resource_properties,
        context,
        caller: envelope.caller,
        request_id: envelope.request_id,
        trace_id: envelope.trace_id,
        decision_id: envelope.decision_id,
        api: envelope.api,
    })
}

fn entity(path: &str, given: Option<Json>, id_bytes_max: usize) -> Result<(EntityRef, Map<String, Json>), Misfit> {
    let mut given = object(path, given)?.ok_or_else(|| Misfit::new(path, "is required"))?;
    let kind = text(&format!("{path}/type"), given.swap_remove("type"), id_bytes_max)?;
    let id = text(&format!("{path}/id"), given.swap_remove("id"), id_bytes_max)?;
    let properties = object(&format!("{path}/properties"), given.swap_remove("properties"))?.unwrap_or_default();
    Ok((EntityRef { kind, id }, properties))
}

fn object(path: &str, given: Option<Json>) -> Result<Option<Map<String, Json>>, Misfit> {
    match given {
        None => Ok(None),
        Some(Json::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Misfit::new(path, "must be an object")),
    }
}

fn text(path: &str, given: Option<Json>, bytes_max: usize) -> Result<String, Misfit> {
    match given {
        None => Err(Misfit::new(path, "is required")),
        Some(Json::String(text)) if text.len() <= bytes_max => Ok(text),
        Some(Json::String(_)) => Err(Misfit::new(path, format!("must not be longer than {bytes_max} bytes"))),
        Some(_) => Err(Misfit::new(path, "must be a string")),
    }
}

fn fields(given: Option<Json>, limits: &Limits) -> Result<Option<Vec<String>>, Misfit> {
    const PATH: &str = "/action/properties/fields";
    let Some(given) = given else { return Ok(None) };
    let Json::Array(names) = given else { return Err(Misfit::new(PATH, "must be an array of strings")) };
    if names.is_empty() {
        return Err(Misfit::new(PATH, "must name a field; leave it out to ask for the record as a whole"));
    }
    if names.len() > limits.fields_max {
        return Err(Misfit::new(PATH, format!("must not hold more than {} names", limits.fields_max)));
    }
    let named = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| text(&format!("{PATH}/{index}"), Some(name), limits.id_bytes_max));
    named.collect::<Result<_, _>>().map(Some)
}

fn mode(given: Option<Json>) -> Result<Option<Mode>, Misfit> {
    match given {
        None => Ok(None),
        Some(Json::String(mode)) if mode == "filter" => Ok(Some(Mode::Filter)),
        Some(Json::String(mode)) if mode == "strict" => Ok(Some(Mode::Strict)),
        Some(_) => Err(Misfit::new("/action/properties/mode", "must be `filter` or `strict`")),
    }
}

/// When a batch stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// A batch, its items still raw: an item that does not parse is a deny, not an error of the batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Json>,
    pub(super) defaults: Parts,
    pub(super) semantic: Semantic,
    /// Whether items carry their whole context.
    pub(super) with_context: bool,
}

/// The body of `evaluations`: a batch, or one question if there are no items.
#[derive(Debug)]
pub(super) enum Asked {
    One(Parts),
    Batch(Batch),
}

/// Takes the envelope of a batch apart.
pub(super) fn batch(mut object: Map<String, Json>, limits: &Limits) -> Result<Asked, ApiError> {
    let refuse = |path: &str, expected: &str| ApiError::from(Misfit::new(path, expected));
    let items = match object.swap_remove("evaluations") {
        None => Vec::new(),
        Some(Json::Array(items)) => items,
        Some(_) => return Err(refuse("/evaluations", "must be an array")),
    };
    if items.len() > limits.items_max {
        let detail = format!("evaluations holds {} items, at most {} are answered", items.len(), limits.items_max);
        return Err(ApiError::new(Code::TooLarge, detail).at("/evaluations"));
    }
    let mut options = match object.swap_remove("options") {
        None => Map::new(),
        Some(Json::Object(options)) => options,
        Some(_) => return Err(refuse("/options", "must be an object")),
    };
    const SEMANTICS: &str = "must be `execute_all`, `deny_on_first_deny` or `permit_on_first_permit`";
    let semantic = match options.swap_remove("evaluations_semantic") {
        None => Semantic::ExecuteAll,
        Some(Json::String(word)) => match word.as_str() {
            "execute_all" => Semantic::ExecuteAll,
            "deny_on_first_deny" => Semantic::DenyOnFirstDeny,
            "permit_on_first_permit" => Semantic::PermitOnFirstPermit,
            _ => return Err(refuse("/options/evaluations_semantic", SEMANTICS)),
        },
        Some(_) => return Err(refuse("/options/evaluations_semantic", SEMANTICS)),
    };
    let with_context = match options.swap_remove("context") {
        None => false,
        Some(Json::Bool(wanted)) => wanted,
        Some(_) => return Err(refuse("/options/context", "must be true or false")),
    };
    let defaults = Parts::take(object);
    if items.is_empty() {
        return Ok(Asked::One(defaults));
    }
    Ok(Asked::Batch(Batch { items, defaults, semantic, with_context }))
}

/// One item of a batch, its gaps filled from the defaults.
pub(super) fn item(item: Json, defaults: &Parts) -> Result<Parts, Misfit> {
    object("", Some(item)).map(|object| Parts::take(object.unwrap_or_default()).or(defaults))
}

#[cfg(test)]
mod tests;
