//! Exponential backoff: each wait is twice as long as the last, up to a longest one.

use std::time::Duration;

/// The waits before one try after the other.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first wait is `first`; no wait is longer than `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            next: first,
            longest,
        }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }

    /// The next wait with full jitter, so that many clients do not come back at the same moment.
    pub(crate) fn jittered(&mut self) -> Duration {
        self.wait().mul_f64(rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut wait = || backoff.wait().as_secs();
        assert_eq!([(); 7].map(|()| wait()), [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_only_shortens() {
        for _ in 0..50 {
            let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
            for most in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
                assert!(backoff.jittered() <= Duration::from_millis(most));
            }
        }
    }
}
