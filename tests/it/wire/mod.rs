//! The callers' and the operators' interfaces on real listeners: who may ask, what is read, what every answer carries.

mod decisions;
mod grants;
mod rights;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use chaperone::{
    clock::{Clock, FrozenClock, SystemClock},
    domain::{CallerName, request::Caller},
    http::{
        AdminApi, CallerEntry, Callers, CallersApi, Capability, ComponentState, Door, HealthApi, Hosts, House, Limits,
        Room, Token,
        serve::{Answer as Reply, Handle, Peer, serve},
    },
};
use hyper::{Request, body::Incoming};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::helpers::{
    authorizer::Authorizing,
    raw::{Answer, Line},
    world::World,
};

const QUESTION: &str =
    r#"{"subject":{"type":"User","id":"ana"},"action":{"name":"read"},"resource":{"type":"Note","id":"N1"}}"#;

fn caller(name: &str, token: &str, capabilities: &[Capability]) -> CallerEntry {
    CallerEntry {
        name: name.to_owned(),
        tokens: Token::new(token).into_iter().collect(),
        capabilities: capabilities.iter().copied().collect(),
        caller: Arc::new(Caller { name: Some(CallerName(name.into())), ..Caller::default() }),
        ..CallerEntry::default()
    }
}

fn callers() -> Arc<Callers> {
    let entries = vec![caller("ehr", "right", &[Capability::Decide]), caller("index", "search", &[Capability::Search])];
    Arc::new(Callers::new(entries).expect("callers that differ"))
}

/// The callers' interface with the world that it stands on.
struct Furnished {
    api: Arc<CallersApi>,
    authorizing: Authorizing,
}

impl Furnished {
    async fn new(limits: Limits, demo_clock: Option<FrozenClock>) -> Self {
        Self::on(World::sqlite().await, limits, demo_clock).await
    }

    async fn on(world: World, limits: Limits, demo_clock: Option<FrozenClock>) -> Self {
        let authorizing = Authorizing::on(world).await;
        let api = Arc::new(CallersApi::new(room(&authorizing, limits, demo_clock)));
        Self { api, authorizing }
    }
}

