//! Facts that are kept change no answer: whoever keeps them says what somebody says who reads all anew, whatever others
//! write in between. On SQLite, where every commit counts at once.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use chaperone::{
    domain::{Decision, Freshness, Slice, Timestamp},
    engine::question::Question,
    entities::{Facts, Trust},
};
use jiff::SignedDuration;
use sqlx::SqliteConnection;

use crate::helpers::{
    clinic::{Clinic, NOW, Said as _, at, fresh, request},
    random::{Dice, Draw},
};

const STEPS: u32 = 2_500;
const QUESTIONS: usize = 60;

/// Ways in which what decides comes and goes. `$now` is the question's instant, `$soon` one a little after it.
const WRITES: [(&str, &str, &str); 14] = [
    ("store", "assignments", "revoked_at = CASE WHEN revoked_at IS NULL THEN '$now' END"),
    ("store", "assignments", "valid_to = '$soon'"),
    ("store", "assignments", "valid_to = NULL, valid_from = '2026-01-01T00:00:00Z'"),
    ("store", "assignments", "valid_from = '$now', valid_to = NULL"),
    ("store", "restrictions", "status = CASE status WHEN 'agreed' THEN 'terminated' ELSE 'agreed' END"),
    ("store", "restrictions", "valid_to = CASE WHEN valid_to IS NULL THEN '$soon' END"),
    ("store", "grants", "state = CASE state WHEN 'active' THEN 'revoked' ELSE 'active' END, expires_at = '$soon'"),
    ("store", "consents", "revoked_at = CASE WHEN revoked_at IS NULL THEN '$now' END"),
    ("app", "user_roles", "revoked_at = CASE WHEN revoked_at IS NULL THEN '$soon' END"),
    ("app", "user_roles", "valid_to = CASE WHEN valid_to IS NULL THEN '$soon' END"),
    ("app", "users", "status = CASE status WHEN 'active' THEN 'disabled' ELSE 'active' END"),
    ("app", "clients", "test_data = NOT test_data"),
    ("app", "notes", "sensitivity = CASE sensitivity WHEN '[]' THEN '[\"PSY\"]' ELSE '[]' END"),
    ("app", "tenants", "status = CASE status WHEN 'active' THEN 'suspended' ELSE 'active' END"),
];

fn tables() -> BTreeSet<(&'static str, &'static str)> {
    WRITES.iter().map(|(database, table, _)| (*database, *table)).collect()
}

/// Somebody else who writes.
struct Writer {
    app: SqliteConnection,
    store: SqliteConnection,
}

