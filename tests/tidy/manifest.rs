//! Every dependency carries its reason on its own line of Cargo.toml.

pub(crate) fn without_reason(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_list = false;
    for (number, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default();
            let table = header.split('.').next_back().unwrap_or_default();
            is_list = is_dependencies(table);
            // `[dependencies.name]`: the header is the dependency's line.
            let is_one = !is_list && header.split('.').any(is_dependencies);
            if is_one && reason(line).is_none() {
                found.push(format!("Cargo.toml:{}: `[{header}]` says no reason", number + 1));
            }
        } else if is_list && !line.is_empty() && !line.starts_with('#') && reason(line).is_none() {
            let name = line.split('=').next().unwrap_or_default().trim();
            found.push(format!("Cargo.toml:{}: `{name}` says no reason", number + 1));
        }
    }
    found
}

fn is_dependencies(table: &str) -> bool {
    matches!(table, "dependencies" | "dev-dependencies" | "build-dependencies")
}

/// The comment at the end of a line: a `#` outside of quotes, followed by words.
fn reason(line: &str) -> Option<&str> {
    let mut is_quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => {
                let words = line.get(at + 1..)?.trim();
                return (words.len() >= 5).then_some(words);
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_named() {
        let text = "[package]\nname = \"x\"\n[dependencies]\na = \"1\" # parses things\nb = \"1\"\n\
            [target.'cfg(unix)'.dev-dependencies]\nc = { version = \"1\", features = [\"#not a reason\"] }\nd = \"1\" #\n\
            [profile.dev]\nopt-level = 1";
        assert_eq!(
            without_reason(text),
            [
                "Cargo.toml:5: `b` says no reason",
                "Cargo.toml:7: `c` says no reason",
                "Cargo.toml:8: `d` says no reason",
            ]
        );
    }

    #[test]
    fn a_dependency_with_a_table_of_its_own_says_it_on_the_header() {
        let text = "[dependencies.a] # parses things\nversion = \"1\"\n[dev-dependencies.b]\nversion = \"1\"";
        assert_eq!(without_reason(text), ["Cargo.toml:3: `[dev-dependencies.b]` says no reason"]);
    }
}
