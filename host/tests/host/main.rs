//! The host over real sockets, a real Redis and a real component (`probe`, built for it).

mod client;
mod command;
mod crowd;
mod isolation;
mod lifetime;
mod program;
mod redis;
mod requests;
mod reuse;
mod server;
mod stream;
