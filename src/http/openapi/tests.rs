//! The document against the routers, and against the file that is committed.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{operations, text};
use crate::http::{admin, administration, callers_api, grants, health, trail_api};

/// What the routers answer: method and path.
fn routed() -> BTreeSet<(String, String)> {
    let mut routed = BTreeSet::new();
    let mut put = |methods: &str, path: &str| {
        for method in methods.split(", ") {
            assert!(routed.insert((method.to_owned(), path.to_owned())), "{method} {path} twice");
        }
    };
    put("GET", super::PATH);
    put("GET", callers_api::METADATA);
    callers_api::Ask::ALL.into_iter().for_each(|ask| put("POST", ask.path()));
    for route in grants::ROUTES {
        put(grants::GrantCall::of(&route.replace("{id}", "BG1")).unwrap().method().1, route);
    }
    administration::ROUTES.into_iter().for_each(|(_, route, methods)| put(methods, route));
    trail_api::Route::ALL.into_iter().for_each(|route| put("GET", route.path()));
    put("GET", admin::STATUS);
    put("POST", admin::BARRIER);
    health::ROUTES.into_iter().for_each(|route| put("GET", route));
    routed
}

#[test]
fn every_route_stands_in_the_document_and_every_operation_is_routed() {
    let operations = operations::all();
    let written: BTreeSet<_> = operations.iter().map(|call| (call.method.to_owned(), call.path.to_owned())).collect();
    assert_eq!(written.len(), operations.len(), "none is described twice");
    assert_eq!(written, routed());
}

#[test]
fn each_grant_path_is_its_own_call() {
    for route in grants::ROUTES {
        assert_eq!(grants::GrantCall::of(&route.replace("{id}", "BG1")).unwrap().route(), route);
    }
}

/// Every `$ref` of a part of the document.
fn references(part: &Json, found: &mut BTreeSet<String>) {
    match part {
        Json::Object(members) => members.iter().for_each(|(name, member)| match member {
            Json::String(place) if name == "$ref" => drop(found.insert(place.clone())),
            _ => references(member, found),
        }),
        Json::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document: Json = serde_json::from_slice(&text()).unwrap();
    let mut places = BTreeSet::new();
    references(&document, &mut places);
    for place in &places {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(places.contains(&format!("#/components/schemas/{name}")), "{name} is described and not used");
    }
}

#[test]
fn every_call_about_one_thing_is_led_to_from_an_answer_that_names_it() {
    let operations = operations::all();
    let document: Json = serde_json::from_slice(&text()).unwrap();
    let mut led_to = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (status, response) in
            item.as_object().unwrap().values().flat_map(|call| call["responses"].as_object().unwrap())
        {
            for (name, link) in response["links"].as_object().into_iter().flatten() {
                let to = operations.iter().find(|call| call.id() == link["operationId"]).unwrap();
                assert!(status.starts_with('2') && *name == to.id(), "{path} {status} {name}");
                // What the expression points to is a member of the answer's schema.
                let place = link["parameters"]["id"].as_str().unwrap().strip_prefix("$response.body#/").unwrap();
                let mut schema = &response["content"]["application/json"]["schema"];
                for step in place.split('/') {
                    if let Some(of) = schema["$ref"].as_str() {
                        schema = document.pointer(of.trim_start_matches('#')).unwrap();
                    }
                    schema = if step == "0" { &schema["items"] } else { &schema["properties"][step] };
                }
                assert_eq!(schema["type"], "string", "{path}: {place}");
                led_to.insert(to.id());
            }
        }
    }
    // A person is the application's: no answer here is where their id is first read.
    let is_of_a_person = |id: &str| id.contains("_users_id_");
    let about_one = operations.iter().filter(|call| call.is_about_one()).map(|call| call.id());
    assert_eq!(led_to, about_one.filter(|id| !is_of_a_person(id)).collect::<BTreeSet<_>>());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a document for eyes: git keeps what it was")]
fn the_committed_document_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let served = String::from_utf8(text().to_vec()).unwrap();
    if committed != served {
        // Left where whoever changed an operation finds it: a look at the difference, and a commit.
        std::fs::write(path, &served).unwrap();
    }
    assert!(committed == served, "{path} was stale: it is written anew, look at the difference and commit it");
}
