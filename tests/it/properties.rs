//! What the engine promises, over the shipped bundle and the demo world: nothing missing ever allows, the same question
//! has the same answer, and what an answer says about later, or about ways on, is true.

use std::collections::BTreeSet;

use chaperone::domain::{Decision, Evaluation, Fields, Reason, Remedy, Request, Slice, Timestamp};
use jiff::{SignedDuration, ToSpan as _};
use serde_json::json;

use crate::helpers::{
    clinic::{Clinic, NOW, Said as _, at, fresh, paths, request, shipped},
    random::Draw,
};

pub(crate) fn allows(evaluation: &Evaluation) -> bool {
    evaluation.decision == Decision::Allow
}

/// 2 for a name that is allowed, 1 for a masked one, 0 for the rest.
fn strength(fields: Option<&Fields>, name: &str) -> u8 {
    match fields {
        Some(fields) if fields.allow.iter().any(|allowed| allowed == name) => 2,
        Some(fields) if fields.mask.contains_key(name) => 1,
        Some(_) | None => 0,
    }
}

/// Whether `later` gives all that `now` gives.
pub(crate) fn gives_as_much(now: &Evaluation, later: &Evaluation) -> bool {
    let Some(fields) = &now.fields else { return allows(later) };
    let names = fields.allow.iter().chain(fields.mask.keys());
    allows(later)
        && names.into_iter().all(|name| strength(later.fields.as_ref(), name) >= strength(now.fields.as_ref(), name))
}

/// Whether `less` allows nothing that `more` does not.
pub(crate) fn gives_no_more(more: &Evaluation, less: &Evaluation) -> bool {
    if !allows(less) {
        return true;
    }
    let names = less.fields.iter().flat_map(|fields| fields.allow.iter().chain(fields.mask.keys()));
    allows(more)
        && names.into_iter().all(|name| strength(less.fields.as_ref(), name) <= strength(more.fields.as_ref(), name))
}

/// Every slice that lacks one thing of `slice`: an entity, or one relation of an entity.
fn reduced(slice: &Slice) -> Vec<(String, Slice)> {
    let mut all = Vec::new();
    for (uid, loaded) in &*slice.entities {
        let mut without = slice.clone();
        without.entities.remove(uid);
        all.push((format!("{uid}"), without));
        let chaperone::domain::Loaded::Present(entity) = loaded else { continue };
        for relation in entity.relations.keys() {
            let mut without = slice.clone();
            if let Some(chaperone::domain::Loaded::Present(entity)) = without.entities.get_mut(uid) {
                entity.relations.remove(relation);
            }
            all.push((format!("{uid}.{relation}"), without));
        }
    }
    all
}

/// One question for each bar that reads a fact, so that the random ones need not find them.
fn barred() -> Vec<(Request, &'static str)> {
    let ask = |user: &str, action: &str, kind: &str, id: &str, tenant: &str| {
        request(user, action, kind, id).context("session", fresh(tenant)).context("access_reason", json!("because"))
    };
    vec![
        (ask("stu", "read", "Client", "C5", "T1").fields(&["*"]), "self_access"),
        (ask("ben", "read", "Client", "C1", "T1").fields(&["id.demo"]), "restriction"),
        (ask("provider3", "read", "Client", "G3", "T3").fields(&["*"]), "restriction"),
        (ask("prov3b", "read", "Note", "PNG1", "T3").fields(&["*"]), "psychotherapy_note"),
        (ask("adm3", "read", "Note", "NG2", "T3").fields(&["*"]), "part2_consent"),
        (ask("adm", "read", "Client", "C2", "T1").fields(&["clin.sud"]), "part2_consent"),
        (ask("par", "read", "Note", "N3", "T1").fields(&["*"]), "minor_protected"),
        (ask("par", "read", "Client", "C3", "T1").fields(&["clin.plan"]), "minor_protected"),
        (ask("eng", "read", "Note", "N5", "").fields(&["clin.note"]), "opt_out"),
        (ask("ana", "read", "Client", "C1", "T1").context("purpose", json!("HPAYMT")), "purpose"),
        (ask("ana", "write", "Note", "N1", "T1").fields(&["clin.note"]), "retention"),
        (ask("ana", "read", "Document", "D3", "T1").fields(&["doc.body"]), "integrity"),
        (ask("sid", "admin:disable", "User", "sid", "T1"), "last_super_admin"),
        (ask("sid", "admin:role", "User", "sid", "T1"), "self_grant"),
        (ask("rbt", "create", "Client", "C1", "T1").fields(&["sched.core"]), "units_exhausted"),
        (ask("hook", "deliver", "Channel", "WH1", "TW").fields(&["lead.meta"]), "channel_insecure"),
        (ask("hook", "deliver", "Channel", "WH3", "TW").fields(&["contact"]), "baa_missing"),
        (ask("mailer", "notify", "Channel", "SM1", "T1").fields(&["id.pseudo"]), "channel_preference"),
        (ask("ana", "read", "Client", "C6", "T1").fields(&["*"]), "environment"),
        (ask("tom", "read", "Client", "C1", "T1").fields(&["*"]), "user_disabled"),
        (ask("eng2", "read", "Note", "N6", "").fields(&["clin.note"]), "training"),
        (ask("zoe", "read", "Client", "C1", "T2").fields(&["*"]), "tenant_mismatch"),
        (
            request("ben", "read", "Client", "C1")
                .fields(&["id.pseudo"])
                .context("session", json!({"idle_seconds": 1, "age_seconds": 1})),
            "mfa_required",
        ),
    ]
}

