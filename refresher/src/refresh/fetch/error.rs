//! Why an endpoint has given no usable answer, and whether it may be tried again.

use std::time::Duration;

use grouping::rows::PayloadError;
use reqwest::StatusCode;
use thiserror::Error;

use super::redirect::RedirectError;

/// Why an endpoint has given no usable answer. Says nothing of its address: clients may read it.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// No connection, or no secure one.
    #[error("upstream cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate, or its name in it, is not to be trusted.
    #[error(
        "upstream is not trusted: {0}; let the system trust who issued its certificate, or name that one's certificate in SSL_CERT_FILE, and check that BASE_ENDPOINT has a name that is in upstream's"
    )]
    Untrusted(String),
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
    /// More bytes than `API_MAX_BODY_BYTES`, together with the other answers of the refresh.
    #[error(
        "the answer is too much: it makes those of a refresh together larger than {0} bytes (API_MAX_BODY_BYTES)"
    )]
    TooLarge(u64),
    /// It is compressed in a way that was not asked for.
    #[error("the answer has the content coding `{0}`; gzip, zstd and none are understood")]
    Coding(String),
    /// It is not what its content coding says.
    #[error("the answer cannot be decompressed: {0}")]
    Decompression(String),
    /// It is only the first of several pages.
    #[error(
        "upstream sends the answer in pages, of which this is only one: nothing of it is used; ask for all rows at once in BASE_ENDPOINT's API"
    )]
    Pages,
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
    /// An identity map all of whose entries are rejected.
    #[error(
        "the identity map is empty but for {0} entries whose value is no employee id: nothing could be attributed by it"
    )]
    UnusableIdentities(u64),
    /// Our own failure.
    #[error("the answer could not be processed: {0}")]
    Internal(String),
}

impl FetchError {
    /// Whether the next try may well succeed.
    #[must_use]
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // A 403 that says when to come back is a limit.
            Self::Status {
                status,
                retry_after,
            } => {
                status.is_server_error()
                    || (*status == StatusCode::FORBIDDEN && retry_after.is_some())
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS
                            | StatusCode::REQUEST_TIMEOUT
                            | StatusCode::TOO_EARLY
                    )
            }
            Self::Unreachable(_)
            | Self::Untrusted(_)
            | Self::Timeout(_)
            | Self::BrokenOff(_)
            | Self::WebPage
            | Self::Decompression(_)
            | Self::Content(_)
            | Self::NoIdentities
            | Self::UnusableIdentities(_) => true,
            Self::Login(_)
            | Self::Redirect(_)
            | Self::TooLarge(_)
            | Self::Coding(_)
            | Self::Pages
            | Self::Internal(_) => false,
        }
    }

    /// How long upstream asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
