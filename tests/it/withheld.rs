//! An allow that would leave too late for its facts does not leave, and the trail says so.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use chaperone::{
    audit::{Filter, records},
    clock::{Clock, SystemClock},
    domain::{Decision, Request, Timestamp},
    entities::FactsOptions,
};
use serde_json::Value as Json;

use crate::helpers::{
    authorizer::{Authorizing, NOW},
    clinic::{fresh, request},
    world::World,
};

/// The demo's instant, and an elapsed time that jumps once: at the `at`-th time somebody looks.
#[derive(Debug)]
struct Jumping {
    looks: AtomicU64,
    at: u64,
    has_jumped: AtomicBool,
}

const HEAD_BYTES: u64 = 32 * 1_024;

const JUMP: Duration = Duration::from_secs(3_600);

impl Jumping {
    fn at(at: u64) -> Arc<Self> {
        Arc::new(Self { looks: AtomicU64::new(0), at, has_jumped: AtomicBool::new(false) })
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        if self.looks.fetch_add(1, SeqCst) + 1 == self.at {
            self.has_jumped.store(true, SeqCst);
        }
        SystemClock.elapsed() + if self.has_jumped.load(SeqCst) { JUMP } else { Duration::ZERO }
    }
}

/// Time that passes once so many allows stand in the trail: after the record of the last and before its answer.
#[derive(Debug)]
pub(crate) struct AfterRecord {
    trail: OnceLock<PathBuf>,
    allows: usize,
}

impl AfterRecord {
    pub(crate) fn of(allows: usize) -> Arc<Self> {
        Arc::new(Self { trail: OnceLock::new(), allows })
    }

    pub(crate) fn watch(&self, trail: PathBuf) {
        self.trail.set(trail).unwrap();
    }

    fn is_recorded(&self) -> bool {
        let Some(trail) = self.trail.get() else { return false };
        // The trail's own threads ask for the time too, until after its folder has gone: a panic there ends the process.
        // A segment is far longer than what stands in it.
        let head = |file: std::fs::File| -> std::io::Result<Vec<u8>> {
            let mut head = Vec::new();
            file.take(HEAD_BYTES).read_to_end(&mut head)?;
            Ok(head)
        };
        let files = std::fs::read_dir(trail).into_iter().flatten().flatten();
        let heads = files.map(|entry| std::fs::File::open(entry.path()).and_then(head));
        let allow = br#""decision":"allow""#;
        let count = |bytes: &[u8]| bytes.windows(allow.len()).filter(|window| *window == allow).count();
        heads.flatten().map(|bytes| count(&bytes)).sum::<usize>() >= self.allows
    }
}

impl Clock for AfterRecord {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + if self.is_recorded() { JUMP } else { Duration::ZERO }
    }
}

#[tokio::test]
async fn time_that_passes_between_the_record_and_the_answer_counts() {
    let clock = AfterRecord::of(1);
    let authorizing = Authorizing::with(World::sqlite().await, |world| world.options(), clock.clone()).await;
    clock.watch(authorizing.trail());
    let recorded = authorizing.authorizer.authorize(question()).await.unwrap();
    let lines = lines(&authorizing.trail());
    assert_eq!(told(&lines), ["allow", "withheld", "allow"]);
    assert_eq!(lines.iter().rfind(|line| line["kind"] == "decision").unwrap()["seq"], recorded.receipt().seq);
}

/// A decision of a batch rests on what was read when it was made: a revocation is in force when the whole batch has left.
#[tokio::test]
async fn a_barrier_waits_for_a_batch_that_had_begun() {
    let authorizing = Authorizing::on(World::sqlite().await).await;
    let held = authorizing.authorizer.held();
    assert!(held.authorize(question()).await.unwrap().value().decision.is_allow());
    let mut barrier = pin!(authorizing.facts.barrier());
    assert!(tokio::time::timeout(Duration::from_millis(300), barrier.as_mut()).await.is_err(), "it has not left yet");
    let later = authorizing.authorizer.held();
    drop(held);
    barrier.await.unwrap();
    drop(later);
}