/// Domain facts that cannot be missing without notice: reliability §3.1. A slice that lacks an entity or a relation
/// never gives more than the whole one, at the level of the decision and of every field.
#[tokio::test]
async fn nothing_that_is_missing_from_a_slice_ever_allows() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 1).await;
    let mut questions: Vec<(Request, Timestamp)> = Vec::new();
    for (request, reason) in barred() {
        let evaluation = clinic.ask(&request, at(NOW)).await;
        assert_eq!(evaluation.reason, Some(Reason::from(reason)), "{request:#?}");
        questions.push((request, at(NOW)));
    }
    questions.extend((0..200).map(|_| draw.question()));
    let mut tried = 0_u32;
    for (request, now) in questions {
        let question = clinic.question(&request);
        let slice = clinic.slice(&question, now).await;
        let whole = clinic.bundle.evaluate(&question, &slice, now);
        for (missing, slice) in reduced(&slice) {
            let evaluation = clinic.bundle.evaluate(&question, &slice, now);
            assert!(gives_no_more(&whole, &evaluation), "without {missing}\n{request:#?}\n{whole:#?}\n{evaluation:#?}");
            tried += 1;
        }
    }
    assert!(tried > 2_000, "only {tried} slices were tried");
}

/// A forbid that overflows for every session with a second of idle time, beside the shipped policies.
fn with_an_erring_forbid() -> chaperone::engine::Bundle {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = paths();
    copy(&paths.policies, folder.path());
    let text = r#"
        @id("overflows") @reason("role") @text("t")
        forbid (principal, action, resource)
        when { context has session.idle_seconds && context.session.idle_seconds + 9223372036854775807 < 0 };
    "#;
    std::fs::File::create(folder.path().join("overflows.cedar"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .unwrap();
    paths.policies = folder.path().to_owned();
    chaperone::engine::Bundle::load(&paths).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn an_erring_forbid_denies_whatever_the_permits_say() {
    let clinic = Clinic::demo().await;
    let broken = with_an_erring_forbid();
    let mut draw = Draw::new(&clinic, 2).await;
    let mut turned = 0_u32;
    for _ in 0..300 {
        let (request, now) = draw.question();
        let question = clinic.question(&request);
        let slice = clinic.slice(&question, now).await;
        let (sound, evaluation) =
            (clinic.bundle.evaluate(&question, &slice, now), broken.evaluate(&question, &slice, now));
        assert!(!allows(&evaluation), "{request:#?}");
        if allows(&sound) {
            assert_eq!(evaluation.reason, Some(Reason::POLICY_ERROR), "{request:#?}");
            assert_eq!(evaluation.policy_errors, ["overflows".into()]);
            assert_eq!((evaluation.not_after, evaluation.remedies.len()), (None, 0));
            turned += 1;
        }
    }
    assert!(turned > 20, "only {turned} allows were turned");
}

#[tokio::test]
async fn the_same_question_on_the_same_facts_has_the_same_bytes() {
    let (one, two) = (Clinic::demo().await, Clinic::demo().await);
    let mut draw = Draw::new(&one, 3).await;
    for _ in 0..200 {
        let (request, now) = draw.question();
        let said = [one.ask(&request, now).await, two.ask(&request, now).await, one.ask(&request, now).await];
        let said = said.map(|evaluation| format!("{evaluation:?}"));
        assert!(said[0] == said[1] && said[0] == said[2], "{request:#?}\n{said:#?}");
    }
}

#[tokio::test]
async fn every_asked_name_stands_in_exactly_one_place() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 4).await;
    let (mut allowed, mut masked, mut denied) = (0_u32, 0_u32, 0_u32);
    for _ in 0..500 {
        let (request, now) = draw.question();
        let evaluation = clinic.ask(&request, now).await;
        assert_eq!(evaluation.reason.is_none(), allows(&evaluation), "{request:#?}");
        assert_eq!(evaluation.not_after.is_some(), allows(&evaluation), "{request:#?}");
        let Some(fields) = &evaluation.fields else { continue };
        let places: Vec<&str> =
            fields.allow.iter().chain(fields.mask.keys()).chain(fields.deny.keys()).map(String::as_str).collect();
        let distinct: BTreeSet<&str> = places.iter().copied().collect();
        assert_eq!(places.len(), distinct.len(), "{request:#?}\n{fields:#?}");
        let asked = request.fields.iter().flatten().filter(|name| *name != "*");
        let missing: Vec<_> = asked.filter(|name| !distinct.contains(name.as_str())).collect();
        if allows(&evaluation) {
            assert_eq!(missing, Vec::<&String>::new(), "{request:#?}\n{fields:#?}");
        } else {
            assert!(fields.allow.is_empty() && fields.mask.is_empty(), "{request:#?}\n{fields:#?}");
            // A channel has no groups of its own: `*` names nothing there, and nothing asked is nothing allowed.
            assert!(!fields.deny.is_empty() || request.resource.kind == "Channel", "{request:#?}");
        }
        allowed += u32::try_from(fields.allow.len()).unwrap();
        masked += u32::try_from(fields.mask.len()).unwrap();
        denied += u32::try_from(fields.deny.len()).unwrap();
    }
    assert!(allowed > 50 && masked > 5 && denied > 50, "{allowed} {masked} {denied}");
}

#[tokio::test]
async fn nothing_undeclared_that_the_asker_says_changes_the_answer() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 5).await;
    for _ in 0..200 {
        let (request, now) = draw.question();
        let mut claiming = request
            .clone()
            .context("role", json!("super_admin"))
            .context("roles", json!(["admin"]))
            .context("tenant", json!("T1"))
            .context("group", json!("id.pseudo"))
            .context("asked", json!("id.pseudo"))
            .context("now", json!("2020-01-01T00:00:00Z"))
            .context("grants", json!([{ "user": request.subject.id, "group": "clin.note" }]));
        claiming.subject_properties.insert("isVendor".into(), json!(false));
        claiming.subject_properties.insert("active".into(), json!(true));
        claiming.subject_properties.insert("kind".into(), json!("human"));
        claiming.resource_properties.insert("part2".into(), json!(false));
        claiming.resource_properties.insert("tenant".into(), json!("T1"));
        claiming.action_properties.insert("soft".into(), json!(true));
        let (plain, mut claimed) = (clinic.ask(&request, now).await, clinic.ask(&claiming, now).await);
        assert!(claimed.ignored.len() > plain.ignored.len(), "{claimed:#?}");
        claimed.ignored.clone_from(&plain.ignored);
        assert_eq!(plain, claimed, "{request:#?}");
    }
}

