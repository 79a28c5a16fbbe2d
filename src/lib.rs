//! An embedded, ordered key-value store with one async API and one meaning on SQLite and IndexedDB.
//!
//! A [`Persistency`] is a root: natively a directory, in the browser a name, or `":memory:"`. It opens
//! [`Job`]s, each one tenant's rows in categories, with a worker of its own: natively a thread and a
//! SQLite file, on wasm32 a task and an IndexedDB database. Keys are bytes that order as the typed
//! parts they are made of, see [`key!`] and [`Text`].
//!
//! A write is *accepted* when it has its place in the job's bounded queue (every later read sees it),
//! *committed* when the death of the process cannot undo it, and *durable* when it survives a loss of
//! power as far as the platform can promise. A [`Receipt`] tells which it is; [`Job::flush`] waits for
//! everything. What has piled up is committed in one transaction, yet each [`Batch`] keeps its own
//! preconditions and its own answer.
//!
//! Handles and futures are `Send` on both platforms and need no runtime. The README has a first
//! example, the table of what survives what, and the limits; `examples/chat.rs` is a small whole program
//! (compare-and-set, a watch, a restart, the log); `ARCHITECTURE.md` has the inside.
//!
//! # Features
//!
//! All off by default: `serde` for payloads of any serde type, `cli` for the native quickstart, `web`
//! for what the npm package's Web Worker calls, and one for each layer: `sds`, `archive`,
//! `datastore`, `write_behind`.
//!
//! # Errors
//!
//! One [`Error`] with a [`kind`](Error::kind) to match on, an [`outcome`](Error::outcome) that says whether
//! anything was applied, and a message that names job, category and operation. The same fault gives
//! the same kind on both platforms.

#[cfg(feature = "archive")]
pub mod archive;
mod batch;
mod check;
mod clock;
mod commit_log;
#[cfg(feature = "datastore")]
pub mod datastore;
mod engine;
mod error;
mod job;
mod job_id;
mod job_info;
pub mod key;
mod limits;
mod names;
#[cfg(all(feature = "archive", not(all(target_family = "wasm", target_os = "unknown"))))]
pub mod object_stores;
mod options;
mod pace;
mod payload;
mod persistency;
mod place;
mod random;
mod range;
mod receipt;
mod record;
mod room;
mod scan;
#[cfg(feature = "sds")]
pub mod sds;
mod spawn;
mod tasks;
mod text;
mod waiting;
mod watch;
#[cfg(all(feature = "web", target_family = "wasm", target_os = "unknown"))]
mod web;
mod worker;
#[cfg(feature = "write_behind")]
pub mod write_behind;

// Behind `persistency`, whose own methods are to come first in the documentation.
mod by_id;

#[cfg(test)]
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod killed;
#[cfg(test)]
mod testing;

pub use batch::{Batch, Op, Precondition};
pub use clock::Clock;
pub use commit_log::Commit;
pub use error::{Error, ErrorKind, Outcome, Result};
pub use job::Job;
pub use job_info::{JobInfo, JobStats, SeqWatch};
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
