//! The store on both databases.

use jiff::Timestamp;

use super::*;
use crate::postgres_server::Postgres;

pub(super) fn now() -> Timestamp {
    "2026-03-10T15:00:00Z".parse().unwrap()
}

pub(super) const MAKING: StoreOptions =
    StoreOptions { connections: 2, statement_timeout: std::time::Duration::from_secs(5), create: true };

fn sqlite(folder: &tempfile::TempDir) -> Store {
    Store::open(&format!("sqlite://{}/store.db", folder.path().display()), MAKING).unwrap()
}

/// A database that has none of the store's tables.
fn postgres() -> Store {
    let (url, _) = Postgres::shared().demo();
    Store::open(&url, MAKING).unwrap()
}

const BOTH: [Part; 2] = [Part::Tables, Part::Trail];

/// What is written goes before whatever comes next, whole or not at all, each with its own values.
async fn written_ahead<'v>(store: &Store, insert: Sql, values: &impl Fn(&'static str) -> [Value<'v>; 6]) {
    let ids = async |transaction: &mut Transaction| {
        let sql = Sql::both("SELECT id FROM legal_holds WHERE tenant_id = $1 AND id LIKE $2 ORDER BY id");
        let rows = transaction.rows(sql, &["T1".into(), "W%".into()]).await.unwrap();
        rows.iter().map(|row| row.some_text("id").unwrap()).collect::<Vec<_>>()
    };
    let release = Sql::both("UPDATE legal_holds SET released_at = $2 WHERE id = $1");
    let mut transaction = store.begin().await.unwrap();
    transaction.write(insert, &values("W1")).await.unwrap();
    transaction.write(insert, &values("W2")).await.unwrap();
    assert_eq!(ids(&mut transaction).await, ["W1", "W2"], "before a question");
    transaction.write(insert, &values("W3")).await.unwrap();
    let of = Sql::both("SELECT id FROM legal_holds WHERE id = $2 AND tenant_id = $1");
    let asked: [(Sql, &[Value<'_>]); 3] =
        [(of, &["T1".into(), "W3".into()]), (of, &["T2".into(), "W3".into()]), (of, &["T1".into(), "W1".into()])];
    let all = transaction.all(&asked).await.unwrap();
    let told: Vec<Vec<String>> =
        all.iter().map(|rows| rows.iter().map(|row| row.some_text("id").unwrap()).collect()).collect();
    assert_eq!(told, [vec!["W3".to_owned()], vec![], vec!["W1".to_owned()]], "each query its own rows");
    transaction.write(insert, &values("W3b")).await.unwrap();
    let none = transaction.run(release, &[Value::from("W9"), Value::from(now())]).await.unwrap();
    assert_eq!(none, 0, "what was written before is not counted");
    transaction.write(insert, &values("W4")).await.unwrap();
    assert_eq!(transaction.run(release, &[Value::from("W3"), Value::from(now())]).await.unwrap(), 1);
    transaction.write(insert, &values("W5")).await.unwrap();
    transaction.write(release, &[Value::from("W4"), Value::from(now())]).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.read().await.unwrap();
    assert_eq!(ids(&mut transaction).await, ["W1", "W2", "W3", "W3b", "W4", "W5"], "before the commit");
    let sql = Sql::both("SELECT id FROM legal_holds WHERE released_at = $1 ORDER BY id");
    assert_eq!(transaction.rows(sql, &[Value::from(now())]).await.unwrap().len(), 2, "the last ones of the commit too");
    drop(transaction);

    let mut transaction = store.begin().await.unwrap();
    transaction.write(insert, &values("W6")).await.unwrap();
    drop(transaction);
    let mut transaction = store.begin().await.unwrap();
    let refused = async {
        transaction.write(insert, &values("W7")).await?;
        transaction.write(insert, &values("W1")).await?;
        transaction.write(insert, &values("W8")).await?;
        transaction.commit().await
    };
    assert!(refused.await.unwrap_err().is_conflict());
    let mut transaction = store.read().await.unwrap();
    assert_eq!(
        ids(&mut transaction).await,
        ["W1", "W2", "W3", "W3b", "W4", "W5"],
        "nothing of what was dropped or refused"
    );
    drop(transaction);

    assert_eq!(store.run(insert, &values("W6")).await.unwrap(), 1, "committed by itself");
    assert!(store.run(insert, &values("W6")).await.unwrap_err().is_conflict());
    let delete = Sql::both("DELETE FROM legal_holds WHERE id LIKE $1");
    assert_eq!(store.run(delete, &["W%".into()]).await.unwrap(), 7);
}

async fn exercised(store: &Store) {
    let all: Vec<_> = Migration::of(&BOTH).map(|migration| migration.name).collect();
    let missing = store.check(&BOTH).await.unwrap_err();
    assert!(matches!(&missing, StoreError::Unmigrated { missing, .. } if *missing == all), "{missing}");
    let applied = store.install(&BOTH, now()).await.unwrap();
    assert_eq!(applied.iter().map(|migration| migration.name).collect::<Vec<_>>(), all);
    store.check(&BOTH).await.unwrap();
    assert!(store.install(&BOTH, now()).await.unwrap().is_empty(), "a second time nothing is done");

    let insert = Sql::both(
        "INSERT INTO legal_holds (id, tenant_id, client_id, reason, starts_at, released_at) VALUES ($1, $2, $3, $4, $5, $6)",
    );
    let values = |id: &'static str| {
        [
            Value::from(id),
            Value::from("T1"),
            Value::Text(None),
            Value::from("subpoena"),
            Value::from(now()),
            Value::At(None),
        ]
    };
    let mut transaction = store.begin().await.unwrap();
    assert_eq!(transaction.run(insert, &values("H1")).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.run(insert, &values("H2")).await.unwrap();
    drop(transaction);
    let mut transaction = store.begin().await.unwrap();
    let error = transaction.run(insert, &values("H1")).await.unwrap_err();
    assert!(error.is_conflict() && !error.is_away(), "{error}");
    drop(transaction);

    let mut transaction = store.read().await.unwrap();
    let sql = Sql::both("SELECT id, client_id, starts_at, released_at FROM legal_holds WHERE tenant_id = $1");
    let rows = transaction.rows(sql, &["T1".into()]).await.unwrap();
    assert_eq!(rows.len(), 1, "what was not committed never was");
    assert_eq!(rows[0].some_text("id").unwrap(), "H1");
    assert_eq!(rows[0].text("client_id").unwrap(), None);
    assert_eq!(rows[0].at("starts_at").unwrap(), Some(now()));
    assert_eq!(rows[0].at("released_at").unwrap(), None);
    drop(transaction);

    written_ahead(store, insert, &values).await;

    let mut transaction = store.begin().await.unwrap();
    transaction.run(Sql::both("UPDATE chaperone_migration SET sha256 = 'x' WHERE version = 1"), &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let error = store.install(&BOTH, now()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Changed { name, .. } if name == "0001_store"), "{error}");
}

#[tokio::test]
async fn a_sqlite_store_is_made_once_and_written_in_transactions() {
    let folder = tempfile::tempdir().unwrap();
    exercised(&sqlite(&folder)).await;
}

#[tokio::test]
async fn a_postgresql_store_is_made_once_and_written_in_transactions() {
    exercised(&postgres()).await;
}

#[tokio::test]
async fn tables_of_the_demo_that_are_there_already_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder);
    let schema = include_str!("../../schemas/demo/store.schema.sql");
    let url = format!("sqlite://{}/store.db?mode=rwc", folder.path().display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::raw_sql(schema).execute(&pool).await.unwrap();
    sqlx::raw_sql("INSERT INTO lockdowns VALUES ('L1','T1',NULL,'I1','2026-01-01T00:00:00Z',NULL)")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(store.install(&[Part::Tables], now()).await.unwrap().len(), Migration::of(&[Part::Tables]).count());
    let mut transaction = store.read().await.unwrap();
    assert_eq!(transaction.rows(Sql::both("SELECT id FROM lockdowns"), &[]).await.unwrap().len(), 1);
}

#[test]
fn the_first_migration_makes_the_tables_of_the_demo() {
    let statements = |text: &str| {
        let lines = text.lines().skip_while(|line| !line.starts_with("CREATE"));
        lines.collect::<Vec<_>>().join("\n").replace("IF NOT EXISTS ", "")
    };
    let demo = statements(include_str!("../../schemas/demo/store.schema.sql"));
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let first = Migration::of(&BOTH).next().unwrap();
        assert_eq!(statements(first.text(dialect)), demo);
    }
}

#[tokio::test]
async fn two_installers_at_once_apply_each_migration_once() {
    let (url, _) = Postgres::shared().demo();
    let stores = [0; 4].map(|_| Store::open(&url, MAKING).unwrap());
    let runs = futures_util::future::join_all(stores.iter().map(|store| store.install(&BOTH, now()))).await;
    let applied: usize = runs.into_iter().map(|applied| applied.unwrap().len()).sum();
    assert_eq!(applied, Migration::of(&BOTH).count());
}

#[tokio::test]
async fn the_script_for_an_owners_hands_does_what_installing_does() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(&folder);
    run_by_hand(&store, &format!("sqlite://{}/store.db?mode=rwc", folder.path().display())).await;
    let (url, _) = Postgres::shared().demo();
    run_by_hand(&Store::open(&url, MAKING).unwrap(), &url).await;
}

