//! The shipped binary, as a person or a script meets it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
};

use assert_cmd::Command;
use predicates::{prelude::*, str::contains};

fn chaperone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

fn file_with(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Answers one request with `status`, and hands back what was asked.
fn answer_once(mut stream: impl Read + Write, status: &str) -> String {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        asked.extend_from_slice(&byte);
    }
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    String::from_utf8(asked).unwrap()
}

#[test]
fn help_is_the_result_and_a_wrong_word_is_talk() {
    chaperone().arg("--help").assert().code(0).stdout(contains("Exit codes:")).stderr("");
    chaperone().arg("srve").assert().code(2).stdout("").stderr(contains("serve"));
    chaperone().assert().code(2).stdout("");
}

#[test]
fn nothing_is_coloured_off_a_terminal() {
    let escape = contains("\u{1b}[").not();
    chaperone().args(["config", "print", "--config", "/nowhere"]).assert().code(1).stderr(escape);
}

#[test]
fn every_mistake_of_a_configuration_is_shown_at_once_with_its_line() {
    let file = file_with("server:\n  tpc: {}\nlimits:\n  connections: many\n");
    let shown = format!("{}:2: server.tpc: unknown key `tpc`", file.path().display());
    chaperone().arg("serve").arg("--config").arg(file.path()).assert().code(1).stdout("").stderr(
        contains("has 2 mistakes")
            .and(contains(shown))
            .and(contains("did you mean `tcp`?"))
            .and(contains(":4: limits.connections")),
    );
}

#[test]
fn the_printed_configuration_has_flags_over_the_environment_and_no_secret() {
    let token = "0123456789abcdef0123456789abcdef";
    let file =
        file_with(&format!("callers: [{{ name: ehr, token: {token} }}]\nlimits: {{ in_flight: 1, connections: 1 }}\n"));
    let output = chaperone()
        .args(["config", "print", "--redacted", "-o", "json", "--set", "limits.in_flight=3"])
        .env("CHAPERONE_CONFIG", file.path())
        .env("CHAPERONE_LIMITS__IN_FLIGHT", "2")
        .env("CHAPERONE_LIMITS__CONNECTIONS", "2")
        .assert()
        .code(0)
        .get_output()
        .clone();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(!printed.contains(token) && printed.contains("***"), "{printed}");
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["limits"]["in_flight"], &printed["limits"]["connections"]), (&3.into(), &2.into()));
}

#[test]
fn the_schema_names_every_section() {
    let output = chaperone().args(["config", "schema"]).assert().code(0).get_output().clone();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sections: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        sections,
        ["server", "callers", "policies", "sources", "entities", "audit", "grants", "telemetry", "limits"]
    );
}

#[test]
fn completions_and_manual_pages_are_printed() {
    chaperone().args(["completions", "bash"]).assert().code(0).stdout(contains("_chaperone"));
    chaperone().args(["man", "audit", "verify"]).assert().code(0).stdout(contains(".TH"));
    chaperone().args(["man", "nothing"]).assert().code(2).stderr(contains("no command `nothing`"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_chaperone"))
        .args(["config", "schema"])
        .stdout(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn healthcheck_asks_the_health_listener_of_the_configuration() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || answer_once(listener.accept().unwrap().0, "200 OK"));
    chaperone()
        .args(["healthcheck", "--set", &format!("server.health.listen=0.0.0.0:{}", address.port())])
        .assert()
        .code(0)
        .stdout("alive\n");
    assert!(server.join().unwrap().starts_with("GET /livez HTTP/1.1\r\n"));
}

#[test]
fn healthcheck_tells_what_an_unready_sidecar_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || answer_once(listener.accept().unwrap().0, "503 Service Unavailable"));
    chaperone()
        .args(["healthcheck", "--ready", "--url", &url])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("503").and(contains("/readyz")));
    assert!(server.join().unwrap().starts_with("GET /readyz "));
}

#[test]
fn healthcheck_finds_life_behind_a_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pdp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || answer_once(listener.accept().unwrap().0, "401 Unauthorized"));
    chaperone().arg("healthcheck").arg("--socket").arg(&path).assert().code(0);
    assert!(server.join().unwrap().starts_with("GET /.well-known/authzen-configuration "));
}

#[test]
fn healthcheck_fails_where_nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.sock");
    chaperone().arg("healthcheck").arg("--socket").arg(&path).assert().code(1).stderr(contains("none.sock"));
}

#[test]
fn metrics_leave_by_otlp_before_the_process_ends_when_an_endpoint_asks() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (stream, _) = collector.accept().unwrap();
        answer_once(stream, "200 OK")
    });
    let file = file_with("policies: { dir: /nowhere }\n");
    chaperone()
        .arg("serve")
        .arg("--config")
        .arg(file.path())
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint)
        .assert()
        .code(1);
    // If nothing came, this lets the collector go, and the test fail.
    drop(std::net::TcpStream::connect(endpoint.trim_start_matches("http://")));
    assert!(server.join().unwrap().starts_with("POST / HTTP/1.1\r\n"));
}
