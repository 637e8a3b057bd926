//! Third station: whether the client knows the password.

use std::cell::Cell;

use domain::contract::scripts::CredentialCheck;
use domain::settings::credentials::{Account, ExpectedPassword, Presented};
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
    knowledge: CredentialCheck,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not the account.
    Refused,
    /// It is not, which was costly to find out: to be counted as a guess, as Redis has not done.
    RefusedAtFullPrice,
    /// It is.
    Accepted,
    /// It is, which was costly to find out: to be remembered.
    AcceptedAtFullPrice,
}

impl Attempt {
    /// Reads a request's credential, and checks it unless that is costly. What comes of it is told
    /// only by [`check`](Self::check), once the request is admitted.
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
        let knowledge = match (&presented, &fingerprint) {
            (None, _) => CredentialCheck::None,
            (Some(presented), None) if account.verify(presented) => CredentialCheck::Right,
            (Some(_), None) => CredentialCheck::Wrong,
            (Some(_), Some(fingerprint)) => match VERIFIED.get() {
                Some(verified) if verified.ct_eq(fingerprint).into() => CredentialCheck::Right,
                _ => CredentialCheck::Unknown,
            },
        };
        Self {
            presented,
            fingerprint,
            knowledge,
        }
    }

    /// What is known of the credential so far.
    pub(crate) const fn knowledge(&self) -> CredentialCheck {
        self.knowledge
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
        let verdict = match (self.knowledge, &self.presented) {
            (CredentialCheck::Right, _) => return Verdict::Accepted,
            (CredentialCheck::Wrong | CredentialCheck::None, _) | (_, None) => {
                return Verdict::Refused;
            }
            (CredentialCheck::Unknown, _) if remembered => Verdict::Accepted,
            (CredentialCheck::Unknown, Some(presented)) if account.verify(presented) => {
                Verdict::AcceptedAtFullPrice
            }
            (CredentialCheck::Unknown, _) => return Verdict::RefusedAtFullPrice,
        };
        VERIFIED.set(self.fingerprint);
        verdict
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
        let wrong = || verdict(&[WRONG], &account, false);
        assert_eq!(wrong(), Verdict::RefusedAtFullPrice);
        assert_eq!(
            verdict(&[RIGHT], &account, false),
            Verdict::AcceptedAtFullPrice
        );
        assert_eq!(verdict(&[RIGHT], &account, false), Verdict::Accepted);
        assert_eq!(wrong(), Verdict::RefusedAtFullPrice);
        assert_eq!(verdict(&[], &account, false), Verdict::Refused);
        VERIFIED.set(None);
        assert_eq!(verdict(&[RIGHT], &account, true), Verdict::Accepted);
        VERIFIED.set(None);
    }

    #[test]
    fn what_costs_little_is_known_before_redis_is_asked() {
        let plain = account("s3cret");
        let knowledge = |values: &[&str], account| attempt(values, account).knowledge();
        assert_eq!(knowledge(&[RIGHT], &plain), CredentialCheck::Right);
        assert_eq!(knowledge(&[WRONG], &plain), CredentialCheck::Wrong);
        for none in [&[][..], &["Basic !!!"], &["Bearer x"], &[WRONG, WRONG]] {
            assert_eq!(knowledge(none, &plain), CredentialCheck::None, "{none:?}");
        }
        let hashed = account(HASH);
        assert_eq!(knowledge(&[RIGHT], &hashed), CredentialCheck::Unknown);
        assert_eq!(knowledge(&[WRONG], &hashed), CredentialCheck::Unknown);
        assert_eq!(knowledge(&[], &hashed), CredentialCheck::None);
        let _ = verdict(&[RIGHT], &hashed, false);
        assert_eq!(knowledge(&[RIGHT], &hashed), CredentialCheck::Right);
        assert_eq!(knowledge(&[WRONG], &hashed), CredentialCheck::Unknown);
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
