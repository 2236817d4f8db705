//! Many callers that ask on and on, and what they heard, to be held against what was revoked meanwhile.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use super::following::{Following, Heard, LANES};

/// What was heard last of each lane, in nanoseconds.
pub(crate) struct Latest {
    /// When the question of an allow was asked.
    allowed: Vec<AtomicU64>,
    /// When any answer left.
    answered: Vec<AtomicU64>,
}

impl Latest {
    /// Whether an allow was heard that was asked for after `since`.
    pub(crate) fn is_allowed(&self, lane: usize, since: Duration) -> bool {
        self.allowed[lane].load(SeqCst) > nanos(since)
    }

    /// Whether any answer left after `since`.
    pub(crate) fn is_answered(&self, lane: usize, since: Duration) -> bool {
        self.answered[lane].load(SeqCst) > nanos(since)
    }
}

fn nanos(instant: Duration) -> u64 {
    u64::try_from(instant.as_nanos()).unwrap()
}

pub(crate) struct Callers {
    pub(crate) latest: Arc<Latest>,
    heard: Arc<Mutex<Vec<Heard>>>,
    is_over: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Callers {
    /// Each caller asks about the lane that `choose` names for its number and its turn, then waits for `pause`.
    pub(crate) fn start(
        following: &Arc<Following>,
        count: usize,
        pause: Duration,
        choose: impl Fn(usize, usize) -> usize + Send + Sync + 'static,
    ) -> Self {
        let lanes = || (0..LANES).map(|_| AtomicU64::new(0)).collect();
        let latest = Arc::new(Latest { allowed: lanes(), answered: lanes() });
        let (heard, is_over, choose) = (Arc::default(), Arc::new(AtomicBool::new(false)), Arc::new(choose));
        let task = |caller| {
            let (following, choose, latest) = (Arc::clone(following), Arc::clone(&choose), Arc::clone(&latest));
            let (log, is_over): (Arc<Mutex<Vec<Heard>>>, _) = (Arc::clone(&heard), Arc::clone(&is_over));
            tokio::spawn(async move {
                for turn in 0.. {
                    if is_over.load(SeqCst) {
                        return;
                    }
                    let heard = following.ask(choose(caller, turn)).await;
                    if heard.is_allow() {
                        latest.allowed[heard.lane].fetch_max(nanos(heard.asked), SeqCst);
                    }
                    let (lane, released) = (heard.lane, nanos(heard.released));
                    log.lock().unwrap().push(heard);
                    latest.answered[lane].fetch_max(released, SeqCst);
                    if pause.is_zero() {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(pause).await;
                    }
                }
            })
        };
        let tasks = (0..count).map(task).collect();
        Self { latest, heard, is_over, tasks }
    }

    /// Everything that they heard.
    pub(crate) async fn stop(self) -> Vec<Heard> {
        self.is_over.store(true, SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

/// A lane that nothing allowed from one instant to another.
#[derive(Clone, Debug)]
pub(crate) struct Revoked {
    pub(crate) lane: usize,
    /// Before the statement was sent.
    pub(crate) sent: Duration,
    /// When it was known to be committed.
    pub(crate) committed: Duration,
    /// Before the statement was sent that allows it again.
    pub(crate) lifted: Duration,
}

/// What the answers say about a revocation.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the commit to the first deny.
    pub(crate) lag: Option<Duration>,
    /// Answers that left after the bound and before it was lifted, whatever they say.
    pub(crate) judged: usize,
    /// The allows among them: there may be none.
    pub(crate) late: Vec<Heard>,
}

impl Revoked {
    pub(crate) fn seen(&self, heard: &[Heard], staleness: Duration) -> Seen {
        let meanwhile = || heard.iter().filter(|heard| heard.lane == self.lane && heard.released < self.lifted);
        let denied = meanwhile().filter(|heard| heard.is_refusal() && heard.asked >= self.sent);
        let after = || meanwhile().filter(|heard| heard.released > self.committed + staleness);
        Seen {
            lag: denied.map(|heard| heard.released.saturating_sub(self.committed)).min(),
            judged: after().count(),
            late: after().filter(|heard| heard.is_allow()).cloned().collect(),
        }
    }
}

/// `p50 3 ms, p99 12 ms, at most 20 ms`.
pub(crate) fn distribution(mut times: Vec<Duration>) -> String {
    assert!(!times.is_empty(), "nothing was measured");
    times.sort();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    format!("p50 {:.1?}, p99 {:.1?}, at most {:.1?} of {}", at(50), at(99), at(100), times.len())
}
