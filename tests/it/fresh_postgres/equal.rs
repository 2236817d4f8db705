//! Kept facts decide as facts do that are read for the question alone, whatever is written between two questions.

use std::{sync::Arc, time::Duration};

use chaperone::{
    domain::{Evaluation, Request, Timestamp, mapping::Source},
    entities::{Asking, PoolOptions, Trust},
};

use crate::helpers::{
    clinic::Clinic,
    following::{Databases, Following, How, run, wait_for},
    postgres::Postgres,
    random::{Dice, Draw},
};

const WRITES: usize = 300;
const SEED: u64 = 11;

/// What may be written about each row of a table: every one of these can be undone by another throw.
const TEMPLATES: [(Source, &str, &[&str]); 15] = [
    (
        Source::Store,
        "assignments",
        &[
            "revoked_at = CASE WHEN revoked_at IS NULL THEN timestamptz '2026-03-10T14:00:00Z' END",
            "scope = CASE scope WHEN 'full' THEN 'read_only' WHEN 'read_only' THEN 'schedule_only' ELSE 'full' END",
            "client_id = CASE client_id WHEN 'C1' THEN 'C2' WHEN 'C2' THEN 'C1' ELSE client_id END",
            "user_id = CASE user_id WHEN 'ana' THEN 'rbt' WHEN 'rbt' THEN 'ana' ELSE user_id END",
        ],
    ),
    (
        Source::Store,
        "restrictions",
        &[
            "status = CASE status WHEN 'agreed' THEN 'declined' ELSE 'agreed' END",
            "emergency_exception = NOT emergency_exception",
        ],
    ),
    (
        Source::Store,
        "consents",
        &["revoked_at = CASE WHEN revoked_at IS NULL THEN timestamptz '2026-03-01T00:00:00Z' END"],
    ),
    (Source::Store, "grants", &["state = CASE state WHEN 'active' THEN 'revoked' ELSE 'active' END"]),
    (Source::Store, "tickets", &["status = CASE status WHEN 'open' THEN 'closed' ELSE 'open' END"]),
    (
        Source::Store,
        "legal_holds",
        &["released_at = CASE WHEN released_at IS NULL THEN timestamptz '2026-03-01T00:00:00Z' END"],
    ),
    (
        Source::Store,
        "referrals",
        &["closed_at = CASE WHEN closed_at IS NULL THEN timestamptz '2026-03-01T00:00:00Z' END"],
    ),
    (
        Source::App,
        "users",
        &["status = CASE status WHEN 'active' THEN 'disabled' ELSE 'active' END", "is_vendor = NOT is_vendor"],
    ),
    (
        Source::App,
        "user_roles",
        &[
            "revoked_at = CASE WHEN revoked_at IS NULL THEN timestamptz '2026-03-10T14:00:00Z' END",
            "role = CASE role WHEN 'therapist' THEN 'admin' WHEN 'admin' THEN 'therapist' ELSE role END",
        ],
    ),
    (
        Source::App,
        "notes",
        &["part2 = NOT part2", "client_id = CASE client_id WHEN 'C1' THEN 'C2' WHEN 'C2' THEN 'C1' ELSE client_id END"],
    ),
    (Source::App, "clients", &["test_data = NOT test_data"]),
    (
        Source::App,
        "tenants",
        &[
            "access_model = CASE access_model WHEN 'open' THEN 'assignment' ELSE 'open' END",
            "hipaa_enabled = NOT hipaa_enabled",
        ],
    ),
    (Source::App, "appointments", &["status = CASE status WHEN 'cancelled' THEN 'kept' ELSE 'cancelled' END"]),
    (
        Source::App,
        "coverage_schedules",
        &["covering_user_id = CASE covering_user_id WHEN 'ana' THEN 'ben' ELSE 'ana' END"],
    ),
    (
        Source::App,
        "staff",
        &["supervised_to = CASE WHEN supervised_to IS NULL THEN timestamptz '2026-03-01T00:00:00Z' END"],
    ),
];

/// Rewrites a table whole.
const WHOLE: [(Source, &str); 2] = [(Source::Store, "assignments"), (Source::Store, "restrictions")];

