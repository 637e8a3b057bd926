//! A believable upstream API for demonstrations, tests and load: the seven incident types and the
//! identity map, made from a seed, served behind Basic auth with latency, growth and faults.
//!
//! - `generate`: the data. The same seed and options give the same bytes; nothing else is random in it.
//! - `server` answers over the network: who asks, which endpoint, which fault; `socket` is a connection
//!   that can end with a reset, `outgoing` a body that can break off, `reply` the answers around it.
//! - `control` changes, while it runs, the plans of `fault` and gives what `journal` noted.
//! - `state` is what all connections share.
//!
//! Only `domain`'s Basic auth is shared with the product: what it serves is not made by the code that
//! reads it.

mod control;
pub mod fault;
pub mod generate;
mod journal;
mod outgoing;
mod random;
mod reply;
pub mod server;
mod socket;
mod state;
