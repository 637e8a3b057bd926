//! What every program here does alike, since people and other programs expect it: it logs to standard
//! error, prints to standard output, and says last why it failed.
//!
//! - `log`: the log, and what `RUST_LOG` and `NO_COLOR` say of it
//! - `print`: standard output that may be closed or full
//! - `failure`: the last line
//!
//! Nothing here panics because nobody reads what is written.

mod failure;
mod log;
mod print;

pub use failure::{describe, say};
pub use log::{LogFormat, start};
pub use print::{PrintError, print};
