//! The refresher: fetches what upstream knows, groups it by employee and priority, and publishes
//! the snapshot that the component serves.
//!
//! [`leadership`] decides who refreshes and when, [`refresh`] does it, [`history`] records it;
//! [`nodes`] watches over everybody, and [`store`] is the connection to Redis.

pub mod configuration;
pub mod history;
pub mod leadership;
pub mod nodes;
pub mod refresh;
pub mod server;
pub mod shutdown;
pub mod store;
pub mod tls;
