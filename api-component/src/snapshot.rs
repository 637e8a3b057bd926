//! Fourth station: the record of the snapshot that is served.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use domain::contract::record::{Current, RecordError};
use spin_sdk::wasip3::clocks::monotonic_clock;

use crate::problem::Problem;
use crate::store::Store;

/// How often a request looks for the first snapshot.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What to tell clients that no snapshot could be had for, in seconds: about one refresh.
const RETRY_AFTER: u64 = 5;

/// A record, read.
pub(crate) struct Snapshot {
    /// As it is stored.
    raw: Vec<u8>,
    /// What it says.
    pub(crate) record: Current,
}

thread_local! {
    /// The last one that was read: a record is the same for all requests between two refreshes.
    static LAST: RefCell<Option<Rc<Snapshot>>> = const { RefCell::new(None) };
}

/// Reads a record; `None` where there is none.
///
/// # Errors
/// 503 when it is of another version or damaged.
pub(crate) fn read(raw: Vec<u8>) -> Result<Option<Rc<Snapshot>>, Problem> {
    if raw.is_empty() {
        return Ok(None);
    }
    if let Some(last) =
        LAST.with_borrow(|last| last.clone().filter(|last| is_same(&last.raw, &raw)))
    {
        return Ok(Some(last));
    }
    let record = Current::parse(&raw).map_err(refusal)?;
    let snapshot = Rc::new(Snapshot { raw, record });
    LAST.set(Some(snapshot.clone()));
    Ok(Some(snapshot))
}

/// Whether two records are the same, eight bytes at a time: WebAssembly has no instruction that compares more,
/// and what the compiler puts in its place goes byte by byte.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    words.len() == others.len()
        && rest == other_rest
        && words
            .iter()
            .zip(others)
            .all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
}

fn refusal(error: RecordError) -> Problem {
    match error {
        RecordError::Version(_) => Problem::unavailable(format!("For the operator: {error}.")),
        RecordError::Damaged(_) | RecordError::Impossible(_) => Problem::unavailable(
            "The record of the snapshot is damaged. The next refresh replaces it.",
        )
        .retry_after(RETRY_AFTER),
    }
}

/// Reads the current record anew.
///
/// # Errors
/// 503 when it cannot be read, or there is none.
pub(crate) async fn current(store: &mut Store) -> Result<Rc<Snapshot>, Problem> {
    read(store.current().await?)?.ok_or_else(none_yet)
}

/// Asks for the very first snapshot and waits for it, for at most `SNAPSHOT_WAIT`.
///
/// # Errors
/// 503 when it does not come.
pub(crate) async fn first(store: &mut Store, wait: Duration) -> Result<Rc<Snapshot>, Problem> {
    store.ask_refresh().await?;
    let started = monotonic_clock::now();
    loop {
        spin_sdk::time::sleep(POLL_INTERVAL.min(wait)).await;
        store.renew_deadline();
        if let Some(snapshot) = read(store.current().await?)? {
            return Ok(snapshot);
        }
        if Duration::from_nanos(monotonic_clock::now().saturating_sub(started)) >= wait {
            return Err(none_yet());
        }
    }
}

/// The answer where there is no snapshot.
pub(crate) fn none_yet() -> Problem {
    Problem::unavailable(
        "There is no snapshot to serve yet. Try again in a moment. For the operator: check that a refresher runs and reaches BASE_ENDPOINT.",
    )
    .retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;
    use proptest::prelude::*;

    const RECORD: &str = r#"{"version":2,"generation":3,"etag":"abc","published_at_ms":1,
        "checked_at_ms":2,"employees":1,"report":{},"unattributed":{},"rejected":{},"types":[],
        "identities":{"entries":1,"rejected":0,"stale":false}}"#;

    #[test]
    fn a_record_is_parsed_only_when_it_changed() {
        let read = |text: &str| super::read(text.as_bytes().to_vec()).unwrap().unwrap();
        let one = read(RECORD);
        assert!(Rc::ptr_eq(&one, &read(RECORD)));
        let changed = read(&RECORD.replace(":3", ":4"));
        assert_eq!((one.record.generation, changed.record.generation), (3, 4));
        assert_eq!(read(RECORD).record.generation, 3);
        assert!(super::read(Vec::new()).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn records_are_the_same_only_when_all_bytes_are(bytes: Vec<u8>, at: usize, change in 1_u8..) {
            prop_assert!(is_same(&bytes, &bytes.clone()));
            let mut longer = bytes.clone();
            longer.push(change);
            prop_assert!(!is_same(&bytes, &longer));
            if !bytes.is_empty() {
                let mut other = bytes.clone();
                other[at % bytes.len()] ^= change;
                prop_assert!(!is_same(&bytes, &other));
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let refused = |text: &str| match super::read(text.as_bytes().to_vec()) {
            Err(problem) => Reply::from(problem),
            Ok(_) => panic!("{text} is accepted"),
        };
        let newer = refused(&RECORD.replace("\"version\":2", "\"version\":3"));
        assert_eq!(newer.status, 503);
        assert!(
            newer.json()["detail"]
                .as_str()
                .unwrap()
                .contains("format 3")
        );
        let damaged = refused("{}");
        assert_eq!((damaged.status, damaged.value("retry-after")), (503, "5"));
    }
}
