//! `db install` and `db doctor` over the demo clinic and the shipped mapping.

use std::fs;

use assert_cmd::Command;
use predicates::{prelude::*, str::contains};

use crate::helpers::postgres::Postgres;

/// Which tables the shipped mapping reads, by which column their rows reach the key, and for which facts. A row that
/// reaches the key only over another table may concern any key: its facts are forgotten whatever their key.
const APP: &str = "  \
  public.appointments: Appointment by id, Client.appointments by client_id
  public.channels: Channel by id
  public.client_representatives: Client.representatives by client_id
  public.clients: Client by id
  public.comm_preferences: Client.preferences by client_id
  public.coverage_schedules: User.coverage by covering_user_id
  public.documents: Document by id
  public.invoices: Invoice by id
  public.leads: Lead by id
  public.minor_consents: Client.minor_consents by client_id
  public.module_permissions: User.permissions by user_id
  public.note_feedback: Note.opt_outs by note_id
  public.notes: Note by id
  public.recordings: Recording by id
  public.service_authorizations: Client.authorizations by client_id
  public.staff: User.supervision by supervisor_id
  public.tenant_links: Tenant.attested_links by agency_tenant_id, Tenant.links by agency_tenant_id
  public.tenants: Document whatever the key, Tenant by id
  public.thread_participants: Thread.participants by thread_id
  public.threads: Thread by id
  public.user_roles: Tenant.super_admins by tenant_id, User.roles by user_id
  public.users: Tenant.super_admins whatever the key, User by id, User.home by id, User.roles by id
";

const STORE: &str = "  \
  public.assignments: Client.assignments by client_id
  public.consents: Client.consents by client_id
  public.grants: Client.grants by client_id
  public.legal_holds: Client.holds by client_id, Tenant.holds by tenant_id
  public.lockdowns: Client.lockdowns by client_id, Tenant.lockdowns by tenant_id
  public.referrals: Client.referrals by client_id
  public.restrictions: Client.restrictions by client_id, Client.terminated_restrictions by client_id
  public.ticket_scopes: Appointment.tickets by resource_id, Client.approved_tickets by resource_id, Client.tickets by resource_id, \
Document.tickets by resource_id, Invoice.tickets by resource_id, Note.releases by resource_id, Note.tickets by resource_id, Recording.tickets by resource_id
  public.tickets: Appointment.tickets whatever the key, Client.approved_tickets whatever the key, Client.tickets whatever the key, \
Document.tickets whatever the key, Invoice.tickets whatever the key, Note.releases whatever the key, Note.tickets whatever the key, \
Recording.tickets whatever the key, User.tickets by assigned_engineer_id
";

struct Clinic {
    folder: tempfile::TempDir,
    app: String,
    store: String,
}

impl Clinic {
    fn new() -> Self {
        let (app, store) = Postgres::shared().demo();
        let clinic = Self { folder: tempfile::tempdir().unwrap(), app, store };
        clinic.configure(&clinic.app, &clinic.store);
        clinic
    }

    fn configure(&self, app: &str, store: &str) {
        let root = env!("CARGO_MANIFEST_DIR");
        let config = format!(
            "policies: {{ dir: \"{root}/policies\", schemas: \"{root}/schemas\" }}\nsources:\n  app: {{ url: \"{app}\" }}\n  store: {{ url: \"{store}\" }}\n"
        );
        fs::write(self.folder.path().join("chaperone.yaml"), config).unwrap();
    }

    fn db(&self, words: &str) -> assert_cmd::assert::Assert {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaperone"));
        command.env_clear().current_dir(self.folder.path()).arg("db").args(words.split_whitespace());
        command.assert()
    }

    fn psql(&self, url: &str, sql: &str) {
        let database = url.rsplit('/').find(|part| part.contains("demo")).unwrap().split('?').next().unwrap();
        Postgres::shared().psql(database, &["-c", sql]);
    }
}

#[test]
fn the_shipped_mapping_is_watched_by_the_tables_and_columns_that_its_queries_read() {
    let clinic = Clinic::new();
    clinic.db("install").success();
    clinic
        .db("doctor --tables")
        .success()
        .stdout(contains(APP).and(contains(STORE)))
        .stdout(contains("✓ app: the change feed is whole · 22 tables watched"))
        .stdout(contains("✓ store: the change feed is whole · 9 tables watched"))
        .stderr("");
}

