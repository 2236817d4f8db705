//! Rows in few bytes. A kept fact is held as one run of bytes; rows are made of it again when a question needs them.
//!
//! The form lives in memory alone: nothing reads it but the process that wrote it, so it has no version.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Cell, Row};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const TEXT: u8 = 4;
const INSTANT: u8 = 5;
const LIST: u8 = 6;

/// Writes numbers, words and rows one behind the other.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn into_bytes(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }

    /// Seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        loop {
            let [low, ..] = (number & 0x7f).to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes(text.as_bytes());
    }

    fn length(&mut self, length: usize) {
        // INVARIANT(packed): a length in memory fits 64 bits.
        self.number(u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Rows about `key`, which is not repeated where it is also a row's id.
    pub(super) fn rows(&mut self, rows: &[Row], key: &str) {
        self.length(rows.len());
        for row in rows {
            if *row.id == *key {
                self.0.push(0);
            } else {
                self.0.push(1);
                self.text(&row.id);
            }
            self.length(row.cells.len());
            row.cells.iter().for_each(|cell| self.cell(cell));
        }
    }

    fn cell(&mut self, cell: &Cell) {
        match cell {
            Cell::Null => self.0.push(NULL),
            Cell::Bool(false) => self.0.push(FALSE),
            Cell::Bool(true) => self.0.push(TRUE),
            Cell::Int(number) => {
                self.0.push(INT);
                self.signed(*number);
            }
            Cell::Text(text) => {
                self.0.push(TEXT);
                self.text(text);
            }
            Cell::Instant(at) => {
                self.0.push(INSTANT);
                self.signed(at.as_second());
                self.signed(at.subsec_nanosecond().into());
            }
            Cell::List(words) => {
                self.0.push(LIST);
                self.length(words.len());
                words.iter().for_each(|word| self.text(word));
            }
        }
    }
}

/// Reads what [`Writer`] wrote. `None`, which cannot happen, counts as not kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.bytes(length)?).ok()
    }

    pub(super) fn rows(&mut self, key: &Arc<str>) -> Option<Arc<[Row]>> {
        let count = self.length()?;
        (0..count).map(|_| self.row(key)).collect()
    }

    fn row(&mut self, key: &Arc<str>) -> Option<Row> {
        let id = if self.byte()? == 0 { Arc::clone(key) } else { self.text()?.into() };
        let count = self.length()?;
        let cells = (0..count).map(|_| self.cell()).collect::<Option<_>>()?;
        Some(Row { id, cells })
    }

    fn cell(&mut self) -> Option<Cell> {
        match self.byte()? {
            NULL => Some(Cell::Null),
            FALSE => Some(Cell::Bool(false)),
            TRUE => Some(Cell::Bool(true)),
            INT => self.signed().map(Cell::Int),
            TEXT => self.text().map(|text| Cell::Text(text.into())),
            INSTANT => {
                let (second, nanosecond) = (self.signed()?, i32::try_from(self.signed()?).ok()?);
                Timestamp::new(second, nanosecond).ok().map(Cell::Instant)
            }
            LIST => {
                let count = self.length()?;
                (0..count).map(|_| self.text().map(Arc::from)).collect::<Option<_>>().map(Cell::List)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Bool),
            any::<i64>().prop_map(Cell::Int),
            ".{0,12}".prop_map(|text| Cell::Text(text.into())),
            (-377_705_023_201_i64..=253_402_207_200, -999_999_999..=999_999_999_i32)
                .prop_filter_map("a sign for each half", |(s, ns)| Timestamp::new(s, ns).ok())
                .prop_map(Cell::Instant),
            proptest::collection::vec(".{0,6}", 0..4)
                .prop_map(|words| Cell::List(words.into_iter().map(Arc::from).collect())),
        ]
    }

    fn row() -> impl Strategy<Value = Row> {
        ("[ab]{0,2}", proptest::collection::vec(cell(), 0..8))
            .prop_map(|(id, cells)| Row { id: id.into(), cells: cells.into() })
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_were(rows in proptest::collection::vec(row(), 0..5), key in "[ab]{0,2}") {
            let key: Arc<str> = key.into();
            let mut writer = Writer::default();
            writer.rows(&rows, &key);
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            let back = reader.rows(&key);
            prop_assert_eq!(back.as_deref(), Some(&*rows));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn other_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _rows = Reader::new(&bytes).rows(&"k".into());
        }
    }

    #[test]
    fn the_ends_of_time_come_back() {
        let rows =
            [Row { id: "x".into(), cells: [Cell::Instant(Timestamp::MIN), Cell::Instant(Timestamp::MAX)].into() }];
        let mut writer = Writer::default();
        writer.rows(&rows, "k");
        let bytes = writer.into_bytes();
        assert_eq!(Reader::new(&bytes).rows(&"k".into()).as_deref(), Some(&rows[..]));
    }
}
