//! The operators' interface, on a listener and with tokens of its own. A caller's credential opens nothing here.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{Method, request::Parts};
use hyper::body::Incoming;
use serde_json::Value as Json;
use tokio_util::task::TaskTracker;

use super::{
    HealthApi, Limits,
    administration::{self, Errand},
    caller::{Callers, Token, bearer, is_any, unauthenticated},
    callers_api::require_method,
    changes,
    error::{ApiError, Code},
    hosts::Hosts,
    json,
    layers::{self, Arrival, Trace},
    members::{Members, misfit},
    openapi,
    serve::{Answer, Handle, Peer},
    trail_api::{self, Reader, TrailApi},
};
use crate::{admin::Admin, clock::Clock};

/// The longest wait for a barrier, some multiples of the bound on staleness, and for what stands in the store.
const BARRIER_WAIT_MAX: Duration = Duration::from_secs(10);

/// What operators ask without a person.
pub(super) const STATUS: &str = "/admin/v1/status";
pub(super) const BARRIER: &str = "/admin/v1/barrier";

/// What a barrier tells: which sources it waited for. An error is the operator's text.
pub type Barrier = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Json, String>> + Send>> + Send + Sync>;

/// The state of every room, ids of persons and records aside.
pub type Status = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Json> + Send>> + Send + Sync>;

/// Which sidecars a barrier is for.
enum Scope {
    This,
    All,
}

/// Everything that the operators' interface needs.
#[derive(Clone)]
pub struct AdminApi {
    pub tokens: Vec<Token>,
    pub hosts: Hosts,
    pub clock: Arc<dyn Clock>,
    pub tasks: TaskTracker,
    pub status: Status,
    /// Returns once a revocation committed before the call can allow nothing here.
    pub barrier: Barrier,
    /// The same on every sidecar of the store; tells who has confirmed.
    pub barrier_everywhere: Barrier,
    /// What administrators change.
    pub admin: Arc<Admin>,
    /// Whether headers say who the administrator is (`server.admin.asserted`).
    pub is_asserted: bool,
    pub limits: Arc<Limits>,
    /// Reads the trail.
    pub trail: Option<Arc<TrailApi>>,
    /// Probes and metrics here too: in the demo.
    pub health: Option<Arc<HealthApi>>,
}

