//! Emergency grants and their reviews on both databases: asked for, in force at once, stepped through, reviewed.

mod cut;
mod kept;
mod model;
mod reviews;

pub(crate) use cut::Cut;

use std::sync::Arc;

use chaperone::{
    admin::{
        Actor, Admin, AdminError, Once, Version,
        grants::{Approve, AskGrant, End, Extend, GrantView, Occurred, Revoke},
        page::Page,
    },
    audit::{self, Filter},
    domain::{Api, CallerName, EntityRef, Request, grant::Illegal, mapping::Source, request::Caller},
    store::{Part, Store, StoreOptions},
};
use serde_json::{Map, Value as Json, json};

use crate::helpers::{authorizer::Authorizing, world::World};

/// The world with all that makes changes.
pub(crate) struct Clinic {
    pub(crate) admin: Arc<Admin>,
    pub(crate) store: Arc<Store>,
    pub(crate) authorizing: Authorizing,
}

impl Clinic {
    pub(crate) async fn on(world: World) -> Self {
        let store = opened_store(&world).await;
        let authorizing = Authorizing::on(world).await;
        Self { admin: authorizing.admin(Some(Arc::clone(&store))), store, authorizing }
    }

    pub(crate) async fn ask(&self, user: &str, asked: &AskGrant) -> Result<GrantView, AdminError> {
        Ok(self.admin.ask_for_grant(&person(user), asked, None).await?.answer)
    }

    /// Whether `user` may read the group of the client now.
    pub(crate) async fn reads(&self, user: &str, client: &str, group: &str) -> bool {
        let request = Request {
            subject: EntityRef { kind: "User".to_owned(), id: user.to_owned() },
            subject_properties: Map::new(),
            action: "read".to_owned(),
            fields: Some(vec![group.to_owned()]),
            mode: None,
            action_properties: Map::new(),
            resource: EntityRef { kind: "Client".to_owned(), id: client.to_owned() },
            resource_properties: Map::new(),
            context: Map::from_iter([("session".to_owned(), Json::Object(session()))]),
            caller: Arc::default(),
            request_id: "r".to_owned(),
            trace_id: None,
            decision_id: "d".to_owned(),
            api: Api::Evaluation,
        };
        self.authorizing.authorizer.authorize(request).await.unwrap().value().decision.is_allow()
    }

