//! `${VAR}` and `${VAR:default}` inside a text; `$${` stands for `${` itself.

use super::environment::Environment;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("environment variable `{name}` is not set")]
    Unset { name: String },
    #[error("`${{` is not closed by `}}`")]
    Open,
    #[error("`${{{name}}}` does not name a variable")]
    Name { name: String },
}

impl ExpandError {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Unset { name } => format!("set {name}, or give a default: ${{{name}:…}}"),
            Self::Open => "close it, or write `$${` for the characters themselves".to_owned(),
            Self::Name { .. } => "a name has letters, digits and `_`".to_owned(),
        }
    }
}

pub(super) fn expand(text: &str, environment: &Environment) -> Result<String, ExpandError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(escaped) = before.strip_suffix('$') {
            expanded.push_str(escaped);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (inside, remaining) = after.split_once('}').ok_or(ExpandError::Open)?;
        let (name, default) = inside.split_once(':').map_or((inside, None), |(name, default)| (name, Some(default)));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ExpandError::Name { name: inside.to_owned() });
        }
        let value = environment.var(name).or(default).ok_or_else(|| ExpandError::Unset { name: name.to_owned() })?;
        expanded.push_str(value);
        rest = remaining;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        [("HOST", "db.internal"), ("EMPTY", "")].into_iter().collect()
    }

    #[test]
    fn variables_and_defaults_are_put_in_place() {
        let expanded = expand("postgres://app@${HOST}:${PORT:5432}/ehr", &environment()).unwrap();
        assert_eq!(expanded, "postgres://app@db.internal:5432/ehr");
    }

    #[test]
    fn a_set_variable_wins_over_the_default_even_when_empty() {
        assert_eq!(expand("<${EMPTY:x}>", &environment()).unwrap(), "<>");
    }

    #[test]
    fn an_escaped_dollar_stays() {
        assert_eq!(expand("a $${HOST} b", &environment()).unwrap(), "a ${HOST} b");
    }

    #[test]
    fn an_unset_variable_without_default_is_named() {
        assert_eq!(expand("${NOPE}", &environment()), Err(ExpandError::Unset { name: "NOPE".to_owned() }));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(expand("${HOST", &environment()), Err(ExpandError::Open));
        assert_eq!(expand("${A-B}", &environment()), Err(ExpandError::Name { name: "A-B".to_owned() }));
    }
}
