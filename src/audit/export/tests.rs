//! Exports over real trails: the same rows in every form, the same bytes each time, and a proof that holds.

use super::*;
use crate::{
    audit::{
        Trail, VerifierKey,
        query::{FolderRecords, Query},
        tests::{KEY, clock, config},
    },
    domain::{
        Decision, Evidence, Record, RecordKind, Tier, Timestamp,
        record::{FieldsRecord, PrincipalRecord, ResourceRecord, RevisionsRecord, SessionRecord},
    },
};

pub(super) fn at(second: i64) -> Timestamp {
    "2026-03-10T15:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
}

/// A deny with everything that a record can say, hostile texts included.
pub(super) fn full_deny() -> Record {
    let mut record = Record::new(RecordKind::Decision, at(1));
    record.decision_id = Some("0199c0de-0000-7000-8000-000000000001".to_owned());
    record.request_id = Some("bfe9eb29-ab87-4ca3-be83-a1d5d8305716".to_owned());
    record.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
    record.caller = Some("ehr".to_owned());
    let roles = vec!["therapist".into()];
    record.principal = Some(PrincipalRecord { kind: "User".to_owned(), id: "ben".to_owned(), roles });
    record.tenant = Some("T1".into());
    record.action = Some("read".to_owned());
    record.crud = Some('R');
    record.resource = Some(ResourceRecord { kind: "Note".to_owned(), id: "N3".to_owned() });
    record.client = Some("C3".into());
    let denied = [("clin.note".to_owned(), Reason::new("assignment_revoked"))].into_iter().collect();
    record.fields = Some(FieldsRecord { requested: vec!["clin.note".to_owned()], denied, ..FieldsRecord::default() });
    record.decision = Some(Decision::Deny);
    record.reason = Some(Reason::new("assignment_revoked"));
    record.policies = vec!["therapist-reads-assigned".into()];
    record.purpose = Some("TREAT".into());
    record.access_reason = Some("=HYPERLINK(\"http://evil\",\"a,b\")\nsecond".to_owned());
    record.session = Some(SessionRecord { mfa: Some(true), ..SessionRecord::default() });
    record.ip = Some("10.0.0.9".to_owned());
    record.user_agent = Some("@ehr/4.2".to_owned());
    record.revisions = Some(RevisionsRecord { policies: "sha256:aa".to_owned(), facts: "f".to_owned() });
    record.facts_age_ms = Some(8);
    record
}

/// An allow that an emergency grant brought.
fn emergency_allow() -> Record {
    let mut record = full_deny();
    record.at = at(2);
    record.decision_id = Some("0199c0de-0000-7000-8000-000000000002.0".to_owned());
    (record.decision, record.reason) = (Some(Decision::Allow), None);
    record.grant = Some("G1".into());
    record.would_have_been_allowed = Some(false);
    record.purpose = Some("ETREAT".into());
    record.evidence = vec![Evidence { kind: "grant".into(), id: "G1".into(), until: Some(at(900)) }];
    record.ip = Some("not an address".to_owned());
    record
}

fn with_detail(kind: RecordKind, second: i64, pairs: &[(&str, &str)]) -> Record {
    let mut record = Record::new(kind, at(second));
    record.detail = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    record
}