/// The answer of a batch leaves when its last item is decided: the first one waits for it.
#[tokio::test]
async fn an_allow_that_grows_old_while_others_are_decided_is_decided_again() {
    let clock = Jumping::at(u64::MAX);
    let authorizing = Authorizing::with(World::sqlite().await, |world| world.options(), clock.clone()).await;
    let held = authorizing.authorizer.held();
    let allowed = held.authorize(question()).await.unwrap();
    let denied = held.authorize(Request { decision_id: "d2".to_owned(), ..request("ana", "read", "Note", "N1") }).await;
    assert_eq!(denied.unwrap().value().decision, Decision::Deny);
    assert!(held.is_good("d") && held.is_good("d2"));
    clock.has_jumped.store(true, SeqCst);
    assert!(!held.is_good("d") && held.is_good("d2"), "a deny may always leave");
    let again = held.again("d", allowed).await.unwrap();
    assert!(again.value().decision.is_allow() && held.is_good("d"));
    assert_eq!(told(&lines(&authorizing.trail())), ["allow", "deny", "withheld", "allow"]);
}

fn question() -> Request {
    let mut request = request("ana", "read", "Note", "N1");
    request.context.insert("session".to_owned(), fresh("T1"));
    request
}

pub(crate) fn lines(trail: &Path) -> Vec<Json> {
    let records = records(trail, Filter::default()).unwrap();
    records.map(|record| serde_json::from_slice(&record.unwrap().line).unwrap()).collect()
}

/// Kinds and decisions of the records, without what the trail says of itself.
pub(crate) fn told(lines: &[Json]) -> Vec<String> {
    let word = |line: &Json| match line["kind"].as_str().unwrap() {
        "decision" => line["decision"].as_str().unwrap().to_owned(),
        "system" => line["detail"]["event"].as_str().unwrap_or_default().to_owned(),
        other => other.to_owned(),
    };
    lines.iter().map(word).filter(|word| ["allow", "deny", "withheld"].contains(&word.as_str())).collect()
}

#[tokio::test]
async fn an_allow_that_is_late_twice_is_a_deny() {
    let options = |world: &World| FactsOptions { staleness: Duration::ZERO, ..world.options() };
    let clock: Arc<dyn Clock> = Jumping::at(u64::MAX);
    let authorizing = Authorizing::with(World::sqlite().await, options, clock).await;
    let recorded = authorizing.authorizer.authorize(question()).await.unwrap();
    assert_eq!(recorded.value().decision, Decision::Deny);
    assert_eq!(recorded.value().reason.as_ref().unwrap().as_str(), "data_stale");
    let lines = lines(&authorizing.trail());
    assert_eq!(told(&lines), ["allow", "withheld", "allow", "withheld", "deny"]);
    let withheld: Vec<&Json> = lines.iter().filter(|line| line["detail"]["event"] == "withheld").collect();
    let allows: Vec<&Json> = lines.iter().filter(|line| line["decision"] == "allow").collect();
    for (withheld, allow) in withheld.iter().zip(allows) {
        assert_eq!(withheld["detail"]["withheld_seq"], allow["seq"]);
        assert_eq!(withheld["decision_id"], allow["decision_id"]);
    }
    assert_eq!(lines.last().unwrap()["seq"], recorded.receipt().seq, "the receipt is of what left");
}

/// Wherever in a decision the time passes: what leaves is an allow that was decided in time, or a deny.
#[tokio::test]
async fn an_allow_that_is_late_once_is_decided_again_from_facts_read_for_it() {
    let (mut withheld, mut at_once) = (0, 0);
    for at in (1..120).step_by(4) {
        let clock = Jumping::at(at);
        let options = |world: &World| world.options();
        let authorizing = Authorizing::with(World::sqlite().await, options, clock.clone()).await;
        let recorded = authorizing.authorizer.authorize(question()).await.unwrap();
        let lines = lines(&authorizing.trail());
        match told(&lines).iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["allow"] => at_once += 1,
            ["allow", "withheld", "allow"] => withheld += 1,
            // A load that the jump cut off.
            ["deny"] | ["allow", "withheld", "deny"] => {
                assert_eq!(recorded.value().reason.as_ref().unwrap().as_str(), "data_unavailable");
            }
            other => panic!("jump at look {at}: {other:?}"),
        }
        assert_eq!(lines.iter().rfind(|line| line["kind"] == "decision").unwrap()["seq"], recorded.receipt().seq);
    }
    assert!(withheld > 0 && at_once > 0, "withheld {withheld}, at once {at_once}");
}
