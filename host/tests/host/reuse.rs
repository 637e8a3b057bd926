//! How long an instance lives, and what it takes on.

use std::{net::SocketAddr, time::Duration};

use host::Reuse;

use crate::{
    client::{Connection, get},
    server::{Host, Redis, Settings, until},
};

/// The instance that answers next, and how many requests it has had.
async fn instance(connection: &mut Connection) -> (String, u64) {
    let text = connection.get("/instance").await.text();
    let (id, requests) = text.split_once(' ').unwrap();
    (id.to_owned(), requests.parse().unwrap())
}

#[tokio::test]
async fn an_instance_answers_a_thousand_requests() {
    let host = Host::start(Settings::default()).await;
    let mut connection = Connection::open(host.address).await;
    let (first, requests) = instance(&mut connection).await;
    assert_eq!(requests, 1);
    for requests in 2..=1000 {
        assert_eq!(instance(&mut connection).await, (first.clone(), requests));
    }
    let (second, requests) = instance(&mut connection).await;
    assert_ne!(second, first);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn an_instance_answers_as_many_requests_as_it_may() {
    let host = Host::start(Settings {
        reuse: Reuse {
            max_instance_reuse_count: 1,
            ..Reuse::default()
        },
        ..Settings::default()
    })
    .await;
    let mut connection = Connection::open(host.address).await;
    let (first, _) = instance(&mut connection).await;
    let (second, requests) = instance(&mut connection).await;
    assert_ne!(first, second);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn an_instance_in_use_has_an_age_at_which_another_takes_its_place() {
    let host = Host::start(Settings {
        reuse: Reuse {
            max_instance_age: Duration::from_millis(100),
            max_instance_reuse_count: usize::MAX,
            ..Reuse::default()
        },
        ..Settings::default()
    })
    .await;
    let mut connection = Connection::open(host.address).await;
    let (first, _) = instance(&mut connection).await;
    let mut last = 1;
    until("another one answers", async || {
        let (now, requests) = instance(&mut connection).await;
        let is_another = now != first;
        assert_eq!(requests, if is_another { 1 } else { last + 1 });
        last = requests;
        is_another
    })
    .await;
}

#[tokio::test]
async fn an_idle_instance_is_dropped_with_its_connections() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut connection = Connection::open(host.address).await;
    let (first, _) = instance(&mut connection).await;
    let open = format!("/redis?do=open&url={}", redis.url);
    assert_eq!(connection.get(&open).await.text(), "open");
    assert_eq!(redis.clients().await, 1);
    until("the instance is dropped", async || {
        redis.clients().await == 0
    })
    .await;
    let (second, requests) = instance(&mut connection).await;
    assert_ne!(first, second);
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn an_instance_in_use_is_not_idle() {
    let (redis, another) = (Redis::start().await, Redis::start().await);
    let with_short_idle_time = async |redis| {
        Host::start(Settings {
            redis: Some(redis),
            reuse: Reuse {
                idle_instance_timeout: Duration::from_millis(50),
                ..Reuse::default()
            },
            ..Settings::default()
        })
        .await
    };
    let host = with_short_idle_time(&redis).await;
    let idle = with_short_idle_time(&another).await;
    let path = format!("/wait?url={}&entered=entered&gate=gate", redis.url);
    let waiting = begin(host.address, path);
    until("it has begun", async || redis.run("EXISTS entered").await).await;
    // Elsewhere, one instance after the other is dropped because it idles as long.
    for _ in 0..4 {
        let open = format!("/redis?do=open&url={}", another.url);
        assert_eq!(idle.get(&open).await.text(), "open");
        until("the idle one is dropped", async || {
            another.clients().await == 0
        })
        .await;
    }
    redis.run::<()>("SET gate open").await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

fn begin(host: SocketAddr, path: String) -> tokio::task::JoinHandle<crate::client::Answer> {
    tokio::spawn(async move { get(host, &path).await })
}

/// Has `count` requests wait at the same time, and returns their instances, without doubles.
async fn instances_of_waiting_requests(count: usize, concurrent: usize) -> usize {
    let redis = Redis::start().await;
    let host = Host::start(Settings {
        redis: Some(&redis),
        reuse: Reuse {
            max_instance_concurrent_reuse_count: concurrent,
            ..Reuse::default()
        },
        ..Settings::default()
    })
    .await;
    let mut waiting = Vec::new();
    for number in 0..count {
        let path = format!("/wait?url={}&entered=e{number}&gate=gate", redis.url);
        waiting.push(begin(host.address, path));
        until("it waits", async || {
            redis.run(&format!("EXISTS e{number}")).await
        })
        .await;
    }
    redis.run::<()>("SET gate open").await;
    let mut instances = Vec::new();
    for answer in waiting {
        instances.push(answer.await.unwrap().text());
    }
    instances.sort_unstable();
    instances.dedup();
    instances.len()
}

#[tokio::test]
async fn an_instance_answers_16_requests_at_a_time() {
    let concurrent = Reuse::default().max_instance_concurrent_reuse_count;
    assert_eq!(concurrent, 16);
    assert_eq!(instances_of_waiting_requests(16, concurrent).await, 1);
    assert_eq!(instances_of_waiting_requests(17, concurrent).await, 2);
}

#[tokio::test]
async fn an_instance_answers_one_request_at_a_time_if_told_so() {
    assert_eq!(instances_of_waiting_requests(3, 1).await, 3);
}
