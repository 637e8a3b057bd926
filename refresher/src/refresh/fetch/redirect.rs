//! Which redirects are followed: the credentials go along, and what comes is taken for the endpoint's.

use reqwest::redirect::{Attempt, Policy};
use thiserror::Error;
use url::Url;

/// Redirects that are followed for one request.
const REDIRECTS: usize = 5;

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RedirectError {
    #[error(
        "upstream redirects to another scheme, host or port, where the credentials must not go; if it has moved, change BASE_ENDPOINT"
    )]
    Elsewhere,
    #[error(
        "upstream redirects to another path, whose rows may be others; if its API has moved, change BASE_ENDPOINT"
    )]
    OtherResource,
    #[error("upstream redirects more than {REDIRECTS} times")]
    TooMany,
}

/// Follows redirects to the same resource only: to its path with or without a slash at the end.
pub(super) fn policy() -> Policy {
    Policy::custom(|attempt: Attempt<'_>| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error(RedirectError::TooMany);
        }
        let Some(asked) = attempt.previous().first() else {
            return attempt.follow();
        };
        match check(asked, attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(error) => {
                let to = attempt.url();
                let (to, path) = (to.origin().ascii_serialization(), to.path().to_owned());
                tracing::warn!(to, path, "upstream redirects elsewhere: not followed");
                attempt.error(error)
            }
        }
    })
}

/// Whether `to` is the resource that was `asked` for: its path, but for slashes at the end.
fn check(asked: &Url, to: &Url) -> Result<(), RedirectError> {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    if asked.origin() != to.origin() {
        Err(RedirectError::Elsewhere)
    } else if path(asked) == path(to) && asked.query() == to.query() {
        Ok(())
    } else {
        Err(RedirectError::OtherResource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_resource_is_followed() {
        let check = |asked: &str, to: &str| {
            let asked: Url = asked.parse().unwrap();
            check(&asked, &asked.join(to).unwrap())
        };
        let asked = "http://h/api/incidents/denial";
        for same in [
            "/api/incidents/denial/",
            "denial/",
            "HTTP://H:80/api/incidents/denial/",
            "/api/incidents/../incidents/denial",
            "#part",
        ] {
            assert_eq!(check(asked, same), Ok(()), "{same}");
        }
        for other in [
            "/api/incidents/intrusion",
            "/api/incidents/denial/x",
            "/api/incidents/Denial",
            "/login",
            "/",
            "denial?page=2",
        ] {
            assert_eq!(
                check(asked, other),
                Err(RedirectError::OtherResource),
                "{other}"
            );
        }
        for elsewhere in [
            "https://h/api/incidents/denial",
            "//h:81/api/incidents/denial",
            "//i",
        ] {
            assert_eq!(
                check(asked, elsewhere),
                Err(RedirectError::Elsewhere),
                "{elsewhere}"
            );
        }
    }
}
