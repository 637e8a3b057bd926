//! The end: by HTTP and by signal, of all parts, in bounded time, and never by accident.

use std::time::Duration;

use end_to_end::{
    Client, Gate, ID, Process, Redis, Signal, System, Upstream, host, keys, refresher,
    server_command, stored_snapshot, until,
};
use reqwest::Method;
use rustix::process::{Pid, test_kill_process_group};
use serde_json::json;
use tokio::net::TcpStream;

/// How long the end may take.
const IN_TIME: Duration = Duration::from_secs(5);

const BOUND: Duration = Duration::from_secs(30);

/// A refresher with the server beside it: how the service runs where there is one machine.
struct Service {
    refresher: Process,
    url: String,
    client: Client,
    /// The server's process group.
    group: Pid,
}

impl Service {
    /// Starts `task` (`run` or `serve`) with a server of its own, and waits until that listens.
    /// `variables` are the component's, `settings` the refresher's.
    async fn start(
        task: &str,
        redis: &Redis,
        upstream: &Upstream,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let (server, environment) = server_command(redis, "127.0.0.1:0");
        let mut command = refresher(&[task, "--server", &server], redis, upstream, settings);
        command.envs(environment);
        for (name, value) in variables {
            command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
        }
        let mut refresher = Process::start(command);
        let url = refresher.ready().await;
        let log = refresher.log();
        let id = log
            .lines()
            .find(|line| line.contains("started the server"))
            .and_then(|line| line.rsplit_once("id="))
            .and_then(|(_, id)| id.trim().parse().ok())
            .unwrap_or_else(|| panic!("no id of the server: {log}"));
        Self {
            refresher,
            client: Client::new(&url),
            url,
            group: Pid::from_raw(id).expect("an id"),
        }
    }

    /// Waits until a snapshot is served.
    async fn serves(&self) {
        until("a snapshot is served", BOUND, async || {
            let answer = self.client.get_as_stranger("/readyz").await;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// Waits until all of it has ended, in time and in good order.
    async fn has_ended(mut self) {
        let status = self.refresher.exit(IN_TIME).await;
        assert_eq!(status.code(), Some(0), "{}", self.refresher.log());
        let address = self.url.trim_start_matches("http://");
        assert!(TcpStream::connect(address).await.is_err(), "still listens");
        assert!(
            test_kill_process_group(self.group).is_err(),
            "the server has left a process behind"
        );
    }
}

/// Asks for the end as it should be done.
async fn shut_down(client: &Client, method: Method) {
    let answer = client.send(method, "/shutdown", &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, "shutting down server...");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

/// Who leads, by what Redis says; empty for nobody.
async fn leader(redis: &Redis) -> String {
    let mut connection = redis.connection().await;
    redis::cmd("HGET")
        .arg(keys().lease())
        .arg("holder")
        .query_async(&mut connection)
        .await
        .expect("there was a leader")
}

#[tokio::test]
async fn get_and_post_end_refresher_and_server() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    // The second time shows that an earlier end does not end what is started later.
    for method in [Method::GET, Method::POST] {
        let service = Service::start("run", &redis, &upstream, &[], &[]).await;
        service.serves().await;
        shut_down(&service.client, method).await;
        service.has_ended().await;
        assert_eq!(leader(&redis).await, "", "the lease was not given up");
    }
}

#[tokio::test]
async fn signals_end_refresher_and_server() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for signal in [Signal::TERM, Signal::INT] {
        for task in ["run", "serve"] {
            let service = Service::start(task, &redis, &upstream, &[], &[]).await;
            service.refresher.signal(signal);
            service.has_ended().await;
        }
    }
    stored_or_nothing(&redis).await;
}

/// What is in Redis is a whole snapshot, or none.
async fn stored_or_nothing(redis: &Redis) {
    let mut connection = redis.connection().await;
    let there: bool = redis::cmd("EXISTS")
        .arg(keys().current())
        .query_async(&mut connection)
        .await
        .expect("a number");
    if there {
        stored_snapshot(redis).await;
    }
}

#[tokio::test]
async fn one_request_ends_every_part_of_the_service() {
    let system = System::start().await;
    let (redis, upstream) = (&system.redis, &system.upstream);
    let mut standby = Process::start(refresher(&["run"], redis, upstream, &[]));
    let service = Service::start("serve", redis, upstream, &[], &[]).await;
    service.serves().await;
    until("one stands by", BOUND, async || {
        (standby.logged("stands by") > 0).then_some(())
    })
    .await;

    // Asked of a server that none of them has started.
    shut_down(&system.host.client, Method::GET).await;
    service.has_ended().await;
    let mut leading = system.refresher;
    for refresher in [&mut leading, &mut standby] {
        let status = refresher.exit(IN_TIME).await;
        assert_eq!(status.code(), Some(0), "{}", refresher.log());
    }
    assert_eq!(leader(redis).await, "", "somebody has taken over");
    stored_snapshot(redis).await;
}

#[tokio::test]
async fn only_who_may_and_means_it_ends_the_service() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut service = Service::start("run", &redis, &upstream, &[], &[]).await;
    service.serves().await;
    let client = &service.client;
    for account in [None, Some((ID, "wrong")), Some(("root", ""))] {
        for method in [Method::GET, Method::POST] {
            let answer = client.try_send(method, "/shutdown", account, &[]).await;
            let answer = answer.expect("an answer");
            let _ = answer.problem(401);
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
    }
    for field in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = client.send(method, "/shutdown", &[field]).await;
            let _ = answer.problem(403);
        }
    }
    for (method, status) in [(Method::HEAD, 200), (Method::DELETE, 405)] {
        let answer = client.send(method, "/shutdown", &[]).await;
        assert_eq!(answer.status, status);
    }
    goes_on(&mut service, &upstream).await;
    let typed = [("sec-fetch-site", "none")];
    let answer = client_of(&service)
        .send(Method::GET, "/shutdown", &typed)
        .await;
    assert_eq!(answer.status, 200);
    service.has_ended().await;
}

