//! What a configuration means, and what is said about one with mistakes.

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn read_with(yaml: &str, environment: Environment, flags: Vec<Flag>) -> Result<Loaded, ConfigError> {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(yaml.as_bytes()).unwrap();
    load(&Input { file: Some(file.path().to_owned()), environment, flags })
}

fn read(yaml: &str) -> Result<Loaded, ConfigError> {
    read_with(yaml, Environment::default(), Vec::new())
}

fn problems(yaml: &str) -> Vec<ConfigProblem> {
    read(yaml).expect_err("the configuration has mistakes").problems
}

/// The only mistake, as (path, line, message).
fn problem(yaml: &str) -> (String, Option<u64>, String) {
    let mut problems = problems(yaml);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let problem = problems.remove(0);
    (problem.path.clone(), problem.line(), problem.message)
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = read("").unwrap().config;
    assert_eq!(config.server.unix.unwrap().mode, 0o660);
    assert!(config.server.tcp.is_none() && config.server.admin.is_none());
    assert_eq!(config.server.health.unwrap().listen.port(), 8382);
    assert_eq!(config.limits.body_bytes, 65_536);
    assert_eq!(config.audit.retention_years, 6);
}

#[test]
fn every_section_is_understood() {
    let yaml = format!(
        r#"
server:
  public_url: https://pdp.example.com
  unix: {{ path: /run/x.sock, mode: 0600 }}
  tcp: {{ listen: "localhost:0", hosts: [pdp.internal] }}
  admin: {{ listen: 127.0.0.1:9381, token: {OTHER}, asserted: true }}
  health: off
callers:
  - name: ehr
    unix: {{ uids: [10001], gids: [] }}
    token: {TOKEN}
    capabilities: [decide, explain]
    subject: asserted
    types: {{ user: "Conformance::User" }}
    may_assert: [User.role, Record.status]
policies: {{ dir: /p, schemas: s, cache_dir: /c }}
sources: {{ app: {{ url: "sqlite:///app.db" }}, store: {{ url: "postgres://c:pw@db/store", connections: 2 }} }}
entities: {{ staleness_ms: 1000, poll_ms: 100 }}
audit: {{ dir: /a, durability: {{ default: disk }}, strict: yes }}
grants: {{ default_minutes: 30 }}
telemetry: {{ log_format: json, log_level: debug }}
limits: {{ batch_items: 10 }}
"#
    );
    let config = read(&yaml).unwrap().config;
    assert_eq!(config.server.public_url.as_deref(), Some("https://pdp.example.com"));
    assert_eq!(config.server.unix.as_ref().unwrap().mode, 0o600, "octal though it is written without quotes");
    assert_eq!(config.server.tcp.as_ref().unwrap().listen, "127.0.0.1:0".parse().unwrap());
    assert!(config.server.admin.as_ref().unwrap().asserted && config.server.health.is_none());
    let caller = config.callers.first().unwrap();
    assert_eq!(caller.unix.as_ref().unwrap().uids, [10001]);
    assert!(caller.may(Capability::Explain) && !caller.may(Capability::Search));
    assert!(caller.to_caller().may_assert.contains("Record.status"));
    assert_eq!(caller.types.get("user").map(String::as_str), Some("Conformance::User"));
    assert!(config.policies.schemas.is_absolute(), "relative to the file's folder: {:?}", config.policies.schemas);
    let store = config.sources.store.as_ref().unwrap();
    assert_eq!((store.database, store.connections), (Database::Postgres, 2));
    assert_eq!(
        config.audit.durability,
        AuditDurability { default: crate::domain::Tier::Disk, changes: crate::domain::Tier::Disk }
    );
    assert_eq!((config.grants.default_minutes, config.limits.batch_items), (30, 10));
    assert_eq!((config.telemetry.log_format, config.telemetry.log_level), (LogFormat::Json, LogLevel::Debug));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let problems = problems("server:\n  unix:\n    path: /x\n    moed: \"0660\"\n");
    let [problem] = problems.as_slice() else { panic!("{problems:#?}") };
    assert_eq!((problem.path.as_str(), problem.line()), ("server.unix.moed", Some(4)));
    assert_eq!(problem.message, "unknown key `moed`");
    assert_eq!(problem.hint.as_deref(), Some("did you mean `mode`?"));
}

