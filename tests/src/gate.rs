//! A way to Redis that closes after so many bytes: what a process has sent by then is all that
//! Redis ever hears of it. It may be made to lead to another Redis, as an address does after a failover.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::redis::Redis;

/// Passes all connections on to a Redis. Closed, it leaves them open but silent; dropped, it ends
/// them.
#[derive(Debug)]
pub struct Gate {
    url: String,
    meter: Arc<Meter>,
    /// Ends with the gate.
    _doorman: JoinSet<()>,
}

#[derive(Debug)]
struct Meter {
    way: Mutex<Way>,
    closed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Way {
    target: String,
    limit: u64,
    sent: u64,
}

impl Gate {
    /// Opens one to `redis` that closes after `limit` bytes.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn open(redis: &Redis, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let meter = Arc::new(Meter {
            way: Mutex::new(Way {
                target: redis.address(),
                limit,
                sent: 0,
            }),
            closed: watch::Sender::new(false),
        });
        let mut doorman = JoinSet::new();
        let own = Arc::clone(&meter);
        doorman.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let meter = Arc::clone(&own);
                connections.spawn(async move {
                    let target = meter.way().target.clone();
                    let Ok(server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (mut answers, to_server) = server.into_split();
                    let (from_client, mut to_client) = client.into_split();
                    tokio::select! {
                        () = pass(&meter, from_client, to_server) => {}
                        _ = copy(&mut answers, &mut to_client) => {}
                    }
                });
            }
        });
        Self {
            url: format!("redis://{address}"),
            meter,
            _doorman: doorman,
        }
    }

    /// Its address, to be used in place of that of Redis.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many bytes have been sent to Redis.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.meter.way().sent
    }

    /// Leads new connections to `redis`, and lets all bytes pass.
    ///
    /// # Panics
    /// Never.
    pub fn lead_to(&self, redis: &Redis) {
        let mut way = self.meter.way();
        way.target = redis.address();
        way.limit = u64::MAX;
    }

    /// Waits until it is closed: Redis then has exactly so many bytes.
    ///
    /// # Panics
    /// Never.
    pub async fn closed(&self) {
        let mut closed = self.meter.closed.subscribe();
        closed
            .wait_for(|closed| *closed)
            .await
            .expect("the gate is there");
    }
}

/// Passes bytes on until the connection ends, or for ever if the gate closes.
async fn pass(meter: &Meter, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let (granted, is_last) = meter.take(read);
        if to.write_all(&buffer[..granted]).await.is_err() {
            return;
        }
        if is_last {
            meter.closed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

impl Meter {
    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().expect("nobody panics with it")
    }

    /// How many of `bytes` may pass, and whether nothing may pass after them.
    fn take(&self, bytes: usize) -> (usize, bool) {
        let mut way = self.way();
        let granted = (way.limit - way.sent).min(bytes as u64);
        way.sent += granted;
        (granted as usize, way.sent == way.limit)
    }
}
