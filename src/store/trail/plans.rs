//! Each question goes along its index and in its order, so that its cost does not grow with what the store holds.

use std::time::Duration;

use super::{
    super::{
        tests::{MAKING, now},
        transaction::{Sql, StoredRow},
    },
    find::EXPLAINED,
    *,
};
use crate::postgres_server::Postgres;

const FILL: Sql = Sql {
    sqlite: "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) \
             INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, client, grant_id, line, resource_tenant) \
             SELECT '2026-0' || (1 + i / 3001), 'w', i, i, \
                    strftime('%Y-%m-%dT%H:%M:%SZ', '2026-01-01', '+' || (i * 800) || ' seconds'), 'd' || i, 'decision', \
                    'T' || (i % 2), 'u' || (i % 3), 'C' || (i % 4), CASE i % 5 WHEN 0 THEN 'G' || (i % 3) END, '{}', 'T' || (i % 7) FROM n",
    postgres: "INSERT INTO audit_record (month, writer, seq, frame, at, decision_id, kind, tenant, principal, client, grant_id, line, resource_tenant) \
               SELECT '2026-0' || (1 + i / 3001), 'w', i, i, timestamptz '2026-01-01 00:00:00Z' + i * interval '800 seconds', \
                      'd' || i, 'decision', 'T' || (i % 2), 'u' || (i % 3), 'C' || (i % 4), \
                      CASE i % 5 WHEN 0 THEN 'G' || (i % 3) END, '{\"resource_tenant\":\"T' || (i % 7) || '\"}', NULL FROM generate_series(1, 9000) AS i",
};

#[tokio::test]
async fn every_question_goes_along_its_index_and_sorts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/t.db", folder.path().display()), Postgres::shared().demo().1] {
        let store = TrailStore::open(&url, MAKING).unwrap().store;
        store.install(&[Part::Trail], now()).await.unwrap();
        let is_postgres = store.dialect() == Dialect::Postgres;
        let mut filling = store.begin().await.unwrap();
        if is_postgres {
            let months = "SELECT audit_month('2026-0' || n)::text AS made FROM generate_series(1, 3) AS n";
            filling.rows(Sql::both(months), &[]).await.unwrap();
        }
        filling.run(FILL, &[]).await.unwrap();
        filling.run(Sql::both("ANALYZE"), &[]).await.unwrap();
        filling.commit().await.unwrap();

        let finder = TrailFinder::open(&url, Duration::from_secs(5)).unwrap();
        let word = |word: &str| Some(word.to_owned());
        let by_tenant = RecordFilter { tenant: word("T1"), ..RecordFilter::default() };
        let questions = [
            (RecordFilter { decision_id: word("d7"), ..by_tenant.clone() }, "decision"),
            (RecordFilter { grant: word("G1"), ..by_tenant.clone() }, "grant"),
            (RecordFilter { client: word("C1"), ..by_tenant.clone() }, "client"),
            (RecordFilter { principal: word("u1"), action: word("read"), ..by_tenant.clone() }, "principal"),
            (by_tenant, "tenant"),
            (RecordFilter::default(), "at"),
        ];
        for (filter, index) in questions {
            let (after, known) = (RowPlace::first(), KnownBefore::default());
            let (sql, values) = finder.question(&EXPLAINED, &filter, &after, Arrived { upto: 9_000 }, &known);
            let mut asking = finder.store().read().await.unwrap();
            finder.keep_to_the_index(&mut asking, &filter).await.unwrap();
            let rows = asking.rows(sql, &values).await.unwrap();
            asking.commit().await.unwrap();
            let column = if is_postgres { "QUERY PLAN" } else { "detail" };
            let plan = rows.iter().map(|row: &StoredRow| row.some_text(column).unwrap()).collect::<Vec<_>>().join("\n");
            let along = match (is_postgres, index) {
                (false, _) => format!("INDEX audit_record_{index} "),
                (true, "at") => "_at_writer_seq_idx".to_owned(),
                (true, "decision") => "_decision_id_idx".to_owned(),
                (true, "grant") => "_grant_id_at_writer_seq_idx".to_owned(),
                (true, index) => format!("_{index}_at_writer_seq_idx"),
            };
            assert!(plan.contains(&along) && !plan.contains("Seq Scan"), "{index}: {plan}");
            let sorts = plan.contains("Sort  (") || plan.contains("TEMP B-TREE");
            if index == "tenant" {
                let along = if is_postgres {
                    "_resource_tenant_at_writer_seq_idx"
                } else {
                    "INDEX audit_record_resource_tenant "
                };
                assert!(plan.contains(along), "what is its own: {plan}");
            }
            // One decision has a record or two, and of a tenant's two runs there are 500 each at most.
            assert!(!sorts || ["decision", "tenant"].contains(&index), "{index}: {plan}");
            let found = finder.find(&filter, &after, Arrived { upto: 9_000 }, &known).await.unwrap();
            let expected = match index {
                "decision" => 1,
                // Acted in by the tenant, or about its own: 300 and 42.
                "grant" => 342,
                "principal" => 0,
                _ => 500,
            };
            assert_eq!(found.len(), expected, "{index}");
        }
    }
}
