//! Dispatches alerts while this process leads: looks through what refreshes have published for new incidents,
//! which then wait in Redis until every Alertmanager has taken them.

use std::sync::Arc;
use std::time::Duration;

use domain::contract::alerts::{LONGEST_SEEN, SeenIncidents};
use domain::contract::counters::{self, WAITING};
use domain::contract::record::Current;
use domain::contract::scripts::{Count, NoteAlerts, TakeAlerts};
use domain::incident::Priority;
use domain::settings::Settings;
use futures::future::join_all;
use redis::Pipeline;
use thiserror::Error;
use tokio::time::{sleep, timeout};

use super::alert::{Many, Writer};
use super::find::{Found, find};
use super::published::{Mailbox, Published};
use super::receiver::{Receiver, ReceiverError};
use crate::backoff::Backoff;
use crate::leadership::lease::Leadership;
use crate::refresh::publish::current;
use crate::store::{Store, StoreError};

/// New incidents of a refresh that are told one by one, at most: nobody reads more.
const MOST_NEW: usize = 2_000;

/// Alerts that wait for an Alertmanager, at most; the last of these places are for alerts about many.
const MOST_WAITING: usize = 10_000;

/// Those last places: each refresh takes one for each priority, at most.
const PLACES_FOR_MANY: usize = 1_000;

/// Alerts that are sent together.
const AT_ONCE: usize = 64;

/// The first and the longest wait before an Alertmanager, or Redis, is tried again.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The work with alerts.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    store: Arc<Store>,
    mailbox: Mailbox,
    receivers: Vec<Receiver>,
    priorities: Vec<Priority>,
    writer: Arc<Writer>,
}

/// Why new incidents could not be found or handed over.
#[derive(Debug, Error)]
enum AlertError {
    /// Redis failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The Alertmanager did not take them.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// The thread that searches has ended.
    #[error("the search for new incidents broke off")]
    Search,
}

