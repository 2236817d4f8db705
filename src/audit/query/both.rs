//! Two sources as one: a record that both hold is given once, as the first one has it.

use std::{collections::VecDeque, sync::Arc};

use super::{super::Missing, Cursor, Found, Query, Reading, RecordRun, RecordSource, Until};
use crate::domain::Timestamp;

/// A folder and the store that it is shipped to: the one has what was not shipped yet, the other what was taken away
/// here, and what other sidecars wrote.
#[derive(Clone, Debug)]
pub struct BothRecords {
    first: Arc<dyn RecordSource>,
    second: Arc<dyn RecordSource>,
}

impl BothRecords {
    pub fn new(first: Arc<dyn RecordSource>, second: Arc<dyn RecordSource>) -> Self {
        Self { first, second }
    }
}

impl RecordSource for BothRecords {
    fn begin(&self, query: Query, after: Option<Cursor>) -> Reading<'_, Box<dyn RecordRun>> {
        Box::pin(async move {
            // The folder first: what is shipped between the two looks is in one of them at least.
            let since = query.from.unwrap_or(Timestamp::MIN);
            let first = Side::of(self.first.begin(query.clone(), after).await?);
            let second = Side::of(self.second.begin(query, after).await?);
            let store = Arc::clone(&self.second);
            Ok(Box::new(BothRun { first, second, store, since }) as Box<dyn RecordRun>)
        })
    }
}

struct Side {
    run: Box<dyn RecordRun>,
    ready: VecDeque<Found>,
    is_over: bool,
}

impl Side {
    fn of(run: Box<dyn RecordRun>) -> Self {
        Self { run, ready: VecDeque::new(), is_over: false }
    }

    async fn fill(&mut self, most: usize) -> Result<(), super::QueryError> {
        if self.ready.is_empty() && !self.is_over {
            self.ready.extend(self.run.next(most).await?);
            self.is_over = self.ready.is_empty();
        }
        Ok(())
    }
}

struct BothRun {
    first: Side,
    second: Side,
    /// Where the second one reads.
    store: Arc<dyn RecordSource>,
    since: Timestamp,
}

impl RecordRun for BothRun {
    fn next(&mut self, most: usize) -> Reading<'_, Vec<Found>> {
        Box::pin(async move {
            let mut found = Vec::new();
            while found.len() < most {
                let wanted = most - found.len();
                self.first.fill(wanted).await?;
                self.second.fill(wanted).await?;
                let places = (self.first.ready.front().map(Found::place), self.second.ready.front().map(Found::place));
                let is_firsts = match places {
                    (None, None) => break,
                    (Some(one), Some(other)) if one == other => {
                        self.second.ready.pop_front();
                        true
                    }
                    (Some(one), Some(other)) => one < other,
                    (Some(_), None) => true,
                    (None, Some(_)) => false,
                };
                let side = if is_firsts { &mut self.first } else { &mut self.second };
                found.extend(side.ready.pop_front());
            }
            Ok(found)
        })
    }

    fn until(&self) -> Option<Until> {
        let (here, there) = (self.first.run.until(), self.second.run.until());
        let arrived = there.map_or(0, |until| until.arrived);
        Some(Until { arrived, ..here.unwrap_or_default() })
    }

    fn lost(&self) -> Option<String> {
        self.first.run.lost().or_else(|| self.second.run.lost())
    }

    /// What left the folder should be in the store. It is not there where it was pruned, or where this store is another
    /// one, or an older copy, than the one that had it.
    fn missing(&mut self) -> Reading<'_, Option<Missing>> {
        Box::pin(async move {
            let gap = self.store.gap(self.first.run.extent(), self.since).await?;
            Ok(gap.map(|gap| gap.missing()))
        })
    }
}
