//! What kind of disclosure it was, and whether the law wants it accounted for.

use serde::{Serialize, Serializer};

/// The kinds of domain and law. What is not known to be exempt is accountable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    Treatment,
    Payment,
    Operations,
    Individual,
    Authorized508,
    Incidental,
    Directory,
    CarePersons,
    NationalSecurity,
    Custodial,
    LimitedDataSet,
    RequiredByLaw,
    PublicHealth,
    AbuseReport,
    Oversight,
    Judicial,
    LawEnforcement,
    Decedent,
    StudyWaiver,
    Threat,
    Government,
    WorkersComp,
    HhsSecretary,
    Impermissible,
    Part2Emergency,
    Part2Consented,
    /// No kind that is known here: listed, so that nothing is left out by a slip of the pen.
    Unclassified,
}

/// How a kind is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accounting {
    Exempt,
    SixYears,
    /// Of substance use records, where the rule for them is switched on.
    ThreeYears,
}

const WORDS: [(Category, &str, &str); 27] = [
    (Category::Treatment, "TREATMENT", "treatment"),
    (Category::Payment, "PAYMENT", "payment"),
    (Category::Operations, "OPERATIONS", "health care operations"),
    (Category::Individual, "INDIVIDUAL", "to the individual"),
    (Category::Authorized508, "AUTHORIZED_508", "authorized by the individual"),
    (Category::Incidental, "INCIDENTAL", "incidental"),
    (Category::Directory, "DIRECTORY", "facility directory"),
    (Category::CarePersons, "CARE_PERSONS", "to persons involved in care"),
    (Category::NationalSecurity, "NATIONAL_SECURITY", "national security"),
    (Category::Custodial, "CUSTODIAL", "to a custodian"),
    (Category::LimitedDataSet, "LIMITED_DATA_SET", "limited data set"),
    (Category::RequiredByLaw, "REQUIRED_BY_LAW", "required by law"),
    (Category::PublicHealth, "PUBLIC_HEALTH", "public health"),
    (Category::AbuseReport, "ABUSE_REPORT", "report of abuse or neglect"),
    (Category::Oversight, "OVERSIGHT", "health oversight"),
    (Category::Judicial, "JUDICIAL", "court or administrative proceeding"),
    (Category::LawEnforcement, "LAW_ENFORCEMENT", "law enforcement"),
    (Category::Decedent, "DECEDENT", "about a decedent"),
    (Category::StudyWaiver, "STUDY_WAIVER", "research under a waiver"),
    (Category::Threat, "THREAT", "to avert a serious threat"),
    (Category::Government, "GOVERNMENT", "specialized government function"),
    (Category::WorkersComp, "WORKERS_COMP", "workers' compensation"),
    (Category::HhsSecretary, "HHS_SECRETARY", "to the Secretary of Health and Human Services"),
    (Category::Impermissible, "IMPERMISSIBLE", "not permitted (for instance misdirected)"),
    (Category::Part2Emergency, "PART2_EMERGENCY", "medical emergency (substance use records)"),
    (Category::Part2Consented, "PART2_CONSENTED", "with consent (substance use records)"),
    (Category::Unclassified, "UNCLASSIFIED", "other"),
];

/// Paragraphs of 45 CFR 164, the longer before the shorter.
const PARAGRAPHS: [(&str, Category); 22] = [
    ("164.512(k)(2)", Category::NationalSecurity),
    ("164.512(k)(5)", Category::Custodial),
    ("164.512(a)", Category::RequiredByLaw),
    ("164.512(b)", Category::PublicHealth),
    ("164.512(c)", Category::AbuseReport),
    ("164.512(d)", Category::Oversight),
    ("164.512(e)", Category::Judicial),
    ("164.512(f)", Category::LawEnforcement),
    ("164.512(g)", Category::Decedent),
    ("164.512(i)", Category::StudyWaiver),
    ("164.512(j)", Category::Threat),
    ("164.512(k)", Category::Government),
    ("164.512(l)", Category::WorkersComp),
    ("164.502(a)(2)(ii)", Category::HhsSecretary),
    ("164.502(a)(1)(i)", Category::Individual),
    ("164.502(a)(1)(iii)", Category::Incidental),
    ("164.524", Category::Individual),
    ("164.508", Category::Authorized508),
    ("164.510(a)", Category::Directory),
    ("164.510(b)", Category::CarePersons),
    ("164.514(e)", Category::LimitedDataSet),
    ("2.51", Category::Part2Emergency),
];

