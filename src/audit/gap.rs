//! What no place that is read has: records that left a folder and that no store beside it holds, that were pruned from the
//! store too, or that were written where nobody reads. Whoever needs all of a trail must not take the rest for it.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{
    folder::{CLOCK_SET_BACK_MAX, FolderExtent, Missing},
    header::Header,
    retention::StoreStub,
};
use crate::domain::Timestamp;

/// What a store holds, as far as gaps go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldThere {
    /// Up to which record it holds the writers that it was asked about; those that it does not know are left out.
    pub held: BTreeMap<String, u64>,
    /// Writers of which it does not hold all that they found of the one before them.
    pub torn: Vec<Torn>,
    /// What stays of what was pruned there, by writer.
    pub stubs: BTreeMap<String, String>,
}

/// A writer whose predecessor is not there, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Its first header: when it began.
    pub header: Vec<u8>,
    pub prev: String,
    /// The predecessor's last record, as it was found.
    pub seq: u64,
    /// Up to where it is held.
    pub held: u64,
}

/// Records that no place has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub writer: String,
    pub first: u64,
    pub upto: u64,
    /// Who asks from here on misses nothing, of this gap and of all others.
    pub whole_from: Timestamp,
}

impl Gap {
    /// For a reader of pages.
    pub fn missing(&self) -> Missing {
        Missing { upto: format!("{}/{}", self.writer, self.upto), whole_from: self.whole_from }
    }

    /// The first of those since an instant that neither a folder nor a store has.
    pub fn between(here: &FolderExtent, there: &HeldThere, since: Timestamp) -> Option<Self> {
        let gone_here: BTreeMap<&str, u64> =
            here.elsewhere.iter().map(|(writer, upto)| (writer.as_str(), *upto)).collect();
        let held = |writer: &str| there.held.get(writer).copied().unwrap_or(0);
        let left = here.elsewhere.iter().filter(|(writer, upto)| held(writer) < *upto);
        let left = left.map(|(writer, upto)| Self {
            writer: writer.clone(),
            first: held(writer) + 1,
            upto: *upto,
            whole_from: here.whole_from.unwrap_or(Timestamp::MAX),
        });
        let torn = there.torn.iter().filter(|torn| !here.begun_here.contains(&torn.prev)).map(|torn| Self {
            writer: torn.prev.clone(),
            first: torn.held + 1,
            upto: torn.seq,
            whole_from: begun(&torn.header),
        });
        let pruned = there.stubs.iter().filter_map(|(writer, text)| {
            let whole = here.begun_here.contains(writer);
            let stub = StoreStub::read(writer, text);
            // What cannot be read could stand for anything.
            let (upto, to) = stub.map_or((u64::MAX, Timestamp::MAX), |stub| (stub.seq, stub.to));
            let upto = gone_here.get(writer.as_str()).map_or(upto, |gone| upto.min(*gone));
            let whole_from = to.checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
            (!whole).then(|| Self { writer: writer.clone(), first: 1, upto, whole_from })
        });
        let gaps: Vec<Self> = left.chain(torn).chain(pruned).filter(|gap| gap.whole_from > since).collect();
        let whole_from = gaps.iter().map(|gap| gap.whole_from).max()?;
        gaps.into_iter().next().map(|gap| Self { whole_from, ..gap })
    }
}

/// No record of a writer before is later than this, but for a clock that was set back.
fn begun(header: &[u8]) -> Timestamp {
    let created = Header::decode(header).ok().map(|header| header.created);
    created.and_then(|created| created.checked_add(CLOCK_SET_BACK_MAX).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn folder(elsewhere: &[(&str, u64)], begun_here: &[&str]) -> FolderExtent {
        FolderExtent {
            begun_here: begun_here.iter().map(|writer| (*writer).to_owned()).collect(),
            elsewhere: elsewhere.iter().map(|(writer, upto)| ((*writer).to_owned(), *upto)).collect(),
            whole_from: (!elsewhere.is_empty()).then(|| at("2026-03-10T16:00:00Z")),
        }
    }

    fn first(here: &FolderExtent, there: &HeldThere, since: Timestamp) -> Option<(String, u64, u64)> {
        Gap::between(here, there, since).map(|gap| (gap.writer, gap.first, gap.upto))
    }

    #[test]
    fn what_left_the_folder_and_is_not_held_is_missing() {
        let here = folder(&[("a", 9)], &["b"]);
        let held = |upto| HeldThere { held: BTreeMap::from([("a".to_owned(), upto)]), ..HeldThere::default() };
        assert_eq!(first(&here, &held(9), Timestamp::MIN), None);
        assert_eq!(first(&here, &held(7), Timestamp::MIN), Some(("a".to_owned(), 8, 9)));
        assert_eq!(first(&here, &HeldThere::default(), Timestamp::MIN), Some(("a".to_owned(), 1, 9)));
        assert_eq!(
            first(&here, &held(7), at("2026-03-10T16:00:00Z")),
            None,
            "whoever asks from then on misses nothing"
        );
    }

    #[test]
    fn a_writer_before_one_that_is_held_is_missing_unless_the_folder_has_it() {
        let torn = Torn { header: Vec::new(), prev: "p".to_owned(), seq: 4, held: 1 };
        let there = HeldThere { torn: vec![torn], ..HeldThere::default() };
        assert_eq!(first(&folder(&[], &[]), &there, Timestamp::MIN), Some(("p".to_owned(), 2, 4)));
        assert_eq!(first(&folder(&[], &["p"]), &there, Timestamp::MIN), None);
    }

    #[test]
    fn what_cannot_be_told_from_a_stub_is_missing_and_the_folder_makes_up_for_it() {
        let there = HeldThere { stubs: BTreeMap::from([("w".to_owned(), "?".to_owned())]), ..HeldThere::default() };
        assert_eq!(first(&folder(&[], &[]), &there, Timestamp::MIN), Some(("w".to_owned(), 1, u64::MAX)));
        assert_eq!(first(&folder(&[], &["w"]), &there, Timestamp::MIN), None);
    }
}
