//! What is installed, and what is told when it no longer stands.

use super::*;

fn advised(problem: &str) -> Vec<String> {
    vec![format!("{problem}: run `chaperone db install`")]
}

#[tokio::test]
async fn a_database_without_the_feed_is_told_in_one_sentence_and_installing_twice_changes_nothing() {
    let mut stage = Stage::new().await;
    assert_eq!(stage.problems().await, advised("the change feed is not installed in schema public"));
    let dry = stage.install_as(&stage.url, None, Notify::Yes, Mode::DryRun).await.unwrap();
    assert_eq!(stage.problems().await.len(), 1, "a dry run changes nothing");
    // What it prints is all that is needed.
    stage.run(&dry.statements.join(";\n")).await;
    assert_eq!(stage.problems().await, Vec::<String>::new());
    let again = stage.install().await.unwrap();
    assert_eq!((again.statements, again.problems), (Vec::new(), Vec::new()));
    let epoch = "SELECT count(DISTINCT epoch) FROM chaperone_feed WHERE trimmed_below > '0'";
    assert_eq!(stage.one(epoch).await, 1);
}

#[tokio::test]
async fn whatever_no_longer_stands_is_named_and_mended() {
    let mut stage = Stage::installed().await;
    let function = "SELECT proname::text FROM pg_proc WHERE prosrc LIKE '%\"member\"%'";
    let function: String = sqlx::query_scalar(function).fetch_one(&mut stage.app).await.unwrap();
    let cases = [
        ("ALTER TABLE member DISABLE TRIGGER chaperone_row", "trigger chaperone_row of table public.member is disabled"),
        ("ALTER TABLE member DISABLE TRIGGER ALL; ALTER TABLE member ENABLE ALWAYS TRIGGER chaperone_row", "trigger chaperone_truncate of table public.member is disabled"),
        (
            "ALTER TABLE member ENABLE TRIGGER chaperone_row",
            "trigger chaperone_row of table public.member is not ENABLE ALWAYS: a session in the replica role changes rows unseen",
        ),
        ("DROP TRIGGER chaperone_row ON member", "table public.member has no trigger chaperone_row"),
        ("DROP TRIGGER chaperone_truncate ON visit_2", "table public.visit_2 has no trigger chaperone_truncate"),
        ("ALTER TABLE visit_1 DISABLE TRIGGER chaperone_row", "trigger chaperone_row of table public.visit_1 is disabled"),
        ("CREATE TABLE visit_3 PARTITION OF visit FOR VALUES IN (3)", "table public.visit_3 has no trigger chaperone_truncate"),
        (
            "DROP TRIGGER chaperone_row ON member; CREATE TRIGGER chaperone_row AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION FUNCTION_OF_MEMBER();
             ALTER TABLE member ENABLE ALWAYS TRIGGER chaperone_row",
            "trigger chaperone_row of table public.member is not what was installed",
        ),
        (
            "CREATE OR REPLACE FUNCTION FUNCTION_OF_MEMBER() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS 'BEGIN RETURN NULL; END'",
            "function public.FUNCTION_OF_MEMBER of table public.member is not what was installed",
        ),
        ("ALTER FUNCTION FUNCTION_OF_MEMBER() SECURITY INVOKER", "function public.FUNCTION_OF_MEMBER of table public.member is not what was installed"),
        ("DROP FUNCTION chaperone_trim()", "function public.chaperone_trim is missing"),
        ("DELETE FROM chaperone_feed", "table public.chaperone_feed is empty"),
        ("DROP INDEX chaperone_change_xid", "table public.chaperone_change has no index on xid"),
    ];
    for (sql, problem) in cases {
        stage.run(&sql.replace("FUNCTION_OF_MEMBER", &function)).await;
        let problem = problem.replace("FUNCTION_OF_MEMBER", &function);
        let found = stage.problems().await;
        assert_eq!(found.first(), advised(&problem).first(), "{sql}: {found:?}");
        let mended = stage.install().await.unwrap();
        assert_eq!(mended.problems.first(), Some(&problem), "{sql}");
        assert_eq!(stage.problems().await, Vec::<String>::new(), "{sql}");
    }
}

