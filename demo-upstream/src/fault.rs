//! What can go wrong upstream, and when it does.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;

use crate::generate::Dataset;
use crate::random::Random;

/// The name that stands for every endpoint.
pub const ALL: &str = "all";

/// What happens to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Effect {
    /// Nothing: the answer is as it should be.
    #[default]
    None,
    /// This status, 400 to 599, and no data.
    Status(u16),
    /// The connection is reset before the answer.
    Reset,
    /// The connection is reset in the middle of the body.
    ResetMidway,
    /// The connection ends in the middle of the body, whose `Content-Length` promised more.
    Truncate,
    /// The connection ends in the middle of a chunked body.
    TruncateChunked,
    /// Old data: see [`Dataset::stale_payload`].
    Stale,
    /// 200 with an HTML page.
    Html,
    /// 200 with JSON of another shape.
    WrongBody,
    /// 200 with a body that never ends.
    Endless,
    /// The body in drops of so many bytes a second.
    Drip(u32),
    /// No answer at all, while the connection stays open.
    Hang,
    /// A redirect (307) to this address.
    Redirect(String),
    /// The body with this `Content-Encoding`: compressed where that is gzip or zstd, else as it is.
    Coded(String),
}

/// A plan for an endpoint's next answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    #[serde(default)]
    pub effect: Effect,
    /// The answer's latency, instead of the usual one.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// Only so many requests meet it; without it, all.
    #[serde(default)]
    pub times: Option<u64>,
    /// The share of requests that meet it, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
}

const fn always() -> f64 {
    1.0
}

/// A fault that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultError {
    /// Not an effect.
    #[error(
        "unknown effect `{0}`; accepted: none, latency-MS (on the command line), status-CODE, reset, \
         reset-midway, truncate, truncate-chunked, stale, html, wrong-body, endless, \
         drip-BYTES_PER_SECOND, hang, redirect-URL, coded-LABEL"
    )]
    Effect(String),
    /// Not a status that tells of an error.
    #[error("status {0}; accepted: 400 to 599")]
    Status(String),
    /// Not a number that makes sense for that effect.
    #[error("`{0}` needs a number greater than 0 after the last hyphen")]
    Number(String),
    /// Not a share.
    #[error("probability {0}; accepted: 0 to 1")]
    Probability(String),
    /// No such endpoint.
    #[error("unknown endpoint `{0}`; there are: {ALL}, {known}", known = Dataset::endpoints().join(", "))]
    Endpoint(String),
    /// Not a fault in JSON.
    #[error(
        "{0}; expected for example {{\"effect\": \"status-503\", \"latency_ms\": 50, \"times\": 2, \"probability\": 0.5}}"
    )]
    Json(String),
    /// Not `ENDPOINT=EFFECT[:PROBABILITY]`.
    #[error("expected ENDPOINT=EFFECT[:PROBABILITY], for example probing=status-503:0.3")]
    Form,
}

impl FromStr for Effect {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (word, number) = match text.split_once('-') {
            Some((word @ ("status" | "drip" | "redirect" | "coded"), number)) => (word, number),
            _ => (text, ""),
        };
        Ok(match word {
            "none" => Self::None,
            "status" => Self::Status(
                number
                    .parse()
                    .ok()
                    .filter(|code| (400..600).contains(code))
                    .ok_or_else(|| FaultError::Status(number.to_owned()))?,
            ),
            "reset" => Self::Reset,
            "reset-midway" => Self::ResetMidway,
            "truncate" => Self::Truncate,
            "truncate-chunked" => Self::TruncateChunked,
            "stale" => Self::Stale,
            "html" => Self::Html,
            "wrong-body" => Self::WrongBody,
            "endless" => Self::Endless,
            "drip" => Self::Drip(
                number
                    .parse()
                    .ok()
                    .filter(|bytes| *bytes > 0)
                    .ok_or_else(|| FaultError::Number(text.to_owned()))?,
            ),
            "hang" => Self::Hang,
            "redirect" if http::HeaderValue::from_str(number).is_ok() && !number.is_empty() => {
                Self::Redirect(number.to_owned())
            }
            "coded" if http::HeaderValue::from_str(number).is_ok() && !number.is_empty() => {
                Self::Coded(number.to_owned())
            }
            _ => return Err(FaultError::Effect(text.to_owned())),
        })
    }
}

impl TryFrom<String> for Effect {
    type Error = FaultError;

    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl Fault {
    /// The fault itself, if what it says makes sense.
    ///
    /// # Errors
    /// When the probability is not between 0 and 1.
    pub fn checked(self) -> Result<Self, FaultError> {
        if (0.0..=1.0).contains(&self.probability) {
            Ok(self)
        } else {
            Err(FaultError::Probability(self.probability.to_string()))
        }
    }

    /// How long the answer takes, when the fault says so.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        self.latency_ms.map(Duration::from_millis)
    }
}

/// A fault and the endpoint (or [`ALL`]) that it is planned for: `ENDPOINT=EFFECT[:PROBABILITY]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    /// The endpoint's name, or [`ALL`].
    pub endpoint: String,
    /// What is to happen.
    pub fault: Fault,
}

