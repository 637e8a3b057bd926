//! The whole system over real sockets: upstream, refresher, Redis, component. One program, so that
//! tests that wait do so at the same time.

mod alerts;
mod asking;
mod browser;
mod cli;
mod cold_start;
mod dashboard;
mod endpoints;
mod every_fault;
mod explain;
mod export;
mod faults;
mod former_release;
mod golden;
mod guessing;
mod history;
mod history_s3;
mod hosts;
mod kill;
mod limits;
mod lockout;
mod metrics;
mod nodes;
mod odd_contents;
mod openapi;
mod output;
mod readiness;
mod redis_kinds;
mod redis_outage;
mod replicas;
mod round_trips;
mod rows;
mod scripts;
mod shutdown;
mod spin_releases;
mod timeline;