#[test]
fn a_key_that_resembles_none_is_answered_with_the_known_ones() {
    let problems = problems("telemetry: { zzz: 1 }\n");
    assert_eq!(problems[0].hint.as_deref(), Some("known here: log_format, log_level"));
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let problems = problems(
        "sever: {}\nserver:\n  tcp: { listen: nowhere }\ncallers:\n  - unix: { uids: [root] }\naudit: { retention_years: 5 }\nlimits: { body_bytes: lots }\n",
    );
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    for expected in [
        "sever",
        "server.tcp.listen",
        "server.tcp",
        "callers[0]",
        "callers[0].unix.uids",
        "audit.retention_years",
        "limits.body_bytes",
    ] {
        assert!(paths.contains(&expected), "{expected} in {paths:?}");
    }
    assert!(problems.is_sorted_by_key(|problem| problem.line().unwrap_or(u64::MAX)));
    let shown = ConfigError { problems }.to_string();
    assert!(shown.contains(":3: server.tcp.listen: `nowhere`"), "{shown}");
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let yaml = format!(
        "server: {{ tcp: {{ listen: 127.0.0.1:1 }} }}\ncallers: [{{ name: a, token: {TOKEN} }}]\nlimits: {{ connections: 1 }}\n"
    );
    let environment = || {
        [("CHAPERONE_SERVER__TCP__LISTEN", "127.0.0.1:2"), ("CHAPERONE_LIMITS__CONNECTIONS", "2")].into_iter().collect()
    };
    let flag =
        Flag { name: "--listen".to_owned(), key: "server.tcp.listen".to_owned(), value: "127.0.0.1:3".to_owned() };
    let of = |loaded: Loaded| (loaded.config.server.tcp.unwrap().listen.port(), loaded.config.limits.connections);
    assert_eq!(of(read(&yaml).unwrap()), (1, 1));
    assert_eq!(of(read_with(&yaml, environment(), Vec::new()).unwrap()), (2, 2));
    assert_eq!(of(read_with(&yaml, environment(), vec![flag]).unwrap()), (3, 2));
}

#[test]
fn the_environment_reaches_into_lists_and_may_say_whole_ones() {
    let yaml = "callers: [{ name: a }]\n";
    let environment =
        [("CHAPERONE_CALLERS__0__TOKEN", TOKEN), ("CHAPERONE_CALLERS__0__CAPABILITIES", "[decide, explain]")];
    let config = read_with(yaml, environment.into_iter().collect(), Vec::new()).unwrap().config;
    let caller = config.callers.first().unwrap();
    assert!(caller.tokens[0].matches(TOKEN.as_bytes()) && caller.may(Capability::Explain));
}

#[test]
fn a_mistake_in_the_environment_names_the_variable() {
    let environment = [("CHAPERONE_LIMITS__CONECTIONS", "2"), ("CHAPERONE_SERVICE_HOST", "10.0.0.1")];
    let error = read_with("", environment.into_iter().collect(), Vec::new()).unwrap_err();
    let [problem] = error.problems.as_slice() else { panic!("{error}") };
    assert_eq!(problem.origin, Origin::Environment("CHAPERONE_LIMITS__CONECTIONS".into()));
    assert_eq!(problem.hint.as_deref(), Some("did you mean `connections`?"));
}

#[test]
fn variables_stand_in_for_texts_and_numbers() {
    let yaml = "audit: { dir: \"${ROOT}/audit\" }\nlimits:\n  connections: ${CONNECTIONS:12}\n";
    let config = read_with(yaml, [("ROOT", "/data")].into_iter().collect(), Vec::new()).unwrap().config;
    assert_eq!((config.audit.dir, config.limits.connections), (PathBuf::from("/data/audit"), 12));
}

#[test]
fn an_unset_variable_without_default_is_a_mistake_with_its_line() {
    let (path, line, message) = problem("telemetry:\n  log_level: info\naudit:\n  dir: ${NOWHERE}/audit\n");
    assert_eq!((path.as_str(), line), ("audit.dir", Some(4)));
    assert_eq!(message, "environment variable `NOWHERE` is not set");
}

#[test]
fn tcp_without_a_token_does_not_start() {
    let (path, line, _) =
        problem("callers: [{ name: a, unix: { uids: [1] } }]\nserver:\n  tcp:\n    listen: 127.0.0.1:0\n");
    assert_eq!((path.as_str(), line), ("server.tcp", Some(4)));
}

#[test]
fn six_years_of_retention_are_the_least() {
    let (path, _, message) = problem("audit: { retention_years: 5 }\n");
    assert_eq!((path.as_str(), message.as_str()), ("audit.retention_years", "5 is out of range"));
    assert!(read("audit: { retention_years: 6 }\n").is_ok());
}

