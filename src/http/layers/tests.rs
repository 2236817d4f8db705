//! Tests of `layers`.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn only_a_valid_traceparent_gives_a_trace_id() {
    let id = |value| trace_id(&headers(&[("traceparent", value)]));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace));
    assert_eq!(id("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").as_deref(), Some(trace));
    for wrong in [
        "",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert_eq!(id(wrong), None, "{wrong}");
    }
}

#[test]
fn only_plain_utf8_json_is_read() {
    let is_read = |pairs: &[(&'static str, &'static str)]| check_content(&headers(pairs)).is_ok();
    for right in ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        assert!(is_read(&[("content-type", right)]), "{right}");
    }
    for wrong in ["", "text/plain", "application/jsonp", "application/json; charset=latin1", "text/json"] {
        assert!(!is_read(&[("content-type", wrong)]), "{wrong}");
    }
    assert!(!is_read(&[]));
    assert!(!is_read(&[("content-type", "application/json"), ("content-encoding", "gzip")]));
}

#[tokio::test]
async fn a_caller_gets_its_share_and_no_more() {
    let limits =
        Limits { in_flight_max: 3, caller_share_max: 2, queue_wait: Duration::from_millis(1), ..Limits::default() };
    let gate = Gate::new(2, &limits);
    let first = gate.enter(0, &limits).await.unwrap();
    let _second = gate.enter(0, &limits).await.unwrap();
    let refused = gate.enter(0, &limits).await.err().unwrap();
    assert_eq!(refused.code, Code::Overloaded);
    let _others = gate.enter(1, &limits).await.unwrap();
    assert!(gate.enter(1, &limits).await.is_err(), "all places are taken");
    drop(first);
    assert!(gate.enter(1, &limits).await.is_ok());
}

#[tokio::test]
async fn what_was_begun_is_finished_without_its_caller() {
    let tasks = TaskTracker::new();
    let is_done = Arc::new(AtomicBool::new(false));
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let done = Arc::clone(&is_done);
    let mut work = Detached::new(
        async move {
            wait.await.unwrap();
            done.store(true, Ordering::Relaxed);
        },
        &tasks,
    );
    assert!(futures_util::FutureExt::now_or_never(&mut work).is_none());
    drop(work);
    go.send(()).unwrap();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.unwrap();
    assert!(is_done.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_late_answer_is_an_error_and_its_work_still_finishes() {
    let tasks = TaskTracker::new();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let work = async move {
        wait.await.unwrap();
        tell.send(()).unwrap();
        Ok::<_, ApiError>(())
    };
    let late = within(Duration::from_millis(1), &tasks, work).await.unwrap_err();
    assert_eq!(late.code, Code::DeadlinePassed);
    go.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap().unwrap();
}
