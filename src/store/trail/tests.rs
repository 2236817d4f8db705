//! Both homes of shipped trails take the same frames, and refuse the same.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    super::{
        error::StoreError,
        tests::{MAKING, now},
        transaction::Sql,
    },
    *,
};
use crate::{
    domain::{IndexRow, ShippedNote, ShippedPredecessor},
    postgres_server::Postgres,
};

pub(super) const WRITER: &str = "0199aaaa-0000-7000-8000-000000000001";

/// A writer that was never run: frames as `docs/reference/trail.md` has them.
pub(super) struct Made {
    pub(super) writer: String,
    pub(super) header: ShippedHeader,
    pub(super) chain: Vec<u8>,
    pub(super) frame: u64,
    pub(super) seq: u64,
}

impl Made {
    pub(super) fn new(writer: &str, prev: Option<ShippedPredecessor>) -> Self {
        let prev_json =
            prev.as_ref().map(|prev| serde_json::json!({"writer": prev.writer, "seq": prev.seq, "clean": prev.clean}));
        let json = serde_json::json!({
            "v": 1, "writer": writer, "segment": 1, "first_frame": 1, "first_seq": 1, "chain": null,
            "created": "2026-03-10T15:00:00Z", "prev": prev_json,
        })
        .to_string();
        let mut bytes = b"CHAPTRL1".to_vec();
        bytes.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(json.as_bytes());
        bytes.resize(4096, 0);
        let chain = Sha256::digest(&bytes).to_vec();
        let header = ShippedHeader { bytes: Arc::new(bytes), month: "2026-03".to_owned(), prev };
        Self { writer: writer.to_owned(), header, chain, frame: 0, seq: 0 }
    }

    /// The next frame, with a record at each of `instants`.
    pub(super) fn frame(&mut self, instants: &[&str]) -> ShippedFrame {
        let number = self.frame + 1;
        let first_seq = self.seq + 1;
        let rows: Vec<IndexRow> = instants.iter().zip(first_seq..).map(|(at, seq)| row(number, seq, at)).collect();
        let body: String = rows.iter().map(|row| format!("{}\n", row.line.as_deref().unwrap())).collect();
        self.close(1, number, rows, body.as_bytes(), None)
    }

    fn checkpoint(&mut self) -> ShippedFrame {
        self.checkpoint_of(&self.writer.clone(), self.seq)
    }

    /// A note about any writer.
    fn checkpoint_of(&mut self, writer: &str, size: u64) -> ShippedFrame {
        let note = made_note(writer, size);
        let shipped = ShippedNote { writer: writer.to_owned(), size, note: note.clone() };
        let number = self.frame + 1;
        self.close(3, number, Vec::new(), note.as_bytes(), Some(shipped))
    }