/// The same question as asked `elapsed` later: what counts up has counted up.
fn later(request: &Request, elapsed: SignedDuration) -> Request {
    let mut later = request.clone();
    if let Some(session) = later.context.get_mut("session").and_then(serde_json::Value::as_object_mut) {
        for counter in ["idle_seconds", "age_seconds"] {
            if let Some(value) = session.get(counter).and_then(serde_json::Value::as_i64) {
                session.insert(counter.into(), json!(value + elapsed.as_secs()));
            }
        }
    }
    later
}

/// Allows that something ends within half a minute.
fn ending() -> Vec<(Request, Timestamp)> {
    let ask = |user: &str, kind: &str, id: &str, tenant: &str| {
        request(user, "read", kind, id)
            .fields(&["*"])
            .context("session", fresh(tenant))
            .context("access_reason", json!("-"))
    };
    let idle = json!({ "mfa": true, "idle_seconds": 885, "age_seconds": 86_390 });
    vec![
        (ask("ben", "Client", "C1", "T1"), at("2026-03-10T15:29:45Z")),
        (ask("zoe", "Client", "Z2", "T2"), at("2026-03-10T15:49:50Z")),
        (ask("rbt", "Client", "C1", "T1"), at("2026-03-11T03:59:50Z")),
        (ask("zoe", "Client", "Z1", "T2"), at("2026-03-10T23:59:45Z")),
        (ask("eng5", "Note", "NG1", ""), at("2026-03-10T17:59:40Z")),
        (ask("yan", "Client", "Z1", "T2"), at("2026-03-11T14:59:40Z")),
        (ask("ben", "Client", "C2", "T1"), at("2026-03-13T23:59:45Z")),
        (ask("bil3", "Client", "G2", "T3"), at("2026-03-31T23:59:45Z")),
        (ask("doz", "Client", "Z1", "T2"), at("2026-03-14T23:59:45Z")),
        (ask("ana", "Client", "C1", "T1").context("session", idle.clone()), at(NOW)),
        (ask("adm3", "Client", "G1", "T3").context("session", idle), at(NOW)),
    ]
}

