//! Keys that somebody chose so that they collide cost no more than any others.

use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::incident::IncidentType;
use grouping::attribute::Identities;
use grouping::report::Report;
use grouping::rows::Run;

const KEYS: u64 = 40_000;

/// Keys that fall into one bucket of a table that is keyed by a multiplication with `multiplier` and a
/// rotation by `rotation`, as fast hash functions without a random key do.
fn colliding(multiplier: u64, rotation: u32) -> Vec<u64> {
    // Newton's iteration: each step doubles the number of right bits.
    let mut inverse = multiplier;
    for _ in 0..6 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(multiplier.wrapping_mul(inverse)));
    }
    assert_eq!(multiplier.wrapping_mul(inverse), 1);
    (0..KEYS)
        .map(|key| (key << 32).rotate_right(rotation).wrapping_mul(inverse))
        .collect()
}

/// The least time of a few that it takes to make the report of one row for each employee.
fn time_of_ids(ids: &[u64]) -> Duration {
    let kind = IncidentType::defaults().remove(0);
    let rows: Vec<String> = ids
        .iter()
        .map(|id| format!(r#"{{"priority":"low","reported_by":{id},"timestamp":1}}"#))
        .collect();
    let body = Bytes::from(format!(r#"{{"results":[{}]}}"#, rows.join(",")));
    least(|| {
        let run = Run::parse(&kind, body.clone()).unwrap();
        let types = std::slice::from_ref(&kind);
        let report = Report::build(types, vec![Some(run)], &Identities::default()).unwrap();
        assert_eq!(report.employee_count, KEYS);
    })
}

/// The least time of a few that it takes to read a map of these addresses.
fn time_of_addresses(addresses: &[String]) -> Duration {
    let entries: Vec<String> = addresses
        .iter()
        .map(|address| format!(r#""{address}":1"#))
        .collect();
    let map = format!("{{{}}}", entries.join(","));
    least(|| {
        let identities = Identities::parse(map.as_bytes()).unwrap();
        assert_eq!(identities.entries(), KEYS);
    })
}

fn least(work: impl Fn()) -> Duration {
    let times = (0..3).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap()
}

/// What collides in every bucket takes hundreds of times as long where it matters.
const MOST: u32 = 8;

#[test]
fn employee_ids_that_collide_elsewhere_do_not_here() {
    let ordinary = time_of_ids(&(1..=KEYS).map(|id| id * 7919).collect::<Vec<_>>());
    let chosen = [
        // rustc-hash 2, and 1, which does not rotate.
        colliding(0xf135_7aea_2e62_a9c5, 26),
        colliding(0x517c_c1b7_2722_0a95, 0),
        // No hash at all: one bucket, or all at one distance.
        (0..KEYS).map(|id| id << 44).collect(),
        (0..KEYS).map(|id| id << 20).collect(),
    ];
    for (number, ids) in chosen.iter().enumerate() {
        let time = time_of_ids(ids);
        assert!(
            time < ordinary * MOST,
            "{number}: {time:?} against {ordinary:?}"
        );
    }
}

#[test]
fn addresses_that_collide_elsewhere_do_not_here() {
    let v4 = |address: u64| std::net::Ipv4Addr::from(address as u32).to_string();
    let ordinary = time_of_addresses(&(0..KEYS).map(|at| v4(at * 7919)).collect::<Vec<_>>());
    let high: Vec<String> = (0..KEYS).map(|at| v4(at << 16)).collect();
    let v6: Vec<String> = colliding(0xf135_7aea_2e62_a9c5, 26)
        .into_iter()
        .map(|half| std::net::Ipv6Addr::from(u128::from(half) << 64 | 1).to_string())
        .collect();
    for addresses in [high, v6] {
        let time = time_of_addresses(&addresses);
        assert!(
            time < ordinary * MOST,
            "{}: {time:?} against {ordinary:?}",
            addresses[1]
        );
    }
}
