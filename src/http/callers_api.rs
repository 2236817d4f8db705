//! The interface for the applications that ask: every request in the order host, caller, permit, body, question.

use std::sync::Arc;

use http::{Method, request::Parts};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::{
    Limits,
    authzen::{self, Asking, Metadata},
    caller::{Callers, Capability, Hosts},
    demo,
    error::{ApiError, Code},
    layers::{self, Arrival, Gate, Trace},
    outcome,
    serve::{Answer, Handle, Peer},
};
use crate::{
    authorize::Authorizer,
    clock::{self, Clock, FrozenClock},
};

/// Everything that the callers' interface needs, as plain data.
#[derive(Clone, Debug)]
pub struct Room {
    pub authorizer: Arc<Authorizer>,
    pub callers: Arc<Callers>,
    pub hosts: Hosts,
    pub clock: Arc<dyn Clock>,
    pub limits: Arc<Limits>,
    /// Where requests finish whose caller hung up.
    pub tasks: TaskTracker,
    /// The public base URL, as metadata give it.
    pub base_url: String,
    /// In the demo alone: the clock that callers may move.
    pub demo_clock: Option<FrozenClock>,
}

/// Answers the applications that ask.
#[derive(Debug)]
pub struct CallersApi {
    room: Arc<Room>,
    gate: Gate,
    metadata: Metadata,
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Evaluation,
    Evaluations,
    Outcome,
    Metadata,
    DemoClock,
}

impl Route {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Evaluation => "/access/v1/evaluation",
            Self::Evaluations => "/access/v1/evaluations",
            Self::Outcome => "/access/v1/outcome",
            Self::Metadata => "/.well-known/authzen-configuration",
            Self::DemoClock => "/demo/v1/clock",
        }
    }
}

impl CallersApi {
    pub fn new(room: Room) -> Self {
        let gate = Gate::new(room.callers.len(), &room.limits);
        let metadata = Metadata::new(&room.base_url);
        Self { room: Arc::new(room), gate, metadata }
    }

    fn route(&self, path: &str) -> Option<Route> {
        match path {
            "/access/v1/evaluation" => Some(Route::Evaluation),
            "/access/v1/evaluations" => Some(Route::Evaluations),
            "/access/v1/outcome" => Some(Route::Outcome),
            "/demo/v1/clock" if self.room.demo_clock.is_some() => Some(Route::DemoClock),
            _ if path == self.metadata.path => Some(Route::Metadata),
            _ => None,
        }
    }

    async fn answer(
        &self,
        arrival: &Arrival,
        trace: &mut Trace,
        parts: &Parts,
        body: Incoming,
        peer: &Peer,
    ) -> Result<Answer, ApiError> {
        let room = &self.room;
        let route = self.route(&arrival.path);
        trace.route = route.map_or("", Route::as_str);
        room.hosts.admit(peer, parts)?;
        if route == Some(Route::Metadata) {
            // Public by its standard: it says where to ask, and nothing about anybody.
            require_method(&arrival.method, &Method::GET, "GET")?;
            return Ok(layers::json_answer(self.metadata.body.clone()));
        }
        let (index, entry) = room.callers.identify(peer, &parts.headers)?;
        trace.caller = Some(entry.name.clone());
        let route = route.ok_or_else(|| ApiError::new(Code::NotFound, "no such path"))?;
        require_method(&arrival.method, &Method::POST, "POST")?;
        entry.require(Capability::Decide)?;

        let decision_id = clock::new_id(&*room.clock).to_string();
        if matches!(route, Route::Evaluation | Route::Evaluations) {
            trace.decision_id = Some(decision_id.clone());
        }
        let asking = Asking {
            caller: Arc::clone(&entry.caller),
            request_id: arrival.request_id.clone(),
            trace_id: arrival.trace_id.clone(),
            decision_id,
        };
        let limits = &room.limits;
        let permit = self.gate.enter(index, limits).await?;
        let bytes_max = if route == Route::Evaluations { limits.batch_bytes_max } else { limits.body_bytes_max };
        let body = layers::read_body(&parts.headers, body, bytes_max, limits).await?;

        let room = Arc::clone(room);
        let span = tracing::Span::current();
        let work = async move {
            let answered = match route {
                Route::Evaluation => authzen::evaluation(room, body, asking).await,
                Route::Evaluations => authzen::evaluations(room, body, asking).await,
                Route::Outcome => outcome::outcome(room, body, asking).await,
                Route::DemoClock => demo::clock(&room, &body),
                Route::Metadata => Err(ApiError::new(Code::NotFound, "no such path")),
            };
            drop(permit);
            answered
        };
        let work = tracing::Instrument::instrument(work, span);
        layers::within(limits.deadline, &self.room.tasks, work).await.map(layers::json_answer)
    }
}

impl Handle for CallersApi {
    async fn handle(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer) -> Answer {
        let (parts, body) = request.into_parts();
        let clock = &*self.room.clock;
        let arrival = Arrival::new(&parts, clock);
        let span = arrival.span();
        let answering = async {
            let mut trace = Trace::default();
            let result = self.answer(&arrival, &mut trace, &parts, body, &peer).await;
            arrival.finish(result, &trace, clock)
        };
        tracing::Instrument::instrument(answering, span).await
    }
}

/// Refuses other methods, naming the right one.
pub(super) fn require_method(given: &Method, wanted: &Method, allow: &'static str) -> Result<(), ApiError> {
    if given == wanted {
        return Ok(());
    }
    Err(ApiError::new(Code::MethodNotAllowed(allow), format!("only {allow} is answered here")))
}
