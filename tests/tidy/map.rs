//! Folders and files that a page for readers names must be there.

/// What `text` links to or lists as a folder and `exists` does not know.
pub(crate) fn missing(page: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let mut named: Vec<&str> = Vec::new();
        if is_fenced {
            // A map drawn as text: the folder opens the line, its meaning follows after a gap.
            let (first, rest) = line.split_once("  ").unwrap_or((line, ""));
            named.extend(Some(first).filter(|first| is_folder(first) && !rest.trim().is_empty()));
        } else {
            named.extend(line.split('`').skip(1).step_by(2).filter(|code| is_folder(code)));
            named.extend(links(line));
        }
        for path in named {
            if !exists(path) {
                found.push(format!("{page}:{}: `{path}` does not exist", number + 1));
            }
        }
    }
    found
}

/// `src/`, `tests/golden/`; not `/run/x/`, not `~/`, not a URL.
fn is_folder(text: &str) -> bool {
    text.len() > 1
        && text.ends_with('/')
        && !text.starts_with('/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'))
}

/// Targets of the links to places inside the project.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', '#']).next()?;
        (!target.is_empty() && !target.contains("://")).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_links_that_lead_nowhere_are_named() {
        let page = "`src/` and `gone/` [a](docs/a.md) [b](docs/gone.md#x) [c](https://example.org/d) [e](#f)\n\
            ```\nsrc/     the house\nlost/    nothing\nls other/\n```\n`/run/chaperone/`";
        let found = missing("README.md", page, |path| ["src/", "docs/a.md"].contains(&path));
        assert_eq!(
            found,
            [
                "README.md:1: `gone/` does not exist",
                "README.md:1: `docs/gone.md` does not exist",
                "README.md:4: `lost/` does not exist",
            ]
        );
    }
}
