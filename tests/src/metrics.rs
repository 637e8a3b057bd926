//! What `/metrics` says, by name and labels.

use std::collections::BTreeMap;

use crate::client::Client;

/// The samples of one answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The answer itself.
    pub text: String,
    /// Values by name and labels, as they stand in it: `name{label="value"}`.
    pub samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks for them.
    ///
    /// # Panics
    /// When the answer is not in the format.
    pub async fn of(client: &Client) -> Self {
        let answer = client.get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            let value = value.parse().expect("a number");
            (series.to_owned(), value)
        });
        Self {
            samples: samples.collect(),
            text,
        }
    }

    /// The value of a series; `None` where it is not there.
    #[must_use]
    pub fn get(&self, series: &str) -> Option<f64> {
        self.samples.get(series).copied()
    }

    /// The value of a series.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn value(&self, series: &str) -> f64 {
        self.get(series)
            .unwrap_or_else(|| panic!("no {series}: {}", self.text))
    }

    /// The sum over all series of a name.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        let all = self.samples.iter();
        all.filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(_, value)| value)
            .sum()
    }
}
