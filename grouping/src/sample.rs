//! Samples of what upstream sent, short enough for a log.

/// The beginning of what upstream sent, for the log.
pub(crate) fn sample(sent: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = sent.get(..MOST).unwrap_or(sent);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < sent.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_samples_are_cut_off() {
        for (bytes, expected) in [(0, 0), (200, 200), (201, 201), (5000, 201)] {
            let text = sample(&vec![b'x'; bytes]);
            assert_eq!(text.chars().count(), expected);
            assert_eq!(text.ends_with('…'), bytes > 200, "{bytes}");
        }
        // Within a character, too.
        let text = sample("é".repeat(101).as_bytes());
        assert_eq!(text, format!("{}…", "é".repeat(100)));
        assert_eq!(sample(b"caf\xe9"), "caf\u{fffd}");
    }
}