/// One of each kind, and of each turn of a grant.
fn one_of_each() -> Vec<Record> {
    let mut unavailable = full_deny();
    (unavailable.at, unavailable.reason) = (at(3), Some(Reason::DATA_UNAVAILABLE));
    unavailable.decision_id = Some("not an id for FHIR".to_owned());
    unavailable.client = Some("a client with spaces".into());
    let mut by_ticket = emergency_allow();
    (by_ticket.at, by_ticket.grant) = (at(4), Some("TK1".into()));
    by_ticket.evidence = vec![Evidence { kind: "ticket".into(), id: "TK1".into(), until: None }];
    by_ticket.purpose = Some("HSYSADMIN".into());
    let mut consented = emergency_allow();
    (consented.at, consented.grant) = (at(5), None);
    consented.evidence = vec![Evidence { kind: "consent".into(), id: "CS5".into(), until: None }];
    consented.purpose = Some("a purpose of ours".into());
    let disclosed = [("outcome", "success"), ("recipient", "Dr. Who"), ("description", "summary"), ("basis", "x")];
    let query = Query::default();
    let reading = crate::audit::Reading {
        kind: crate::audit::ReadingKind::Query,
        query: &query,
        person: "pri",
        request_id: "r",
        trace_id: None,
        records: Some(3),
        format: "json",
    };
    vec![
        full_deny(),
        emergency_allow(),
        unavailable,
        by_ticket,
        consented,
        with_detail(RecordKind::Outcome, 6, &disclosed),
        with_detail(RecordKind::Outcome, 7, &[("outcome", "failure")]),
        with_detail(RecordKind::Grant, 8, &[("event", "activated")]),
        with_detail(RecordKind::Grant, 9, &[("event", "revoked")]),
        with_detail(RecordKind::Grant, 10, &[("event", "requested")]),
        with_detail(RecordKind::Review, 11, &[("event", "closed")]),
        with_detail(RecordKind::Policy, 12, &[("event", "published")]),
        reading.record(at(13)),
        with_detail(RecordKind::Admin, 14, &[("event", "assigned")]),
    ]
}

async fn trail_of(records: Vec<Record>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(config(dir.path()), clock()).unwrap();
    for record in records {
        drop(trail.append((), record, Tier::Process).await.unwrap());
    }
    trail.close().await.unwrap();
    dir
}

fn exported(dir: &std::path::Path, format: Format, query: Query) -> (Vec<u8>, Runs) {
    let mut run = FolderRecords::once(dir).run(query, None).unwrap();
    let (mut bytes, mut runs) = (format.head(), Runs::default());
    while let Some(found) = run.next_found().unwrap() {
        format.row(&found, &mut bytes).unwrap();
        runs.push(&found);
    }
    (bytes, runs)
}

fn schema(name: &str) -> jsonschema::Validator {
    let path = format!("{}/schemas/audit/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
    let schema: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(schema["$comment"].as_str().unwrap().contains("://"), "the source is named");
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &jsonschema::Validator, event: &serde_json::Value) {
    let errors: Vec<_> =
        validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
}

#[tokio::test]
async fn every_kind_of_record_is_an_event_as_the_standards_want_it() {
    let dir = trail_of(one_of_each()).await;
    let mut counts = Vec::new();
    for (format, name) in [(Format::Ocsf, "ocsf-api-activity"), (Format::Fhir, "fhir-audit-event")] {
        let validator = schema(name);
        let (bytes, _) = exported(dir.path(), format, Query::default());
        let events: Vec<serde_json::Value> =
            String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.iter().for_each(|event| assert_valid(&validator, event));
        counts.push(events.len());
    }
    assert_eq!(counts, [15, 15], "with the record of the start");
}

#[test]
fn the_schemas_refuse_what_lacks_a_required_field_or_has_a_wrong_one() {
    let found = |record: &Record| Found {
        at: record.at,
        writer: "019a8c5e-0f3c-7000-8000-000000000001".into(),
        seq: 3,
        line: Vec::new(),
    };
    let deny = full_deny();
    let ocsf = ocsf::event(&found(&deny), &deny, &[]);
    let validator = schema("ocsf-api-activity");
    assert_valid(&validator, &ocsf);
    for key in [
        "activity_id",
        "category_uid",
        "class_uid",
        "type_uid",
        "severity_id",
        "time",
        "metadata",
        "actor",
        "api",
        "src_endpoint",
    ] {
        let mut without = ocsf.clone();
        without.as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&without), "{key}");
    }
    let mut wrong = ocsf.clone();
    wrong["type_uid"] = 600_301.into();
    assert!(!validator.is_valid(&wrong), "the type is of another activity");
    let fhir = fhir::event(&found(&deny), &deny, &[]);
    let validator = schema("fhir-audit-event");
    assert_valid(&validator, &fhir);
    for key in ["resourceType", "type", "recorded", "agent", "source"] {
        let mut without = fhir.clone();
        without.as_object_mut().unwrap().remove(key);
        assert!(!validator.is_valid(&without), "{key}");
    }
    for (pointer, value) in [("/outcome", "9"), ("/action", "X"), ("/id", "a b"), ("/recorded", "2026-03-10")] {
        let mut wrong = fhir.clone();
        *wrong.pointer_mut(pointer).unwrap() = value.into();
        assert!(!validator.is_valid(&wrong), "{pointer}");
    }
}

