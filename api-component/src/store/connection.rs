//! How a request reaches Redis: over the connection that the instance keeps, within a deadline.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use domain::contract::scripts;
use http::StatusCode;
use spin_sdk::redis::{Connection, Error};
use thiserror::Error;

use crate::problem::Problem;

thread_local! {
    /// Shared by the instance's requests: opened when it is first needed, gone once it proves
    /// broken.
    static CONNECTION: RefCell<Option<Rc<Connection>>> = const { RefCell::new(None) };
}

/// Why Redis did not do what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum StoreError {
    /// It cannot be reached, breaks off or refuses.
    #[error(
        "The store of the service cannot be reached. Try again in a moment. For its operator: \
         check that Redis runs and takes writes, and that REDIS_URL points to it."
    )]
    Broken,
    /// It takes too long.
    #[error(
        "The store of the service does not answer in time. Try again in a moment. For its \
         operator: check that Redis at REDIS_URL is well."
    )]
    Slow,
    /// The manifest does not allow its address, or it is none.
    #[error(
        "The service may not connect to its store. For its operator: the variable redis_url must \
         be set to redis://HOST:PORT, the address of Redis itself, not of a Sentinel; a component \
         reaches no other."
    )]
    NotAllowed,
    /// A part of the snapshot that should be there is not.
    #[error(
        "The snapshot was replaced while it was read, or a part of it is lost. Try again in a \
         moment."
    )]
    Missing,
    /// What is there cannot be what it should be.
    #[error(
        "What the store of the service holds is damaged. Try again after the next refresh. For its \
         operator: check that nobody else writes to the keys of the service."
    )]
    Damaged,
    /// A row is longer than what may be held at a time.
    #[error(
        "An incident of this answer is too long for a table. Ask for format=ndjson, or leave it out."
    )]
    TooLong,
    /// It does not have a script that is called by its hash.
    #[error("The store of the service has lost a script. Try again in a moment.")]
    UnknownScript,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            // Another try would be answered the same: it is the form that is asked for.
            StoreError::TooLong => Self::new(StatusCode::NOT_ACCEPTABLE, error.to_string()),
            _ => Self::unavailable(error.to_string()).retry_after(2),
        }
    }
}

/// When a request stops to wait for Redis. The host has no limit of its own. `None` once it is reached: what has
/// ended must not be polled again, and nothing is waited for any more.
pub(super) struct Deadline(Option<Pin<Box<dyn Future<Output = ()>>>>);

impl Deadline {
    /// The one that is `duration` after it is first waited for.
    pub(super) fn after(duration: Duration) -> Self {
        Self(Some(Box::pin(spin_sdk::time::sleep(duration))))
    }

    /// What `operation` comes to, unless the deadline is reached first.
    async fn bound<T>(&mut self, operation: impl Future<Output = T>) -> Result<T, StoreError> {
        let mut operation = pin!(operation);
        poll_fn(|context| match operation.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => {
                let reached = match &mut self.0 {
                    Some(timer) => timer.as_mut().poll(context),
                    None => Poll::Ready(()),
                };
                reached.map(|()| {
                    self.0 = None;
                    Err(StoreError::Slow)
                })
            }
        })
        .await
    }
}

/// Does `operation` on the kept connection, and once more on a new one if that proves broken. So an
/// operation whose answer got lost may be done twice: all of ours bear that.
pub(super) async fn on_connection<T>(
    address: &str,
    deadline: &mut Deadline,
    operation: impl AsyncFn(&Connection) -> Result<T, Error>,
) -> Result<T, StoreError> {
    if let Some(kept) = CONNECTION.with_borrow(Clone::clone) {
        match try_on(&kept, deadline, &operation).await {
            Err(StoreError::Broken) => {}
            result => return result,
        }
    }
    let opened = deadline.bound(Connection::open(address)).await?;
    let connection = Rc::new(opened.map_err(classified)?);
    CONNECTION.with_borrow_mut(|kept| {
        // Another request may have opened one meanwhile.
        kept.get_or_insert_with(|| connection.clone());
    });
    try_on(&connection, deadline, &operation).await
}

/// A connection that fails or hangs is not used again. What went wrong comes as words alone, so
/// that a refusal counts as a failure of the connection, too: behind a new one there may be a Redis
/// that does not refuse.
async fn try_on<T>(
    connection: &Rc<Connection>,
    deadline: &mut Deadline,
    operation: impl AsyncFn(&Connection) -> Result<T, Error>,
) -> Result<T, StoreError> {
    let result = deadline.bound(operation(connection)).await;
    let result = result.and_then(|result| result.map_err(classified));
    if let Err(StoreError::Broken | StoreError::Slow) = result {
        CONNECTION.with_borrow_mut(|kept| {
            kept.take_if(|kept| Rc::ptr_eq(kept, connection));
        });
    }
    result
}

fn classified(error: Error) -> StoreError {
    match error {
        Error::InvalidAddress => StoreError::NotAllowed,
        Error::Other(message) if message.to_ascii_lowercase().contains("noscript") => {
            StoreError::UnknownScript
        }
        // What our scripts answer when a part of a generation is gone, or is none of ours.
        Error::Other(message) if message.contains(scripts::MISSING) => StoreError::Missing,
        Error::Other(message) if message.contains(scripts::DAMAGED) => StoreError::Damaged,
        Error::Other(message) if message.contains("WRONGTYPE") => StoreError::Damaged,
        _ => StoreError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn what_can_never_succeed_is_not_to_be_tried_again() {
        let problem = Problem::from(StoreError::TooLong);
        assert_eq!(problem.status, StatusCode::NOT_ACCEPTABLE);
        assert!(problem.fields.is_empty());
        let passing = Problem::from(StoreError::Slow);
        assert_eq!(passing.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(passing.fields, [("retry-after", "2".to_owned())]);
    }

    #[test]
    fn a_deadline_that_is_reached_stays_reached() {
        let mut deadline = Deadline(Some(Box::pin(async {})));
        for _ in 0..2 {
            let waiting = deadline.bound(std::future::pending::<()>());
            assert_eq!(waiting.now_or_never(), Some(Err(StoreError::Slow)));
        }
        // What need not wait is done all the same.
        let done = deadline.bound(std::future::ready(1));
        assert_eq!(done.now_or_never(), Some(Ok(1)));
    }

    #[test]
    fn failures_are_told_apart() {
        let other = |message: &str| classified(Error::Other(message.to_owned()));
        assert_eq!(
            other("\"MISSING\": a block of this generation"),
            StoreError::Missing
        );
        assert_eq!(
            other("\"DAMAGED\": the index of this generation"),
            StoreError::Damaged
        );
        let kind = "WRONGTYPE: Operation against a key holding the wrong kind of value";
        assert_eq!(other(kind), StoreError::Damaged);
        let unknown = "An error was signalled by the server - NoScriptError: No matching script.";
        assert_eq!(other(unknown), StoreError::UnknownScript);
        assert_eq!(
            other("\"NOSCRIPT\": No matching script."),
            StoreError::UnknownScript
        );
        assert_eq!(other("Broken pipe (os error 32)"), StoreError::Broken);
        assert_eq!(classified(Error::InvalidAddress), StoreError::NotAllowed);
        assert_eq!(classified(Error::TooManyConnections), StoreError::Broken);
    }
}