#[test]
fn checkpoints_are_kept_outside_of_the_trails_own_folder_and_need_a_key() {
    let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
    let told = |key: &str| {
        problem(&format!(
            "grants: {{ notify_url: 'https://a/', notify_secret: {secret}, notify_pseudonym_key: {key} }}\n"
        ))
        .0
    };
    assert_eq!(told(secret), "grants.notify_pseudonym_key", "the receiver has that one");
    assert_eq!(told("short"), "grants.notify_pseudonym_key");
    let (path, _, _) = problem("audit: { dir: /a, capture: slices, encryption_key_file: /k }\n");
    assert_eq!(path, "audit.capture");
    let (path, _, message) = problem("audit: { dir: /a, key_file: /k, checkpoints_dir: /a/checkpoints }\n");
    assert_eq!(path, "audit.checkpoints_dir");
    assert!(message.contains("inside"), "{message}");
    let without_a_key = |loaded: &Loaded| {
        loaded.warnings.iter().filter(|warning| warning.to_string().contains("without `key_file`")).count()
    };
    let loaded = read("audit: { dir: /a, key_file: /k, checkpoints_dir: /b, checkpoint_seconds: 5 }\n").unwrap();
    assert_eq!((loaded.config.audit.checkpoint_seconds, without_a_key(&loaded)), (5, 0), "{:?}", loaded.warnings);
    let loaded = read("audit: { dir: /a, checkpoints_dir: /b, checkpoint_seconds: 5 }\n").unwrap();
    assert_eq!(without_a_key(&loaded), 2, "{:?}", loaded.warnings);
}

#[test]
fn it_is_said_where_administrators_are_heard_by_the_network() {
    let warned = |listen: &str| {
        let token = "0123456789abcdef0123456789abcdef";
        let loaded = read(&format!("server: {{ admin: {{ listen: '{listen}', token: {token} }} }}\n")).unwrap();
        let of_admin = loaded.warnings.into_iter().filter(|warning| warning.path == "server.admin.listen");
        of_admin.map(|warning| warning.message).collect::<Vec<_>>()
    };
    for listen in ["127.0.0.1:8381", "127.8.8.8:8381", "[::1]:8381"] {
        assert!(warned(listen).is_empty(), "{listen}");
    }
    for listen in ["0.0.0.0:8381", "10.0.0.7:8381", "[::]:8381"] {
        let [said] = &warned(listen)[..] else { panic!("{listen}: {:?}", warned(listen)) };
        assert!(said.contains("in the clear") && said.contains("listen on 127.0.0.1"), "{said}");
    }
}

#[test]
fn it_is_said_where_segments_leave_the_folder_for_a_store_that_is_not_read() {
    let warned = |audit: &str| {
        let loaded = read(&format!("audit: {{ ship: store, {audit} }}\n")).unwrap();
        loaded.warnings.iter().filter(|warning| warning.to_string().contains("no query or export has them")).count()
    };
    for (audit, expected) in [
        ("key_file: /k, ship_url: 'postgres://s@h/d'", 1),
        ("key_file: /k, ship_url: 'postgres://s@h/d', read_url: 'postgres://a@h/d'", 0),
        ("key_file: /k, ship_url: 'postgres://s@h/d', read_url: 'postgres://a@h/d', encryption_key_file: /e", 1),
        ("key_file: /k, ship_url: 'sqlite:/t.db'", 0),
        ("key_file: /k, ship_url: 'sqlite:/t.db', encryption_key_file: /e", 1),
        ("ship_url: 'postgres://s@h/d'", 0),
    ] {
        assert_eq!(warned(audit), expected, "{audit}");
    }
}

#[test]
fn the_admin_listener_shares_no_token_with_a_caller() {
    let (path, _, message) =
        problem(&format!("server: {{ admin: {{ token: {TOKEN} }} }}\ncallers: [{{ name: ehr, token: {TOKEN} }}]\n"));
    assert_eq!(path, "server.admin");
    assert_eq!(message, "the admin listener has the same token as the caller `ehr`");
}

#[test]
fn the_admin_listener_needs_a_credential() {
    assert_eq!(problem("server: { admin: { listen: 127.0.0.1:8381 } }\n").2, "the admin listener has no credential");
}

#[test]
fn two_callers_with_one_token_name_or_uid_are_refused() {
    let yaml = format!(
        "callers: [{{ name: a, token: {TOKEN}, unix: {{ uids: [7] }} }}, {{ name: a, token: {TOKEN}, unix: {{ uids: [7] }} }}]\n"
    );
    let messages: Vec<String> = problems(&yaml).into_iter().map(|problem| problem.message).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
}

#[test]
fn an_empty_token_file_is_refused_where_it_is_named() {
    let empty = NamedTempFile::new().unwrap();
    let (path, line, message) =
        problem(&format!("callers:\n  - name: a\n    token_file: {}\n", empty.path().display()));
    assert_eq!((path.as_str(), line), ("callers[0].token_file", Some(3)));
    assert!(message.ends_with("is empty"), "{message}");
}

