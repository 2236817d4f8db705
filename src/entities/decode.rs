//! One cell of a row, by the kind that the mapping gives its column. A cell of another kind is an error, never a guess.

use std::sync::Arc;

use jiff::{Timestamp, civil, tz::TimeZone};
use sqlx::{
    Decode, Sqlite, TypeInfo, ValueRef,
    postgres::{PgTypeInfo, PgTypeKind, PgValueFormat, PgValueRef},
    sqlite::SqliteValueRef,
};

use crate::domain::{Cell, mapping::CellKind};

/// What stands in the cell instead: a type's name or "unreadable …", never the value.
pub(super) type Found = String;

/// Microseconds between 1970 and PostgreSQL's epoch, 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
const DAY_US: i64 = 86_400_000_000;

/// A cell of SQLite: the value's own type counts, the column's declared one does not.
pub(super) fn sqlite_cell(kind: CellKind, value: SqliteValueRef<'_>) -> Result<Cell, Found> {
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let name = value.type_info().name().to_owned();
    let text = |value| <String as Decode<Sqlite>>::decode(value).map_err(|_not_utf8| "unreadable text".to_owned());
    let int = |value| <i64 as Decode<Sqlite>>::decode(value).map_err(|_unreadable| "an unreadable integer".to_owned());
    match (kind, name.as_str()) {
        (CellKind::Bool, "INTEGER") => match int(value)? {
            0 => Ok(Cell::Bool(false)),
            1 => Ok(Cell::Bool(true)),
            _ => Err("an integer other than 0 and 1".to_owned()),
        },
        (CellKind::Bool, "TEXT") => match text(value)? {
            word if word.eq_ignore_ascii_case("true") => Ok(Cell::Bool(true)),
            word if word.eq_ignore_ascii_case("false") => Ok(Cell::Bool(false)),
            _ => Err("a word other than true and false".to_owned()),
        },
        (CellKind::Int, "INTEGER") => Ok(Cell::Int(int(value)?)),
        (CellKind::Text, "TEXT") => Ok(Cell::Text(text(value)?.into())),
        (CellKind::Instant, "TEXT") => {
            instant(&text(value)?).map(Cell::Instant).ok_or_else(|| "text that is no instant".to_owned())
        }
        (CellKind::List, "TEXT") => json_list(text(value)?.as_bytes()),
        (CellKind::Bool | CellKind::Int | CellKind::Text | CellKind::Instant | CellKind::List, _) => {
            Err(format!("{name} data"))
        }
    }
}

/// A cell of PostgreSQL, from its binary form.
pub(super) fn postgres_cell(kind: CellKind, value: &PgValueRef<'_>) -> Result<Cell, Found> {
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let info = value.type_info();
    let wrong = || format!("type {}", info.name());
    let bytes = value.as_bytes().map_err(|_null| wrong())?;
    if value.format() != PgValueFormat::Binary || !postgres_fits(kind, &info) {
        return Err(wrong());
    }
    match kind {
        CellKind::Bool => bytes.first().map(|byte| Cell::Bool(*byte != 0)).ok_or_else(wrong),
        CellKind::Int => postgres_int(bytes).map(Cell::Int).ok_or_else(wrong),
        CellKind::Text => postgres_text(&info, bytes).map(Cell::Text),
        CellKind::Instant => postgres_instant(&info, bytes).map(Cell::Instant),
        CellKind::List => match (info.kind(), info.name()) {
            (PgTypeKind::Array(element), _) => postgres_array(element, bytes).map(|words| Cell::List(words.into())),
            (_, "JSONB") => json_list(bytes.strip_prefix(&[1]).ok_or_else(wrong)?),
            _ => json_list(bytes),
        },
    }
}

/// Whether a type of PostgreSQL can be read as `kind`.
pub(super) fn postgres_fits(kind: CellKind, info: &PgTypeInfo) -> bool {
    match kind {
        CellKind::Bool => info.name() == "BOOL",
        CellKind::Int => matches!(info.name(), "INT2" | "INT4" | "INT8"),
        CellKind::Text => is_word(info),
        CellKind::Instant => matches!(info.name(), "TIMESTAMPTZ" | "TIMESTAMP" | "DATE"),
        CellKind::List => match info.kind() {
            PgTypeKind::Array(element) => is_word(element),
            _ => matches!(info.name(), "JSON" | "JSONB" | "TEXT" | "VARCHAR"),
        },
    }
}

fn is_word(info: &PgTypeInfo) -> bool {
    matches!(info.kind(), PgTypeKind::Enum(_))
        || matches!(info.name(), "TEXT" | "VARCHAR" | "NAME" | "UUID")
        || info.name().rsplit('.').next().is_some_and(|name| name.trim_matches('"').eq_ignore_ascii_case("citext"))
}

