//! Probes and metrics, on a listener of their own. No ids and no secrets, so no credential.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::{
    callers_api::require_method,
    error::{ApiError, Code},
    layers::{self, Arrival, Trace},
    serve::{Answer, Handle, Peer},
};
use crate::clock::Clock;

/// One thing that must hold before questions are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentState {
    /// A name such as `policies`, `facts`, `trail`.
    pub name: Cow<'static, str>,
    pub is_ready: bool,
    /// What is missing, or what still works: for operators, without ids.
    pub detail: Cow<'static, str>,
}

/// Every path.
pub(super) const ROUTES: [&str; 4] = ["/livez", "/readyz", "/startupz", "/metrics"];

/// Answers `/livez`, `/readyz`, `/startupz` and `/metrics`.
#[derive(Clone)]
pub struct HealthApi {
    pub clock: Arc<dyn Clock>,
    pub readiness: Arc<dyn Fn() -> Vec<ComponentState> + Send + Sync>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for HealthApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthApi").finish_non_exhaustive()
    }
}

impl HealthApi {
    pub fn new(
        clock: Arc<dyn Clock>,
        readiness: Arc<dyn Fn() -> Vec<ComponentState> + Send + Sync>,
        metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ) -> Self {
        Self { clock, readiness, metrics }
    }

    /// The answer to a path of this interface, `None` to any other, and the route that the log names.
    pub(super) fn answer(&self, parts: &http::request::Parts) -> Option<(&'static str, Result<Answer, ApiError>)> {
        let route = ROUTES.into_iter().find(|route| *route == parts.uri.path())?;
        let is_verbose =
            parts.uri.query().is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
        let answer = require_method(&parts.method, &Method::GET, "GET").map(|()| match route {
            "/livez" => plain(StatusCode::OK, "ok\n".to_owned()),
            "/metrics" => layers::answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (self.metrics)()),
            // This listener opens after policies and trail: who gets an answer here has a started process. A database that
            // is away is a matter of readiness; a probe that waited for it would keep the application from starting.
            "/startupz" => plain(StatusCode::OK, "started\n".to_owned()),
            _ => self.ready(is_verbose),
        });
        Some((route, answer))
    }

    fn ready(&self, is_verbose: bool) -> Answer {
        let components = (self.readiness)();
        let is_ready = components.iter().all(|component| component.is_ready);
        let mut text = String::new();
        // What is missing is always named; what is there, on request.
        for component in components.iter().filter(|component| is_verbose || !component.is_ready) {
            let mark = if component.is_ready { '+' } else { '-' };
            let gap = if component.detail.is_empty() { "" } else { ": " };
            text.push_str(&format!("[{mark}] {}{gap}{}\n", component.name, component.detail));
        }
        text.push_str(if is_ready { "ready\n" } else { "not ready\n" });
        plain(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
    }
}

fn plain(status: StatusCode, text: String) -> Answer {
    layers::answer(status, "text/plain; charset=utf-8", text)
}

impl Handle for HealthApi {
    async fn handle(self: Arc<Self>, request: http::Request<Incoming>, _: Peer) -> Answer {
        let (parts, _) = request.into_parts();
        let arrival = Arrival::new(&parts, &*self.clock);
        let span = arrival.span();
        let _entered = span.enter();
        let (route, result) = self.answer(&parts).unwrap_or(("", Err(ApiError::new(Code::NotFound, "no such path"))));
        arrival.finish(result, &Trace { route, ..Trace::default() }, &*self.clock)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::clock::SystemClock;

    fn component(name: &'static str, is_ready: bool) -> ComponentState {
        let detail = if is_ready { "" } else { "the database does not answer" };
        ComponentState { name: name.into(), is_ready, detail: detail.into() }
    }

    fn asked(api: &HealthApi, path: &str) -> (u16, String) {
        let parts = http::Request::get(path).body(()).unwrap().into_parts().0;
        let (parts, body) = api.answer(&parts).unwrap().1.unwrap().into_parts();
        let body = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(body)).unwrap().unwrap();
        (parts.status.as_u16(), String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    fn api(is_ready: &Arc<AtomicBool>) -> HealthApi {
        let is_ready = Arc::clone(is_ready);
        let readiness = move || vec![component("policies", true), component("facts", is_ready.load(Ordering::Relaxed))];
        HealthApi::new(Arc::new(SystemClock), Arc::new(readiness), Arc::new(|| "chaperone_up 1\n".to_owned()))
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let api = api(&Arc::new(AtomicBool::new(false)));
        assert_eq!(asked(&api, "/readyz"), (503, "[-] facts: the database does not answer\nnot ready\n".to_owned()));
        assert!(asked(&api, "/readyz?verbose").1.starts_with("[+] policies\n[-] facts"));
        assert_eq!(asked(&api, "/livez"), (200, "ok\n".to_owned()), "alive is another question");
        assert_eq!(asked(&api, "/metrics").1, "chaperone_up 1\n");
    }

    #[test]
    fn a_process_that_waits_for_its_database_has_started_and_is_not_ready() {
        let is_ready = Arc::new(AtomicBool::new(false));
        let api = api(&is_ready);
        assert_eq!((asked(&api, "/startupz").0, asked(&api, "/readyz").0), (200, 503));
        is_ready.store(true, Ordering::Relaxed);
        assert_eq!((asked(&api, "/startupz").0, asked(&api, "/readyz").0), (200, 200));
    }
}
