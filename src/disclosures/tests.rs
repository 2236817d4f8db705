//! The rules of the accounting, one by one.

use super::{
    clocks::fee,
    select::{Selection, years_before},
    *,
};
use crate::domain::Timestamp;

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

const NOW: &str = "2026-03-10T15:00:00Z";

fn row(id: &str, disclosed_at: &str, category: Category) -> Row {
    Row {
        origin: Origin::Store(id.to_owned()),
        tenant: "T1".to_owned(),
        client: "C1".to_owned(),
        disclosed_at: at(disclosed_at),
        recipient: format!("recipient of {id}"),
        address: None,
        description: "summary".to_owned(),
        purpose: Some("a purpose".to_owned()),
        legal_basis: "basis".to_owned(),
        category,
        said_accountable: None,
        is_part2: false,
        is_via_ehr: true,
        series: None,
        decision_id: None,
        maker: None,
        consent: None,
    }
}

fn outcome(record: &str, description: &str) -> OutcomeEntry {
    OutcomeEntry {
        record: record.to_owned(),
        decision_id: "d1".to_owned(),
        decided_at: at("2026-01-01T00:00:00Z"),
        tenant: "T1".to_owned(),
        client: "C1".to_owned(),
        recipient: "County Health".to_owned(),
        address: None,
        description: description.to_owned(),
        basis: "164.512(b)".to_owned(),
        purpose: Some("PUBHLTH".to_owned()),
        maker: Some("User/pri".to_owned()),
        consent: None,
        is_part2: false,
    }
}

fn case(requested_at: &str) -> Case {
    Case {
        tenant: "T1".to_owned(),
        client: "C1".to_owned(),
        requester: None,
        requested_at: at(requested_at),
        generated_at: at(requested_at),
        period_from: None,
        extension: None,
        fulfilled_at: None,
        earlier_requests: Vec::new(),
        fee: None,
        responsible: None,
        policies_revision: None,
        rules: Rules::default(),
    }
}

fn listed(case: &Case, rows: Vec<Row>, suspensions: &[Suspension]) -> Vec<String> {
    let entries = entries(rows, Vec::new());
    let report = report(case, &entries, suspensions, Copy::Internal).unwrap();
    report.disclosures.iter().map(|line| line.recipient.trim_start_matches("recipient of ").to_owned()).collect()
}

fn suspension(statement: Statement, starts_at: &str, ends_at: &str) -> Suspension {
    Suspension {
        tenant: "T1".to_owned(),
        client: "C1".to_owned(),
        agency: "City  police".to_owned(),
        statement,
        received_at: at(starts_at),
        starts_at: at(starts_at),
        ends_at: at(ends_at),
    }
}

fn to_the_police(id: &str) -> Row {
    Row { recipient: "City Police".to_owned(), ..row(id, "2026-02-01T00:00:00Z", Category::LawEnforcement) }
}

#[test]
fn the_period_is_six_years_to_the_day_and_both_its_ends_belong_to_it() {
    let health = |id, at| row(id, at, Category::PublicHealth);
    let rows = || {
        vec![
            health("a second too old", "2020-03-10T14:59:59Z"),
            health("first", "2020-03-10T15:00:00Z"),
            health("last", NOW),
            health("a second too late", "2026-03-10T15:00:01Z"),
        ]
    };
    assert_eq!(listed(&case(NOW), rows(), &[]), ["first", "last"]);
    let later = Case { period_from: Some(at("2021-01-01T00:00:00Z")), ..case(NOW) };
    assert_eq!(listed(&later, rows(), &[]), ["last"]);
    let earlier = Case { period_from: Some(at("2010-01-01T00:00:00Z")), ..case(NOW) };
    assert_eq!(listed(&earlier, rows(), &[]), ["first", "last"], "never more than six years");
}