#[test]
fn an_empty_token_in_the_environment_is_refused() {
    let environment = [("CHAPERONE_CALLERS__0__TOKEN", "")].into_iter().collect();
    let error = read_with("callers: [{ name: a }]\n", environment, Vec::new()).unwrap_err();
    assert_eq!(error.problems[0].message, "is empty");
}

#[test]
fn a_short_token_is_refused_and_never_shown() {
    let error = read("callers: [{ name: a, token: hunter2 }]\n").unwrap_err();
    assert_eq!(error.problems[0].message, "the token is shorter than 32 characters");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_token_is_read_from_its_file_without_the_line_end() {
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{TOKEN}").unwrap();
    let loaded = read(&format!("callers: [{{ name: a, token_file: {} }}]\n", file.path().display())).unwrap();
    let token = &loaded.config.callers[0].tokens[0];
    assert!(token.matches(TOKEN.as_bytes()));
    assert_eq!(token.file(), Some(file.path()));
}

#[test]
fn a_token_of_digits_alone_keeps_every_digit() {
    let digits = "00012345678901234567890123456789012345";
    let loaded = read(&format!("callers: [{{ name: a, token: {digits} }}]\n")).unwrap();
    assert!(loaded.config.callers[0].tokens[0].matches(digits.as_bytes()));
}

#[test]
fn what_is_not_available_yet_is_named() {
    let jwt = problem(&format!("callers: [{{ name: a, token: {TOKEN}, subject: jwt }}]\n"));
    assert_eq!((jwt.0.as_str(), jwt.2.as_str()), ("callers[0].subject", "`jwt` is not available yet"));
    assert_eq!(problem("sources: { app: { url: \"mysql://db/x\" } }\n").0, "sources.app.url");
    assert_eq!(problem("audit: { durability: { changes: remote } }\n").0, "audit.durability");
    let remote = "{ durability: { changes: remote }, ship: store }";
    assert_eq!(problem(&format!("audit: {remote}\n")).0, "audit.ship");
    assert!(read(&format!("audit: {remote}\nsources: {{ store: {{ url: \"sqlite:///s.db\" }} }}\n")).is_ok());
}

#[test]
fn broken_yaml_is_named_with_its_line() {
    let (_, line, message) = problem("server:\n  unix: [\n");
    assert!(line.is_some() && message.starts_with("this is not YAML"), "{line:?} {message}");
}

#[test]
fn a_missing_file_says_where_files_are_looked_for() {
    let input = Input { file: Some(PathBuf::from("/nowhere/chaperone.yaml")), ..Input::default() };
    let error = load(&input).unwrap_err().to_string();
    assert!(error.contains("/nowhere/chaperone.yaml") && error.contains("CHAPERONE_CONFIG"), "{error}");
}

#[test]
fn the_printed_configuration_shows_no_secret() {
    let yaml = format!(
        "callers: [{{ name: a, token: {TOKEN} }}]\nsources: {{ app: {{ url: \"postgres://u:hunter2@db/x\" }} }}\n"
    );
    let printed = serde_saphyr::to_string(&read(&yaml).unwrap().config).unwrap();
    assert!(!printed.contains(TOKEN) && !printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("***"), "{printed}");
}

#[test]
fn what_is_printed_is_understood_again() {
    let config = read("policies: { dir: /p, schemas: /s }\n").unwrap().config;
    let printed = serde_saphyr::to_string(&config).unwrap();
    let again = read(&printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(serde_saphyr::to_string(&again.config).unwrap(), printed);
}

#[test]
fn the_schema_knows_every_printed_key() {
    fn walk(value: &serde_json::Value, schema: &serde_json::Value, path: &str) {
        let serde_json::Value::Object(fields) = value else { return };
        let properties = schema.get("properties").or_else(|| schema["anyOf"][0].get("properties"));
        let properties = properties.unwrap_or_else(|| panic!("{path} is no section of the schema"));
        for (key, value) in fields {
            let inner = properties.get(key).unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
            walk(value, inner, &format!("{path}.{key}"));
        }
    }
    walk(&serde_json::to_value(Config::default()).unwrap(), &schema(), "");
}

#[test]
fn a_tenant_keeps_its_records_longer_and_never_shorter_than_the_law() {
    let loaded = read("audit: { dir: /a, tenant_retention_years: { T1: 10 } }\n").unwrap();
    assert_eq!(loaded.config.audit.tenant_retention_years, [("T1".to_owned(), 10)].into());
    for years in ["5", "101", "ten"] {
        let yaml = format!("audit: {{ dir: /a, tenant_retention_years: {{ T1: {years} }} }}\n");
        let (path, _, message) = problem(&yaml);
        assert_eq!(
            (path.as_str(), message.as_str()),
            ("audit.tenant_retention_years", &*format!("`T1: {years}` is out of range"))
        );
    }
}