/// A sidecar may have believed its feed while something was wrong: it never hears what changed then.
#[tokio::test]
async fn whatever_is_mended_starts_the_feeds_anew() {
    let mut stage = Stage::installed().await;
    for sql in [
        "ALTER TABLE member DISABLE TRIGGER chaperone_row",
        "ALTER TABLE member ENABLE TRIGGER chaperone_row",
        "DROP TRIGGER chaperone_truncate ON visit_2",
        "DROP TRIGGER chaperone_row ON member; CREATE TRIGGER chaperone_row AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION chaperone_truncate()",
        "CREATE OR REPLACE FUNCTION chaperone_truncate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS 'BEGIN RETURN NULL; END'",
        "DO $$ BEGIN EXECUTE (SELECT format('CREATE OR REPLACE FUNCTION %I() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''', proname)
                              FROM pg_proc WHERE prosrc LIKE '%\"member\"%'); END $$",
        "DROP TABLE chaperone_change",
    ] {
        // It has looked, and is not asked again before it is mended.
        let mut feed = stage.started().await;
        feed.poll().await.unwrap();
        stage.run(sql).await;
        assert_ne!(stage.install().await.unwrap().problems, Vec::<String>::new(), "{sql}");
        assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("epoch")), "{sql}");
    }
    let mut feed = stage.started().await;
    stage.mapping = mapping(&QUERIES[..1]);
    assert_eq!(stage.install().await.unwrap().problems, Vec::<String>::new(), "more than needed stood there");
    assert!(
        matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("epoch")),
        "what it tells is less"
    );
    let mut feed = stage.started().await;
    stage.install().await.unwrap();
    feed.poll().await.expect("nothing was changed");
}

#[tokio::test]
async fn a_restored_copy_gets_a_new_epoch() {
    let mut stage = Stage::installed().await;
    let mut feed = stage.started().await;
    stage.run("INSERT INTO chaperone_change (xid, kind, key) VALUES ('4000000000000', 'Client.team', 'c')").await;
    let problem = "table public.chaperone_change holds changes of transactions that have not begun: the database is a restored copy";
    assert_eq!(stage.problems().await, advised(problem));
    stage.install().await.unwrap();
    assert_eq!(stage.problems().await, Vec::<String>::new());
    assert_eq!(stage.one("SELECT count(*) FROM chaperone_change").await, 0);
    assert!(matches!(feed.poll().await, Err(FeedError::Moved { what }) if what.contains("epoch")));
}

