//! Archives in a real S3 server, which each test starts on the loopback interface and stops again.
//!
//! A package of its own: the server takes longer to build than `persistency`, and is nobody's dependency.
#![cfg(test)]

mod archive;
mod client;
mod server;
#[path = "../../common/stores.rs"]
mod stores;
