//! The picture of the dashboard that stands in the README, with the demo's data. `cargo xtask screenshot`
//! starts it.

use std::env;
use std::fs;
use std::process::ExitCode;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use end_to_end::{Browser, ID, PASSWORD, System, driver};

/// How large the picture is, in pixels.
const SIZE: (u32, u32) = (1280, 800);

#[tokio::main]
async fn main() -> ExitCode {
    let (Some(file), Some(driver)) = (env::args_os().nth(1), driver("the picture is")) else {
        eprintln!("usage: screenshot FILE.png, with chromedriver on the PATH");
        return ExitCode::from(2);
    };
    let system = System::start().await;
    let newest = &system
        .host
        .client
        .get("/incidents/timeline?limit=1")
        .await
        .json()["items"][0];
    let newest = newest["incident"]["timestamp"].as_f64().unwrap_or_default();
    // The demo's data are the same at any time: the picture is of the time that they are of.
    let then = format!(
        "const since = Date.now(), then = {newest} * 1000 + 90_000, RealDate = Date;
         Date = class extends RealDate {{
             constructor(...time) {{ super(...(time.length ? time : [Date.now()])); }}
             static now() {{ return then + RealDate.now() - since; }}
         }};"
    );
    let browser = Browser::start(driver, &then).await;
    browser.resize(SIZE.0, SIZE.1).await;
    browser.prefer("light").await;
    let host = system.host.url.trim_start_matches("http://");
    let password = PASSWORD.replace(' ', "%20").replace(':', "%3A");
    browser
        .open(&format!("http://{ID}:{password}@{host}/"))
        .await;
    browser.until("document.querySelector('.tile-change').textContent.trim() && document.querySelector('#list time')").await;
    let picture = BASE64_STANDARD.decode(browser.screenshot().await);
    let picture = picture.expect("the driver gives base64");
    if let Err(error) = fs::write(&file, picture) {
        eprintln!("error: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
