//! Arbitrary upstream answers, and JSON as it is written.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in their order, values as they are written.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Members)
    }
}

/// JSON without the white space between its tokens.
pub(crate) fn compact(json: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            out.push(c);
        } else if !matches!(c, ' ' | '\n' | '\r' | '\t') {
            in_string = c == '"';
            out.push(c);
        }
    }
    out
}

/// What rows concern; the last two are never mapped.
pub(crate) const ADDRESSES: [&str; 6] = [
    "17.1.2.3",
    "17.1.2.4",
    "17.9.9.9",
    "2001:db8::1",
    "10.0.0.1",
    "host",
];

fn row(field: &'static str) -> impl Strategy<Value = String> {
    let priority = prop_oneof![
        20 => prop::sample::select(vec!["\"low\"", "\"medium\"", "\"high\"", "\"critical\""]).prop_map(Some),
        2 => prop::sample::select(vec!["\"urgent\"", "\"LOW\"", "1", "null", "\"l\\u006fw\""]).prop_map(Some),
        1 => Just(None),
    ];
    let timestamp = prop_oneof![
        10 => (0..6_u32).prop_map(|time| Some(format!("16363646{time}"))),
        6 => "163636463[0-9]\\.[0-9]{1,18}".prop_map(Some),
        4 => "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?(e[+-]?[0-9]{1,2})?".prop_map(Some),
        1 => prop::sample::select(vec!["\"1636364637\"", "null", "true", "1e999", "[]"]).prop_map(|text| Some(text.to_owned())),
        1 => Just(None),
    ];
    let identity = prop_oneof![
        6 => (0..8_u64).prop_map(|id| Some(id.to_string())),
        3 => any::<u64>().prop_map(|id| Some(id.to_string())),
        2 => (0..8_u64).prop_map(|id| Some(format!("\"{id}\""))),
        6 => prop::sample::select(&ADDRESSES[..]).prop_map(|address| Some(format!("\"{address}\""))),
        1 => prop::sample::select(vec!["\"\"", "-1", "7.0", "1e3", "18446744073709551616", "\"007\"", "null", "{}", "\"17\\u002e1.2.3\"", "\"\\u0037\""]).prop_map(|text| Some(text.to_owned())),
        1 => Just(None),
    ];
    let extra = (
        "[a-z\"\\\\é]{1,4}",
        prop::sample::select(vec![
            "1.50",
            "\"a\\\"b\"",
            "{\"x\":[1, 2]}",
            "null",
            "\"é\"",
            "-123456789012345678.901234567890",
            "18446744073709551615",
            "123456789012345678901234567890",
            "[1e999]",
            "{\"\\udc00\": 1}",
        ]),
    )
        .prop_filter("taken", move |(name, _)| {
            !["type", "priority", "timestamp", field].contains(&name.as_str())
        })
        .prop_map(|(name, value)| (serde_json::to_string(&name).unwrap(), value.to_owned()));
    let own_type = prop_oneof![9 => Just(None), 1 => Just(Some(("\"type\"".to_owned(), "\"theirs\"".to_owned())))];
    let object = (
        priority,
        timestamp,
        identity,
        prop::collection::vec(extra, 0..3),
        own_type,
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(
            move |(priority, timestamp, identity, extras, own_type, order, spaced)| {
                let mut members: Vec<(String, String)> = Vec::new();
                members.extend(priority.map(|value| ("\"priority\"".to_owned(), value.to_owned())));
                members.extend(identity.map(|value| (format!("\"{field}\""), value)));
                members.extend(timestamp.map(|value| ("\"timestamp\"".to_owned(), value)));
                members.extend(extras);
                members.extend(own_type);
                if order > 128 && !members.is_empty() {
                    let places = members.len();
                    members.rotate_left(usize::from(order) % places);
                }
                let (comma, colon) = if spaced { (" ,\n ", " : ") } else { (",", ":") };
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(name, value)| format!("{name}{colon}{value}"))
                    .collect();
                format!("{{{}}}", members.join(comma))
            },
        );
    prop_oneof![30 => object, 1 => prop::sample::select(vec!["1", "null", "\"row\"", "[]", "{}"]).prop_map(str::to_owned)]
}

/// An answer of the type whose identity is in `field`.
pub(crate) fn body(field: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(row(field), 0..24)
        .prop_map(|rows| format!("{{\"results\": [{}] , \"next\": null}}", rows.join(" ,")))
}
