//! Both homes let go what a stub stands for and nothing else, whole or not at all, and refuse the same stubs.

use std::{collections::BTreeSet, future::Future, pin::pin, task::Poll};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use super::{
    super::{
        Right,
        error::StoreError,
        tests::{MAKING, now},
        transaction::Sql,
    },
    tests::{Made, WRITER, row},
    *,
};
use crate::{
    domain::{IndexRow, PrunedRange, ShippedPredecessor},
    postgres_server::Postgres,
};

const NEXT: &str = "0199aaaa-0000-7000-8000-000000000002";
const OLD: &str = "2018-03-10T15:00:00Z";
const YOUNG: &str = "2026-03-10T15:00:00Z";
const ROOT: &str = "the root of a tree";

/// A writer of 2018 in four records and frames, and one that followed it and says what is to go.
struct World {
    url: String,
    store: TrailStore,
    first: Made,
    chains: Vec<[u8; 32]>,
    next: Made,
}

impl World {
    async fn new(url: &str, instants: [&str; 4]) -> Self {
        let store = TrailStore::open(url, MAKING).unwrap();
        store.store.install(&[Part::Trail], now()).await.unwrap();
        let mut first = Made::new(WRITER, None);
        let frames = instants.map(|at| first.frame(&[at]));
        store.append(WRITER, Some(&first.header.clone()), &frames).await.unwrap();
        let chains = frames.iter().map(|frame| frame.chain).collect();
        let prev = ShippedPredecessor { writer: WRITER.to_owned(), seq: 4, clean: true };
        Self { url: url.to_owned(), store, first, chains, next: Made::new(NEXT, Some(prev)) }
    }

    /// Says that the pruning of a range was begun.
    async fn begin(&mut self, event: &str, seq: u64) {
        let (number, next) = (self.next.frame + 1, self.next.seq + 1);
        let mut begun = row(number, next, YOUNG);
        (begun.kind, begun.action) = ("admin".to_owned(), Some("audit:prune".to_owned()));
        let detail = serde_json::json!({"event": event, "writers": [{"writer": WRITER, "seq": seq, "root": ROOT}]});
        let line = serde_json::json!({"v": 1, "seq": next, "kind": "admin", "action": "audit:prune", "detail": detail});
        let body = format!("{line}\n");
        begun.line = Some(line.to_string());
        begun.resource_tenant = None;
        let frame = self.next.close(1, number, vec![begun], body.as_bytes(), None);
        self.store.append(NEXT, Some(&self.next.header), &[frame]).await.unwrap();
    }

    fn range(&self, frame: u64, is_all: bool) -> PrunedRange {
        let chain = self.chains[usize::try_from(frame).unwrap() - 1];
        let begun = (NEXT.to_owned(), self.next.seq);
        let range = PrunedRange {
            writer: WRITER.to_owned(),
            frame,
            seq: frame,
            chain,
            is_all,
            to: OLD.parse().unwrap(),
            stub: String::new(),
            begun,
        };
        PrunedRange { stub: stub(&range), ..range }
    }

    async fn prune(&self, range: &PrunedRange) -> Result<Gone, PruneStoreError> {
        TrailPruner::open(&self.url).unwrap().prune(range, now()).await
    }

    /// How many frames and index rows of the first writer are left, and whether a stub is there.
    async fn left(&self) -> (usize, usize, bool) {
        let mut reader = TrailReader::begin(&self.url).await.unwrap();
        let frames = reader.frames(WRITER, 0).await.unwrap().len();
        let rows = reader.index(WRITER, 1, 99).await.unwrap().len();
        (frames, rows, reader.stubs().await.unwrap().contains_key(WRITER))
    }
}

fn stub(range: &PrunedRange) -> String {
    let end = if range.is_all { serde_json::json!({"clean": true}) } else { serde_json::Value::Null };
    let json = serde_json::json!({
        "v": 1, "writer": range.writer, "segment": 1, "frame": range.frame, "seq": range.seq,
        "chain": BASE64_STANDARD.encode(range.chain), "frontier": [], "root": ROOT, "end": end, "prev": null,
        "from": OLD, "to": range.to.to_string(), "pruned": YOUNG,
    })
    .to_string();
    let digest = BASE64_STANDARD.encode(Sha256::digest(json.as_bytes()));
    format!("trail.example/{}/pruned\n{digest}\n{json}\n\n\u{2014} trail.example sig\n", range.writer)
}

fn both(folder: &tempfile::TempDir) -> [String; 2] {
    [format!("sqlite://{}/t.db", folder.path().display()), Postgres::shared().demo().1]
}

async fn refused(world: &World, range: &PrunedRange, words: &str) {
    let before = world.left().await;
    let error = world.prune(range).await.unwrap_err();
    assert!(matches!(&error, PruneStoreError::Refused(why) if why.contains(words)), "{words}: {error}");
    assert_eq!(world.left().await, before, "{words}");
}

