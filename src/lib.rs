//! An embedded, ordered key-value store with one async API and one meaning on SQLite and IndexedDB.

mod batch;
mod by_id;
mod clock;
mod commit_log;
mod engine;
mod error;
mod job;
mod job_id;
mod key;
mod limits;
mod options;
mod payload;
mod persistency;
mod place;
mod range;
mod receipt;
mod record;
mod scan;
mod watch;
#[cfg(all(feature = "web", target_family = "wasm", target_os = "unknown"))]
mod web;
mod worker;

#[cfg(test)]
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod killed;
#[cfg(test)]
mod testing;

pub use batch::{Batch, Op, Precondition};
pub use clock::Clock;
pub use commit_log::Commit;
pub use error::{Error, ErrorKind, Outcome, Result};
pub use job::{Job, JobInfo, JobStats, SeqWatch};
pub use key::{Decoder, FromKeyPart, Key, KeyPart, Text, TextPrefix};
pub use limits::{Limits, limits};
pub use options::{Durability, JobOptions, OpenMode};
#[cfg(feature = "serde")]
pub use payload::MessagePack;
pub use payload::{FromPayload, ToPayload};
pub use persistency::Persistency;
pub use range::{KeyRange, prefix_range};
pub use receipt::Receipt;
pub use record::LogRetention;
pub use scan::{Pages, Row, Scan};
pub use watch::{LogReader, Position, Watch, WatchItem};

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