#[tokio::test]
async fn every_form_has_the_same_rows_in_the_same_order_and_the_same_bytes_again() {
    let mut records = one_of_each();
    // Older than the first.
    records.push(Record { at: at(0), ..full_deny() });
    let dir = trail_of(records).await;
    let mut query = Query::default();
    query.set("to", "2026-03-10T16:00:00Z").unwrap();
    let (jsonl, runs) = exported(dir.path(), Format::Jsonl, query.clone());
    let line = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let lines: Vec<_> = std::str::from_utf8(&jsonl).unwrap().lines().map(line).collect();
    let seqs: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.first(), Some(&16), "by instant, not by number");
    assert_eq!(seqs.len(), 15);
    let (ocsf, ocsf_runs) = exported(dir.path(), Format::Ocsf, query.clone());
    let ocsf: Vec<_> = std::str::from_utf8(&ocsf).unwrap().lines().map(line).collect();
    assert_eq!(ocsf.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), seqs);
    assert_eq!(ocsf_runs, runs);
    let (fhir, _) = exported(dir.path(), Format::Fhir, query.clone());
    let fhir: Vec<_> = std::str::from_utf8(&fhir).unwrap().lines().map(line).collect();
    for (event, seq) in fhir.iter().zip(&seqs) {
        let name = event["entity"].as_array().unwrap().last().unwrap()["what"]["identifier"]["value"].clone();
        assert!(name.as_str().unwrap().ends_with(&format!("/{seq}")), "{event:#}");
    }
    let (csv, _) = exported(dir.path(), Format::Csv, query.clone());
    let csv = String::from_utf8(csv).unwrap();
    let rows = rows_of(&csv);
    assert_eq!(rows[1..].iter().map(|row| row[1].parse().unwrap()).collect::<Vec<u64>>(), seqs);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])));
    assert_eq!(rows[2][30], "'=HYPERLINK(\"http://evil\",\"a,b\")\nsecond");
    for format in Format::ALL {
        assert_eq!(
            exported(dir.path(), format, query.clone()),
            exported(dir.path(), format, query.clone()),
            "{format}"
        );
    }
}

/// RFC 4180, read by a reader of its own.
fn rows_of(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted && letters.peek() == Some(&'\n') => {
                letters.next();
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            letter => cell.push(letter),
        }
    }
    assert!(row.is_empty() && cell.is_empty() && !is_quoted, "the last row is ended");
    rows
}

