//! Layer `archive`: ships a job's history to an object store, and restores it from there. Never keeps a
//! write waiting, and lets nothing leave that is not durable.

#[allow(dead_code, unused_imports, reason = "what uses it is the next step")]
mod format;
#[allow(dead_code, reason = "what uses it is the next step")]
mod scheduler;
mod store;

pub use store::{FaultyStore, LIST_MAX, MemoryStore, Put, Store, StoreFault};
