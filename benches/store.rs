//! What a client's history costs in a store of many records: the first page of it, and all of it.
//!
//! `cargo bench --bench store -- --records 10000000 [--url postgres://owner@db/empty]`; without an address a SQLite file.
//! The database must be empty, or have been filled by this before.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench stops where it is wrong, and reads the clock"
)]

use std::time::{Duration, Instant};

use chaperone::store::{
    Arrived, FOUND_AT_ONCE, KnownBefore, Part, RecordFilter, RowPlace, Sql, Store, StoreOptions, TrailFinder, Value,
};

const RECORDS: i64 = 200_000;
const AT_ONCE: i64 = 100_000;
/// Each client has so many records.
const A_CLIENT: i64 = 200;
const QUESTIONS: i64 = 100;

/// A record each 20 s from 2020 on; ten million are six years.
const FILL: Sql = Sql {
    sqlite: "WITH RECURSIVE n (i) AS (SELECT $1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $2) \
             INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, client, line) \
             SELECT strftime('%Y-%m', 1577836800 + i * 20, 'unixepoch'), 'w', i + 1, i + 1, \
                    strftime('%Y-%m-%dT%H:%M:%SZ', 1577836800 + i * 20, 'unixepoch'), 'd' || i, 'decision', 'T' || (i % 3), \
                    'u' || (i % 997), 'C' || (i * 7919 % $3), \
                    '{\"v\":1,\"seq\":' || (i + 1) || '}' || substr(hex(zeroblob(300)), 1, 500) FROM n",
    postgres: "INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, client, line) \
               SELECT to_char((to_timestamp(1577836800 + i * 20)) AT TIME ZONE 'UTC', 'YYYY-MM'), 'w', i + 1, i + 1, \
                      to_timestamp(1577836800 + i * 20), 'd' || i, 'decision', 'T' || (i % 3), 'u' || (i % 997), \
                      'C' || (i * 7919 % $3), '{\"v\":1,\"seq\":' || (i + 1) || '}' || repeat('0', 500) \
               FROM generate_series($1, $2 - 1) AS i",
};
const MONTHS: &str = "SELECT audit_month(to_char(month, 'YYYY-MM'))::text FROM \
                      generate_series(timestamp '2020-01-01', to_timestamp(1577836800 + $1 * 20)::timestamp + interval '1 month', \
                                      interval '1 month') AS month";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let said = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let records = said("--records").map_or(RECORDS, |number| number.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let url = said("--url").cloned().unwrap_or_else(|| format!("sqlite://{}/trail.db", folder.path().display()));
    tokio::runtime::Runtime::new().unwrap().block_on(measure(&url, records));
}

async fn measure(url: &str, records: i64) {
    let options = StoreOptions { connections: 1, statement_timeout: Duration::from_secs(3_600), create: true };
    let store = Store::open(url, options).unwrap();
    let clients = (records / A_CLIENT).max(1);
    let began = Instant::now();
    store.install(&[Part::Trail], "2026-03-10T15:00:00Z".parse().unwrap()).await.unwrap();
    let mut asking = store.read().await.unwrap();
    let count = Sql::both("SELECT count(*) AS n FROM audit_record");
    let held = asking.row(count, &[]).await.unwrap().unwrap().int("n").unwrap().unwrap();
    asking.commit().await.unwrap();
    if url.starts_with("postgres") && held == 0 {
        let mut making = store.begin().await.unwrap();
        making.rows(Sql::both(MONTHS), &[Value::from(records)]).await.unwrap();
        making.commit().await.unwrap();
    }
    let mut from = held;
    while from < records {
        let to = (from + AT_ONCE).min(records);
        let mut filling = store.begin().await.unwrap();
        filling.run(FILL, &[Value::from(from), Value::from(to), Value::from(clients)]).await.unwrap();
        filling.commit().await.unwrap();
        from = to;
    }
    println!("{records} records of {clients} clients, {} of them filled in {:.1?}", records - held, began.elapsed());
    store.close().await;

    let finder = TrailFinder::open(url, Duration::from_secs(60)).unwrap();
    let arrived = Arrived { upto: u64::MAX >> 1 };
    for (name, tenant) in [("a client's history", None), ("the same of one tenant", Some("T1".to_owned()))] {
        let mut times = Vec::new();
        for nth in 0..QUESTIONS {
            let client = Some(format!("C{}", nth * 37 % clients));
            let filter = RecordFilter { client, tenant: tenant.clone(), ..RecordFilter::default() };
            let began = Instant::now();
            let (mut rows, mut after) = (0_i64, RowPlace::first());
            loop {
                let found = finder.find(&filter, &after, arrived, &KnownBefore::default()).await.unwrap();
                rows += i64::try_from(found.len()).unwrap();
                let Some(last) = found.last().filter(|_| found.len() == FOUND_AT_ONCE) else { break };
                after = RowPlace { at: last.at, writer: last.writer.clone(), seq: last.seq };
            }
            times.push(began.elapsed());
            let wanted = if tenant.is_none() { A_CLIENT..=A_CLIENT + 1 } else { 0..=A_CLIENT };
            assert!(wanted.contains(&rows), "{rows} of a client");
        }
        times.sort();
        let at = |part: usize| *times.get((times.len() - 1) * part / 100).unwrap();
        println!("{name}: p50 {:.2?}  p99 {:.2?}  most {:.2?}", at(50), at(99), at(100));
    }
}
