//! `cargo xtask screenshot`: the picture of the dashboard that stands in the README.

use anyhow::Result;
use xshell::cmd;

use crate::setup::browser::Browser;
use crate::task::{Task, say};
use crate::{build, setup, test};

/// The picture.
const PICTURE: &str = "docs/dashboard.png";

/// Starts the demo, opens the dashboard in a browser and takes its picture.
pub(crate) fn run(task: &Task) -> Result<()> {
    let redis = setup::run(task)?;
    let browser = Browser::ensure(redis.search_path(task)?, task)?;
    build::run(&[&build::SERVICE[..], &["--bin=screenshot"]].concat(), task)?;
    let (program, picture) = (task.programs.join("screenshot"), task.root.join(PICTURE));
    let take = test::with_places(cmd!(task.sh, "{program} {picture}"), &redis, task)?;
    task.run("taking a picture of the dashboard", browser.with(take))?;
    say(&format!("written: {PICTURE}"));
    Ok(())
}
