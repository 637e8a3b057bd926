//! A way to Redis that a test opens and closes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::interval;

/// How often it is looked whether the port is free.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a door treats whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// All pass.
    Open,
    /// Nobody listens: a new connection is refused, and those that are there end.
    Closed,
    /// A connection is accepted, but nothing is ever answered on it.
    Silent,
}

/// A door in front of an address. Dropped, it is closed.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    passage: watch::Sender<Passage>,
    doorman: JoinHandle<()>,
}

impl Door {
    /// Opens one to `target`, as `127.0.0.1:6379`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (passage, seen) = watch::channel(Passage::Open);
        let doorman = tokio::spawn(keep(listener, address, target, seen));
        Self {
            address,
            passage,
            doorman,
        }
    }

    /// Its address, to be used in place of that of Redis.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes how it treats whoever comes, and who has come before.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doorman.abort();
    }
}

async fn keep(
    first: TcpListener,
    address: SocketAddr,
    target: String,
    mut seen: watch::Receiver<Passage>,
) {
    let mut listener = Some(first);
    loop {
        let passage = *seen.borrow_and_update();
        // What is in it ends with the passage.
        let mut connections = JoinSet::new();
        match passage {
            Passage::Closed => listener = None,
            Passage::Open | Passage::Silent if listener.is_none() => {
                listener = Some(listen_again(address).await);
            }
            Passage::Open | Passage::Silent => {}
        }
        let accept = async {
            loop {
                let Some(listener) = &listener else {
                    return std::future::pending::<()>().await;
                };
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(serve(passage, client, target.clone()));
                }
            }
        };
        tokio::select! {
            () = accept => {}
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

async fn serve(passage: Passage, mut client: TcpStream, target: String) {
    match passage {
        Passage::Silent => std::future::pending().await,
        Passage::Open | Passage::Closed => {
            if let Ok(mut server) = TcpStream::connect(target).await {
                // It ends when either side does.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
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
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if let Ok(listener) = listen() {
            return listener;
        }
    }
}
