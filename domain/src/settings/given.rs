//! The value that a setting is given, and the ways in which settings read it.

use std::fmt;
use std::time::Duration;

use super::error::SettingError;
use super::file;
use super::value::Value;

/// Why a value is not accepted.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What it is; never a secret.
    pub(super) found: String,
    /// What would do.
    pub(super) accepted: String,
}

impl Refusal {
    pub(super) fn new(found: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            accepted: accepted.into(),
        }
    }

    /// The same of an item of a list.
    pub(super) fn in_a_list(self) -> Self {
        Self {
            found: format!("a list with {}", self.found),
            ..self
        }
    }

    pub(super) fn of(self, key: &'static str) -> SettingError {
        SettingError::Value {
            key,
            found: self.found,
            accepted: self.accepted,
        }
    }
}

/// The value that a setting is given. It has no [flaw](Value::flaw).
pub(super) struct Given<'a>(pub(super) &'a Value);

impl<'a> Given<'a> {
    /// The text.
    pub(super) fn text(&self) -> Result<&'a str, Refusal> {
        match self.0 {
            Value::Text(text) => Ok(text),
            _ => Err(self.refused("a text")),
        }
    }

    /// A refusal that shows the value: not for one that may be a secret.
    pub(super) fn refused(&self, accepted: impl Into<String>) -> Refusal {
        Refusal::new(shown(self.0), accepted)
    }

    /// The text as `parse` reads it; what `parse` refuses is shown.
    pub(super) fn parsed<T>(
        &self,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refusal> {
        let parsed = match self.0 {
            Value::Text(text) => parse(text),
            _ => None,
        };
        parsed.ok_or_else(|| self.refused(accepted))
    }

    /// A whole number.
    pub(super) fn whole<T: TryFrom<u64>>(&self, least: u64, most: u64) -> Result<T, Refusal> {
        let accepted = format!("a whole number from {least} to {most}");
        self.parsed(&accepted, |text| {
            let number: u64 = text.parse().ok()?;
            let number = (least..=most).contains(&number).then_some(number)?;
            T::try_from(number).ok()
        })
    }

    /// A time in seconds.
    pub(super) fn seconds(&self, least: u64, most: u64) -> Result<Duration, Refusal> {
        let accepted = format!("seconds, from {least} to {most}");
        self.parsed(&accepted, |text| {
            let seconds: f64 = text.parse().ok()?;
            (least as f64 <= seconds && seconds <= most as f64)
                .then(|| Duration::from_secs_f64(seconds))
        })
    }

    /// Yes or no.
    pub(super) fn boolean(&self) -> Result<bool, Refusal> {
        self.parsed("true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            }
        })
    }

    /// The items of a list: one of the file, or a text with commas, semicolons or line breaks between
    /// them, or a text that is a list in JSON.
    pub(super) fn items(&self, accepted: &str) -> Result<Vec<Value>, Refusal> {
        let items = match self.0 {
            Value::List(items) => items.clone(),
            Value::Text(text) if text.starts_with('[') => match file::parse(text) {
                Ok(Value::List(items)) => items,
                _ => {
                    let found = "a text that begins like a list in JSON, but is none";
                    return Err(Refusal::new(found, accepted));
                }
            },
            Value::Text(text) => text
                .split([',', ';', '\n'])
                .map(|item| Value::Text(item.trim_matches([' ', '\t', '\r']).to_owned()))
                .collect(),
            Value::Map(_) | Value::Unusable(_) => return Err(self.refused(accepted)),
        };
        match items.iter().find_map(Value::flaw) {
            None => Ok(items),
            Some(flaw) => {
                let found = format!("a list with an item that is {flaw}");
                Err(Refusal::new(found, accepted))
            }
        }
    }

    /// The items of a list of at most `most` texts as `parse` reads them; what `parse` refuses is shown.
    pub(super) fn list<T>(
        &self,
        most: usize,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        let items = self.items(accepted)?;
        if items.len() > most {
            let found = format!("a list of {} items", items.len());
            return Err(Refusal::new(found, accepted));
        }
        let parsed = |item: &Value| {
            let read = match item {
                Value::Text(text) => parse(text),
                _ => None,
            };
            read.ok_or_else(|| Given(item).refused(accepted).in_a_list())
        };
        items.iter().map(parsed).collect()
    }
}

/// A value for a person, cut off where it is long.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted_for_a_person(text),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Unusable(what) => what.clone(),
    }
}

pub(super) fn quoted_for_a_person(text: &str) -> String {
    let text: String = text.chars().take(80).collect();
    format!("`{}`", text.escape_debug())
}

/// A text in YAML's single quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A list in YAML, of quoted texts.
pub(super) fn listed(items: impl IntoIterator<Item: fmt::Display>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| quoted(&item.to_string()))
        .collect();
    format!("[{}]", items.join(", "))
}