fn postgres_int(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        2 => Some(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        4 => Some(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        8 => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

fn postgres_text(info: &PgTypeInfo, bytes: &[u8]) -> Result<Arc<str>, Found> {
    let unreadable = || format!("unreadable {}", info.name());
    if info.name() == "UUID" {
        return uuid::Uuid::from_slice(bytes).map(|id| id.to_string().into()).map_err(|_length| unreadable());
    }
    std::str::from_utf8(bytes).map(Into::into).map_err(|_not_utf8| unreadable())
}

/// A timestamp without a zone, and a date, are taken as UTC. PostgreSQL's infinities become the ends of time.
fn postgres_instant(info: &PgTypeInfo, bytes: &[u8]) -> Result<Timestamp, Found> {
    let out_of_range = || format!("{} out of range", info.name());
    let number = postgres_int(bytes).ok_or_else(out_of_range)?;
    let is_date = info.name() == "DATE";
    let (earliest, latest) = if is_date { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (i64::MIN, i64::MAX) };
    if number == latest {
        return Ok(Timestamp::MAX);
    }
    if number == earliest {
        return Ok(Timestamp::MIN);
    }
    let since_2000 = if is_date { number.checked_mul(DAY_US) } else { Some(number) };
    let since_1970 = since_2000.and_then(|us| us.checked_add(POSTGRES_EPOCH_US)).ok_or_else(out_of_range)?;
    Timestamp::from_microsecond(since_1970).map_err(|_range| out_of_range())
}

/// PostgreSQL's binary array: dimensions, flags, element type, then for each dimension its length and lower bound,
/// then for each element its length and bytes.
fn postgres_array(element: &PgTypeInfo, bytes: &[u8]) -> Result<Vec<Arc<str>>, Found> {
    let wrong = || format!("an unreadable array of {}", element.name());
    let mut rest = bytes;
    let mut next = || -> Option<i32> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        Some(i32::from_be_bytes(*head))
    };
    let (dimensions, _flags, _element) =
        (next().ok_or_else(wrong)?, next().ok_or_else(wrong)?, next().ok_or_else(wrong)?);
    match dimensions {
        0 => return Ok(Vec::new()),
        1 => {}
        _ => return Err(format!("an array of {} with more than one dimension", element.name())),
    }
    let (count, _lower_bound) = (next().ok_or_else(wrong)?, next().ok_or_else(wrong)?);
    let mut words = Vec::new();
    for _ in 0..count {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        // A length of -1 is a null element.
        let length = usize::try_from(i32::from_be_bytes(*head))
            .map_err(|_negative| format!("a null in an array of {}", element.name()))?;
        let (word, tail) = tail.split_at_checked(length).ok_or_else(wrong)?;
        words.push(postgres_text(element, word)?);
        rest = tail;
    }
    Ok(words)
}

fn json_list(bytes: &[u8]) -> Result<Cell, Found> {
    let words: Vec<Arc<str>> = serde_json::from_slice(bytes)
        .map_err(|_repeats_the_value| "text that is no JSON array of strings".to_owned())?;
    Ok(Cell::List(words.into()))
}

/// `2026-03-10T15:00:00Z`, with a fraction or an offset; without either a date and time, or a date, in UTC, which is
/// what SQLite's own functions write.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // jiff reads a civil time out of text with a zone and leaves the zone away: only bare ones may come here.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b':' | b'.' | b'T' | b' ')) {
        return None;
    }
    let civil = match text.len() {
        10 => text.parse::<civil::Date>().ok()?.at(0, 0, 0, 0),
        _ => text.parse::<civil::DateTime>().ok()?,
    };
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_with_and_without_a_fraction_and_as_a_date() {
        let wanted: Timestamp = "2026-03-10T15:00:00Z".parse().unwrap();
        for text in
            ["2026-03-10T15:00:00Z", "2026-03-10T15:00:00.000Z", "2026-03-10 15:00:00", "2026-03-10T11:00:00-04:00"]
        {
            assert_eq!(instant(text), Some(wanted), "{text}");
        }
        assert_eq!(instant("2026-03-10"), Some("2026-03-10T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn text_that_names_a_zone_but_no_offset_is_no_instant() {
        for text in [
            "2026-03-10T15:00:00[America/New_York]",
            "2026-03-10 15:00 EST",
            "tomorrow",
            "",
            "2026-13-01",
            "1773154800",
            "2026-03-10T25:00:00Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_json_array_of_strings_is_a_list() {
        assert_eq!(json_list(br#"["a","b"]"#), Ok(Cell::List(["a".into(), "b".into()].into())));
        assert_eq!(json_list(b"[]"), Ok(Cell::List([].into())));
        for text in [&b"a,b"[..], b"[1]", b"[null]", b"{}", b"\"a\"", b"", b"[\"a\"] x"] {
            assert_eq!(json_list(text), Err("text that is no JSON array of strings".to_owned()));
        }
    }
}