#[tokio::test]
async fn an_emergency_is_told_apart_from_support_and_from_treatment() {
    let dir = trail_of(one_of_each()).await;
    let lines = |format| -> Vec<serde_json::Value> {
        let (bytes, _) = exported(dir.path(), format, Query::default());
        let mut events: Vec<serde_json::Value> =
            String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // The record of the start bears this machine's clock.
        events.retain(|event| event["metadata"]["log_name"] != "system" && event["type"]["code"] != "110100");
        events
    };
    let ocsf = lines(Format::Ocsf);
    let severities: Vec<_> = ocsf.iter().take(5).map(|event| event["severity_id"].as_u64().unwrap()).collect();
    assert_eq!(severities, [1, 4, 1, 1, 1]);
    let said: Vec<_> = ocsf.iter().take(3).map(|event| (&event["status_id"], &event["disposition_id"])).collect();
    assert_eq!(said, [(&1.into(), &2.into()), (&1.into(), &1.into()), (&2.into(), &27.into())]);
    let fhir = lines(Format::Fhir);
    let purposes = |nth: usize| {
        let purposes = fhir[nth]["purposeOfEvent"].as_array().cloned().unwrap_or_default();
        purposes
            .iter()
            .map(|purpose| purpose["coding"][0]["code"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((purposes(0), purposes(1)), (vec!["TREAT".to_owned()], vec!["BTG".to_owned(), "ETREAT".to_owned()]));
    assert_eq!((purposes(3), purposes(4)), (vec!["HSYSADMIN".to_owned()], vec!["-".to_owned()]));
    let subtype = |nth: usize| fhir[nth]["subtype"][0]["code"].clone();
    assert_eq!((subtype(0), subtype(4)), ("AuthZ-Role".into(), "AuthZ-Consent".into()));
    assert_eq!((subtype(7), subtype(8)), ("110127".into(), "110138".into()));
    let outcomes: Vec<_> = fhir.iter().take(7).map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["8", "0", "12", "0", "0", "0", "4"]);
}

fn key() -> VerifierKey {
    KEY.public.clone()
}

#[tokio::test]
async fn a_proof_holds_for_its_file_and_for_no_other() {
    let records =
        || (0..60).map(|n| Record { at: at(60 - n), client: Some(format!("C{}", n % 4).into()), ..full_deny() });
    let dir = trail_of(records().collect()).await;
    for words in [&[][..], &[("client", "C1")], &[("client", "none")]] {
        let mut query = Query::default();
        words.iter().for_each(|(word, value)| query.set(word, value).unwrap());
        let (file, runs) = exported(dir.path(), Format::Jsonl, query);
        let proof = ExportProof::make(dir.path(), runs, sha256_hex(&file), None).unwrap();
        let text = serde_json::to_vec(&proof).unwrap();
        let proof = ExportProof::parse(&text).unwrap();
        let proved = proof.verify(&file, &[key()]).unwrap();
        assert_eq!(proved.records, u64::try_from(file.split(|byte| *byte == b'\n').count() - 1).unwrap());
        assert_eq!(proved.unsigned, 0);
        if file.is_empty() {
            continue;
        }
        assert!(matches!(proof.verify(&file, &[]), Err(ExportProofError::UnknownKey { .. })));
        // A changed line with a digest that fits it: the tree tells.
        let changed = String::from_utf8(file.clone()).unwrap().replacen("ehr/4.2", "ehr/4.3", 1).into_bytes();
        assert!(matches!(proof.verify(&changed, &[key()]), Err(ExportProofError::Digest)));
        let refitted = String::from_utf8(text).unwrap().replace(&sha256_hex(&file), &sha256_hex(&changed));
        let refitted = ExportProof::parse(refitted.as_bytes()).unwrap();
        assert!(matches!(refitted.verify(&changed, &[key()]), Err(ExportProofError::NotIncluded(_))));
        // A line less.
        let cut = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let shorter = ExportProof::make(dir.path(), Runs::default(), sha256_hex(&file[cut..]), None).unwrap();
        assert!(shorter.verify(&file[cut..], &[key()]).is_err());
    }
}

#[tokio::test]
async fn what_no_checkpoint_covers_is_counted_as_unsigned() {
    let dir = tempfile::tempdir().unwrap();
    let trail = Trail::open(config(dir.path()), clock()).unwrap();
    for _ in 0..5 {
        drop(trail.append((), full_deny(), Tier::Disk).await.unwrap());
    }
    // Neither sealed nor signed yet: its writer still runs.
    let (file, runs) = exported(dir.path(), Format::Jsonl, Query::default());
    let proof = ExportProof::make(dir.path(), runs, sha256_hex(&file), None).unwrap();
    assert_eq!(proof.verify(&file, &[key()]).unwrap(), Proved { records: 6, unsigned: 6 });
    trail.close().await.unwrap();
}

#[test]
fn a_record_of_a_newer_form_is_exported_as_it_is_or_not_at_all() {
    let found = Found { at: at(0), writer: "w".into(), seq: 4, line: br#"{"v":1,"seq":4,"kind":"new"}"#.to_vec() };
    let mut bytes = Vec::new();
    Format::Jsonl.row(&found, &mut bytes).unwrap();
    assert!(bytes.ends_with(b"\"new\"}\n"));
    for format in [Format::Csv, Format::Ocsf, Format::Fhir] {
        assert_eq!(format.row(&found, &mut bytes).unwrap_err().seq, 4, "{format}");
    }
}

#[test]
fn what_a_reader_is_not_shown_is_named_in_every_form_and_breaks_none_off() {
    let writer = "019a8c5e-0f3c-7000-8000-000000000001";
    let found = |line: Vec<u8>| Found { at: at(1), writer: writer.into(), seq: 7, line };
    let record = full_deny();
    let rest = serde_json::to_string(&record).unwrap();
    let stored = found(format!(r#"{{"v":1,"seq":7,{}"#, rest.strip_prefix('{').unwrap()).into_bytes());
    let newer = found(br#"{"v":9,"seq":7,"at":"2026-03-10T15:00:01Z","secret":"of the other house"}"#.to_vec());
    let own = record.tenant.as_deref().unwrap();
    let names = ["principal.roles", "session", "ip", "user_agent"];
    for (found, reader, names) in
        [(&stored, own, &[][..]), (&stored, "another", &names[..]), (&newer, "another", &["all"][..])]
    {
        let shown = found.shown_to(reader);
        let text = |format: Format| {
            let mut row = format.head();
            format.row(&shown, &mut row).unwrap();
            let text = String::from_utf8(row).unwrap();
            assert!(!text.contains("of the other house"), "{text}");
            text
        };
        let event = |format| -> serde_json::Value { serde_json::from_str(&text(format)).unwrap() };
        let is_bare = names == ["all"];
        let rows = rows_of(&text(Format::Csv));
        let column = |name: &str| rows[1][rows[0].iter().position(|column| column == name).unwrap()].as_str();
        assert_eq!((rows[0].last().unwrap().as_str(), column("not_shown")), ("not_shown", names.join(" ").as_str()));
        assert_eq!((column("seq"), column("at")), ("7", "2026-03-10T15:00:01Z"));
        assert_eq!(column("kind"), if is_bare { "" } else { "decision" });

        let ocsf = event(Format::Ocsf);
        assert_valid(&schema("ocsf-api-activity"), &ocsf);
        let said = ocsf["unmapped"].get("not_shown").map(|names| names.as_array().unwrap().clone()).unwrap_or_default();
        assert_eq!(said, names);
        assert_eq!(
            (ocsf["metadata"]["sequence"].as_u64(), ocsf["time"].as_i64()),
            (Some(7), Some(at(1).as_millisecond()))
        );
        assert_eq!(ocsf["unmapped"].get("kind").is_none(), is_bare, "{ocsf:#}");

        let fhir = event(Format::Fhir);
        assert_valid(&schema("fhir-audit-event"), &fhir);
        let said = fhir.get("extension").map(|names| names.as_array().unwrap().clone()).unwrap_or_default();
        assert!(said.iter().all(|name| name["url"] == "urn:chaperone:audit:not_shown"), "{said:?}");
        assert_eq!(said.iter().map(|name| name["valueString"].clone()).collect::<Vec<_>>(), names);
        assert_eq!(fhir["recorded"], "2026-03-10T15:00:01Z");
    }
}