async fn writes(databases: &Databases) -> Vec<(Source, String)> {
    let mut writes = Vec::new();
    for (source, table, changes) in TEMPLATES {
        let mut connection = databases.open(source).await;
        let of = sqlx::AssertSqlSafe(format!("SELECT id FROM {table} WHERE id !~ '^L[AN]?[0-9]' ORDER BY id"));
        let ids: Vec<String> = sqlx::query_scalar(of).fetch_all(&mut connection).await.unwrap();
        assert!(!ids.is_empty(), "{table}");
        for id in ids {
            let change = |change: &&str| (source, format!("UPDATE {table} SET {change} WHERE id = '{id}'"));
            writes.extend(changes.iter().map(change));
        }
    }
    // A few of these among many, and the questions that follow find nothing kept.
    for (source, table) in WHOLE {
        let whole = format!(
            "BEGIN; CREATE TEMP TABLE was ON COMMIT DROP AS TABLE {table}; TRUNCATE {table}; INSERT INTO {table} SELECT * FROM was; COMMIT"
        );
        writes.extend(std::iter::repeat_n((source, whole), 4));
    }
    writes
}

async fn evaluated(
    following: &Following,
    trust: Trust,
    request: &Request,
    now: Timestamp,
) -> (Result<Evaluation, String>, usize) {
    let question = following.bundle.question(request).unwrap();
    let asking = Asking {
        principal: question.principal.clone(),
        resource: question.resource.clone(),
        now,
        said_tenant: question.said_tenant.as_deref().map(str::to_owned),
        asserted: question.asserted.clone(),
    };
    let plan = following.bundle.plan(&question);
    match following.facts.gathered(&following.bundle.mapping, &plan, &asking, trust).await {
        Ok(mut gathered) => {
            gathered.slice.freshness.age_ms = 0;
            gathered.slice.freshness.revision = "one".to_owned();
            (Ok(following.bundle.evaluate(&question, &gathered.slice, now)), gathered.kept)
        }
        Err(error) => (Err(error.to_string()), 0),
    }
}

fn allows(said: &Result<Evaluation, String>) -> bool {
    said.as_ref().is_ok_and(|evaluation| evaluation.decision.is_allow())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_facts_decide_as_fresh_ones_do_under_random_writes() {
    let clinic = Clinic::demo().await;
    let mut draw = Draw::new(&clinic, SEED).await;
    let databases = Databases::on(Postgres::shared()).await;
    let how = How {
        poll: Duration::from_millis(10),
        pool: PoolOptions { connections: 8, statement_timeout: Duration::from_secs(10) },
        slice_timeout: Duration::from_secs(20),
        // Long enough for a busy machine: what is compared here is what is known, not when.
        ..How::within(Duration::from_secs(20))
    };
    let cached = Arc::new(Following::start(&databases, how.clone()));
    let naive = Following::start(&databases, How { is_followed: false, ..how });
    cached.wait_for_lease().await;

    // Half of the questions are allows: those that a change can make wrong.
    let mut pool: Vec<(Request, Timestamp, bool)> = Vec::new();
    let is_short = |pool: &[(Request, Timestamp, bool)], is_allow| {
        pool.iter().filter(|(_, _, other)| *other == is_allow).count() < 40
    };
    for _ in 0..3_000 {
        let (request, now) = draw.question();
        let is_allow = allows(&evaluated(&cached, Trust::Feed, &request, now).await.0);
        if is_short(&pool, is_allow) {
            pool.push((request, now, is_allow));
        } else if !is_short(&pool, true) && !is_short(&pool, false) {
            break;
        }
    }
    assert!(pool.len() > 60, "only {} questions", pool.len());

    let writes = writes(&databases).await;
    let (mut app, mut store) = (databases.open(Source::App).await, databases.open(Source::Store).await);
    let mut dice = Dice::new(SEED);
    let (mut asked, mut kept, mut turned, mut errors) = (0, 0, 0, 0);
    for number in 0..WRITES {
        let (source, write) = dice.of(&writes);
        let connection = if *source == Source::App { &mut app } else { &mut store };
        run(connection, write.clone()).await;
        cached.facts.barrier().await.unwrap();
        for _ in 0..6 {
            let index = *dice.of(&(0..pool.len()).collect::<Vec<_>>());
            let (request, now, before) = &mut pool[index];
            let (fresh, _) = evaluated(&naive, Trust::LoadsAlone, request, *now).await;
            let (said, of_kept) = evaluated(&cached, Trust::Feed, request, *now).await;
            assert_eq!(said, fresh, "seed {SEED}, write {number}: {write}\n{request:#?}");
            asked += 1;
            kept += of_kept;
            errors += usize::from(fresh.is_err());
            turned += usize::from(allows(&said) != *before);
            *before = allows(&said);
        }
    }
    println!(
        "{WRITES} random writes, {asked} questions, {kept} kept facts, {turned} answers turned, {errors} without an answer: all as the naive evaluator says"
    );
    assert!(turned > WRITES / 20, "only {turned} answers turned");
    assert!(kept > asked, "only {kept} facts were kept for {asked} questions");
    wait_for("the feeds are still followed", async || cached.has_leases()).await;
}
