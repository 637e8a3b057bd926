//! A health check for containers that have nothing else to ask with.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

const LIMIT: Duration = Duration::from_secs(3);

/// Whether `url` answers 200.
pub(crate) fn check(url: Url) -> Result<()> {
    refresher::tls::prepare();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(async {
        let client = Client::builder()
            .timeout(LIMIT)
            .redirect(Policy::none())
            .no_proxy()
            .build()?;
        client
            .get(url)
            .send()
            .await
            .map(|response| response.status())
    });
    match status.context("no answer")? {
        StatusCode::OK => Ok(()),
        status => bail!("it answers {status}"),
    }
}
