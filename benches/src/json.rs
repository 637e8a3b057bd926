//! Reports compared by what they say.

use anyhow::Result;
use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// JSON in which the order of members counts.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Ordered {
    List(Vec<Self>),
    Members(Members),
    Leaf(Value),
}

#[derive(Debug, PartialEq)]
struct Members(Vec<(String, Ordered)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = IndexMap::<String, Ordered>::deserialize(deserializer)?;
        Ok(Self(members.into_iter().collect()))
    }
}

/// Whether both say the same, in the same order. Some print a number in other digits.
///
/// # Errors
/// One of them is no JSON.
pub(crate) fn same_values(one: &[u8], other: &[u8]) -> Result<bool> {
    let parse = |json: &[u8]| serde_json::from_slice::<Ordered>(json);
    Ok(parse(one)? == parse(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_white_space_may_differ() {
        let ours = br#"{"a":{"count":1,"rows":[{"t":1.50}]},"b":2}"#;
        let same = |other: &[u8]| same_values(other, ours).unwrap();
        assert!(same(br#"{"a":{"count":1, "rows":[{"t":1.5e0}]},"b":2}"#));
        assert!(!same(br#"{"b":2,"a":{"count":1,"rows":[{"t":1.5}]}}"#));
        assert!(!same(
            br#"{"a":{"count":1,"rows":[{"t":1.5000001}]},"b":2}"#
        ));
        assert!(!same(br#"{"a":{"count":1,"rows":[]},"b":2}"#));
        assert!(same_values(b"{", ours).is_err());
    }
}
