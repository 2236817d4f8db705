//! Assignments: who may make them for whom, their windows, and that what ended stays.

use chaperone::{
    admin::{
        AdminError, Version,
        page::Page,
        rights::{AskAssignment, EndAssignment, MoveWindow, Until, View},
    },
    domain::{
        NotNow,
        assignment::{Assignment, Scope},
        mapping::Source,
    },
};
use serde_json::json;

use super::once;
use crate::{
    grants::{Clinic, person, reason_of},
    helpers::world::World,
};

fn wish(user: &str, client: &str) -> AskAssignment {
    AskAssignment {
        client: client.into(),
        user: user.into(),
        scope: Scope::Full,
        service_authorization: None,
        service_codes: Vec::new(),
        from: None,
        until: Until::Unsaid,
        reason: Some("Takes over the caseload".into()),
    }
}

async fn assign(clinic: &Clinic, who: &str, asked: &AskAssignment) -> Result<View<Assignment>, AdminError> {
    Ok(clinic.admin.assign(&person(who), asked, &once()).await?.answer)
}

const END: EndAssignment = EndAssignment { reason: None };

async fn an_assignment_is_in_force_at_once_and_over_at_once(world: World) {
    let clinic = Clinic::on(world).await;
    assert!(!clinic.reads("ana", "C4", "clin.summary").await);
    let made = assign(&clinic, "sid", &wish("ana", "C4")).await.unwrap();
    assert_eq!((&*made.state, &*made.row.assigned_by, made.row.to), ("active", "sid", None));
    assert!(clinic.reads("ana", "C4", "clin.summary").await);
    assert!(!clinic.reads("rbt", "C4", "clin.summary").await, "for nobody else");
    let id = &*made.row.id;
    let end = EndAssignment { reason: Some("Left the team".into()) };
    let ended = clinic.admin.end_assignment(&person("sid"), (id, &end), None, &once()).await.unwrap().answer;
    assert_eq!((&*ended.state, ended.row.ended_by.as_deref()), ("ended", Some("sid")));
    assert!(!clinic.reads("ana", "C4", "clin.summary").await);
    let again = clinic.admin.end_assignment(&person("sid"), (id, &END), None, &once()).await;
    assert!(matches!(again, Err(AdminError::NotNow(NotNow(_)))), "{again:?}");
    let told = clinic.told("admin");
    let events: Vec<_> = told.iter().map(|record| record["detail"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["assigned", "ended", "refused"]);
    assert_eq!((&told[2]["decision"], &told[2]["principal"]["id"]), (&json!("deny"), &json!("sid")));
    assert_eq!(told[2]["detail"]["conflict"], "the assignment is over: make another one");
    assert_eq!((&told[0]["client"], &told[0]["tenant"]), (&json!("C4"), &json!("T1")));
    assert_eq!(told[1]["detail"]["before"]["ended_at"], json!(null));
    assert_eq!(told[1]["detail"]["after"]["ended_at"], "2026-03-10T15:00:00Z");
    assert!(!format!("{told:?}").contains("caseload"), "what a person wrote stays out of the trail");
    let page = Page { client: Some("C4".to_owned()), state: Some("ended".to_owned()), ..Page::default() };
    let listed = clinic.admin.assignments(&person("pri"), "T1", &page).await.unwrap();
    assert_eq!(listed.items.len(), 1, "nothing is deleted");
    assert_eq!(listed.items[0].row.reason.as_deref(), Some("Takes over the caseload"));
}

async fn who_may_not_and_what_is_not_there_are_refused(world: World) {
    let clinic = Clinic::on(world).await;
    for (who, user, client, reason) in [
        ("sid", "sid", "C4", "self_grant"),
        ("ana", "ben", "C1", "role"),
        ("pri", "ben", "C1", "role"),
        ("sid", "zoe", "C4", "tenant_mismatch"),
        ("sid", "ana", "Z1", "tenant_mismatch"),
        ("sid", "ana", "C99", "unknown_resource"),
        ("sid", "nobody", "C4", "unknown_resource"),
        ("nobody", "ana", "C4", "unknown_principal"),
    ] {
        let refused = reason_of(assign(&clinic, who, &wish(user, client)).await);
        assert_eq!(refused, reason, "{who} assigns {user} to {client}");
    }
    let told = clinic.told("admin");
    assert_eq!(told.len(), 2, "the facts about the client are no question to the policies: {told:?}");
    assert!(told.iter().all(|record| record["decision"] == "deny" && record["detail"]["event"] == "refused"));
    assert_eq!(clinic.told("decision").iter().filter(|record| record["decision"] == "deny").count(), 6);
    let backwards = AskAssignment { until: Until::At("2026-03-10T15:00:00Z".parse().unwrap()), ..wish("ana", "C4") };
    let backwards = assign(&clinic, "sid", &backwards).await;
    assert!(matches!(backwards, Err(AdminError::Malformed { path: "/to", .. })), "{backwards:?}");
}

async fn a_payers_last_day_is_the_organizations_own(world: World) {
    let clinic = Clinic::on(world).await;
    for (who, user, client, date, end) in [
        ("sid", "ana", "C4", "2026-03-10", "2026-03-11T04:00:00Z"),
        ("sid", "ana", "C4", "2026-03-07", "2026-03-08T05:00:00Z"),
        ("sid2", "zoe", "Z3", "2026-03-10", "2026-03-11T07:00:00Z"),
        ("sid2", "zoe", "Z3", "2026-03-07", "2026-03-08T08:00:00Z"),
    ] {
        let asked = AskAssignment {
            from: Some("2026-03-01T00:00:00Z".parse().unwrap()),
            until: Until::LastDay(date.parse().unwrap()),
            ..wish(user, client)
        };
        let made = assign(&clinic, who, &asked).await.unwrap();
        assert_eq!(made.row.to, Some(end.parse().unwrap()), "{who} {date}");
    }
}

async fn a_window_is_moved_by_whoever_read_it(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let seen = admin.assignment_seen(&person("adm"), "A1").await.unwrap();
    let moved = MoveWindow { from: None, until: Until::LastDay("2026-07-31".parse().unwrap()) };
    let stale = Version::given("another");
    let lost = admin.move_assignment(&person("sid"), ("A1", &moved), Some(&stale), &once()).await;
    assert!(matches!(lost, Err(AdminError::Changed)), "{lost:?}");
    let read = Version::given(seen.version);
    let done = admin.move_assignment(&person("sid"), ("A1", &moved), Some(&read), &once()).await.unwrap().answer;
    assert_eq!(done.row.to, Some("2026-08-01T04:00:00Z".parse().unwrap()));
    let lost = admin.move_assignment(&person("sid"), ("A1", &moved), Some(&read), &once()).await;
    assert!(matches!(lost, Err(AdminError::Changed)), "{lost:?}");
    let begun = MoveWindow { from: Some("2026-04-01T00:00:00Z".parse().unwrap()), until: Until::Open };
    let begun = admin.move_assignment(&person("sid"), ("A1", &begun), None, &once()).await;
    assert!(matches!(begun, Err(AdminError::NotNow(_))), "{begun:?}");
    let waiting = MoveWindow { from: Some("2026-03-10T15:00:00Z".parse().unwrap()), until: Until::Unsaid };
    admin.move_assignment(&person("sid"), ("A4", &waiting), None, &once()).await.unwrap();
    assert!(clinic.reads("ben", "C4", "clin.summary").await, "it begins now");
    let told = clinic.told("admin");
    assert_eq!(told[0]["detail"]["before"]["to"], "2026-07-01T04:00:00Z");
    assert_eq!(told[0]["detail"]["after"]["to"], "2026-08-01T04:00:00Z");
}

async fn what_another_organization_has_is_not_there(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    // `mo` works in both: the row, not only the person, must be of the organization.
    for (who, id) in [("sid2", "A1"), ("sid", "AZ1"), ("sid", "AZ3"), ("sid", "A99")] {
        let ended = admin.end_assignment(&person(who), (id, &END), None, &once()).await;
        assert!(matches!(ended, Err(AdminError::Unknown("assignment"))), "{who} {id}: {ended:?}");
    }
    let seen = admin.assignment_seen(&person("sid2"), "A1").await;
    assert!(matches!(seen, Err(AdminError::Unknown("assignment"))), "{seen:?}");
    let mut next = None;
    let mut ids = Vec::new();
    loop {
        let page = Page { limit: Some(4), cursor: next, ..Page::default() };
        let listed = admin.assignments(&person("adm"), "T1", &page).await.unwrap();
        ids.extend(listed.items.into_iter().map(|view| view.row.id.to_string()));
        next = listed.next;
        if next.is_none() {
            break;
        }
    }
    ids.sort();
    assert_eq!(ids, ["A1", "A10", "A11", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9"]);
    assert_eq!(reason_of(admin.assignments(&person("ana"), "T1", &Page::default()).await), "role");
}

/// The id of the row that stands in the way.
#[track_caller]
fn twin_of<T: std::fmt::Debug>(asked: Result<T, AdminError>) -> String {
    match asked {
        Err(AdminError::Twin { id, .. }) => id.to_string(),
        other => panic!("expected that the same is there, got {other:?}"),
    }
}

async fn the_same_over_again_is_refused_and_named_until_the_first_is_over(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let asked = wish("ana", "C4");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (admin, asked) = (clinic.admin.clone(), asked.clone());
            tokio::spawn(async move { admin.assign(&person("sid"), &asked, &once()).await })
        })
        .collect();
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(done) => made.push(done.answer.row.id.to_string()),
            other => refused.push(twin_of(other)),
        }
    }
    assert_eq!((made.len(), refused), (1, vec![made[0].clone(); 7]), "of eight at once one is made");
    let told = clinic.told("admin");
    let last = told.iter().rev().find(|record| record["detail"]["event"] == "refused").unwrap();
    assert_eq!(last["detail"]["conflict"], "there is the same assignment already");
    assert_eq!((&last["detail"]["existing"], &last["decision"]), (&json!(made[0]), &json!("deny")));

    let until = |date: &str| AskAssignment { until: Until::LastDay(date.parse().unwrap()), ..wish("ana", "C4") };
    assert_eq!(twin_of(assign(&clinic, "sid", &until("2026-03-10")).await), made[0], "a window within it");
    let other = AskAssignment { scope: Scope::ReadOnly, reason: None, ..asked.clone() };
    let apart = assign(&clinic, "sid", &other).await.unwrap();
    assert!(assign(&clinic, "sid", &wish("rbt", "C4")).await.is_ok(), "of another person");

    let end = |id: String| async move { admin.end_assignment(&person("sid"), (&id, &END), None, &once()).await };
    end(apart.row.id.to_string()).await.unwrap();
    end(made[0].clone()).await.unwrap();
    assert!(!clinic.reads("ana", "C4", "clin.summary").await, "the end of one ends it");
}