impl Writer {
    /// Copies what it will write to, so that it can be put back.
    async fn new(clinic: &Clinic) -> Self {
        let (app, store) = (clinic.sqlite().open("app").await, clinic.sqlite().open("store").await);
        let mut writer = Self { app, store };
        for (database, table) in tables() {
            writer.run(database, format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
        }
        writer
    }

    async fn run(&mut self, database: &str, sql: String) {
        let connection = if database == "app" { &mut self.app } else { &mut self.store };
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
    }

    async fn write(&mut self, dice: &mut Dice, now: Timestamp) -> String {
        if dice.in_hundred(4) {
            for (database, table) in tables() {
                self.run(database, format!("REPLACE INTO {table} SELECT * FROM saved_{table}")).await;
            }
            return "everything was put back".into();
        }
        let (database, table, set) = dice.of(&WRITES);
        let soon = now + SignedDuration::from_secs(*dice.of(&[1, 10, 60]));
        let set = set.replace("$now", &now.to_string()).replace("$soon", &soon.to_string());
        // One row, any of them; a change that the table's own checks refuse is none.
        let row = dice.next() % 64;
        let which =
            format!("SELECT rowid FROM {table} ORDER BY rowid LIMIT 1 OFFSET {row} % (SELECT count(*) FROM {table})");
        let sql = format!("UPDATE OR IGNORE {table} SET {set} WHERE rowid = ({which})");
        self.run(database, sql.clone()).await;
        sql
    }
}

/// The facts of a question, without what tells when they were read; a slice that cannot be had is an answer too.
async fn slice(
    clinic: &Clinic,
    facts: &Facts,
    trust: Trust,
    question: &Question,
    now: Timestamp,
) -> Result<Slice, String> {
    let gathered = clinic.gathered(facts, question, now, trust).await.map_err(|error| error.to_string())?;
    assert!(trust == Trust::Feed || gathered.kept == 0, "a naive reader that keeps is none");
    let freshness = Freshness { revision: String::new(), age_ms: 0 };
    Ok(Slice { freshness, ..gathered.slice })
}

/// Questions that are asked again and again: most of them allowed while nobody has written.
async fn questions(clinic: &Clinic) -> Vec<Question> {
    let mut draw = Draw::new(clinic, 3).await;
    let (mut hot, mut refused) = (Vec::new(), 0);
    while hot.len() < QUESTIONS {
        let question = clinic.question(&draw.question().0);
        let slice = clinic.slice(&question, at(NOW)).await;
        let is_allowed = clinic.bundle.evaluate(&question, &slice, at(NOW)).decision == Decision::Allow;
        if is_allowed || refused < QUESTIONS / 4 {
            refused += usize::from(!is_allowed);
            hot.push(question);
        }
    }
    hot
}

#[tokio::test]
async fn kept_facts_answer_as_facts_that_are_read_anew() {
    let clinic = Clinic::demo().await;
    let naive = clinic.new_facts();
    let hot = questions(&clinic).await;
    let mut writer = Writer::new(&clinic).await;
    let mut dice = Dice::new(3);
    let mut now = at(NOW);
    let (mut allows, mut changed, mut written) = (0_u32, 0_u32, String::new());
    let mut last: Vec<Option<Decision>> = vec![None; hot.len()];
    for step in 0..STEPS {
        if dice.in_hundred(30) {
            written = writer.write(&mut dice, now).await;
        }
        if dice.in_hundred(25) {
            now = at(NOW) + SignedDuration::from_secs(*dice.of(&[0, 0, 1, 5, 20, 60, 90, -1, -30, 3_600, 86_400]));
        }
        let number = usize::try_from(dice.next() % hot.len() as u64).unwrap();
        let question = &hot[number];
        let kept = slice(&clinic, &clinic.facts, Trust::Feed, question, now).await;
        let anew = slice(&clinic, &naive, Trust::LoadsAlone, question, now).await;
        let what = || format!("step {step} at {now}, after {written}: {question:?}");
        assert_eq!(
            kept.as_ref().map(|slice| &slice.entities),
            anew.as_ref().map(|slice| &slice.entities),
            "{}",
            what()
        );
        let Ok(kept) = kept else { continue };
        let evaluation = clinic.bundle.evaluate(question, &kept, now);
        // Equal slices would do, if nothing were remembered of the one that was asked for before.
        assert_eq!(evaluation, clinic.bundle.evaluate(question, &anew.unwrap(), now), "{}", what());
        allows += u32::from(evaluation.decision == Decision::Allow);
        changed +=
            u32::from(last[number].replace(evaluation.decision).is_some_and(|before| before != evaluation.decision));
    }
    let stats = clinic.facts.keep_stats();
    println!("{STEPS} questions: {allows} allows, {changed} changes of mind, {stats:?}");
    assert!(stats.hits > u64::from(STEPS), "kept facts are hardly used: {stats:?}");
    assert!(allows > STEPS / 20 && changed > STEPS / 50, "{allows} allows, {changed} changes of mind");
}

/// A process of its own that revokes an assignment and gives it back, a commit for each line it is told.
struct Other {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
}

const OTHER: &str = r"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
db.execute('PRAGMA synchronous=OFF')
for line in sys.stdin:
    revoked = '2026-03-10T14:59:59Z' if line.strip() == 'revoke' else None
    count = db.execute('UPDATE assignments SET revoked_at = ? WHERE id = ?', (revoked, 'A1')).rowcount
    print(count, flush=True)
";

impl Other {
    fn on(store: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", OTHER])
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, which scripts/test installs");
        let (told, says) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, told, says }
    }

    /// Returns once the commit has.
    fn commit(&mut self, what: &str) {
        writeln!(self.told, "{what}").unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "1", "rows that the other process changed");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Revokes as often as that, and gives back in between; the revocations that the next question denied.
async fn revoke(rounds: u32) -> u32 {
    let clinic = Clinic::demo().await;
    let mut other = Other::on(&clinic.sqlite().path("store"));
    let now = at(NOW);
    let question = clinic.question(&request("ana", "read", "Note", "N1").context("session", fresh("T1")));
    // The same slice has the same answer at the same instant: each is evaluated once.
    let mut known: Vec<(Slice, Decision)> = Vec::new();
    let mut denied = 0;
    for round in 0..rounds {
        for (is_revoked, expected) in [(false, Decision::Allow), (true, Decision::Deny)] {
            if is_revoked {
                other.commit("revoke");
            } else if round > 0 {
                other.commit("give back");
            }
            let slice = clinic.gathered(&clinic.facts, &question, now, Trust::Feed).await.unwrap().slice;
            let before = known.iter().find(|(known, _)| known.entities == slice.entities);
            let decision = match before {
                Some((_, decision)) => *decision,
                None => {
                    let decision = clinic.bundle.evaluate(&question, &slice, now).decision;
                    known.push((slice, decision));
                    decision
                }
            };
            assert_eq!(decision, expected, "round {round}, revoked: {is_revoked}");
            denied += u32::from(is_revoked);
        }
        if round % 100 == 0 {
            let again = clinic.gathered(&clinic.facts, &question, now, Trust::Feed).await.unwrap();
            assert!(again.loaded == 0 && again.kept > 0, "round {round}: nothing is kept that could be stale");
        }
    }
    assert_eq!(known.len(), 2, "one slice with the assignment, one without");
    denied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_by_another_process_denies_the_next_question_each_time() {
    const ROUNDS: u32 = 10_000;
    let halves = [(); 2].map(|()| tokio::spawn(revoke(ROUNDS / 2)));
    let mut denied = 0;
    for half in halves {
        denied += half.await.unwrap();
    }
    assert_eq!(denied, ROUNDS);
}