#[tokio::test]
async fn what_a_stub_stands_for_goes_and_all_else_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        world.begin("store_prune_begun", 2).await;
        let half = world.range(2, false);
        assert_eq!(world.prune(&half).await.unwrap(), Gone { frames: 2, records: 2 });
        assert_eq!(world.left().await, (2, 2, true));
        assert_eq!(world.prune(&half).await.unwrap(), Gone::default(), "an answer was lost");

        world.begin("store_prune_begun", 4).await;
        let all = world.range(4, true);
        assert_eq!(world.prune(&all).await.unwrap(), Gone { frames: 2, records: 2 });
        assert_eq!(world.left().await, (0, 0, true));
        let mut reader = TrailReader::begin(&url).await.unwrap();
        assert_eq!(reader.stubs().await.unwrap()[WRITER], all.stub, "the last counts");
        let writers = reader.writers().await.unwrap();
        assert_eq!((writers.len(), writers[0].frame, writers[0].seq), (2, 4, 4), "who wrote is known for good");
        drop(reader);
        // A folder that still has it ships it again: it is passed over.
        let frame = Made::new(WRITER, None).frame(&[OLD]);
        let held = world.store.append(WRITER, Some(&world.first.header), &[frame]).await.unwrap();
        assert_eq!((held.frame, world.left().await), (4, (0, 0, true)));
        assert_eq!(world.store.store.unguarded(Part::Trail).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_stub_that_is_not_of_what_is_held_or_was_not_announced_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        refused(&world, &world.range(2, false), "no record that is held says").await;
        world.begin("prune_begun", 2).await;
        refused(&world, &world.range(2, false), "no record that is held says").await;
        world.begin("store_prune_begun", 2).await;
        let good = world.range(2, false);
        refused(&world, &world.range(3, false), "no record that is held says").await;
        let again = |range: PrunedRange| PrunedRange { stub: stub(&range), ..range };
        refused(&world, &again(PrunedRange { frame: 9, seq: 9, ..good.clone() }), "gap: the stub does not end").await;
        refused(&world, &again(PrunedRange { seq: 3, ..good.clone() }), "fork").await;
        refused(&world, &again(PrunedRange { chain: [7; 32], ..good.clone() }), "fork").await;
        refused(&world, &again(PrunedRange { is_all: true, ..good.clone() }), "nothing vouches").await;
        refused(&world, &world.range(4, false), "nothing vouches").await;
        let young = again(PrunedRange { to: YOUNG.parse().unwrap(), ..good.clone() });
        refused(&world, &young, "younger than six years").await;
        world.prune(&good).await.unwrap();
    }
    // The record is young and the stub says that it is not: the index tells.
    for url in both(&tempfile::tempdir().unwrap()) {
        let mut world = World::new(&url, [OLD, YOUNG, YOUNG, YOUNG]).await;
        world.begin("store_prune_begun", 2).await;
        let before = world.left().await;
        world.prune(&world.range(2, false)).await.unwrap_err();
        assert_eq!(world.left().await, before);
    }
}

#[tokio::test]
async fn an_encrypted_writer_announces_nothing_of_itself_and_is_as_old_as_its_frames() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        let is_postgres = world.store.store.dialect() == Dialect::Postgres;
        let sealed = |of: &Made| IndexRow { line: None, ..row(of.frame + 1, of.seq + 1, OLD) };
        let rows = vec![sealed(&world.first)];
        let frame = world.first.close(1, 5, rows, b"sealed", None);
        world.chains.push(frame.chain);
        world.store.append(WRITER, Some(&world.first.header), &[frame]).await.unwrap();
        // By a record of what is to go itself.
        let more = world.first.frame(&[OLD]);
        world.store.append(WRITER, Some(&world.first.header), &[more]).await.unwrap();
        let own = PrunedRange { begun: (WRITER.to_owned(), 5), ..world.range(5, false) };
        refused(&world, &own, "no record that is held says").await;
        let earlier = PrunedRange { begun: (WRITER.to_owned(), 5), ..world.range(4, false) };
        assert_eq!(world.prune(&earlier).await.unwrap().frames, 4, "it came after all that goes");
        if is_postgres {
            world.begin("store_prune_begun", 5).await;
            refused(&world, &world.range(5, false), "younger than six years").await;
        }
    }
}

#[tokio::test]
async fn a_hold_that_came_since_a_pruning_was_begun_stops_it() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        let pruner = TrailPruner::open(&url).unwrap();
        world.begin("store_prune_begun", 2).await;
        let range = world.range(2, false);
        let own = BTreeSet::from([NEXT.to_owned()]);
        assert!(pruner.turns_of_holds(&own).await.unwrap().is_empty());
        let name = "0199aaaa-0000-7000-8000-000000000003";
        let mut other = Made::new(name, None);
        let hold = IndexRow { kind: "admin".to_owned(), action: Some("audit:hold".to_owned()), ..row(1, 1, YOUNG) };
        let frame = other.close(1, 1, vec![hold], b"hold", None);
        world.store.append(name, Some(&other.header), &[frame]).await.unwrap();
        assert_eq!(pruner.turns_of_holds(&own).await.unwrap().len(), 1, "who planned before it stops");
        assert!(pruner.turns_of_holds(&BTreeSet::from([name.to_owned()])).await.unwrap().is_empty());
        // In PostgreSQL also where it came between that look and the going.
        if world.store.store.dialect() == Dialect::Postgres {
            refused(&world, &range, "a legal hold was placed").await;
        }
        world.begin("store_prune_begun", 2).await;
        assert_eq!(world.prune(&world.range(2, false)).await.unwrap().records, 2, "planned with it");
    }
}

