//! Basic credentials (RFC 7617): what a client presents, what the service expects, and the check.

use std::fmt;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// The password that the original shipped with; a service that still has it must not run.
pub const PLACEHOLDER: &str = "changeit";

/// The longest `Authorization` header that is looked at, in bytes.
const LONGEST_HEADER: usize = 4096;

/// A text that never shows itself in logs or errors.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A user id and password as a client presented them. The bytes are compared as they are: the
/// service announces `charset="UTF-8"` (RFC 7617, section 2.1).
#[derive(Clone)]
pub struct Credentials {
    id: Vec<u8>,
    password: Vec<u8>,
}

impl Credentials {
    /// Reads the value of an `Authorization` header. `None` when it is not a well-formed Basic
    /// credential: the caller answers as to a wrong one.
    #[must_use]
    pub fn from_header(value: &[u8]) -> Option<Self> {
        if value.len() > LONGEST_HEADER {
            return None;
        }
        let (scheme, rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let mut id = STANDARD.decode(rest.trim_ascii()).ok()?;
        let colon = id.iter().position(|byte| *byte == b':')?;
        let password = id.split_off(colon + 1);
        id.pop();
        Some(Self { id, password })
    }

    /// The user id's and the password's bytes with an unambiguous border between them, as input to
    /// a keyed hash that stands for this credential.
    #[must_use]
    pub fn fingerprint_input(&self) -> Vec<u8> {
        let mut input = (self.id.len() as u64).to_be_bytes().to_vec();
        input.extend_from_slice(&self.id);
        input.extend_from_slice(&self.password);
        input
    }
}

/// The password that the service expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectedPassword {
    /// Compared in constant time.
    Plain(Secret),
    /// An argon2id hash in PHC notation: each check costs what its parameters say.
    Argon2id(Secret),
}

/// Why a configured password cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// It is `changeit`.
    #[error("it is still the placeholder `changeit`")]
    Placeholder,
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It looks like a hash, but is none that can be checked.
    #[error(
        "it begins like a PHC hash but is not a valid argon2id hash; make one with `refresher hash-password`"
    )]
    BadHash,
    /// Checking it would take more memory or time than a request may.
    #[error(
        "its argon2id parameters cost too much for a request (memory of an instance, well under a second); accepted: m up to 65536 (KiB), t times m up to 196608, p up to 16"
    )]
    CostlyHash,
}

/// The memory that checking a hash may take, in KiB: an instance of the component has room for it, and
/// with [`MOST_WORK`] it is what RFC 9106 (section 4) recommends where memory is scarce.
const MOST_MEMORY_KIB: u32 = 65_536;

/// The memory in KiB times the passes over it that checking a hash may take: in WebAssembly, a quarter of a
/// second of a processor (an Intel Xeon of 2021).
const MOST_WORK: u32 = 3 * MOST_MEMORY_KIB;

/// The lanes that a hash may have; they are computed one after the other.
const MOST_LANES: u32 = 16;

/// How hashes begin that other systems make (modular crypt and LDAP), none of which can be checked here:
/// taken as a plain password, nobody would ever get in.
const OTHER_HASHES: [&str; 17] = [
    "$1$", "$2", "$5$", "$6$", "$7$", "$apr1$", "$argon2", "$gy$", "$md5", "$pbkdf2", "$scrypt",
    "$sha1$", "$y$", "{crypt}", "{sha", "{ssha", "{argon2",
];

impl ExpectedPassword {
    /// Reads the configured password.
    ///
    /// # Errors
    /// When it is the placeholder, empty, or a hash that is not argon2id or asks for too much.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let start: String = text.chars().take(16).collect();
        let start = start.to_ascii_lowercase();
        match text {
            "" => Err(PasswordError::Empty),
            PLACEHOLDER => Err(PasswordError::Placeholder),
            hash if OTHER_HASHES.iter().any(|other| start.starts_with(other)) => {
                check_hash(hash)?;
                Ok(Self::Argon2id(Secret::new(hash)))
            }
            plain => Ok(Self::Plain(Secret::new(plain))),
        }
    }
}

