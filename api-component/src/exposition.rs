//! The text format in which Prometheus reads metrics, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).

use std::fmt::{Display, Write as _};

/// The media type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics, one family after the other.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
}

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, &'a str);

/// The samples of one family are still to come.
pub(crate) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Exposition {
    /// Begins a family of values that go up and down. `help` is a sentence on one line.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a family of values that only grow; its name ends in `_total`.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Adds a histogram: how many observations each bucket alone has, by its upper bound, how many are
    /// beyond all bounds, and the sum of all that was observed.
    pub(crate) fn histogram(
        &mut self,
        name: &'static str,
        help: &str,
        buckets: impl Iterator<Item = (f64, u64)>,
        beyond: u64,
        sum: f64,
    ) {
        let mut family = self.family(name, "histogram", help);
        let mut count = 0_u64;
        for (bound, own) in buckets {
            count = count.saturating_add(own);
            family = family.line("_bucket", &[("le", &bound.to_string())], count);
        }
        count = count.saturating_add(beyond);
        family
            .line("_bucket", &[("le", "+Inf")], count)
            .line("_sum", &[], sum)
            .line("_count", &[], count);
    }

    /// The whole text.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        // Writing to a text never fails.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            name,
            text: &mut self.text,
        }
    }
}

impl Family<'_> {
    /// Adds a sample.
    pub(crate) fn sample(self, labels: &[Label<'_>], value: impl Display) -> Self {
        self.line("", labels, value)
    }

    fn line(self, suffix: &str, labels: &[Label<'_>], value: impl Display) -> Self {
        let Self { name, text } = self;
        text.push_str(name);
        text.push_str(suffix);
        for (number, (label, value)) in labels.iter().enumerate() {
            let start = if number == 0 { '{' } else { ',' };
            let _ = write!(text, "{start}{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        Self { name, text }
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_one_after_the_other() {
        let mut text = Exposition::default();
        text.gauge("g", "A gauge.")
            .sample(&[], 0.25)
            .sample(&[("a", "x"), ("b", "\"\\\n")], 7_u64);
        text.counter("c_total", "A counter.").sample(&[], u64::MAX);
        text.gauge("none", "Nothing.");
        let buckets = [(0.5, 2), (60.0, 0)].into_iter();
        text.histogram("h_seconds", "A histogram.", buckets, 1, 100.125);
        let expected = r#"# HELP g A gauge.
# TYPE g gauge
g 0.25
g{a="x",b="\"\\\n"} 7
# HELP c_total A counter.
# TYPE c_total counter
c_total 18446744073709551615
# HELP none Nothing.
# TYPE none gauge
# HELP h_seconds A histogram.
# TYPE h_seconds histogram
h_seconds_bucket{le="0.5"} 2
h_seconds_bucket{le="60"} 2
h_seconds_bucket{le="+Inf"} 3
h_seconds_sum 100.125
h_seconds_count 3
"#;
        assert_eq!(String::from_utf8(text.into_bytes()).unwrap(), expected);
    }
}
