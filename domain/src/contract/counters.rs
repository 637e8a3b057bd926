//! The counters of the service: a hash in Redis, so that they outlive every process and are the same
//! wherever they are read.
//!
//! Each is counted by the script that does what it counts. They only grow; they begin anew when Redis is
//! emptied, as Prometheus expects of counters.

/// A field of the hash and what is added to it.
pub type Counted = (String, u64);

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// A new generation is served.
    Replaced,
    /// The generation stays, confirmed by upstream: its record was renewed.
    Renewed,
    /// Nothing good came of it.
    Failed,
}

impl RefreshOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Replaced, Self::Renewed, Self::Failed];

    /// The word in `/metrics`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Renewed => "renewed",
            Self::Failed => "failed",
        }
    }
}

/// Why a request was refused. The scripts `admit` and `settle_check` use the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// It was one too many.
    RateLimit,
    /// It had no password, where one is needed.
    NoPassword,
    /// Its password was wrong.
    WrongPassword,
    /// Too many wrong passwords came from its address before.
    LockedOut,
    /// Its password was to be checked by hashing while another was being checked.
    Busy,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::RateLimit,
        Self::NoPassword,
        Self::WrongPassword,
        Self::LockedOut,
        Self::Busy,
    ];

    /// The word in `/metrics`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::NoPassword => "no_password",
            Self::WrongPassword => "wrong_password",
            Self::LockedOut => "locked_out",
            Self::Busy => "busy",
        }
    }
}

/// The upper bounds of the histogram of refreshes' durations, in milliseconds: an endpoint takes some
/// seconds, a refresh is due every minute.
pub const DURATION_BOUNDS_MS: [u64; 11] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
];

/// The buckets of that histogram: one more than bounds, for what is longer than all of them.
const BUCKETS: usize = DURATION_BOUNDS_MS.len() + 1;

/// The field of all durations together, in milliseconds.
const DURATION_SUM: &str = "refresh-ms:sum";

/// The fields of alerts, by the names that the scripts `note_alerts` and `take_alerts` have for them.
const HANDED_OVER: &str = "alerts:handed-over";
const ALERT_FAILURES: &str = "alerts:failures";

/// How many alerts wait: no counter, but set by these scripts.
pub const WAITING: &str = "alerts:waiting";

/// All counters at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Refreshes, in the order of [`RefreshOutcome::ALL`].
    pub refreshes: [u64; RefreshOutcome::ALL.len()],
    /// Refreshes by their duration: of each bucket alone, those below it not included.
    pub durations: [u64; BUCKETS],
    /// What these took together, in milliseconds.
    pub duration_sum_ms: u64,
    /// Refused requests, in the order of [`RefusalReason::ALL`].
    pub refused: [u64; RefusalReason::ALL.len()],
    /// Alerts that an Alertmanager has taken; of several, each counts.
    pub alerts_handed_over: u64,
    /// Attempts to hand alerts over that failed.
    pub alert_failures: u64,
    /// Alerts that an Alertmanager still has to take; of several, each counts.
    pub alerts_waiting: u64,
}

impl Counters {
    /// The fields of the hash, in the order of [`Self::from_values`].
    pub(crate) fn fields() -> Vec<String> {
        let refreshes = RefreshOutcome::ALL.map(refresh_field);
        let refused = RefusalReason::ALL.map(|reason| format!("refused:{}", reason.name()));
        let others = [DURATION_SUM, HANDED_OVER, ALERT_FAILURES, WAITING];
        refreshes
            .into_iter()
            .chain((0..BUCKETS).map(duration_field))
            .chain(refused)
            .chain(others.map(str::to_owned))
            .collect()
    }

    /// The counters whose fields have these values.
    pub(crate) fn from_values(mut next: impl FnMut() -> Option<u64>) -> Option<Self> {
        fn all<const N: usize>(next: &mut impl FnMut() -> Option<u64>) -> Option<[u64; N]> {
            let mut values = [0; N];
            for value in &mut values {
                *value = next()?;
            }
            Some(values)
        }
        let next = &mut next;
        Some(Self {
            refreshes: all(next)?,
            durations: all(next)?,
            refused: all(next)?,
            duration_sum_ms: next()?,
            alerts_handed_over: next()?,
            alert_failures: next()?,
            alerts_waiting: next()?,
        })
    }
}

/// What a refresh that took so long, and ended so, adds to the counters.
#[must_use]
pub fn refreshed(outcome: RefreshOutcome, took_ms: u64) -> [Counted; 3] {
    let bucket = DURATION_BOUNDS_MS.partition_point(|bound_ms| *bound_ms < took_ms);
    [
        (refresh_field(outcome), 1),
        (duration_field(bucket), 1),
        (DURATION_SUM.to_owned(), took_ms),
    ]
}

/// What an attempt to hand alerts over adds that an Alertmanager did not take.
#[must_use]
pub fn alert_failure() -> Counted {
    (ALERT_FAILURES.to_owned(), 1)
}

fn refresh_field(outcome: RefreshOutcome) -> String {
    format!("refreshes:{}", outcome.name())
}

fn duration_field(bucket: usize) -> String {
    match DURATION_BOUNDS_MS.get(bucket) {
        Some(bound_ms) => format!("refresh-ms:{bound_ms}"),
        None => "refresh-ms:longer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_once_and_in_its_place() {
        let mut fields = Counters::fields();
        let mut values = 0..fields.len() as u64;
        let counters = Counters::from_values(|| values.next()).unwrap();
        assert_eq!(values.next(), None);
        let value = |field: &str| fields.iter().position(|known| known == field).unwrap() as u64;
        assert_eq!(
            counters
                .refreshes
                .map(|count| fields[count as usize].clone()),
            [
                "refreshes:replaced",
                "refreshes:renewed",
                "refreshes:failed"
            ]
        );
        assert_eq!(counters.durations[0], value("refresh-ms:250"));
        assert_eq!(counters.durations[11], value("refresh-ms:longer"));
        assert_eq!(counters.refused[2], value("refused:wrong_password"));
        assert_eq!(counters.duration_sum_ms, value(DURATION_SUM));
        assert_eq!(counters.alerts_handed_over, value(HANDED_OVER));
        assert_eq!(counters.alert_failures, value(&alert_failure().0));
        assert_eq!(counters.alerts_waiting, value(WAITING));
        let count = fields.len();
        fields.sort();
        fields.dedup();
        assert_eq!(fields.len(), count);
        let mut short = [1, 2].into_iter();
        assert_eq!(Counters::from_values(|| short.next()), None);
    }

    #[test]
    fn a_refresh_falls_into_the_bucket_that_reaches_to_its_duration() {
        let bucket = |took_ms| refreshed(RefreshOutcome::Renewed, took_ms)[1].0.clone();
        assert_eq!(bucket(0), "refresh-ms:250");
        assert_eq!(bucket(250), "refresh-ms:250");
        assert_eq!(bucket(251), "refresh-ms:500");
        assert_eq!(bucket(300_000), "refresh-ms:300000");
        assert_eq!(bucket(300_001), "refresh-ms:longer");
        let known = Counters::fields();
        for (field, _) in refreshed(RefreshOutcome::Failed, 7) {
            assert!(known.contains(&field), "{field}");
        }
    }
}
