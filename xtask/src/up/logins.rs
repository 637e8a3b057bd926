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

/// The logins of the service and, upstream, of the refresher.
pub(super) struct Logins {
    /// With what the service is used.
    pub(super) service: Login,
    upstream: Login,
}

/// An id and a password.
#[derive(Clone)]
pub(super) enum Login {
    /// To be given to the programs.
    Given {
        /// Whom.
        id: String,
        /// A secret: never on a command line.
        password: String,
    },
    /// The programs find it in the environment or the configuration by themselves.
    Configured,
}

impl Logins {
    /// For the demo, everything is made anew. A real upstream has a login that somebody configured;
    /// where that is the service's own, the service keeps its own, too.
    pub(super) fn choose(real_upstream: bool, root: &Path) -> Result<Self> {
        if !real_upstream {
            return Ok(Self {
                service: Login::new("demo")?,
                upstream: Login::new("collector")?,
            });
        }
        // A file that cannot be read is the refresher's to complain about.
        let config = fs::read_to_string(root.join(CONFIG)).unwrap_or_default();
        let is_set =
            |key: &str| env::var(key).is_ok_and(|value| !value.is_empty()) || is_in(&config, key);
        if is_set("SERVICE_PASSWORD") {
            return Ok(Self {
                service: Login::Configured,
                upstream: Login::Configured,
            });
        }
        if is_set("UPSTREAM_ID") && is_set("UPSTREAM_PASSWORD") {
            return Ok(Self {
                service: Login::new("demo")?,
                upstream: Login::Configured,
            });
        }
        bail!(
            "--upstream needs a login: set UPSTREAM_ID and UPSTREAM_PASSWORD in the environment or in {CONFIG}"
        )
    }

    /// Gives the service's login to the refresher and, through it, to the component.
    pub(super) fn give_service<'a>(&self, mut cmd: Cmd<'a>) -> Cmd<'a> {
        for prefix in ["", "SPIN_VARIABLE_"] {
            cmd = self.service.give(cmd, &format!("{prefix}SERVICE"));
        }
        if matches!(self.service, Login::Configured) {
            // The component takes a Spin variable where the refresher takes the environment's.
            for key in ["SERVICE_ID", "SERVICE_PASSWORD"] {
                if let Some(value) = env::var_os(key) {
                    cmd = cmd.env(format!("SPIN_VARIABLE_{key}"), value);
                }
            }
        }
        cmd
    }

    /// Gives the login for upstream.
    pub(super) fn give_upstream<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        self.upstream.give(cmd, "UPSTREAM")
    }
}

impl Login {
    /// One that nobody has used before.
    fn new(kind: &str) -> Result<Self> {
        Ok(Self::Given {
            id: format!("{kind}-{}", random_text(4)?),
            password: random_text(24)?,
        })
    }

    fn give<'a>(&self, cmd: Cmd<'a>, name: &str) -> Cmd<'a> {
        match self {
            Self::Given { id, password } => cmd
                .env(format!("{name}_ID"), id)
                .env(format!("{name}_PASSWORD"), password),
            Self::Configured => cmd,
        }
    }

    /// What follows `curl -u`.
    pub(super) fn for_curl(&self) -> String {
        match self {
            Self::Given { id, password } => format!("{id}:{password}"),
            // curl asks for the password.
            Self::Configured => "SERVICE_ID".to_owned(),
        }
    }
}

/// Whether the file sets the key to something of its own.
fn is_in(config: &str, key: &str) -> bool {
    config
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))
        .map(|value| value.trim().trim_matches(['\'', '"']))
        .any(|value| !value.is_empty() && !value.starts_with("changeit"))
}

/// Characters with 5 bits of randomness each.
fn random_text(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes)?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_new_each_time() {
        let one = Login::new("demo").unwrap().for_curl();
        assert_ne!(one, Login::new("demo").unwrap().for_curl());
        assert!(one.starts_with("demo-"), "{one}");
        let (_, password) = one.split_once(':').unwrap();
        assert_eq!(password.len(), 24);
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
