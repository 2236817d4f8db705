//! What is kept between questions takes no more memory than `entities.cache_bytes` says: every byte is counted.
//!
//! A binary of its own: the counting allocator is for the whole process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test stops")]

#[path = "../benches/shared/grown.rs"]
mod grown;
#[path = "../benches/shared/mod.rs"]
mod shared;

use chaperone::entities::FactsOptions;
use peak_alloc::PeakAlloc;
use shared::{Asked, Clinic, at};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const CLIENTS: usize = 2_400;
const LAST: usize = 100;
const LETTERS: usize = 40_000;
const KEEP_BYTES: u64 = 2 * 1024 * 1024;

/// Decides twice as the service does, in whole slices: what is made of a slice is kept beside it.
fn decide(clinic: &Clinic, id: usize, group: &str) {
    let id = format!("X{id}");
    let question =
        clinic.question(&Asked { user: "ana", action: "read", kind: "Client", id: &id, fields: Some(&[group]) });
    for _ in 0..2 {
        let evaluation = clinic.bundle.evaluate(&question, &clinic.slice(&question), at());
        assert!(evaluation.policy_errors.is_empty(), "{evaluation:#?}");
    }
}

#[test]
fn what_is_kept_takes_no_more_than_the_configured_bytes() {
    let options = FactsOptions { keep_bytes: KEEP_BYTES, ..FactsOptions::default() };
    let [app, store] = grown::assigned(CLIENTS);
    // Letters count as well: the last ones belong to a person whose id has many.
    let app = format!(
        "{app}
         CREATE TEMP TABLE many AS SELECT * FROM users WHERE id = 'ana';
         UPDATE many SET id = hex(zeroblob({LETTERS} / 2));
         INSERT INTO users SELECT * FROM many;
         UPDATE clients SET portal_user_id = (SELECT id FROM many) WHERE CAST(substr(id, 2) AS INTEGER) >= {CLIENTS} - {LAST};"
    );
    let clinic = Clinic::with(&[app, store], options);
    // What one question leaves for good: connections, statements, names.
    decide(&clinic, 0, "clin.summary");
    let before = HEAP.current_usage();
    for id in 0..CLIENTS {
        decide(&clinic, id, ["clin.summary", "id.basic", "clin.note"][id % 3]);
    }
    let kept = HEAP.current_usage().saturating_sub(before);
    let most = usize::try_from(KEEP_BYTES).unwrap();
    assert!(kept <= most * 5 / 4, "{kept} bytes are held where {most} were granted");
    assert!(kept >= most / 2, "only {kept} bytes are held: the caches were not filled");
}
