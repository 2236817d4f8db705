//! Tests of `question`.

use serde_json::json;

use super::*;

fn limits() -> Limits {
    Limits::default()
}

fn envelope() -> Envelope {
    Envelope {
        caller: Arc::default(),
        request_id: "r".to_owned(),
        trace_id: None,
        decision_id: "d".to_owned(),
        api: Api::Evaluation,
    }
}

fn parts(given: Json) -> Parts {
    let Json::Object(object) = given else { panic!("an object") };
    Parts::take(object)
}

fn ask(given: Json) -> Result<Request, Misfit> {
    parse(parts(given), envelope(), &limits())
}

fn with(path: &str, value: Option<Json>) -> Json {
    let mut question = json!({"subject":{"type":"User","id":"ana"},"action":{"name":"read","properties":{}},
        "resource":{"type":"Note","id":"N1"},"context":{}});
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = question.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(key.to_owned(), value)),
        None => drop(parent.shift_remove(key)),
    }
    question
}

#[test]
fn a_whole_question_is_read_in_its_own_words() {
    let request = ask(json!({
        "subject":{"type":"User","id":"ana","properties":{"role":"x"}},
        "action":{"name":"read","properties":{"fields":["clin.note","*"],"mode":"filter","soft":true}},
        "resource":{"type":"Note","id":"N1","properties":{"status":"archived"}},
        "context":{"purpose":"TREAT","supported_obligations":["step-up"],"ip":"10.0.0.9"},
        "page":{"limit":"ignored"},"unknown":[1]}))
    .unwrap();
    assert_eq!((request.subject.kind.as_str(), request.subject.id.as_str()), ("User", "ana"));
    assert_eq!(request.fields.unwrap(), ["clin.note", "*"]);
    assert_eq!(request.mode, Some(Mode::Filter));
    assert_eq!(Json::Object(request.action_properties), json!({"soft":true}));
    assert_eq!(Json::Object(request.subject_properties), json!({"role":"x"}));
    assert_eq!(Json::Object(request.context), json!({"purpose":"TREAT","ip":"10.0.0.9"}));
}

#[test]
fn every_misfit_is_named_by_its_place() {
    for (path, value, says) in [
        ("/subject", None, "subject is required"),
        ("/subject", Some(json!("ana")), "subject must be an object"),
        ("/subject", Some(json!(null)), "subject must be an object"),
        ("/subject/type", None, "subject.type is required"),
        ("/subject/id", Some(json!(7)), "subject.id must be a string"),
        ("/subject/properties", Some(json!([])), "subject.properties must be an object"),
        ("/action", None, "action is required"),
        ("/action/name", None, "action.name is required"),
        ("/action/name", Some(json!(123)), "action.name must be a string"),
        ("/action/properties", Some(json!(1)), "action.properties must be an object"),
        ("/action/properties/fields", Some(json!("*")), "action.properties.fields must be an array of strings"),
        ("/resource/id", None, "resource.id is required"),
        ("/resource/id", Some(json!("x".repeat(257))), "resource.id must not be longer than 256 bytes"),
        ("/action/properties/mode", Some(json!("all")), "action.properties.mode must be `filter` or `strict`"),
        ("/context", Some(json!("x")), "context must be an object"),
    ] {
        let misfit = ask(with(path, value)).unwrap_err();
        assert_eq!((misfit.path.as_str(), misfit.message().as_str()), (path, says));
    }
    assert_eq!(
        ask(with("/action/properties/fields", Some(json!(["a", 1])))).unwrap_err().path,
        "/action/properties/fields/1"
    );
    assert_eq!(ask(with("/action/properties/fields", Some(json!([])))).unwrap_err().path, "/action/properties/fields");
}

#[test]
fn an_id_at_its_limit_is_read_and_no_context_is_no_fault() {
    assert!(ask(with("/resource/id", Some(json!("x".repeat(256))))).is_ok());
    assert!(ask(with("/context", None)).unwrap().context.is_empty());
}

fn batch_of(given: Json) -> Result<Asked, ApiError> {
    let Json::Object(object) = given else { panic!("an object") };
    batch(object, &limits())
}

#[test]
fn an_item_replaces_an_inherited_entity_whole() {
    let defaults = parts(json!({"subject":{"type":"User","id":"ana"},"action":{"name":"read"},
        "resource":{"type":"Note","id":"N1","properties":{"status":"archived"}}}));
    let own = item(json!({"resource":{"type":"Note","id":"N2"}}), &defaults).unwrap();
    let request = parse(own, envelope(), &limits()).unwrap();
    assert_eq!(request.resource.id, "N2");
    assert!(request.resource_properties.is_empty(), "nothing is merged inside an entity");

    let partial = item(json!({"resource":{"id":"N2"}}), &defaults).unwrap();
    assert_eq!(parse(partial, envelope(), &limits()).unwrap_err().message(), "resource.type is required");
    assert_eq!(parse(item(json!({}), &defaults).unwrap(), envelope(), &limits()).unwrap().resource.id, "N1");
    assert_eq!(item(json!("x"), &defaults).unwrap_err().message(), "the item must be an object");
}

#[test]
fn a_default_that_every_item_replaces_is_not_looked_at() {
    let asked = batch_of(json!({"resource":{},"evaluations":[{"resource":{"type":"Note","id":"N1"}}]})).unwrap();
    assert!(matches!(asked, Asked::Batch(_)));
}

#[test]
fn no_items_are_one_question() {
    assert!(matches!(batch_of(json!({"subject":{}})).unwrap(), Asked::One(_)));
    assert!(matches!(batch_of(json!({"evaluations":[]})).unwrap(), Asked::One(_)));
}

#[test]
fn the_envelope_of_a_batch_is_strict() {
    let refused = |given| {
        let error = batch_of(given).unwrap_err();
        (error.code, error.path.unwrap())
    };
    assert_eq!(refused(json!({"evaluations":{}})), (Code::Malformed, "/evaluations".into()));
    assert_eq!(refused(json!({"options":[]})), (Code::Malformed, "/options".into()));
    for bad in [json!("bogus_value"), json!(1), json!(null)] {
        let given = json!({"options":{"evaluations_semantic":bad}});
        assert_eq!(refused(given), (Code::Malformed, "/options/evaluations_semantic".into()));
    }
    assert_eq!(refused(json!({"options":{"context":"yes"}})), (Code::Malformed, "/options/context".into()));
    assert!(batch_of(json!({"evaluations":vec![json!({}); 1_000],"options":{"page":1}})).is_ok());
    assert_eq!(refused(json!({"evaluations":vec![json!({}); 1_001]})), (Code::TooLarge, "/evaluations".into()));
}

#[test]
fn as_many_fields_as_the_limit_are_read_and_one_more_is_refused() {
    let path = "/action/properties/fields";
    let named = |count: usize| ask(with(path, Some(Json::from(vec!["clin.note"; count]))));
    assert_eq!(named(256).unwrap().fields.unwrap().len(), 256);
    assert_eq!(named(257).unwrap_err(), Misfit::new(path, "must not hold more than 256 names"));
}
