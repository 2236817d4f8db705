//! The accounting as RFC 4180: the header's facts stand in every row, so that a row means something on its own.

use super::report::{Internal, Report};

const COLUMNS: [&str; 21] = [
    "client",
    "tenant",
    "requested_at",
    "generated_at",
    "report_sha256",
    "version",
    "disclosed_at",
    "recipient",
    "address",
    "description",
    "purpose",
    "count",
    "frequency",
    "last_at",
    "legal_basis",
    "category",
    "origins",
    "decisions",
    "maker",
    "consent",
    "series_id",
];

/// One row a line, and one for each version that was corrected.
pub fn csv(report: &Report) -> String {
    let header = &report.header;
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    for line in &report.disclosures {
        let start = |version: &str| {
            vec![
                header.client.clone(),
                header.tenant.clone(),
                header.clocks.requested_at.to_string(),
                header.generated_at.to_string(),
                header.sha256.clone(),
                version.to_owned(),
                line.disclosed_at.to_string(),
            ]
        };
        for corrected in &line.corrected {
            let mut row = start("corrected");
            let texts = [&corrected.recipient, &corrected.address, &corrected.description, &corrected.purpose];
            row.extend(texts.map(Clone::clone));
            row.extend([const { String::new() }; 3]);
            row.extend(internal(corrected.internal.as_ref()));
            rows.push(row);
        }
        let mut row = start("current");
        row.extend([&line.recipient, &line.address, &line.description, &line.purpose].map(Clone::clone));
        row.extend(match &line.series {
            None => [const { String::new() }; 3],
            Some(series) => {
                [series.count.to_string(), series.frequency.unwrap_or_default().to_owned(), series.last_at.to_string()]
            }
        });
        row.extend(internal(line.internal.as_ref()));
        rows.push(row);
    }
    let line = |row: &Vec<String>| row.iter().map(|cell| put(cell)).collect::<Vec<_>>().join(",") + "\r\n";
    rows.iter().map(line).collect()
}

fn internal(internal: Option<&Internal>) -> [String; 7] {
    let Some(internal) = internal else { return [const { String::new() }; 7] };
    [
        internal.legal_basis.clone(),
        internal.category.to_owned(),
        list(&internal.origins),
        list(&internal.decisions),
        internal.maker.clone().unwrap_or_default(),
        internal.consent.clone().unwrap_or_default(),
        internal.series_id.clone().unwrap_or_default(),
    ]
}

/// Ids may hold any separator: lists are JSON.
fn list(values: &impl serde::Serialize) -> String {
    serde_json::to_string(values).unwrap_or_default()
}

/// A cell that a spreadsheet would calculate gets a `'` in front; what needs quotes has them.
fn put(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if is_formula { "'" } else { "" };
    if is_formula || cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
