//! Every way to change a row that takes an allow away: the feed tells of each.

use std::{sync::Arc, time::Duration};

use chaperone::domain::mapping::Source;

use crate::helpers::{
    following::{Databases, Following, Heard, How, lift, revoke, run, wait_for},
    postgres::Postgres,
};

/// A change after which ana may not read lane 1, and what takes it back.
struct Cell {
    name: &'static str,
    source: Source,
    takes: &'static str,
    gives: &'static str,
}

const CELLS: [Cell; 11] = [
    Cell {
        name: "update",
        source: Source::Store,
        takes: "UPDATE assignments SET revoked_at = '2026-03-10T14:00:00Z' WHERE id = 'LA1'",
        gives: "UPDATE assignments SET revoked_at = NULL WHERE id = 'LA1'",
    },
    Cell {
        name: "delete",
        source: Source::Store,
        takes: "CREATE TABLE gone AS SELECT * FROM assignments WHERE id = 'LA1'; DELETE FROM assignments WHERE id = 'LA1'",
        gives: "INSERT INTO assignments SELECT * FROM gone; DROP TABLE gone",
    },
    Cell {
        name: "truncate",
        source: Source::Store,
        takes: "CREATE TABLE gone AS TABLE assignments; TRUNCATE assignments",
        gives: "INSERT INTO assignments SELECT * FROM gone; DROP TABLE gone",
    },
    Cell {
        name: "bulk write in the replica role",
        source: Source::Store,
        takes: "SET session_replication_role = replica; UPDATE assignments SET valid_to = '2026-03-10T14:00:00Z' WHERE id LIKE 'LA%'",
        gives: "SET session_replication_role = replica; UPDATE assignments SET valid_to = NULL WHERE id LIKE 'LA%'",
    },
    Cell {
        name: "row moved to another client",
        source: Source::Store,
        takes: "UPDATE assignments SET client_id = 'L60' WHERE id = 'LA1'",
        gives: "UPDATE assignments SET client_id = 'L1' WHERE id = 'LA1'",
    },
    Cell {
        name: "record moved to another client",
        source: Source::App,
        takes: "UPDATE notes SET client_id = 'C3' WHERE id = 'LN1'",
        gives: "UPDATE notes SET client_id = 'L1' WHERE id = 'LN1'",
    },
    Cell {
        name: "role ended",
        source: Source::App,
        takes: "UPDATE user_roles SET revoked_at = '2026-03-10T14:00:00Z' WHERE user_id = 'ana'",
        gives: "UPDATE user_roles SET revoked_at = NULL WHERE user_id = 'ana'",
    },
    Cell {
        name: "user disabled, a row that a join reads too",
        source: Source::App,
        takes: "UPDATE users SET status = 'disabled' WHERE id = 'ana'",
        gives: "UPDATE users SET status = 'active' WHERE id = 'ana'",
    },
    Cell {
        name: "rows that came to be",
        source: Source::Store,
        takes: "INSERT INTO restrictions (id, tenant_id, client_id, kind, target_type, target_id, status, emergency_exception)
                VALUES ('RSX', 'T1', 'L1', 'agreed', 'user', 'ana', 'agreed', FALSE)",
        gives: "DELETE FROM restrictions WHERE id = 'RSX'",
    },
    Cell {
        name: "part of a transaction behind savepoints",
        source: Source::Store,
        takes: "BEGIN; SAVEPOINT one; UPDATE assignments SET scope = 'schedule_only' WHERE id = 'LA1'; ROLLBACK TO one;
                SAVEPOINT two; UPDATE assignments SET revoked_at = '2026-03-10T14:00:00Z' WHERE id = 'LA1'; RELEASE two; COMMIT",
        gives: "UPDATE assignments SET revoked_at = NULL WHERE id = 'LA1'",
    },
    // Nothing of it is left for the feed to see but that something was deleted.
    Cell {
        name: "change rows that are trimmed with the commit",
        source: Source::Store,
        takes: "BEGIN; UPDATE assignments SET revoked_at = '2026-03-10T14:00:00Z' WHERE id = 'LA1'; DELETE FROM chaperone_change;
                UPDATE chaperone_feed SET trimmed_below = ((pg_current_xact_id()::text::bigint) + 1)::text::xid8; COMMIT",
        gives: "UPDATE assignments SET revoked_at = NULL WHERE id = 'LA1'",
    },
];

async fn scene() -> (Databases, Arc<Following>) {
    let databases = Databases::on(Postgres::shared()).await;
    let following = Following::start(&databases, How::within(Duration::from_secs(2)));
    following.works(&databases, 2).await;
    (databases, Arc::new(following))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_write_is_told() {
    let (databases, following) = scene().await;
    for cell in &CELLS {
        following.ask_until(cell.name, 1, Heard::is_allow).await;
        wait_for("its facts are kept", async || following.is_kept(1).await).await;
        let committed = databases.write(cell.source, cell.takes).await;
        let lag = following.denied_in_time(1, committed).await;
        databases.write(cell.source, cell.gives).await;
        following.ask_until(cell.name, 1, Heard::is_allow).await;
        println!("{}: denied {lag:.1?} after the commit", cell.name);
    }
    following.works(&databases, 1).await;
}

/// The key of the row after an update is told as well as that of before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_moves_is_missed_by_one_client_and_found_by_the_other() {
    let (databases, following) = scene().await;
    databases.write(Source::Store, "DELETE FROM assignments WHERE id = 'LA2'").await;
    following.ask_until("nobody is assigned to lane 2", 2, Heard::is_refusal).await;
    following.ask_until("ana may read lane 1", 1, Heard::is_allow).await;
    for (sql, from, to) in [
        ("UPDATE assignments SET client_id = 'L2' WHERE id = 'LA1'", 1, 2),
        ("UPDATE assignments SET client_id = 'L1' WHERE id = 'LA1'", 2, 1),
    ] {
        let committed = databases.write(Source::Store, sql).await;
        following.denied_in_time(from, committed).await;
        let found = following.ask_until("the other client has it", to, Heard::is_allow).await;
        assert!(found.released < committed + following.staleness, "{found:?}, committed at {committed:?}");
    }
}

/// A transaction that began first and commits last: a cursor over ids would pass it by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_commits_late_is_told() {
    let (databases, following) = scene().await;
    for lane in [1, 3] {
        following.ask_until("ana may read", lane, Heard::is_allow).await;
    }
    let mut slow = databases.open(Source::Store).await;
    run(&mut slow, format!("BEGIN; {}", revoke(1))).await;
    let committed = databases.write(Source::Store, revoke(3)).await;
    // Neither hidden behind the open one, nor the end of it.
    following.denied_in_time(3, committed).await;
    assert!(following.ask(1).await.is_allow(), "nothing of lane 1 is committed");
    databases.write(Source::Store, lift(3)).await;
    following.ask_until("ana may read lane 3", 3, Heard::is_allow).await;
    let committed = run(&mut slow, "COMMIT").await;
    following.denied_in_time(1, committed).await;
}
