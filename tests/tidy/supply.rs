//! The rules of deny.toml, held against what cargo resolved: the part that needs neither a network nor a further tool.

use std::collections::BTreeSet;

/// Where Chaperone runs; other platforms' crates do not ship.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug)]
pub(crate) struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
}

/// The packages of `cargo metadata` that the resolution for this platform reaches.
pub(crate) fn packages(metadata: &[u8]) -> anyhow::Result<Vec<Package>> {
    let document: serde_json::Value = serde_json::from_slice(metadata)?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let reached: BTreeSet<&str> =
        document["resolve"]["nodes"].as_array().into_iter().flatten().filter_map(|node| node["id"].as_str()).collect();
    let all = document["packages"].as_array().ok_or_else(|| anyhow::anyhow!("no packages"))?;
    all.iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| reached.contains(id)))
        .map(|package| {
            Ok(Package {
                name: text(&package["name"]).ok_or_else(|| anyhow::anyhow!("a package without a name"))?,
                version: text(&package["version"]).ok_or_else(|| anyhow::anyhow!("a package without a version"))?,
                licence: text(&package["license"]),
                source: text(&package["source"]),
            })
        })
        .collect()
}

/// The lists of deny.toml that are checked here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    licences: Vec<String>,
    /// Crate, and the version from which it is welcome again.
    bans: Vec<(String, Option<String>)>,
}

impl Rules {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut table = String::new();
        let mut list = String::new();
        let mut rules = Self { licences: Vec::new(), bans: Vec::new() };
        for line in text.lines().map(str::trim) {
            if list.is_empty() && line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut table);
            } else if let Some(name) = line.strip_suffix("= [") {
                name.trim().clone_into(&mut list);
            } else if line == "]" {
                list.clear();
            } else if let Some(value) = line.split('"').nth(1).filter(|_| !line.starts_with('#')) {
                match (table.as_str(), list.as_str()) {
                    ("licenses", "allow") => rules.licences.push(value.to_owned()),
                    ("bans", "deny") => rules.bans.push(ban(value)?),
                    _ => {}
                }
            }
        }
        anyhow::ensure!(!rules.licences.is_empty(), "deny.toml allows no licence");
        anyhow::ensure!(!rules.bans.is_empty(), "deny.toml bans no crate");
        Ok(rules)
    }
}

/// `name` or `name:<version`. After an `@`, cargo-deny reads a range otherwise.
fn ban(value: &str) -> anyhow::Result<(String, Option<String>)> {
    anyhow::ensure!(!value.contains('@'), "`{value}`: write the range after a colon");
    match value.split_once(':') {
        None => Ok((value.to_owned(), None)),
        Some((name, range)) => {
            let below = range.strip_prefix('<').filter(|version| !version.starts_with('='));
            let below = below.ok_or_else(|| anyhow::anyhow!("`{value}`: only `<` is understood here"))?;
            Ok((name.to_owned(), Some(below.to_owned())))
        }
    }
}

pub(crate) fn unlicensed(rules: &Rules, packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| match &package.licence {
            None => Some(format!("{} {} names no licence", package.name, package.version)),
            Some(licence) if !is_allowed(licence, &rules.licences) => {
                Some(format!("{} {} is under `{licence}`", package.name, package.version))
            }
            Some(_) => None,
        })
        .collect()
}

pub(crate) fn banned(rules: &Rules, packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let Package { name, version, .. } = package;
        for (banned, below) in &rules.bans {
            if banned == name && below.as_ref().is_none_or(|below| numbers(version) < numbers(below)) {
                found.push(format!("{name} {version} is banned"));
            }
        }
        if package.source.as_deref().is_some_and(|source| source != REGISTRY) {
            found.push(format!("{name} {version} comes from elsewhere than crates.io"));
        }
    }
    found
}

fn numbers(version: &str) -> [u64; 3] {
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = release.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether an SPDX expression can be met with the allowed licences. `/` is the old way to write `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = all_of(rest, allowed);
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        met |= all_of(rest, allowed);
    }
    met
}

fn all_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let met = any_of(rest, allowed);
            if let [")", tail @ ..] = *rest {
                *rest = tail;
            }
            met
        }
        [name, "WITH", exception, tail @ ..] => {
            *rest = tail;
            allowed.iter().any(|licence| *licence == format!("{name} WITH {exception}"))
        }
        [name, tail @ ..] => {
            *rest = tail;
            allowed.iter().any(|licence| licence == name)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            "[licenses]\nallow = [\n  \"MIT\", # why\n  \"ISC\",\n  \"A WITH B\",\n]\n[bans]\nwildcards = \"deny\"\n\
             deny = [\n  # why \"quoted\"\n  { crate = \"openssl\" },\n  { crate = \"jwt:<10.3\" },\n]\n",
        )
        .unwrap()
    }

    fn package(name: &str, version: &str, licence: Option<&str>, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.map(str::to_owned),
            source: Some(source.to_owned()),
        }
    }

    #[test]
    fn the_lists_of_deny_toml_are_read() {
        assert_eq!(
            rules(),
            Rules {
                licences: vec!["MIT".to_owned(), "ISC".to_owned(), "A WITH B".to_owned()],
                bans: vec![("openssl".to_owned(), None), ("jwt".to_owned(), Some("10.3".to_owned()))],
            }
        );
    }

    #[test]
    fn lists_that_cannot_be_read_are_an_error() {
        assert!(Rules::parse("").is_err());
        assert!(
            Rules::parse("[licenses]\nallow = [\n\"MIT\",\n]\n[bans]\ndeny = [\n{ crate = \"a@<1\" },\n]").is_err()
        );
        assert!(Rules::parse("[licenses]\nallow = [\n\"MIT\",\n]").is_err());
        assert!(
            Rules::parse("[licenses]\nallow = [\n\"MIT\",\n]\n[bans]\ndeny = [\n{ crate = \"a:=1\" },\n]").is_err()
        );
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_named() {
        let all = [
            "MIT",
            "GPL-3.0 OR MIT",
            "GPL-3.0/MIT",
            "MIT AND (GPL-3.0 OR ISC)",
            "A WITH B",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND GPL-3.0",
            "A",
            "A WITH C",
            "MIT ISC",
            "",
        ]
        .map(|licence| package("x", "1.0.0", Some(licence), REGISTRY));
        let found = unlicensed(&rules(), &all);
        assert_eq!(found.len(), 7, "{found:?}");
        assert!(found[0].contains("`GPL-3.0`"), "{found:?}");
        assert_eq!(unlicensed(&rules(), &[package("x", "1.0.0", None, REGISTRY)]), ["x 1.0.0 names no licence"]);
    }

    #[test]
    fn a_banned_crate_is_named_and_a_later_version_is_welcome() {
        let all = [
            package("openssl", "0.10.1", None, REGISTRY),
            package("jwt", "10.2.9", None, REGISTRY),
            package("jwt", "9.11.0", None, REGISTRY),
            package("jwt", "10.3.0", None, REGISTRY),
            package("other", "1.0.0", None, "git+https://example.org/other"),
        ];
        assert_eq!(
            banned(&rules(), &all),
            [
                "openssl 0.10.1 is banned",
                "jwt 10.2.9 is banned",
                "jwt 9.11.0 is banned",
                "other 1.0.0 comes from elsewhere than crates.io",
            ]
        );
    }
}
