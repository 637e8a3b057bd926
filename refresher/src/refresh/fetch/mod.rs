//! Fetching: asks upstream for one endpoint, within bounds, until an answer can be used or the deadline
//! has come.

mod body;
mod error;
mod page;
mod redirect;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use domain::settings::{Settings, UpstreamAccount};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use url::Url;

pub(crate) use self::body::Budget;
use self::body::{Receiver, Share};
pub(crate) use self::error::FetchError;
use crate::backoff::Backoff;
use crate::configuration::{UpstreamSettings, is_loopback};

/// The wait before the first retry is up to this long, and doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// No wait of our own choice is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A longer wait than a refresh can last: it then ends without another try.
const LONGEST_ASKED: Duration = Duration::from_secs(2 * 86_400);

/// Upstream, as all fetches share it.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client,
    base: Url,
    account: UpstreamAccount,
    timeout: Duration,
    retries: u32,
    /// One for each request that may run at a time.
    workers: Semaphore,
    /// The threads that compute, for answers and for all that is made of them.
    pub(super) threads: TaskTracker,
}

impl Upstream {
    /// Upstream as the settings have it.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new(
        upstream: UpstreamSettings,
        settings: &Settings,
    ) -> Result<Self, reqwest::Error> {
        let UpstreamSettings { base, account } = upstream;
        let mut client = Client::builder()
            .user_agent(concat!("employee-incidents/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::policy())
            .timeout(settings.api_timeout)
            .pool_max_idle_per_host(settings.max_workers);
        if is_loopback(&base) {
            // No proxy of the environment reaches this machine as this machine does.
            client = client.no_proxy();
        }
        let threads = TaskTracker::new();
        // So that one can wait until there are none; more may begin all the same.
        threads.close();
        Ok(Self {
            client: client.build()?,
            base,
            account,
            timeout: settings.api_timeout,
            retries: settings.api_retries,
            workers: Semaphore::new(settings.max_workers),
            threads,
        })
    }

    /// Asks for `path` until `accept` takes the answer, the error is a lasting one, the retries are
    /// used up, or the next one would begin after `deadline`. `accept` runs on a thread where it
    /// may take its time.
    ///
    /// # Errors
    /// That of the last try.
    pub(crate) async fn fetch<T: Send + 'static>(
        &self,
        path: &str,
        budget: &Arc<Budget>,
        deadline: Instant,
        accept: impl Fn(Bytes) -> Result<T, FetchError> + Send + Sync + 'static,
    ) -> Result<T, FetchError> {
        let accept = Arc::new(accept);
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut tried = 0;
        loop {
            let error = match self.attempt(path, budget, Arc::clone(&accept)).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            let wait = backoff
                .jittered()
                .max(error.retry_after().unwrap_or_default());
            let in_time = Instant::now() + wait < deadline;
            if !error.is_passing() || tried >= self.retries || !in_time {
                return Err(error);
            }
            tried += 1;
            tracing::debug!(path, %error, tried, ?wait, "trying again");
            sleep(wait).await;
        }
    }

    async fn attempt<T: Send + 'static>(
        &self,
        path: &str,
        budget: &Arc<Budget>,
        accept: Arc<impl Fn(Bytes) -> Result<T, FetchError> + Send + Sync + 'static>,
    ) -> Result<T, FetchError> {
        let (body, share) = {
            // Never closed, so there is always a permit to be had.
            let _worker = self.workers.acquire().await;
            self.body(path, Share::of(budget)).await?
        };
        let accepted = self
            .threads
            .spawn_blocking(move || accept(body))
            .await
            .map_err(|error| FetchError::Internal(error.to_string()))??;
        share.keep();
        Ok(accepted)
    }

    async fn body(&self, path: &str, share: Share) -> Result<(Bytes, Share), FetchError> {
        let url = self.base.join(path);
        let url = url.map_err(|error| FetchError::Internal(error.to_string()))?;
        let request = self
            .client
            .get(url)
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "gzip, zstd")
            .basic_auth(&self.account.id, Some(self.account.password.expose()));
        let response = request.send().await.map_err(|error| self.failure(error))?;
        check(&response)?;
        self.read(response, share).await
    }

    async fn read(
        &self,
        mut response: Response,
        share: Share,
    ) -> Result<(Bytes, Share), FetchError> {
        let announced = response.content_length();
        let mut receiver = Receiver::new(response.headers(), announced, share)?;
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failure(error))?
        {
            receiver.write(&chunk)?;
        }
        let (body, share) = receiver.finish()?;
        match body.trim_ascii_start().first() {
            Some(b'<') => Err(FetchError::WebPage),
            _ if page::has_next(response.headers(), &body) => Err(FetchError::Pages),
            _ => Ok((body, share)),
        }
    }

    fn failure(&self, error: reqwest::Error) -> FetchError {
        if let Some(refused) = causes(&error).find_map(|cause| cause.downcast_ref()) {
            return FetchError::Redirect(*refused);
        }
        if error.is_timeout() {
            return FetchError::Timeout(self.timeout);
        }
        let is_connect = error.is_connect();
        let error = error.without_url();
        let innermost = causes(&error)
            .last()
            .map_or_else(String::new, |cause| cause.to_string());
        match is_connect {
            true if innermost.contains("certificate") => FetchError::Untrusted(innermost),
            true => FetchError::Unreachable(innermost),
            false => FetchError::BrokenOff(innermost),
        }
    }
}

/// An error and what caused it, the outermost first.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Refuses what is no answer to use, before its body is read.
fn check(response: &Response) -> Result<(), FetchError> {
    let (status, headers) = (response.status(), response.headers());
    match status {
        StatusCode::OK => {}
        status => {
            let retry_after = retry_after(headers, SystemTime::now());
            return Err(match status {
                StatusCode::UNAUTHORIZED => FetchError::Login(status),
                StatusCode::FORBIDDEN if retry_after.is_none() => FetchError::Login(status),
                _ => FetchError::Status {
                    status,
                    retry_after,
                },
            });
        }
    }
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    match kind.starts_with("text/html") || kind.starts_with("application/xhtml") {
        true => Err(FetchError::WebPage),
        false => Ok(()),
    }
}

/// How long `Retry-After` says to wait: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(value).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(asked.min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").unwrap();
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            asked("Fri, 31 Dec 1999 23:59:59 GMT"),
            Some(Duration::from_secs(59))
        );
        assert_eq!(asked("Fri, 31 Dec 1999 23:58:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("18446744073709551615"), Some(LONGEST_ASKED));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("-1"), None);
    }

    #[test]
    fn only_passing_failures_are_tried_again() {
        let status = |code: u16| FetchError::Status {
            status: StatusCode::from_u16(code).unwrap(),
            retry_after: None,
        };
        for code in [500, 502, 503, 504, 429, 408] {
            assert!(status(code).is_passing(), "{code}");
        }
        for code in [204, 304, 400, 404, 410] {
            assert!(!status(code).is_passing(), "{code}");
        }
        assert!(!FetchError::Login(StatusCode::UNAUTHORIZED).is_passing());
        assert!(FetchError::WebPage.is_passing());
        assert!(!FetchError::TooLarge(1).is_passing());
        let limited = FetchError::Status {
            status: StatusCode::FORBIDDEN,
            retry_after: Some(Duration::ZERO),
        };
        assert!(limited.is_passing() && !status(403).is_passing());
    }
}
