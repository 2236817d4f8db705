//! Tests of `source`.

use std::{io::Write, os::unix::fs::symlink};

use tempfile::TempDir;

use super::*;

struct Folders {
    root: TempDir,
}

impl Folders {
    /// One policy and one schema.
    fn smallest() -> Self {
        let folders = Self { root: tempfile::tempdir().unwrap() };
        folders.write("policies/a.cedar", "permit(principal, action, resource);");
        folders.write("schemas/x.cedarschema", "entity User;");
        folders
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        File::create(self.at(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(&self) -> Result<Sources, Problems> {
        Sources::read(&self.at("policies"), &self.at("schemas"))
    }

    fn names(&self) -> Vec<String> {
        self.read().unwrap().files().map(|file| file.name.clone()).collect()
    }

    fn refusal(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

#[test]
fn files_of_a_bundle_are_found_sorted_and_nothing_else() {
    let folders = Folders::smallest();
    for name in [
        "policies/roles/z.cedar",
        "policies/roles/b.cedar",
        "policies/reasons.yaml",
        "policies/cases/a.yaml",
        "policies/.git/c.cedar",
        "policies/.#a.cedar",
        "policies/README.md",
        "schemas/x.fields.yaml",
        "schemas/x.entities.yaml",
        "schemas/demo/y.cedarschema",
        "schemas/demo/y.fields.yaml",
    ] {
        folders.write(name, "x");
    }
    symlink("nowhere", folders.at("policies/dangling")).unwrap();
    let expected = [
        "policies/a.cedar",
        "policies/roles/b.cedar",
        "policies/roles/z.cedar",
        "policies/reasons.yaml",
        "schemas/x.cedarschema",
        "schemas/x.fields.yaml",
        "schemas/x.entities.yaml",
    ];
    assert_eq!(folders.names(), expected);
}

#[test]
fn a_configmap_shows_each_file_once_also_in_projected_folders() {
    let folders = Folders::smallest();
    fs::remove_file(folders.at("policies/a.cedar")).unwrap();
    folders.write("policies/..2026_03_10/a.cedar", "1");
    folders.write("policies/..2026_03_10/roles/b.cedar", "2");
    symlink("..2026_03_10", folders.at("policies/..data")).unwrap();
    symlink("..data/a.cedar", folders.at("policies/a.cedar")).unwrap();
    symlink("..data/roles", folders.at("policies/roles")).unwrap();
    assert_eq!(folders.names(), ["policies/a.cedar", "policies/roles/b.cedar", "schemas/x.cedarschema"]);
}

#[test]
fn links_in_a_circle_and_to_the_same_file_are_followed_once() {
    let folders = Folders::smallest();
    symlink("..", folders.at("policies/circle")).unwrap();
    symlink("a.cedar", folders.at("policies/b.cedar")).unwrap();
    let names = folders.names();
    assert_eq!(names.iter().filter(|name| name.ends_with(".cedar")).count(), 1, "{names:?}");
}

#[test]
fn what_is_missing_is_named_with_what_was_expected_all_at_once() {
    let folders = Folders { root: tempfile::tempdir().unwrap() };
    let refusal = folders.refusal();
    assert_eq!(refusal.matches("does not exist").count(), 2, "{refusal}");
    assert!(refusal.contains("policies") && refusal.contains("`*.cedar`") && refusal.contains("`*.cedarschema`"));
    folders.write("policies/reasons.yaml", "");
    folders.write("schemas/x.fields.yaml", "");
    let refusal = folders.refusal();
    assert!(refusal.contains("no policy file") && refusal.contains("no schema"), "{refusal}");
    folders.write("file", "");
    let refusal = Sources::read(&folders.at("file"), &folders.at("schemas")).unwrap_err().to_string();
    assert!(refusal.contains("this is not a folder"), "{refusal}");
}

#[test]
fn a_second_schema_mapping_or_fields_file_is_refused() {
    let folders = Folders::smallest();
    for name in ["a.fields.yaml", "b.fields.yaml", "a.entities.yaml", "b.entities.yaml", "y.cedarschema"] {
        folders.write(&format!("schemas/{name}"), "");
    }
    assert_eq!(folders.read().unwrap_err().0.len(), 3);
}

#[test]
fn every_size_has_a_limit_that_its_error_names() {
    let folders = Folders::smallest();
    folders.write("policies/a.cedar", &" ".repeat(FILE_BYTES_MAX));
    folders.write("schemas/x.cedarschema", &" ".repeat(SCHEMA_BYTES_MAX));
    folders.read().unwrap();
    folders.write("policies/a.cedar", &" ".repeat(FILE_BYTES_MAX + 1));
    folders.write("schemas/x.cedarschema", &" ".repeat(SCHEMA_BYTES_MAX + 1));
    let refusal = folders.refusal();
    assert!(refusal.contains("1048576 bytes") && refusal.contains("100000 bytes"), "{refusal}");
    folders.write("schemas/x.cedarschema", "");
    for name in ["a", "b", "c", "d", "e"] {
        folders.write(&format!("policies/{name}.cedar"), &" ".repeat(FILE_BYTES_MAX));
    }
    let refusal = folders.refusal();
    assert!(refusal.contains("more than 4194304"), "{refusal}");
}

#[test]
fn text_that_is_not_utf8_is_named_with_its_line() {
    let folders = Folders::smallest();
    File::create(folders.at("policies/a.cedar")).unwrap().write_all(b"//\n// \xff\n").unwrap();
    let problems = folders.read().unwrap_err();
    assert_eq!(problems.0[0].line, Some(2));
}

#[test]
fn the_digest_follows_names_and_content_and_nothing_else() {
    let folders = Folders::smallest();
    let first = folders.read().unwrap().digest;
    assert!(first.starts_with("sha256:") && first.len() == 71);
    folders.write("policies/cases/a.yaml", "a case");
    assert_eq!(folders.read().unwrap().digest, first);
    folders.write("policies/a.cedar", "permit(principal, action, resource) ;");
    let second = folders.read().unwrap().digest;
    assert_ne!(second, first);
    rustix::fs::rename(folders.at("policies/a.cedar"), folders.at("policies/b.cedar")).unwrap();
    assert_ne!(folders.read().unwrap().digest, second);
    // The same bytes, cut elsewhere.
    let cut = |one: &str, two: &str| {
        folders.write("policies/a.cedar", one);
        folders.write("policies/b.cedar", two);
        folders.read().unwrap().digest
    };
    assert_ne!(cut("xy", "z"), cut("x", "yz"));
}

#[test]
fn a_place_has_line_column_and_text() {
    let file = TextFile { path: "a".into(), name: "a".into(), text: Arc::from("one\nzwö ß three\n") };
    let offset = file.text.find("three").unwrap();
    let problem = file.error_at(offset, "m");
    assert_eq!((problem.line, problem.column, problem.source_line.as_deref()), (Some(2), Some(7), Some("zwö ß three")));
    let problem = file.error_at(usize::MAX, "m");
    assert_eq!(problem.line, Some(3));
}
