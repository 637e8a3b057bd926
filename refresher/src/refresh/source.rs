//! The endpoints of upstream, and of each the last good answer and how the endpoint does now.

use bytes::Bytes;
use domain::contract::record::Freshness;
use domain::incident::IncidentType;
use grouping::endpoint::PerEndpoint;

use crate::answer::Answer;
use crate::refresh::fetch::FetchError;
use crate::store::Clock;

/// One endpoint and what is known of it.
#[derive(Debug)]
pub(crate) struct Source {
    /// What logs call it.
    pub(crate) name: String,
    /// Where it is, below the base endpoint.
    pub(crate) path: String,
    /// The last good answer.
    pub(crate) answer: Option<Answer>,
    /// Why the last try failed; none if it did well.
    pub(crate) failure: Option<String>,
}

/// All endpoints, of which nothing is known yet.
pub(crate) fn sources(types: &[IncidentType]) -> PerEndpoint<Source> {
    let source = |name: &str, path: String| Source {
        name: name.to_owned(),
        path,
        answer: None,
        failure: None,
    };
    PerEndpoint {
        identities: source("identities", "identities".to_owned()),
        incidents: types
            .iter()
            .map(|kind| source(&kind.name, format!("incidents/{}", kind.name)))
            .collect(),
    }
}

impl Source {
    /// Notes how the last try went.
    pub(crate) fn note(&mut self, result: Result<Answer, FetchError>) {
        let endpoint = &self.name;
        match result {
            Ok(answer) => {
                if self.failure.take().is_some() {
                    tracing::info!(endpoint, "answers well again");
                }
                self.answer = Some(answer);
            }
            Err(error) => {
                let failure = Some(error.to_string());
                if self.failure != failure {
                    let has_last_good = self.answer.is_some();
                    tracing::warn!(endpoint, has_last_good, %error, "no usable answer");
                    self.failure = failure;
                }
            }
        }
    }

    /// What the record says of it.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness {
            good_at_ms: self.answer.as_ref().map(|answer| answer.at_ms),
            stale: self.failure.is_some(),
            error: self.failure.clone(),
            payload: self.answer.as_ref().map(Answer::payload),
        }
    }
}

/// Takes a body that upstream has sent: what is to be kept of it, and what `parse` makes of it. A body
/// that is the last one again is not parsed, since most likely nobody will ask.
///
/// # Errors
/// When `parse` refuses it.
pub(crate) fn accept<T>(
    last: Option<&Answer>,
    clock: Clock,
    body: &Bytes,
    parse: impl Fn(&Bytes) -> Result<T, FetchError>,
) -> Result<(Answer, Option<T>), FetchError> {
    let hash = blake3::hash(body);
    if let Some(last) = last.filter(|last| last.hash == hash) {
        let again = Answer {
            at_ms: clock.now_ms(),
            ..last.clone()
        };
        return Ok((again, None));
    }
    let parsed = parse(body)?;
    let answer = Answer::keep(body, hash, clock.now_ms())
        .map_err(|error| FetchError::Internal(error.to_string()))?;
    Ok((answer, Some(parsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_bytes_are_not_parsed_again() {
        let clock = Clock::at(1_000);
        let accept = |last: Option<&Answer>, body: &'static str| {
            let body = Bytes::from_static(body.as_bytes());
            accept(last, clock, &body, |body| Ok(body.len())).unwrap()
        };
        let (first, parsed) = accept(None, "{}");
        assert_eq!(
            (first.body(100).unwrap(), parsed),
            (Bytes::from("{}"), Some(2))
        );
        let (again, parsed) = accept(Some(&first), "{}");
        assert_eq!((again.hash, parsed), (first.hash, None));
        assert_eq!(accept(Some(&first), "{ }").1, Some(3));
    }

    #[test]
    fn a_failure_leaves_the_last_good_answer() {
        let mut source = sources(&IncidentType::defaults()).identities;
        let (answer, _) = accept(None, Clock::at(1_000), &Bytes::from("{}"), |_| Ok(())).unwrap();
        source.note(Ok(answer));
        assert!(!source.freshness().stale);
        source.note(Err(FetchError::NoIdentities));
        let freshness = source.freshness();
        assert!(freshness.stale && source.answer.is_some());
        assert!(freshness.good_at_ms >= Some(1_000));
    }
}