#[expect(clippy::disallowed_types, reason = "the script is the program's own text")]
async fn run_by_hand(store: &Store, url: &str) {
    use sqlx::{AssertSqlSafe, Connection as _};
    let script = store.script(&store.pending(&BOTH).await.unwrap()).join(";\n");
    let done = if store.dialect() == Dialect::Sqlite {
        let mut owner = sqlx::SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut owner).await.map(drop)
    } else {
        let mut owner = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut owner).await.map(drop)
    };
    done.unwrap();
    store.check(&BOTH).await.unwrap();
}

/// Rows that say who had access, and to whom data went: not even an owner takes them away by accident.
#[tokio::test]
async fn rows_of_access_and_of_disclosures_are_neither_deleted_nor_replaced_nor_truncated() {
    let folder = tempfile::tempdir().unwrap();
    for store in [sqlite(&folder), postgres()] {
        store.install(&[Part::Tables], now()).await.unwrap();
        let rows = [
            "INSERT INTO grants (id, tenant_id, user_id, client_id, reason_code, justification, field_groups, state, requested_at) \
             VALUES ('row1', 't', 'u', 'c', 'r', 'j', '[]', 'active', '2026-03-10T15:00:00Z')",
            "INSERT INTO reviews (id, grant_id, tenant_id, priority, due_at, state) \
             VALUES ('row1', 'row1', 't', 'low', '2026-03-10T15:00:00Z', 'pending')",
            "INSERT INTO grant_events (id, grant_id, at, event, actor) VALUES ('row1', 'row1', '2026-03-10T15:00:00Z', 'e', 'a')",
            "INSERT INTO incidents (id, tenant_id, source, state, discovered_at, opened_by) \
             VALUES ('row1', 't', 's', 'open', '2026-03-10T15:00:00Z', 'o')",
            "INSERT INTO disclosures (id, tenant_id, client_id, disclosed_at, recipient_name, description, legal_basis, category, accountable) \
             VALUES ('row1', 't', 'c', '2026-03-10T15:00:00Z', 'r', 'd', 'b', 'g', true)",
        ];
        let mut making = store.begin().await.unwrap();
        for row in rows {
            making.run(Sql::both(row), &[]).await.unwrap();
        }
        making.commit().await.unwrap();
        let mut changes = vec![
            "DELETE FROM grants",
            "DELETE FROM reviews",
            "DELETE FROM grant_events",
            "DELETE FROM incidents",
            "DELETE FROM disclosures",
        ];
        if store.dialect() == Dialect::Sqlite {
            changes.extend([
                "REPLACE INTO grants SELECT * FROM grants",
                "REPLACE INTO disclosures SELECT * FROM disclosures",
            ]);
        } else {
            changes.extend([
                "TRUNCATE grants CASCADE",
                "TRUNCATE reviews",
                "TRUNCATE grant_events",
                "TRUNCATE incidents",
                "TRUNCATE disclosures",
                "SET LOCAL session_replication_role = replica; DELETE FROM disclosures",
                "SET LOCAL session_replication_role = replica; TRUNCATE incidents",
            ]);
        }
        for change in changes {
            let mut transaction = store.begin().await.unwrap();
            let (first, then) = change.split_once("; ").unwrap_or((change, ""));
            let mut done = transaction.run(Sql::both(first), &[]).await;
            if !then.is_empty() {
                done = done.and(transaction.run(Sql::both(then), &[]).await);
            }
            assert!(matches!(done, Err(StoreError::Refused { .. })), "{change}: {done:?}");
        }
        assert_eq!(store.unguarded(Part::Tables).await.unwrap(), Vec::<String>::new());
        let off = Sql {
            sqlite: "DROP TRIGGER disclosures_stay",
            postgres: "ALTER TABLE disclosures DISABLE TRIGGER table_stays",
        };
        let mut transaction = store.begin().await.unwrap();
        transaction.run(off, &[]).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(store.unguarded(Part::Tables).await.unwrap().len(), 1);
    }
}
