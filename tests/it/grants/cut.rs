//! A change cut off at every point where it waits: after the next start its record stands exactly if it does.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use chaperone::{
    clock::{Clock, FrozenClock},
    store::{Sql, Store},
};

use jiff::SignedDuration;

use super::{Clinic, opened_store, person, wish};
use crate::helpers::{
    authorizer::{NOW, opened},
    world::World,
};

/// Polls a future so many times and then no more: as if the process had ended there.
pub(crate) struct Cut<F> {
    pub(crate) future: Pin<Box<F>>,
    pub(crate) polls_left: usize,
}

impl<F: Future> Future for Cut<F> {
    /// `None`: cut off.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.future.as_mut().poll(cx).map(Some)
    }
}

async fn count(store: &Store, sql: &'static str) -> i64 {
    let mut transaction = store.read().await.unwrap();
    let row = transaction.row(Sql::both(sql), &[]).await.unwrap().unwrap();
    row.int("n").unwrap().unwrap()
}

/// Asks for a grant and ends after `polls`. Returns how many grants then stand, and how many the trail tells of.
async fn cut_after(world: World, polls: usize) -> (i64, usize) {
    let clinic = Clinic::on(world).await;
    let asked = wish("ana", "C4", "EMERG_TREAT", "Client unreachable and in danger");
    let actor = person("ana");
    let asking = Box::pin(clinic.admin.ask_for_grant(&actor, &asked, None));
    let done = Cut { future: asking, polls_left: polls }.await;
    clinic.store.close().await;
    clinic.authorizing.close().await;

    // The next start, in the same folder.
    let store = opened_store(&clinic.authorizing.world).await;
    let clock: Arc<dyn Clock> = Arc::new(FrozenClock::at(NOW.parse().unwrap()));
    let trail = opened(&clinic.authorizing.trail(), &clock);
    let admin = clinic.authorizing.admin_on(Some(Arc::clone(&store)), Arc::clone(&trail));
    admin.recover(&clinic.authorizing.trail()).await.unwrap();
    assert_eq!(admin.recover(&clinic.authorizing.trail()).await.unwrap(), 0, "once is enough");
    trail.close().await.unwrap();

    assert_eq!(count(&store, "SELECT count(*) AS n FROM change_intents").await, 0, "after {polls} polls");
    let grants = count(&store, "SELECT count(*) AS n FROM grants WHERE client_id = 'C4' AND user_id = 'ana'").await;
    let reviews = count(&store, "SELECT count(*) AS n FROM reviews").await;
    assert_eq!(reviews, grants + 4, "a grant has its review, after {polls} polls");
    let mut stands = BTreeMap::new();
    for record in clinic.told("grant").into_iter().chain(clinic.told("system")) {
        if let Some(change) = record["detail"]["change"].as_str() {
            stands.insert(change.to_owned(), record["detail"]["event"] == "activated");
        }
    }
    let told = stands.values().filter(|stands| **stands).count();
    assert!(done.is_none_or(|done| done.is_ok()), "it failed by itself after {polls} polls");
    (grants, told)
}

/// Cuts at every `stride`th point. A database of its own for each takes its time in PostgreSQL.
async fn cut_everywhere(world: impl AsyncFn() -> World, stride: usize) {
    let (mut taken_back, mut made) = (0, 0);
    for polls in (0..).step_by(stride) {
        assert!(polls < 400, "it does not come to an end");
        let (grants, told) = cut_after(world().await, polls).await;
        assert_eq!(
            usize::try_from(grants).unwrap(),
            told,
            "a change without its record, or the reverse, after {polls} polls"
        );
        if grants == 0 {
            taken_back += 1;
            made = 0;
        } else {
            made += 1;
        }
        // Polls are not the same in every run: the end is where it was made several times in a row.
        if made == 3 {
            break;
        }
    }
    assert!(taken_back > 3, "it was cut off {taken_back} times only");
}

#[tokio::test]
async fn a_change_cut_off_anywhere_stands_whole_or_not_at_all_on_sqlite() {
    cut_everywhere(World::sqlite, 1).await;
}

#[tokio::test]
async fn a_change_cut_off_anywhere_stands_whole_or_not_at_all_on_postgres() {
    cut_everywhere(World::postgres, 3).await;
}

/// Between the record and the commit, where a wrong order would show: the record is there and must be taken back.
#[tokio::test]
async fn a_record_whose_change_never_was_is_taken_back_once() {
    use chaperone::domain::{Record, RecordKind, Tier};
    let clinic = Clinic::on(World::sqlite().await).await;
    let clock: Arc<dyn Clock> = Arc::new(FrozenClock::at(NOW.parse().unwrap()));
    clinic.authorizing.close().await;
    let trail = opened(&clinic.authorizing.trail(), &clock);
    let writer = trail.status().writer;
    let mut record = Record::new(RecordKind::Grant, clock.now());
    record.detail.insert("event".into(), "activated".into());
    record.detail.insert("change".into(), "0199-a-change".into());
    trail.append((), record, Tier::Disk).await.unwrap();
    trail.close().await.unwrap();
    let mut transaction = clinic.store.begin().await.unwrap();
    // More than one look takes, of a sidecar whose folder is gone.
    let lost: Vec<String> = (0..230).map(|n| format!("0198-lost-{n:03}")).collect();
    let a_day_ago = clock.now() - SignedDuration::from_hours(25);
    let notes = [("0199-a-change", &*writer, clock.now()), ("0199-untold", &*writer, clock.now())];
    let notes = notes.into_iter().chain([("0199-elsewhere", "another", clock.now())]);
    for (id, writer, at) in notes.chain(lost.iter().map(|id| (id.as_str(), "gone", a_day_ago))) {
        let note = Sql::both("INSERT INTO change_intents (id, writer, at) VALUES ($1, $2, $3)");
        transaction.run(note, &[id.into(), writer.into(), at.into()]).await.unwrap();
    }
    transaction.commit().await.unwrap();

    let trail = opened(&clinic.authorizing.trail(), &clock);
    let admin = clinic.authorizing.admin_on(Some(Arc::clone(&clinic.store)), Arc::clone(&trail));
    assert_eq!(admin.recover(&clinic.authorizing.trail()).await.unwrap(), 1 + lost.len());
    assert_eq!(admin.recover(&clinic.authorizing.trail()).await.unwrap(), 0);
    trail.close().await.unwrap();
    let taken_back: Vec<_> =
        clinic.told("system").into_iter().filter(|record| record["detail"]["event"] == "not_made").collect();
    let said: std::collections::BTreeSet<&str> =
        taken_back.iter().map(|record| record["detail"]["change"].as_str().unwrap()).collect();
    assert_eq!((taken_back.len(), said.len()), (1 + lost.len(), 1 + lost.len()), "each once");
    assert!(said.contains("0199-a-change") && lost.iter().all(|id| said.contains(id.as_str())));
    assert_eq!(count(&clinic.store, "SELECT count(*) AS n FROM change_intents").await, 1, "the other sidecar's stays");
}
