//! Clients that read the report without end, and what goes wrong for them meanwhile.

use std::mem::take;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Client, ID, PASSWORD};
use crate::process::until;
use crate::snapshot::incidents_in;

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers after a change that show what came of it.
const ENOUGH: u64 = 100;

/// How long so many answers may take, on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// Some clients that read all the time.
#[derive(Debug)]
pub struct Readers {
    tasks: JoinSet<()>,
    told: Arc<Told>,
}

/// What they got.
#[derive(Debug, Default)]
struct Told {
    good: AtomicU64,
    bad: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl Told {
    fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    fn bad(&self) -> MutexGuard<'_, Vec<String>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    /// Has each of `clients` read. Every other one keeps its connection, as browsers do; the rest are like
    /// curl.
    #[must_use]
    pub fn start(clients: Vec<Client>) -> Self {
        let (mut tasks, told) = (JoinSet::new(), Arc::new(Told::default()));
        for (number, client) in clients.into_iter().enumerate() {
            tasks.spawn(read(client, number % 2 == 1, Arc::clone(&told)));
        }
        Self { tasks, told }
    }

    /// What goes wrong while something is done, and until many requests have been answered after it: all
    /// that was not a whole report.
    ///
    /// # Panics
    /// When nothing more is answered after it.
    pub async fn during(&self, what: &str, something: impl Future<Output = ()>) -> Vec<String> {
        let before = self.told.good();
        something.await;
        let done = self.told.good();
        until("clients go on", ANSWERED_WITHIN, async || {
            (self.told.good() > done + ENOUGH).then_some(())
        })
        .await;
        let bad = take(&mut *self.told.bad());
        eprintln!("| {what} | {} | {} |", self.told.good() - before, bad.len());
        bad
    }

    /// Ends them, once their last requests are answered.
    pub async fn end(mut self) {
        self.told.ended.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn read(client: Client, closes: bool, told: Arc<Told>) {
    let fields = [("accept-encoding", "gzip"), ("connection", "close")];
    let fields = &fields[..if closes { 2 } else { 1 }];
    let account = Some((ID, PASSWORD));
    while !told.ended.load(Ordering::Relaxed) {
        let answer = client
            .try_send(Method::GET, "/incidents", account, fields)
            .await;
        match answer {
            Ok(answer) if answer.status == 200 && incidents_in(&answer.decoded()) > 1000 => {
                told.good.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => told.bad().push(format!("{answer:?}")),
            Err(error) => told.bad().push(format!("{error:?}")),
        }
        sleep(PAUSE).await;
    }
}
