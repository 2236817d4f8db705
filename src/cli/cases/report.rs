//! What a run of cases prints: for people, for programs, for build servers.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use owo_colors::OwoColorize;
use serde_json::{Value as Json, json};

use super::{
    coverage::Coverage,
    run::{FailedCheck, Ran, RanCase, short},
};
use crate::cli::{
    bundle::{annotation, plural},
    failure::Failure,
    output::print,
};

/// One line a case, its failures below it, a summary at the end.
pub(in crate::cli) fn pretty(ran: &Ran, coverage: &Coverage, with_coverage: bool) -> Result<(), Failure> {
    let file_width = ran.cases.iter().map(|case| short(&case.file).chars().count()).max().unwrap_or(0);
    let name_width = ran.cases.iter().map(|case| case.name.chars().count()).max().unwrap_or(0);
    for case in &ran.cases {
        let file = short(&case.file);
        let (name, checks) = (&case.name, plural(case.checks, "check"));
        let file = format!("{file:file_width$}");
        if case.failures.is_empty() {
            print(format_args!("{} {}  {name:name_width$}  {}", "✓".green(), file.dimmed(), checks.dimmed()))?;
        } else {
            print(format_args!("{} {file}  {}", "✗".red().bold(), name.bold()))?;
            for failure in &case.failures {
                print(failed(failure))?;
            }
        }
    }
    // Of no case, every policy is unmatched: that says nothing.
    if with_coverage && !ran.cases.is_empty() {
        for id in &coverage.never {
            print(format_args!("{} {id}", "never matched".yellow()))?;
        }
    }
    print(summary(ran, coverage))
}

fn failed(failure: &FailedCheck) -> String {
    let mut text = String::new();
    let mut question = failure.question.clone();
    for difference in &failure.differences {
        let what = if difference.what == "decision" { String::new() } else { format!("{}: ", difference.what) };
        // Writing to a `String` cannot fail.
        let _infallible =
            writeln!(text, "    {question:<60}  {what}expected {}, got {}", difference.expected, difference.got.red());
        question.clear();
    }
    for told in &failure.policies {
        let why = told.policy.otherwise.as_ref().map(|code| format!("  ({code})")).unwrap_or_default();
        let _infallible = writeln!(text, "    {:<10}  {}   {}{why}", told.role(), told.policy.id, told.place.dimmed());
    }
    if failure.policies.is_empty() {
        let _infallible = writeln!(text, "    no policy came near");
    }
    if let Some(unread) = &failure.unread {
        let _infallible = writeln!(text, "    facts       {unread}");
    }
    text.trim_end().to_owned()
}

pub(in crate::cli) fn summary(ran: &Ran, coverage: &Coverage) -> String {
    const NAMED_MAX: usize = 3;
    let mut never: Vec<&str> = coverage.never.iter().take(NAMED_MAX).map(|id| &**id).collect();
    let more = coverage.never.len().saturating_sub(NAMED_MAX);
    let more = (more > 0).then(|| format!("{more} more"));
    never.extend(more.as_deref());
    let never = if never.is_empty() { String::new() } else { format!(" (never: {})", never.join(", ")) };
    format!(
        "{}, {} failed, {:.2} s · {} of {} policies matched{never}",
        plural(ran.checks(), "check"),
        ran.failed(),
        ran.took.as_secs_f64(),
        coverage.matched,
        coverage.total
    )
}

pub(in crate::cli) fn json(ran: &Ran, coverage: &Coverage) -> Json {
    json!({
        "schema_version": 1,
        "passed": ran.checks() - ran.failed(),
        "failed": ran.failed(),
        "checks": ran.checks(),
        "took_ms": u64::try_from(ran.took.as_millis()).unwrap_or(u64::MAX),
        "cases": ran.cases.iter().map(case_json).collect::<Vec<_>>(),
        "coverage": {
            "matched": coverage.matched,
            "total": coverage.total,
            "percent": coverage.percent(),
            "never": coverage.never,
        },
    })
}

fn case_json(case: &RanCase) -> Json {
    json!({
        "file": case.file.display().to_string(),
        "line": case.line,
        "name": case.name,
        "passed": case.failures.is_empty(),
        "checks": case.checks,
        "took_us": u64::try_from(case.took.as_micros()).unwrap_or(u64::MAX),
        "failures": case.failures.iter().map(|failure| json!({
            "question": failure.question,
            "differences": failure.differences.iter().map(|difference| json!({
                "what": difference.what, "expected": difference.expected, "got": difference.got,
            })).collect::<Vec<_>>(),
            "policies": failure.policies.iter().map(|told| json!({
                "id": told.policy.id, "role": told.role(), "place": told.place, "otherwise": told.policy.otherwise,
            })).collect::<Vec<_>>(),
            "facts_error": failure.unread,
        })).collect::<Vec<_>>(),
    })
}

/// The same words without colour, for annotations and JUnit.
fn plain(failure: &FailedCheck) -> String {
    anstream::adapter::strip_str(&failed(failure)).to_string()
}

pub(in crate::cli) fn github(ran: &Ran, coverage: &Coverage) -> Result<(), Failure> {
    for case in &ran.cases {
        for failure in &case.failures {
            let message = format!("{}\n{}", case.name, plain(failure));
            print(annotation("error", Some(&case.file), Some(case.line), None, &message))?;
        }
    }
    print(annotation("notice", None, None, None, &summary(ran, coverage)))
}

/// JUnit as build servers read it: a suite a file, a test a case.
pub(in crate::cli) fn junit(ran: &Ran) -> String {
    let mut suites: BTreeMap<&Path, Vec<&RanCase>> = BTreeMap::new();
    for case in &ran.cases {
        suites.entry(&case.file).or_default().push(case);
    }
    let failed = |cases: &[&RanCase]| cases.iter().filter(|case| !case.failures.is_empty()).count();
    let all: Vec<&RanCase> = ran.cases.iter().collect();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"chaperone test\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">\n",
        all.len(),
        failed(&all),
        ran.took.as_secs_f64()
    );
    for (file, cases) in suites {
        let name = escaped(&file.display().to_string());
        let _infallible =
            writeln!(xml, "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">", cases.len(), failed(&cases));
        for case in cases {
            let took = case.took.as_secs_f64();
            let head = format!(
                "    <testcase classname=\"{name}\" name=\"{}\" file=\"{name}\" line=\"{}\" time=\"{took:.3}\"",
                escaped(&case.name),
                case.line
            );
            if case.failures.is_empty() {
                let _infallible = writeln!(xml, "{head}/>");
                continue;
            }
            let text: Vec<String> = case.failures.iter().map(plain).collect();
            let count = plural(case.failures.len(), "check");
            let _infallible = writeln!(
                xml,
                "{head}>\n      <failure message=\"{count} failed\">{}</failure>\n    </testcase>",
                escaped(&text.join("\n"))
            );
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>");
    xml
}

/// Text for XML 1.0, which has no place for control characters at all.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(letter),
            letter if letter.is_control() => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_holds_no_sign_of_its_own_in_text() {
        assert_eq!(escaped("a<b & \"c\"\u{1b}"), "a&lt;b &amp; &quot;c&quot;\u{fffd}");
    }
}
