//! Third station: whether the client knows the password.

use std::cell::Cell;

use domain::credentials::{Account, ExpectedPassword, Presented};
use hmac::{Hmac, Mac as _};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;

/// Stands for a credential without giving it away: HMAC-SHA256 of it, keyed with the hash that it
/// was checked against. With another hash, it is another one.
type Fingerprint = [u8; 32];

thread_local! {
    /// The credential that this instance has verified at full price. It stays right for as long as
    /// the configuration, which is as long as the instance.
    static VERIFIED: Cell<Option<Fingerprint>> = const { Cell::new(None) };
}

/// The credential of one request.
pub(crate) struct Attempt {
    presented: Option<Presented>,
    /// Only where a check is costly.
    fingerprint: Option<Fingerprint>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not the account.
    Refused,
    /// It is.
    Accepted,
    /// It is, which was costly to find out: to be remembered.
    AcceptedAtFullPrice,
}

impl Attempt {
    /// Reads a request's credential.
    pub(crate) fn of(headers: &HeaderMap, account: &Account) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let presented = match (values.next(), values.next()) {
            (Some(value), None) => Presented::from_header(value.as_bytes()),
            _ => None,
        };
        let fingerprint = match (&presented, &account.password) {
            (Some(presented), ExpectedPassword::Argon2id(hash)) => {
                fingerprint(hash.expose().as_bytes(), presented)
            }
            _ => None,
        };
        Self {
            presented,
            fingerprint,
        }
    }

    /// What Redis remembers this credential by once it is verified; the same text for all where
    /// there is nothing to remember.
    pub(crate) fn memory(&self) -> String {
        let Some(fingerprint) = &self.fingerprint else {
            return "none".to_owned();
        };
        fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Checks the credential. `remembered` says that Redis knows it as verified.
    pub(crate) fn check(&self, account: &Account, remembered: bool) -> Verdict {
        let Some(presented) = &self.presented else {
            return Verdict::Refused;
        };
        let known = self.fingerprint.is_some_and(|fingerprint| {
            let verified = VERIFIED.get();
            remembered || verified.is_some_and(|verified| verified.ct_eq(&fingerprint).into())
        });
        if !known && !account.verify(presented) {
            return Verdict::Refused;
        }
        if self.fingerprint.is_some() {
            VERIFIED.set(self.fingerprint);
        }
        if known || self.fingerprint.is_none() {
            Verdict::Accepted
        } else {
            Verdict::AcceptedAtFullPrice
        }
    }
}

fn fingerprint(key: &[u8], presented: &Presented) -> Option<Fingerprint> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(&presented.fingerprint_input());
    Some(mac.finalize().into_bytes().into())
}

/// The answer to who does not know the password: the same, whatever was wrong.
pub(crate) fn refusal() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "Log in with the service's user id and password (HTTP Basic).",
    )
    .with(
        "www-authenticate",
        "Basic realm=\"incidents\", charset=\"UTF-8\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::credentials::{ExpectedPassword, Secret};

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

    fn attempt(values: &[&str], account: &Account) -> Attempt {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Attempt::of(&headers, account)
    }

    fn verdict(values: &[&str], account: &Account, remembered: bool) -> Verdict {
        attempt(values, account).check(account, remembered)
    }

    #[test]
    fn one_right_credential_is_accepted() {
        let account = account("s3cret");
        assert_eq!(verdict(&[RIGHT], &account, false), Verdict::Accepted);
        for wrong in [
            &[WRONG][..],
            &[],
            &["Bearer x"],
            &[RIGHT, RIGHT],
            &[WRONG, RIGHT],
        ] {
            assert_eq!(verdict(wrong, &account, false), Verdict::Refused);
            // What Redis remembers is only asked about hashes.
            assert_eq!(verdict(wrong, &account, true), Verdict::Refused);
        }
        assert_eq!(attempt(&[RIGHT], &account).memory(), "none");
    }

    #[test]
    fn a_hash_is_checked_once_and_wrong_ones_always() {
        let account = account(HASH);
        assert_eq!(verdict(&[WRONG], &account, false), Verdict::Refused);
        assert_eq!(
            verdict(&[RIGHT], &account, false),
            Verdict::AcceptedAtFullPrice
        );
        assert_eq!(verdict(&[RIGHT], &account, false), Verdict::Accepted);
        assert_eq!(verdict(&[WRONG], &account, false), Verdict::Refused);
        VERIFIED.set(None);
        assert_eq!(verdict(&[RIGHT], &account, true), Verdict::Accepted);
        VERIFIED.set(None);
    }

    #[test]
    fn memories_tell_credentials_and_hashes_apart_and_no_password() {
        let account = account(HASH);
        let mut other = account.clone();
        other.password = ExpectedPassword::Argon2id(Secret::new("another"));
        let memory = attempt(&[RIGHT], &account).memory();
        assert_eq!(memory.len(), 64);
        assert_ne!(memory, attempt(&[WRONG], &account).memory());
        assert_ne!(memory, attempt(&[RIGHT], &other).memory());
        assert_eq!(memory, attempt(&[RIGHT], &account).memory());
        assert_eq!(attempt(&[], &account).memory(), "none");
    }
}
