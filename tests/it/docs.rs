//! The documentation, held against the program: its commands run, its answers are real, its links and names resolve.
//!
//! A block marked `sh` is run, against a demo whose folder is in `DEMO`; what only a person can run is marked `console`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

const BINARY: &str = env!("CARGO_BIN_EXE_chaperone");
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// The addresses that the documentation writes: the callers' and the administrators'.
const WRITTEN_ADDRESS: &str = "127.0.0.1:8380";
const WRITTEN_ADMIN_ADDRESS: &str = "127.0.0.1:8381";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, by its path from the root.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned(), "helm/README.md".to_owned()];
    for folder in ["docs", "docs/reference"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.into_string().unwrap()).filter(|name| name.ends_with(".md"));
        pages.extend(names.map(|name| format!("{folder}/{name}")));
    }
    pages.sort();
    pages
}

/// The fenced blocks of a page in their order: what they are marked as, and their text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text_of(page).lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some((mark.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block is not closed");
    blocks
}

/// A running demo; killed when dropped.
struct Demo {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
    admin_address: String,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new(BINARY)
            .args(["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut demo = Self { process, folder, address: String::new(), admin_address: String::new() };
        let deadline = Instant::now() + STARTED_WITHIN;
        while demo.address.is_empty() {
            assert!(Instant::now() < deadline, "the demo did not start within {STARTED_WITHIN:?}");
            assert!(demo.process.try_wait().unwrap().is_none(), "the demo ended");
            if let Ok(text) = fs::read_to_string(demo.folder.path().join("listen.json")) {
                let listening: Json = serde_json::from_str(&text).unwrap();
                demo.address = listening["listen"].as_str().unwrap().to_owned();
                demo.admin_address = listening["admin"].as_str().unwrap().to_owned();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        demo
    }

    /// Runs a block as a person would who has the program in the path, and returns what it printed.
    fn run(&self, page: &str, block: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let programs = Path::new(BINARY).parent().unwrap().display().to_string();
        let block = block.replace(WRITTEN_ADDRESS, &self.address).replace(WRITTEN_ADMIN_ADDRESS, &self.admin_address);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block])
            .current_dir(root())
            .env("PATH", format!("{programs}:{path}"))
            .env("DEMO", self.folder.path())
            .output()
            .unwrap();
        let (said, talked) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{page}: {}\n{block}\n{said}{talked}", output.status);
        assert!(!said.trim().is_empty(), "{page}: nothing was printed by\n{block}\n{talked}");
        assert!(!said.contains("urn:chaperone:problem"), "{page}:\n{block}\n{said}");
        said.into_owned()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "the demo could not be ended: {ended:?}");
    }
}

/// The answer without what differs from run to run.
fn lasting(mut answer: Json) -> Json {
    let chaperone = &mut answer["context"]["chaperone"];
    for varying in [&["decision_id"][..], &["revisions", "facts_age_ms"], &["receipt", "writer"], &["receipt", "seq"]] {
        let place = varying.iter().fold(&mut *chaperone, |place, key| &mut place[*key]);
        assert!(!place.is_null(), "{varying:?} is missing");
        *place = Json::Null;
    }
    answer
}

#[test]
fn every_command_of_the_documentation_runs_and_the_answer_shown_is_the_real_one() {
    let demo = Demo::start();
    let readme = blocks("README.md");
    let (call, (_, shown)) = (
        readme.iter().find(|(mark, _)| mark == "sh").expect("the readme has a call"),
        readme.iter().find(|(mark, _)| mark == "json").expect("the readme shows its answer"),
    );
    let answer: Json = serde_json::from_str(&demo.run("README.md", &call.1)).unwrap();
    assert_eq!(lasting(answer), lasting(serde_json::from_str(shown).unwrap()));

    for page in pages() {
        for (_, block) in blocks(&page).iter().filter(|(mark, _)| mark == "sh") {
            demo.run(&page, block);
        }
    }
}

