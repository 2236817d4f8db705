//! `chaperone assign`, `restrict`, `consent`, `user` and `ticket`, as an administrator types them against a running demo.

use serde_json::Value as Json;

use crate::helpers::sidecar::{Ended, Sidecar, chaperone};

/// A demo, and who works with it.
struct Desk {
    sidecar: Sidecar,
}

impl Desk {
    fn open() -> Self {
        Self { sidecar: Sidecar::demo() }
    }

    fn ran(&self, who: &str, words: &[&str]) -> Ended {
        let admin = self.sidecar.doors().admin;
        let mut command = chaperone();
        command.args(words).args(["--as", who, "--session", "mfa=true,age_seconds=60,idle_seconds=5,tenant=T1"]);
        command.args(["--url", &format!("http://{admin}"), "--token-file"]);
        Ended::of(command.arg(self.sidecar.folder().join("admin-token")))
    }

    /// Runs it as `-o json`.
    #[track_caller]
    fn told(&self, who: &str, words: &[&str]) -> Json {
        let ended = self.ran(who, &[words, &["-o", "json"]].concat());
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Whether a person may read a group of a record.
    fn reads(&self, person: &str, record: &str, group: &str) -> bool {
        let mut command = chaperone();
        let context = r#"{"session":{"mfa":true,"idle_seconds":12,"age_seconds":900,"device_managed":true}}"#;
        command.args(["authorize", "--principal", &format!("User/{person}"), "--action", "read", "--resource", record]);
        command.args(["--fields", group, "--context", context, "-o", "json", "--socket"]);
        let ended = Ended::of(command.arg(self.sidecar.doors().socket));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        serde_json::from_str::<Json>(&ended.stdout).unwrap()["decision"].as_bool().unwrap()
    }

    /// The events of the changes in the trail, with who made them.
    fn events(&self) -> Vec<String> {
        let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let records = self.sidecar.records().into_iter().filter(|(_, record)| record["kind"] == "admin");
        records
            .map(|(_, record)| format!("{} {}", word(&record["principal"]["id"]), word(&record["detail"]["event"])))
            .collect()
    }
}

#[test]
fn an_assignment_is_made_listed_moved_and_ended_from_a_shell() {
    let desk = Desk::open();
    let add = ["assign", "add", "--user", "ana", "--client", "C4", "--until-date", "2026-03-10", "--reason", "cover"];
    let made = desk.told("sid", &add);
    assert_eq!((made["state"].as_str(), made["to"].as_str()), (Some("active"), Some("2026-03-11T04:00:00Z")));
    assert!(desk.reads("ana", "Client/C4", "clin.summary"));
    let id = made["assignment_id"].as_str().unwrap();
    let listed = desk.ran("sid", &["assign", "list", "--client", "C4", "--user", "ana", "--state", "active"]);
    assert!(listed.code == Some(0) && listed.stdout.starts_with(id), "{}{}", listed.stdout, listed.stderr);
    let moved = desk.told("sid", &["assign", "window", id, "--open-ended"]);
    assert!(moved["to"].is_null(), "{moved}");
    let shown = desk.ran("sid", &["assign", "show", id]);
    assert!(shown.stdout.contains("\nto             without an end\n"), "{}{}", shown.stdout, shown.stderr);
    desk.ran("sid", &["assign", "window", id]).says(2, &["--until-date DATE"]);
    let ended = desk.ran("sid", &["assign", "end", id, "--reason", "cover is over"]);
    assert!(ended.stdout.contains("state          ended"), "{}{}", ended.stdout, ended.stderr);
    assert!(!desk.reads("ana", "Client/C4", "clin.summary"));
    assert_eq!(desk.told("pri", &["assign", "show", id])["ended_by"], "sid");

    desk.ran("sid", &["assign", "end", id]).says(1, &["409", "the assignment is over"]);
    desk.ran("sid", &["assign", "add", "--user", "sid", "--client", "C4"]).says(1, &["403", "self_grant"]);
    let not_theirs = desk.ran("rbt", &["assign", "add", "--user", "ana", "--client", "C4"]);
    not_theirs
        .says(1, &["403", "(role)", "`admin:assign` on `User` was asked for and is refused: ", ". Let somebody do it"]);
    desk.ran("sid", &["assign", "show", "A1/end"]).says(2, &["an id has letters"]);
    desk.ran("sid", &["assign", "list", "--client", "C 4&x=1"]);
    assert_eq!(desk.events(), ["sid assigned", "sid moved", "sid ended", "sid refused"]);
}

#[test]
fn a_restriction_is_asked_for_agreed_to_and_terminated_from_a_shell() {
    let desk = Desk::open();
    assert!(desk.reads("ana", "Client/C1", "clin.summary"));
    let request = ["restrict", "request", "--client", "C1", "--target", "user", "--target-id", "ana"];
    let made = desk.told("pri", &[&request[..], &["--fields", "clin.summary"]].concat());
    assert_eq!((made["state"].as_str(), made["emergency_exception"].as_bool()), (Some("requested"), Some(true)));
    assert!(desk.reads("ana", "Client/C1", "clin.summary"), "asked for is not agreed to");
    let id = made["restriction_id"].as_str().unwrap();
    let agreed = desk.ran("pri", &["restrict", "agree", id]);
    assert!(agreed.stdout.contains("state          agreed"), "{}{}", agreed.stdout, agreed.stderr);
    assert!(!desk.reads("ana", "Client/C1", "clin.summary"));
    let listed = desk.ran("pri", &["restrict", "list", "--client", "C1", "--state", "agreed"]);
    assert!(
        listed.stdout.lines().any(|line| line.starts_with(id) && line.ends_with("clin.summary")),
        "{}",
        listed.stdout
    );
    let ended = desk.told("pri", &["restrict", "terminate", id, "request"]);
    assert_eq!((ended["state"].as_str(), ended["ended_how"].as_str()), (Some("terminated"), Some("request")));
    assert!(desk.reads("ana", "Client/C1", "clin.summary"));
    let whole = desk.ran("pri", &["restrict", "show", "RS1"]);
    assert!(whole.stdout.contains("\nfields         whole record\n"), "{}{}", whole.stdout, whole.stderr);
    let declined = desk.told("pri", &["restrict", "decline", "RS3"]);
    assert_eq!(desk.told("pri", &["restrict", "show", "RS3"])["version"], declined["version"]);
    desk.ran("ana", &["restrict", "agree", "RS1"]).says(1, &["403"]);
    assert_eq!(desk.events(), ["pri requested", "pri agreed", "pri terminated", "pri declined"]);
}

#[test]
fn a_ticket_is_opened_widened_released_resolved_and_reopened_from_a_shell() {
    let desk = Desk::open();
    let open = ["ticket", "open", "--engineer", "eng3", "--phi-needed", "--record", "Note/N4=clin.note"];
    let made = desk.told("adm", &open);
    assert_eq!((made["state"].as_str(), made["source"].as_str()), (Some("open"), Some("in_app")));
    let id = made["ticket_id"].as_str().unwrap();
    assert!(desk.reads("eng3", "Note/N4", "clin.note") && !desk.reads("eng3", "Note/N5", "clin.note"));
    desk.told("adm", &["ticket", "scope", id, "--record", "Note/N5=clin.note"]);
    assert!(!desk.reads("eng3", "Note/N5", "clin.note"), "the client's opt-out beats the ticket");
    let released = desk.told("adm", &["ticket", "release", id, "--record", "Note/N5"]);
    assert_eq!(released["scope"][1]["released_by"], "adm", "{released}");
    assert!(desk.reads("eng3", "Note/N5", "clin.note"));
    let resolved = desk.ran("adm", &["ticket", "resolve", id]);
    assert!(resolved.stdout.contains("state          resolved"), "{}{}", resolved.stdout, resolved.stderr);
    let scope = "\nscope          Note/N4=clin.note\n               Note/N5=clin.note  released by adm\n";
    assert!(resolved.stdout.contains(scope), "{}", resolved.stdout);
    assert!(!desk.reads("eng3", "Note/N4", "clin.note"));
    assert_eq!(desk.told("adm", &["ticket", "reopen", id])["reopened_by"], "adm");
    let listed = desk.ran("adm", &["ticket", "list", "--engineer", "eng3", "--state", "open"]);
    assert!(listed.stdout.contains("2 records"), "{}{}", listed.stdout, listed.stderr);
    assert_eq!(desk.told("adm", &["ticket", "show", id])["state"], "open");
    assert_eq!(desk.events(), ["adm opened", "adm scoped", "adm released", "adm resolved", "adm reopened"]);
}

#[test]
fn a_consent_is_entered_listed_and_revoked_from_a_shell() {
    let desk = Desk::open();
    let sign = ["consent", "sign", "C2", "part2_tpo", "T1", "bil", "--purposes", "HPAYMT", "--fields", "clin.sud"];
    let made = desk.told("pri", &[&sign[..], &["--by", "C2"]].concat());
    assert_eq!((made["state"].as_str(), made["entered_by"].as_str()), (Some("in_force"), Some("pri")));
    let id = made["consent_id"].as_str().unwrap();
    let twin = format!("the consent `{id}` says the same already");
    desk.ran("pri", &[&sign[..], &["--by", "C2"]].concat()).says(1, &["409", &twin]);
    let listed = desk.ran("pri", &["consent", "list", "--client", "C2", "--state", "in_force"]);
    assert!(listed.stdout.lines().any(|line| line.starts_with(id)), "{}{}", listed.stdout, listed.stderr);
    let shown = desk.ran("pri", &["consent", "show", id]);
    assert!(shown.stdout.contains("\nexpires_at     until it is revoked\n"), "{}{}", shown.stdout, shown.stderr);
    let revoked = desk.told("pri", &["consent", "revoke", id]);
    assert_eq!((revoked["state"].as_str(), revoked["revoked_by"].as_str()), (Some("revoked"), Some("pri")));
    desk.ran("pri", &["consent", "revoke", id]).says(1, &["409"]);
    desk.ran("ana", &["consent", "revoke", "CS1"]).says(1, &["403"]);
    let endless = ["consent", "sign", "C2", "hipaa_508", "T1", "bil", "--purposes", "HPAYMT", "--fields", "clin.note"];
    desk.ran("pri", &[&endless[..], &["--by", "C2"]].concat()).says(1, &["400", "expires_at"]);

    // Who is active is the application's in a demo, and it is said to be.
    desk.ran("sid", &["user", "suspend", "ana"]).says(1, &["409", "the application keeps who is active"]);
    let none = desk.ran("sid", &["user", "suspensions", "ana"]);
    assert!(none.code == Some(0) && none.stderr.contains("no suspension is kept here"), "{}", none.stderr);
    assert_eq!(desk.events(), ["pri signed", "pri refused", "pri revoked", "pri refused", "sid refused"]);
}

#[test]
fn an_operator_waits_from_a_shell_until_what_was_revoked_allows_nothing() {
    let desk = Desk::open();
    let url = format!("http://{}", desk.sidecar.doors().admin);
    let token = desk.sidecar.folder().join("admin-token");
    let ran = |words: &[&str]| {
        Ended::of(chaperone().arg("barrier").args(words).args(["--url", &url, "--token-file"]).arg(&token))
    };
    let all = ran(&["--all"]);
    let (first, second) = all.stdout.split_once('\n').unwrap_or_else(|| panic!("{all:?}"));
    assert_eq!((all.code, first), (Some(0), "barrier       reached"), "{all:?}");
    assert!(second.starts_with("confirmed     ") && second.contains("  demo on "), "{all:?}");
    let here = ran(&[]);
    let sources = "barrier       reached\napp           each_decision\nstore         each_decision\n";
    assert_eq!((here.code, here.stdout.as_str()), (Some(0), sources), "{here:?}");
    let told: Json = serde_json::from_str(&ran(&["--all", "-o", "json"]).stdout).unwrap();
    assert_eq!((told["schema_version"].as_i64(), told["in_force"].as_bool()), (Some(1), Some(true)), "{told}");
    ran(&["--all", "--as", "sid"]).says(2, &["--as"]);
}

#[test]
fn a_change_that_names_a_state_is_made_in_that_state_alone() {
    let desk = Desk::open();
    let version = |shown: &Json| shown["version"].as_str().unwrap().to_owned();
    let reviews = desk.told("pri", &["review", "list"]);
    let review = reviews["items"].as_array().unwrap().iter().find(|review| review["review_id"] == "RV3").unwrap();
    let shown = desk.ran("pri", &["review", "show", "RV3"]);
    for line in [
        "review_id      RV3".to_owned(),
        format!("user           {}", review["grant"]["user"].as_str().unwrap()),
        format!("reason_code    {}", review["grant"]["reason_code"].as_str().unwrap()),
        format!("grant/state    {}", review["grant"]["state"].as_str().unwrap()),
        format!("version        {}", version(review)),
    ] {
        assert!(shown.stdout.lines().any(|shown| shown == line), "`{line}` in {}{}", shown.stdout, shown.stderr);
    }
    assert_eq!(&desk.told("pri", &["review", "show", "RV3"])["grant"], &review["grant"]);
    desk.ran("pri", &["review", "show", "RV404"]).says(1, &["404", "there is no such review"]);
    let told = |who: &'static str, words: &[&str]| version(&desk.told(who, words));
    for (who, words, read) in [
        ("sid", &["assign", "window", "A1", "--open-ended"][..], told("sid", &["assign", "show", "A1"])),
        ("sid", &["assign", "end", "A3"], told("sid", &["assign", "show", "A3"])),
        ("pri", &["restrict", "agree", "RS3"], told("pri", &["restrict", "show", "RS3"])),
        ("pri", &["restrict", "terminate", "RS1", "request"], told("pri", &["restrict", "show", "RS1"])),
        ("adm", &["ticket", "scope", "TK1", "--record", "Note/N6=clin.note"], told("adm", &["ticket", "show", "TK1"])),
        ("adm", &["ticket", "resolve", "TK2"], told("adm", &["ticket", "show", "TK2"])),
        ("pri", &["review", "decide", "RV3", "justified"], version(review)),
    ] {
        let stale = desk.ran(who, &[words, &["--if-match", "another"]].concat());
        stale.says(1, &["412", "it was changed since"]);
        let done = desk.ran(who, &[words, &["--if-match", &read]].concat());
        assert_eq!(done.code, Some(0), "{words:?}: {}", done.stderr);
        assert!(
            done.stdout.contains("\nversion        ") && !done.stdout.contains(&read),
            "{words:?}: {}",
            done.stdout
        );
    }
    desk.ran("sid", &["assign", "end", "A7", "--if-match", "\"quoted\""]).says(2, &["a version is one word"]);

    let socket = desk.sidecar.doors().socket;
    let grant = |words: &[&str]| Ended::of(chaperone().arg("grant").args(words).arg("--socket").arg(&socket));
    let shown = grant(&["show", "BG1", "-o", "json"]);
    let read = version(&serde_json::from_str(&shown.stdout).unwrap());
    grant(&["end", "BG1", "--if-match", "another"]).says(1, &["412", "it was changed since"]);
    assert_eq!(grant(&["end", "BG1", "--if-match", &read]).code, Some(0));
}
