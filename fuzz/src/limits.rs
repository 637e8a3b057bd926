//! Rate limits: what is accepted is usable, and what is shown of it is read back as the same.

use domain::settings::rate_limit::RateLimit;

/// Reads a list of limits.
///
/// # Panics
/// When a limit is not usable, or not what it says.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match RateLimit::parse_list(&text) {
        Ok(limits) => {
            assert!((1..=RateLimit::MOST).contains(&limits.len()));
            for limit in &limits {
                assert!(limit.count >= 1 && limit.count <= 1 << 53);
                assert!(limit.window_ms >= 1000 && limit.window_ms % 1000 == 0);
                assert_eq!(RateLimit::parse(&limit.to_string()).as_ref(), Ok(limit));
            }
            for separator in ["; ", ",", "|", "\n"] {
                let shown: Vec<String> = limits.iter().map(RateLimit::to_string).collect();
                assert_eq!(
                    RateLimit::parse_list(&shown.join(separator)).as_ref(),
                    Ok(&limits)
                );
            }
        }
        Err(error) => assert!(error.to_string().chars().count() < 400),
    }
}
