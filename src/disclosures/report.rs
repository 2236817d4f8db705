//! The accounting itself: a header, and rows in the form for the patient or for the house.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    clocks::{Clocks, ClocksError, Extension, fee},
    entry::{Entry, Origin, Row},
    select::{Rules, Selection, Suspension},
    series::{Group, Series, grouped},
};
use crate::domain::Timestamp;

/// For whom a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Copy {
    Patient,
    /// With what the house needs: basis, category, decision, maker, consent.
    Internal,
}

/// One request for an accounting, and what surrounds its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub tenant: String,
    pub client: String,
    /// Who asks; the client themself where nobody says.
    pub requester: Option<String>,
    pub requested_at: Timestamp,
    pub generated_at: Timestamp,
    pub period_from: Option<Timestamp>,
    pub extension: Option<Extension>,
    pub fulfilled_at: Option<Timestamp>,
    /// When accountings were asked for before.
    pub earlier_requests: Vec<Timestamp>,
    /// What one costs that is not free.
    pub fee: Option<String>,
    /// The title of the office that answers for it.
    pub responsible: Option<String>,
    pub policies_revision: Option<String>,
    pub rules: Rules,
}

/// A finished accounting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub schema_version: u32,
    pub copy: Copy,
    pub header: Header,
    pub disclosures: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    pub client: String,
    pub tenant: String,
    pub requester: String,
    pub period_from: Timestamp,
    pub period_to: Timestamp,
    pub generated_at: Timestamp,
    pub generator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies_revision: Option<String>,
    pub responsible: String,
    pub clocks: Clocks,
    pub fee: String,
    /// What the law leaves out of every accounting.
    pub exclusions: [&'static str; 9],
    /// Of this report as JSON without this digest.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// One line: a disclosure, or a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub disclosed_at: Timestamp,
    pub recipient: String,
    pub address: String,
    pub description: String,
    pub purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
    /// What was put down first and corrected later, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub corrected: Vec<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<Internal>,
}

/// A version that was corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    pub recipient: String,
    pub address: String,
    pub description: String,
    pub purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<Internal>,
}

/// What the patient's copy does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Internal {
    pub legal_basis: String,
    pub category: &'static str,
    pub origins: Vec<Origin>,
    pub decisions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_id: Option<String>,
    /// The row says of itself that it is (not) accountable, and its category says otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_disputed: bool,
}

const NOT_KNOWN: &str = "not known";

const EXCLUSIONS: [&str; 9] = [
    "treatment, payment and health care operations",
    "to you about yourself",
    "incident to a use or disclosure that is permitted",
    "that you authorized",
    "for a facility's directory or to persons involved in your care",
    "for national security or intelligence",
    "to correctional institutions or law enforcement officials who have you in custody",
    "as part of a limited data set",
    "that occurred before the period",
];

/// Makes the accounting of a case.
///
/// # Errors
///
/// The dates or the fee of the request cannot be.
pub fn report(case: &Case, entries: &[Entry], suspensions: &[Suspension], copy: Copy) -> Result<Report, ClocksError> {
    let selection = Selection {
        tenant: &case.tenant,
        client: &case.client,
        requested_at: case.requested_at,
        generated_at: case.generated_at,
        period_from: case.period_from,
        rules: case.rules,
    };
    let selected = selection.of(entries, suspensions);
    let disclosures = grouped(&selected).iter().filter_map(|group| line(group, copy)).collect();
    let header = Header {
        client: case.client.clone(),
        tenant: case.tenant.clone(),
        requester: case.requester.clone().unwrap_or_else(|| case.client.clone()),
        period_from: selection.first(),
        period_to: case.requested_at,
        generated_at: case.generated_at,
        generator: format!("chaperone {}", env!("CARGO_PKG_VERSION")),
        policies_revision: case.policies_revision.clone(),
        responsible: case.responsible.clone().unwrap_or_else(|| "Privacy Officer".to_owned()),
        clocks: Clocks::new(case.requested_at, case.extension.clone(), case.fulfilled_at)?,
        fee: fee(case.requested_at, &case.earlier_requests, case.fee.as_deref())?,
        exclusions: EXCLUSIONS,
        sha256: String::new(),
    };
    let mut report = Report { schema_version: 1, copy, header, disclosures };
    report.header.sha256 = digest(&report);
    Ok(report)
}

fn digest(report: &Report) -> String {
    // These shapes have no key that is not a text, and no number that is not finite: they always serialize.
    let json = serde_json::to_vec(report).unwrap_or_default();
    Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(group: &Group<'_>, copy: Copy) -> Option<Line> {
    let first = group.entries.first()?;
    let row = first.current();
    let all: Vec<&Row> = group.entries.iter().map(|entry| entry.current()).collect();
    Some(Line {
        disclosed_at: row.disclosed_at,
        recipient: row.recipient.clone(),
        address: address(row),
        description: row.description.clone(),
        purpose: purpose(row),
        series: group.series(),
        corrected: first.earlier().iter().map(|earlier| version(earlier, copy)).collect(),
        internal: internal(&all, copy),
    })
}

fn version(row: &Row, copy: Copy) -> Version {
    Version {
        recipient: row.recipient.clone(),
        address: address(row),
        description: row.description.clone(),
        purpose: purpose(row),
        internal: internal(&[row], copy),
    }
}

fn address(row: &Row) -> String {
    row.address.clone().filter(|address| !address.trim().is_empty()).unwrap_or_else(|| NOT_KNOWN.to_owned())
}

/// The statement of the purpose; without one, the words of the category: a paragraph's number tells a patient nothing.
fn purpose(row: &Row) -> String {
    row.purpose.clone().filter(|purpose| !purpose.trim().is_empty()).unwrap_or_else(|| row.category.words().to_owned())
}

fn internal(rows: &[&Row], copy: Copy) -> Option<Internal> {
    let first = rows.first().filter(|_| copy == Copy::Internal)?;
    let is_exempt = first.category.accounting() == super::category::Accounting::Exempt;
    Some(Internal {
        legal_basis: first.legal_basis.clone(),
        category: first.category.as_str(),
        origins: rows.iter().map(|row| row.origin.clone()).collect(),
        decisions: rows.iter().filter_map(|row| row.decision_id.clone()).collect(),
        maker: first.maker.clone(),
        consent: first.consent.clone(),
        series_id: first.series.clone(),
        is_disputed: first.said_accountable == Some(is_exempt),
    })
}
