//! The trail over the operators' listener of a running sidecar: read, exported, and each reading recorded.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value as Json;

use crate::helpers::sidecar::{Asker, Doors, Sidecar, Told, ana_reads, wait_for};

const SESSION: &str = "mfa=true, age_seconds=60, idle_seconds=5, tenant=T1";

/// Asked by the privacy officer of T1.
fn get(doors: &Doors, token: &str, path: &str) -> Told {
    get_as(doors, token, path, "pri")
}

fn get_as(doors: &Doors, token: &str, path: &str, person: &str) -> Told {
    let headers = [("Chaperone-Principal", person), ("Chaperone-Session", SESSION)];
    Asker::new(TcpStream::connect(&doors.admin).unwrap(), token).get_with(path, &headers).unwrap()
}

fn read(doors: &Doors, path: &str) -> Json {
    let told = get(doors, &doors.admin_token, path);
    assert_eq!(told.status, 200, "{}", told.body);
    told.json()
}

/// An answer in pieces, read to its end; `None` if it broke off.
fn streamed(doors: &Doors, path: &str) -> (String, Option<String>) {
    let mut stream = TcpStream::connect(&doors.admin).unwrap();
    let token = &doors.admin_token;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nchaperone-principal: pri\r\nchaperone-session: {SESSION}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (head.to_owned(), Some(body));
        }
        let (piece, after) = after.split_at(size);
        body.push_str(piece);
        rest = after.strip_prefix("\r\n").unwrap();
    }
    (head.to_owned(), None)
}

fn ids(page: &Json) -> Vec<String> {
    let records = page["records"].as_array().unwrap().iter();
    records.map(|found| found["record"]["decision_id"].as_str().unwrap().to_owned()).collect()
}

fn of_admin(sidecar: &Sidecar) -> Vec<Json> {
    sidecar.records().into_iter().map(|(_, line)| line).filter(|line| line["kind"] == "admin").collect()
}