impl Handle for Furnished {
    fn handle(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply> + Send {
        Arc::clone(&self.api).handle(request, peer)
    }
}

fn room(authorizing: &Authorizing, limits: Limits, demo_clock: Option<FrozenClock>) -> Room {
    Room {
        authorizer: Arc::clone(&authorizing.authorizer),
        admin: authorizing.admin(None),
        callers: callers(),
        hosts: Hosts::loopback_and([]),
        clock: Arc::new(SystemClock),
        limits: Arc::new(limits),
        tasks: TaskTracker::new(),
        base_url: "http://127.0.0.1:8380".to_owned(),
        demo_clock,
    }
}

async fn open(handler: impl Handle) -> Result<SocketAddr> {
    open_shared(Arc::new(handler)).await
}

async fn open_shared(handler: Arc<impl Handle>) -> Result<SocketAddr> {
    let house = House {
        clock: Arc::new(SystemClock),
        limits: Arc::new(Limits::default()),
        tasks: TaskTracker::new(),
        shutdown: CancellationToken::new(),
    };
    let door = Door::tcp("127.0.0.1:0".parse()?).await?;
    let address = door.tcp_address().expect("an address");
    drop(house.tasks.clone().spawn(serve(door, handler, house)));
    Ok(address)
}

async fn ask(address: SocketAddr, first: &str, headers: &str, body: &str) -> Result<Answer> {
    Line::tcp(address).await?.ask(format!("{first} HTTP/1.1\r\nhost: localhost\r\n{headers}"), body).await
}

const POST: &str = "POST /access/v1/evaluation";
const JSON: &str = "authorization: Bearer right\r\ncontent-type: application/json\r\n";

async fn callers_door() -> Result<SocketAddr> {
    open(Furnished::new(Limits::default(), None).await).await
}

#[tokio::test]
async fn an_unknown_caller_is_refused_before_anything_is_read() -> Result<()> {
    let address = callers_door().await?;
    for headers in ["", "authorization: Bearer wrong\r\n", "authorization: Basic right\r\n"] {
        let answer = ask(address, POST, headers, "no json").await?;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")));
        assert_eq!(answer.json()["detail"], "no valid credential was presented", "one refusal for all causes");
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_without_the_capability_and_a_browser_are_forbidden() -> Result<()> {
    let address = callers_door().await?;
    let searching = "authorization: Bearer search\r\ncontent-type: application/json\r\n";
    let answer = ask(address, POST, searching, QUESTION).await?;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (403, Some(403)));
    assert_eq!(ask(address, POST, &format!("{JSON}origin: http://localhost\r\n"), QUESTION).await?.status, 403);
    let foreign = format!("{POST} HTTP/1.1\r\nhost: evil.example\r\n{JSON}");
    assert_eq!(Line::tcp(address).await?.ask(foreign, QUESTION).await?.status, 403);
    Ok(())
}

#[tokio::test]
async fn a_request_id_comes_back_byte_for_byte_also_with_errors() -> Result<()> {
    let address = callers_door().await?;
    let mut head = format!("{POST} HTTP/1.1\r\nhost: localhost\r\nx-request-id: a  b/ü\"").into_bytes();
    head.extend_from_slice(b"\xff\r\n");
    let answer = Line::tcp(address).await?.ask(&head, "").await?;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("x-request-id"), Some("a  b/\u{c3}\u{bc}\"\u{ff}"));

    let made = ask(address, POST, JSON, "").await?;
    let made_id = made.header("x-request-id").expect("an id is made");
    assert_eq!((made_id.len(), made.json()["request_id"].as_str()), (36, Some(made_id)));
    assert!(made.header("x-decision-id").is_some());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_is_400_with_its_place() -> Result<()> {
    let address = callers_door().await?;
    for (body, path) in [
        ("", ""),
        ("[{}]", ""),
        (r#"{"subject":{"type":"User"}"#, ""),
        (r#"{"subject":{"type":"User","type":"User","id":"ana"}}"#, "/subject/type"),
        (r#"{"subject":{"type":"User","id":1}}"#, "/subject/id"),
        (r#"{"subject":{"type":"User","id":"ana"},"resource":{"type":"Note","id":"N1"}}"#, "/action"),
    ] {
        let answer = ask(address, POST, JSON, body).await?;
        assert_eq!((answer.status, answer.json()["path"].as_str()), (400, Some(path)), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["instance"], "/access/v1/evaluation");
    }
    let text = "authorization: Bearer right\r\ncontent-type: text/plain\r\n";
    assert_eq!(ask(address, POST, text, QUESTION).await?.status, 400);
    let deep = r#"{"evaluations":[{},{},{},{"resource":{"id":"a","id":"b"}}]}"#;
    let answer = ask(address, "POST /access/v1/evaluations", JSON, deep).await?;
    assert_eq!(answer.json()["path"], "/evaluations/3/resource/id");
    Ok(())
}

#[tokio::test]
async fn other_methods_and_paths_are_named_as_such() -> Result<()> {
    let address = callers_door().await?;
    for path in ["/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/outcome"] {
        for method in ["GET", "PUT"] {
            let answer = ask(address, &format!("{method} {path}"), JSON, "").await?;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
        }
    }
    assert_eq!(ask(address, "POST /access/v1/search/subject", JSON, "{}").await?.status, 404);
    assert_eq!(ask(address, "POST /demo/v1/clock", JSON, "{}").await?.status, 404, "no clock was given");
    Ok(())
}

#[tokio::test]
async fn a_body_at_its_limit_is_read_and_one_byte_more_is_413() -> Result<()> {
    let address = callers_door().await?;
    let padded = |length: usize| format!("{QUESTION}{}", " ".repeat(length - QUESTION.len()));
    let status = async |body: &str| anyhow::Ok(ask(address, POST, JSON, body).await?.status);
    assert_ne!(status(&padded(64 * 1024)).await?, 413);
    assert_eq!(status(&padded(64 * 1024 + 1)).await?, 413);

    // Without a length in front, the limit holds while the chunks come.
    let mut line = Line::tcp(address).await?;
    let chunk = format!("1001\r\n{}\r\n", " ".repeat(0x1001));
    line.send(format!("{POST} HTTP/1.1\r\nhost: localhost\r\n{JSON}transfer-encoding: chunked\r\n\r\n")).await?;
    line.send(chunk.repeat(16)).await?;
    assert_eq!(line.answer().await?.status, 413);
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() -> Result<()> {
    let limits = Limits { body: std::time::Duration::from_millis(20), ..Limits::default() };
    let address = open(Furnished::new(limits, None).await).await?;
    let mut line = Line::tcp(address).await?;
    line.send(format!("{POST} HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 100\r\n\r\n{{")).await?;
    assert_eq!(line.answer().await?.status, 408);
    Ok(())
}

#[tokio::test]
async fn a_refusal_reaches_a_caller_that_is_still_writing() -> Result<()> {
    let address = callers_door().await?;
    let mut line = Line::tcp(address).await?;
    let length = 512 * 1024;
    line.send(format!("{POST} HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: {length}\r\n\r\n")).await?;
    for _ in 0..length / 1024 {
        line.send([b' '; 1024]).await?;
        tokio::task::yield_now().await;
    }
    assert_eq!(line.answer().await?.status, 413);
    assert_eq!(line.ask("GET /none HTTP/1.1\r\nhost: localhost\r\n", "").await?.status, 401, "and it may go on");
    Ok(())
}

#[tokio::test]
async fn metadata_are_public() -> Result<()> {
    let answer = ask(callers_door().await?, "GET /.well-known/authzen-configuration", "", "").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["policy_decision_point"], "http://127.0.0.1:8380");
    assert!(!answer.body.contains("search"));
    Ok(())
}

#[tokio::test]
async fn the_demo_moves_its_clock_and_refuses_what_is_no_instant() -> Result<()> {
    let frozen = FrozenClock::at("2026-03-10T15:00:00Z".parse()?);
    let address = open(Furnished::new(Limits::default(), Some(frozen.clone())).await).await?;
    let moved = ask(address, "POST /demo/v1/clock", JSON, r#"{"now":"2026-03-11T00:00:00Z"}"#).await?;
    assert_eq!((moved.status, frozen.now().to_string()), (200, "2026-03-11T00:00:00Z".to_owned()));
    let refused = ask(address, "POST /demo/v1/clock", JSON, r#"{"now":"tomorrow"}"#).await?;
    assert_eq!((refused.status, refused.json()["path"].as_str()), (400, Some("/now")));
    assert_eq!(ask(address, "POST /demo/v1/clock", "", "{}").await?.status, 401);
    Ok(())
}

fn admin(authorizing: &Authorizing) -> AdminApi {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let readiness = || vec![ComponentState { name: "policies".into(), is_ready: true, detail: "".into() }];
    let metrics = Arc::new(|| "chaperone_policy_info 1\n".to_owned());
    AdminApi {
        tokens: Token::new("admin").into_iter().collect(),
        hosts: Hosts::loopback_and([]),
        clock: Arc::clone(&clock),
        tasks: TaskTracker::new(),
        status: Arc::new(|| Box::pin(async { json!({"policies":{"revision":"sha256:aa"}}) })),
        barrier: Arc::new(|| Box::pin(async { Ok(json!({})) })),
        barrier_everywhere: Arc::new(|| Box::pin(async { Ok(json!({"barrier":"not_reached","in_force":false})) })),
        admin: authorizing.admin(None),
        is_asserted: true,
        limits: Arc::new(Limits::default()),
        trail: None,
        health: Some(Arc::new(HealthApi::new(clock, Arc::new(readiness), metrics))),
    }
}

#[tokio::test]
async fn the_admin_listener_knows_its_own_token_alone() -> Result<()> {
    let authorizing = Authorizing::on(World::sqlite().await).await;
    let address = open(admin(&authorizing)).await?;
    let with = |token: &str| format!("authorization: Bearer {token}\r\n");
    let status = ask(address, "GET /admin/v1/status", &with("admin"), "").await?;
    assert_eq!((status.status, status.json()), (200, json!({"policies":{"revision":"sha256:aa"}})));
    let barrier = ask(address, "POST /admin/v1/barrier", &with("admin"), "{}").await?;
    assert_eq!((barrier.status, barrier.body.as_str()), (200, r#"{"barrier":"reached","sources":{}}"#));
    for (body, status, told) in [
        ("", 200, "/sources"),
        (r#"{"scope":"this"}"#, 200, "/sources"),
        (r#"{"scope":"all"}"#, 200, "/in_force"),
        (r#"{"scope":"here"}"#, 400, "/path"),
        (r#"{"scop":"all"}"#, 400, "/path"),
        ("all", 400, "/path"),
    ] {
        let barrier = ask(address, "POST /admin/v1/barrier", &with("admin"), body).await?;
        assert!(barrier.status == status && barrier.json().pointer(told).is_some(), "{body}: {}", barrier.body);
    }
    assert_eq!(ask(address, "GET /admin/v1/status", &with("right"), "").await?.status, 401);
    assert_eq!(ask(address, "GET /admin/v1/barrier", &with("admin"), "").await?.status, 405);
    assert_eq!(ask(address, "POST /admin/v1/unknown", "", "").await?.status, 401);
    let nobody = ask(address, "GET /admin/v1/grants", &with("admin"), "").await?;
    assert_eq!((nobody.status, nobody.json()["type"].as_str()), (401, Some("urn:chaperone:problem:unauthenticated")));
    let sid = with("admin")
        + "chaperone-principal: sid\r\nchaperone-session: mfa=true, age_seconds=1, idle_seconds=1, tenant=T1\r\n";
    let away = ask(address, "GET /admin/v1/grants", &sid, "").await?;
    assert_eq!((away.status, away.json()["reason"].as_str()), (503, Some("data_unavailable")), "{}", away.body);
    let keyless = ask(address, "POST /admin/v1/grants/BG1/revoke", &sid, "").await?;
    assert_eq!(keyless.status, 400, "{}", keyless.body);
    assert_eq!(ask(callers_door().await?, POST, &with("admin"), QUESTION).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn probes_and_metrics_need_no_token() -> Result<()> {
    let authorizing = Authorizing::on(World::sqlite().await).await;
    let address = open(admin(&authorizing)).await?;
    for (path, body) in [("/livez", "ok\n"), ("/readyz", "ready\n"), ("/startupz", "started\n")] {
        let answer = ask(address, &format!("GET {path}"), "", "").await?;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }
    assert_eq!(ask(address, "GET /readyz?verbose", "", "").await?.body, "[+] policies\nready\n");
    assert_eq!(ask(address, "GET /metrics", "", "").await?.body, "chaperone_policy_info 1\n");
    Ok(())
}

#[tokio::test]
async fn a_token_for_both_interfaces_is_noticed() {
    let authorizing = Authorizing::on(World::sqlite().await).await;
    let (callers, own) = (callers(), admin(&authorizing));
    assert!(!own.shares_a_token_with(&callers));
    assert!(AdminApi { tokens: Token::new("right").into_iter().collect(), ..own }.shares_a_token_with(&callers));
}
