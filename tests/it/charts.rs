//! What the Helm charts render is what the program reads: `helm/check.sh` keeps the golden files, this file reads them.

use std::{fs, path::Path};

use chaperone::config::{self, Environment, Input};

const SECRETS: &str = "/run/secrets/chaperone";

/// The text of `chaperone.yaml` inside a rendered ConfigMap.
fn configuration(manifests: &str) -> String {
    let mut lines = manifests.lines().skip_while(|line| *line != "  chaperone.yaml: |").skip(1).peekable();
    assert!(lines.peek().is_some(), "no chaperone.yaml was rendered");
    let mut text = String::new();
    while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with("    ")) {
        text.push_str(line.strip_prefix("    ").unwrap_or_default());
        text.push('\n');
    }
    text
}

#[test]
fn every_configuration_that_the_charts_render_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for (name, secret) in [
        ("app-url", "postgres://reader@db/ehr"),
        ("store-url", "postgres://chaperone@db/chaperone"),
        ("caller-reports-token", "0123456789abcdef0123456789abcdef"),
    ] {
        fs::File::create_new(folder.path().join(name))
            .and_then(|mut file| std::io::Write::write_all(&mut file, secret.as_bytes()))
            .unwrap();
    }
    let mut read = 0;
    for entry in fs::read_dir(root.join("tests/golden/helm")).unwrap() {
        let golden = entry.unwrap().path();
        let text = configuration(&fs::read_to_string(&golden).unwrap());
        let text = text.replace(SECRETS, folder.path().to_str().unwrap());
        let file = folder.path().join("chaperone.yaml");
        std::io::Write::write_all(&mut fs::File::create(&file).unwrap(), text.as_bytes()).unwrap();
        let input = Input { file: Some(file), environment: Environment::default(), flags: Vec::new() };
        let loaded = config::load(&input).unwrap_or_else(|error| panic!("{}: {error:#?}\n{text}", golden.display()));
        assert!(!loaded.config.callers.is_empty(), "{}", golden.display());
        read += 1;
    }
    assert!(read >= 8, "only {read} golden files were read");
}