#[tokio::test]
async fn no_row_goes_without_a_stub_and_no_stub_is_changed_even_by_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        world.begin("store_prune_begun", 2).await;
        world.prune(&world.range(2, false)).await.unwrap();
        let forged = "INSERT INTO audit_pruned (writer, frame, seq, stub, begun_writer, begun_seq) \
                      VALUES ('0199aaaa-0000-7000-8000-000000000001', 9, 9, 'x', '0199aaaa-0000-7000-8000-000000000002', 1)";
        let changes = [
            forged,
            "DELETE FROM audit_frame",
            "DELETE FROM audit_record WHERE seq = 3",
            "DELETE FROM audit_checkpoint",
            "DELETE FROM audit_writer",
            "DELETE FROM audit_pruned",
            "UPDATE audit_pruned SET frame = 4",
            "UPDATE audit_record SET client = 'C9'",
        ];
        let only_postgres = ["TRUNCATE audit_pruned", "TRUNCATE audit_record", "DELETE FROM audit_frame_2018_03"];
        let is_postgres = world.store.store.dialect() == Dialect::Postgres;
        for change in changes.into_iter().chain(only_postgres.into_iter().filter(|_| is_postgres)) {
            let mut transaction = world.store.store.begin().await.unwrap();
            let done = transaction.run(Sql::both(change), &[]).await;
            let has_checkpoints = !matches!((change, &done), ("DELETE FROM audit_checkpoint", Ok(0)));
            assert!(!has_checkpoints || matches!(done, Err(StoreError::Refused { .. })), "{change}: {done:?}");
        }
        assert_eq!(world.left().await, (2, 2, true));
    }
}

/// A future that is dropped after so many looks at it; `None`: it was.
async fn cut_after<T>(looks: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), looks);
    std::future::poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_pruning_that_is_cut_off_anywhere_went_whole_or_not_at_all_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    for url in both(&folder) {
        let mut world = World::new(&url, [OLD; 4]).await;
        world.begin("store_prune_begun", 3).await;
        let range = world.range(3, false);
        let mut cuts = 0;
        for looks in 0.. {
            if cut_after(looks, world.prune(&range)).await.is_some() {
                break;
            }
            cuts += 1;
            // Its connection may not have ended yet: what it left is what stands once it has.
            let left = world.left().await;
            assert!([(4, 4, false), (1, 1, true)].contains(&left), "{left:?} after {looks} looks");
        }
        assert!(cuts > 1, "{cuts} cuts in {url}");
        world.prune(&range).await.unwrap();
        assert_eq!(world.left().await, (1, 1, true));
    }
}

#[tokio::test]
async fn the_role_that_prunes_does_it_by_stubs_alone_and_the_others_not_at_all() {
    let url = Postgres::shared().demo().1;
    let mut world = World::new(&url, [OLD; 4]).await;
    world.begin("store_prune_begun", 2).await;
    let roles = [
        ("ships_not_prunes", Right::AppendTrail),
        ("reads_not_prunes", Right::ReadTrail),
        ("prunes_only", Right::PruneTrail),
    ];
    world.store.store.grant(&roles).await.unwrap();
    let (_, place) = url.split_once('@').unwrap();
    let range = world.range(2, false);
    for role in ["ships_not_prunes", "reads_not_prunes"] {
        let pruner = TrailPruner::open(&format!("postgres://{role}@{place}")).unwrap();
        let error = pruner.check().await.unwrap_err();
        assert!(matches!(error, PruneStoreError::NotAllowed { .. }), "{role}: {error}");
        let error = pruner.prune(&range, now()).await.unwrap_err();
        assert!(matches!(error, PruneStoreError::NotAllowed { .. }), "{role}: {error}");
    }
    let pruner = TrailPruner::open(&format!("postgres://prunes_only@{place}")).unwrap();
    pruner.check().await.unwrap();
    for change in
        ["DELETE FROM audit_frame", "INSERT INTO audit_pruned SELECT * FROM audit_pruned", "SELECT * FROM grants"]
    {
        let mut transaction = pruner.store().begin().await.unwrap();
        let error = transaction.rows(Sql::both(change), &[]).await.unwrap_err();
        assert!(matches!(&error, StoreError::Refused { code, .. } if code == "42501"), "{change}: {error}");
    }
    assert_eq!(pruner.prune(&range, now()).await.unwrap(), Gone { frames: 2, records: 2 });
    let mut reader = TrailReader::begin(&format!("postgres://reads_not_prunes@{place}")).await.unwrap();
    assert_eq!(reader.stubs().await.unwrap().len(), 1);
}