    pub(super) fn close(
        &mut self,
        kind: u8,
        number: u64,
        rows: Vec<IndexRow>,
        body: &[u8],
        note: Option<ShippedNote>,
    ) -> ShippedFrame {
        let first_seq = self.seq + 1;
        let mut bytes = b"CFRM".to_vec();
        bytes.extend([kind, 0]);
        bytes.extend(u16::try_from(rows.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(first_seq.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend([1; 4]);
        bytes.extend(vec![7; 32 * rows.len()]);
        bytes.extend(body);
        bytes.extend([2; 4]);
        let bound = bytes.len();
        let chain = Sha256::new().chain_update(&self.chain).chain_update(&bytes).finalize();
        bytes.extend(chain);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.chain = chain.to_vec();
        self.frame = number;
        self.seq += u64::try_from(rows.len()).unwrap();
        ShippedFrame { frame: number, first_seq, bytes: Arc::new(bytes), bound, chain: chain.into(), rows, note }
    }
}

fn made_note(writer: &str, size: u64) -> String {
    format!("trail.example/{writer}\n{size}\nroot\n\n\u{2014} key sig\n")
}

pub(super) fn row(frame: u64, seq: u64, at: &str) -> IndexRow {
    IndexRow {
        month: at.chars().take(7).collect(),
        seq,
        frame,
        at: at.to_owned(),
        decision_id: Some(format!("d{seq}")),
        kind: "decision".to_owned(),
        tenant: Some("T1".to_owned()),
        principal: Some("ana".to_owned()),
        principal_type: Some("User".to_owned()),
        action: None,
        resource_type: None,
        resource_id: None,
        client: Some("C1".to_owned()),
        decision: Some("allow".to_owned()),
        reason: None,
        grant_id: None,
        resource_tenant: Some("T\\2".to_owned()),
        line: Some(format!(
            r#"{{"v":1,"seq":{seq},"at":"{at}","user_agent":"\"resource_tenant\":\"T9\"","resource_tenant":"T\\2"}}"#
        )),
    }
}

const MARCH: &str = "2026-03-10T15:00:00Z";
const APRIL: &str = "2026-04-01T00:00:00.5Z";

async fn exercised(url: &str) {
    let store = TrailStore::open(url, MAKING).unwrap();
    store.store.install(&[Part::Trail], now()).await.unwrap();
    assert_eq!(store.held(WRITER).await.unwrap(), None);
    let mut made = Made::new(WRITER, None);
    let frames = [made.frame(&[MARCH, MARCH]), made.frame(&[MARCH, APRIL]), made.checkpoint(), made.frame(&[APRIL])];
    let header = made.header.clone();

    let error = store.append(WRITER, None, &frames).await.unwrap_err();
    assert!(matches!(error, TrailError::Gap(_)), "without its header a writer is not begun: {error}");
    let held = store.append(WRITER, Some(&header), &frames[..2]).await.unwrap();
    assert_eq!((held.frame, held.seq, held.alarm), (2, 4, None));
    // The answer was lost: the same again, and more.
    let held = store.append(WRITER, Some(&header), &frames[1..3]).await.unwrap();
    assert_eq!((held.frame, held.seq), (3, 4));
    let held = store.append(WRITER, None, &frames).await.unwrap();
    assert_eq!((held.frame, held.seq, held.notes), (4, 5, vec![made_note(WRITER, 4)]));
    assert_eq!(store.held(WRITER).await.unwrap().map(|held| (held.frame, held.notes.len())), Some((4, 1)));

    let chain = made.chain.clone();
    let fifth = |at| Made { chain: chain.clone(), frame: 4, seq: 5, ..Made::new(WRITER, None) }.frame(&[at]);
    let _left_out = made.frame(&[APRIL]);
    let error = store.append(WRITER, None, &[made.frame(&[APRIL])]).await.unwrap_err();
    assert_eq!(error.to_string(), "gap: frame 6 with record 7 came, frame 5 with record 6 is next");
    let mut other = Made::new(WRITER, None);
    let other = [other.frame(&[APRIL, APRIL]), other.frame(&[MARCH, APRIL])];
    let error = store.append(WRITER, None, &other[..1]).await.unwrap_err();
    assert_eq!(error.to_string(), "fork: frame 1 is held with other bytes");
    let error = store.append(WRITER, None, &[fifth(APRIL), fifth(MARCH)]).await.unwrap_err();
    assert_eq!(error.to_string(), "fork: frame 5 is held with other bytes", "within one call");
    let mut unchained = Made { chain: vec![0; 32], frame: 4, seq: 5, ..Made::new(WRITER, None) };
    let error = store.append(WRITER, None, &[unchained.frame(&[APRIL])]).await.unwrap_err();
    assert_eq!(error.to_string(), "fork: frame 5 does not continue the chain");
    let rewritten = Made::new(WRITER, Some(ShippedPredecessor { writer: "x".to_owned(), seq: 0, clean: true }));
    let error = store.append(WRITER, Some(&rewritten.header), &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "fork: another first header is held");
    alarms(&store).await;

    let mut reader = TrailReader::begin(url).await.unwrap();
    let writers = reader.writers().await.unwrap();
    assert_eq!((writers[0].frame, writers[0].seq, &writers[0].header), (4, 5, &*header.bytes));
    let held = reader.frames(WRITER, 0).await.unwrap();
    assert_eq!(
        held.iter().map(|held| &held.bytes).collect::<Vec<_>>(),
        frames.iter().map(|f| &*f.bytes).collect::<Vec<_>>()
    );
    assert_eq!(reader.notes(WRITER).await.unwrap().iter().map(|note| note.size).collect::<Vec<_>>(), [4]);
    let index = reader.index(WRITER, 1, 9).await.unwrap();
    assert_eq!(index.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(index[3].1[0].as_deref(), Some("2026-04"));
    let mut asking = store.store.read().await.unwrap();
    let stored = Sql::both("SELECT month, count FROM audit_frame ORDER BY frame");
    let stored = asking.rows(stored, &[]).await.unwrap();
    let stored = stored.iter().map(|row| (row.some_text("month").unwrap(), row.int("count").unwrap().unwrap()));
    let wanted = [("2026-03", 2), ("2026-04", 2), ("2026-04", 0), ("2026-04", 1)];
    assert_eq!(stored.collect::<Vec<_>>(), wanted.map(|(month, count)| (month.to_owned(), count)));
}

/// A predecessor that two name, and one of which more is held than was found.
async fn alarms(store: &TrailStore) {
    let prev = |seq| Some(ShippedPredecessor { writer: WRITER.to_owned(), seq, clean: true });
    let restored = Made::new("0199aaaa-0000-7000-8000-000000000002", prev(3));
    let held = store.append(&restored.writer, Some(&restored.header), &[]).await.unwrap();
    assert_eq!(held.alarm.as_deref(), Some("restored: more is held of its predecessor than it found"));
    let cloned = Made::new("0199aaaa-0000-7000-8000-000000000003", prev(5));
    for _ in 0..2 {
        let held = store.append(&cloned.writer, Some(&cloned.header), &[]).await.unwrap();
        assert_eq!(held.alarm.as_deref(), Some("cloned: another writer names the same predecessor"));
    }
}

#[tokio::test]
async fn a_sqlite_file_holds_each_frame_once_and_refuses_what_does_not_follow() {
    let folder = tempfile::tempdir().unwrap();
    exercised(&trail_url(&format!("sqlite://{}/store.db", folder.path().display()))).await;
    assert!(folder.path().join("store.trail.db").exists());
}

#[tokio::test]
async fn a_postgresql_holds_each_frame_once_and_refuses_what_does_not_follow() {
    exercised(&Postgres::shared().demo().1).await;
}

#[tokio::test]
async fn whose_the_resource_is_the_line_says_whatever_the_row_does() {
    let store = TrailStore::open(&Postgres::shared().demo().1, MAKING).unwrap();
    store.store.install(&[Part::Trail], now()).await.unwrap();
    let mut made = Made::new(WRITER, None);
    let mut frame = made.frame(&[MARCH, MARCH, MARCH, MARCH]);
    let said = [Some("T\\2"), Some("T9"), Some(""), None];
    for (row, said) in frame.rows.iter_mut().zip(said) {
        row.resource_tenant = said.map(str::to_owned);
    }
    store.append(WRITER, Some(&made.header), &[frame]).await.unwrap();
    let mut asking = store.store.read().await.unwrap();
    let of_rows = Sql::both("SELECT resource_tenant FROM audit_record ORDER BY seq");
    let of_rows = asking.rows(of_rows, &[]).await.unwrap();
    let of_rows: Vec<_> = of_rows.iter().map(|row| row.some_text("resource_tenant").unwrap()).collect();
    assert_eq!(of_rows, ["T\\2"; 4]);
}

#[tokio::test]
async fn an_index_that_leaves_a_record_out_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/t.db", folder.path().display()), Postgres::shared().demo().1] {
        let store = TrailStore::open(&url, MAKING).unwrap();
        store.store.install(&[Part::Trail], now()).await.unwrap();
        let mut made = Made::new(WRITER, None);
        let mut frame = made.frame(&[MARCH, MARCH]);
        frame.rows[1].seq = 1;
        let error = store.append(WRITER, Some(&made.header), &[frame]).await.unwrap_err();
        assert!(error.to_string().contains("the index has not each record once"), "{error}");
        // In two months it would stand under two keys.
        let mut made = Made::new(WRITER, None);
        let mut frame = made.frame(&[MARCH, APRIL, MARCH]);
        frame.rows[1].seq = 1;
        let error = store.append(WRITER, Some(&made.header), &[frame]).await.unwrap_err();
        assert!(error.to_string().contains("the index has not each record once"), "{error}");
        assert_eq!(store.held(WRITER).await.unwrap(), None, "nothing of it stands");
    }
}

#[tokio::test]
async fn a_checkpoint_is_taken_of_its_own_writer_and_of_the_one_before_alone() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/t.db", folder.path().display()), Postgres::shared().demo().1] {
        let store = TrailStore::open(&url, MAKING).unwrap();
        store.store.install(&[Part::Trail], now()).await.unwrap();
        let mut first = Made::new(WRITER, None);
        let frames = [first.frame(&[MARCH, MARCH])];
        store.append(WRITER, Some(&first.header), &frames).await.unwrap();

        let prev = |seq| Some(ShippedPredecessor { writer: WRITER.to_owned(), seq, clean: false });
        let strangers = [
            (None, WRITER, 1, "of a writer that it did not follow"),
            (prev(2), WRITER, 3, "of more records than it found"),
            (prev(2), "0199aaaa-0000-7000-8000-00000000000f", 1, "of anybody else"),
        ];
        for (n, (prev, about, size, what)) in strangers.into_iter().enumerate() {
            let mut stranger = Made::new(&format!("0199aaaa-0000-7000-8000-0000000000e{n}"), prev);
            let note = stranger.checkpoint_of(about, size);
            let error = store.append(&stranger.writer, Some(&stranger.header), &[note]).await.unwrap_err();
            assert!(error.to_string().contains("not its writer's"), "{what}: {error}");
        }
        let ahead = first.checkpoint_of(WRITER, 3);
        let error = store.append(WRITER, None, &[ahead]).await.unwrap_err();
        assert!(error.to_string().contains("not its writer's"), "{error}");
        assert_eq!(store.held(WRITER).await.unwrap().unwrap().notes, Vec::<String>::new());

        // One that followed says it, and takes no place from what the writer says itself.
        let mut next = Made::new("0199aaaa-0000-7000-8000-0000000000aa", prev(2));
        let note = next.checkpoint_of(WRITER, 2);
        store.append(&next.writer, Some(&next.header), &[note]).await.unwrap();
        let mut first =
            Made { writer: WRITER.to_owned(), header: first.header, chain: frames[0].chain.to_vec(), frame: 1, seq: 2 };
        let own = first.checkpoint();
        let held = store.append(WRITER, None, &[own]).await.unwrap();
        assert_eq!(held.notes, [made_note(WRITER, 2), made_note(WRITER, 2)]);
    }
}

