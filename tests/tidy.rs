//! The guard of the house: floors, words, lengths, reasons and licences, as ordinary tests.
//!
//! Each rule is a pure function over text, tested on text that breaks it; the tests below apply the rules to the project.

#[cfg(test)]
#[path = "tidy/floors.rs"]
mod floors;
#[cfg(test)]
#[path = "tidy/manifest.rs"]
mod manifest;
#[cfg(test)]
#[path = "tidy/map.rs"]
mod map;
#[cfg(test)]
#[path = "tidy/supply.rs"]
mod supply;
#[cfg(test)]
#[path = "tidy/tokens.rs"]
mod tokens;
#[cfg(test)]
#[path = "tidy/words.rs"]
mod words;

#[cfg(test)]
mod project {
    use std::{
        fmt::Write as _,
        fs,
        io::Write as _,
        path::{Path, PathBuf},
    };

    use super::{floors, manifest, map, supply, words};

    /// A source file, by its path from the root of the project.
    struct Source {
        path: String,
        text: String,
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
    }

    fn sources() -> Vec<Source> {
        let found = files(&root().join("src"), "rs");
        assert!(!found.is_empty(), "no source was found under src");
        found
            .into_iter()
            .map(|path| Source {
                text: fs::read_to_string(&path).unwrap(),
                path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
            })
            .collect()
    }

    fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path, extension));
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
        found.sort();
        found
    }

    #[track_caller]
    fn refuse(problems: &[String]) {
        let mut list = String::new();
        for problem in problems {
            writeln!(list, "  {problem}").unwrap();
        }
        assert!(problems.is_empty(), "{} found:\n{list}", problems.len());
    }

    #[test]
    fn no_room_uses_a_floor_above_it_or_a_stranger_beside_it() {
        refuse(&sources().iter().flat_map(|s| floors::crossed(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn the_domain_neither_awaits_nor_performs_io() {
        refuse(&sources().iter().flat_map(|s| floors::impure(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn names_are_words_of_the_house() {
        refuse(&sources().iter().flat_map(|s| words::avoided(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_in_the_source_is_left_for_later() {
        refuse(&sources().iter().flat_map(|s| words::left_for_later(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn every_source_file_opens_with_its_door_sign() {
        refuse(&sources().iter().filter_map(|s| words::without_door_sign(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn no_source_file_is_longer_than_500_lines() {
        let mut long = String::new();
        for source in sources() {
            let lines = source.text.lines().count();
            if lines > words::LINES_PLANNED {
                writeln!(long, "  {} has {lines} lines (planned: {})", source.path, words::LINES_PLANNED).unwrap();
            }
        }
        // Past the test's own capture: the list is advice and is read when everything passes.
        std::io::stderr().write_all(long.as_bytes()).unwrap();
        refuse(&sources().iter().filter_map(|s| words::too_long(&s.path, &s.text)).collect::<Vec<_>>());
    }

    #[test]
    fn every_dependency_says_why_it_is_there() {
        refuse(&manifest::without_reason(&read("Cargo.toml")));
    }

    #[test]
    fn the_map_in_the_readme_names_only_what_exists() {
        for page in ["README.md", "CHANGELOG.md", "helm/README.md"] {
            let folder = root().join(page).parent().unwrap().to_owned();
            refuse(&map::missing(page, &read(page), |path| folder.join(path).exists() || root().join(path).exists()));
        }
    }

    #[test]
    fn every_crate_is_licensed_as_deny_toml_allows() {
        let rules = supply::Rules::parse(&read("deny.toml")).unwrap();
        refuse(&supply::unlicensed(&rules, &packages()));
    }

    #[test]
    fn no_crate_is_one_that_deny_toml_bans_or_comes_from_elsewhere() {
        let rules = supply::Rules::parse(&read("deny.toml")).unwrap();
        refuse(&supply::banned(&rules, &packages()));
    }

    /// What is built for this machine, tests included, as cargo resolved it.
    fn packages() -> Vec<supply::Package> {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", supply::PLATFORM])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let found = supply::packages(&output.stdout).unwrap();
        assert!(found.len() > 100, "cargo metadata names only {} packages", found.len());
        found
    }

    #[test]
    fn the_policies_of_the_example_chart_are_cedar_and_carry_ids() {
        let found = files(&root().join("helm/examples/ehr/policies"), "cedar");
        assert!(!found.is_empty());
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let set: cedar_policy::PolicySet =
                text.parse().unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
            assert!(set.policies().count() > 0, "{} holds no policy", path.display());
            for policy in set.policies() {
                assert!(policy.annotation("id").is_some(), "{}: a policy has no @id", path.display());
            }
        }
    }
}
