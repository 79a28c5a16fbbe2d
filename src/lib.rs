//! An embedded, ordered key-value store with one async API and one meaning on SQLite and IndexedDB.
pub mod batch;
mod clock;
mod commit_log;
pub(crate) mod engine;
pub mod error;
pub mod key;
pub mod limits;
pub mod payload;
pub mod range;
mod record;
mod worker;

#[cfg(test)]
mod testing;

pub use batch::*;
pub use clock::Clock;
pub use commit_log::Commit;
pub use error::{Error, ErrorKind, Outcome, Result};
pub use key::{Decoder, FromKeyPart, Key, KeyPart, Text, TextPrefix};
#[cfg(feature = "serde")]
pub use payload::MessagePack;
pub use payload::{FromPayload, ToPayload};
pub use range::{KeyRange, prefix_range};
pub use record::LogRetention;