async fn a_window_is_not_moved_to_where_it_would_say_what_another_one_says(world: World) {
    let clinic = Clinic::on(world).await;
    let admin = &clinic.admin;
    let until = |date: &str| AskAssignment { until: Until::LastDay(date.parse().unwrap()), ..wish("ana", "C4") };
    let march = assign(&clinic, "sid", &until("2026-03-31")).await.unwrap().row.id;
    let from = |from: &str| AskAssignment { from: Some(from.parse().unwrap()), ..wish("ana", "C4") };
    assert_eq!(twin_of(assign(&clinic, "sid", &from("2026-03-31T12:00:00Z")).await), *march);
    let april = assign(&clinic, "sid", &from("2026-04-01T04:00:00Z")).await.unwrap().row.id;
    let moved = |id: &str, until: Until| {
        let (id, moved) = (id.to_owned(), MoveWindow { from: None, until });
        async move { admin.move_assignment(&person("sid"), (&id, &moved), None, &once()).await }
    };
    assert_eq!(twin_of(moved(&march, Until::Open).await), *april, "into the other's time");
    moved(&march, Until::LastDay("2026-03-20".parse().unwrap())).await.unwrap();

    // Rows by another program may say the same: either is moved away from the other, and ended.
    let again = "INSERT INTO assignments (id, tenant_id, client_id, user_id, assigned_by, valid_from) \
                 VALUES ('A90', 'T1', 'C4', 'ana', 'sid', '2026-04-01T04:00:00Z')";
    clinic.authorizing.world.execute(Source::Store, again).await;
    moved("A90", Until::LastDay("2026-06-30".parse().unwrap())).await.unwrap();
    admin.end_assignment(&person("sid"), ("A90", &END), None, &once()).await.unwrap();
}

async fn a_repeated_call_is_answered_as_the_first_was(world: World) {
    let clinic = Clinic::on(world).await;
    let once = once();
    let first = clinic.admin.assign(&person("sid"), &wish("ana", "C4"), &once).await.unwrap();
    let again = clinic.admin.assign(&person("sid"), &wish("ana", "C4"), &once).await.unwrap();
    assert_eq!((again.is_repeated, again.answer.row), (true, first.answer.row));
}

crate::on_both!(
    the_same_over_again_is_refused_and_named_until_the_first_is_over,
    a_window_is_not_moved_to_where_it_would_say_what_another_one_says,
    a_repeated_call_is_answered_as_the_first_was,
    an_assignment_is_in_force_at_once_and_over_at_once,
    who_may_not_and_what_is_not_there_are_refused,
    a_payers_last_day_is_the_organizations_own,
    a_window_is_moved_by_whoever_read_it,
    what_another_organization_has_is_not_there,
);
