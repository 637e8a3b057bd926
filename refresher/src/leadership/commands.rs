//! Commands from the component, as the leading refresher takes them off the stream.
//!
//! All refreshers use one consumer name: only the leader reads, and what a former leader has left
//! undone is then simply the next one's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::contract::commands::{Command, EXPIRY_MS, EntryId, FIELD, GROUP};
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Cmd, FromRedisValue as _, Pipeline, Value};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::store::{Link, Store, StoreError};

/// The consumer's name within the group.
const CONSUMER: &str = "leader";

/// How long one look for new commands lasts.
const BLOCK: Duration = Duration::from_secs(1);

/// How long to wait for the answer to such a look.
const ANSWER: Duration = Duration::from_secs(3);

/// The wait after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Entries that are taken at a time.
const AT_ONCE: usize = 64;

/// The newest commands, among which that to shut down is looked for twice a second.
const COMMANDS_SEEN: usize = 16;

/// Dead letters that are kept for an operator to look at.
const DEAD_LETTERS_KEPT: usize = 100;

/// Characters that are kept of such an entry.
const MOST_SHOWN: usize = 1000;

/// A client asks for a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefreshRequest {
    /// The stream entry.
    id: String,
    /// When it asked: milliseconds of Redis's clock.
    pub(crate) sent_ms: u64,
}

/// The commands stream, read by the leader.
#[derive(Debug)]
pub(crate) struct Commands {
    store: Arc<Store>,
    link: Link,
    may_shut_down: bool,
    /// What has been handed on and is not done yet.
    handed_on: HashSet<String>,
}

impl Commands {
    /// The stream of `store`. Shutdown commands count only if `may_shut_down`.
    #[must_use]
    pub(crate) fn new(store: Arc<Store>, may_shut_down: bool) -> Self {
        Self {
            link: store.link(ANSWER),
            store,
            may_shut_down,
            handed_on: HashSet::new(),
        }
    }

