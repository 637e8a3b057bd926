//! Alerts: each new incident of `ALERT_PRIORITIES` is handed to every Alertmanager once it is first reported.
//!
//! ```text
//! published  what a refresh leaves here, with or without anybody at work
//! find       which of its incidents are new
//! alert      what an Alertmanager is told of one, or of many
//! receiver   an Alertmanager, and what it makes of that
//! dispatcher the leader's work: keeps what is new in Redis, and hands it over
//! ```
//!
//! Invariants:
//!
//! - No refresh waits for any of this: it leaves what it has published, and goes on.
//! - What is new is what the incidents that Redis has kept do not have. Those, and the alerts about the others, are
//!   replaced and added by one script, which refuses a former leader; an alert leaves its list in Redis once its
//!   Alertmanager has taken it. So an incident is handed over at least once, whoever ends when.
//! - A first snapshot, or a type or priority that was not looked at before, is told as one alert with a count.

mod alert;
mod dispatcher;
mod find;
mod published;
mod receiver;

pub(crate) use self::dispatcher::Dispatcher;
pub(crate) use self::published::{Mailbox, Published};
