//! The calls of `spin:redis`, over a real Redis.

use crate::server::{Host, Redis};

struct Calls<'a> {
    host: Host,
    redis: &'a Redis,
}

impl<'a> Calls<'a> {
    async fn of(redis: &'a Redis) -> Self {
        let host = Host::with(redis).await;
        Self { host, redis }
    }

    /// One call; the arguments as they stand in a query.
    async fn call(&self, function: &str, arguments: &[&str]) -> String {
        let arguments: String = arguments.iter().map(|arg| format!("&arg={arg}")).collect();
        let path = format!("/redis?url={}&do={function}{arguments}", self.redis.url);
        self.host.text(&path).await
    }

    async fn execute(&self, words: &str) -> String {
        self.call("execute", &words.split(' ').collect::<Vec<_>>())
            .await
    }
}

#[tokio::test]
async fn values_counters_and_sets() {
    let redis = Redis::start().await;
    let calls = Calls::of(&redis).await;
    assert_eq!(calls.call("get", &["k"]).await, "none");
    assert_eq!(calls.call("set", &["k", "a%20b"]).await, "()");
    assert_eq!(calls.call("get", &["k"]).await, "some a b");
    assert_eq!(calls.call("set", &["k", ""]).await, "()");
    assert_eq!(calls.call("get", &["k"]).await, "some ");
    assert_eq!(calls.call("incr", &["n"]).await, "1");
    assert_eq!(calls.call("incr", &["n"]).await, "2");
    assert_eq!(calls.call("sadd", &["s", "a", "b", "a"]).await, "2");
    assert_eq!(calls.call("smembers", &["s"]).await, "a,b");
    assert_eq!(calls.call("smembers", &["none"]).await, "");
    assert_eq!(calls.call("srem", &["s", "a", "c"]).await, "1");
    assert_eq!(calls.call("del", &["k", "n", "none"]).await, "2");
    assert_eq!(calls.call("publish", &["channel", "x"]).await, "()");
}

#[tokio::test]
async fn any_command_with_any_answer() {
    let redis = Redis::start().await;
    let calls = Calls::of(&redis).await;
    assert_eq!(calls.execute("SET k 7").await, "+OK");
    assert_eq!(calls.execute("GET k").await, "$7");
    assert_eq!(calls.execute("GET none").await, "nil");
    assert_eq!(calls.execute("INCRBY k i:-10").await, ":-3");
    assert_eq!(calls.execute("PING").await, "+PONG");
    assert_eq!(calls.execute("RPUSH l a b").await, ":2");
    assert_eq!(calls.execute("LRANGE l i:0 i:-1").await, "$a $b");
    assert_eq!(calls.execute("LRANGE none 0 -1").await, "");
    assert_eq!(calls.execute("MGET k none k").await, "$-3 nil $-3");
    // Arrays within arrays are flattened.
    let script = "EVAL return{1,{'a',{},{2,false}},redis.status_reply('S')} 0";
    assert_eq!(calls.execute(script).await, ":1 $a :2 nil +S");
}

#[tokio::test]
async fn an_error_of_redis_is_an_error() {
    let redis = Redis::start().await;
    let calls = Calls::of(&redis).await;
    assert_eq!(calls.execute("RPUSH l a").await, ":1");
    for (function, arguments, word) in [
        ("get", &["l"] as &[&str], "WRONGTYPE"),
        ("incr", &["l"], "WRONGTYPE"),
        ("sadd", &["l", "a"], "WRONGTYPE"),
        ("execute", &["GET", "l"], "WRONGTYPE"),
        ("execute", &["EVALSHA", "0000", "0"], "NoScript"),
        ("execute", &["NOSUCH"], "unknown command"),
        (
            "execute",
            &["EVAL", "return{1,redis.error_reply('BAD%20x')}", "0"],
            "BAD",
        ),
    ] {
        let answer = calls.call(function, arguments).await;
        assert!(
            answer.starts_with("error Error::Other("),
            "{function}: {answer}"
        );
        assert!(answer.contains(word), "{function}: {answer}");
    }
    // The connection is none the worse for it.
    assert_eq!(calls.execute("PING").await, "+PONG");
}

#[tokio::test]
async fn an_answer_is_bounded() {
    let redis = Redis::start().await;
    let calls = Calls::of(&redis).await;
    let limit = 128 << 20;
    redis.run::<()>(&format!("SETRANGE large {limit} x")).await;
    redis
        .run::<()>(&format!("SETRANGE small {} x", limit / 2))
        .await;
    for (function, arguments) in [
        ("size", &["large"] as &[&str]),
        ("execute", &["GET", "large"]),
        // Neither piece alone is too large.
        ("execute", &["MGET", "small", "small"]),
    ] {
        let answer = calls.call(function, arguments).await;
        assert!(answer.contains("exceeds 134217728 bytes"), "{answer:.200}");
    }
    let size = calls.call("size", &["small"]).await;
    assert_eq!(size, format!("bytes {}", limit / 2 + 1));
}

#[tokio::test]
async fn a_redis_that_goes_is_an_error_at_once() {
    let mut redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let get = format!("/redis?url={}&do=get&arg=k", redis.url);
    assert_eq!(host.text(&get).await, "none");
    redis.kill();
    // The connection that the instance has kept.
    let answer = host.text(&get).await;
    assert!(answer.starts_with("error Error::Other("), "{answer}");
    // A new one, of another instance.
    assert_eq!(host.get("/panic").await.status, 500);
    let answer = host.text(&get).await;
    assert!(answer.starts_with("error Error::Other("), "{answer}");
}

#[tokio::test]
async fn calls_on_one_connection_overlap() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let get = format!("/redis?url={}&do=get&arg=k", redis.url);
    assert_eq!(host.text(&get).await, "none");
    let many: Vec<_> = (0..10)
        .map(|_| {
            let (address, get) = (host.address, get.clone());
            tokio::spawn(async move { crate::client::get(address, &get).await })
        })
        .collect();
    for answer in many {
        assert_eq!(answer.await.unwrap().text(), "none");
    }
}