impl FromStr for PlannedFault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (endpoint, rest) = text.split_once('=').ok_or(FaultError::Form)?;
        // An address to redirect to has colons of its own, but none before a number from 0 to 1.
        let (effect, probability) = match rest.rsplit_once(':') {
            Some((effect, share)) => match share.parse() {
                Ok(share) => (effect, share),
                Err(_) => (rest, always()),
            },
            None => (rest, always()),
        };
        let (effect, latency_ms) = match effect.strip_prefix("latency-") {
            Some(ms) => {
                let ms = ms.parse().ok();
                let ms = ms.ok_or_else(|| FaultError::Number(effect.to_owned()))?;
                (Effect::None, Some(ms))
            }
            None => (effect.parse()?, None),
        };
        if endpoint != ALL {
            known(endpoint)?;
        }
        let fault = Fault {
            effect,
            latency_ms,
            times: None,
            probability,
        };
        Ok(Self {
            endpoint: endpoint.to_owned(),
            fault: fault.checked()?,
        })
    }
}

/// The endpoints that `name` stands for.
pub(crate) fn known(name: &str) -> Result<Vec<String>, FaultError> {
    let mut endpoints = Dataset::endpoints();
    endpoints.retain(|endpoint| name == ALL || name == endpoint);
    if endpoints.is_empty() {
        return Err(FaultError::Endpoint(name.to_owned()));
    }
    Ok(endpoints)
}

/// What is planned for each endpoint, and the dice.
#[derive(Debug)]
pub(crate) struct Plans {
    faults: HashMap<String, Fault>,
    /// Bodies served instead of the dataset's.
    payloads: HashMap<String, Bytes>,
    random: Random,
}

impl Plans {
    /// Nothing planned.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            faults: HashMap::new(),
            payloads: HashMap::new(),
            random: Random::new(seed, u64::MAX),
        }
    }

    /// Plans `fault` for the endpoint, or for each of them by itself, instead of an earlier one.
    pub(crate) fn plan(&mut self, name: &str, fault: &Fault) -> Result<(), FaultError> {
        for endpoint in known(name)? {
            self.faults.insert(endpoint, fault.clone());
        }
        Ok(())
    }

    /// Forgets what was planned.
    pub(crate) fn clear(&mut self, name: &str) -> Result<(), FaultError> {
        for endpoint in known(name)? {
            self.faults.remove(&endpoint);
        }
        Ok(())
    }

    /// Serves `payload` from now on, or the dataset's again.
    pub(crate) fn replace(
        &mut self,
        name: &str,
        payload: Option<&Bytes>,
    ) -> Result<(), FaultError> {
        for endpoint in known(name)? {
            match payload {
                Some(payload) => self.payloads.insert(endpoint, payload.clone()),
                None => self.payloads.remove(&endpoint),
            };
        }
        Ok(())
    }

    /// The body to serve instead of the dataset's.
    pub(crate) fn payload(&self, endpoint: &str) -> Option<Bytes> {
        self.payloads.get(endpoint).cloned()
    }

    /// The fault that this request meets, if it does.
    pub(crate) fn strike(&mut self, endpoint: &str) -> Option<Fault> {
        let fault = self.faults.get_mut(endpoint)?;
        if fault.times == Some(0) || !self.random.chance(fault.probability) {
            return None;
        }
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.clone())
    }

    /// A latency from the usual ones.
    pub(crate) fn latency(&mut self, shortest: Duration, longest: Duration) -> Duration {
        let spread = longest.saturating_sub(shortest).as_micros() as u64;
        shortest + Duration::from_micros(self.random.below(spread + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Fault, FaultError> {
        text.parse().map(|planned: PlannedFault| planned.fault)
    }

    #[test]
    fn reads_the_command_line_notation() {
        let fault = parsed("probing=status-503:0.25").unwrap();
        assert_eq!(fault.effect, Effect::Status(503));
        assert_eq!(fault.probability, 0.25);
        let fault = parsed("all=latency-5000").unwrap();
        assert_eq!(fault.latency(), Some(Duration::from_secs(5)));
        assert_eq!(fault.probability, 1.0);
        let fault = parsed("identities=redirect-http://127.0.0.1:8080/x").unwrap();
        let target = "http://127.0.0.1:8080/x".to_owned();
        assert_eq!(fault.effect, Effect::Redirect(target));
    }

    #[test]
    fn says_what_is_wrong_with_a_fault() {
        assert_eq!(parsed("reset"), Err(FaultError::Form));
        let error = parsed("prob=reset").unwrap_err().to_string();
        assert!(
            error.contains("`prob`") && error.contains("probing"),
            "{error}"
        );
        let error = parsed("probing=explode").unwrap_err().to_string();
        assert!(
            error.contains("`explode`") && error.contains("truncate"),
            "{error}"
        );
        assert_eq!(
            parsed("all=status-200"),
            Err(FaultError::Status("200".to_owned()))
        );
        assert_eq!(
            parsed("all=drip-0"),
            Err(FaultError::Number("drip-0".to_owned()))
        );
        let probability = FaultError::Probability("1.5".to_owned());
        assert_eq!(parsed("all=reset:1.5"), Err(probability));
    }

    #[test]
    fn strikes_as_often_as_planned() {
        let mut plans = Plans::new(1);
        let twice = Fault {
            times: Some(2),
            ..parsed("probing=reset").unwrap()
        };
        plans.plan("probing", &twice).unwrap();
        let struck = (0..5).filter(|_| plans.strike("probing").is_some()).count();
        assert_eq!(struck, 2);
        assert!(plans.strike("denial").is_none());

        plans.plan(ALL, &parsed("all=reset:0.5").unwrap()).unwrap();
        let struck = (0..1000)
            .filter(|_| plans.strike("denial").is_some())
            .count();
        assert!((400..600).contains(&struck), "{struck}");
        plans.clear(ALL).unwrap();
        assert!(plans.strike("denial").is_none());
    }
}
