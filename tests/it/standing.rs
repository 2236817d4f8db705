//! The standing of people: kept by the application in the shipped pack, and here where a bundle reads it from the store.

use std::fs;

use chaperone::domain::mapping::Source;
use serde_json::{Value as Json, json};

use crate::{
    helpers::{
        sidecar::{Ended, Sidecar, Told, chaperone, wait_for},
        world::World,
    },
    sidecars::{Practice, ana_asks_for_c4, desk, sid_posts},
};

const STANDING: &str = "/admin/v1/users/ana/standing";

/// What `docs/reference/mapping.md` says to write.
fn reads_suspensions(sidecar: &Sidecar) {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/mapping.md")).unwrap();
    let section = page.split("## Suspensions").nth(1).expect("a section about suspensions");
    let block = |kind: &str| section.split(&format!("```{kind}\n")).nth(1).unwrap().split("```").next().unwrap();
    let relation: String =
        block("yaml").lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let edit = |file: &str, from: &str, to: &str| {
        let path = sidecar.folder().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    let roles = "    relations:\n      roles:\n";
    edit("schemas/clinic.entities.yaml", roles, &roles.replace("      roles:", &format!("{relation}      roles:")));
    edit(
        "schemas/clinic.cedarschema",
        "  active: Bool,\n  employmentEnded",
        "  active: Bool,\n  suspended: Bool,\n  employmentEnded",
    );
    fs::write(sidecar.folder().join("policies/gates/suspension.cedar"), block("cedar")).unwrap();
}

fn set(sidecar: &Sidecar, body: &Json) -> Told {
    sid_posts(sidecar, STANDING, body)
}

fn suspend(sidecar: &Sidecar) -> Told {
    set(sidecar, &json!({ "standing": "suspended", "reason": "left the practice" }))
}

fn reinstate(sidecar: &Sidecar) -> Told {
    set(sidecar, &json!({ "standing": "reinstated" }))
}

/// Whether ana is allowed; a deny must be for her standing.
#[track_caller]
fn is_active(sidecar: &Sidecar) -> bool {
    let told = ana_asks_for_c4(sidecar);
    assert!(told["decision"] == true || told["context"]["reason"] == "user_disabled", "{told}");
    told["decision"] == true
}

fn assigned(sidecar: &Sidecar) {
    let made = sid_posts(sidecar, "/admin/v1/assignments", &json!({ "client": "C4", "user": "ana" }));
    assert_eq!(made.status, 201, "{}", made.body);
}

#[test]
fn what_the_application_keeps_is_left_to_it_and_named() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared().asserted().started();
    assigned(&sidecar);
    let told = suspend(&sidecar);
    assert_eq!((told.status, &told.json()["type"]), (409, &json!("urn:chaperone:problem:conflict")), "{}", told.body);
    let detail = told.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the application keeps who is active (`User` of the mapping)"), "{detail}");
    assert!(is_active(&sidecar));
}

#[test]
fn a_suspension_denies_the_next_decision_until_it_ends_and_so_does_the_applications_word() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared().asserted();
    reads_suspensions(&sidecar);
    let sidecar = sidecar.started();
    assigned(&sidecar);
    assert!(is_active(&sidecar));

    let made = suspend(&sidecar);
    assert_eq!((made.status, &made.json()["state"]), (200, &json!("suspended")), "{}", made.body);
    assert!(!is_active(&sidecar), "in force for the next decision");
    assert_eq!(suspend(&sidecar).status, 409);
    assert_eq!(reinstate(&sidecar).status, 200);
    assert!(is_active(&sidecar));
    assert_eq!(reinstate(&sidecar).status, 409);

    // Two sources of one fact: either denies.
    assert_eq!(suspend(&sidecar).status, 200);
    let says = |sql: &'static str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(practice.world.execute(Source::App, sql));
    };
    says("UPDATE users SET status = 'disabled' WHERE id = 'ana'");
    assert_eq!(reinstate(&sidecar).status, 200);
    assert!(!is_active(&sidecar), "the application's word stands");
    says("UPDATE users SET status = 'active' WHERE id = 'ana'");
    assert!(is_active(&sidecar));

    let later = set(&sidecar, &json!({ "standing": "suspended", "from": "2199-01-01T00:00:00Z" }));
    assert_eq!((later.status, &later.json()["state"]), (200, &json!("not_started")), "{}", later.body);
    assert!(is_active(&sidecar));
    assert_eq!(reinstate(&sidecar).status, 200, "called off");
    for (body, at) in [
        (json!({ "standing": "suspended", "from": "2020-01-01T00:00:00Z" }), "/from"),
        (json!({ "standing": "suspended", "to": "2020-01-01T00:00:00Z" }), "/to"),
        (json!({ "standing": "gone" }), "/standing"),
        (json!({ "standing": "reinstated", "to": "2199-01-01T00:00:00Z" }), "/to"),
    ] {
        let wrong = set(&sidecar, &body);
        assert_eq!((wrong.status, &wrong.json()["path"]), (400, &json!(at)), "{}", wrong.body);
    }
    let own = sid_posts(&sidecar, "/admin/v1/users/sid/standing", &json!({ "standing": "suspended" }));
    assert_eq!(own.status, 403, "{}", own.body);

    let session = "mfa=true, age_seconds=60, idle_seconds=5, tenant=T1";
    let headers = [("chaperone-principal", "sid"), ("chaperone-session", session)];
    let list = desk(&sidecar).get_with(STANDING, &headers).unwrap().json();
    let states: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ended", "ended", "ended"], "{list}");
    wait_for("the records are there", || (sidecar.records().len() > 10).then_some(()));
    let told = |event: &str| {
        let records = sidecar.records();
        records
            .into_iter()
            .filter(|(_, record)| record["detail"]["event"] == event)
            .map(|(_, record)| record)
            .collect::<Vec<_>>()
    };
    assert_eq!((told("suspended").len(), told("reinstated").len()), (3, 3));
    let text = Json::from(told("suspended")).to_string();
    assert!(!text.contains("left the practice"), "what a person wrote is not in the trail: {text}");
}

#[test]
fn cases_may_suspend_people_where_the_bundle_reads_it() {
    let practice = Practice::on(World::sqlite());
    let sidecar = practice.prepared();
    reads_suspensions(&sidecar);
    let case = r#"now: 2026-03-10T15:00:00Z
principals: { ana: User/ana }
resources: { c1: Client/C1 }
cases:
  - name: suspended people are denied
    setup: { store: "INSERT INTO user_standing (id, tenant_id, user_id, valid_from, suspended_by) VALUES ('S1', 'T1', 'ana', '2026-03-10T15:00:00Z', 'sid')" }
    checks:
      - { who: ana, action: read, on: c1, fields: [id.pseudo], expect: deny, reason: user_disabled, policies: [user-is-suspended] }
"#;
    fs::write(sidecar.folder().join("policies/cases/suspended.yaml"), case).unwrap();
    let mut command = chaperone();
    command.arg("test").arg(sidecar.folder().join("policies"));
    command.arg("--schemas").arg(sidecar.folder().join("schemas")).args(["-r", "suspended people"]);
    let ended = Ended::of(&mut command);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}
