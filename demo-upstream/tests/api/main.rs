//! The server over real sockets.

mod client;
mod control;
mod faults;
mod program;
mod serving;
