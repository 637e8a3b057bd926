//! Application variables: their names, the values given to them, and templates that use them.

use std::collections::BTreeMap;

use thiserror::Error;

/// Values by variable name.
pub type Values = BTreeMap<String, String>;

/// Why a variable's name or a template is refused. Never holds a value: values may be secret.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum VariableError {
    /// The name breaks Spin's rule.
    #[error(
        "{0:?} is no name for a variable: use lower-case letters, digits and single underscores, beginning with a letter and not ending in an underscore"
    )]
    Name(String),
    /// A template opens an expression and does not close it.
    #[error("the template has `{{{{` without `}}}}`")]
    Unclosed,
    /// A template uses a variable that the manifest does not declare.
    #[error("the template uses the variable {0:?}, which [variables] does not declare")]
    Undeclared(String),
}

/// Checks a name against Spin's rule: letters, digits and underscores in lower case, a letter
/// first, no two underscores in a row and none at the end.
///
/// # Errors
/// [`VariableError::Name`] if it breaks the rule.
pub(crate) fn check_name(name: &str) -> Result<(), VariableError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let good = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
        && !name.ends_with('_')
        && !name.contains("__");
    if good {
        Ok(())
    } else {
        Err(VariableError::Name(name.to_owned()))
    }
}

/// Replaces each `{{ name }}` of a template by that variable's value.
///
/// # Errors
/// If an expression is not closed or names a variable that `values` lacks.
pub(crate) fn expand(template: &str, values: &Values) -> Result<String, VariableError> {
    let mut expanded = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((literal, expression)) = rest.split_once("{{") {
        let (name, after) = expression.split_once("}}").ok_or(VariableError::Unclosed)?;
        let name = name.trim();
        let value = values
            .get(name)
            .ok_or_else(|| VariableError::Undeclared(name.to_owned()))?;
        expanded.push_str(literal);
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_spins_rule() {
        for good in ["a", "abc", "a1", "a_1", "redis_url"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "aB", "1a", "_a", "a_", "a__b", "a-b", "a.b", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn templates_are_expanded() {
        let values = Values::from([
            ("host".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), "6379".to_owned()),
            ("braces".to_owned(), "{{ host }}".to_owned()),
        ]);
        let expanded = |template| expand(template, &values);
        assert_eq!(expanded(""), Ok(String::new()));
        assert_eq!(expanded("plain } }} text"), Ok("plain } }} text".into()));
        assert_eq!(
            expanded("redis://{{ host }}:{{port}}/"),
            Ok("redis://127.0.0.1:6379/".into())
        );
        // A value is a value, not a template.
        assert_eq!(expanded("{{ braces }}"), Ok("{{ host }}".into()));
        assert_eq!(expanded("a {{ host"), Err(VariableError::Unclosed));
        assert_eq!(
            expanded("{{ nobody }}"),
            Err(VariableError::Undeclared("nobody".into()))
        );
    }
}