#[tokio::test]
async fn a_new_month_waits_for_nobody_who_appends_or_reads() {
    let url = Postgres::shared().demo().1;
    let store = TrailStore::open(&url, MAKING).unwrap();
    store.store.install(&[Part::Trail], now()).await.unwrap();
    let mut made = Made::new(WRITER, None);
    store.append(WRITER, Some(&made.header.clone()), &[made.frame(&[MARCH])]).await.unwrap();
    let months = Sql::both("SELECT count(*) AS n FROM pg_class WHERE relname ~ '^audit_record_2026_0[34]$'");
    let mut asking = store.store.begin().await.unwrap();
    assert_eq!(asking.row(months, &[]).await.unwrap().unwrap().int("n").unwrap(), Some(2), "April is there in March");
    drop(asking);

    // Somebody appends to March, reads, and does not come to an end.
    let mut others = store.store.begin().await.unwrap();
    let append = Sql::both(
        "INSERT INTO audit_record (month, writer, seq, frame, at, kind) VALUES ('2026-03', 'w', 1, 1, now(), 'x')",
    );
    others.run(append, &[]).await.unwrap();
    others.rows(Sql::both("SELECT count(*) FROM audit_frame"), &[]).await.unwrap();
    let other = TrailStore::open(&url, StoreOptions { statement_timeout: std::time::Duration::from_secs(2), ..MAKING });
    let held = other.unwrap().append(WRITER, None, &[made.frame(&["2026-09-01T00:00:00Z"])]).await.unwrap();
    assert_eq!(held.seq, 2, "September was made meanwhile");
    others.commit().await.unwrap();
}

