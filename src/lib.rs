//! An embedded, ordered key-value store with one async API and one meaning on SQLite and IndexedDB.
pub mod batch;
pub(crate) mod engine;
pub mod error;
pub(crate) mod job_id;
pub mod key;
pub mod limits;
pub mod range;
#[cfg(test)]
pub(crate) mod testing;
pub use batch::*;
pub use key::*;