#[tokio::test]
async fn an_answer_holds_until_its_not_after() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 6).await;
    let (mut allowed, mut shorter) = (0_u32, 0_u32);
    let questions: Vec<_> = ending().into_iter().chain((0..600).map(|_| draw.question())).collect();
    for (request, now) in questions {
        let evaluation = clinic.ask(&request, now).await;
        let Some(not_after) = evaluation.not_after else { continue };
        assert!(now <= not_after && not_after <= now + 30.seconds(), "{request:#?}\n{evaluation:#?}");
        allowed += 1;
        shorter += u32::from(not_after < now + 30.seconds());
        let last = not_after - 1.nanoseconds();
        let half = now + not_after.duration_since(now) / 2;
        for instant in [now, half, last].into_iter().filter(|instant| now <= *instant && *instant < not_after) {
            let then = clinic.ask(&later(&request, instant.duration_since(now)), instant).await;
            assert!(gives_as_much(&evaluation, &then), "at {instant}\n{request:#?}\n{evaluation:#?}\n{then:#?}");
        }
    }
    assert!(allowed > 60 && shorter > 10, "{allowed} allows, {shorter} of them end early");
}

fn row_of_a_grant(request: &Request, client: &str, groups: &[&str], reason: &str, now: Timestamp) -> String {
    let groups = serde_json::to_string(groups).unwrap();
    let (user, until) = (&request.subject.id, now + 1.hours());
    format!(
        "INSERT INTO grants (id,tenant_id,user_id,client_id,reason_code,justification,field_groups,state,requested_at,activated_at,expires_at)
         VALUES ('BGT','T','{user}','{client}','{reason}','said so','{groups}','active','{now}','{now}','{until}')"
    )
}

/// Applies `remedy` to the world or the words, asks again, and takes it back.
async fn with_remedy(
    clinic: &Clinic,
    request: &Request,
    now: Timestamp,
    client: Option<&str>,
    remedy: &Remedy,
) -> Vec<Evaluation> {
    match remedy {
        Remedy::StateReason => {
            vec![clinic.ask(&request.clone().context("access_reason", json!("a good reason")), now).await]
        }
        Remedy::StepUp { .. } => {
            let mut said = request.clone();
            let session = said.context.entry("session").or_insert_with(|| json!({}));
            session["mfa"] = json!(true);
            vec![clinic.ask(&said, now).await]
        }
        Remedy::RequestAssignment => {
            let (user, client) = (&request.subject.id, client.unwrap());
            let row = format!(
                "INSERT INTO assignments (id,tenant_id,client_id,user_id,scope,assigned_by,valid_from) VALUES ('AT','T','{client}','{user}','full','sid','{now}')"
            );
            clinic.write("store", row).await;
            let evaluation = clinic.ask(request, now).await;
            clinic.write("store", "DELETE FROM assignments WHERE id = 'AT'".into()).await;
            vec![evaluation]
        }
        Remedy::BreakGlass { reasons } => {
            let remedy = clinic.bundle.reasons.remedies.break_glass.clone().unwrap();
            let opens = remedy.opens.clone().unwrap();
            let mut evaluations = Vec::new();
            for reason in reasons {
                let groups: Vec<&str> = opens
                    .default
                    .iter()
                    .chain(&opens.by_request)
                    .chain(&remedy.reasons[reason])
                    .map(|group| &**group)
                    .collect();
                clinic.write("store", row_of_a_grant(request, client.unwrap(), &groups, reason, now)).await;
                evaluations.push(clinic.ask(request, now).await);
                clinic.write("store", "DELETE FROM grants WHERE id = 'BGT'".into()).await;
            }
            evaluations
        }
    }
}