/// Changes that nobody may make, by way of whichever table.
const CHANGES: [&str; 10] = [
    "UPDATE audit_record SET client = 'C9'",
    "DELETE FROM audit_record",
    "UPDATE audit_frame SET count = 0",
    "DELETE FROM audit_frame",
    "DELETE FROM audit_checkpoint",
    "UPDATE audit_checkpoint SET size = 0",
    "DELETE FROM audit_writer",
    "UPDATE audit_writer SET seq = 0",
    "UPDATE audit_writer SET frame = frame + 1",
    "UPDATE audit_writer SET header = ''",
];

#[tokio::test]
async fn a_file_without_tables_yet_holds_nothing_and_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/t.db", folder.path().display());
    let store = TrailStore::open(&url, MAKING).unwrap().store;
    // The first connection makes the file, the migration its tables.
    store.begin().await.unwrap().commit().await.unwrap();
    assert!(TrailReader::is_bare(&url).await.unwrap());
    let finder = TrailFinder::open(&url, std::time::Duration::from_secs(5)).unwrap();
    let arrived = finder.arrived().await.unwrap();
    assert_eq!(arrived, Arrived { upto: 0 });
    let (filter, after, known) = (RecordFilter::default(), RowPlace::first(), KnownBefore::default());
    assert_eq!(finder.find(&filter, &after, arrived, &known).await.unwrap(), []);
    store.install(&[Part::Trail], now()).await.unwrap();
    assert!(!TrailReader::is_bare(&url).await.unwrap());
    assert_eq!(finder.find(&filter, &after, arrived, &known).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_held_is_not_changed_even_by_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    for url in [format!("sqlite://{}/t.db", folder.path().display()), Postgres::shared().demo().1] {
        let store = TrailStore::open(&url, MAKING).unwrap();
        store.store.install(&[Part::Trail], now()).await.unwrap();
        let mut made = Made::new(WRITER, None);
        let frames = [made.frame(&[MARCH]), made.checkpoint()];
        store.append(WRITER, Some(&made.header), &frames).await.unwrap();
        let mut changes = CHANGES.to_vec();
        if store.store.dialect() == Dialect::Postgres {
            changes.extend([
                "TRUNCATE audit_record",
                "TRUNCATE audit_frame_2026_03",
                "TRUNCATE audit_writer CASCADE",
                "DELETE FROM audit_record_2026_03",
            ]);
        } else {
            // REPLACE fires no delete trigger.
            changes.extend([
                "REPLACE INTO audit_record SELECT * FROM audit_record",
                "REPLACE INTO audit_frame SELECT * FROM audit_frame",
                "REPLACE INTO audit_writer SELECT * FROM audit_writer",
            ]);
        }
        for change in changes {
            let mut transaction = store.store.begin().await.unwrap();
            let error = transaction.run(Sql::both(change), &[]).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused { .. }), "{change}: {error}");
        }
        let held = store.append(WRITER, None, &[made.frame(&[MARCH])]).await.unwrap();
        assert_eq!((held.frame, held.seq), (3, 2), "appending goes on");
    }
}

