//! An Alertmanager: where it is, and what it makes of alerts.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use thiserror::Error;
use tokio::sync::Notify;
use url::Url;

/// How long it may take to take alerts.
const LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a refusal that are logged, at most.
const MOST_SAID: usize = 300;

/// Digits of the hash that stands for it in the name of a key.
const DIGITS: usize = 16;

/// An Alertmanager.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Stands for it in Redis.
    pub(super) name: String,
    /// Where it is, for a person.
    pub(super) shown: String,
    url: Url,
    client: Client,
    /// Told when an alert begins to wait for it.
    pub(super) is_waited_for: Notify,
}

/// Why it did not take alerts.
#[derive(Debug, Error)]
pub(super) enum ReceiverError {
    /// It says that they are none: another try is of no use.
    #[error("it refuses an alert: {0}")]
    Refused(String),
    /// It answers something else than that it has taken them.
    #[error("it answers {0}")]
    Answer(StatusCode),
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable,
    /// It takes too long.
    #[error("it does not answer within {} s", LIMIT.as_secs())]
    Slow,
    /// It breaks off.
    #[error("it breaks off its answer")]
    Broken,
}

impl Receiver {
    /// The Alertmanager whose address is `base`, which ends in `/`.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(super) fn new(base: &Url) -> Result<Self, reqwest::Error> {
        let hash = blake3::hash(base.as_str().as_bytes()).to_hex();
        let mut url = base.clone();
        url.set_path(&format!("{}api/v2/alerts", base.path()));
        Ok(Self {
            name: hash[..DIGITS].to_owned(),
            shown: base.to_string(),
            url,
            client: Client::builder()
                .user_agent(concat!("employee-incidents/", env!("CARGO_PKG_VERSION")))
                .timeout(LIMIT)
                .redirect(Policy::none())
                .no_proxy()
                .build()?,
            is_waited_for: Notify::new(),
        })
    }

    /// Hands alerts over, each as JSON. It takes all of them or none, but for some of those among which one is
    /// refused.
    ///
    /// # Errors
    /// When it does not take them.
    pub(super) async fn take(&self, alerts: &[String]) -> Result<(), ReceiverError> {
        let body = format!("[{}]", alerts.join(","));
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json");
        let mut answer = request.body(body).send().await.map_err(|error| {
            if error.is_connect() {
                ReceiverError::Unreachable
            } else if error.is_timeout() {
                ReceiverError::Slow
            } else {
                ReceiverError::Broken
            }
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                let said = answer.chunk().await.ok().flatten().unwrap_or_default();
                let said = &said[..said.len().min(MOST_SAID)];
                let said = String::from_utf8_lossy(said).escape_debug().to_string();
                Err(ReceiverError::Refused(said))
            }
            status => Err(ReceiverError::Answer(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alertmanager_may_be_below_a_path() {
        crate::tls::prepare();
        let receiver = |url: &str| Receiver::new(&url.parse().unwrap()).unwrap();
        let one = receiver("http://a.example:9093/");
        let other = receiver("http://a.example:9093/alertmanager/");
        assert_eq!(one.url.as_str(), "http://a.example:9093/api/v2/alerts");
        assert_eq!(
            other.url.as_str(),
            "http://a.example:9093/alertmanager/api/v2/alerts"
        );
        assert_eq!(one.name.len(), DIGITS);
        assert_ne!(one.name, other.name);
    }
}
