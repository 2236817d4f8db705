//! The stubs of pruned segments: whether they are what they say, and whether what is left goes on from them.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    Finding, PrunedReport, Report, VerifyOptions,
    claims::{BadClaim, Claims},
    finding,
};
use crate::audit::{
    folder::Folder,
    header::Predecessor,
    note::Signed,
    retention::{Stub, StubFile},
};

/// Stubs of writers of whom nothing else is here.
pub(super) fn alone(folder: &Folder) -> impl Iterator<Item = &Stub> {
    let is_alone = |stub: &Stub| folder.writers.iter().all(|files| files.writer != stub.writer);
    folder.stubs.iter().map(|file| &file.stub).filter(move |stub| is_alone(stub))
}

/// Writers of whom something is here, be it a stub.
pub(super) fn known(folder: &Folder) -> BTreeSet<Uuid> {
    let stubs = folder.stubs.iter().map(|file| file.stub.writer).chain(folder.bad_stubs.iter().map(|(of, _)| *of));
    folder.writers.iter().map(|files| files.writer).chain(stubs).collect()
}

/// Names what was pruned, and stubs that are none or that nobody vouches for.
pub(super) fn report(folder: &Folder, options: &VerifyOptions, report: &mut Report) {
    for (writer, why) in &folder.bad_stubs {
        report.findings.push(finding(*writer, "stub", format!("the stub of its pruned segments is damaged: {why}")));
    }
    for file in &folder.stubs {
        let judged = file.judged_by(&options.keys);
        let detail = match judged {
            Signed::Valid => None,
            Signed::Unknown if options.keys.is_empty() => None,
            Signed::Unknown => Some("the stub of its pruned segments is signed by none of the given keys"),
            Signed::Bad => Some("the signature of the stub of its pruned segments is false"),
        };
        report.findings.extend(detail.map(|detail| finding(file.stub.writer, "stub", detail.to_owned())));
        report.pruned.push(named(file, judged == Signed::Valid));
    }
}

fn named(file: &StubFile, signed: bool) -> PrunedReport {
    let stub = &file.stub;
    PrunedReport {
        writer: stub.writer.to_string(),
        segment: stub.segment,
        last_seq: stub.seq,
        root: stub.root.to_string(),
        from: stub.from,
        to: stub.to,
        pruned: stub.pruned,
        signed,
    }
}

/// A writer of whom only a stub is left: is its end the one that others know?
pub(super) fn check(
    stub: &Stub,
    successor: Option<&Predecessor>,
    claims: &Claims,
    folder: &Folder,
    options: &VerifyOptions,
) -> Option<Finding> {
    let bad = |problem, detail: String| Some(Finding { seq: stub.seq + 1, ..finding(stub.writer, problem, detail) });
    let Some(end) = stub.end else {
        return bad(
            "missing",
            format!("the segments behind the pruned ones, from {} on, are missing", stub.segment + 1),
        );
    };
    // A store's segments are not the folder's.
    let is_known = |said: &Predecessor| {
        (said.frame, said.seq, said.chain, said.clean) == (stub.frame, stub.seq, stub.chain, end.clean)
            && (options.is_rebuilt || said.segment == stub.segment)
    };
    // A folder can go with its machine; the store says itself where its last writer ended.
    let is_last = options.is_rebuilt && end.clean && successor.is_none();
    if !is_last && !successor.is_some_and(is_known) {
        return bad("stub", "the stub does not end where the next writer found the end".to_owned());
    }
    if let Some(prev) = stub.prev.as_ref().filter(|prev| !known(folder).contains(&prev.writer))
        && !options.allow_pruned
    {
        let detail = format!("it follows {}, of whom nothing is here", prev.writer);
        return Some(finding(stub.writer, "missing_writer", detail));
    }
    claimed(stub, claims).and_then(|claim| bad(claim.problem, claim.detail))
}

/// Whether checkpoints that were kept outside agree with a stub, as far as it can be asked.
fn claimed(stub: &Stub, claims: &Claims) -> Option<BadClaim> {
    let detail = |place: &str, size: u64| format!("the checkpoint over {size} records in {place} is not of the stub's");
    let contradicts =
        claims.heads.iter().find(|claim| claim.size > stub.seq || (claim.size == stub.seq && claim.root != stub.root));
    let contradicts =
        contradicts.map(|claim| BadClaim { problem: "checkpoint", detail: detail(&claim.place, claim.size) });
    contradicts.or_else(|| claims.bad.clone())
}