#[test]
fn decisions_are_read_page_by_page_and_every_reading_is_a_record() {
    let sidecar = Sidecar::demo();
    let doors = sidecar.doors();
    let mut asker = doors.tcp();
    let asked: Vec<String> = (0..9).map(|_| asker.ask(&ana_reads()).unwrap().receipt().decision_id).collect();
    let base = "/admin/v1/decisions?principal=User/ana&client=C1&tenant=T1&limit=4";
    let (mut found, mut path) = (Vec::new(), base.to_owned());
    let mut pages = 0;
    loop {
        let page = read(&doors, &path);
        found.extend(ids(&page));
        pages += 1;
        asker.ask(&ana_reads()).unwrap();
        match page["next"].as_str() {
            Some(next) => path = format!("{base}&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (asked, 3), "what came meanwhile is not in these pages");

    let records = of_admin(&sidecar);
    assert_eq!(records.len(), 3);
    let first = &records[0];
    assert_eq!((&first["action"], &first["caller"]), (&"admin:decisions".into(), &"admin".into()));
    assert_eq!(first["principal"]["id"], "pri");
    assert_eq!((&first["client"], &first["tenant"]), (&"C1".into(), &"T1".into()));
    assert_eq!(first["detail"]["filters"]["principal"], "User/ana");
    assert_eq!(first["detail"]["records"], 4);
    let readings = read(&doors, "/admin/v1/decisions?kind=admin&action=admin:decisions");
    assert_eq!(readings["records"].as_array().unwrap().len(), 3);

    for (path, part) in [
        ("/admin/v1/decisions?clinet=C1", "/clinet"),
        ("/admin/v1/decisions?limit=0", "/limit"),
        ("/admin/v1/decisions?cursor=AAAA", "/cursor"),
        ("/admin/v1/audit/export?format=xml", "/format"),
    ] {
        let refused = get(&doors, &doors.admin_token, path);
        assert_eq!((refused.status, refused.json()["path"].as_str()), (400, Some(part)), "{path}");
    }
    let cursor = read(&doors, base)["next"].as_str().unwrap().to_owned();
    let foreign = get(&doors, &doors.admin_token, &format!("/admin/v1/decisions?client=C2&cursor={cursor}"));
    assert_eq!(foreign.status, 400, "a cursor is of its query alone");
    assert_eq!(get(&doors, &doors.token, base).status, 401, "a caller's token opens nothing");
    let nobody = Asker::new(TcpStream::connect(&doors.admin).unwrap(), &doors.admin_token).get(base).unwrap();
    assert_eq!(nobody.status, 401, "whoever reads says who they are");
    let therapist = get_as(&doors, &doors.admin_token, base, "ana");
    assert_eq!((therapist.status, therapist.json()["reason"].as_str()), (403, Some("role")));
    let other = get(&doors, &doors.admin_token, "/admin/v1/decisions?tenant=T2");
    assert_eq!((other.status, other.json()["path"].as_str()), (403, Some("/tenant")));
    assert_eq!(get(&doors, &doors.admin_token, "/admin/v1/decisions/").status, 404);
}

#[test]
fn an_export_leaves_in_pieces_and_the_trail_says_when_and_how_much() {
    let sidecar = Sidecar::demo();
    let doors = sidecar.doors();
    let mut asker = doors.tcp();
    for _ in 0..600 {
        asker.ask(&ana_reads()).unwrap();
    }
    let (head, csv) = streamed(&doors, "/admin/v1/audit/export?format=csv&client=C1");
    assert!(head.contains("text/csv"), "{head}");
    assert_eq!(csv.unwrap().matches("\r\n").count(), 601);
    let (_, jsonl) = streamed(&doors, "/admin/v1/audit/export?client=C1&kind=decision");
    let stored: String = sidecar
        .records()
        .iter()
        .filter(|(_, line)| line["client"] == "C1" && line["kind"] == "decision")
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    assert_eq!(jsonl.unwrap(), stored, "the stored bytes, in their order");
    let (_, fhir) = streamed(&doors, "/admin/v1/audit/export?format=fhir&kind=decision&client=C1");
    assert_eq!(fhir.unwrap().lines().count(), 600);
    let records = wait_for("each export has its two records", || {
        let records = of_admin(&sidecar);
        (records.len() == 6).then_some(records)
    });
    let events: Vec<_> = records.iter().map(|record| record["detail"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["begun", "ended", "begun", "ended", "begun", "ended"]);
    assert_eq!((&records[1]["detail"]["records"], &records[1]["detail"]["whole"]), (&600.into(), &true.into()));
    assert_eq!(records[4]["detail"]["format"], "fhir");
}

#[test]
fn a_tenant_finds_who_of_other_houses_came_near_its_records() {
    let sidecar = Sidecar::demo();
    let doors = sidecar.doors();
    let mut asker = doors.tcp();
    let session = serde_json::json!({ "mfa": true, "idle_seconds": 12, "age_seconds": 900, "device_managed": true });
    let asks = |person: &str, kind: &str, id: &str| {
        serde_json::json!({
            "subject": { "type": "User", "id": person },
            "action": { "name": "read", "properties": { "fields": ["clin.note"] } },
            "resource": { "type": kind, "id": id },
            // What a caller says about the tenant is not believed.
            "context": { "session": session, "ip": "10.0.0.9", "resource_tenant": "T2" },
        })
    };
    let (vendor, stranger) = (asks("eng", "Note", "N1"), asks("zoe", "Note", "N1"));
    let told = asker.ask(&vendor).unwrap();
    assert_eq!(told.json()["decision"], true, "{}", told.body);
    let other = asker.ask(&stranger).unwrap();
    assert_eq!(other.json()["decision"], false);
    let page = read(&doors, "/admin/v1/decisions?resource=Note/N1");
    assert_eq!(ids(&page), [told.receipt().decision_id, other.receipt().decision_id]);
    let record = |nth: usize| &page["records"][nth]["record"];
    assert_eq!((record(0).get("tenant"), &record(1)["tenant"]), (None, &"T2".into()));
    for (nth, who) in ["eng", "zoe"].into_iter().enumerate() {
        assert_eq!((&record(nth)["resource_tenant"], &record(nth)["client"]), (&"T1".into(), &"C1".into()));
        assert_eq!(record(nth)["principal"], serde_json::json!({ "type": "User", "id": who }));
        assert_eq!((record(nth).get("session"), record(nth).get("ip")), (None, None));
        let left_out = record(nth)["not_shown"].as_array().unwrap();
        assert!(["principal.roles", "session", "ip"].iter().all(|name| left_out.contains(&(*name).into())));
    }
    let (_, jsonl) = streamed(&doors, "/admin/v1/audit/export?resource=Note/N1&kind=decision");
    let jsonl = jsonl.unwrap();
    assert_eq!(jsonl.lines().count(), 2);
    assert!(!jsonl.contains("10.0.0.9"), "{jsonl}");
    let stored = sidecar.records().into_iter().map(|(_, line)| line).filter(|line| line["resource"]["id"] == "N1");
    assert!(stored.into_iter().all(|line| line["ip"] == "10.0.0.9"), "the trail itself has all");
}
