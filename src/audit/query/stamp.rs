//! The number and the instant of a stored line, without parsing it as JSON: every line begins with them.

use crate::domain::Timestamp;

/// What a line's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
}

const BEFORE_SEQ: &[u8] = br#"{"v":1,"seq":"#;
const BEFORE_AT: &[u8] = br#","at":""#;
/// No instant is written longer.
const AT_BYTES_MAX: usize = 40;

/// The stamp of a line of this format; `None` of any other.
pub(super) fn of(line: &[u8]) -> Option<Stamp> {
    let rest = line.strip_prefix(BEFORE_SEQ)?;
    let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (seq, rest) = rest.split_at_checked(digits)?;
    let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
    let rest = rest.strip_prefix(BEFORE_AT)?;
    let len = rest.iter().take(AT_BYTES_MAX).position(|byte| *byte == b'"')?;
    let text = rest.get(..len)?;
    let at = utc(text).or_else(|| std::str::from_utf8(text).ok()?.parse().ok())?;
    Some(Stamp { seq, at })
}

/// `2026-03-10T15:00:00.123Z`, the one way in which records write instants. A thousandth of what a line costs as JSON.
fn utc(text: &[u8]) -> Option<Timestamp> {
    let (date, time) = text.split_at_checked(11)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T'] = date else { return None };
    let [h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = time else { return None };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let (month, day) = (number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = fraction(rest)?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Timestamp::new(seconds, nanos).ok()
}

fn fraction(rest: &[u8]) -> Option<i32> {
    match rest {
        b"Z" => Some(0),
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            let missing = u32::try_from(9 - digits.len()).ok()?;
            i32::try_from(number(digits)? * 10_i64.pow(missing)).ok()
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |number, digit| {
        if digit.is_ascii_digit() { Some(number * 10 + i64::from(digit - b'0')) } else { None }
    })
}

/// Days since 1970-01-01 of the Gregorian calendar, counted in eras of 400 years that begin in March.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_is_read_as_the_calendar_reads_it(second in -62_000_000_000_i64..253_000_000_000, nanos in 0..1_000_000_000_i32, seq: u64) {
            let at = Timestamp::new(second, nanos).unwrap();
            let line = format!("{{\"v\":1,\"seq\":{seq},\"at\":\"{at}\",\"kind\":\"system\"}}");
            prop_assert_eq!(of(line.as_bytes()), Some(Stamp { seq, at }));
            prop_assert_eq!(utc(at.to_string().as_bytes()), Some(at));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let line = [br#"{"v":1,"seq":7,"at":""#.as_slice(), &bytes].concat();
            prop_assert!(of(&line).is_none_or(|stamp| stamp.seq == 7));
        }
    }

    #[test]
    fn a_line_of_another_format_has_no_stamp() {
        for line in
            [r#"{"v":2,"seq":1,"at":"2026-03-10T15:00:00Z"}"#, r#"{"v":1,"seq":1}"#, "", r#"{"v":1,"seq":1,"at":"x"}"#]
        {
            assert_eq!(of(line.as_bytes()), None, "{line}");
        }
        let far = r#"{"v":1,"seq":1,"at":"2026-13-10T15:00:00Z""#;
        assert_eq!(of(far.as_bytes()), None);
    }
}
