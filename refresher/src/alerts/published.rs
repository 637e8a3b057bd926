//! What a refresh has published, as it is looked through for new incidents.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use domain::contract::document::{Document, Encoding};
use domain::contract::record::{Body, Current};
use domain::contract::timeline::RowEntry;
use redis::Cmd;
use tokio::sync::Notify;

use crate::store::{Store, StoreError};

/// A generation: its record, and the parts that say where each incident lies.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) record: Current,
    /// A run of [`RowEntry`]s, lane by lane.
    pub(crate) lanes: Bytes,
    /// The report as it is.
    pub(crate) report: Bytes,
}

impl Published {
    /// Reads what is published; `None` where a part of it is gone.
    ///
    /// # Errors
    /// When Redis cannot be read.
    pub(crate) async fn read(store: &Store, record: Current) -> Result<Option<Self>, StoreError> {
        let (keys, generation) = (&store.keys, record.generation);
        let lanes = Body {
            bytes: record.totals().reported * RowEntry::BYTES as u64,
        };
        let Some(report) = record.report.get(Encoding::Identity) else {
            return Ok(None);
        };
        let lanes = read(store, lanes, |number| keys.lanes(generation, number)).await?;
        let block = |number| keys.block(generation, Document::Report, Encoding::Identity, number);
        let report = read(store, report, block).await?;
        Ok(lanes.zip(report).map(|(lanes, report)| Self {
            record,
            lanes,
            report,
        }))
    }
}

/// Reads a body, block by block; `None` where one is gone.
async fn read(
    store: &Store,
    body: Body,
    key: impl Fn(u32) -> String,
) -> Result<Option<Bytes>, StoreError> {
    let mut whole = Vec::new();
    for number in 0..body.blocks() {
        let block: Option<Vec<u8>> = store.bodies.query(&Cmd::get(key(number))).await?;
        match block {
            Some(block) => whole.extend_from_slice(&block),
            None => return Ok(None),
        }
    }
    Ok((whole.len() as u64 == body.bytes).then(|| whole.into()))
}

/// Where refreshes leave what they have published: only the last is of interest. Clones are of the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mailbox(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    last: Mutex<Option<Arc<Published>>>,
    is_there: Notify,
}

impl Mailbox {
    /// Leaves it there, in the place of an earlier one.
    pub(crate) fn put(&self, published: Published) {
        *self.last() = Some(Arc::new(published));
        self.0.is_there.notify_one();
    }

    /// Gives it back to be tried again, unless there is a later one.
    pub(super) fn put_back(&self, published: Arc<Published>) {
        self.last().get_or_insert(published);
        self.0.is_there.notify_one();
    }

    /// Takes it, if there is one.
    pub(super) fn take(&self) -> Option<Arc<Published>> {
        self.last().take()
    }

    /// Throws away what nobody has taken: another one leads, or has led meanwhile.
    pub(crate) fn clear(&self) {
        drop(self.take());
    }

    /// Waits until there is one.
    pub(super) async fn next(&self) -> Arc<Published> {
        loop {
            if let Some(published) = self.take() {
                return published;
            }
            self.0.is_there.notified().await;
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<Published>>> {
        // Nothing is half done in there.
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
