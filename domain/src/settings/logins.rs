//! The two accounts: that of the service, and the one by which the refresher identifies itself upstream.

use super::credentials::{Account, ExpectedPassword, PasswordError, Secret};
use super::error::SettingError;
use super::given::{Given, Refusal};
use super::{Settings, UpstreamAccount};

impl Settings {
    /// `SERVICE_ID` and `SERVICE_PASSWORD`.
    ///
    /// # Errors
    /// When one of them cannot be used or is not set.
    pub fn account(&self) -> Result<Account, SettingError> {
        self.usable("SERVICE_")?;
        let accepted = "set it in config/config.yaml or in the environment";
        let missing = |key| SettingError::Missing { key, accepted };
        let id = self.service_id.clone();
        let password = self.service_password.clone();
        Ok(Account {
            id: id.ok_or_else(|| missing("SERVICE_ID"))?,
            password: password.ok_or_else(|| missing("SERVICE_PASSWORD"))?,
        })
    }

    /// `UPSTREAM_ID` and `UPSTREAM_PASSWORD`; by default the service's own, where that is plain.
    ///
    /// # Errors
    /// When one of them cannot be used, or is not set and the service's own cannot be sent upstream.
    pub fn upstream(&self) -> Result<UpstreamAccount, SettingError> {
        self.usable("UPSTREAM_")?;
        let own = self.account().ok();
        let id = self.upstream_id.clone();
        let id = id.or_else(|| own.as_ref().map(|own| own.id.clone()));
        let password = self.upstream_password.clone();
        let password = password.or_else(|| match own?.password {
            ExpectedPassword::Plain(password) => Some(password),
            ExpectedPassword::Argon2id(_) => None,
        });
        let missing = |key, accepted| SettingError::Missing { key, accepted };
        Ok(UpstreamAccount {
            id: id.ok_or_else(|| missing("UPSTREAM_ID", "set it to the user id that upstream knows"))?,
            password: password.ok_or_else(|| {
                missing(
                    "UPSTREAM_PASSWORD",
                    "set it to the password that upstream knows: a hash in SERVICE_PASSWORD cannot be sent there",
                )
            })?,
        })
    }

    /// Whether nothing is wrong with the settings whose keys begin so.
    fn usable(&self, prefix: &str) -> Result<(), SettingError> {
        let wrong = self.login_errors.iter().find(
            |error| matches!(error, SettingError::Value { key, .. } if key.starts_with(prefix)),
        );
        wrong.map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// A user id.
pub(super) fn id(given: &Given<'_>) -> Result<String, Refusal> {
    let accepted = "a text without colon and control characters (RFC 7617)";
    given.parsed(accepted, |text| {
        let usable = !text.contains(|c: char| c == ':' || c.is_control());
        usable.then(|| text.to_owned())
    })
}

/// A password that clients have to know.
pub(super) fn expected_password(given: &Given<'_>) -> Result<ExpectedPassword, Refusal> {
    let refused = |problem: PasswordError| {
        let accepted = "a password of your own, or its hash as `refresher hash-password` prints it";
        Refusal::new(format!("not usable: {problem}"), accepted)
    };
    ExpectedPassword::parse(given.text()?).map_err(refused)
}

/// A password that is sent.
pub(super) fn password(given: &Given<'_>) -> Result<Secret, Refusal> {
    given.text().map(Secret::new)
}