impl Category {
    /// The word of the store's column; any other is unclassified.
    pub fn of_word(word: &str) -> Self {
        let is_it = |(_, known, _): &&(Self, &str, &str)| known.eq_ignore_ascii_case(word.trim());
        WORDS.iter().find(is_it).map_or(Self::Unclassified, |(category, ..)| *category)
    }

    /// What an outcome's `basis` says: a word of the column, or a paragraph of the rule. Treatment, payment and
    /// operations share one paragraph; there the `purpose` of the decision tells.
    pub fn of_basis(basis: &str, purpose: Option<&str>) -> Self {
        let by_word = Self::of_word(basis);
        if by_word != Self::Unclassified {
            return by_word;
        }
        let text: String = basis.chars().filter(|letter| !letter.is_whitespace()).collect();
        let paragraph = text.trim_start_matches("45CFR").trim_start_matches("42CFR").trim_start_matches('§');
        if let Some((_, category)) = PARAGRAPHS.iter().find(|(known, _)| is_under(paragraph, known)) {
            return *category;
        }
        match purpose {
            _ if !is_under(paragraph, "164.506") => Self::Unclassified,
            Some("HPAYMT") => Self::Payment,
            Some("TREAT" | "ETREAT" | "CAREMGT") => Self::Treatment,
            Some(_) | None => Self::Operations,
        }
    }

    pub(super) const fn accounting(self) -> Accounting {
        match self {
            Self::Treatment
            | Self::Payment
            | Self::Operations
            | Self::Individual
            | Self::Authorized508
            | Self::Incidental
            | Self::Directory
            | Self::CarePersons
            | Self::NationalSecurity
            | Self::Custodial
            | Self::LimitedDataSet => Accounting::Exempt,
            Self::RequiredByLaw
            | Self::PublicHealth
            | Self::AbuseReport
            | Self::Oversight
            | Self::Judicial
            | Self::LawEnforcement
            | Self::Decedent
            | Self::StudyWaiver
            | Self::Threat
            | Self::Government
            | Self::WorkersComp
            | Self::HhsSecretary
            | Self::Impermissible
            | Self::Part2Emergency
            | Self::Unclassified => Accounting::SixYears,
            Self::Part2Consented => Accounting::ThreeYears,
        }
    }

    /// Several to one recipient for one purpose may be told as a series: those of 164.512 and 164.502(a)(2)(ii).
    pub(super) const fn may_be_a_series(self) -> bool {
        !matches!(self, Self::Impermissible | Self::Part2Emergency | Self::Part2Consented | Self::Unclassified)
    }

    /// Treatment, payment and operations: what part 2 turns into its own accounting.
    pub(super) const fn is_506(self) -> bool {
        matches!(self, Self::Treatment | Self::Payment | Self::Operations)
    }

    pub fn as_str(self) -> &'static str {
        WORDS.iter().find(|(category, ..)| *category == self).map_or("UNCLASSIFIED", |(_, word, _)| word)
    }

    /// For the patient.
    pub(super) fn words(self) -> &'static str {
        WORDS.iter().find(|(category, ..)| *category == self).map_or("other", |(.., words)| words)
    }
}

/// Whether `text` is the paragraph or one inside it: `164.512(b)(1)` is under `164.512(b)`, `164.5121` is under none.
fn is_under(text: &str, paragraph: &str) -> bool {
    text.strip_prefix(paragraph).is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_alphanumeric()))
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_is_a_word_or_a_paragraph_and_else_unclassified() {
        for (basis, purpose, category) in [
            ("PUBLIC_HEALTH", None, Category::PublicHealth),
            ("164.512(b)", None, Category::PublicHealth),
            ("45 CFR 164.512(b)(1)(i)", None, Category::PublicHealth),
            ("164.512(k)(2)", None, Category::NationalSecurity),
            ("164.512(k)(5)(i)", None, Category::Custodial),
            ("164.512(k)(1)", None, Category::Government),
            ("§ 164.508", None, Category::Authorized508),
            ("42 CFR 2.51", None, Category::Part2Emergency),
            ("treatment", None, Category::Treatment),
            ("164.506(c)(3)", Some("HPAYMT"), Category::Payment),
            ("164.506", Some("TREAT"), Category::Treatment),
            ("164.506", None, Category::Operations),
            ("164.512(h)", None, Category::Unclassified),
            ("164.5080", None, Category::Unclassified),
            ("subpoena", None, Category::Unclassified),
            ("", None, Category::Unclassified),
        ] {
            assert_eq!(Category::of_basis(basis, purpose), category, "{basis}");
        }
        assert_eq!(Category::Unclassified.accounting(), Accounting::SixYears);
        assert!(WORDS.iter().all(|(category, word, _)| Category::of_word(word) == *category));
    }
}
