//! `check`, `test`, `authorize` and `explain`, as a person or a build server meets them.

use std::{fs, path::Path};

use assert_cmd::Command;
use predicates::{prelude::*, str::contains};
use serde_json::Value as Json;

/// The binary, in the project's root, where the shipped pack lies.
fn chaperone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
    command.env_clear().current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of the shipped pack to spoil.
fn pack() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["policies", "schemas"] {
        copy_folder(&root.join(name), &folder.path().join(name));
    }
    folder
}

/// The shipped clinic's databases, and a configuration that names them.
fn clinic() -> tempfile::TempDir {
    let folder = pack();
    for (name, scripts) in
        [("app", ["app.schema.sql", "app.fixtures.sql"]), ("store", ["store.schema.sql", "store.fixtures.sql"])]
    {
        let path = folder.path().join(format!("{name}.db"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::Connection;
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            for script in scripts {
                let sql = fs::read_to_string(folder.path().join("schemas/demo").join(script)).unwrap();
                run_sql(&mut connection, sql).await;
            }
            connection.close().await.unwrap();
        });
    }
    let config = format!(
        "policies: {{ dir: \"{0}/policies\", schemas: \"{0}/schemas\" }}\nsources:\n  app: {{ url: \"sqlite://{0}/app.db\" }}\n  store: {{ url: \"sqlite://{0}/store.db\" }}\n",
        folder.path().display()
    );
    fs::write(folder.path().join("chaperone.yaml"), config).unwrap();
    folder
}

async fn run_sql(connection: &mut sqlx::SqliteConnection, sql: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

const CASE: &str = "now: 2026-03-10T15:00:00Z\nprincipals: { ana: User/ana }\ncases:\n";

fn cases(folder: &Path, text: &str) {
    let cases = folder.join("policies/cases");
    fs::remove_dir_all(&cases).unwrap();
    fs::create_dir(&cases).unwrap();
    fs::write(cases.join("own.yaml"), format!("{CASE}{text}")).unwrap();
}

fn json(output: &[u8]) -> Json {
    serde_json::from_slice(output).unwrap()
}

#[test]
fn check_passes_on_the_shipped_pack_and_sums_it_up() {
    chaperone()
        .arg("check")
        .assert()
        .code(0)
        .stdout(contains("permits").and(contains("sha256:")).and(contains("actions")))
        .stderr("");
    let output = chaperone().args(["check", "policies", "-o", "json"]).assert().code(0).get_output().clone();
    assert_eq!(json(&output.stdout)["valid"], true);
}

#[test]
fn check_names_file_and_line_of_a_broken_policy_and_ends_with_3() {
    let folder = pack();
    let file = folder.path().join("policies/broken.cedar");
    fs::write(&file, "// A typing error.\n\n@id(\"broken\")\npermit (principal, action, resource)\nwhen { principal.nme == \"x\" };\n").unwrap();
    let place = format!("{}:5", file.display());
    chaperone()
        .arg("check")
        .arg(folder.path().join("policies"))
        .assert()
        .code(3)
        .stdout(contains(&place).and(contains("principal.nme")).and(contains("error")));
    let annotation = format!("::error file={},line=5", file.display());
    chaperone()
        .args(["check", "-o", "github"])
        .arg(folder.path().join("policies"))
        .assert()
        .code(3)
        .stdout(contains(annotation));
}

#[test]
fn check_with_database_tells_a_column_that_is_not_there() {
    let folder = clinic();
    let config = folder.path().join("chaperone.yaml");
    chaperone().args(["check", "--database", "--config"]).arg(&config).assert().code(0).stderr("");
    // What a sidecar would warn of at its start is said here too.
    let token = "server.admin.token=0123456789abcdef0123456789abcdef";
    let open = ["check", "--set", "server.admin.listen=0.0.0.0:8381", "--set", token, "--config"];
    chaperone().args(open).arg(&config).assert().code(0).stderr(
        contains("warning:").and(contains("server.admin.listen: the administrators' token")).and(contains("127.0.0.1")),
    );
    let mapping = folder.path().join("schemas/clinic.entities.yaml");
    let text = fs::read_to_string(&mapping).unwrap();
    assert!(text.contains("FROM appointments"));
    fs::write(&mapping, text.replace("FROM appointments", "FROM appointmentz")).unwrap();
    chaperone().args(["check", "--database", "--config"]).arg(&config).assert().code(3).stdout(contains("Appointment"));
}

#[test]
fn check_prints_the_schema_with_every_action_that_a_policy_could_name() {
    chaperone()
        .args(["check", "--print-schema"])
        .assert()
        .code(0)
        .stdout(contains("read:clin.note").and(contains("read:therapist.Ra")));
}

#[test]
fn test_ends_with_4_and_names_the_policy_that_decided_otherwise() {
    let folder = pack();
    let check = "- name: one\n  checks:\n  - { who: ana, action: read, on: Note/N1, fields: [clin.note], expect: deny, reason: role }\n";
    cases(folder.path(), check);
    let policies = folder.path().join("policies");
    chaperone().arg("test").arg(&policies).assert().code(4).stdout(
        contains("✗ own.yaml  one")
            .and(contains("expected deny, got allow"))
            .and(contains("allowed by  therapist-reads-assigned"))
            .and(contains("therapist.cedar:"))
            .and(contains("1 check, 1 failed")),
    );
    chaperone()
        .args(["test", "-o", "junit"])
        .arg(&policies)
        .assert()
        .code(4)
        .stdout(contains("<failure message=\"1 check failed\">").and(contains("failures=\"1\"")));
    let line = format!("::error file={},line=4::", policies.join("cases/own.yaml").display());
    chaperone().args(["test", "-o", "github"]).arg(&policies).assert().code(4).stdout(contains(line));
}

#[test]
fn test_fails_where_no_case_ran_and_where_a_case_is_mistyped() {
    let folder = pack();
    let check =
        "- name: one\n  checks:\n  - { who: ana, action: read, on: Note/N1, fields: [clin.note], expect: allow }\n";
    cases(folder.path(), check);
    let policies = folder.path().join("policies");
    chaperone().args(["test", "-r", "another"]).arg(&policies).assert().code(4).stderr(contains("no case ran"));
    chaperone().args(["test", "-r", "OWN*one"]).arg(&policies).assert().code(0);
    cases(folder.path(), "- name: one\n  chekcs: []\n");
    chaperone().arg("test").arg(&policies).assert().code(4).stderr(contains("chekcs").and(contains("own.yaml:5")));
}

#[test]
fn test_fails_below_the_coverage_that_was_asked_for() {
    let folder = pack();
    let check =
        "- name: one\n  checks:\n  - { who: ana, action: read, on: Note/N1, fields: [clin.note], expect: allow }\n";
    cases(folder.path(), check);
    let policies = folder.path().join("policies");
    chaperone()
        .args(["test", "--coverage", "--threshold", "90"])
        .arg(&policies)
        .assert()
        .code(4)
        .stdout(contains("never matched psychotherapy-note"))
        .stderr(contains("less than 90 %"));
}

#[test]
fn a_setup_changes_rows_for_its_own_case_alone() {
    let folder = pack();
    let check = "- name: changed\n  setup: { store: \"DELETE FROM assignments\" }\n  checks:\n  - { who: ana, action: read, on: Client/C1, fields: [clin.plan], expect: deny, reason: no_assignment }\n- name: untouched\n  checks:\n  - { who: ana, action: read, on: Client/C1, fields: [clin.plan], expect: allow }\n";
    cases(folder.path(), check);
    chaperone().arg("test").arg(folder.path().join("policies")).assert().code(0).stdout(contains("2 checks, 0 failed"));
}

#[test]
fn every_policy_of_the_shipped_pack_is_matched_by_its_cases() {
    let output = chaperone()
        .args(["test", "-o", "json", "--coverage", "--threshold", "95"])
        .assert()
        .code(0)
        .get_output()
        .clone();
    let report = json(&output.stdout);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["coverage"]["never"], Json::Array(Vec::new()));
}

