//! The pure crates reach no file, socket, process or environment, by the standard library or past it.

use crate::paths::paths;
use crate::{code, root, sources};

const PURE: [&str; 2] = ["domain", "grouping"];

/// What leads outside.
const OUTSIDE: [&str; 6] = ["env", "fs", "net", "os", "process", "thread::sleep"];

fn leads_outside(path: &str) -> bool {
    if let Some(item) = path.strip_prefix("std::") {
        let is_or_is_in = |name: &&str| {
            let rest = item.strip_prefix(*name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        // Addresses are values, as numbers are.
        let is_value = item.starts_with("net::Ip") || item.starts_with("net::SocketAddr");
        return OUTSIDE.iter().any(is_or_is_in) && !is_value;
    }
    // Memory may be asked for in large pages.
    path.starts_with("libc::") || path.starts_with("rustix::") && !path.starts_with("rustix::mm")
}

#[test]
fn what_leads_outside_is_known() {
    for path in [
        "std::fs",
        "std::net::TcpStream",
        "std::thread::sleep",
        "rustix::fs::open",
    ] {
        assert!(leads_outside(path), "{path}");
    }
    for path in [
        "std::net::IpAddr",
        "std::fmt",
        "std::environment",
        "rustix::mm::madvise",
    ] {
        assert!(!leads_outside(path), "{path}");
    }
}

#[test]
fn the_pure_crates_reach_nothing_outside() {
    for pure in PURE {
        let files = sources(&root().join(pure).join("src"));
        assert!(!files.is_empty());
        for file in files {
            for path in paths(&code(&file)) {
                let path = path.join("::");
                let Some(item) = path.strip_prefix("std::") else {
                    continue;
                };
                let outside = OUTSIDE.iter().find(|name| {
                    let rest = item.strip_prefix(**name);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                });
                // Addresses are values, as numbers are.
                let is_value = item.starts_with("net::Ip") || item.starts_with("net::SocketAddr");
                assert!(
                    outside.is_none() || is_value,
                    "{} uses {path}",
                    file.display()
                );
            }
        }
    }
}
