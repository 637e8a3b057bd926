//! The floor: a pass over the same bytes that only checks that they are JSON.

use anyhow::{Result, ensure};
use bytes::Bytes;
use rayon::prelude::*;

use super::Answers;

/// Checks all answers.
pub(super) fn validate(answers: &Answers) -> Result<Vec<u8>> {
    let all: Vec<&Bytes> = answers.bodies().collect();
    let valid = all
        .into_par_iter()
        .with_max_len(1)
        .all(|body| is_json(body));
    ensure!(valid, "an answer is no JSON");
    Ok(Vec::new())
}

fn is_json(body: &[u8]) -> bool {
    sonic_rs::from_slice::<sonic_rs::LazyValue<'_>>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_anywhere_is_found() {
        let body = br#"{"results":[{"priority":"low","reported_by":12,"timestamp":1.5e3}]}"#;
        assert!(is_json(body));
        for bad in [
            &br#"{"results":[{"priority":"low","reported_by":12,"timestamp":1.5e}]}"#[..],
            br#"{"results":[{"priority":"low","reported_by":,"timestamp":1}]}"#,
            br#"{"results":[{"priority":"low" "reported_by":1}]}"#,
            br#"{"results":[{"priority":"l\q"}]}"#,
            b"{\"results\":[{\"priority\":\"l\xff\"}]}",
            br#"{"results":[{"priority":"low"}}"#,
            br#"{"results":[]} x"#,
        ] {
            assert!(!is_json(bad), "{}", String::from_utf8_lossy(bad));
        }
    }
}
