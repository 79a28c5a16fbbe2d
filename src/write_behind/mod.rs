//! Layer `write_behind`: memory is the truth, the store follows.
//!
//! Speaks only to a [`Job`](crate::Job) and never holds a value: what is dirty is a set of keys, and what
//! a key's value is, is asked when it is written.
//!
//! For programs that work on what they hold in memory, change it far more often than they could or should
//! write it, and need it again after a restart: crawlers, caches, presence, scores, the state of
//! connections. A million changes of ten thousand things cost ten thousand writes.
//!
//! # The pieces
//!
//! A [`Schema`] declares sets, parents first. A **weak** set has a reader, which says what memory has for a
//! key; its handle, a [`WeakSet`], marks keys as dirty. A **strong** set has none: each write through its
//! [`StrongSet`] is durable when it is acknowledged. [`WriteBehind::open`] opens the job, migrates, repairs
//! and loads; [`WriteBehind::start`] starts the flusher.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, Mutex};
//!
//! use persistency::write_behind::{Options, Schema, WriteBehind};
//! use persistency::{FromPayload, Persistency, Result, ToPayload};
//!
//! async fn run(root: &Persistency) -> Result<usize> {
//!     let scores = Arc::new(Mutex::new(BTreeMap::<String, i64>::new()));
//!
//!     let mut schema = Schema::new();
//!     let config = schema.strong::<String>("config");
//!     let memory = scores.clone();
//!     let dirty = schema.weak("score", move |player: &String| {
//!         memory.lock().unwrap().get(player).map(|score| score.to_payload()).transpose()
//!     });
//!     let memory = scores.clone();
//!     schema.load(&dirty, move |player, score| {
//!         memory.lock().unwrap().insert(player, i64::from_payload(score)?);
//!         Ok(())
//!     });
//!
//!     let engine = WriteBehind::open(root, "game", schema, Options::new()).await?;
//!     engine.start()?;
//!     config.put(&"season".to_owned(), "spring").await?; // durable
//!
//!     for _ in 0..1_000 {
//!         *scores.lock().unwrap().entry("ada".to_owned()).or_default() += 1; // memory first,
//!         dirty.mark(&"ada".to_owned())?; // then the mark, which waits for nothing
//!     }
//!     let last = engine.stop().await?; // what is still dirty, and the error if there is one
//!     Ok(last.rows())
//! }
//! # let root = Persistency::open(":memory:").unwrap();
//! # assert_eq!(futures_executor::block_on(run(&root)).unwrap(), 1);
//! ```
//!
//! # What a flush promises
//!
//! * Everything dirty in all sets is taken together and written in **one atomic batch**: upserts in the
//!   order in which sets were declared, then deletes in the reverse one. A kill finds all of it or nothing.
//! * One flush runs at a time, and its batch is accepted before the next one reads a value, so a newer
//!   value is never overwritten by an older one.
//! * What it reports as done is durable, or with [`Options::durability`] committed.
//! * If it fails, what it took is dirty again, but for keys that have been marked since. The flusher waits
//!   longer after each failure, see [`Backoff`].
//! * A reader that answers `None` means that memory has the key no longer: its row is removed.
//! * Marks are bounded ([`Options::marks`], [`Options::bytes`], [`SetBounds`]) within what one batch can
//!   hold, those of a flush under way included; beyond it a mark is refused with `Overloaded`, never
//!   dropped.
//!
//! Change memory first and mark then: a mark made before could be flushed with the old value. Wrap changes
//! of several keys that belong together into [`WriteBehind::change`]; then a flush sees all of them or
//! none, and no kill leaves a child without its parent.
//!
//! # Strong and weak
//!
//! Both kinds of writes go through one engine, and are ordered with each other. A strong write is **newer
//! than every mark made before it was asked for**, that is, before its future was first polled: the mark is
//! taken off, also where a flush has it under way and fails, and put back if the strong write fails. A mark
//! made afterwards is flushed as memory has it then. Strong writes decide on what is stored: [`StrongSet::put`] says whether it created or
//! updated, [`StrongSet::insert`] answers `Conflict`, [`StrongSet::update`] merges old and new and so
//! preserves what an update must not touch, [`StrongSet::remove`] and [`StrongSet::get`] tell with `false`
//! and `None` that there was nothing. [`WriteBehind::write`] takes any batch with its preconditions: a unique
//! name is a row that is required to be absent.
//!
//! # Migration and repair
//!
//! [`Schema::migrate`] declares steps by the versions that they lead to; each is applied together with its
//! stamp in one batch. Data without a stamp is recognised by [`Schema::legacy`]. A newer version than the
//! schema's is refused (`VersionTooNew`) and nothing is touched.
//!
//! [`Schema::requires`] and [`Schema::kept_by`] declare relations; opening, and [`WriteBehind::repair`],
//! remove the rows that they do not allow, and count them. A repair flushes first, so that no row is removed
//! since its parent is only dirty yet. It is one atomic batch as far as one can hold it, and otherwise
//! several, of which each leaves less to repair. Parents in another job can be declared too, but no batch
//! spans two jobs: see [`Schema::requires_elsewhere`].
//!
//! # Where it stands
//!
//! The engine's own rows are in the category `write_behind` of its job: the version, and a row that each of
//! its batches changes, by which a repair knows that nobody has written meanwhile. Rows that programs
//! write to the job beside the engine are not known to it. `examples/write_behind.rs` is a small whole
//! program, `examples/write_behind_cost.rs` measures what marks cost.

mod bootstrap;
mod core;
mod dirty_set;
#[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
pub(crate) mod elsewhere;
mod engine;
mod fence;
mod flush;
mod flusher;
mod guard;
mod held;
mod options;
mod pending;
mod repair;
#[cfg_attr(not(feature = "layers"), allow(dead_code, reason = "for pages"))]
pub(crate) mod schema;
mod sets;
mod state;
mod strong;
#[cfg(test)]
mod tests;

pub use bootstrap::Bootstrap;
pub use dirty_set::{DirtySet, Mark};
pub use engine::{Status, WriteBehind};
pub use flush::Flushed;
pub use options::{Backoff, FlushPolicy, MARK_BYTES_MAX, MARKS_MAX, Options, SetBounds};
pub use repair::{RelationReport, RepairReport};
pub use schema::{RelationKind, Schema};
pub use sets::{Rows, StrongSet, WeakSet};
pub use strong::{ATTEMPTS_MAX, Saved};
