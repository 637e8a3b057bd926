//! What the server grants its clients, all together and each.

use std::time::Duration;

use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections that may be open at once, where there are file descriptors enough.
const MOST_CONNECTIONS: usize = 1000;

/// Connections that there have to be, however few descriptors there are.
const FEWEST_CONNECTIONS: usize = 16;

/// File descriptors for all but connections and their instances.
const OTHER_DESCRIPTORS: u64 = 64;

/// How the server treats its clients. One client, which is an IPv4 address or a network of 64 bits of
/// IPv6, has a quarter of all connections and requests, and those that were refused lately (401, 403, 429,
/// 503) have a half of all requests together; a trusted proxy is not limited so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that may be open at once.
    pub connections: usize,
    /// Requests that may be in the component at once; more wait.
    pub requests: usize,
    /// Proxies, which speak for many clients.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// How long a connection is kept on which no further request begins.
    pub idle_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub stall_timeout: Duration,
    /// How long a request may wait for its turn.
    pub queue_timeout: Duration,
    /// How long the server goes on when it is told to end, so that a load balancer takes it out first.
    pub drain_time: Duration,
    /// How long the requests in flight have when the server ends, after [`Limits::drain_time`].
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MOST_CONNECTIONS,
            requests: 128,
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
            drain_time: Duration::ZERO,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Takes all the file descriptors that this process may have; how many connections they suffice for. Each
/// may come with another descriptor, for an instance's connection to Redis.
#[must_use]
pub fn connections_that_descriptors_allow() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let half = |all: u64| usize::try_from(all.saturating_sub(OTHER_DESCRIPTORS) / 2);
    let enough = current.and_then(|all| half(all).ok());
    enough
        .unwrap_or(MOST_CONNECTIONS)
        .clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS)
}
