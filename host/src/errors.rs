//! Errors and warnings in the log: the same one at most once a second, with how often it was meant, so that nobody
//! fills a disk by causing it again and again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tracing::Level;

/// How often the same error is told.
const EVERY: Duration = Duration::from_secs(1);

/// Errors that are told apart.
const MOST: usize = 64;

/// What was told last, by its text.
static TOLD: Mutex<Option<HashMap<String, Told>>> = Mutex::new(None);

struct Told {
    level: Level,
    at: Instant,
    /// How often it has come since.
    since: u64,
}

/// Logs an error or a warning, unless it was logged within the last second.
pub(crate) fn tell(level: Level, error: &str) {
    let now = Instant::now();
    let mut all = told();
    let all = all.get_or_insert_default();
    // What is too much to be told apart is told as one.
    let error = match all.contains_key(error) || all.len() < MOST {
        true => error,
        false => "there are further errors",
    };
    match all.get_mut(error) {
        Some(known) => known.since += 1,
        None => {
            log(level, error, 1);
            let told = Told {
                level,
                at: now,
                since: 0,
            };
            all.insert(error.to_owned(), told);
        }
    }
}

/// Logs how often errors have come again that were not logged each time; to be called about every second.
pub(crate) fn tell_rest() {
    let now = Instant::now();
    if let Some(all) = &mut *told() {
        all.retain(|error, told| {
            if now.duration_since(told.at) < EVERY {
                return true;
            }
            let again = std::mem::take(&mut told.since);
            if again > 0 {
                log(told.level, error, again);
                told.at = now;
            }
            again > 0
        });
    }
}

fn log(level: Level, error: &str, times: u64) {
    let times = (times > 1).then_some(times);
    match level {
        Level::ERROR => tracing::error!(times, "{error}"),
        _ => tracing::warn!(times, "{error}"),
    }
}

fn told() -> MutexGuard<'static, Option<HashMap<String, Told>>> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}