    /// The records of grants and reviews, each by its event.
    pub(crate) fn told(&self, kind: &str) -> Vec<Json> {
        let folder = self.authorizing.trail();
        let records = audit::records(&folder, Filter::default()).unwrap();
        let lines = records.map(|record| serde_json::from_slice::<Json>(&record.unwrap().line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }
}

pub(crate) async fn opened_store(world: &World) -> Arc<Store> {
    let store = Store::open(&world.url(Source::Store), StoreOptions::default()).unwrap();
    store.install(&[Part::Tables], "2026-03-10T15:00:00Z".parse().unwrap()).await.unwrap();
    Arc::new(store)
}

fn session() -> Map<String, Json> {
    let Json::Object(session) = json!({"mfa": true, "idle_seconds": 5, "age_seconds": 60}) else { unreachable!() };
    session
}

/// A person of T1 in a live session, behind the application.
pub(crate) fn person(id: &str) -> Actor {
    Actor {
        caller: Arc::new(Caller { name: Some(CallerName("ehr".into())), ..Caller::default() }),
        principal: Some(EntityRef { kind: "User".to_owned(), id: id.to_owned() }),
        session: session(),
        request_id: "r".to_owned(),
        trace_id: None,
        decision_id: "d".to_owned(),
        api: Api::Grants,
    }
}

pub(crate) fn wish(user: &str, client: &str, reason_code: &str, justification: &str) -> AskGrant {
    AskGrant {
        user: user.into(),
        client: client.into(),
        reason_code: reason_code.into(),
        justification: justification.into(),
        fields: None,
        duration_seconds: None,
        recipient: None,
        occurred: None,
    }
}

#[track_caller]
pub(crate) fn reason_of<T: std::fmt::Debug>(asked: Result<T, AdminError>) -> String {
    match asked {
        Err(AdminError::Refused { reason, .. }) => reason.as_str().to_owned(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn a_grant_opens_the_next_decision_and_closes_it_when_it_ends(world: World) {
    let clinic = Clinic::on(world).await;
    assert!(!clinic.reads("ana", "C4", "clin.summary").await);
    let grant = clinic.ask("ana", &wish("ana", "C4", "COVERING", "Covering for a colleague on leave")).await.unwrap();
    assert_eq!((&*grant.state, grant.fields.len()), ("active", 8));
    assert!(clinic.reads("ana", "C4", "clin.summary").await, "in force at once");
    assert!(!clinic.reads("ana", "C4", "id.gov").await);
    assert!(!clinic.reads("ben", "C4", "clin.summary").await, "for nobody else");
    let permitted = clinic.admin.ask_to_end(&person("ana"), &grant.grant_id).await.unwrap();
    let ended = clinic.admin.step(&permitted, &grant.grant_id, &End, None, None).await.unwrap().answer;
    assert_eq!(&*ended.state, "ended");
    assert!(!clinic.reads("ana", "C4", "clin.summary").await, "over at once");
    let told = clinic.told("grant");
    let events: Vec<_> = told.iter().map(|record| record["detail"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["activated", "ended"]);
    assert_eq!(told[0]["detail"]["after"]["state"], "active");
    assert_eq!(told[1]["detail"]["before"]["state"], "active");
    assert_eq!((&told[0]["grant"], &told[0]["purpose"]), (&json!(grant.grant_id), &json!("TREAT")));
    assert_eq!(told[0]["detail"]["raised"], json!(["vip"]));
}

async fn what_is_refused_is_refused_in_the_order_of_the_page(world: World) {
    let clinic = Clinic::on(world).await;
    let asked = |user: &str, client: &str, code: &str, text: &str| wish(user, client, code, text);
    let text = "Client unreachable and in danger";
    assert_eq!(reason_of(clinic.ask("zoe", &asked("zoe", "C1", "EMERG_TREAT", "short")).await), "tenant_mismatch");
    assert_eq!(reason_of(clinic.ask("adm", &asked("adm", "C4", "EMERG_TREAT", "short")).await), "grant_ineligible");
    let greedy = AskGrant { fields: Some(vec!["id.gov".to_owned()]), ..asked("ana", "C4", "EMERG_TREAT", "short") };
    assert_eq!(reason_of(clinic.ask("ana", &greedy).await), "reason_required");
    let greedy = AskGrant { justification: text.into(), ..greedy };
    assert_eq!(reason_of(clinic.ask("ana", &greedy).await), "grant_scope");
    assert_eq!(reason_of(clinic.ask("ben", &asked("ben", "C2", "PART2_MED_EMERGENCY", text)).await), "reason_required");
    assert_eq!(reason_of(clinic.ask("ana", &asked("ana", "C4", "DISASTER", text)).await), "grant_ineligible");
    let unknown = clinic.ask("ana", &asked("ana", "C4", "BOREDOM", text)).await;
    assert!(matches!(unknown, Err(AdminError::Malformed { path: "/reason_code", .. })), "{unknown:?}");
    let refused = clinic.told("grant");
    assert!(refused.iter().all(|record| record["decision"] == "deny"), "{refused:?}");
    assert_eq!(refused.len(), 4, "what the policies refused is a decision, the rest is a refused grant");
    clinic.ask("ana", &asked("ana", "C4", "EMERG_TREAT", text)).await.unwrap();
    let second = clinic.ask("ana", &asked("ana", "C4", "EMERG_TREAT", "Another text that is long enough")).await;
    assert!(matches!(second, Err(AdminError::Illegal(Illegal::Second))), "{second:?}");
    assert_eq!(reason_of(clinic.ask("ana", &asked("ana", "C3", "EMERG_TREAT", text)).await), "reason_required");
}

async fn a_disaster_opens_its_reason_while_it_is_declared(world: World) {
    let clinic = Clinic::on(world).await;
    let declare = "INSERT INTO disasters (id, tenant_id, declared_by, declared_at) VALUES ('D', 'T1', 'sid', '2026-03-10T14:00:00Z')";
    clinic.authorizing.world.execute(Source::Store, declare).await;
    let asked = wish("ana", "C4", "DISASTER", "Flood in the building, records away");
    assert_eq!(&*clinic.ask("ana", &asked).await.unwrap().state, "active");
}

async fn a_duty_to_warn_waits_for_another_person(world: World) {
    let clinic = Clinic::on(world).await;
    let asked = wish("sup", "C1", "DUTY_TO_WARN", "A named person was threatened today");
    let grant = clinic.ask("sup", &asked).await.unwrap();
    assert_eq!((&*grant.state, grant.expires_at), ("pending", None));
    assert!(grant.approve_by.is_some());
    let by = |who: &str, action: &'static str| {
        let (admin, id, who) = (Arc::clone(&clinic.admin), grant.grant_id.clone(), person(who));
        async move { admin.ask_about_grant(&who, action, &id).await }
    };
    assert_eq!(reason_of(by("sup", "admin:approve").await), "role");
    let permitted = by("pri", "admin:approve").await.unwrap();
    let stale = Version::given("another");
    let lost = clinic.admin.step(&permitted, &grant.grant_id, &Approve, Some(&stale), None).await;
    assert!(matches!(lost, Err(AdminError::Changed)), "{lost:?}");
    let read = Version::given(grant.version.clone());
    let approved = clinic.admin.step(&permitted, &grant.grant_id, &Approve, Some(&read), None).await.unwrap().answer;
    assert_eq!((&*approved.state, approved.approver.as_deref()), ("active", Some("pri")));
    let again = clinic.admin.step(&permitted, &grant.grant_id, &Approve, None, None).await;
    assert!(matches!(again, Err(AdminError::Illegal(Illegal::NotWaiting))), "{again:?}");
    let permitted = by("sid", "admin:revoke").await.unwrap();
    let revoked = clinic.admin.step(&permitted, &grant.grant_id, &Revoke, None, None).await.unwrap().answer;
    assert_eq!((&*revoked.state, revoked.ended_by.as_deref()), ("revoked", Some("sid")));
    let of_another = clinic.admin.ask_about_grant(&person("pri2"), "admin:revoke", "BG1").await;
    assert!(matches!(of_another, Err(AdminError::Unknown("grant"))), "{of_another:?}");
}

async fn a_grant_is_extended_once_by_whoever_may_still_hold_one(world: World) {
    let clinic = Clinic::on(world).await;
    let grant = clinic.ask("ana", &wish("ana", "C4", "EMERG_TREAT", "Client unreachable and in danger")).await.unwrap();
    let application = Actor { principal: None, session: Map::new(), ..person("ana") };
    let permitted = clinic.admin.ask_to_extend(&application, &grant.grant_id).await.unwrap();
    let extend = |text: &str| Extend { justification: text.into(), duration_seconds: Some(14_400) };
    let same =
        clinic.admin.step(&permitted, &grant.grant_id, &extend("Client unreachable and in danger"), None, None).await;
    assert_eq!(reason_of(same), "reason_required");
    let text = extend("Client is still unconscious in the ward");
    let extended = clinic.admin.step(&permitted, &grant.grant_id, &text, None, None).await.unwrap().answer;
    assert_eq!(extended.expires_at, Some("2026-03-10T19:00:00Z".parse().unwrap()));
    assert_eq!(extended.grant_id, grant.grant_id);
    let twice =
        clinic.admin.step(&permitted, &grant.grant_id, &extend("And once more, as it takes longer"), None, None).await;
    assert!(matches!(twice, Err(AdminError::Illegal(Illegal::Extended))), "{twice:?}");
    clinic.authorizing.world.execute(Source::App, "UPDATE users SET status = 'disabled' WHERE id = 'ana'").await;
    assert_eq!(reason_of(clinic.admin.ask_to_extend(&application, &grant.grant_id).await), "user_disabled");
    clinic.admin.ask_to_end(&application, &grant.grant_id).await.unwrap();
}

async fn what_was_done_in_the_meantime_is_entered_and_opens_nothing(world: World) {
    let clinic = Clinic::on(world).await;
    let occurred =
        Occurred { from: "2026-03-10T09:00:00Z".parse().unwrap(), to: "2026-03-10T11:30:00Z".parse().unwrap() };
    let asked =
        AskGrant { occurred: Some(occurred), ..wish("ana", "C4", "EMERG_TREAT", "Network was down, paper chart used") };
    let grant = clinic.ask("ana", &asked).await.unwrap();
    assert_eq!((&*grant.state, grant.ended_at), ("ended", Some(occurred.to)));
    assert_eq!(grant.review.unwrap().due_at, "2026-03-11T15:00:00Z".parse().unwrap(), "a day after it was entered");
    assert!(!clinic.reads("ana", "C4", "clin.summary").await);
    assert_eq!(clinic.told("grant")[0]["detail"]["event"], "entered");
}

async fn a_repeated_call_changes_nothing_again(world: World) {
    let clinic = Clinic::on(world).await;
    let once = |digest: &str| Once { actor: "ehr".to_owned(), key: "k".to_owned(), digest: digest.to_owned() };
    let asked = wish("ana", "C4", "EMERG_TREAT", "Client unreachable and in danger");
    let ask = |digest: &str| {
        let (admin, asked, once) = (Arc::clone(&clinic.admin), asked.clone(), once(digest));
        async move { admin.ask_for_grant(&person("ana"), &asked, Some(&once)).await }
    };
    let first = ask("a").await.unwrap();
    let again = ask("a").await.unwrap();
    assert_eq!((first.is_repeated, again.is_repeated), (false, true));
    assert_eq!(first.answer, again.answer);
    assert!(matches!(ask("b").await, Err(AdminError::KeyUsed)));
    assert_eq!(clinic.told("grant").len(), 1);
}

async fn of_many_at_once_one_is_active_and_each_record_has_its_change(world: World) {
    let clinic = Arc::new(Clinic::on(world).await);
    let tasks: Vec<_> = (0..24)
        .map(|caller| {
            let clinic = Arc::clone(&clinic);
            let client = ["C3", "C4", "C2"][caller % 3];
            tokio::spawn(async move {
                let text = format!("Client unreachable and in danger, call {caller}");
                clinic.ask("ben", &wish("ben", client, "EMERG_TREAT", &text)).await
            })
        })
        .collect();
    let mut granted = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(grant) => granted.push(grant),
            Err(AdminError::Illegal(Illegal::Second)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(granted.len(), 3, "one a client");
    let told = clinic.told("grant");
    let of = |event: &str| told.iter().filter(|record| record["detail"]["event"] == event).count();
    assert_eq!((of("activated"), of("refused"), told.len()), (3, 21, 24));
    let page = Page { user: Some("ben".to_owned()), state: Some("active".to_owned()), ..Page::default() };
    let mut admin = person("pri");
    admin.session.insert("tenant".to_owned(), "T1".into());
    let listed = clinic.admin.grants(&admin, "T1", &page).await.unwrap();
    assert_eq!(listed.items.len(), 4, "these and the one of the demo");
    assert_eq!(reason_of(clinic.admin.grants(&person("ana"), "T1", &page).await), "role");
}

async fn rows_of_grants_are_not_deleted_and_texts_not_changed(world: World) {
    let clinic = Clinic::on(world).await;
    for sql in ["DELETE FROM reviews", "DELETE FROM grants", "UPDATE grants SET justification = 'x'"] {
        let mut transaction = clinic.store.begin().await.unwrap();
        let sql = chaperone::store::Sql::both(sql);
        assert!(transaction.run(sql, &[]).await.is_err(), "{sql:?}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_granted() {
    let world = World::sqlite().await;
    let url = world.url(Source::Store);
    let clinic = Clinic::on(world).await;
    std::fs::remove_file(url.trim_start_matches("sqlite://")).unwrap();
    let asked = clinic.ask("ana", &wish("ana", "C4", "EMERG_TREAT", "Client unreachable and in danger")).await;
    // The policies cannot see the facts of the store either, so that the reason is theirs.
    assert_eq!(reason_of(asked), "data_unavailable");
    let ended = clinic.admin.ask_to_end(&person("ana"), "BG1").await;
    assert!(matches!(&ended, Err(AdminError::Store(error)) if error.is_away()), "{ended:?}");
}

crate::on_both!(
    a_grant_opens_the_next_decision_and_closes_it_when_it_ends,
    what_is_refused_is_refused_in_the_order_of_the_page,
    a_disaster_opens_its_reason_while_it_is_declared,
    a_duty_to_warn_waits_for_another_person,
    a_grant_is_extended_once_by_whoever_may_still_hold_one,
    what_was_done_in_the_meantime_is_entered_and_opens_nothing,
    a_repeated_call_changes_nothing_again,
    of_many_at_once_one_is_active_and_each_record_has_its_change,
    rows_of_grants_are_not_deleted_and_texts_not_changed,
);