    /// Hands refresh requests on to `requests` and carries the other commands out; never ends.
    pub(crate) async fn take(mut self, requests: mpsc::Sender<RefreshRequest>) {
        let mut failing = false;
        let mut prepared = false;
        loop {
            let result = match prepared {
                true => self.round(&requests).await,
                false => self.prepare().await,
            };
            match result {
                Ok(()) => (prepared, failing) = (true, false),
                Err(error) => {
                    // The group is gone with its stream when Redis has been emptied.
                    prepared = false;
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot read commands; trying again");
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Makes sure that stream and group exist.
    async fn prepare(&self) -> Result<(), StoreError> {
        let mut create = redis::cmd("XGROUP");
        create
            .arg("CREATE")
            .arg(self.store.keys.commands())
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM");
        match self.link.query::<()>(&create).await {
            Err(StoreError::Refused(said)) if said.contains("BUSYGROUP") => Ok(()),
            result => result,
        }
    }

    /// First what a former leader left undone, then what is new.
    async fn round(&mut self, requests: &mpsc::Sender<RefreshRequest>) -> Result<(), StoreError> {
        let pending = self.read("0").await?;
        self.handed_on
            .retain(|id| pending.iter().any(|entry| entry.id == *id));
        for entry in pending {
            if !self.handed_on.contains(&entry.id) {
                self.carry_out(entry, requests).await?;
            }
        }
        for entry in self.read(">").await? {
            self.carry_out(entry, requests).await?;
        }
        Ok(())
    }

    async fn read(&self, from: &str) -> Result<Vec<StreamId>, StoreError> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(GROUP)
            .arg(CONSUMER)
            .arg("COUNT")
            .arg(AT_ONCE);
        if from == ">" {
            read.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        }
        read.arg("STREAMS")
            .arg(self.store.keys.commands())
            .arg(from);
        let reply: Option<StreamReadReply> = self.link.query(&read).await?;
        let streams = reply.unwrap_or_default().keys;
        Ok(streams.into_iter().flat_map(|stream| stream.ids).collect())
    }

    async fn carry_out(
        &mut self,
        entry: StreamId,
        requests: &mpsc::Sender<RefreshRequest>,
    ) -> Result<(), StoreError> {
        let Some(id) = EntryId::parse(&entry.id) else {
            return acknowledge(&self.store, &entry.id).await;
        };
        if self.store.now_ms().await?.saturating_sub(id.ms) > EXPIRY_MS {
            tracing::info!(id = entry.id, "a command has expired: not carried out");
            return acknowledge(&self.store, &entry.id).await;
        }
        match parse(&entry) {
            Ok(Command::Refresh) => {
                let request = RefreshRequest {
                    id: entry.id.clone(),
                    sent_ms: id.ms,
                };
                // Where the queue is full, the entry stays pending and comes again.
                if requests.try_send(request).is_ok() {
                    self.handed_on.insert(entry.id);
                }
                Ok(())
            }
            Ok(Command::Shutdown) => {
                if self.may_shut_down {
                    tracing::info!("a client shuts the service down");
                    shut_down(&self.store, id).await?;
                } else {
                    tracing::warn!("a shutdown command is ignored: SHUTDOWN_ENABLED is false");
                }
                acknowledge(&self.store, &entry.id).await
            }
            Err(reason) => self.set_aside(&entry, &reason).await,
        }
    }

    /// Keeps what is no command where an operator finds it, and out of the way.
    async fn set_aside(&self, entry: &StreamId, reason: &str) -> Result<(), StoreError> {
        let dead_letters = self.store.keys.dead_letters();
        tracing::warn!(
            id = entry.id,
            reason,
            kept_in = dead_letters,
            "an entry of the commands stream is set aside"
        );
        let mut add = redis::cmd("XADD");
        add.arg(dead_letters)
            .arg("MAXLEN")
            .arg(DEAD_LETTERS_KEPT)
            .arg("*")
            .arg("id")
            .arg(&entry.id)
            .arg("reason")
            .arg(reason)
            .arg("entry")
            .arg(shown(entry));
        self.link.query::<()>(&add).await?;
        acknowledge(&self.store, &entry.id).await
    }
}

/// Notes that a command is done, so that nobody does it again.
///
/// # Errors
/// When Redis cannot be told.
pub(crate) async fn done(store: &Store, request: &RefreshRequest) -> Result<(), StoreError> {
    acknowledge(store, &request.id).await
}

/// What was asked last on the stream of commands, and carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandsSeen {
    /// The newest entry; the smallest id where there is none.
    pub(crate) newest: EntryId,
    /// The newest command to shut down, unless it has expired.
    pub(crate) shutdown_sent: Option<EntryId>,
    /// The command by which the service was last shut down.
    pub(crate) shut_down: Option<EntryId>,
}

/// Looks at the stream of commands without taking any.
///
/// # Errors
/// When Redis cannot be asked.
pub(crate) async fn seen(store: &Store) -> Result<CommandsSeen, StoreError> {
    let mut all = Pipeline::with_capacity(3);
    all.cmd("XREVRANGE")
        .arg(store.keys.commands())
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(COMMANDS_SEEN);
    all.get(store.keys.shutdown());
    all.cmd("TIME");
    let (entries, shut_down, (seconds, _)): (StreamRangeReply, Option<String>, (u64, u64)) =
        store.control.pipeline(&all).await?;
    let id = |entry: &StreamId| EntryId::parse(&entry.id);
    let is_shutdown = |entry: &&StreamId| {
        let name: Option<String> = entry.get(FIELD);
        name.as_deref() == Some(Command::Shutdown.name())
    };
    let sent = entries.ids.iter().find(is_shutdown).and_then(id);
    let now_ms = seconds * 1000;
    Ok(CommandsSeen {
        newest: entries.ids.first().and_then(id).unwrap_or_default(),
        shutdown_sent: sent.filter(|sent| now_ms <= sent.ms.saturating_add(EXPIRY_MS)),
        shut_down: shut_down.and_then(|id| EntryId::parse(&id)),
    })
}

/// Lets every process of the service end that was started before `command` was sent.
///
/// # Errors
/// When Redis cannot be told.
pub(crate) async fn shut_down(store: &Store, command: EntryId) -> Result<(), StoreError> {
    let set = Cmd::set(store.keys.shutdown(), command.to_string());
    store.control.query(&set).await
}

async fn acknowledge(store: &Store, id: &str) -> Result<(), StoreError> {
    let mut acknowledge = redis::cmd("XACK");
    acknowledge.arg(store.keys.commands()).arg(GROUP).arg(id);
    store.control.query(&acknowledge).await
}

/// The entry as a command, or why it is none.
fn parse(entry: &StreamId) -> Result<Command, String> {
    let fields: Vec<(&str, String)> = entry
        .map
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
    Command::from_fields(fields).map_err(|error| error.to_string())
}

/// An entry's fields for a person, cut off where they are long.
fn shown(entry: &StreamId) -> String {
    let fields = entry.map.iter();
    let fields = fields.map(|(name, value)| format!("{name:?}: {:?}", text(value)));
    let whole = fields.collect::<Vec<_>>().join(", ");
    whole.chars().take(MOST_SHOWN).collect()
}

/// A field's value; what is no text is shown as well as can be.
fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => String::from_redis_value_ref(other).unwrap_or_default(),
    }
}