#[test]
fn an_offline_answer_says_that_it_was_not_recorded() {
    let folder = clinic();
    let ask = |words: &[&str]| {
        let mut command = chaperone();
        command.args(words).arg("--config").arg(folder.path().join("chaperone.yaml"));
        command.args([
            "--at",
            "2026-03-10T15:00:00Z",
            "--context",
            r#"{"session":{"mfa":true,"idle_seconds":1,"age_seconds":1}}"#,
        ]);
        command.assert()
    };
    let ana = |on| {
        [
            "authorize",
            "--principal",
            "User/ana",
            "--action",
            "read",
            "--resource",
            on,
            "--fields",
            "clin.plan",
            "--exit-code",
        ]
    };
    ask(&ana("Client/C1")).code(0).stdout(contains("allow").and(contains("simulated, not recorded")));
    ask(&ana("Client/C4")).code(2).stdout(contains("deny no_assignment"));
    let explained = ask(&[
        "explain",
        "--principal",
        "User/ana",
        "--action",
        "read",
        "--resource",
        "Client/C1",
        "--fields",
        "clin.plan",
    ]);
    explained.code(0).stdout(
        contains("evidence    assignment A1")
            .and(contains("Client/C1"))
            .and(contains("therapist.cedar:"))
            .and(contains("demo").not()),
    );
    let output =
        ask(&["authorize", "--principal", "User/ana", "--action", "read", "--resource", "Client/C4", "-o", "json"])
            .get_output()
            .clone();
    let answer = json(&output.stdout);
    assert_eq!((&answer["simulated"], &answer["decision"]), (&true.into(), &false.into()));
    assert!(answer.pointer("/context/chaperone/receipt").is_none());
}

#[test]
fn a_request_that_says_a_key_twice_is_refused() {
    chaperone()
        .args(["authorize", "-"])
        .write_stdin(r#"{"subject":{"type":"User","id":"ana"},"subject":{"type":"User","id":"ben"}}"#)
        .assert()
        .code(1)
        .stderr(contains("twice"));
}