#[tokio::test]
async fn a_trigger_that_was_disabled_or_dropped_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [("DROP TRIGGER audit_frame_delete", "audit_frame_delete of the trail is missing")];
    for (url, changes) in [
        (format!("sqlite://{}/t.db", folder.path().display()), &changes[..]),
        (
            Postgres::shared().demo().1,
            &[
                ("ALTER TABLE audit_record_2026_03 DISABLE TRIGGER audit_keep_all", "audit_record_2026_03 is disabled"),
                ("DROP TRIGGER audit_onwards ON audit_writer", "audit_onwards of audit_writer is missing"),
            ][..],
        ),
    ] {
        let store = TrailStore::open(&url, MAKING).unwrap();
        store.store.install(&[Part::Trail], now()).await.unwrap();
        let mut made = Made::new(WRITER, None);
        store.append(WRITER, Some(&made.header.clone()), &[made.frame(&[MARCH])]).await.unwrap();
        assert_eq!(store.store.unguarded(Part::Trail).await.unwrap(), Vec::<String>::new());
        for (change, words) in changes {
            let mut transaction = store.store.begin().await.unwrap();
            transaction.run(Sql::both(change), &[]).await.unwrap();
            transaction.commit().await.unwrap();
            let found = store.store.unguarded(Part::Trail).await.unwrap();
            assert!(found.iter().any(|problem| problem.contains(words)), "{found:?}");
        }
    }
}

