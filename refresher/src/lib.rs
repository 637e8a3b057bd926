//! The refresher: fetches what upstream knows, groups it by employee and priority, and publishes
//! the snapshot that the component serves.
//!
//! ```text
//! cli            what a person types: a file a command
//! configuration  the settings as the refresher needs them
//! leadership     who refreshes (lease), when (schedule), and what clients ask for (commands)
//! refresh        one refresh: fetch, decide, build, publish; and what a new leader begins with
//! history        every distinct answer and a manifest of each refresh; replay and retention
//! nodes          the heartbeat of this process and of its server, and the leader's monitor of all of them
//! alerts         what is new, handed to Alertmanager
//! store          the connection to Redis: where it is, how it mends itself, errors, the clock
//! answer         an answer of upstream as it is kept
//! backoff        waits that double
//! server         the process that runs beside the refresher
//! shutdown       the end: by a signal, or because the service was shut down
//! tls            which cryptography all connections use
//! ```
//!
//! What always holds here:
//!
//! - Only the holder of the lease publishes, and Redis itself refuses the token of a former one.
//! - Readers see the old snapshot or the new one, whole: the record is changed last, by one script.
//! - An endpoint that fails keeps its last good answer and is marked stale; without any identity map
//!   nothing is published.
//! - All times in Redis are of Redis's clock.
//! - Nothing of the password, of upstream's or of Redis's, is in a log, an error or a record.

mod alerts;
mod answer;
mod backoff;
mod cli;
mod configuration;
mod history;
pub mod leadership;
mod nodes;
pub mod refresh;
mod server;
mod shutdown;
pub mod store;
mod tls;

pub use cli::main;
