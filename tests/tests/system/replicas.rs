//! Several hosts and refreshers behind HAProxy, as docs/deployment.md has it: each ended, killed and replaced
//! while clients read.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use end_to_end::{
    Balancer, Certificates, Client, FIRST_VERSION, Names, Process, Readers, Redis, Service, Signal,
    Upstream, haproxy, mark, refresher, server_command, until, version_in,
};
use futures::future::join_all;
use reqwest::Method;

const BOUND: Duration = Duration::from_secs(60);

/// Clients that read at the same time, each from an address of its own.
const READERS: u8 = 4;

/// The limits of a test in which they do not matter.
const UNLIMITED: (&str, &str) = ("incidents_api_rate_limits", "1000000 per second");

/// The service with several of everything but Redis.
struct Replicas {
    redis: Redis,
    upstream: Upstream,
    names: Names,
    certificates: Certificates,
    balancer: Balancer,
    port: u16,
    limit: (&'static str, &'static str),
    hosts: Vec<(Ipv4Addr, Service)>,
    refreshers: Vec<Process>,
}

impl Replicas {
    /// Starts it with two hosts, whose reports have this limit; `None` without HAProxy.
    async fn start(limit: (&'static str, &'static str)) -> Option<Self> {
        let program = haproxy("replicas behind a load balancer are")?;
        let (redis, upstream) = (Redis::start().await, Upstream::start().await);
        mark(&upstream, FIRST_VERSION).await;
        let (names, certificates) = (Names::start(&[]).await, Certificates::make());
        // All hosts listen at the same port, each at an address of its own.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let balancer = Balancer::of_the_service(&program, &names, port, &certificates).await;
        let mut all = Self {
            redis,
            upstream,
            names,
            certificates,
            balancer,
            port,
            limit,
            hosts: Vec::new(),
            refreshers: Vec::new(),
        };
        for number in 1..=2 {
            all.add_host(number).await;
            all.add_refresher();
        }
        let client = all.client(1);
        until("a report is served", BOUND, async || {
            let answer = client.get_as_stranger("/readyz").await;
            (answer.status == 200).then_some(())
        })
        .await;
        Some(all)
    }

    /// Starts a host, and has the name lead to it.
    async fn add_host(&mut self, number: u8) {
        let address = Ipv4Addr::new(127, 0, 7, number);
        let host = self.host(address).await;
        self.hosts.push((address, host));
        self.tell_names();
    }

    async fn host(&self, address: Ipv4Addr) -> Service {
        let (server, _) = server_command(&self.redis, &format!("{address}:{}", self.port));
        let server = format!("{server} --drain-time 2s --idle-instance-timeout 60s");
        let arguments = ["serve", "--server", &server, "--server-grace", "10"];
        let proxies = "127.0.0.1";
        let settings = [("TRUSTED_PROXIES", proxies)];
        let variables = [("trusted_proxies", proxies), self.limit];
        let (redis, upstream) = (&self.redis, &self.upstream);
        Service::start_with(&arguments, redis, upstream, &settings, &variables).await
    }

    fn add_refresher(&mut self) {
        let command = refresher(&["run"], &self.redis, &self.upstream, &[]);
        self.refreshers.push(Process::start(command));
    }

    fn tell_names(&self) {
        let addresses: Vec<Ipv4Addr> = self.hosts.iter().map(|(address, _)| *address).collect();
        self.names.set(&addresses);
    }

    /// A client at one of this machine's addresses.
    fn client(&self, number: u8) -> Client {
        let url = format!("https://{}", self.balancer.address);
        let from = Ipv4Addr::new(127, 0, 5, number);
        Client::with_tls(&url, &self.certificates, IpAddr::V4(from))
    }

