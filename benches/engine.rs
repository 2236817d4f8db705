//! What the engine costs: loading a bundle, and answering on facts that are at hand.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench stops where it is wrong")]

mod shared;

use chaperone::{
    domain::{Evaluation, Slice},
    engine::{Bundle, load::BundlePaths, question::Question},
    entities::FactsOptions,
};
use divan::{Bencher, black_box};
use shared::{Asked, Clinic, at, paths};

fn main() {
    divan::main();
}

#[divan::bench]
fn load_for_the_first_time(bencher: Bencher) {
    bencher.bench(|| Bundle::load(&paths()).unwrap_or_else(|problems| panic!("{problems}")));
}

#[divan::bench]
fn load_validated_before(bencher: Bencher) {
    let cache = tempfile::tempdir().unwrap();
    let paths = BundlePaths { cache: Some(cache.path().to_owned()), ..paths() };
    Bundle::load(&paths).unwrap_or_else(|problems| panic!("{problems}"));
    bencher.bench(|| Bundle::load(&paths).unwrap_or_else(|problems| panic!("{problems}")));
}

struct Ready {
    clinic: Clinic,
    question: Question,
    slice: Slice,
}

impl Ready {
    fn new(asked: &Asked<'_>) -> Self {
        let clinic = Clinic::with(&[String::new(), String::new()], FactsOptions::default());
        let question = clinic.question(asked);
        let slice = clinic.slice(&question);
        Self { clinic, question, slice }
    }

    fn evaluate(&self) -> Evaluation {
        self.clinic.bundle.evaluate(black_box(&self.question), black_box(&self.slice), at())
    }
}

fn bench_evaluate(bencher: Bencher, asked: &Asked<'_>, allows: bool) {
    let ready = Ready::new(asked);
    let evaluation = ready.evaluate();
    assert!(evaluation.decision.is_allow() == allows, "{evaluation:#?}");
    bencher.bench(|| ready.evaluate());
}

const NOTE: Asked<'_> = Asked { user: "ana", action: "read", kind: "Note", id: "N1", fields: Some(&["clin.note"]) };

#[divan::bench]
fn evaluate_allow_one_group(bencher: Bencher) {
    bench_evaluate(bencher, &NOTE, true);
}

#[divan::bench]
fn evaluate_allow_whole_note(bencher: Bencher) {
    bench_evaluate(bencher, &Asked { fields: None, ..NOTE }, true);
}

#[divan::bench]
fn evaluate_allow_six_groups(bencher: Bencher) {
    let fields = Some(&["clin.note", "media.trans", "id.pseudo", "id.demo", "id.gov", "contact"][..]);
    bench_evaluate(bencher, &Asked { fields, ..NOTE }, true);
}

#[divan::bench]
fn evaluate_deny_by_a_bar(bencher: Bencher) {
    bench_evaluate(
        bencher,
        &Asked { user: "stu", kind: "Client", id: "C5", fields: Some(&["id.demo"]), ..NOTE },
        false,
    );
}

/// A default deny: the nearest permits, the lapsed facts and the remedies are all worked out.
#[divan::bench]
fn explain_default_deny(bencher: Bencher) {
    bench_evaluate(bencher, &Asked { user: "ben", id: "N7", ..NOTE }, false);
}

#[divan::bench]
fn understand_the_question(bencher: Bencher) {
    let clinic = Clinic::with(&[String::new(), String::new()], FactsOptions::default());
    let request = clinic.request(&NOTE);
    bencher.bench(|| clinic.bundle.question(black_box(&request)).unwrap());
}

#[divan::bench]
fn read_a_slice_from_sqlite(bencher: Bencher) {
    let clinic = Clinic::with(&[String::new(), String::new()], FactsOptions::default());
    let question = clinic.question(&NOTE);
    bencher.bench(|| clinic.slice(black_box(&question)));
}
