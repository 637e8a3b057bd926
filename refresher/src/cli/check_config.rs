//! `refresher check-config`: shows the settings in force, or all that is wrong with them.

use std::path::Path;

use anyhow::Result;

use crate::configuration;

/// Prints the settings in force, secrets hidden.
///
/// # Errors
/// They cannot be read, or some of them cannot be used.
pub(crate) fn check_config(path: &Path) -> Result<()> {
    let settings = configuration::read(path)?;
    configuration::upstream(path, &settings)?;
    Ok(console::print(settings.describe())?)
}