/// Whether `text` is an argon2id hash that a request can check.
fn check_hash(text: &str) -> Result<(), PasswordError> {
    let bad = PasswordError::BadHash;
    let hash = PasswordHash::new(text).map_err(|_| bad)?;
    if hash.algorithm != argon2::ARGON2ID_IDENT || hash.hash.is_none() {
        return Err(bad);
    }
    // The check would refuse these, too: every login, then.
    argon2::Version::try_from(hash.version.ok_or(bad)?).map_err(|_| bad)?;
    let mut salt = [0; argon2::password_hash::Salt::MAX_LENGTH];
    let salt = hash.salt.ok_or(bad)?.decode_b64(&mut salt);
    if salt.map_err(|_| bad)?.len() < argon2::MIN_SALT_LEN {
        return Err(bad);
    }
    let cost = argon2::Params::try_from(&hash).map_err(|_| bad)?;
    let work = u64::from(cost.m_cost()) * u64::from(cost.t_cost());
    if cost.m_cost() > MOST_MEMORY_KIB || work > u64::from(MOST_WORK) || cost.p_cost() > MOST_LANES
    {
        return Err(PasswordError::CostlyHash);
    }
    Ok(())
}

/// The one account that the service knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `SERVICE_ID`
    pub id: String,
    /// `SERVICE_PASSWORD`
    pub password: ExpectedPassword,
}

impl Account {
    /// Whether `presented` is this account. Takes the same time whichever part is wrong; with a
    /// hash, its full price.
    #[must_use]
    pub fn verify(&self, presented: &Credentials) -> bool {
        let id_matches = equal(self.id.as_bytes(), &presented.id);
        let password_matches = match &self.password {
            ExpectedPassword::Plain(password) => {
                equal(password.expose().as_bytes(), &presented.password)
            }
            ExpectedPassword::Argon2id(hash) => {
                PasswordHash::new(hash.expose()).is_ok_and(|hash| {
                    Argon2::default()
                        .verify_password(&presented.password, &hash)
                        .is_ok()
                })
            }
        };
        id_matches & password_matches
    }

    /// Whether a check is so costly that its result is worth remembering.
    #[must_use]
    pub const fn is_costly(&self) -> bool {
        matches!(self.password, ExpectedPassword::Argon2id(_))
    }
}

