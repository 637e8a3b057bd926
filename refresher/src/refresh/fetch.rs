//! Fetching: asks upstream for one endpoint, patiently and within bounds, until an answer can be
//! used or the time is up.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use url::{Host, Url};

use domain::settings::{Settings, UpstreamAccount};

use crate::configuration::UpstreamSettings;
use grouping::rows::PayloadError;

/// Redirects that are followed for one request.
const REDIRECTS: usize = 5;

/// The wait before the first retry is up to this long, and doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// No wait of our own choice is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A longer wait than a refresh can last: it then ends without another try.
const LONGEST_ASKED: Duration = Duration::from_secs(2 * 86_400);

/// Why an endpoint has given no usable answer. Says nothing of its address: clients may read it.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// No connection, or no secure one.
    #[error("upstream cannot be reached: {0}")]
    Unreachable(String),
    /// It took longer than `API_TIMEOUT`.
    #[error("upstream did not answer within {} s (API_TIMEOUT)", .0.as_secs_f64())]
    Timeout(Duration),
    /// The connection ended before the answer did.
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
    /// 401 or 403.
    #[error(
        "upstream refuses the credentials ({0}); check UPSTREAM_ID and UPSTREAM_PASSWORD, or SERVICE_ID and SERVICE_PASSWORD where those are not set"
    )]
    Login(StatusCode),
    /// Any other status than 200.
    #[error("upstream answers {status}")]
    Status {
        /// Which.
        status: StatusCode,
        /// How long upstream asks to wait.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error(transparent)]
    Redirect(#[from] RedirectError),
    /// More bytes than `API_MAX_BODY_BYTES`.
    #[error("the answer is larger than {0} bytes (API_MAX_BODY_BYTES)")]
    TooLarge(u64),
    /// It is compressed, although that was not asked for.
    #[error("the answer has a content encoding, which was not asked for")]
    Encoded,
    /// A web page, such as a login form or an error page of a proxy.
    #[error(
        "the answer is a web page instead of JSON; check BASE_ENDPOINT and any proxy before it"
    )]
    WebPage,
    /// It is not what the endpoint should answer.
    #[error("{0}")]
    Content(#[from] PayloadError),
    /// An identity map without entries, after one that had some.
    #[error("the identity map is empty, although it was not before")]
    NoIdentities,
    /// Our own failure.
    #[error("the answer could not be processed: {0}")]
    Internal(String),
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RedirectError {
    /// The credentials must not go there.
    #[error(
        "upstream redirects to another scheme, host or port, where the credentials must not go; if it has moved, change BASE_ENDPOINT"
    )]
    Elsewhere,
    /// They seem to have no end.
    #[error("upstream redirects more than {REDIRECTS} times")]
    TooMany,
}

