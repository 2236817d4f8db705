//! Which tables and columns are derived from which queries.

use super::*;

const SCHEMA: &str = "
  CREATE TYPE mood AS ENUM ('good', 'bad');
  CREATE DOMAIN code AS text;
  CREATE COLLATION blunt (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE TABLE a (id text PRIMARY KEY, b_id text, client_id varchar(20), padded char(8), soft text COLLATE blunt, feels mood, code code,
                  open boolean, at timestamptz, number bigint, device uuid, client_a text NOT NULL DEFAULT '');
  CREATE TABLE b (id text PRIMARY KEY, client_id text, note text);
  CREATE TABLE device (id uuid PRIMARY KEY, owner text);
  CREATE TABLE counted (id int PRIMARY KEY, of_id bigint);
  CREATE TABLE part (client_id text, day int) PARTITION BY RANGE (day);
  CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (day);
  CREATE TABLE part_low_1 PARTITION OF part_low FOR VALUES FROM (0) TO (5);
  CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20);
  CREATE VIEW seen AS SELECT a.id, b.client_id FROM a JOIN b ON b.id = a.b_id;
  CREATE MATERIALIZED VIEW kept AS SELECT id, client_id FROM b;
  CREATE FUNCTION of_b(text) RETURNS SETOF b LANGUAGE plpgsql STABLE AS 'BEGIN RETURN QUERY SELECT * FROM b WHERE client_id = $1; END';
  CREATE FUNCTION inlined(text) RETURNS SETOF b LANGUAGE sql STABLE AS 'SELECT * FROM b WHERE client_id = $1';
  CREATE FUNCTION liar(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT note FROM b LIMIT 1); END';
  CREATE FUNCTION eq_liar(text, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
  CREATE OPERATOR === (LEFTARG = text, RIGHTARG = int, FUNCTION = eq_liar);
  CREATE SCHEMA \"Odd \"\"one\";
  CREATE TABLE \"Odd \"\"one\".\"T\" (\"The key\" text, id text)";

/// What installing for these queries would watch, and which of them no trigger can tell.
async fn derived(queries: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let stage = Stage::with(SCHEMA, queries).await;
    let dry = stage.install_as(&stage.url, None, Notify::Yes, Mode::DryRun).await.unwrap();
    (dry.tables, dry.untold.into_iter().map(|(place, why)| format!("{place}: {why}")).collect())
}

#[tokio::test]
async fn rows_reach_the_key_by_a_column_only_where_every_row_read_has_it() {
    let (tables, untold) = derived(&[
        ("A", "SELECT id FROM a WHERE id = $1"),
        ("A.alone", "SELECT id FROM a WHERE client_id = $1 AND open"),
        ("A.joined", "SELECT a.id FROM a JOIN b ON b.id = a.b_id WHERE a.client_id = $1"),
        ("A.left", "SELECT a.id, b.note FROM a LEFT JOIN b ON b.id = a.b_id WHERE a.client_id = $1"),
        ("A.same", "SELECT a.id, b.note FROM a JOIN b ON b.client_id = a.client_a WHERE a.client_a = $1"),
        ("A.view", "SELECT id FROM seen WHERE client_id = $1"),
        ("A.either", "SELECT id FROM a WHERE client_id = $1 OR open"),
        ("A.both", "SELECT id FROM a WHERE client_id = $1 UNION ALL SELECT id FROM a WHERE b_id = $1"),
        ("A.other", "SELECT id FROM a WHERE client_id = $1 UNION ALL SELECT id FROM a WHERE open AND $1 <> ''"),
        ("A.padded", "SELECT id FROM a WHERE padded = $1"),
        ("A.soft", "SELECT id FROM a WHERE soft = $1"),
        ("A.feels", "SELECT id FROM a WHERE feels::text = $1"),
        ("A.code", "SELECT id FROM a WHERE code = $1"),
        ("A.at", "SELECT id FROM a WHERE at::text = $1"),
        ("A.lowered", "SELECT id FROM a WHERE lower(client_id) = $1"),
        ("A.null", "SELECT id FROM a WHERE client_id IS NOT DISTINCT FROM $1"),
        (
            "A.lateral",
            "SELECT a.id FROM a, LATERAL (SELECT note FROM b WHERE b.client_id = $1 LIMIT 1) n WHERE a.id = $1",
        ),
    ])
    .await;
    assert_eq!(untold, Vec::<String>::new());
    assert_eq!(
        tables,
        [
            "public.a: A by id, A.alone by client_id, A.at whatever the key, A.both by b_id, A.both by client_id, A.code by code, \
             A.either whatever the key, A.feels by feels, A.joined by client_id, A.lateral by id, A.left by client_id, A.lowered whatever the key, \
             A.null whatever the key, A.other whatever the key, A.padded by padded, A.same by client_a, A.soft whatever the key, A.view whatever the key",
            "public.b: A.joined whatever the key, A.lateral by client_id, A.left whatever the key, A.same by client_id, A.view by client_id",
        ]
    );
}

#[tokio::test]
async fn a_subquery_is_read_by_whatever_key() {
    // Up to PostgreSQL 16 the value of a subquery is printed like a parameter: `$1` may be that.
    let (tables, _) = derived(&[
        ("A.scalar", "SELECT id FROM a WHERE client_id = (SELECT max(client_id) FROM b WHERE note = $1)"),
        (
            "A.scalars",
            "SELECT id, (SELECT max(id) FROM b) AS x, (SELECT min(id) FROM b) AS y FROM a WHERE client_id = $1",
        ),
    ])
    .await;
    assert_eq!(
        tables,
        [
            "public.a: A.scalar whatever the key, A.scalars whatever the key",
            "public.b: A.scalar whatever the key, A.scalars whatever the key",
        ]
    );
}

#[tokio::test]
async fn a_key_that_is_cast_counts_only_where_no_other_text_names_the_row() {
    let (tables, _) = derived(&[
        ("Device", "SELECT id::text AS id FROM device WHERE id = $1::uuid"),
        ("Device.a", "SELECT id FROM a WHERE device = $1::uuid"),
        ("Device.b.key", "SELECT id FROM a WHERE device = $1::uuid"),
        ("Counted", "SELECT id, of_id FROM counted WHERE id = $1::int"),
        ("Counted.a", "SELECT id FROM a WHERE number = $1::bigint"),
        ("Counted.text", "SELECT id FROM a WHERE number::text = $1"),
        // Its ids are not the text of what is compared: `007` would be one of them.
        ("Loose", "SELECT of_id::text || '' AS id FROM counted WHERE id = $1::int"),
        ("Loose.a", "SELECT id FROM a WHERE number = $1::bigint"),
        ("B", "SELECT id FROM b WHERE id = $1"),
        ("B.a", "SELECT id FROM a WHERE number = $1::bigint"),
    ])
    .await;
    assert_eq!(
        tables,
        [
            "public.a: B.a whatever the key, Counted.a by number, Counted.text by number, Device.a by device, Device.b whatever the key, Loose.a whatever the key",
            "public.b: B by id",
            "public.counted: Counted by id, Loose whatever the key",
            "public.device: Device by id",
        ]
    );
}

#[tokio::test]
async fn partitions_count_as_their_table_and_odd_names_are_names() {
    let (tables, untold) = derived(&[
        ("A.parts", "SELECT day AS id FROM part WHERE client_id = $1 AND day = 3"),
        ("A.low", "SELECT day AS id FROM part_low WHERE client_id = $1"),
        ("A.odd", "SELECT id FROM \"Odd \"\"one\".\"T\" WHERE \"The key\" = $1"),
        ("A.sql", "SELECT id FROM inlined($1)"),
    ])
    .await;
    assert_eq!(untold, Vec::<String>::new());
    assert_eq!(
        tables,
        [
            "Odd \"one.T: A.odd by The key",
            "public.b: A.sql by client_id",
            "public.part (3 partitions): A.low by client_id, A.parts by client_id",
        ]
    );
}

#[tokio::test]
async fn what_no_trigger_can_tell_is_refused_with_the_reason() {
    let doubt = ", which may read other tables or answer by the moment";
    let (tables, untold) = derived(&[
        ("A.f", "SELECT id FROM of_b($1)"),
        ("A.g", "SELECT id FROM a WHERE client_id = $1 AND liar(id) = ''"),
        ("A.h", "SELECT id, CASE WHEN open THEN liar(id) END AS x FROM a WHERE client_id = $1"),
        ("A.i", "SELECT id FROM a WHERE client_id = $1 AND at > now()"),
        ("A.j", "SELECT id FROM a WHERE client_id = $1 AND at > CURRENT_DATE"),
        ("A.k", "SELECT id FROM kept WHERE client_id = $1"),
        ("A.l", "SELECT rolname AS id FROM pg_roles WHERE rolname = $1"),
        ("A.m", "SELECT id FROM gone WHERE client_id = $1"),
        ("A.n", "SELECT id FROM a TABLESAMPLE SYSTEM (50) WHERE client_id = $1"),
        ("A.o", "SELECT id FROM a WHERE client_id = $1 AND client_id === 3"),
        ("A.p", "SELECT id FROM a WHERE client_id = $1 AND random() > 0.5"),
        ("A.fine", "SELECT DISTINCT upper(id) AS id, count(*) OVER () AS n, to_char(at, 'YYYY') AS y FROM a WHERE client_id = $1 ORDER BY 1"),
    ])
    .await;
    assert_eq!(tables, ["public.a: A.fine by client_id"]);
    assert_eq!(
        untold,
        [
            format!("relation `f` of `A`: it calls function `of_b`{doubt}"),
            format!("relation `g` of `A`: it calls function `liar`{doubt}"),
            format!("relation `h` of `A`: it calls function `liar`{doubt}"),
            format!("relation `i` of `A`: it calls function `now`{doubt}"),
            "relation `j` of `A`: it uses `CURRENT_DATE`".to_owned(),
            "relation `k` of `A`: it reads public.kept, a materialized view: its changes call no trigger".to_owned(),
            "relation `l` of `A`: it reads pg_catalog.pg_authid, a table of the system: its changes call no trigger"
                .to_owned(),
            "relation `m` of `A`: relation \"gone\" does not exist".to_owned(),
            "relation `n` of `A`: it uses a sample scan".to_owned(),
            format!("relation `o` of `A`: it calls operator `===`{doubt}"),
            format!("relation `p` of `A`: it calls function `random`{doubt}"),
        ]
    );
}

#[tokio::test]
async fn a_policy_of_the_reader_is_part_of_what_is_read() {
    let mut stage = Stage::with(SCHEMA, &[("A.alone", "SELECT id FROM a WHERE client_id = $1")]).await;
    let database: String =
        sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut stage.app).await.unwrap();
    stage
        .run(&format!(
            "CREATE ROLE watched_{database} LOGIN; GRANT SELECT ON a, b TO watched_{database}; ALTER TABLE a ENABLE ROW LEVEL SECURITY;
             CREATE POLICY only_b ON a USING (EXISTS (SELECT 1 FROM b WHERE b.id = a.b_id))"
        ))
        .await;
    let (_, place) = stage.url.split_once('@').unwrap();
    let reader = format!("postgres://watched_{database}@{place}");
    let dry = stage.install_as(&reader, Some(&stage.url), Notify::Yes, Mode::DryRun).await.unwrap();
    assert_eq!(dry.tables, ["public.a: A.alone whatever the key", "public.b: A.alone whatever the key"]);
}