#[test]
fn a_dry_run_prints_what_installing_runs_and_a_second_installation_has_nothing_to_do() {
    let clinic = Clinic::new();
    clinic.db("doctor --source store").code(1).stdout(contains("the change feed is not installed in schema public"));
    let dry = clinic.db("install --dry-run --source store").success().get_output().stdout.clone();
    let sql = String::from_utf8(dry).unwrap();
    assert!(sql.contains("ENABLE ALWAYS TRIGGER chaperone_truncate") && sql.ends_with("COMMIT;\n"), "{sql}");
    clinic.db("doctor --source store").code(1);
    clinic.psql(&clinic.store, &sql);
    clinic.db("doctor --source store").success();
    clinic.db("install --source store").success().stdout(contains("was whole already"));
    clinic.db("install --dry-run --source store").success().stdout(contains("nothing is to be done"));
    clinic.db("install --dry-run --source store --no-notify").success().stdout(contains("pg_notify").not());
    clinic.db("doctor --source app").code(1);
}

#[test]
fn the_doctor_names_table_and_trigger_and_proves_that_the_others_fire() {
    let clinic = Clinic::new();
    clinic.db("install").success();
    let proven = format!("doctor --source store --url {}", clinic.store);
    clinic
        .db(&proven)
        .success()
        .stdout(contains("proven to fire: 8 tables").and(contains("not proven: public.lockdowns has no row")));
    clinic.psql(&clinic.store, "ALTER TABLE assignments DISABLE TRIGGER chaperone_row");
    clinic.db("doctor").code(1).stdout(
        contains("✓ app:")
            .and(contains("✗ store: the change feed is not whole: 1 problem"))
            .and(contains("trigger chaperone_row of table public.assignments is disabled: run `chaperone db install`")),
    );
    clinic.db("install").success().stderr(contains("mended: trigger chaperone_row of table public.assignments"));
    clinic.db("doctor").success();
}

#[test]
fn a_role_that_only_reads_serves_and_a_role_that_owns_installs() {
    let clinic = Clinic::new();
    let role =
        format!("reads_{}", clinic.folder.path().file_name().unwrap().to_string_lossy().replace(['.', '-'], "_"));
    let role = role.to_lowercase();
    clinic.psql(
        &clinic.store,
        &format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"),
    );
    let (_, place) = clinic.store.split_once('@').unwrap();
    clinic.configure(&clinic.app, &format!("postgres://{role}@{place}"));
    clinic
        .db("install --source store")
        .code(1)
        .stderr(contains("permission denied").and(contains("give --url of a role that owns the tables")));
    clinic.db(&format!("install --source store --url {}", clinic.store)).success();
    clinic.db("doctor --source store").success().stdout(contains(format!("read by role {role}")));
}

#[test]
fn words_that_lead_nowhere_are_answered_with_what_to_do() {
    let clinic = Clinic::new();
    clinic
        .db(&format!("install --url {}", clinic.store))
        .code(1)
        .stderr(contains("give --source app or --source store"));
    clinic.configure("sqlite:///nowhere/app.db", "postgres://nobody:s3cret@127.0.0.1:1/none");
    clinic
        .db("doctor")
        .code(1)
        .stdout(contains("✗ app: 1 problem").and(contains("/nowhere/app.db")))
        .stderr(contains("the store at postgres://127.0.0.1:1/none does not answer").and(contains("s3cret").not()));
    clinic
        .db("doctor --source app")
        .code(1)
        .stdout(contains("source `app` (sqlite:///nowhere/app.db) cannot be reached"));
    clinic
        .db("doctor --source app --url postgres://owner@db/ehr")
        .code(1)
        .stderr(contains("SQLite has none: app").and(contains("leave --url away")));
    clinic.db("install --source app").success().stderr(contains("source app is SQLite: nothing needs to be installed"));
}

#[test]
fn doctor_opens_a_file_too() {
    let clinic = Clinic::new();
    let folder = chaperone::app::demo::DemoFolder::at(&clinic.folder.path().join("clinic")).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(folder.databases()).unwrap();
    let file = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    clinic.configure(&file("app.db"), &file("store.db"));
    clinic.db("install --source store").success();
    clinic.db("doctor").success().stdout(contains("✓ app:").and(contains("✓ store:")));
    // Tables of the other file: the mapping's queries find nothing there.
    clinic.configure(&file("store.db"), &file("store.db"));
    clinic.db("doctor").code(1).stdout(contains("✗ app:").and(contains("is not accepted")));
}
