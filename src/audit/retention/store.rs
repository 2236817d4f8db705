//! Pruning what a store holds. The plan is the folder's, made of the store's frames laid down as segments; the stub is the
//! folder's too, and so is the order: first the record, then stub and going. The store does the latter two in one
//! transaction, so that nothing has to be finished later.
//!
//! The record goes into the trail of the folder at hand, and is held by the store before anything leaves it: who reads the
//! store alone finds there by whom and when its records went. Its event is not the folder's, so that a stub of the store
//! that somebody puts into a folder deletes nothing there.

use std::collections::BTreeMap;

use super::{
    Kept, Plan, PruneError,
    prune::record,
    stub::{Stub, StubFile, parse},
};
use crate::{
    audit::trail::Trail,
    domain::{PrunedRange, Tier, Timestamp},
};

const BEGUN: &str = "store_prune_begun";
const DONE: &str = "store_pruned";

/// What a stub that a store keeps says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStub {
    pub seq: u64,
    /// The latest instant of the records that are gone.
    pub to: Timestamp,
    /// Nothing of the writer is left.
    pub is_all: bool,
}

impl StoreStub {
    /// `None`: it is no stub of this writer.
    pub fn read(writer: &str, text: &str) -> Option<Self> {
        let StubFile { stub, .. } = parse(text.as_bytes(), writer.parse().ok()?).ok()?;
        Some(Self { seq: stub.seq, to: stub.to, is_all: stub.end.is_some() })
    }
}

/// A plan without what the store does not hold yet; `held` is up to which frame it holds each writer.
#[must_use]
pub fn in_store(mut plan: Plan, held: &BTreeMap<String, u64>) -> Plan {
    let mut kept = Vec::new();
    plan.writers.retain(|writer| {
        let is_held = held.get(&writer.writer).is_some_and(|frame| *frame >= writer.stub.frame);
        if !is_held {
            kept.push((writer.writer.clone(), 1, Kept::Unshipped));
        }
        is_held
    });
    plan.kept.extend(kept);
    plan
}

/// Records that a pruning begins, and returns what may go then: the store holds that record.
///
/// # Errors
///
/// [`PruneError`]: nothing may go.
pub async fn begin_in_store(
    trail: &Trail,
    plan: &Plan,
    by: &str,
    at: Timestamp,
) -> Result<Vec<PrunedRange>, PruneError> {
    let key = trail.signing_key();
    if trail.origin().config.key_file.is_some() && key.is_none() {
        return Err(PruneError::NoKey);
    }
    let stub = |stub: &Stub| stub.encode(key.as_deref()).map_err(PruneError::Stub);
    let stubs = plan.writers.iter().map(|writer| stub(&writer.stub)).collect::<Result<Vec<_>, _>>()?;
    let begun = trail.append((), record(plan, by, at, BEGUN), Tier::Remote).await?.into_parts().1;
    let range = |(writer, text): (&super::WriterPlan, String)| PrunedRange {
        writer: writer.writer.clone(),
        frame: writer.stub.frame,
        seq: writer.stub.seq,
        chain: writer.stub.chain.0,
        is_all: writer.stub.end.is_some(),
        to: writer.stub.to,
        stub: text,
        begun: (begun.writer.clone(), begun.seq),
    };
    Ok(plan.writers.iter().zip(stubs).map(range).collect())
}

/// Records what went: the first `gone` of the plan's writers.
///
/// # Errors
///
/// [`PruneError::Unrecorded`]: the stubs in the store say what went.
pub async fn end_in_store(
    trail: &Trail,
    plan: &Plan,
    gone: usize,
    by: &str,
    at: Timestamp,
) -> Result<Plan, PruneError> {
    let writers = plan.writers.iter().take(gone).cloned().collect();
    let gone = Plan { writers, kept: plan.kept.clone() };
    if !gone.writers.is_empty() {
        trail.append((), record(&gone, by, at, DONE), Tier::Disk).await?;
    }
    Ok(gone)
}