    /// Waits until what upstream has now is served, so that a refresher is at work.
    async fn gets_on(&self, version: u64) {
        mark(&self.upstream, version).await;
        let client = self.client(READERS + 1);
        until("what is new is served", BOUND, async || {
            let answer = client.get("/incidents").await;
            (answer.status == 200 && version_in(&answer.body) == version).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_notices_what_ends_and_is_replaced() {
    let Some(mut all) = Replicas::start(UNLIMITED).await else {
        return;
    };
    let readers = Readers::start((1..=READERS).map(|number| all.client(number)).collect());
    let mut version = FIRST_VERSION;
    let nothing: [String; 0] = [];

    for place in 0..2 {
        let bad = readers.during("a host is ended and started again", async {
            let (address, host) = all.hosts.remove(place);
            host.refresher.signal(Signal::TERM);
            host.has_ended().await;
            let host = all.host(address).await;
            all.hosts.insert(place, (address, host));
        });
        assert_eq!(bad.await, nothing);

        let bad = readers.during("a host is killed and started again", async {
            let (address, mut host) = all.hosts.remove(place);
            host.signal_host(Signal::KILL);
            host.refresher.exit(BOUND).await;
            let host = all.host(address).await;
            all.hosts.insert(place, (address, host));
        });
        // No more than what it was answering just then.
        let bad = bad.await;
        assert!(bad.len() <= usize::from(READERS), "{bad:?}");
        assert!(!bad.iter().any(|bad| bad.contains("status: 5")), "{bad:?}");

        let bad = readers.during("a refresher is ended and replaced", async {
            all.refreshers[place].signal(Signal::TERM);
            assert!(all.refreshers[place].exit(BOUND).await.success());
            version += 1;
            all.gets_on(version).await;
            all.refreshers.remove(place);
            all.add_refresher();
        });
        assert_eq!(bad.await, nothing);

        let bad = readers.during("a refresher is killed and replaced", async {
            all.refreshers[place].kill().await;
            version += 1;
            all.gets_on(version).await;
            all.refreshers.remove(place);
            all.add_refresher();
        });
        assert_eq!(bad.await, nothing);
    }

    let bad = readers.during("everything is replaced, one after the other", async {
        for number in 3..=4 {
            all.add_host(number).await;
            let (_, old) = all.hosts.remove(0);
            old.refresher.signal(Signal::TERM);
            old.has_ended().await;
            all.tell_names();
            all.add_refresher();
            let mut old = all.refreshers.remove(0);
            old.signal(Signal::TERM);
            assert!(old.exit(BOUND).await.success());
        }
        all.balancer.reload();
        version += 1;
        all.gets_on(version).await;
    });
    assert_eq!(bad.await, nothing);
    readers.end().await;
}

#[tokio::test]
async fn limits_count_over_all_replicas_for_each_client_behind_the_balancer() {
    let limit = ("incidents_api_rate_limits", "20 per hour");
    let Some(all) = Replicas::start(limit).await else {
        return;
    };
    for client in [all.client(1), all.client(2)] {
        let requests = (0..50).map(|forged| {
            let client = client.clone();
            async move {
                // A client may say what it likes.
                let claim = format!("198.51.100.{forged}");
                let fields = [("x-forwarded-for", &*claim), ("connection", "close")];
                client.send(Method::GET, "/incidents", &fields).await
            }
        });
        // Not more at a time than a client may have connections.
        let mut answers = Vec::new();
        let mut requests = requests.collect::<Vec<_>>();
        while !requests.is_empty() {
            let some = requests.split_off(requests.len().saturating_sub(10));
            answers.extend(join_all(some).await);
        }
        let count = |status: u16| answers.iter().filter(|a| a.status == status).count();
        assert_eq!((count(200), count(429)), (20, 30));
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_told_by_a_replica_or_else_by_the_balancer() {
    let Some(mut all) = Replicas::start(UNLIMITED).await else {
        return;
    };
    let client = all.client(1);
    all.redis.stop().await;
    until("no replica is ready, and one says why", BOUND, async || {
        let answer = client.get("/incidents").await;
        (answer.status == 503)
            .then(|| answer.problem(503).contains("Redis"))?
            .then_some(())
    })
    .await;
    assert_eq!(client.get_as_stranger("/healthz").await.status, 200);
    all.redis.start_again().await;
    until("it is served again", BOUND, async || {
        let answer = client.get("/incidents").await;
        (answer.status == 200).then_some(())
    })
    .await;
    for (_, host) in all.hosts.drain(..) {
        host.signal_host(Signal::KILL);
    }
    let answer = until("no replica is left", BOUND, async || {
        let answer = client.get("/incidents").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(answer.problem(503).contains("No replica"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "5");
}
