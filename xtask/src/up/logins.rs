//! Who logs in where: made anew at each start, or as the person configured it.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use xshell::Cmd;

/// The file that an operator edits.
const CONFIG: &str = "config/config.yaml";

/// Letters and digits that are not taken for each other; 32 of them, so 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// With what the service is used, and with what the refresher uses upstream. What is none the programs
/// find in the environment or the configuration by themselves.
pub(super) struct Logins {
    service: Option<Login>,
    upstream: Option<Login>,
}

struct Login {
    id: String,
    /// Never on a command line.
    password: String,
}

impl Logins {
    /// For the demo, everything is made anew. A real upstream has a login that somebody configured;
    /// where that is the service's own, the service keeps its own, too.
    pub(super) fn choose(real_upstream: bool, root: &Path) -> Result<Self> {
        // A file that cannot be read is the refresher's to complain about.
        let config = fs::read_to_string(root.join(CONFIG)).unwrap_or_default();
        let is_given = |key| env::var(key).is_ok_and(|value| !value.is_empty());
        let is_set = |key| is_given(key) || is_in(&config, key);
        let (mut service, mut upstream) = (None, None);
        if !real_upstream {
            upstream = Some(Login::new("collector")?);
        } else if is_set("SERVICE_PASSWORD") {
            return Ok(Self { service, upstream });
        } else if !(is_set("UPSTREAM_ID") && is_set("UPSTREAM_PASSWORD")) {
            bail!(
                "--upstream needs a login: set UPSTREAM_ID and UPSTREAM_PASSWORD in the environment \
                 or in {CONFIG}"
            )
        }
        service = Some(Login::new("demo")?);
        Ok(Self { service, upstream })
    }

    /// Gives the service's login to the refresher and, through it, to the component.
    pub(super) fn give_service<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        // The component takes a Spin variable where the refresher takes the environment's.
        let set = |key| env::var_os(key).map(|value| (format!("SPIN_VARIABLE_{key}"), value));
        match &self.service {
            Some(login) => login.give("SPIN_VARIABLE_SERVICE", login.give("SERVICE", cmd)),
            None => cmd.envs(
                ["SERVICE_ID", "SERVICE_PASSWORD"]
                    .into_iter()
                    .filter_map(set),
            ),
        }
    }

    /// Gives the login for upstream.
    pub(super) fn give_upstream<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        match &self.upstream {
            Some(login) => login.give("UPSTREAM", cmd),
            None => cmd,
        }
    }

    /// What follows `curl -u`; without a password curl asks for it.
    pub(super) fn for_curl(&self) -> String {
        match &self.service {
            Some(Login { id, password }) => format!("{id}:{password}"),
            None => "SERVICE_ID".to_owned(),
        }
    }
}

impl Login {
    /// One that nobody has used before.
    fn new(kind: &str) -> Result<Self> {
        let id = format!("{kind}-{}", random_text(4)?);
        let password = random_text(24)?;
        Ok(Self { id, password })
    }

    fn give<'a>(&self, prefix: &str, cmd: Cmd<'a>) -> Cmd<'a> {
        let cmd = cmd.env(format!("{prefix}_ID"), &self.id);
        cmd.env(format!("{prefix}_PASSWORD"), &self.password)
    }
}

/// Whether the file sets the key to something of its own.
fn is_in(config: &str, key: &str) -> bool {
    let values = config
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
    let mut values = values.map(|value| value.trim().trim_matches(['\'', '"']));
    values.any(|value| !value.is_empty() && !value.starts_with("changeit"))
}

/// Characters with 5 bits of randomness each.
fn random_text(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)?;
    let letters = bytes.iter().map(|byte| ALPHABET[usize::from(byte & 31)]);
    Ok(letters.map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_new_each_time() {
        let (one, other) = (Login::new("demo").unwrap(), Login::new("demo").unwrap());
        assert!(one.id.starts_with("demo-"), "{}", one.id);
        assert_eq!(one.password.len(), 24);
        assert_ne!(one.password, other.password);
    }

    #[test]
    fn a_key_counts_when_it_has_a_value_of_its_own() {
        let config = "SERVICE_ID: 'changeit'\n# UPSTREAM_ID: 'x'\nUPSTREAM_PASSWORD : secret # mine\nREDIS_URL:\n";
        assert!(is_in(config, "UPSTREAM_PASSWORD"));
        for key in ["SERVICE_ID", "UPSTREAM_ID", "REDIS_URL", "UPSTREAM"] {
            assert!(!is_in(config, key), "{key}");
        }
    }
}
