//! The description of the service, for machines and whoever writes clients.

use std::sync::OnceLock;

use domain::contract::scripts::CredentialCheck;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::JSON;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::store::Store;
use crate::{conditional, config, limit};

/// OpenAPI 3.1. Tests compare it with the router, with the parameters of the timeline, and with what the
/// running service answers.
const DESCRIPTION: &str = include_str!("openapi.json");

/// Answers with the description. It needs no password, but counts as a request.
///
/// # Errors
/// 429 when it is one too many; 503 when it cannot be counted.
pub(crate) async fn respond(request: &Parts) -> Result<Reply, Problem> {
    let config = config::load().await?;
    let mut store = Store::new(config.location.clone());
    let scope = limit::openapi_scope(&request.headers, &config.settings);
    limit::admit(&mut store, &scope, CredentialCheck::NotNeeded, None).await?;
    let reply = |status| {
        Reply::new(status)
            .with("etag", etag())
            .with("cache-control", "no-cache")
    };
    match conditional::lists(&request.headers, etag()) || conditional::takes_any(&request.headers) {
        true => Ok(reply(304)),
        false => Ok(reply(200).containing(JSON, DESCRIPTION.into())),
    }
}

fn etag() -> &'static str {
    static ETAG: OnceLock<String> = OnceLock::new();
    ETAG.get_or_init(|| {
        let digest: [u8; 32] = Sha256::digest(DESCRIPTION).into();
        let digits: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("\"{digits}\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::{ROUTES, route};
    use crate::timeline::question::{PARAMETERS, Question};
    use http::Method;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn description() -> Value {
        serde_json::from_str(DESCRIPTION).unwrap()
    }

    /// What a reference within the description stands for, or the value itself.
    fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                let found = description.pointer(pointer);
                found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => value,
        }
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(reference) if name == "$ref" => {
                            found.insert(reference.clone());
                        }
                        member => references(member, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_route_and_method_is_described_and_no_other() {
        let description = description();
        let paths = description["paths"].as_object().unwrap();
        let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
        let mut routed: BTreeSet<&str> = ROUTES.iter().map(|(path, _)| *path).collect();
        routed.insert("/incidents/{employee_id}");
        assert_eq!(described, routed);
        for (path, item) in paths {
            let example = path.replace("{employee_id}", "775");
            for method in [
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
            ] {
                let operation = &item[method.to_lowercase()];
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let is_known = route(&method, &example).is_ok();
                assert_eq!(is_known, operation.is_object(), "{method} {path}");
                let needs_password = operation.get("security").is_none();
                let is_open = ["/openapi.json", "/healthz", "/readyz"].contains(&path.as_str())
                    || method == Method::OPTIONS;
                assert!(!is_known || needs_password != is_open, "{method} {path}");
            }
        }
    }

    #[test]
    fn the_parameters_are_those_that_are_read() {
        let description = description();
        let parameters = description["paths"]["/incidents/timeline"]["parameters"]
            .as_array()
            .unwrap();
        let names: Vec<&str> = parameters
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, PARAMETERS);
        let is_read = |name: &str, value: &str| Question::read(&format!("{name}={value}")).is_ok();
        for (name, parameter) in names.iter().zip(parameters) {
            let schema = &parameter["schema"];
            let is_list = schema["type"] == "array";
            assert_eq!(is_list, parameter["explode"] == false, "{name}");
            let of_one = if is_list {
                resolved(&description, &schema["items"])
            } else {
                schema
            };
            for word in of_one["enum"].as_array().into_iter().flatten() {
                assert!(is_read(name, word.as_str().unwrap()), "{name} {word}");
            }
            let ends = [("minimum", "0"), ("maximum", "99999999999999999999")];
            for (end, beyond) in ends {
                let Some(number) = of_one[end].as_u64() else {
                    continue;
                };
                assert!(is_read(name, &number.to_string()), "{name} {number}");
                assert!(
                    *name == "employee" && beyond == "0" || !is_read(name, beyond),
                    "{name}"
                );
            }
            if let Some(most) = schema["maxItems"].as_u64().filter(|_| *name == "employee") {
                let list = |count: u64| {
                    (0..count)
                        .map(|id| id.to_string())
                        .collect::<Vec<_>>()
                        .join(",")
                };
                assert!(is_read(name, &list(most)));
                assert!(!is_read(name, &list(most + 1)));
            }
            let example = match &parameter["example"] {
                Value::Array(list) => list[0].to_string(),
                one => one.to_string(),
            };
            let example = example.trim_matches('"');
            assert!(
                parameter["example"].is_null() || is_read(name, example),
                "{name} {example}"
            );
        }
        let limit = &parameters[6]["schema"];
        assert_eq!(
            (&limit["minimum"], &limit["maximum"]),
            (&1.into(), &10_000.into())
        );
        assert!(!is_read("limit", "10001"));
    }

    #[test]
    fn it_is_of_this_release_and_whole() {
        let description = description();
        assert_eq!(description["openapi"], "3.1.1");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut found = BTreeSet::new();
        references(&description, &mut found);
        let of_parts = |(kind, parts): (&String, &Value)| -> Vec<String> {
            let names = parts.as_object().unwrap().keys();
            names
                .map(|name| format!("#/components/{kind}/{name}"))
                .collect()
        };
        let components = description["components"].as_object().unwrap();
        let defined = components
            .iter()
            .filter(|(kind, _)| *kind != "securitySchemes");
        let defined: BTreeSet<String> = defined.flat_map(of_parts).collect();
        assert_eq!(found, defined, "what is used, and what there is");
        assert!(etag().len() == 18 && etag().starts_with('"'));
    }
}