impl Dispatcher {
    /// The dispatcher of what comes into its mailbox, as `settings` say.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new(store: Arc<Store>, settings: &Settings) -> Result<Self, reqwest::Error> {
        let receivers = settings.alertmanager_urls.iter().map(Receiver::new);
        Ok(Self {
            store,
            mailbox: Mailbox::default(),
            receivers: receivers.collect::<Result<_, _>>()?,
            priorities: settings.alert_priorities.clone(),
            writer: Arc::new(Writer {
                dashboard: settings.dashboard_url.clone(),
            }),
        })
    }

    /// Where refreshes leave what they have published; none where nobody is to be told.
    pub(crate) fn mailbox(&self) -> Option<Mailbox> {
        (!self.receivers.is_empty()).then(|| self.mailbox.clone())
    }

    /// Works while this process leads; never ends.
    pub(crate) async fn run(&self, leadership: &Leadership) {
        self.open(leadership).await;
        let deliveries = self.receivers.iter();
        let deliveries = deliveries.map(|receiver| self.deliver(leadership, receiver));
        tokio::join!(self.note_all(leadership), join_all(deliveries));
        std::future::pending().await
    }

    /// Works on what there is, for no longer than `limit`; what remains waits in Redis for the next leader.
    pub(crate) async fn run_once(&self, leadership: &Leadership, limit: Duration) {
        let work = async {
            let mut seen = None;
            if let Some(published) = self.mailbox.take() {
                self.note(leadership, published, &mut seen).await?;
            }
            // Each by itself: one that is down keeps nothing from the others.
            let handed_over = self.receivers.iter().map(async |receiver| {
                while self.hand_over(leadership, receiver).await? > 0 {}
                Ok(())
            });
            let results: Vec<Result<(), AlertError>> = join_all(handed_over).await;
            results.into_iter().collect::<Result<(), _>>()
        };
        match timeout(limit, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "alerts wait to be handed over"),
            Err(_) => tracing::error!("alerts wait to be handed over: it takes too long"),
        }
    }

    /// Tells anew how many alerts wait: there may be other Alertmanagers than before. Where there are none, what
    /// has been seen is forgotten, so that it is no news should there be one again.
    async fn open(&self, leadership: &Leadership) {
        let result = match self.receivers.is_empty() {
            false => self.keep(leadership, &[], &[]).await,
            true => {
                let keys = &self.store.keys;
                let mut both = Pipeline::with_capacity(2);
                both.del(keys.alerts_seen()).ignore();
                both.hdel(keys.counters(), WAITING).ignore();
                self.store.control.pipeline(&both).await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "how many alerts wait could not be told");
        }
    }

    /// Looks through all that is published; never ends.
    async fn note_all(&self, leadership: &Leadership) {
        if self.receivers.is_empty() {
            return std::future::pending().await;
        }
        let [first, longest] = WAITS;
        let mut backoff = Backoff::new(first, longest);
        // What the former leader has published and not looked through.
        let mut seen = None;
        let mut is_missed = true;
        let mut is_failing = false;
        loop {
            let result = match is_missed {
                true => self.note_missed(leadership, &mut seen).await,
                false => {
                    let published = self.mailbox.next().await;
                    let result = self
                        .note(leadership, Arc::clone(&published), &mut seen)
                        .await;
                    if result.is_err() {
                        self.mailbox.put_back(published);
                    }
                    result
                }
            };
            match result {
                Ok(()) => {
                    is_missed = false;
                    is_failing = false;
                    backoff = Backoff::new(first, longest);
                }
                Err(error) => {
                    seen = None;
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "cannot look for new incidents to be told; trying again");
                    }
                    sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// Looks through the generation that is served, unless that was done.
    async fn note_missed(
        &self,
        leadership: &Leadership,
        seen: &mut Option<Arc<SeenIncidents>>,
    ) -> Result<(), AlertError> {
        let raw = current(&self.store).await?;
        // What cannot be read is soon replaced.
        let Ok(record) = Current::parse(&raw) else {
            return Ok(());
        };
        *seen = self.seen().await?.map(Arc::new);
        let looked_through = seen.as_ref().map(|seen| seen.scope.generation);
        if looked_through == Some(record.generation) {
            return Ok(());
        }
        match Published::read(&self.store, record).await? {
            Some(published) => self.note(leadership, published.into(), seen).await,
            None => Ok(()),
        }
    }

    /// Has what is new in `published` wait for every Alertmanager.
    async fn note(
        &self,
        leadership: &Leadership,
        published: Arc<Published>,
        seen: &mut Option<Arc<SeenIncidents>>,
    ) -> Result<(), AlertError> {
        if seen.is_none() {
            *seen = self.seen().await?.map(Arc::new);
        }
        let now_ms = self.store.now_ms().await?;
        let room = self.room().await?;
        let (before, priorities) = (seen.clone(), self.priorities.clone());
        let writer = Arc::clone(&self.writer);
        // It reads every incident of these priorities: on a thread of its own.
        let search = tokio::task::spawn_blocking(move || {
            let now_min = u32::try_from(now_ms / 60_000).unwrap_or(u32::MAX);
            let found = find(&published, &priorities, before.as_deref(), now_min);
            let alerts = alerts(&writer, &published, &found, room, now_ms);
            (found, alerts)
        });
        let (found, alerts) = search.await.map_err(|_| AlertError::Search)?;
        self.keep(leadership, &found.seen.to_bytes(), &alerts)
            .await?;
        *seen = Some(found.seen.into());
        if !alerts.is_empty() {
            tracing::info!(
                new = found.new.len(),
                first_seen = found.first.iter().sum::<u64>(),
                alerts = alerts.len(),
                "incidents are to be told to Alertmanager"
            );
            for receiver in &self.receivers {
                receiver.is_waited_for.notify_one();
            }
        }
        Ok(())
    }

    /// What was seen before; `None` if nothing was.
    async fn seen(&self) -> Result<Option<SeenIncidents>, StoreError> {
        let mut read = redis::cmd("GETRANGE");
        read.arg(self.store.keys.alerts_seen())
            .arg(0)
            .arg(LONGEST_SEEN);
        let bytes: Vec<u8> = self.store.bodies.query(&read).await?;
        let seen = SeenIncidents::parse(&bytes);
        if seen.is_none() && !bytes.is_empty() {
            tracing::warn!("which incidents were told before cannot be read: all count as seen");
        }
        Ok(seen)
    }

    /// For how many alerts about single incidents there is room on every list.
    async fn room(&self) -> Result<usize, StoreError> {
        let mut lengths = Pipeline::with_capacity(self.receivers.len());
        for receiver in &self.receivers {
            lengths.llen(self.store.keys.alerts_waiting(&receiver.name));
        }
        let lengths: Vec<usize> = self.store.control.pipeline(&lengths).await?;
        let longest = lengths.into_iter().max().unwrap_or_default();
        Ok((MOST_WAITING - PLACES_FOR_MANY).saturating_sub(longest))
    }

    /// Keeps what was seen, and has alerts wait.
    async fn keep(
        &self,
        leadership: &Leadership,
        seen: &[u8],
        alerts: &[String],
    ) -> Result<(), StoreError> {
        let receivers: Vec<&str> = self.receivers.iter().map(|own| own.name.as_str()).collect();
        let note = NoteAlerts {
            keys: &self.store.keys,
            holder: &leadership.holder,
            token: leadership.token,
            receivers: &receivers,
            seen,
            most: MOST_WAITING as u64,
            alerts,
        };
        let left_out = self.store.bodies.call(&note).await?;
        if left_out > 0 {
            tracing::error!(
                alerts = left_out,
                "alerts are not handed over: too many wait already"
            );
        }
        Ok(())
    }

    /// Hands over what waits for one Alertmanager; never ends.
    async fn deliver(&self, leadership: &Leadership, receiver: &Receiver) {
        let [first, longest] = WAITS;
        let mut backoff = Backoff::new(first, longest);
        let mut is_failing = false;
        loop {
            match self.hand_over(leadership, receiver).await {
                Ok(0) => receiver.is_waited_for.notified().await,
                Ok(alerts) => {
                    let to = &receiver.shown;
                    if std::mem::take(&mut is_failing) {
                        tracing::info!(to, "Alertmanager takes alerts again");
                    }
                    tracing::info!(to, alerts, "handed over to Alertmanager");
                    backoff = Backoff::new(first, longest);
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        let to = &receiver.shown;
                        tracing::error!(to, %error, "cannot hand alerts over: they wait, trying again");
                    }
                    sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// Hands over some of what waits; how many.
    async fn hand_over(
        &self,
        leadership: &Leadership,
        receiver: &Receiver,
    ) -> Result<usize, AlertError> {
        let mut read = redis::cmd("LRANGE");
        read.arg(self.store.keys.alerts_waiting(&receiver.name))
            .arg(0)
            .arg(AT_ONCE - 1);
        let waiting: Vec<Vec<u8>> = self.store.control.query(&read).await?;
        let texts = waiting.iter();
        let texts: Vec<String> = texts
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        let mut some = &texts[..];
        while !some.is_empty() {
            match receiver.take(some).await {
                Ok(()) => {
                    self.taken(leadership, receiver, some.len(), some.len())
                        .await?;
                    return Ok(some.len());
                }
                // One of them, whichever: the first is tried alone.
                Err(ReceiverError::Refused(_)) if some.len() > 1 => some = &some[..1],
                Err(error @ ReceiverError::Refused(_)) => {
                    let (to, alert) = (&receiver.shown, &some[0]);
                    tracing::error!(to, %error, alert, "an alert is given up");
                    self.count_failure().await;
                    self.taken(leadership, receiver, 1, 0).await?;
                    return Ok(1);
                }
                Err(error) => {
                    self.count_failure().await;
                    return Err(error.into());
                }
            }
        }
        Ok(0)
    }

    /// Takes the first alerts off a list.
    async fn taken(
        &self,
        leadership: &Leadership,
        receiver: &Receiver,
        done: usize,
        taken: usize,
    ) -> Result<(), StoreError> {
        let others = self.receivers.iter().map(|other| other.name.as_str());
        let others: Vec<&str> = others.filter(|other| *other != receiver.name).collect();
        let take = TakeAlerts {
            keys: &self.store.keys,
            holder: &leadership.holder,
            token: leadership.token,
            receiver: &receiver.name,
            others: &others,
            done,
            taken,
        };
        self.store.control.call(&take).await
    }

    async fn count_failure(&self) {
        let count = Count {
            keys: &self.store.keys,
            counted: &[counters::alert_failure()],
        };
        if let Err(error) = self.store.control.call(&count).await {
            tracing::debug!(%error, "a failed attempt could not be counted");
        }
    }
}

/// What is told of what was found, where there is so much room.
fn alerts(
    writer: &Writer,
    published: &Published,
    found: &Found,
    room: usize,
    now_ms: u64,
) -> Vec<String> {
    let generation = published.record.generation;
    let many = |why, counts: [u64; 4]| {
        let counts = Priority::ALL.into_iter().zip(counts);
        let counts = counts.filter(|(_, count)| *count > 0);
        counts.map(move |(priority, count)| writer.many(why, priority, count, generation, now_ms))
    };
    let mut alerts: Vec<String> = many(Many::First, found.first).collect();
    if found.new.len() <= room.min(MOST_NEW) {
        let new = found.new.iter();
        alerts.extend(new.map(|new| writer.one(published, new, now_ms)));
    } else {
        let mut counts = [0; 4];
        for new in &found.new {
            counts[new.priority as usize] += 1;
        }
        alerts.extend(many(Many::New, counts));
    }
    alerts
}