#[tokio::test]
async fn every_listed_remedy_allows_when_it_is_applied() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, 7).await;
    let mut kinds: [u32; 4] = [0; 4];
    let unsaid = request("adm3", "read", "Client", "G1").fields(&["clin.alert"]).context("session", fresh("T3"));
    let questions: Vec<_> = [(unsaid, at(NOW))].into_iter().chain((0..600).map(|_| draw.question())).collect();
    for (request, now) in questions {
        let evaluation = clinic.ask(&request, now).await;
        assert!(evaluation.remedies.is_empty() || !allows(&evaluation));
        for remedy in &evaluation.remedies {
            let client = evaluation.subject.client.as_deref();
            for applied in with_remedy(&clinic, &request, now, client, remedy).await {
                assert!(allows(&applied), "{remedy:?}\n{request:#?}\n{applied:#?}");
            }
            kinds[match remedy {
                Remedy::BreakGlass { .. } => 0,
                Remedy::StepUp { .. } => 1,
                Remedy::StateReason => 2,
                Remedy::RequestAssignment => 3,
            }] += 1;
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}

/// Which organization's records a person may ask about at all, by the facts of the demo: the one acted in, and TW from TA.
fn is_linked(acting: &str, tenants: &[String]) -> bool {
    tenants.iter().any(|tenant| tenant == acting || (acting == "TA" && tenant == "TW"))
}

/// Everybody, in each tenant of theirs, against every record of every other tenant.
#[tokio::test]
async fn nobody_reaches_a_record_of_another_tenant() {
    let clinic = Clinic::demo().await;
    let (people, mut things) = (clinic.people().await, clinic.things().await);
    // Of the people as records, one a tenant: the walk is over charts.
    let mut told = BTreeSet::new();
    things.retain(|thing| thing.kind != "User" || told.insert(thing.tenants.clone()));
    let mut asked = 0_u32;
    for person in people.iter().filter(|person| !person.is_vendor) {
        let tenants = if person.tenants.is_empty() { vec![String::new()] } else { person.tenants.clone() };
        for acting in &tenants {
            for thing in things.iter().filter(|thing| !is_linked(acting, &thing.tenants)) {
                for action in ["read", "write", "export"] {
                    let request = request(&person.id, action, thing.kind, &thing.id)
                        .fields(&["*"])
                        .mode(chaperone::domain::Mode::Filter)
                        .context("session", fresh(acting))
                        .context("access_reason", json!("because"));
                    let evaluation = clinic.ask(&request, at(NOW)).await;
                    assert!(!allows(&evaluation), "{request:#?}\n{evaluation:#?}");
                    assert_eq!(evaluation.remedies, [], "{request:#?}");
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 9_000, "only {asked} questions were asked");
}

/// Vendor staff act in no tenant: a record is theirs for a ticket that names it, or not at all.
#[tokio::test]
async fn vendor_staff_reach_no_record_that_no_ticket_of_theirs_names() {
    let clinic = Clinic::demo().await;
    let (people, things) = (clinic.people().await, clinic.things().await);
    let named = [("eng", "N1"), ("eng", "N6"), ("eng3", "NZ1"), ("eng5", "NG1")];
    let mut opened = BTreeSet::new();
    for person in people.iter().filter(|person| person.is_vendor) {
        for thing in &things {
            for action in ["read", "write", "export"] {
                let request = request(&person.id, action, thing.kind, &thing.id)
                    .fields(&["*"])
                    .mode(chaperone::domain::Mode::Filter)
                    .context("session", fresh(""));
                let evaluation = clinic.ask(&request, at(NOW)).await;
                if allows(&evaluation) {
                    assert_eq!(action, "read");
                    opened.insert((person.id.clone(), thing.id.clone()));
                }
            }
        }
    }
    let named: BTreeSet<_> = named.iter().map(|(user, note)| ((*user).to_owned(), (*note).to_owned())).collect();
    assert_eq!(opened, named);
}

#[test]
fn the_shipped_bundle_has_one_revision_however_often_it_is_loaded() {
    assert_eq!(shipped().revision, shipped().revision);
}