#[tokio::test]
async fn the_role_that_ships_may_append_and_nothing_else() {
    let server = Postgres::shared();
    let url = server.demo().1;
    let owner = Store::open(&url, MAKING).unwrap();
    owner.install(&[Part::Trail], now()).await.unwrap();
    owner
        .grant(&[("ships_only", super::super::Right::AppendTrail), ("reads_only", super::super::Right::ReadTrail)])
        .await
        .unwrap();
    let (_, place) = url.split_once('@').unwrap();
    let ships = format!("postgres://ships_only@{place}");
    let store = TrailStore::open(&ships, MAKING).unwrap();
    let mut made = Made::new(WRITER, None);
    let frames = [made.frame(&[MARCH, APRIL])];
    assert_eq!(store.append(WRITER, Some(&made.header), &frames).await.unwrap().seq, 2);
    assert_eq!(store.append(WRITER, None, &[made.frame(&[APRIL])]).await.unwrap().seq, 3);
    let changes = CHANGES.into_iter().chain([
        "SELECT * FROM audit_record",
        "SELECT * FROM audit_frame",
        "SELECT * FROM audit_writer",
        "SELECT * FROM audit_checkpoint",
        "SELECT * FROM audit_record_2026_03",
        "INSERT INTO audit_checkpoint VALUES ('w', 1, 'n')",
        "SELECT audit_month('2026-05')",
        "SELECT * FROM grants",
        "CREATE TABLE mine (id text)",
    ]);
    for change in changes {
        let mut transaction = store.store.begin().await.unwrap();
        let error = transaction.rows(Sql::both(change), &[]).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused { code, .. } if code == "42501"), "{change}: {error}");
    }
    let mut reader = TrailReader::begin(&format!("postgres://reads_only@{place}")).await.unwrap();
    assert_eq!(reader.index(WRITER, 1, 9).await.unwrap().len(), 3);
}

#[test]
fn the_trail_has_a_file_of_its_own_beside_a_sqlite_store() {
    assert_eq!(trail_url("sqlite:///var/lib/store.db"), "sqlite:///var/lib/store.trail.db");
    assert_eq!(trail_url("sqlite:///var/lib/store?mode=rw"), "sqlite:///var/lib/store.trail.db?mode=rw");
    assert_eq!(trail_url("postgres://a@db/ehr"), "postgres://a@db/ehr");
}
