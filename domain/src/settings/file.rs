//! YAML, as far as the configuration file has it.

use std::fmt;

use saphyr::{Scalar, ScalarStyle, Yaml, YamlLoader};
use saphyr_parser::{Parser, Tag};

use super::error::SettingError;
use super::value::Value;

/// The keys and values of the configuration file.
pub(super) fn read(text: &str) -> Result<Vec<(String, Value)>, SettingError> {
    match parse(text)? {
        Value::Map(members) => match first_twice(&members) {
            Some(key) => Err(syntax(&format_args!("`{key}` is there twice"))),
            None => Ok(members),
        },
        _ => Err(syntax(&"it must be a mapping of keys to values")),
    }
}

/// The one value of a document; one with nothing in it is a mapping without members.
pub(super) fn parse(text: &str) -> Result<Value, SettingError> {
    let mut loader = YamlLoader::<Yaml<'_>>::default();
    // Scalars stay as they are written.
    loader.early_parse(false);
    Parser::new_from_str(text)
        .load(&mut loader, true)
        .map_err(|error| syntax(&error))?;
    if let Some(error) = loader.error() {
        return Err(syntax(error));
    }
    let documents = loader.into_documents();
    match documents.as_slice() {
        [] => Ok(Value::Map(Vec::new())),
        [document] if is_null(document) => Ok(Value::Map(Vec::new())),
        [document] => value_of(document),
        _ => Err(syntax(&"it holds more than one document")),
    }
}

fn syntax(error: &dyn fmt::Display) -> SettingError {
    SettingError::Syntax(error.to_string())
}

/// The loader only notices a key that is written the same way twice, not `a` and `'a'`.
fn first_twice(members: &[(String, Value)]) -> Option<&str> {
    members
        .iter()
        .enumerate()
        .find(|(index, (key, _))| members[..*index].iter().any(|(before, _)| before == key))
        .map(|(_, (key, _))| key.as_str())
}

fn is_null(node: &Yaml<'_>) -> bool {
    match node {
        Yaml::Representation(text, ScalarStyle::Plain, None) => {
            matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL")
        }
        Yaml::Value(Scalar::Null) | Yaml::BadValue => true,
        _ => false,
    }
}

fn value_of(node: &Yaml<'_>) -> Result<Value, SettingError> {
    Ok(match node {
        null if is_null(null) => Value::Unusable("null".to_owned()),
        Yaml::Representation(_, _, Some(tag)) | Yaml::Tagged(tag, _) => tagged(tag),
        Yaml::Representation(text, _, None) => Value::Text(text.to_string()),
        Yaml::Value(Scalar::String(text)) => Value::Text(text.to_string()),
        Yaml::Value(_) | Yaml::Alias(_) | Yaml::BadValue => {
            Value::Unusable("a value of an unknown kind".to_owned())
        }
        Yaml::Sequence(items) => Value::List(items.iter().map(value_of).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => {
            let member = |(key, value)| match value_of(key)? {
                Value::Text(key) => Ok((key, value_of(value)?)),
                _ => Err(syntax(&"a key is no text")),
            };
            Value::Map(members.iter().map(member).collect::<Result<_, _>>()?)
        }
    })
}

/// What a tag asks for (`!vault`, `!!binary`), nobody does here: its value would be taken as it stands.
fn tagged(tag: &Tag) -> Value {
    let name = format!("{}{}", tag.handle, tag.suffix);
    let name: String = name.chars().take(80).collect();
    Value::Unusable(format!("a value with the tag `{}`", name.escape_debug()))
}
