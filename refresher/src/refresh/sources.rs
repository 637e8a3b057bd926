//! The upstream endpoints, and of each the last good answer: what a refresh falls back on.

use std::sync::Arc;

use blake3::Hash;
use bytes::Bytes;
use domain::contract::record::{Freshness, Payload};
use domain::incident::IncidentType;
use tokio::time::Instant;

use crate::refresh::fetch::FetchError;
use grouping::attribute::Identities;
use grouping::pack::{pack, unpack};
use grouping::rows::{PayloadError, Run};

/// One thing to ask upstream for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The identity map.
    Identities,
    /// The rows of one type.
    Incidents(IncidentType),
}

/// An answer that has been parsed.
#[derive(Debug)]
pub(crate) enum Content {
    /// Of [`Endpoint::Identities`].
    Identities(Identities),
    /// Of [`Endpoint::Incidents`].
    Run(Run),
}

impl Endpoint {
    /// What logs call it.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Identities => "identities",
            Self::Incidents(kind) => &kind.name,
        }
    }

    /// Where it is, below the base endpoint.
    #[must_use]
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Identities => "identities".to_owned(),
            Self::Incidents(kind) => format!("incidents/{}", kind.name),
        }
    }

    /// Parses an answer.
    ///
    /// # Errors
    /// When it is not what this endpoint should answer.
    pub(crate) fn parse(&self, body: Bytes) -> Result<Content, PayloadError> {
        match self {
            Self::Identities => Identities::parse(&body).map(Content::Identities),
            Self::Incidents(kind) => Run::parse(kind, body).map(Content::Run),
        }
    }
}

/// A good answer, kept small: a refresh seldom needs it again.
#[derive(Debug, Clone)]
pub(crate) struct Good {
    /// Of the answer's bytes.
    pub(crate) hash: Hash,
    /// The answer, compressed.
    pub(crate) packed: Bytes,
    /// When it arrived: milliseconds of Redis's clock.
    pub(crate) at_ms: u64,
    /// Of the identity map: whether it has any entries.
    pub(crate) has_entries: bool,
}

impl Good {
    /// How the record names it.
    #[must_use]
    pub(crate) fn payload(&self) -> Payload {
        Payload {
            hash: self.hash.to_hex().to_string(),
            stored_bytes: self.packed.len() as u64,
        }
    }

    /// The answer itself.
    ///
    /// # Errors
    /// When it is damaged or larger than `limit` bytes.
    pub(crate) fn body(&self, limit: u64) -> std::io::Result<Bytes> {
        unpack(&self.packed, limit).map(Bytes::from)
    }
}

/// A new answer, as far as it has been looked at.
#[derive(Debug)]
pub(crate) enum Fresh {
    /// The same bytes as before: not parsed, since most likely nobody will ask.
    Same(Bytes),
    /// Other bytes than before.
    Parsed(Content),
}

/// A good answer that has just come.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What to keep of it.
    pub(crate) good: Good,
    /// What to make the next report of.
    pub(crate) fresh: Fresh,
}

/// Redis's clock, as it was at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// What it showed, in milliseconds since the Unix epoch.
    pub(crate) ms: u64,
    /// When that was.
    pub(crate) at: Instant,
}

