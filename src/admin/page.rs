//! A page of a list whose rows are judged one by one: what stands in no row, such as whether a window is open, is found out
//! until the page is full.

use serde::Serialize;

use super::{
    cursor::{self, After},
    error::AdminError,
};
use crate::domain::Timestamp;

/// How many an answer holds at most.
pub const PAGE_MAX: i64 = 100;

/// Rows that one page looks through before it leads on with what it has.
const LOOKED_AT_MAX: usize = 1_000;

/// Which rows of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub limit: Option<i64>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    pub user: Option<String>,
    pub client: Option<String>,
    /// Grants: a standing. Reviews: `open`, `closed` or `all`.
    pub state: Option<String>,
}

/// A page, and where the next one begins.
#[derive(Clone, Debug, Serialize)]
pub struct Listed<T> {
    pub items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page that is being filled.
pub(super) struct Filling<T> {
    limit: usize,
    rows_at_once: i64,
    after: After,
    items: Vec<T>,
    looked_at: usize,
    /// There are no more rows.
    is_over: bool,
}

impl<T> Filling<T> {
    pub(super) fn begin(page: &Page) -> Result<Self, AdminError> {
        let limit = page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        Ok(Self {
            limit: usize::try_from(limit).unwrap_or(1),
            // Where rows are left out, more are read than the page holds.
            rows_at_once: if page.state.is_some() { PAGE_MAX } else { limit },
            after: cursor::read(page.cursor.as_deref())?,
            items: Vec::new(),
            looked_at: 0,
            is_over: false,
        })
    }

    /// Whether more rows are to be read, behind [`Self::after`].
    pub(super) fn wants_more(&self) -> bool {
        !self.is_over && !self.is_full() && self.looked_at < LOOKED_AT_MAX
    }

    pub(super) fn after(&self) -> &After {
        &self.after
    }

    pub(super) const fn rows_at_once(&self) -> i64 {
        self.rows_at_once
    }

    /// Says that so many rows were read, all that there are if they are fewer than asked for.
    pub(super) fn read(&mut self, rows: usize) {
        self.looked_at += rows;
        self.is_over = i64::try_from(rows).is_ok_and(|rows| rows < self.rows_at_once);
    }

    /// Takes the next row, `None` if it does not belong to the page. False: the page is full, the row has to come again.
    pub(super) fn take(&mut self, at: Timestamp, id: &str, item: Option<T>) -> bool {
        if self.is_full() {
            self.is_over = false;
            return false;
        }
        self.after = After::row(at, id);
        self.items.extend(item);
        true
    }

    pub(super) fn listed(self) -> Listed<T> {
        let is_over = self.is_over;
        Listed { items: self.items, next: self.after.to_cursor().filter(|_| !is_over) }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages through `rows` numbered rows, of which every `every`th belongs to the list; the ids of each page.
    fn pages(rows: usize, every: usize, limit: i64) -> Vec<Vec<usize>> {
        let mut page = Page { limit: Some(limit), state: Some("any".to_owned()), ..Page::default() };
        let mut pages = Vec::new();
        loop {
            let mut filling = Filling::begin(&page).unwrap();
            while filling.wants_more() {
                let from = filling.after().id().parse::<usize>().map_or(1, |last| last + 1);
                let at_once = usize::try_from(filling.rows_at_once()).unwrap();
                let found: Vec<usize> = (from..=rows).take(at_once).collect();
                filling.read(found.len());
                for row in found {
                    let item = row.is_multiple_of(every).then_some(row);
                    if !filling.take(Timestamp::UNIX_EPOCH, &row.to_string(), item) {
                        break;
                    }
                }
            }
            let listed = filling.listed();
            pages.push(listed.items);
            page.cursor = listed.next;
            if page.cursor.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn a_page_is_full_while_there_are_rows_for_it() {
        assert_eq!(pages(9, 3, 1), [vec![3], vec![6], vec![9]]);
        assert_eq!(pages(10, 3, 2), [vec![3, 6], vec![9]]);
        assert_eq!(pages(250, 1, 100).iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 50]);
        assert_eq!(pages(500, 400, 5), [vec![400]], "whatever has to be passed over");
        assert_eq!(pages(0, 1, 5), [Vec::<usize>::new()]);
    }

    #[test]
    fn a_page_looks_through_so_many_rows_and_leads_on() {
        let found = pages(2_500, 2_400, 5);
        assert_eq!(found, [vec![], vec![], vec![2_400]]);
    }
}
