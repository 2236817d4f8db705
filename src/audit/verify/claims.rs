//! What checkpoints claim of a writer, and what the given keys say of them.

use std::{collections::BTreeMap, io, path::Path};

use uuid::Uuid;

use super::VerifyOptions;
use crate::audit::{
    merkle::{Frontier, Hash},
    note::{Checkpoint, Signed},
    outside::{self, Kept},
};

/// A checkpoint that stands elsewhere than in its writer's own chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// Where it stands, for a reader.
    pub(super) place: String,
    /// One of the given keys signed it.
    pub(super) signed: bool,
}

/// The claims about one writer, and the first file entry that is none.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// By size.
    pub(super) heads: Vec<Claim>,
    pub(super) bad: Option<BadClaim>,
}

/// A checkpoint that cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadClaim {
    pub(super) problem: &'static str,
    pub(super) detail: String,
}

/// Whether one of the keys signed a checkpoint; false when no keys are given.
pub(super) fn is_signed(checkpoint: &Checkpoint, options: &VerifyOptions) -> Result<bool, BadClaim> {
    if options.keys.is_empty() {
        return Ok(false);
    }
    let bad = |detail| Err(BadClaim { problem: "signature", detail });
    match checkpoint.judged_by(&options.keys) {
        Signed::Valid => Ok(true),
        Signed::Bad => bad(format!("the signature of {} is false", checkpoint.signers())),
        Signed::Unknown => bad(format!(
            "it is signed by {}, which is none of the given keys: give each key that ever signed this trail",
            checkpoint.signers()
        )),
    }
}

/// All checkpoints of a folder outside of the trail, by writer.
pub(super) fn kept_outside(dir: &Path, options: &VerifyOptions) -> io::Result<BTreeMap<Uuid, Claims>> {
    let found = outside::read(dir)?;
    Ok(found.into_iter().map(|(writer, kept)| (writer, claims(writer, kept, options))).collect())
}

fn claims(writer: Uuid, kept: Vec<Kept>, options: &VerifyOptions) -> Claims {
    let mut claims = Claims::default();
    for Kept { path, line, checkpoint } in kept {
        let place = format!("`{}` line {line}", path.display());
        match claim(writer, place, checkpoint, options) {
            Ok(claim) => claims.heads.push(claim),
            Err(bad) => {
                claims.bad.get_or_insert(bad);
            }
        }
    }
    claims.heads.sort_by_key(|claim| claim.size);
    let fork = claims.heads.windows(2).find_map(|pair| match pair {
        [one, other] if one.size == other.size && one.root != other.root => Some(BadClaim {
            problem: "fork",
            detail: format!("{} and {} are two heads of one size, {}", one.place, other.place, one.size),
        }),
        _ => None,
    });
    claims.bad = claims.bad.take().or(fork);
    claims
}

/// What stands of one writer's checkpoints as its records are gone through.
#[derive(Debug)]
pub(super) struct Heads<'a> {
    claims: &'a Claims,
    options: &'a VerifyOptions,
    next: usize,
    /// Checkpoints that agree with the records.
    pub(super) count: u64,
    /// The records that the last of them covers.
    pub(super) agreed: u64,
    /// The same, for those whose signature was verified.
    pub(super) signed: u64,
}

impl<'a> Heads<'a> {
    pub(super) fn new(claims: &'a Claims, options: &'a VerifyOptions) -> Self {
        Self { claims, options, next: 0, count: 0, agreed: 0, signed: 0 }
    }

    /// The first record that can be checked follows this tree: earlier claims are about pruned records.
    pub(super) fn begin(&mut self, tree: &Frontier) -> Result<(), BadClaim> {
        self.next = self.claims.heads.partition_point(|claim| claim.size < tree.size());
        if tree.size() > 0 { self.grown(tree) } else { Ok(()) }
    }

    /// The tree has one record more.
    pub(super) fn grown(&mut self, tree: &Frontier) -> Result<(), BadClaim> {
        while let Some(claim) = self.claims.heads.get(self.next).filter(|claim| claim.size == tree.size()) {
            self.next += 1;
            if claim.root != tree.root() {
                let detail =
                    format!("the checkpoint over {} records in {} is not of these records", claim.size, claim.place);
                return Err(BadClaim { problem: "checkpoint", detail });
            }
            self.agree(claim.size, claim.signed);
        }
        Ok(())
    }

    /// A checkpoint in the writer's own chain.
    pub(super) fn own(&mut self, checkpoint: &Checkpoint, tree: &Frontier) -> Result<(), BadClaim> {
        if checkpoint.size != tree.size() || checkpoint.root != tree.root() {
            let detail = format!("the checkpoint over {} records is not of these records", checkpoint.size);
            return Err(BadClaim { problem: "checkpoint", detail });
        }
        let signed = is_signed(checkpoint, self.options)?;
        self.agree(checkpoint.size, signed);
        Ok(())
    }

    fn agree(&mut self, size: u64, signed: bool) {
        self.count += 1;
        self.agreed = size;
        if signed {
            self.signed = size;
        }
    }

    /// What is wrong once all records are seen.
    pub(super) fn end(&self, tree: &Frontier) -> Result<(), BadClaim> {
        if let Some(beyond) = self.claims.heads.last().filter(|claim| claim.size > tree.size()) {
            let (place, size) = (&beyond.place, beyond.size);
            let detail = format!("{place} says that {size} records stood here: those behind {} are gone", tree.size());
            return Err(BadClaim { problem: "cut", detail });
        }
        self.claims.bad.clone().map_or(Ok(()), Err)
    }

    /// The first record that a bad claim leaves without a witness.
    pub(super) fn first_doubtful(&self, bad: &BadClaim, tree: &Frontier) -> u64 {
        match bad.problem {
            "cut" => tree.size() + 1,
            "signature" => self.signed + 1,
            _ => self.agreed + 1,
        }
    }
}

fn claim(
    writer: Uuid,
    place: String,
    checkpoint: Result<Checkpoint, crate::audit::NoteError>,
    options: &VerifyOptions,
) -> Result<Claim, BadClaim> {
    let bad = |detail| BadClaim { problem: "checkpoint", detail };
    let checkpoint = checkpoint.map_err(|error| bad(format!("{place} is no checkpoint: {error}")))?;
    if checkpoint.writer != writer {
        return Err(bad(format!("{place} is a checkpoint of {}", checkpoint.writer)));
    }
    let signed = is_signed(&checkpoint, options)
        .map_err(|bad| BadClaim { detail: format!("{place}: {}", bad.detail), ..bad })?;
    Ok(Claim { size: checkpoint.size, root: checkpoint.root, place, signed })
}