/// Compares without telling by its duration where the texts differ; only their lengths may show.
fn equal(expected: &[u8], found: &[u8]) -> bool {
    expected.ct_eq(found).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordHasher as _;
    use argon2::password_hash::SaltString;
    use proptest::prelude::*;

    fn header(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    fn account(password: &str) -> Account {
        Account {
            id: "auditor".to_owned(),
            password: ExpectedPassword::parse(password).unwrap(),
        }
    }

    fn accepts(account: &Account, text: &str) -> bool {
        Credentials::from_header(&header(text)).is_some_and(|presented| account.verify(&presented))
    }

    fn cheap_hash(password: &str) -> String {
        let params = argon2::Params::new(8, 1, 1, None).unwrap();
        Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password(
                password.as_bytes(),
                &SaltString::from_b64("c29tZXNhbHQ").unwrap(),
            )
            .unwrap()
            .to_string()
    }

    #[test]
    fn only_the_exact_pair_is_accepted() {
        for account in [
            account("s3cret:with:colons"),
            account(&cheap_hash("s3cret:with:colons")),
        ] {
            assert!(accepts(&account, "auditor:s3cret:with:colons"));
            for wrong in [
                "auditor:",
                "auditor:s3cret",
                ":s3cret:with:colons",
                "auditor:s3cret:with:colonsx",
                "Auditor:s3cret:with:colons",
                "auditor",
            ] {
                assert!(!accepts(&account, wrong), "{wrong}");
            }
        }
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_others_are_refused() {
        assert!(Credentials::from_header(b"bAsIc YTpi").is_some());
        for wrong in [
            &b"Bearer YTpi"[..],
            b"Basic",
            b"Basic !!!!",
            b"",
            b"BasicYTpi",
            b"Basic YWI=",
        ] {
            assert!(Credentials::from_header(wrong).is_none());
        }
    }

    #[test]
    fn a_header_has_a_longest_length() {
        let padded = |length: usize| {
            let mut value = header("a:b");
            value.resize(length, b' ');
            Credentials::from_header(&value).is_some()
        };
        assert!(padded(LONGEST_HEADER) && !padded(LONGEST_HEADER + 1));
    }

    #[test]
    fn what_is_checked_by_hashing_is_costly() {
        assert!(account(&cheap_hash("a")).is_costly() && !account("a").is_costly());
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(format!("{:?}", Secret::new("a".to_owned())), "[secret]");
    }

    #[test]
    fn unusable_passwords_are_refused() {
        assert_eq!(
            ExpectedPassword::parse("changeit"),
            Err(PasswordError::Placeholder)
        );
        assert_eq!(ExpectedPassword::parse(""), Err(PasswordError::Empty));
        for bad in [
            "$argon2id$nonsense",
            "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
            "$2b$12$abcdefghijklmnopqrstuv",
        ] {
            assert_eq!(
                ExpectedPassword::parse(bad),
                Err(PasswordError::BadHash),
                "{bad}"
            );
        }
        for (cost, usable) in [
            ("m=19456,t=2,p=1", true),
            ("m=65536,t=3,p=4", true),
            ("m=65536,t=1,p=16", true),
            ("m=65536,t=4,p=1", false),
            ("m=65537,t=1,p=1", false),
            ("m=262144,t=1,p=1", false),
            ("m=4194304,t=1,p=1", false),
            ("m=19456,t=11,p=1", false),
            ("m=19456,t=2,p=17", false),
            ("m=8,t=4294967295,p=1", false),
        ] {
            let parsed = ExpectedPassword::parse(&cheap_hash("x").replace("m=8,t=1,p=1", cost));
            match usable {
                true => assert!(
                    matches!(parsed, Ok(ExpectedPassword::Argon2id(_))),
                    "{cost}"
                ),
                false => assert_eq!(parsed, Err(PasswordError::CostlyHash), "{cost}"),
            }
        }
    }

    #[test]
    fn a_hash_that_no_login_could_match_is_refused() {
        let good = cheap_hash("x");
        for bad in [
            good.replace("$v=19", ""),
            good.replace("v=19", "v=18"),
            good.replace("c29tZXNhbHQ", "c2FsdA"),
            good.replace("argon2id", "Argon2id"),
            good.replace("argon2id", "argon2d"),
            good[..good.rfind('$').unwrap()].to_owned(),
            "$6$rounds=5000$salt$hash".to_owned(),
            "$y$j9T$salt$hash".to_owned(),
            "$apr1$salt$hash".to_owned(),
            "{SSHA}aGFzaA==".to_owned(),
        ] {
            assert_eq!(
                ExpectedPassword::parse(&bad),
                Err(PasswordError::BadHash),
                "{bad}"
            );
        }
        for plain in ["$", "$money", "a$6$b", "{}", "5$1$"] {
            let parsed = ExpectedPassword::parse(plain);
            assert!(matches!(parsed, Ok(ExpectedPassword::Plain(_))), "{plain}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        assert!(!format!("{:?}", account("s3cret")).contains("s3cret"));
    }

    #[test]
    fn fingerprints_tell_the_border_between_id_and_password() {
        let one = Credentials::from_header(&header("a:bc")).unwrap();
        let other = Credentials::from_header(&header("ab:c")).unwrap();
        assert_ne!(one.fingerprint_input(), other.fingerprint_input());
    }

    proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Credentials::from_header(&value);
        }
    }
}
