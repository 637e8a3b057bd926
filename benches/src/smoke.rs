//! One answer of every contender, compared with ours, so that none of them rots between two measurements.

use std::fs;

use anyhow::Result;

use crate::tools::Tools;
use crate::{ask, refresh, requests};

/// Asks all that this machine can run, and says of the others what they lack.
pub(crate) fn run(tools: &Tools) -> Result<()> {
    fs::create_dir_all(&tools.out)?;
    let mut skipped = refresh::smoke(tools)?;
    skipped.extend(requests::smoke(tools)?);
    skipped.extend(ask::smoke(tools)?);
    for (who, why) in skipped {
        eprintln!("SKIPPED {who}: {why}");
    }
    Ok(())
}