#[test]
fn the_digest_in_the_readme_is_that_of_the_policies() {
    let revision = &crate::helpers::clinic::shipped().revision;
    let told = format!("\"policies\":\"{revision}\"");
    assert!(text_of("README.md").contains(&told), "the policies have changed: the README's answer must say {told}");
}

#[test]
fn every_link_leads_to_a_file() {
    let mut lost = Vec::new();
    for page in pages() {
        let folder = root().join(&page).parent().unwrap().to_path_buf();
        for link in text_of(&page).split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link)) {
            let path = link.split('#').next().unwrap();
            if !path.is_empty() && !path.contains("://") && !folder.join(path).exists() {
                lost.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// The words in backticks of a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn policy_ids() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut folders = vec![root().join("policies")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "cedar") {
                let text = fs::read_to_string(path).unwrap();
                ids.extend(
                    text.lines().filter_map(|line| Some(line.strip_prefix("@id(\"")?.strip_suffix("\")")?.to_owned())),
                );
            }
        }
    }
    ids
}

#[test]
fn every_policy_and_file_that_the_compliance_table_names_exists() {
    let page = text_of("docs/compliance.md");
    let ids = policy_ids();
    let rows = page.lines().filter(|line| line.starts_with("| ")).map(|line| line.split(" | ").collect::<Vec<_>>());
    let mut named = 0;
    for cells in rows.filter(|cells| cells.len() == 5) {
        for id in quoted(cells[2]).filter(|word| word.contains('-') && !word.starts_with('@')) {
            assert!(ids.contains(id), "no policy has the id `{id}`: {}", cells[0]);
            named += 1;
        }
        for file in quoted(cells[3]) {
            assert!(root().join(file).exists(), "{file}: {}", cells[0]);
        }
    }
    assert!(named > 40, "the table was not read: {named}");
}

/// The keys of a configuration's schema that hold a value.
fn keys(path: &str, schema: &Json, found: &mut BTreeSet<String>) {
    let forms = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    let section = forms.iter().find_map(|form| form["properties"].as_object());
    let items = forms.iter().find(|form| !form["items"]["properties"].is_null());
    match (section, items) {
        (Some(section), _) => {
            let dot = if path.is_empty() { "" } else { "." };
            section.iter().for_each(|(key, value)| keys(&format!("{path}{dot}{key}"), value, found));
        }
        (None, Some(list)) => keys(&format!("{path}[]"), &list["items"], found),
        (None, None) => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_no_other() {
    let output = Command::new(BINARY).args(["config", "schema"]).output().unwrap();
    let mut known = BTreeSet::new();
    keys("", &serde_json::from_slice(&output.stdout).unwrap(), &mut known);
    let page = text_of("docs/reference/configuration.md");
    let written =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key.to_owned());
    assert_eq!(written.collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_page_of_the_reasons_has_every_code_in_its_order() {
    let reasons = text_of("policies/reasons.yaml");
    let order = reasons.split_once("order:").unwrap().1.lines().map(str::trim).skip(1);
    let order: Vec<&str> = order
        .take_while(|line| line.starts_with("- ") || line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("- "))
        .collect();
    let page = text_of("docs/reference/reasons.md");
    let table = page.split_once("| gate | codes |").unwrap().1.split("\n\n").next().unwrap();
    assert_eq!(quoted(table).collect::<Vec<_>>(), order);
}

#[test]
fn a_folder_or_file_of_the_project_that_a_comment_sends_the_reader_to_exists() {
    let mut places: Vec<PathBuf> = ["policies", "schemas", "src", "scripts"].map(|folder| root().join(folder)).into();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&place) else { continue };
        for line in text.lines().filter(|line| line.trim_start().starts_with(['/', '#'])) {
            for rest in line.split("docs/").skip(1) {
                let is_path = |letter: char| letter.is_ascii_alphanumeric() || "/_.-".contains(letter);
                let name = rest.split(|letter| !is_path(letter)).next().unwrap().trim_end_matches('.');
                let named = format!("docs/{name}");
                assert!(root().join(&named).exists(), "{}: {named}", place.display());
            }
        }
    }
}
