//! Revocations while many callers ask, and behind a barrier.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use chaperone::{
    domain::{Timestamp, mapping::Source},
    entities::Trust,
};

use sqlx::PgConnection;

use crate::helpers::{
    callers::{Callers, Latest, Revoked, distribution},
    clinic::{NOW, at},
    following::{Databases, Following, Heard, How, LANES, assignment, elapsed, lift, reads, revoke, run},
    postgres::Postgres,
};

const CALLERS: usize = 64;

/// A run makes as many revocations, or as fit into [`PATIENCE`] where the machine is slow or busy. With another number
/// in `CHAPERONE_REVOCATIONS` it makes that many, however long they take.
const REVOCATIONS: usize = 1_000;

const PATIENCE: Duration = Duration::from_secs(60);

const STALENESS: Duration = Duration::from_secs(2);

/// Between two revocations: callers look at the one that is fresh, so it must stay that until it can have been seen.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_WITHOUT_HINT: Duration = Duration::from_millis(400);

/// What the callers look at.
#[derive(Default)]
struct Focus {
    /// The lane that was revoked last.
    fresh: AtomicUsize,
    /// The lane that was revoked longest ago: its bound is over first.
    due: AtomicUsize,
    /// The lane that was lifted longest ago and not allowed since.
    lifted: AtomicUsize,
}

impl Focus {
    fn choose(&self, caller: usize, turn: usize) -> usize {
        match caller % 8 {
            0..3 => self.fresh.load(SeqCst),
            3 | 4 => self.due.load(SeqCst),
            5 | 6 => self.lifted.load(SeqCst),
            _ => (caller + turn * 7) % LANES,
        }
    }
}

#[derive(Clone, Copy)]
enum Lane {
    Allowed,
    Revoked { sent: Duration, committed: Duration },
    Lifted(Duration),
}

/// Revokes one lane after the other, each until an answer was heard after the bound, and lifts it again.
struct Revoker {
    writer: PgConnection,
    focus: Arc<Focus>,
    latest: Arc<Latest>,
    lanes: Vec<Lane>,
    revoked: Vec<Revoked>,
    pause: Duration,
}

impl Revoker {
    /// Lifts what was revoked for long enough. Gives a lane that may be revoked.
    async fn turn(&mut self) -> Option<usize> {
        let mut free = None;
        for number in 0..LANES {
            match self.lanes[number] {
                Lane::Allowed => free = free.or(Some(number)),
                // An answer that left after the bound: this revocation was put to the test.
                Lane::Revoked { sent, committed } if self.latest.is_answered(number, committed + STALENESS) => {
                    let lifted = elapsed();
                    self.revoked.push(Revoked { lane: number, sent, committed, lifted });
                    run(&mut self.writer, lift(number)).await;
                    self.lanes[number] = Lane::Lifted(lifted);
                }
                Lane::Lifted(lifted) if self.latest.is_allowed(number, lifted) => self.lanes[number] = Lane::Allowed,
                Lane::Revoked { .. } | Lane::Lifted(_) => {}
            }
        }
        let oldest = |since: fn(Lane) -> Option<Duration>| {
            let of = self.lanes.iter().enumerate().filter_map(|(number, lane)| Some((since(*lane)?, number)));
            of.min().map_or(0, |(_, number)| number)
        };
        let revoked = |lane| if let Lane::Revoked { committed, .. } = lane { Some(committed) } else { None };
        let lifted = |lane| if let Lane::Lifted(lifted) = lane { Some(lifted) } else { None };
        self.focus.due.store(oldest(revoked), SeqCst);
        self.focus.lifted.store(oldest(lifted), SeqCst);
        free
    }

    /// Revokes `most` times, or until `patience` is over; then lifts what is left.
    async fn work(mut self, most: usize, patience: Duration) -> Vec<Revoked> {
        let began = elapsed();
        let mut count = 0;
        while self.revoked.len() < count || (count < most && elapsed() < began + patience) {
            let free = self.turn().await;
            if let Some(number) = free.filter(|_| count < most && elapsed() < began + patience) {
                self.focus.fresh.store(number, SeqCst);
                let sent = elapsed();
                let committed = run(&mut self.writer, revoke(number)).await;
                self.lanes[number] = Lane::Revoked { sent, committed };
                count += 1;
            }
            tokio::time::sleep(self.pause).await;
        }
        self.revoked
    }
}

