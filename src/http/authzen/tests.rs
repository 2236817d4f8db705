//! Tests of `authzen`.

use std::sync::Mutex;

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    audit::AppendError,
    domain::Decision,
    http::answer::tests::{evaluation, recorded},
};

fn asking() -> Asking {
    Asking { caller: Arc::default(), request_id: "r".to_owned(), trace_id: None, decision_id: "B".to_owned() }
}

/// Answers `given` by a judge that allows ids beginning with `y`, and says which decisions were asked for.
async fn answered(given: Json) -> (String, Vec<String>) {
    let limits = Limits::default();
    let Json::Object(object) = given else { panic!("an object") };
    let Asked::Batch(batch) = question::batch(object, &limits).unwrap() else { panic!("a batch") };
    let with_context = batch.with_context;
    let asked = Mutex::new(Vec::new());
    let judge = |request: Request| {
        asked.lock().unwrap().push(request.decision_id);
        let decision = if request.resource.id.starts_with('y') { Decision::Allow } else { Decision::Deny };
        // The first letters settle later than the last ones, so that order is not given by chance.
        let turns = usize::from(request.resource.id.len() == 1) * 20;
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok(recorded(evaluation(decision)))
        }
    };
    let items = answer_items(batch, &asking(), &limits, judge).await.unwrap();
    let body = String::from_utf8(answer::batch(&items, with_context).unwrap()).unwrap();
    (body, asked.into_inner().unwrap())
}

fn batch(semantic: &str, ids: &[&str]) -> Json {
    let items: Vec<_> = ids.iter().map(|id| json!({"resource":{"type":"Note","id":id}})).collect();
    json!({"subject":{"type":"User","id":"ana"},"action":{"name":"read"},"evaluations":items,
        "options":{"evaluations_semantic":semantic}})
}

#[tokio::test]
async fn all_items_are_answered_in_order_and_numbered() {
    let (body, asked) = answered(batch("execute_all", &["y", "no", "yes"])).await;
    assert_eq!(body, r#"{"evaluations":[{"decision":true},{"decision":false},{"decision":true}]}"#);
    assert_eq!(asked, ["B.0", "B.1", "B.2"]);
}

#[tokio::test]
async fn the_first_deny_stops_and_what_follows_is_never_asked() {
    let (body, asked) = answered(batch("deny_on_first_deny", &["y", "n", "yes"])).await;
    assert_eq!(body, r#"{"evaluations":[{"decision":true},{"decision":false}]}"#);
    assert_eq!(asked, ["B.0", "B.1"]);
}

#[tokio::test]
async fn the_first_permit_stops() {
    let (body, asked) = answered(batch("permit_on_first_permit", &["n", "y", "no"])).await;
    assert_eq!(body, r#"{"evaluations":[{"decision":false},{"decision":true}]}"#);
    assert_eq!(asked.len(), 2);
}

#[tokio::test]
async fn a_bad_item_is_a_deny_even_alone_and_stops_a_batch_that_stops_at_denies() {
    let mut given = batch("deny_on_first_deny", &["y", "y"]);
    given["evaluations"][0] = json!({"resource":{"type":"Note"}});
    let failed = r#"{"decision":false,"context":{"error":{"status":400,"message":"resource.id is required"}}}"#;
    assert_eq!(answered(given).await.0, format!(r#"{{"evaluations":[{failed}]}}"#));
    assert!(answered(json!({"evaluations":[7]})).await.0.contains("the item must be an object"));
}

#[tokio::test]
async fn one_item_without_a_record_leaves_the_whole_batch_without_an_answer() {
    let Json::Object(object) = batch("execute_all", &["y", "n", "y"]) else { panic!("an object") };
    let Asked::Batch(batch) = question::batch(object, &Limits::default()).unwrap() else { panic!("a batch") };
    let judge = |request: Request| async move {
        match request.resource.id.as_str() {
            "n" => Err(AuthorizeError::Unrecorded(AppendError::Full)),
            _ => Ok(recorded(evaluation(Decision::Allow))),
        }
    };
    let error = answer_items(batch, &asking(), &Limits::default(), judge).await.unwrap_err();
    assert!(matches!(error, AuthorizeError::Unrecorded(AppendError::Full)));
}

#[test]
fn metadata_use_the_public_url_as_it_is() {
    let metadata = Metadata::new("https://pdp.example.com");
    assert_eq!(metadata.path, "/.well-known/authzen-configuration");
    assert_eq!(
        metadata.body,
        r#"{"policy_decision_point":"https://pdp.example.com","access_evaluation_endpoint":"https://pdp.example.com/access/v1/evaluation","access_evaluations_endpoint":"https://pdp.example.com/access/v1/evaluations","supported_obligations":["step-up","notification","session_termination","custom"]}"#
    );
    let tenant = Metadata::new("https://pdp.example.com/tenant1");
    assert_eq!(tenant.path, "/.well-known/authzen-configuration/tenant1");
}
