//! The contract in Redis, through which refresher and component meet: the names of the keys, the
//! formats of what they hold, and the scripts that change several of them at once.

pub mod commands;
pub mod history;
pub mod keys;
pub mod node;
pub mod record;
pub mod scripts;
