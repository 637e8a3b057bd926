//! The whole system over real sockets: upstream, refresher, Redis, component. One program, so that
//! tests that wait do so at the same time.

mod cli;
mod cold_start;
mod compose;
mod endpoints;
mod explain;
mod faults;
mod golden;
mod kill;
mod limits;
mod redis_outage;
mod round_trips;
mod shutdown;
