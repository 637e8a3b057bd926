//! The end: by HTTP and by signal, of all parts, in bounded time, and never by accident.

use std::fs;
use std::time::Duration;

use end_to_end::{
    Client, ID, Process, Proxy, Redis, Service, Signal, System, TempDir, Upstream, host, keys,
    program, refresher, stored_snapshot, until, with_ignored,
};
use reqwest::Method;
use serde_json::json;

/// How long the end may take.
const IN_TIME: Duration = Duration::from_secs(5);

const BOUND: Duration = Duration::from_secs(30);

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
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        for task in ["run", "serve"] {
            let service = Service::start(task, &redis, &upstream, &[], &[]).await;
            service.refresher.signal(signal);
            service.has_ended().await;
        }
    }
    stored_or_nothing(&redis).await;
}

#[tokio::test]
async fn a_server_ends_with_its_supervisor_however_that_ends() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for task in ["run", "serve"] {
        let mut service = Service::start(task, &redis, &upstream, &[], &[]).await;
        service.refresher.kill().await;
        until("the host is gone as well", IN_TIME, async || {
            service.host_is_gone().then_some(())
        })
        .await;
    }
    // Its supervisor may end before it has begun.
    let mut orphan = tokio::process::Command::new(program("refresher"));
    orphan.args(["exec", "1", "--", "sleep", "600"]);
    let mut orphan = Process::start(orphan);
    assert_eq!(orphan.exit(IN_TIME).await.code(), Some(1));
    assert!(orphan.logged("has ended") > 0, "{}", orphan.log());
}

#[tokio::test]
async fn no_server_is_left_that_does_not_listen_or_runs_behind_a_shell() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let folder = TempDir::new().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let pid = path("pid");
    let stubborn = format!(
        "trap '' TERM; echo $$ > {pid}.new; mv {pid}.new {pid}; while :; do sleep 600; done"
    );
    let behind_a_shell = format!("sh {}; true", path("stubborn"));
    for (name, script) in [("stubborn", stubborn), ("behind", behind_a_shell)] {
        fs::write(path(name), script).expect("a script");
        let server = format!("sh {}", path(name));
        let arguments = ["serve", "--server-grace", "1", "--server", &server];
        let mut supervisor = Process::start(refresher(&arguments, &redis, &upstream, &[]));
        let pid = until("it runs", BOUND, async || fs::read_to_string(&pid).ok()).await;
        fs::remove_file(path("pid")).expect("it is there");
        supervisor.kill().await;
        until("it is gone", IN_TIME, async || {
            // One that has ended and nobody has waited for yet has no arguments any more.
            let arguments = fs::read(format!("/proc/{}/cmdline", pid.trim()));
            arguments.map_or(true, |all| all.is_empty()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_is_started_to_outlive_its_terminal_does() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let command = refresher(&["run"], &redis, &upstream, &[]);
    let mut process = Process::start(with_ignored("HUP", &command));
    until("it refreshes", BOUND, async || {
        (upstream.requests("denial").await > 0).then_some(())
    })
    .await;
    process.signal(Signal::HUP);
    let asked = upstream.requests("denial").await;
    until("two more refreshes", BOUND, async || {
        (upstream.requests("denial").await > asked + 1).then_some(())
    })
    .await;
    process.signal(Signal::TERM);
    assert!(process.exit(IN_TIME).await.success());
}

#[tokio::test]
async fn a_supervised_server_needs_no_leader_to_be_shut_down() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    // As from cron.
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    for _ in 0..2 {
        let service = Service::start("serve", &redis, &upstream, &[], &[]).await;
        let another = Service::start("serve", &redis, &upstream, &[], &[]).await;
        service.serves().await;
        until("both are listed", BOUND, async || {
            let status = service.client.get("/status").await.json();
            (status["nodes"].as_array()?.len() == 2).then_some(())
        })
        .await;
        shut_down(&service.client, Method::GET).await;
        service.has_ended().await;
        another.has_ended().await;
    }
    // What is started next is not concerned.
    let service = Service::start("serve", &redis, &upstream, &[], &[]).await;
    service.serves().await;
    let mut leading = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    until("it leads", BOUND, async || {
        (leading.logged("leads") > 0).then_some(())
    })
    .await;
    let asked = upstream.requests("denial").await;
    until("two more refreshes", BOUND, async || {
        (upstream.requests("denial").await > asked + 1).then_some(())
    })
    .await;
    assert!(leading.is_running());
    shut_down(&service.client, Method::POST).await;
    service.has_ended().await;
    assert!(leading.exit(IN_TIME).await.success());
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
    shut_down(&service.client, Method::GET).await;
    service.has_ended().await;
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
    let proxy = Proxy::start(&redis).await;
    let settings = [("REDIS_URL", proxy.url())];
    let mut first = Process::start(refresher(&["once"], &redis, &upstream, &settings));
    assert!(first.exit(BOUND).await.success(), "{}", first.log());
    let old = stored_snapshot(&redis).await;
    let host = host(&redis, &[]).await;
    let served = host.client.get("/incidents").await;

    for part in [1, 2, 3] {
        let proxy = Proxy::cut_after(&redis, proxy.sent() * part / 4).await;
        let settings = [("REDIS_URL", proxy.url())];
        let mut second = Process::start(refresher(&["run"], &redis, &upstream, &settings));
        tokio::time::timeout(BOUND, proxy.cut())
            .await
            .expect("it publishes");
        second.signal(Signal::TERM);
        let status = second.exit(IN_TIME).await;
        assert_eq!(status.code(), Some(0), "{}", second.log());
        drop(proxy);
        assert_eq!(stored_snapshot(&redis).await, old);
        // It could not give the lease up through a proxy that is cut.
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
