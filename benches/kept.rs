//! What kept facts cost: memory for many clients with their relations, and a decision as the tables behind it grow.
//!
//! `cargo bench --bench kept` prints one table; compare its rows with each other, not with another machine's.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench stops where it is wrong")]
#![expect(clippy::print_stdout, reason = "its figures are its result")]

#[path = "shared/grown.rs"]
mod grown;
mod shared;

use std::time::Duration;

use chaperone::{
    clock::{Clock, SystemClock},
    entities::FactsOptions,
};
use grown::assigned;
use shared::{Asked, Clinic, at};

/// Clients kept at once.
const KEPT: usize = 100_000;
const ROUNDS: usize = 400;

fn main() {
    println!(
        "{:>12} {:>14} {:>14} {:>12} {:>12} {:>12}",
        "rows", "kept", "RSS MiB", "read µs", "kept µs", "evaluate µs"
    );
    for rows in [1_000, 1_000_000] {
        measure(rows);
    }
}

fn measure(rows: usize) {
    let options = FactsOptions { keep_bytes: 96 * 1024 * 1024, ..FactsOptions::default() };
    let clinic = Clinic::with(&assigned(rows), options);
    let before = rss_mib();
    let names: Vec<String> = (0..KEPT.min(rows)).map(|number| format!("X{number}")).collect();
    let read = clock(|| names.iter().take(ROUNDS).for_each(|id| ask(&clinic, id))) / ROUNDS.min(names.len());
    names.iter().for_each(|id| ask(&clinic, id));
    let after = rss_mib();
    let hot: Vec<&String> = names.iter().rev().take(ROUNDS).collect();
    let hits = clinic.facts.keep_stats();
    let kept = clock(|| hot.iter().for_each(|id| ask(&clinic, id))) / hot.len();
    let now = clinic.facts.keep_stats();
    assert!(now.misses == hits.misses, "facts of {rows} rows were not kept: {now:?}");
    let evaluate = clock(|| hot.iter().for_each(|id| decide(&clinic, id))) / hot.len();
    println!(
        "{rows:>12} {:>14} {after:>7} (+{:>3}) {read:>12} {kept:>12} {evaluate:>12}",
        now.entries,
        after.saturating_sub(before)
    );
}

fn asked(id: &str) -> Asked<'_> {
    Asked { user: "ana", action: "read", kind: "Client", id, fields: Some(&["clin.summary"]) }
}

fn ask(clinic: &Clinic, id: &str) {
    let slice = clinic.slice(&clinic.question(&asked(id)));
    assert!(slice.present(&slice.resource).is_some(), "{id} is a client");
}

fn decide(clinic: &Clinic, id: &str) {
    let question = clinic.question(&asked(id));
    let evaluation = clinic.bundle.evaluate(&question, &clinic.slice(&question), at());
    assert!(evaluation.decision.is_allow(), "{evaluation:#?}");
}

/// Mean microseconds are its caller's to divide.
fn clock(work: impl FnOnce()) -> usize {
    let began = SystemClock.elapsed();
    work();
    usize::try_from((SystemClock.elapsed() - began).max(Duration::from_micros(1)).as_micros()).unwrap()
}

fn rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}
