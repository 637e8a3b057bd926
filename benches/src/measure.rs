//! Numbers of several rounds, and what is told of them.

use std::collections::BTreeMap;

/// Seconds of each round, by whose turn it was.
#[derive(Debug, Default)]
pub(crate) struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    /// Notes a round.
    pub(crate) fn note(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    /// The median of all rounds; `None` for who had none.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(|values| median(values))
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut rounds = Rounds::default();
        rounds.note("a", 2.0);
        rounds.note("a", 1.0);
        rounds.note("a", 9.0);
        assert_eq!((rounds.median("a"), rounds.median("b")), (Some(2.0), None));
    }
}