#[test]
fn the_29th_of_february_is_a_day_and_its_absence_favours_the_client() {
    let leap = || vec![row("leap day", "2020-02-29T12:00:00Z", Category::PublicHealth)];
    for (requested_at, is_listed) in [
        ("2026-02-28T12:00:00Z", true),
        ("2026-02-28T23:59:59Z", true),
        ("2026-03-01T00:00:00Z", false),
        ("2026-03-01T12:00:00Z", false),
    ] {
        assert_eq!(listed(&case(requested_at), leap(), &[]).len(), usize::from(is_listed), "{requested_at}");
    }
    // Six years before a leap day there is none: the period begins a day earlier.
    assert_eq!(years_before(at("2028-02-29T12:00:00Z"), 6), at("2022-02-28T12:00:00Z"));
    let before = vec![row("28th", "2022-02-28T12:00:00Z", Category::PublicHealth)];
    assert_eq!(listed(&case("2028-02-29T12:00:00Z"), before, &[]), ["28th"]);
    assert_eq!(years_before(at("2026-02-28T12:00:00Z"), 2), at("2024-02-28T12:00:00Z"));
}

#[test]
fn what_is_exempt_is_out_and_a_breach_is_in() {
    let exempt = [
        Category::Treatment,
        Category::Payment,
        Category::Operations,
        Category::Individual,
        Category::Authorized508,
        Category::Incidental,
        Category::Directory,
        Category::CarePersons,
        Category::NationalSecurity,
        Category::Custodial,
        Category::LimitedDataSet,
        Category::Part2Consented,
    ];
    let rows = exempt.iter().map(|category| row(category.as_str(), "2026-01-05T00:00:00Z", *category)).collect();
    assert_eq!(listed(&case(NOW), rows, &[]), [""; 0]);
    let accountable = [
        Category::RequiredByLaw,
        Category::PublicHealth,
        Category::AbuseReport,
        Category::Oversight,
        Category::Judicial,
        Category::LawEnforcement,
        Category::Decedent,
        Category::StudyWaiver,
        Category::Threat,
        Category::Government,
        Category::WorkersComp,
        Category::HhsSecretary,
        Category::Impermissible,
        Category::Part2Emergency,
        Category::Unclassified,
    ];
    let rows: Vec<_> =
        accountable.iter().map(|category| row(category.as_str(), "2026-01-05T00:00:00Z", *category)).collect();
    assert_eq!(listed(&case(NOW), rows, &[]).len(), accountable.len());
}

#[test]
fn an_authorization_that_was_revoked_later_still_covers_what_it_covered() {
    // The row keeps the category of its day; nothing that came later is asked.
    let authorized = row("authorized", "2025-05-01T00:00:00Z", Category::Authorized508);
    let authorized = Row { said_accountable: Some(false), consent: Some("CS5".to_owned()), ..authorized };
    assert_eq!(listed(&case(NOW), vec![authorized], &[]), [""; 0]);
}

#[test]
fn a_row_that_contradicts_its_category_is_judged_by_the_category_and_marked_inside() {
    let disputed = Row { said_accountable: Some(false), ..row("r", "2026-01-05T00:00:00Z", Category::PublicHealth) };
    let entries = entries(vec![disputed], Vec::new());
    let report = report(&case(NOW), &entries, &[], Copy::Internal).unwrap();
    assert!(report.disclosures[0].internal.as_ref().unwrap().is_disputed);
}

#[test]
fn an_oral_statement_suspends_for_30_days_at_most() {
    let asked = |generated_at: &str| Case { generated_at: at(generated_at), ..case("2026-03-10T15:00:00Z") };
    let oral = suspension(Statement::Oral, "2026-02-20T00:00:00Z", "2026-12-31T00:00:00Z");
    for (generated_at, is_listed) in [
        ("2026-02-19T23:59:59Z", true),
        ("2026-02-20T00:00:00Z", false),
        // Day 30, to its last second; then day 31.
        ("2026-03-21T23:59:59Z", false),
        ("2026-03-22T00:00:00Z", true),
    ] {
        let listed = listed(&asked(generated_at), vec![to_the_police("p")], std::slice::from_ref(&oral));
        assert_eq!(listed.len(), usize::from(is_listed), "{generated_at}");
    }
    let written = Suspension { statement: Statement::Written, ..oral };
    assert_eq!(listed(&asked("2026-06-01T00:00:00Z"), vec![to_the_police("p")], &[written]), [""; 0]);
}

