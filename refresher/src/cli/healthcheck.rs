//! `refresher healthcheck`: for containers that have nothing else to ask with.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

use super::setup::{block_on, open_store};
use crate::leadership::lease;
use crate::{configuration, tls};

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether `url` answers 200.
///
/// # Errors
/// It does not.
pub(crate) fn answers(url: Url) -> Result<()> {
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the address has a user or a password, which every user of this machine can see among the arguments; /healthz and /readyz need none"
    );
    tls::prepare();
    let status = block_on(async {
        let client = Client::builder()
            .timeout(LIMIT)
            .redirect(Policy::none())
            .no_proxy()
            .build()?;
        let answer = client.get(url).send().await.context("no answer")?;
        Ok(answer.status())
    });
    match status? {
        StatusCode::OK => Ok(()),
        status => bail!("it answers {status}"),
    }
}

/// Whether a refresher leads: whoever does renews its lease every second.
///
/// # Errors
/// None does, or Redis cannot be asked.
pub(crate) fn leads(config: &Path) -> Result<()> {
    let settings = configuration::read(config)?;
    let store = open_store(&settings)?;
    let leads = block_on(async { Ok(lease::has_leader(&store).await?) });
    ensure!(leads?, "no refresher leads");
    Ok(())
}