impl fmt::Debug for AdminApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminApi").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl AdminApi {
    /// Whether one of the tokens is also a caller's: then the listener must not open.
    pub fn shares_a_token_with(&self, callers: &Callers) -> bool {
        self.tokens.iter().any(|token| callers.share(token))
    }

    async fn answer(
        &self,
        arrival: &Arrival,
        trace: &mut Trace,
        parts: &Parts,
        body: &mut Incoming,
        peer: &Peer,
    ) -> Result<Answer, ApiError> {
        self.hosts.admit(peer, parts)?;
        if let Some((route, answer)) = self.health.as_ref().and_then(|health| health.answer(parts)) {
            trace.route = route;
            return answer;
        }
        if arrival.path == openapi::PATH {
            trace.route = openapi::PATH;
            require_method(&arrival.method, &Method::GET, "GET")?;
            return Ok(layers::json_answer(openapi::text()));
        }
        if !bearer(&parts.headers).is_some_and(|token| is_any(&self.tokens, token)) {
            return Err(unauthenticated());
        }
        trace.caller = Some("admin".to_owned());
        match arrival.path.as_str() {
            STATUS => {
                trace.route = STATUS;
                require_method(&arrival.method, &Method::GET, "GET")?;
                let status = (self.status)();
                let telling = async move { layers::to_json(&status.await).map(layers::json_answer) };
                layers::within(BARRIER_WAIT_MAX, &self.tasks, telling).await
            }
            BARRIER => {
                trace.route = BARRIER;
                require_method(&arrival.method, &Method::POST, "POST")?;
                match self.scope(body).await? {
                    Scope::This => layers::within(BARRIER_WAIT_MAX, &self.tasks, reach((self.barrier)())).await,
                    Scope::All => {
                        layers::within(BARRIER_WAIT_MAX, &self.tasks, tell((self.barrier_everywhere)())).await
                    }
                }
            }
            path => match (administration::route(path), trail_api::route(path)) {
                (Some(path), _) => {
                    trace.route = path.route;
                    self.administer(path, arrival, trace, parts, body).await
                }
                (None, Some(reading)) => {
                    trace.route = reading.path();
                    require_method(&arrival.method, &Method::GET, "GET")?;
                    self.read_trail(reading, arrival, trace, parts).await
                }
                (None, None) => Err(ApiError::new(Code::NotFound, "no such path")),
            },
        }
    }

    /// Which sidecars a barrier is for: this one, unless the body says otherwise. A call without a content type was always
    /// answered, and a body that says `all` must not be taken for one that says nothing.
    async fn scope(&self, body: &mut Incoming) -> Result<Scope, ApiError> {
        let body = layers::read_bytes(body, self.limits.body_bytes_max, &self.limits).await?;
        if body.is_empty() {
            return Ok(Scope::This);
        }
        let mut members = Members::new(json::read_object(&body, &self.limits.json)?, self.limits.id_bytes_max);
        let scope = match members.word("scope")?.as_deref() {
            None | Some("this") => Scope::This,
            Some("all") => Scope::All,
            Some(_) => return Err(misfit("scope", "must be `this` or `all`")),
        };
        members.end()?;
        Ok(scope)
    }

    /// A person reads the trail of the tenant they work in, if the policies let them.
    async fn read_trail(
        &self,
        reading: trail_api::Route,
        arrival: &Arrival,
        trace: &mut Trace,
        parts: &Parts,
    ) -> Result<Answer, ApiError> {
        let trail = self.trail.as_ref().ok_or_else(|| ApiError::new(Code::NotFound, "no such path"))?;
        let actor = administration::actor(&parts.headers, arrival, self.is_asserted, &*self.clock)?;
        trace.decision_id = Some(actor.decision_id.clone());
        let tenant = administration::tenant(&actor)?.to_owned();
        let id = actor.principal.as_ref().map(|principal| principal.id.clone()).unwrap_or_default();
        let (admin, of) = (Arc::clone(&self.admin), tenant.clone());
        let asking =
            Box::pin(async move { Ok::<_, ApiError>(admin.ask_to_read(&actor, reading.action(), &of).await?) });
        layers::within(self.limits.deadline, &self.tasks, asking).await?;
        Arc::clone(trail).answer(reading, Reader { id, tenant }, parts, arrival).await
    }

    /// A call of a person: who it is, what they may and what they want is for the rooms behind.
    async fn administer(
        &self,
        path: administration::Path,
        arrival: &Arrival,
        trace: &mut Trace,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<Answer, ApiError> {
        let methods = path.methods;
        if !methods.split(", ").any(|method| method == arrival.method.as_str()) {
            return Err(ApiError::new(Code::MethodNotAllowed(methods), format!("only {methods} is answered here")));
        }
        let actor = administration::actor(&parts.headers, arrival, self.is_asserted, &*self.clock)?;
        trace.decision_id = Some(actor.decision_id.clone());
        let body = match arrival.method {
            Method::POST => changes::body_or_nothing(&parts.headers, body, &self.limits).await?,
            _ => bytes::Bytes::new(),
        };
        let errand = Errand {
            actor,
            method: arrival.method.clone(),
            path,
            uri: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers.clone(),
            body,
        };
        let work = Box::pin(administration::answer(Arc::clone(&self.admin), errand, Arc::clone(&self.limits)));
        let work = tracing::Instrument::instrument(work, tracing::Span::current());
        layers::within(self.limits.deadline, &self.tasks, work).await
    }
}

async fn reach(barrier: impl Future<Output = Result<Json, String>> + Send) -> Result<Answer, ApiError> {
    match barrier.await {
        Ok(sources) => {
            layers::to_json(&serde_json::json!({ "barrier": "reached", "sources": sources })).map(layers::json_answer)
        }
        Err(detail) => Err(ApiError::new(Code::NotReady, detail)),
    }
}

async fn tell(barrier: impl Future<Output = Result<Json, String>> + Send) -> Result<Answer, ApiError> {
    match barrier.await {
        Ok(told) => layers::to_json(&told).map(layers::json_answer),
        Err(detail) => Err(ApiError::new(Code::NotReady, detail)),
    }
}

impl Handle for AdminApi {
    async fn handle(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer) -> Answer {
        let (parts, mut body) = request.into_parts();
        let arrival = Arrival::new(&parts, &*self.clock);
        let span = arrival.span();
        let answering = async {
            let mut trace = Trace::default();
            let result = self.answer(&arrival, &mut trace, &parts, &mut body, &peer).await;
            // A body that nobody took is let in, so that the answer gets out.
            layers::drain(&mut body).await;
            arrival.finish(result, &trace, &*self.clock)
        };
        tracing::Instrument::instrument(answering, span).await
    }
}
