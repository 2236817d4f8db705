//! The accounting as one page without anything from elsewhere, to be printed and handed over.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::report::{Internal, Line, Report};
use crate::domain::Timestamp;

const STYLE: &str = "body{font:11pt/1.45 Georgia,serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}\
h1{font-size:1.5rem}table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{border:1px solid #999;padding:.35rem .5rem;\
text-align:left;vertical-align:top}th{background:#f2f2f2}dt{font-weight:bold}dd{margin:0 0 .4rem}.earlier{color:#555}\
.small{font-size:.85rem;overflow-wrap:anywhere}@media print{body{margin:0}thead{display:table-header-group}tr{break-inside:avoid}}";

/// The page. Every text in it is escaped, and it may load and run nothing.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    let header = &report.header;
    let is_internal = report.disclosures.iter().any(|line| line.internal.is_some());
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<title>Accounting of disclosures</title>\n");
    line(&mut page, format_args!("<style>{STYLE}</style>\n</head>\n<body>\n<h1>Accounting of disclosures</h1>"));
    page.push_str("<dl>\n");
    let mut fact = |name: &str, value: &str| {
        line(&mut page, format_args!("<dt>{name}</dt><dd>{}</dd>", Escaped(value)));
    };
    fact("For", &header.client);
    fact("Requested by", &header.requester);
    fact("Held by", &header.tenant);
    fact("Period", &format!("{} to {}", instant(header.period_from), instant(header.period_to)));
    fact("Requested on", &instant(header.clocks.requested_at));
    fact("To be answered by", &instant(header.clocks.extended_due_at.unwrap_or(header.clocks.due_at)));
    if let (Some(at), Some(reason)) = (header.clocks.extended_at, &header.clocks.extension_reason) {
        fact("Extended on", &format!("{}: {reason}", instant(at)));
    }
    if let Some(at) = header.clocks.fulfilled_at {
        fact("Answered on", &instant(at));
    }
    fact("Fee", &header.fee);
    fact("Responsible", &header.responsible);
    page.push_str("</dl>\n");
    table(&mut page, report, is_internal);
    page.push_str("<p>By law this accounting does not list disclosures:</p>\n<ul>\n");
    for exclusion in header.exclusions {
        line(&mut page, format_args!("<li>{}</li>", Escaped(exclusion)));
    }
    page.push_str("</ul>\n");
    line(
        &mut page,
        format_args!(
            "<p class=\"small\">Made on {} by {}, policies {}. Instants are UTC. SHA-256 {}</p>\n</body>\n</html>",
            instant(header.generated_at),
            Escaped(&header.generator),
            Escaped(header.policies_revision.as_deref().unwrap_or("not known")),
            Escaped(&header.sha256),
        ),
    );
    page
}

fn table(page: &mut String, report: &Report, is_internal: bool) {
    if report.disclosures.is_empty() {
        page.push_str("<p>In this period there was no disclosure that an accounting lists.</p>\n");
        return;
    }
    page.push_str("<table>\n<thead><tr><th>Date</th><th>To</th><th>What</th><th>Why</th>");
    page.push_str(if is_internal { "<th>Internal</th></tr></thead>\n<tbody>\n" } else { "</tr></thead>\n<tbody>\n" });
    for disclosure in &report.disclosures {
        for earlier in &disclosure.corrected {
            let when = format!("{}, corrected below", instant(disclosure.disclosed_at));
            let texts = [&*when, &earlier.recipient, &earlier.address, &earlier.description, &earlier.purpose];
            row(page, " class=\"earlier\"", texts, is_internal.then_some(earlier.internal.as_ref()));
        }
        let when = when(disclosure);
        let texts = [&*when, &disclosure.recipient, &disclosure.address, &disclosure.description, &disclosure.purpose];
        row(page, "", texts, is_internal.then_some(disclosure.internal.as_ref()));
    }
    page.push_str("</tbody>\n</table>\n");
}

fn when(disclosure: &Line) -> String {
    let first = instant(disclosure.disclosed_at);
    match &disclosure.series {
        None => first,
        Some(series) => {
            let rhythm = series.frequency.map(|frequency| format!(", {frequency}")).unwrap_or_default();
            format!("{first}, {} times{rhythm}, last {}", series.count, instant(series.last_at))
        }
    }
}

fn row(page: &mut String, class: &str, texts: [&str; 5], internal: Option<Option<&Internal>>) {
    let [when, recipient, address, description, purpose] = texts.map(Escaped);
    line(
        page,
        format_args!(
            "<tr{class}><td>{when}</td><td>{recipient}<br>Address: {address}</td><td>{description}</td><td>{purpose}</td>"
        ),
    );
    if let Some(internal) = internal {
        let words = internal.map(internal_words).unwrap_or_default();
        line(page, format_args!("<td class=\"small\">{}</td>", Escaped(&words)));
    }
    page.push_str("</tr>\n");
}

fn internal_words(internal: &Internal) -> String {
    let mut words = vec![internal.category.to_owned(), internal.legal_basis.clone()];
    words.extend(internal.decisions.iter().map(|id| format!("decision {id}")));
    words.extend(internal.maker.as_ref().map(|maker| format!("by {maker}")));
    words.extend(internal.consent.as_ref().map(|consent| format!("consent {consent}")));
    words.extend(internal.series_id.as_ref().map(|series| format!("series {series}")));
    words.join(" · ")
}

/// `2026-03-10 15:00`: to the minute, which no accounting needs finer.
fn instant(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Writing into a text cannot fail.
fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    if writeln!(page, "{text}").is_err() {
        tracing::error!("a line of an accounting could not be written");
    }
}

/// Text that says nothing to a browser but itself.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Controls and marks that turn the direction of writing around could show another text than there is.
                letter if letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter) => f.write_str(" ")?,
                letter if ('\u{2066}'..='\u{2069}').contains(&letter) => f.write_str(" ")?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}
