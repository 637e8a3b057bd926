//! `refresher hash-password`: the hash of a password, as the settings take it in its place.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, anyhow, bail};
use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher as _};
use domain::settings::credentials::PLACEHOLDER;

/// The longest password that is taken, in bytes.
const LONGEST: u64 = 1024;

/// Asks for a password (on a terminal twice, without showing it) and prints its argon2id hash.
///
/// # Errors
/// There is none to be read, or it is none.
pub(crate) fn hash_password() -> Result<()> {
    let password = if io::stdin().is_terminal() {
        ask()?
    } else {
        read()?
    };
    match password.as_str() {
        "" => bail!("the password is empty"),
        PLACEHOLDER => bail!("`{PLACEHOLDER}` is no password: choose one of your own"),
        password => Ok(console::print(hash(password)? + "\n")?),
    }
}

fn ask() -> Result<String> {
    let prompt =
        |text: &str| rpassword::prompt_password(text).context("cannot ask on this terminal");
    let password = prompt("Password: ")?;
    if prompt("Once more: ")? != password {
        bail!("the two differ");
    }
    Ok(password)
}

fn read() -> Result<String> {
    let mut text = String::new();
    io::stdin()
        .take(LONGEST + 1)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    if text.len() as u64 > LONGEST {
        bail!("the password is longer than {LONGEST} bytes");
    }
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.contains(['\n', '\r']) {
        bail!("the password has more than one line");
    }
    Ok(password.to_owned())
}

/// With the parameters that OWASP recommends (m=19456, t=2, p=1), which are the library's own.
fn hash(password: &str) -> Result<String> {
    let failed = |error| anyhow!("cannot hash the password: {error}");
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(failed)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::settings::credentials::ExpectedPassword;

    #[test]
    fn the_hash_is_one_that_the_settings_take() {
        let made = hash("s3cret").unwrap();
        assert!(
            made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{made}"
        );
        assert!(matches!(
            ExpectedPassword::parse(&made),
            Ok(ExpectedPassword::Argon2id(_))
        ));
        assert_ne!(made, hash("s3cret").unwrap());
    }
}