impl Clock {
    /// What it shows now.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        let passed = self.at.elapsed().as_millis();
        self.ms
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

/// One endpoint and what is known of it.
#[derive(Debug)]
pub(crate) struct Source {
    /// What to ask for.
    pub(crate) endpoint: Arc<Endpoint>,
    /// The last good answer.
    pub(crate) good: Option<Good>,
    /// Why the last try failed; none if it did well.
    pub(crate) failure: Option<String>,
}

impl Source {
    /// An endpoint of which nothing is known yet.
    #[must_use]
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            good: None,
            failure: None,
        }
    }

    /// The hash of the last good answer.
    #[must_use]
    pub(crate) fn hash(&self) -> Option<Hash> {
        self.good.as_ref().map(|good| good.hash)
    }

    /// What checks a body that upstream sends, and parses it if it is not the last one again.
    pub(crate) fn acceptor(
        &self,
        clock: Clock,
    ) -> impl Fn(Bytes) -> Result<Answer, FetchError> + Send + Sync + 'static {
        let (endpoint, last) = (Arc::clone(&self.endpoint), self.good.clone());
        move |body| accept(&endpoint, last.as_ref(), clock, body)
    }

    /// Notes how the last try went.
    pub(crate) fn note(&mut self, result: Result<Good, FetchError>) {
        let name = self.endpoint.name();
        match result {
            Ok(good) => {
                if self.failure.take().is_some() {
                    tracing::info!(endpoint = name, "answers well again");
                }
                self.good = Some(good);
            }
            Err(error) => {
                let failure = Some(error.to_string());
                if self.failure != failure {
                    let has_last_good = self.good.is_some();
                    tracing::warn!(endpoint = name, has_last_good, %error, "no usable answer");
                    self.failure = failure;
                }
            }
        }
    }

    /// What the record says of it.
    #[must_use]
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness {
            good_at_ms: self.good.as_ref().map(|good| good.at_ms),
            stale: self.failure.is_some(),
            error: self.failure.clone(),
            payload: self.good.as_ref().map(Good::payload),
        }
    }
}

fn accept(
    endpoint: &Endpoint,
    last: Option<&Good>,
    clock: Clock,
    body: Bytes,
) -> Result<Answer, FetchError> {
    let hash = blake3::hash(&body);
    if let Some(last) = last.filter(|last| last.hash == hash) {
        let good = Good {
            at_ms: clock.now_ms(),
            ..last.clone()
        };
        let fresh = Fresh::Same(body);
        return Ok(Answer { good, fresh });
    }
    let content = endpoint.parse(body.clone())?;
    let has_entries = match &content {
        Content::Identities(identities) => identities.entries() > 0,
        Content::Run(_) => false,
    };
    if last.is_some_and(|last| last.has_entries) && !has_entries {
        return Err(FetchError::NoIdentities);
    }
    let packed = pack(&body).map_err(|error| FetchError::Internal(error.to_string()))?;
    let good = Good {
        hash,
        packed: packed.into(),
        at_ms: clock.now_ms(),
        has_entries,
    };
    let fresh = Fresh::Parsed(content);
    Ok(Answer { good, fresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock {
            ms: 1_000,
            at: Instant::now(),
        }
    }

    fn answer(source: &Source, body: &'static str) -> Result<Answer, FetchError> {
        source.acceptor(clock())(Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_same_bytes_are_not_parsed_again() {
        let mut source = Source::new(Endpoint::Incidents(IncidentType::defaults().remove(0)));
        let first = answer(&source, r#"{"results":[]}"#).unwrap();
        assert!(matches!(first.fresh, Fresh::Parsed(Content::Run(_))));
        assert_eq!(first.good.body(100).unwrap(), r#"{"results":[]}"#);
        source.note(Ok(first.good));
        let again = answer(&source, r#"{"results":[]}"#).unwrap();
        assert!(matches!(again.fresh, Fresh::Same(_)));
        let other = answer(&source, r#"{"results": []}"#).unwrap();
        assert!(matches!(other.fresh, Fresh::Parsed(_)));
    }

    #[test]
    fn an_empty_map_is_good_at_first_but_not_after_a_full_one() {
        let mut source = Source::new(Endpoint::Identities);
        let empty = answer(&source, "{}").unwrap().good;
        assert!(!empty.has_entries);
        source.note(Ok(answer(&source, r#"{"1.2.3.4":5}"#).unwrap().good));
        assert!(matches!(
            answer(&source, "{}"),
            Err(FetchError::NoIdentities)
        ));
        source.note(Err(FetchError::NoIdentities));
        assert!(source.freshness().stale && source.good.is_some());
    }
}
