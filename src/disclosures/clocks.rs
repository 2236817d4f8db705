//! By when a request must be answered, and what it may cost.

use serde::Serialize;

use super::select::{days_after, months_before};
use crate::domain::Timestamp;

const DUE_DAYS: i64 = 60;
const EXTENSION_DAYS: i64 = 30;
const REMINDER_DAYS: [i64; 3] = [30, 50, 58];

/// One extension, with the reason that the client was told in writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub told_at: Timestamp,
    pub reason: String,
}

/// The dates of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clocks {
    pub requested_at: Timestamp,
    pub reminders: [Timestamp; 3],
    pub due_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension_reason: Option<String>,
    /// The due date after the extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_due_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fulfilled_at: Option<Timestamp>,
}

/// Why a request cannot have these dates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClocksError {
    #[error("an extension needs its reason, in writing")]
    NoReason,
    #[error("the client must be told of an extension before day {DUE_DAYS}: before {due_at}, not at {told_at}")]
    TooLate { told_at: Timestamp, due_at: Timestamp },
    #[error("{what} lies before the request")]
    BeforeTheRequest { what: &'static str },
    #[error("`{0}` is no amount: write it as `12.50`")]
    Amount(String),
}

impl Clocks {
    /// # Errors
    ///
    /// The extension came too late or without a reason, or something came before the request.
    pub fn new(
        requested_at: Timestamp,
        extension: Option<Extension>,
        fulfilled_at: Option<Timestamp>,
    ) -> Result<Self, ClocksError> {
        let due_at = days_after(requested_at, DUE_DAYS);
        if let Some(Extension { told_at, reason }) = &extension {
            if reason.trim().is_empty() {
                return Err(ClocksError::NoReason);
            }
            if *told_at < requested_at {
                return Err(ClocksError::BeforeTheRequest { what: "the extension" });
            }
            if *told_at >= due_at {
                return Err(ClocksError::TooLate { told_at: *told_at, due_at });
            }
        }
        if fulfilled_at.is_some_and(|fulfilled| fulfilled < requested_at) {
            return Err(ClocksError::BeforeTheRequest { what: "the answer" });
        }
        Ok(Self {
            requested_at,
            reminders: REMINDER_DAYS.map(|days| days_after(requested_at, days)),
            due_at,
            extended_due_at: extension.as_ref().map(|_| days_after(due_at, EXTENSION_DAYS)),
            extended_at: extension.as_ref().map(|extension| extension.told_at),
            extension_reason: extension.map(|extension| extension.reason),
            fulfilled_at,
        })
    }
}

/// What the request costs: nothing for the first one in twelve months, else what the client was told beforehand.
pub(super) fn fee(
    requested_at: Timestamp,
    earlier_requests: &[Timestamp],
    amount: Option<&str>,
) -> Result<String, ClocksError> {
    let since = months_before(requested_at, 12);
    let is_first = !earlier_requests.iter().any(|earlier| *earlier > since && *earlier < requested_at);
    let amount = amount.unwrap_or("0").trim();
    let (whole, cents) = amount.split_once('.').unwrap_or((amount, "00"));
    let is_number = |text: &str| !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(cents) || cents.len() != 2 {
        return Err(ClocksError::Amount(amount.to_owned()));
    }
    Ok(if is_first { "0.00".to_owned() } else { format!("{whole}.{cents}") })
}
