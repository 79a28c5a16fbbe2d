//! An embedded, ordered key-value store with one async API and one meaning on SQLite and IndexedDB.
pub mod error;
pub mod limits;