#[tokio::test]
async fn neither_the_owner_nor_the_reader_is_a_superuser() {
    let mut stage = Stage::new().await;
    let (owner, reader) = (stage.role("owner").await, stage.role("reader").await);
    stage.run(&format!("GRANT CREATE ON SCHEMA public TO {owner}; ALTER TABLE member OWNER TO {owner}; ALTER TABLE visit OWNER TO {owner};
      ALTER TABLE visit_1 OWNER TO {owner}; ALTER TABLE visit_2 OWNER TO {owner}; GRANT SELECT ON member, visit TO {reader}")).await;
    let (owner_url, reader_url) = (stage.url_of(&owner), stage.url_of(&reader));

    let refused = stage.install_as(&reader_url, None, Notify::Yes, Mode::Install).await;
    assert!(matches!(refused, Err(InstallError::Refused { .. })), "{refused:?}");
    stage.install_as(&reader_url, Some(&owner_url), Notify::Yes, Mode::Install).await.unwrap();
    stage.url.clone_from(&reader_url);
    assert_eq!(stage.problems().await, Vec::<String>::new());

    let mut feed = stage.started().await;
    let mut app = session(&owner_url).await;
    sqlx::raw_sql("INSERT INTO member VALUES ('u', 'c')").execute(&mut app).await.unwrap();
    assert_eq!(told(&mut feed).await, ["Client.team `c`"]);
    // Nobody else may write what the feed believes, nor call its functions.
    let mut other = session(&reader_url).await;
    for sql in [
        "INSERT INTO chaperone_change (kind) VALUES (NULL)",
        "DELETE FROM chaperone_change",
        "UPDATE chaperone_feed SET epoch = gen_random_uuid()",
    ] {
        assert!(sqlx::raw_sql(sql).execute(&mut other).await.is_err(), "{sql}");
    }
    let trimmed: i64 = sqlx::query_scalar("SELECT chaperone_trim()").fetch_one(&mut other).await.unwrap();
    assert_eq!(trimmed, 0);

    stage.run("REVOKE SELECT ON chaperone_feed FROM PUBLIC").await;
    stage.run(&format!("REVOKE SELECT ON chaperone_feed FROM {reader}")).await;
    assert_eq!(stage.problems().await, advised(&format!("role {reader} may not read public.chaperone_feed")));
}

#[tokio::test]
async fn without_notify_commits_send_nothing_and_are_told_all_the_same() {
    let mut stage = Stage::new().await;
    stage.install_as(&stage.url, None, Notify::No, Mode::Install).await.unwrap();
    assert_eq!(stage.problems().await, Vec::<String>::new());
    let with = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'chaperone%' AND prosrc LIKE '%pg_notify%'";
    assert_eq!(stage.one(with).await, 0);
    let mut feed = stage.started().await;
    stage.run("INSERT INTO member VALUES ('u', 'c')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c`"]);
    stage.install().await.unwrap();
    assert_eq!(stage.one(with).await, 3, "one for each table, and that of TRUNCATE");
}

#[tokio::test]
async fn what_no_query_reads_any_more_is_removed_and_what_a_query_newly_reads_is_missed() {
    let mut stage = Stage::installed().await;
    stage.mapping = mapping(&QUERIES[..1]);
    assert_eq!(stage.problems().await, Vec::<String>::new(), "more than needed is whole");
    stage.install().await.unwrap();
    let left =
        "SELECT count(*) FROM pg_trigger t WHERE tgname LIKE 'chaperone%' AND tgrelid::regclass::text LIKE 'visit%'";
    assert_eq!(stage.one(left).await, 0);
    let functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'chaperone_row%'";
    assert_eq!(stage.one(functions).await, 1);
    stage.mapping = mapping(&[QUERIES[0], ("User.clients", "SELECT client_id AS id FROM member WHERE user_id = $1")]);
    assert_eq!(stage.problems().await, advised("changes of table public.member are not logged for `User.clients`"));
    stage.install().await.unwrap();
    let mut feed = stage.started().await;
    stage.run("INSERT INTO member VALUES ('u', 'c')").await;
    assert_eq!(told(&mut feed).await, ["Client.team `c`", "User.clients `u`"]);
}

#[tokio::test]
async fn an_install_waits_for_writers_whose_change_the_old_function_logged() {
    let mut stage = Stage::installed().await;
    let mut writer = session(&stage.url).await;
    sqlx::raw_sql("BEGIN; INSERT INTO member VALUES ('u', 'c')").execute(&mut writer).await.unwrap();
    stage.mapping =
        mapping(&[QUERIES[0], QUERIES[1], ("User.clients", "SELECT client_id AS id FROM member WHERE user_id = $1")]);
    let refused = stage.install().await;
    assert!(
        matches!(&refused, Err(InstallError::Refused { statement, words, .. }) if statement.starts_with("LOCK TABLE") && words.contains("lock timeout")),
        "{refused:?}"
    );
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    stage.install().await.unwrap();
    assert_eq!(stage.one("SELECT count(*) FROM member").await, 1);
}

#[tokio::test]
async fn two_sources_in_one_database_share_their_triggers() {
    let mut stage = Stage::new().await;
    let mut both = mapping(&QUERIES);
    both.entities.get_mut("Client").unwrap().relations.get_mut("visits").unwrap().source = Source::Store;
    stage.mapping = both;
    let database = |source| FeedDatabase { source, url: stage.url.clone(), owner_url: None };
    let databases = [database(Source::App), database(Source::Store)];
    for meant in [Source::App, Source::Store] {
        let task = FeedTask {
            mapping: &stage.mapping,
            databases: &databases,
            meant: &[meant],
            limit: Duration::from_secs(20),
        };
        let done = install(&task, Notify::Yes, Mode::Install).await.unwrap();
        assert_eq!(done.len(), 1);
        assert_eq!(
            done[0].tables,
            ["public.member: Client.team by client_id", "public.visit (2 partitions): Client.visits by client_id"]
        );
        assert_eq!(done[0].statements.is_empty(), meant == Source::Store, "the first did for both");
    }
    let mut feed = stage.started().await;
    stage.run("INSERT INTO visit VALUES ('c', 1)").await;
    assert_eq!(told(&mut feed).await, ["Client.visits `c`"]);
}

impl Stage {
    /// A new role that may do nothing in particular.
    async fn role(&mut self, word: &str) -> String {
        let database: String =
            sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut self.app).await.unwrap();
        let role = format!("{word}_{database}");
        self.run(&format!("CREATE ROLE {role} LOGIN")).await;
        role
    }

    fn url_of(&self, role: &str) -> String {
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{role}@{place}")
    }
}
