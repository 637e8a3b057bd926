//! A believable upstream API for demonstrations, tests and load: the seven incident types and the
//! identity map, made from a seed, served behind Basic auth with latency, growth and faults.

mod control;
pub mod fault;
pub mod generate;
mod journal;
mod outgoing;
mod random;
pub mod server;
mod socket;
