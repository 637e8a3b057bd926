//! A TCP proxy in front of Redis with the faults of a network: it refuses, falls silent, is cut after so
//! many bytes, or leads to another Redis, as an address does after a failover.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::redis::Redis;

/// How often it is tried to listen on the same port again.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// How a proxy treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All pass.
    Open,
    /// Nobody listens: a new connection is refused.
    Refusing,
    /// A connection is accepted, but nothing is ever answered on it.
    Silent,
}

/// A proxy in front of a Redis. Dropped, it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    mode: watch::Sender<Mode>,
    route: Arc<Route>,
    /// Ends with the proxy.
    _accepting: JoinSet<()>,
}

/// Where bytes go, and how many may.
#[derive(Debug)]
struct Route {
    state: Mutex<RouteState>,
    cut: watch::Sender<bool>,
}

#[derive(Debug)]
struct RouteState {
    target: String,
    limit: u64,
    sent: u64,
}

impl Proxy {
    /// Starts one in front of `redis`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(redis: &Redis) -> Self {
        Self::cut_after(redis, u64::MAX).await
    }

    /// Starts one that passes `limit` bytes on to `redis` and then no more: its connections stay open,
    /// but silent.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn cut_after(redis: &Redis, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (mode, seen) = watch::channel(Mode::Open);
        let route = Arc::new(Route {
            state: Mutex::new(RouteState {
                target: redis.address(),
                limit,
                sent: 0,
            }),
            cut: watch::Sender::new(false),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, address, Arc::clone(&route), seen));
        Self {
            url: format!("redis://{address}"),
            mode,
            route,
            _accepting: accepting,
        }
    }

    /// Its address, to be used in place of that of Redis.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends all connections, and treats new ones so.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many bytes have been sent to Redis.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.route.state().sent
    }

    /// Waits until it is cut: Redis then has exactly so many bytes.
    ///
    /// # Panics
    /// Never.
    pub async fn cut(&self) {
        let mut cut = self.route.cut.subscribe();
        cut.wait_for(|cut| *cut).await.expect("the proxy is there");
    }

    /// Leads new connections to `redis`, and lets all bytes pass.
    ///
    /// # Panics
    /// Never.
    pub fn lead_to(&self, redis: &Redis) {
        let mut state = self.route.state();
        state.target = redis.address();
        state.limit = u64::MAX;
    }
}

impl Route {
    fn state(&self) -> MutexGuard<'_, RouteState> {
        self.state.lock().expect("nobody panics with it")
    }

    /// How many of `bytes` may pass, and whether nothing may pass after them.
    fn take(&self, bytes: usize) -> (usize, bool) {
        let mut state = self.state();
        let granted = (state.limit - state.sent).min(bytes as u64);
        state.sent += granted;
        (granted as usize, state.sent == state.limit)
    }
}

async fn accept(
    first: TcpListener,
    address: SocketAddr,
    route: Arc<Route>,
    mut seen: watch::Receiver<Mode>,
) {
    let mut listener = Some(first);
    loop {
        let mode = *seen.borrow_and_update();
        // Connections end with the mode in which they came.
        let mut connections = JoinSet::new();
        if mode == Mode::Refusing {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen_again(address).await);
        }
        let accept = async {
            let Some(listener) = &listener else {
                return std::future::pending::<()>().await;
            };
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(serve(mode, client, Arc::clone(&route)));
                }
            }
        };
        tokio::select! {
            () = accept => {}
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(mode: Mode, client: TcpStream, route: Arc<Route>) {
    if mode == Mode::Silent {
        std::future::pending::<()>().await;
    }
    let target = route.state().target.clone();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut answers, to_server) = server.into_split();
    let (from_client, mut to_client) = client.into_split();
    // Whichever side ends, the connection does.
    tokio::select! {
        () = pass(&route, from_client, to_server) => {}
        _ = copy(&mut answers, &mut to_client) => {}
    }
}

/// Passes bytes on until the connection ends, or for ever once it is cut.
async fn pass(route: &Route, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let (granted, is_last) = route.take(read);
        if to.write_all(&buffer[..granted]).await.is_err() {
            return;
        }
        if is_last {
            route.cut.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

/// Listens on the same port as before, as soon as that is free.
async fn listen_again(address: SocketAddr) -> TcpListener {
    let listen = || -> io::Result<TcpListener> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1024)
    };
    let mut tries = interval(LISTEN_EVERY);
    loop {
        tries.tick().await;
        if let Ok(listener) = listen() {
            return listener;
        }
    }
}
