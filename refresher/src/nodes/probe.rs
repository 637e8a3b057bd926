//! Asking a server how it does: its `/healthz` is to answer 200, in time.

use std::time::Duration;

use domain::contract::node::State;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

/// How long a server may take to answer.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

/// A client that asks.
#[derive(Debug)]
pub(crate) struct Prober(Client);

impl Prober {
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("employee-incidents/", env!("CARGO_PKG_VERSION")))
            .timeout(LIMIT)
            .redirect(Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self(client))
    }

    /// The state of the server at `url` by what it answers, and that in words.
    pub(crate) async fn ask(&self, url: &Url) -> (State, String) {
        match self.0.get(url.clone()).send().await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                (State::Healthy, "answers 200".to_owned())
            }
            Ok(answer) => (
                State::Hanging,
                format!("answers {}", answer.status().as_u16()),
            ),
            Err(error) if error.is_connect() => (State::Offline, "cannot be reached".to_owned()),
            Err(error) if error.is_timeout() => (
                State::Hanging,
                format!("does not answer within {} s", LIMIT.as_secs()),
            ),
            Err(_) => (State::Hanging, "breaks off its answer".to_owned()),
        }
    }
}