fn client_of(service: &Service) -> Client {
    service.client.clone()
}

/// Two refreshes later, all of it still runs.
async fn goes_on(service: &mut Service, upstream: &Upstream) {
    let asked = upstream.requests("denial").await;
    until("two more refreshes", BOUND, async || {
        (upstream.requests("denial").await > asked + 1).then_some(())
    })
    .await;
    assert!(
        service.refresher.is_running(),
        "{}",
        service.refresher.log()
    );
    assert_eq!(service.client.get("/incidents").await.status, 200);
}

#[tokio::test]
async fn where_it_is_switched_off_nobody_ends_the_service() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let settings = [("SHUTDOWN_ENABLED", "false")];
    let variables = [("shutdown_enabled", "false")];
    let mut service = Service::start("run", &redis, &upstream, &settings, &variables).await;
    service.serves().await;
    for method in [Method::GET, Method::POST] {
        let answer = service.client.send(method, "/shutdown", &[]).await;
        let detail = answer.problem(403);
        assert!(detail.contains("SHUTDOWN_ENABLED"), "{detail}");
    }
    // A component that is set up otherwise cannot end it either.
    let mut connection = redis.connection().await;
    redis::cmd("XADD")
        .arg(keys().commands())
        .arg(&["*", "command", "shutdown"])
        .exec_async(&mut connection)
        .await
        .expect("it is a stream");
    until("the command is ignored", BOUND, async || {
        (service.refresher.logged("SHUTDOWN_ENABLED is false") > 0).then_some(())
    })
    .await;
    goes_on(&mut service, &upstream).await;
    service.refresher.signal(Signal::TERM);
    service.has_ended().await;
}

/// Settings with which a refresh that hangs would do so for a minute.
const PATIENT: [(&str, &str); 2] = [("API_TIMEOUT", "60"), ("DEFAULT_CACHE_REFRESH", "60")];

#[tokio::test]
async fn a_refresh_that_hangs_does_not_hold_up_the_end() {
    let upstream = Upstream::start_with(&["--fault", "all=hang"]).await;
    for by_signal in [true, false] {
        let redis = Redis::start().await;
        let service = Service::start("run", &redis, &upstream, &PATIENT, &[]).await;
        until("the refresh hangs", BOUND, async || {
            (upstream.journal().await["in_flight"].as_u64() >= Some(8)).then_some(())
        })
        .await;
        // And somebody waits for the first snapshot.
        let client = service.client.clone();
        let waiting =
            tokio::spawn(
                async move { client.try_send(Method::GET, "/incidents", None, &[]).await },
            );
        if by_signal {
            service.refresher.signal(Signal::TERM);
        } else {
            shut_down(&service.client, Method::GET).await;
        }
        service.has_ended().await;
        let _ = waiting.await;
        stored_or_nothing(&redis).await;
        until("upstream is let go of", BOUND, async || {
            (upstream.journal().await["in_flight"] == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_publish_that_is_abandoned_leaves_the_old_snapshot() {
    let growing = ["--per-type", "4000", "--growth", "6000"];
    let upstream = Upstream::start_with(&growing).await;
    let redis = Redis::start().await;
    let gate = Gate::open(&redis, u64::MAX).await;
    let settings = [("REDIS_URL", gate.url())];
    let mut first = Process::start(refresher(&["once"], &redis, &upstream, &settings));
    assert!(first.exit(BOUND).await.success(), "{}", first.log());
    let old = stored_snapshot(&redis).await;
    let host = host(&redis, &[]).await;
    let served = host.client.get("/incidents").await;

    for part in [1, 2, 3] {
        let gate = Gate::open(&redis, gate.sent() * part / 4).await;
        let settings = [("REDIS_URL", gate.url())];
        let mut second = Process::start(refresher(&["run"], &redis, &upstream, &settings));
        tokio::time::timeout(BOUND, gate.closed())
            .await
            .expect("it publishes");
        second.signal(Signal::TERM);
        let status = second.exit(IN_TIME).await;
        assert_eq!(status.code(), Some(0), "{}", second.log());
        drop(gate);
        assert_eq!(stored_snapshot(&redis).await, old);
        // It could not give the lease up through a gate that is closed.
        let mut connection = redis.connection().await;
        redis::cmd("HSET")
            .arg(keys().lease())
            .arg(&["expires_ms", "0"])
            .exec_async(&mut connection)
            .await
            .expect("it is a hash");
    }
    let still = host.client.get("/incidents").await;
    assert_eq!(still.header("etag"), served.header("etag"));
    assert_eq!(still.body, served.body);
}

#[tokio::test]
async fn a_redis_that_hangs_does_not_hold_up_the_end() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let row = json!({"priority": "low", "reported_by": 7, "timestamp": 1.5});
    upstream.serve_rows("denial", &[row]).await;
    let service = Service::start("run", &redis, &upstream, &[], &[]).await;
    service.serves().await;
    redis.freeze();
    let answer = service.client.get("/shutdown").await;
    let _ = answer.problem(503);
    service.refresher.signal(Signal::TERM);
    service.has_ended().await;
    redis.thaw();
    stored_snapshot(&redis).await;
}