async fn under_load(hint: bool, most: usize, patience: Duration) {
    let databases = Databases::on(Postgres::shared()).await;
    let following = Arc::new(Following::start(&databases, How { hint, ..How::within(STALENESS) }));
    following.wait_for_lease().await;
    for lane in 0..LANES {
        following.ask_until("ana may read all lanes", lane, Heard::is_allow).await;
    }
    let focus = Arc::new(Focus::default());
    let choice = Arc::clone(&focus);
    let callers = Callers::start(&following, CALLERS, Duration::ZERO, move |caller, turn| choice.choose(caller, turn));
    let latest = Arc::clone(&callers.latest);
    let began = elapsed();
    // On a thread of its own: waiting behind the callers, it would notice its commits late.
    let revoker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let writer = databases.open(Source::Store).await;
            let (lanes, pause) = (vec![Lane::Allowed; LANES], if hint { PAUSE } else { PAUSE_WITHOUT_HINT });
            let revoker = Revoker { writer, focus, latest, lanes, revoked: Vec::new(), pause };
            revoker.work(most, patience).await
        })
    });
    let revoked = tokio::task::spawn_blocking(|| revoker.join().unwrap()).await.unwrap();
    let took = elapsed() - began;
    let heard = callers.stop().await;

    let mut by_lane: Vec<Vec<Heard>> = vec![Vec::new(); LANES];
    for heard in &heard {
        by_lane[heard.lane].push(heard.clone());
    }
    let seen: Vec<_> = revoked.iter().map(|revoked| revoked.seen(&by_lane[revoked.lane], STALENESS)).collect();
    let judged: usize = seen.iter().map(|seen| seen.judged).sum();
    let outages = heard.iter().filter(|heard| heard.is_outage()).count();
    let line = format!(
        "{} revocations under {CALLERS} callers {} notifications, {took:.1?}: commit to the feed {}; commit to the first deny {}; {} answers ({outages} without facts), {judged} of them later than commit + {STALENESS:?}",
        revoked.len(),
        if hint { "with" } else { "without" },
        distribution(following.taken_in.lock().unwrap().clone()),
        distribution(seen.iter().filter_map(|seen| seen.lag).collect()),
        heard.len(),
    );
    // Not through the macros: what a test that passes prints by these is not shown.
    let mut shown = std::io::stderr();
    writeln!(shown, "{line}").unwrap();
    let late: Vec<_> = revoked.iter().zip(&seen).filter(|(_, seen)| !seen.late.is_empty()).collect();
    assert!(late.is_empty(), "allowed after the bound: {late:#?}");
    assert!(revoked.len() >= most.min(10), "only {} revocations", revoked.len());
    assert!(judged >= revoked.len(), "only {judged} answers could have shown a fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_revoked_is_allowed_after_the_bound() {
    let (most, patience) = match std::env::var("CHAPERONE_REVOCATIONS") {
        Ok(most) => (most.parse().expect("a number of revocations"), Duration::MAX / 2),
        Err(_) => (REVOCATIONS, PATIENCE),
    };
    under_load(true, most, patience).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_allowed_after_the_bound_without_notifications_either() {
    under_load(false, 40, PATIENCE / 3).await;
}

/// Callers that leave the processors time to answer: how soon the deny comes, without the queue before it. Printed; only
/// the bound is asserted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_on_is_denied_soon_after_a_revocation() {
    const THINKING: Duration = Duration::from_millis(400);
    let databases = Databases::on(Postgres::shared()).await;
    for (hint, rounds) in [(true, 100), (false, 20)] {
        let following = Arc::new(Following::start(&databases, How { hint, ..How::within(STALENESS) }));
        following.wait_for_lease().await;
        let callers = Callers::start(&following, CALLERS, THINKING, |caller, turn| (caller + turn * 7) % LANES);
        let mut writer = databases.open(Source::Store).await;
        let mut lags = Vec::new();
        for round in 0..rounds {
            let lane = round % LANES;
            following.ask_until("ana may read", lane, Heard::is_allow).await;
            let committed = run(&mut writer, revoke(lane)).await;
            lags.push(following.denied_in_time(lane, committed).await);
            run(&mut writer, lift(lane)).await;
        }
        let heard = callers.stop().await;
        println!(
            "{rounds} revocations {} notifications beside {CALLERS} callers that think for {THINKING:?} ({} answers): commit to the first deny {}",
            if hint { "with" } else { "without" },
            heard.len(),
            distribution(lags),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_barrier_a_revoked_assignment_allows_nothing() {
    const ROUNDS: usize = 1_000;
    const IN_TURN: usize = 4;
    let databases = Databases::on(Postgres::shared()).await;
    let how = How { poll: Duration::from_millis(10), ..How::within(STALENESS) };
    let following = Arc::new(Following::start(&databases, how));
    following.wait_for_lease().await;
    for lane in 0..IN_TURN {
        following.ask_until("ana may read", lane, Heard::is_allow).await;
    }
    let callers = Callers::start(&following, 4, Duration::from_millis(20), |caller, turn| (caller + turn) % IN_TURN);
    let mut writer = databases.open(Source::Store).await;
    let mut took = Vec::new();
    let mut before = IN_TURN - 1;
    for round in 0..ROUNDS {
        // One lane is revoked in the commit that lifts another: both must be in force at once.
        let lane = round % IN_TURN;
        let sql = format!(
            "UPDATE assignments SET revoked_at = CASE WHEN id = '{}' THEN timestamptz '2026-03-10T14:00:00Z' END WHERE id IN ('{}', '{}')",
            assignment(lane),
            assignment(lane),
            assignment(before)
        );
        let committed = run(&mut writer, sql).await;
        let passed = following.facts.barrier().await.unwrap();
        took.push(elapsed() - committed);
        assert!(passed.iter().all(|(_, how)| how.as_str() == "polled"), "{passed:?}");
        let (revoked, lifted) = tokio::join!(following.ask(lane), following.ask(before));
        assert!(revoked.is_refusal(), "round {round}: {revoked:?}");
        assert!(lifted.is_allow(), "round {round}: {lifted:?}");
        before = lane;
    }
    let heard = callers.stop().await;
    println!(
        "{ROUNDS} rounds of revoke, barrier, ask under 4 callers ({} answers): 0 allows; commit to barrier {}",
        heard.len(),
        distribution(took)
    );
}

/// Printed, not asserted: a busy machine may say anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kept_facts_and_loaded_facts_decide_alike_and_cost_unlike() {
    const TIMES: u32 = 300;
    let databases = Databases::on(Postgres::shared()).await;
    let following = Following::start(&databases, How::within(STALENESS));
    following.works(&databases, 0).await;
    let now: Timestamp = at(NOW);
    let question = following.bundle.question(&reads(0)).unwrap();
    let mut costs = Vec::new();
    for trust in [Trust::Feed, Trust::LoadsAlone] {
        let (mut facts, mut whole) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TIMES {
            let began = elapsed();
            let gathered = following.gathered(0, trust).await.unwrap();
            facts += elapsed() - began;
            assert!(following.bundle.evaluate(&question, &gathered.slice, now).decision.is_allow());
            whole += elapsed() - began;
        }
        costs.push((facts / TIMES, whole / TIMES));
    }
    let [(kept, of_kept), (loaded, of_loaded)] = costs[..] else { panic!("two kinds") };
    let ratio = |more: Duration, less: Duration| more.as_secs_f64() / less.as_secs_f64();
    println!(
        "facts of a question: kept {kept:.1?}, loaded {loaded:.1?} ({:.1} x); with the evaluation in this profile {of_kept:.1?} and {of_loaded:.1?} ({:.1} x)",
        ratio(loaded, kept),
        ratio(of_loaded, of_kept)
    );
}
