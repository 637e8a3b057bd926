//! Third station: whether the client knows the password.

use std::cell::Cell;

use domain::contract::scripts::CredentialCheck;
use domain::settings::credentials::{Account, Credentials, ExpectedPassword};
use hmac::{Hmac, Mac as _};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;
use crate::store::{Scope, Store};

/// Stands for a credential without giving it away: HMAC-SHA256 of it, keyed with the hash that it
/// was checked against. With another hash, it is another one.
type CredentialMac = [u8; 32];

thread_local! {
    /// The credential that this instance last found right by hashing. It stays right for as long as
    /// the configuration, which is as long as the instance.
    static VERIFIED: Cell<Option<CredentialMac>> = const { Cell::new(None) };
}

/// The credential of one request.
pub(crate) struct Credential {
    presented: Option<Credentials>,
    /// Only where a password is checked by hashing.
    mac: Option<CredentialMac>,
    check: CredentialCheck,
    /// What the client is asked for where it is refused.
    challenge: &'static str,
}

/// What anybody is asked for who is not let in.
const CHALLENGE: &str = "Basic realm=\"incidents\", charset=\"UTF-8\"";

/// What a script of a page is asked for. At the usual challenge a browser asks the person itself, and the
/// script waits for as long as nobody answers; a scheme that it does not know it hands to the script, which
/// says what is wrong in the page. A 401 without any challenge is none (RFC 9110, 11.6.1).
const CHALLENGE_TO_SCRIPT: &str = "X-Basic realm=\"incidents\", charset=\"UTF-8\"";

/// Whether a script asks: those that want to be told so say it in this header, as the dashboard's do.
fn is_script(headers: &HeaderMap) -> bool {
    let value = headers.get("x-requested-with");
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest"))
}

impl Credential {
    /// Reads a request's credential, and checks it unless that takes hashing. The client is told
    /// what came of it only once its request is admitted.
    pub(crate) fn of(headers: &HeaderMap, account: &Account) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (Some(value), None) => Credentials::from_header(value.as_bytes()),
            _ => None,
        };
        let mac = match (&presented, &account.password) {
            (Some(presented), ExpectedPassword::Argon2id(hash)) => {
                mac(hash.expose().as_bytes(), presented)
            }
            _ => None,
        };
        let check = match (&presented, &mac) {
            (None, _) => CredentialCheck::None,
            (Some(_), Some(mac)) => match VERIFIED.get() {
                Some(verified) if verified.ct_eq(mac).into() => CredentialCheck::Right,
                _ => CredentialCheck::Unknown,
            },
            (Some(presented), None) if account.verify(presented) => CredentialCheck::Right,
            (Some(_), None) => CredentialCheck::Wrong,
        };
        let challenge = if is_script(headers) {
            CHALLENGE_TO_SCRIPT
        } else {
            CHALLENGE
        };
        Self {
            presented,
            mac,
            check,
            challenge,
        }
    }

    /// What is known of it so far.
    pub(crate) const fn check(&self) -> CredentialCheck {
        self.check
    }

    /// What Redis knows it by, where it is checked by hashing.
    pub(crate) fn mac(&self) -> Option<String> {
        let mac = self.mac?;
        Some(mac.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Checks it by hashing.
    fn verify(&self, account: &Account) -> bool {
        let presented = self.presented.as_ref();
        presented.is_some_and(|presented| account.verify(presented))
    }

    /// The answer to who does not know the password: the same, whatever was wrong.
    fn refusal(&self) -> Problem {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "Log in with the service's user id and password (HTTP Basic).",
        )
        .with("www-authenticate", self.challenge)
    }
}

/// Lets an admitted request pass whose credential is the account. `right` says that this is known;
/// what is not is checked by hashing, and has been counted as a guess before.
///
/// # Errors
/// 401 when it is not the account.
pub(crate) async fn check(
    store: &mut Store,
    scope: &Scope<'_>,
    credential: &Credential,
    account: &Account,
    right: bool,
) -> Result<(), Problem> {
    match (credential.check, credential.mac()) {
        (CredentialCheck::Wrong | CredentialCheck::None | CredentialCheck::NotNeeded, _) => {
            return Err(credential.refusal());
        }
        (CredentialCheck::Unknown, Some(mac)) if !right => {
            let right = credential.verify(account);
            // That may have taken all the time there was.
            store.renew_deadline();
            // If this fails, the guess stays counted and the permit runs out by itself.
            let _ = store.settle_check(scope, &mac, right).await;
            if !right {
                return Err(credential.refusal());
            }
        }
        _ => {}
    }
    VERIFIED.set(credential.mac);
    Ok(())
}

fn mac(key: &[u8], presented: &Credentials) -> Option<CredentialMac> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(&presented.fingerprint_input());
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::settings::credentials::{ExpectedPassword, Secret};

    /// argon2id of `s3cret`, as cheap as can be.
    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$TZ2FYnZYwjJ4jJ048ZXy17zdyhLkCzyTjO7hbBmHTs0";

    const RIGHT: &str = "Basic YXVkaXRvcjpzM2NyZXQ=";
    const WRONG: &str = "Basic YXVkaXRvcjp3cm9uZw==";

    fn account(password: &str) -> Account {
        Account {
            id: "auditor".to_owned(),
            password: ExpectedPassword::parse(password).unwrap(),
        }
    }

    fn credential(values: &[&str], account: &Account) -> Credential {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Credential::of(&headers, account)
    }

    #[test]
    fn a_plain_password_is_checked_before_redis_is_asked() {
        let account = account("s3cret");
        let check = |values: &[&str]| credential(values, &account).check();
        assert_eq!(check(&[RIGHT]), CredentialCheck::Right);
        assert_eq!(check(&[WRONG]), CredentialCheck::Wrong);
        for none in [
            &[][..],
            &["Bearer x"],
            &["Basic !!!"],
            &[RIGHT, RIGHT],
            &[WRONG, RIGHT],
        ] {
            assert_eq!(check(none), CredentialCheck::None, "{none:?}");
        }
        assert_eq!(credential(&[RIGHT], &account).mac(), None);
    }

    #[test]
    fn a_hash_is_only_checked_where_the_instance_does_not_know_the_credential() {
        let account = account(HASH);
        let [right, wrong] = [RIGHT, WRONG].map(|value| credential(&[value], &account));
        assert_eq!(right.check(), CredentialCheck::Unknown);
        assert_eq!(wrong.check(), CredentialCheck::Unknown);
        assert_eq!(credential(&[], &account).check(), CredentialCheck::None);
        assert!(right.verify(&account) && !wrong.verify(&account));
        VERIFIED.set(right.mac);
        let check = |value| credential(&[value], &account).check();
        assert_eq!(check(RIGHT), CredentialCheck::Right);
        assert_eq!(check(WRONG), CredentialCheck::Unknown);
        VERIFIED.set(None);
    }

    #[test]
    fn macs_tell_credentials_and_hashes_apart_and_no_password() {
        let account = account(HASH);
        let mut other = account.clone();
        other.password = ExpectedPassword::Argon2id(Secret::new("another"));
        let key = credential(&[RIGHT], &account).mac();
        assert_eq!(key.as_ref().map(String::len), Some(64));
        assert_ne!(key, credential(&[WRONG], &account).mac());
        assert_ne!(key, credential(&[RIGHT], &other).mac());
        assert_eq!(key, credential(&[RIGHT], &account).mac());
        assert_eq!(credential(&[], &account).mac(), None);
    }
}
