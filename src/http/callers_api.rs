//! The interface for the applications that ask: every request in the order host, caller, permit, body, question.

use std::sync::Arc;

use http::{Method, request::Parts};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::{
    Limits,
    authzen::{self, Asking, Metadata},
    caller::{CallerEntry, Callers, Capability},
    demo,
    error::{ApiError, Code},
    grants::{self, GrantCall},
    hosts::Hosts,
    layers::{self, Arrival, Gate, Trace},
    openapi, outcome,
    serve::{Answer, Handle, Peer},
};
use crate::{
    admin::Admin,
    authorize::Authorizer,
    clock::{self, Clock, FrozenClock},
};

/// Everything that the callers' interface needs, as plain data.
#[derive(Clone, Debug)]
pub struct Room {
    pub authorizer: Arc<Authorizer>,
    pub admin: Arc<Admin>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Metadata,
    OpenApi,
    Ask(Ask),
    Grant(GrantCall),
}

/// What a caller posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Evaluation,
    Evaluations,
    Outcome,
    DemoClock,
}

impl Ask {
    pub(super) const ALL: [Self; 4] = [Self::Evaluation, Self::Evaluations, Self::Outcome, Self::DemoClock];

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Evaluation => "/access/v1/evaluation",
            Self::Evaluations => "/access/v1/evaluations",
            Self::Outcome => "/access/v1/outcome",
            Self::DemoClock => "/demo/v1/clock",
        }
    }
}

/// Where the metadata stand, a path of the public URL aside.
pub(super) const METADATA: &str = "/.well-known/authzen-configuration";

impl Route {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Metadata => METADATA,
            Self::OpenApi => openapi::PATH,
            Self::Ask(ask) => ask.path(),
            Self::Grant(call) => call.route(),
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
        let is_here = |ask: &Ask| *ask != Ask::DemoClock || self.room.demo_clock.is_some();
        match Ask::ALL.into_iter().find(|ask| ask.path() == path).filter(is_here) {
            Some(ask) => Some(Route::Ask(ask)),
            None if path == openapi::PATH => Some(Route::OpenApi),
            None if path == self.metadata.path => Some(Route::Metadata),
            None => GrantCall::of(path).map(Route::Grant),
        }
    }

    async fn answer(
        &self,
        arrival: &Arrival,
        trace: &mut Trace,
        parts: &Parts,
        body: &mut Incoming,
        peer: &Peer,
    ) -> Result<Answer, ApiError> {
        let room = &self.room;
        let route = self.route(&arrival.path);
        trace.route = route.as_ref().map_or("", Route::as_str);
        room.hosts.admit(peer, parts)?;
        // Public by its standard: it says where to ask, and nothing about anybody.
        if route == Some(Route::Metadata) {
            require_method(&arrival.method, &Method::GET, "GET")?;
            return Ok(layers::json_answer(self.metadata.body.clone()));
        }
        if route == Some(Route::OpenApi) {
            require_method(&arrival.method, &Method::GET, "GET")?;
            return Ok(layers::json_answer(openapi::text()));
        }
        let (index, entry) = room.callers.identify(peer, &parts.headers)?;
        trace.caller = Some(entry.name.clone());
        let ask = match route {
            Some(Route::Ask(ask)) => ask,
            Some(Route::Grant(call)) => {
                let (method, name) = call.method();
                require_method(&arrival.method, &method, name)?;
                entry.require(Capability::Grant)?;
                let asking = self.asking(arrival, entry);
                trace.decision_id = Some(asking.decision_id.clone());
                return Box::pin(self.grant((index, call), parts, body, asking)).await;
            }
            Some(Route::Metadata | Route::OpenApi) | None => return Err(ApiError::new(Code::NotFound, "no such path")),
        };
        require_method(&arrival.method, &Method::POST, "POST")?;
        entry.require(Capability::Decide)?;

        let asking = self.asking(arrival, entry);
        if matches!(ask, Ask::Evaluation | Ask::Evaluations) {
            trace.decision_id = Some(asking.decision_id.clone());
        }
        let limits = &room.limits;
        let permit = self.gate.enter(index, limits).await?;
        let bytes_max = if ask == Ask::Evaluations { limits.batch_bytes_max } else { limits.body_bytes_max };
        let body = layers::read_body(&parts.headers, body, bytes_max, limits).await?;

        let room = Arc::clone(room);
        let span = tracing::Span::current();
        let work = Box::pin(async move {
            let answered = match ask {
                Ask::Evaluation => authzen::evaluation(room, body, asking).await,
                // Boxed, as the grant above: one question, which is what is mostly asked, should not carry their room.
                Ask::Evaluations => Box::pin(authzen::evaluations(room, body, asking)).await,
                Ask::Outcome => outcome::outcome(room, body, asking).await,
                Ask::DemoClock => demo::clock(&room, &body),
            };
            drop(permit);
            answered
        });
        let work = tracing::Instrument::instrument(work, span);
        layers::within(limits.deadline, &self.room.tasks, work).await.map(layers::json_answer)
    }

    fn asking(&self, arrival: &Arrival, entry: &CallerEntry) -> Asking {
        Asking {
            caller: Arc::clone(&entry.caller),
            request_id: arrival.request_id.clone(),
            trace_id: arrival.trace_id.clone(),
            decision_id: clock::new_id(&*self.room.clock).to_string(),
        }
    }

    async fn grant(
        &self,
        (index, call): (usize, GrantCall),
        parts: &Parts,
        body: &mut Incoming,
        asking: Asking,
    ) -> Result<Answer, ApiError> {
        let limits = &self.room.limits;
        let permit = self.gate.enter(index, limits).await?;
        let body = grants::body_of(&call, &parts.headers, body, limits).await?;
        let (room, path, headers) = (Arc::clone(&self.room), parts.uri.path().to_owned(), parts.headers.clone());
        let span = tracing::Span::current();
        let work = Box::pin(async move {
            let answered = grants::answer(room, call, path, headers, body, asking).await;
            drop(permit);
            answered
        });
        layers::within(limits.deadline, &self.room.tasks, tracing::Instrument::instrument(work, span)).await
    }
}

impl Handle for CallersApi {
    async fn handle(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer) -> Answer {
        let (parts, mut body) = request.into_parts();
        let clock = &*self.room.clock;
        let arrival = Arrival::new(&parts, clock);
        let span = arrival.span();
        let answering = async {
            let mut trace = Trace::default();
            let result = self.answer(&arrival, &mut trace, &parts, &mut body, &peer).await;
            if result.as_ref().is_err_and(|error| error.code != Code::BodyTimeout) {
                layers::drain(&mut body).await;
            }
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