impl FetchError {
    /// Whether the next try may well succeed.
    #[must_use]
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS
                            | StatusCode::REQUEST_TIMEOUT
                            | StatusCode::TOO_EARLY
                    )
            }
            Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::BrokenOff(_)
            | Self::WebPage
            | Self::Content(_)
            | Self::NoIdentities => true,
            Self::Login(_)
            | Self::Redirect(_)
            | Self::TooLarge(_)
            | Self::Encoded
            | Self::Internal(_) => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Upstream, as all fetches share it.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client,
    base: Url,
    account: UpstreamAccount,
    timeout: Duration,
    retries: u32,
    largest: u64,
    /// One for each request that may run at a time.
    workers: Semaphore,
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
            .redirect(redirects(base.clone()))
            .timeout(settings.api_timeout)
            .pool_max_idle_per_host(settings.max_workers);
        if is_loopback(&base) {
            // No proxy of the environment reaches this machine as this machine does.
            client = client.no_proxy();
        }
        Ok(Self {
            client: client.build()?,
            base,
            account,
            timeout: settings.api_timeout,
            retries: settings.api_retries,
            largest: settings.api_max_body_bytes,
            workers: Semaphore::new(settings.max_workers),
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
        deadline: Instant,
        accept: impl Fn(Bytes) -> Result<T, FetchError> + Send + Sync + 'static,
    ) -> Result<T, FetchError> {
        let accept = Arc::new(accept);
        let mut tried = 0;
        loop {
            let error = match self.attempt(path, Arc::clone(&accept)).await {
                Ok(accepted) => return Ok(accepted),
                Err(error) => error,
            };
            let wait = wait(tried, error.retry_after());
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
        accept: Arc<impl Fn(Bytes) -> Result<T, FetchError> + Send + Sync + 'static>,
    ) -> Result<T, FetchError> {
        let body = {
            // Never closed, so there is always a permit to be had.
            let _worker = self.workers.acquire().await;
            self.body(path).await?
        };
        spawn_blocking(move || accept(body))
            .await
            .map_err(|error| FetchError::Internal(error.to_string()))?
    }

    async fn body(&self, path: &str) -> Result<Bytes, FetchError> {
        let url = self.base.join(path);
        let url = url.map_err(|error| FetchError::Internal(error.to_string()))?;
        let request = self
            .client
            .get(url)
            .header(ACCEPT, "application/json")
            .basic_auth(&self.account.id, Some(self.account.password.expose()));
        let response = request.send().await.map_err(|error| self.failure(error))?;
        check(&response)?;
        self.read(response).await
    }

    /// Reads the body, counting its bytes.
    async fn read(&self, mut response: Response) -> Result<Bytes, FetchError> {
        let announced = response.content_length().unwrap_or(0);
        if announced > self.largest {
            return Err(FetchError::TooLarge(self.largest));
        }
        // Pages that are not written to cost nothing.
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.failure(error))?
        {
            if (body.len() + chunk.len()) as u64 > self.largest {
                return Err(FetchError::TooLarge(self.largest));
            }
            body.extend_from_slice(&chunk);
        }
        match body.trim_ascii_start().first() {
            Some(b'<') => Err(FetchError::WebPage),
            _ => Ok(body.into()),
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
        if is_connect {
            FetchError::Unreachable(innermost)
        } else {
            FetchError::BrokenOff(innermost)
        }
    }
}

fn is_loopback(base: &Url) -> bool {
    match base.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
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

/// Follows redirects within the origin of `base` only: the credentials go along.
fn redirects(base: Url) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error(RedirectError::TooMany);
        }
        if attempt.url().origin() == base.origin() {
            return attempt.follow();
        }
        let to = attempt.url().origin().ascii_serialization();
        tracing::warn!(to, "upstream redirects to another origin: not followed");
        attempt.error(RedirectError::Elsewhere)
    })
}

/// Refuses what is no answer to use, before its body is read.
fn check(response: &Response) -> Result<(), FetchError> {
    let (status, headers) = (response.status(), response.headers());
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(FetchError::Login(status)),
        status => {
            return Err(FetchError::Status {
                status,
                retry_after: retry_after(headers, SystemTime::now()),
            });
        }
    }
    let has = |name, words: &[&str]| {
        let value = headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default());
        value.is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            words.iter().any(|word| value.starts_with(word))
        })
    };
    if has(CONTENT_TYPE, &["text/html", "application/xhtml"]) {
        return Err(FetchError::WebPage);
    }
    match headers.contains_key(CONTENT_ENCODING) && !has(CONTENT_ENCODING, &["identity"]) {
        true => Err(FetchError::Encoded),
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

/// How long to wait after the try numbered `tried` (from 0): exponential backoff with full jitter,
/// so that many refreshers do not come back at the same moment; but as long as upstream asks.
fn wait(tried: u32, asked: Option<Duration>) -> Duration {
    let most = FIRST_WAIT
        .saturating_mul(1 << tried.min(16))
        .min(LONGEST_WAIT);
    most.mul_f64(rand::random::<f64>())
        .max(asked.unwrap_or_default())
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
    fn waits_grow_are_bounded_and_heed_upstream() {
        for tried in [0, 1, 5, 40, u32::MAX] {
            let most = FIRST_WAIT
                .saturating_mul(1 << tried.min(16))
                .min(LONGEST_WAIT);
            for _ in 0..50 {
                assert!(wait(tried, None) <= most);
            }
        }
        let asked = Duration::from_secs(30);
        assert_eq!(wait(0, Some(asked)), asked);
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
    }
}