#[test]
fn a_written_statement_that_starts_later_suspends_from_then_on_alone() {
    let written = Suspension {
        received_at: at("2026-02-20T00:00:00Z"),
        ..suspension(Statement::Written, "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z")
    };
    for (generated_at, is_listed) in [
        ("2026-03-31T23:59:59Z", true),
        ("2026-04-01T00:00:00Z", false),
        ("2026-06-30T23:59:59Z", false),
        ("2026-07-01T00:00:00Z", true),
    ] {
        let case = Case { generated_at: at(generated_at), ..case(NOW) };
        let listed = listed(&case, vec![to_the_police("p")], std::slice::from_ref(&written));
        assert_eq!(listed.len(), usize::from(is_listed), "{generated_at}");
    }
}

#[test]
fn a_suspension_is_of_its_agency_client_tenant_and_kind_and_leaves_no_trace() {
    let active = suspension(Statement::Written, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let other_agency = Row { recipient: "County Police".to_owned(), ..to_the_police("c") };
    let other_kind = Row { category: Category::PublicHealth, ..to_the_police("h") };
    assert_eq!(listed(&case(NOW), vec![other_agency, other_kind], std::slice::from_ref(&active)).len(), 2);
    for foreign in [
        Suspension { client: "C2".to_owned(), ..active.clone() },
        Suspension { tenant: "T2".to_owned(), ..active.clone() },
    ] {
        assert_eq!(listed(&case(NOW), vec![to_the_police("p")], &[foreign]).len(), 1);
    }
    // The same bytes as if the row were not there, in every form and copy.
    let empty = entries(Vec::new(), Vec::new());
    let withheld = entries(vec![to_the_police("p")], Vec::new());
    for copy in [Copy::Patient, Copy::Internal] {
        let with = report(&case(NOW), &withheld, std::slice::from_ref(&active), copy).unwrap();
        assert_eq!(with, report(&case(NOW), &empty, &[], copy).unwrap());
        assert!(!html(&with).to_lowercase().contains("suspen") && !csv(&with).contains("Police"));
    }
}

#[test]
fn twelve_monthly_reports_are_one_series_and_withheld_ones_are_not_counted() {
    let monthly = |month: u32| Row {
        recipient: "County Health".to_owned(),
        description: format!("report of month {month}"),
        ..row(&format!("m{month:02}"), &format!("2025-{month:02}-15T10:00:00Z"), Category::PublicHealth)
    };
    let mut rows: Vec<Row> = (1..=12).map(monthly).collect();
    rows.push(Row { purpose: Some("another purpose".to_owned()), ..monthly(6) });
    rows.last_mut().unwrap().origin = Origin::Store("x".to_owned());
    let made = report(&case(NOW), &entries(rows, Vec::new()), &[], Copy::Internal).unwrap();
    assert_eq!(made.disclosures.len(), 2);
    let line = &made.disclosures[0];
    let series = line.series.as_ref().unwrap();
    assert_eq!((series.count, series.frequency), (12, Some("monthly")));
    assert_eq!((line.disclosed_at, series.last_at), (at("2025-01-15T10:00:00Z"), at("2025-12-15T10:00:00Z")));
    assert_eq!(line.description, "report of month 1");
    assert_eq!(line.internal.as_ref().unwrap().origins.len(), 12);
    assert!(html(&made).contains("2025-01-15 10:00, 12 times, monthly, last 2025-12-15 10:00"));
    // Not of a kind that the law lets be told together.
    let breaches = (1..=3).map(|month| Row { category: Category::Impermissible, ..monthly(month) }).collect();
    assert_eq!(report(&case(NOW), &entries(breaches, Vec::new()), &[], Copy::Patient).unwrap().disclosures.len(), 3);
}

#[test]
fn a_second_request_within_twelve_months_shows_its_fee() {
    let paid = |earlier: &[&str]| {
        let earlier: Vec<_> = earlier.iter().map(|instant| at(instant)).collect();
        fee(at(NOW), &earlier, Some("12.50")).unwrap()
    };
    assert_eq!(paid(&[]), "0.00");
    assert_eq!(paid(&["2025-03-10T15:00:00Z"]), "0.00", "twelve months are over");
    assert_eq!(paid(&["2025-03-10T15:00:01Z"]), "12.50");
    assert_eq!(paid(&[NOW]), "0.00", "this one is not an earlier one");
    assert_eq!(fee(at(NOW), &[at("2026-01-01T00:00:00Z")], None).unwrap(), "0.00");
    for wrong in ["-1", "1,50", "1.5", "", "x", "1.234"] {
        assert!(matches!(fee(at(NOW), &[], Some(wrong)), Err(ClocksError::Amount(_))), "{wrong}");
    }
    let case = Case { fee: Some("12.50".to_owned()), earlier_requests: vec![at("2026-01-01T00:00:00Z")], ..case(NOW) };
    let report = report(&case, &[], &[], Copy::Patient).unwrap();
    assert!(html(&report).contains("<dt>Fee</dt><dd>12.50</dd>"));
}

#[test]
fn a_request_is_due_after_60_days_and_may_be_extended_once_before() {
    let requested = at("2026-01-01T00:00:00Z");
    let clocks = Clocks::new(requested, None, None).unwrap();
    assert_eq!(clocks.due_at, at("2026-03-02T00:00:00Z"));
    assert_eq!(clocks.reminders, [at("2026-01-31T00:00:00Z"), at("2026-02-20T00:00:00Z"), at("2026-02-28T00:00:00Z")]);
    let extended = |told_at: &str, reason: &str| {
        Clocks::new(requested, Some(Extension { told_at: at(told_at), reason: reason.to_owned() }), None)
    };
    let in_time = extended("2026-03-01T23:59:59Z", "the archive moves").unwrap();
    assert_eq!(in_time.extended_due_at, Some(at("2026-04-01T00:00:00Z")));
    assert!(matches!(extended("2026-03-02T00:00:00Z", "late"), Err(ClocksError::TooLate { .. })));
    assert_eq!(extended("2026-02-01T00:00:00Z", " "), Err(ClocksError::NoReason));
    assert!(matches!(extended("2025-12-31T00:00:00Z", "early"), Err(ClocksError::BeforeTheRequest { .. })));
    assert!(Clocks::new(requested, None, Some(at("2025-12-31T00:00:00Z"))).is_err());
}

#[test]
fn a_repeated_outcome_adds_nothing_and_a_corrected_one_keeps_both_versions() {
    let once = entries(Vec::new(), vec![outcome("w/5", "summary")]);
    let twice = entries(Vec::new(), vec![outcome("w/5", "summary"), outcome("w/9", "summary")]);
    assert_eq!(once, twice);
    let corrected = entries(
        Vec::new(),
        vec![
            outcome("w/5", "summary"),
            outcome("w/9", "whole chart"),
            outcome("w/11", "summary"),
            outcome("w/12", "whole chart"),
        ],
    );
    assert_eq!(corrected.len(), 1);
    let report = report(&case(NOW), &corrected, &[], Copy::Patient).unwrap();
    let [line] = report.disclosures.as_slice() else { panic!("{report:?}") };
    assert_eq!((line.description.as_str(), line.corrected.len()), ("whole chart", 1));
    assert_eq!(line.corrected[0].description, "summary");
    let page = html(&report);
    assert!(page.contains("corrected below") && page.contains("whole chart") && page.contains("<td>summary</td>"));
    assert_eq!(csv(&report).matches("\r\n").count(), 3);
}

#[test]
fn a_row_of_the_store_and_its_outcome_are_one_disclosure() {
    let stored = Row {
        decision_id: Some("d1".to_owned()),
        recipient: "County Health".to_owned(),
        ..row("DS9", "2026-01-01T08:00:00Z", Category::PublicHealth)
    };
    let joined = entries(vec![stored.clone()], vec![outcome("w/5", "summary")]);
    assert_eq!(joined.len(), 1);
    assert!(joined[0].earlier().is_empty());
    assert_eq!(joined[0].current().maker.as_deref(), Some("User/pri"), "what only the trail knows");
    let corrected = entries(vec![stored], vec![outcome("w/5", "whole chart")]);
    assert_eq!((corrected.len(), corrected[0].earlier().len()), (1, 1));
    assert_eq!(corrected[0].current().disclosed_at, at("2026-01-01T08:00:00Z"), "when it took place stays");
}

#[test]
fn a_correction_that_names_a_suspended_agency_is_suspended_with_all_its_versions() {
    let active = suspension(Statement::Written, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let police =
        OutcomeEntry { recipient: "City Police".to_owned(), basis: "164.512(f)".to_owned(), ..outcome("w/9", "x") };
    let both = entries(Vec::new(), vec![outcome("w/5", "summary"), police]);
    assert_eq!(report(&case(NOW), &both, &[active], Copy::Patient).unwrap().disclosures.len(), 0);
}

#[test]
fn the_switch_of_part_2_lists_three_years_of_what_left_with_consent_through_an_ehr() {
    let part2 = |id, instant| Row { is_part2: true, ..row(id, instant, Category::Treatment) };
    let rows = || {
        vec![
            part2("a second too old", "2023-03-10T14:59:59Z"),
            part2("first", "2023-03-10T15:00:00Z"),
            Row { is_via_ehr: false, ..part2("on paper", "2026-01-01T00:00:00Z") },
            row("consented", "2026-01-02T00:00:00Z", Category::Part2Consented),
            row("emergency", "2021-01-02T00:00:00Z", Category::Part2Emergency),
            row("plain treatment", "2026-01-02T00:00:00Z", Category::Treatment),
        ]
    };
    assert_eq!(listed(&case(NOW), rows(), &[]), ["emergency"], "the rule is tolled");
    let on = Case { rules: Rules { part2_consented: true }, ..case(NOW) };
    assert_eq!(listed(&on, rows(), &[]), ["emergency", "first", "consented"]);
}

#[test]
fn no_row_of_another_tenant_or_client_is_told() {
    let rows = || {
        vec![
            row("own", "2026-01-05T00:00:00Z", Category::PublicHealth),
            Row { tenant: "T2".to_owned(), ..row("foreign tenant", "2026-01-05T00:00:00Z", Category::PublicHealth) },
            Row { client: "C2".to_owned(), ..row("other client", "2026-01-05T00:00:00Z", Category::PublicHealth) },
        ]
    };
    assert_eq!(listed(&case(NOW), rows(), &[]), ["own"]);
    // One decision id in two tenants stays two disclosures.
    let one_id = |tenant: &str| OutcomeEntry { tenant: tenant.to_owned(), ..outcome(&format!("{tenant}/1"), tenant) };
    assert_eq!(entries(Vec::new(), vec![one_id("T1"), one_id("T2")]).len(), 2);
}

#[test]
fn the_patients_copy_has_no_word_of_the_inside_and_every_text_is_escaped() {
    let hostile = Row {
        recipient: "<script>alert('x')</script>".to_owned(),
        description: "a & b \"c\" \u{202e}d\u{7}".to_owned(),
        legal_basis: "SECRET-BASIS".to_owned(),
        decision_id: Some("SECRET-DECISION".to_owned()),
        maker: Some("SECRET-MAKER".to_owned()),
        consent: Some("SECRET-CONSENT".to_owned()),
        series: Some("SECRET-SERIES".to_owned()),
        purpose: None,
        ..row("SECRET-ROW", "2026-01-05T00:00:00Z", Category::PublicHealth)
    };
    let entries = entries(vec![hostile], Vec::new());
    let patient = report(&case(NOW), &entries, &[], Copy::Patient).unwrap();
    let json = serde_json::to_string(&patient).unwrap();
    for text in [html(&patient), csv(&patient), json] {
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("not known"), "an address that is not there is said");
    }
    let page = html(&patient);
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") && !page.contains("<script"), "{page}");
    assert!(page.contains("a &amp; b &quot;c&quot;  d ") && page.contains("default-src 'none'"));
    assert!(page.contains("<td>public health</td>"), "no purpose was stated: the kind is");
    let inside = html(&report(&case(NOW), &entries, &[], Copy::Internal).unwrap());
    assert!(
        ["BASIS", "DECISION", "MAKER", "CONSENT", "SERIES"]
            .iter()
            .all(|word| inside.contains(&format!("SECRET-{word}")))
    );
}

#[test]
fn the_same_inputs_give_the_same_bytes_and_another_row_another_digest() {
    let rows = || {
        vec![
            row("a", "2026-01-05T00:00:00Z", Category::PublicHealth),
            row("b", "2026-01-05T00:00:00Z", Category::Threat),
        ]
    };
    let mut turned = rows();
    turned.reverse();
    let made = |rows: Vec<Row>| report(&case(NOW), &entries(rows, Vec::new()), &[], Copy::Internal).unwrap();
    let (one, other) = (made(rows()), made(turned));
    assert_eq!((html(&one), csv(&one)), (html(&other), csv(&other)), "whatever order the store gives them in");
    assert_eq!(serde_json::to_vec(&one).unwrap(), serde_json::to_vec(&other).unwrap());
    assert_eq!(one.header.sha256.len(), 64);
    let less = made(rows().into_iter().take(1).collect());
    assert_ne!(one.header.sha256, less.header.sha256);
    let mut without = one.clone();
    without.header.sha256.clear();
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(serde_json::to_vec(&without).unwrap());
    assert_eq!(one.header.sha256, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
}

#[test]
fn the_demo_client_is_told_of_one_disclosure_and_of_two_once_the_suspension_is_over() {
    let health =
        |id, instant| Row { recipient: "County Health".to_owned(), ..row(id, instant, Category::PublicHealth) };
    let rows = || {
        vec![
            health("DS1", "2020-03-10T15:00:00Z"),
            health("DS2", "2020-03-09T15:00:00Z"),
            row("DS3", "2026-01-05T00:00:00Z", Category::Payment),
            to_the_police("DS4"),
        ]
    };
    let su1 = suspension(Statement::Oral, "2026-02-20T00:00:00Z", "2026-03-22T00:00:00Z");
    assert_eq!(listed(&case(NOW), rows(), std::slice::from_ref(&su1)), ["County Health"]);
    let later = Case { generated_at: at("2026-03-22T00:00:00Z"), ..case(NOW) };
    assert_eq!(listed(&later, rows(), &[su1]), ["County Health", "City Police"]);
}

#[test]
fn the_first_instant_of_a_period_is_the_later_of_the_two() {
    let selection = |period_from| Selection {
        tenant: "T1",
        client: "C1",
        requested_at: at(NOW),
        generated_at: at(NOW),
        period_from,
        rules: Rules::default(),
    };
    assert_eq!(selection(None).first(), at("2020-03-10T15:00:00Z"));
    let later = at("2025-01-01T00:00:00Z");
    assert_eq!(selection(Some(later)).first(), later);
}
