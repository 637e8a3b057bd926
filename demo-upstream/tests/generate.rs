//! The data: the same from the same seed, in upstream's shape, and growing only at its end.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use demo_upstream::generate::{Dataset, IDENTITIES, Options, OptionsError};
use domain::incident::{IdentityKind, IncidentType, Priority};
use serde_json::Value;

const OPTIONS: Options = Options {
    seed: 7,
    employees: 200,
    per_type: 1000,
};

fn body(dataset: &Dataset, endpoint: &str) -> String {
    String::from_utf8(dataset.payload(endpoint).unwrap().to_vec()).unwrap()
}

fn rows(body: &str) -> Vec<Value> {
    let Value::Object(mut answer) = serde_json::from_str(body).unwrap() else {
        panic!("not an object: {body}");
    };
    let Some(Value::Array(rows)) = answer.remove("results") else {
        panic!("no results: {answer:?}");
    };
    assert!(answer.is_empty(), "{answer:?}");
    rows
}

fn identities(body: &str) -> HashMap<Ipv4Addr, u32> {
    serde_json::from_str(body).unwrap()
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let once = Dataset::new(&OPTIONS).unwrap();
    let again = Dataset::new(&OPTIONS).unwrap();
    let other = Dataset::new(&Options { seed: 8, ..OPTIONS }).unwrap();
    for endpoint in Dataset::endpoints() {
        assert_eq!(body(&once, &endpoint), body(&again, &endpoint));
        assert_ne!(body(&once, &endpoint), body(&other, &endpoint));
    }
}

#[test]
fn rows_have_their_types_shape() {
    let dataset = Dataset::new(&OPTIONS).unwrap();
    for kind in IncidentType::defaults() {
        let body = body(&dataset, &kind.name);
        assert_eq!(rows(&body).len(), 1000);
        for row in rows(&body) {
            let row = row.as_object().unwrap();
            let priority = row["priority"].as_str().unwrap();
            assert!(Priority::from_name(priority.as_bytes()).is_some());
            assert!(row["timestamp"].is_f64());
            match (&row[&kind.field], kind.identity) {
                (Value::Number(_), IdentityKind::Employee | IdentityKind::EmployeeOrIp) => {}
                (Value::String(ip), IdentityKind::Ip | IdentityKind::EmployeeOrIp) => {
                    assert_eq!(ip.parse::<Ipv4Addr>().unwrap().octets()[0], 17);
                }
                (found, _) => panic!("{}: {found}", kind.name),
            }
        }
        // The order of the members, and a clock with up to seven digits after the point.
        let first = body.split_once('[').unwrap().1;
        let first = first.split_once('}').unwrap().0;
        let members: Vec<&str> = first[1..]
            .split(',')
            .map(|member| member.split('"').nth(1).unwrap())
            .collect();
        let mut expected = vec!["priority", &kind.field, "timestamp"];
        if ["denial", "intrusion"].contains(&kind.name.as_str()) {
            expected.push("source_ip");
        }
        assert_eq!(members, expected, "{}", kind.name);
        let longest = body
            .split("\"timestamp\":")
            .skip(1)
            .map(|rest| rest.split([',', '}']).next().unwrap())
            .map(|number| number.split_once('.').unwrap().1.len())
            .max();
        assert_eq!(longest, Some(7));
    }
}

#[test]
fn a_few_addresses_are_nobodys_and_a_few_others_are_addresses() {
    let dataset = Dataset::new(&Options {
        per_type: 10_000,
        ..OPTIONS
    })
    .unwrap();
    let known = identities(&body(&dataset, IDENTITIES));
    assert_eq!(known.len(), 250);
    assert_eq!(known.values().collect::<HashSet<_>>().len(), 200);
    let rows = rows(&body(&dataset, "probing"));
    let unmapped = rows
        .iter()
        .filter(|row| !known.contains_key(&row["ip"].as_str().unwrap().parse().unwrap()))
        .count();
    assert!((50..200).contains(&unmapped), "{unmapped}");
    let others = rows_of_other(&dataset);
    let addresses = others.iter().filter(|row| row["identifier"].is_string());
    let addresses = addresses.count();
    assert!((800..1200).contains(&addresses), "{addresses}");
}

fn rows_of_other(dataset: &Dataset) -> Vec<Value> {
    rows(&body(dataset, "other"))
}

#[test]
fn growth_appends_later_rows_and_changes_none() {
    let mut dataset = Dataset::new(&OPTIONS).unwrap();
    let before: Vec<_> = Dataset::endpoints()
        .into_iter()
        .filter(|endpoint| endpoint != IDENTITIES)
        .map(|endpoint| (rows(&body(&dataset, &endpoint)), endpoint))
        .collect();
    // Past the first piece, too.
    dataset.grow_to(15_000);
    for (before, endpoint) in before {
        let after = rows(&body(&dataset, &endpoint));
        assert_eq!(after.len(), 15_000);
        assert_eq!(after[..before.len()], before);
        let times = after.iter().map(|row| row["timestamp"].as_f64().unwrap());
        assert!(times.is_sorted(), "{endpoint}");
    }
    let at_once = Dataset::new(&Options {
        per_type: 15_000,
        ..OPTIONS
    })
    .unwrap();
    for endpoint in Dataset::endpoints() {
        assert_eq!(body(&at_once, &endpoint), body(&dataset, &endpoint));
    }
}

#[test]
fn stale_data_lacks_the_newest() {
    let dataset = Dataset::new(&OPTIONS).unwrap();
    let stale = |endpoint: &str| {
        let payload = dataset.stale_payload(endpoint).unwrap();
        String::from_utf8(payload.to_vec()).unwrap()
    };
    let now = identities(&body(&dataset, IDENTITIES));
    let then = identities(&stale(IDENTITIES));
    assert_eq!(then.len(), 225);
    assert!(
        then.iter()
            .all(|(ip, employee)| now.get(ip) == Some(employee))
    );
    let now = rows(&body(&dataset, "misuse"));
    assert_eq!(rows(&stale("misuse")), now[..900]);
}

#[test]
fn options_have_bounds() {
    let refused = |options| Dataset::new(&options).unwrap_err();
    let nobody = Options {
        employees: 0,
        ..OPTIONS
    };
    assert_eq!(refused(nobody), OptionsError::Employees(0));
    let many = Options {
        per_type: 20_000_001,
        ..OPTIONS
    };
    assert_eq!(refused(many), OptionsError::PerType(20_000_001));
    let empty = Dataset::new(&Options {
        per_type: 0,
        ..OPTIONS
    })
    .unwrap();
    assert_eq!(body(&empty, "denial"), r#"{"results":[]}"#);
}

#[test]
fn writes_a_file_for_each_endpoint() {
    let dataset = Dataset::new(&OPTIONS).unwrap();
    let folder = tempfile::tempdir().unwrap();
    dataset.write_to(folder.path()).unwrap();
    for endpoint in Dataset::endpoints() {
        let file = folder.path().join(format!("{endpoint}.json"));
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            body(&dataset, &endpoint)
        );
    }
}
