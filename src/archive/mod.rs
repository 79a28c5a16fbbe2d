//! Layer `archive`: ships a job's history to an object store, and restores it from there. Never keeps a
//! write waiting, and lets nothing leave that is not durable.
//!
//! A job that is attached has its commit log held until it is shipped: in seq order, in immutable
//! segments, each followed by a mark that makes it part of the archive. Base snapshots, taken while the job
//! goes on being written, bound how far a restore has to go back. What is not shipped stays in the job's own
//! log, through crashes and as long as it takes; memory holds the segment under way and no more.
//!
//! ```
//! # futures_executor::block_on(async {
//! use std::sync::Arc;
//!
//! use persistency::archive::{Archive, ArchiveOptions, MemoryStore, RestoreTo, Store, restore};
//! use persistency::{Persistency, key};
//!
//! let p = Persistency::open(":memory:")?;
//! let job = p.open_job("alpha").await?;
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//!
//! let archive = Archive::attach(&job, Arc::clone(&store), ArchiveOptions::new()).await?;
//! let before = job.put_acked("msg", key!("channel-1", 1)?, "hi").await?;
//! job.delete_acked("msg", key!("channel-1", 1)?).await?;
//! archive.close().await?; // ships what is left
//!
//! restore(store, "alpha", &p, "alpha-before", RestoreTo::Seq(before)).await?;
//! let restored = p.open_job("alpha-before").await?;
//! assert_eq!(restored.get("msg", key!("channel-1", 1)?).await?.as_deref(), Some(&b"hi"[..]));
//! # p.close().await
//! # }).unwrap();
//! ```
//!
//! # What it promises
//!
//! * Order: a segment is in the archive only if everything before it is. [`Archive::archived_seq`] never
//!   goes back.
//! * Nothing beyond `durable_seq` is shipped; a relaxed job is synced when a segment is cut, no sooner.
//! * Repetition is harmless. Objects are created, never overwritten, and named after what they hold; what an
//!   upload left half is noticed by its checksum and replaced.
//! * One history: of two who ship different commits of one life of a job, the store lets one through, and
//!   the other's archive ends with `Conflict`. Who ships the same commits is not in the way.
//! * Where several have the job open, as tabs of a browser do, one of them ships, if an [`Election`] is given to
//!   choose it: the npm package has one. The others say [`ArchiveState::Following`], and their archived seq follows.
//! * Failures are visible: [`ArchiveState`] tells whether it ships, retries, has stalled, or has ended and
//!   why. One job's failures do not hold others up.
//! * Who ships a life of a job that another one has followed under this name, as where two machines were given
//!   the same one by mistake, is told so by his next segment: `Conflict`.
//! * [`ArchiveOptions::keep`] bounds what is stored, also where jobs come and go: earlier lives go once another one
//!   had followed them when the time that is kept began. Nothing goes that a moment of that time needs.
//! * A restore makes a job that is whole, or none; it refuses what is missing or damaged by its name. One that
//!   was cut short goes on where it stopped when it is called again, also in another process.
//!
//! # Stores
//!
//! [`MemoryStore`] for tests, and `persistency::object_stores::ObjectStores` natively: a directory, and S3 (against
//! a real server of which it is tested), GCS or Azure through the crate `object_store`. Others implement [`Store`], four calls whose futures are `Send`:
//! nothing else is asked of a platform. In browsers the npm package has a store over `fetch`, whose protocol is
//! written down in `pkg-template/docs/archive.md`; the example `archive_server` speaks it over any store here.
//! [`FaultyStore`] makes any of them fail, for tests of what is built on top.
//!
//! # What it costs
//!
//! A held log is written once with the commit, and moved or dropped later. On a quiet machine with 2 cores one stream
//! of puts went on at 0.98 of its throughput with payloads of 100 bytes, 0.93 with 1 KB and 0.53 with 64 KB, for large
//! payloads are still written into the rows and into the log; 64 callers who wait for each put had 0.73 left. An
//! archive on top of that took nothing that could be told from noise. It takes processor time, 6 % of the writer's with
//! payloads of 100 bytes, compression and all. `examples/archive_costs.rs` measures it side by side.
//!
//! An archiver reads the log beside the writer, not behind his writes, and so follows a writer who never pauses, though
//! at some distance: on the same machine, busy with other things, 27 % of what was written in some seconds had been
//! shipped to a directory when the last of it was durable, 53 % with 1 KB and 34 % with 64 KB, and the writer had 0.94,
//! 0.91 and 0.56 of his throughput meanwhile. What it is behind by lies in the job's log, on the medium: as much as
//! that has room for.
//!
//! Each segment costs two puts and a listing of one name, a base one put for each 8 MiB of rows and one more.
//!
//! Memory does not grow with the job. With a directory as the store, whoever archived 1,000,000 rows of 100 bytes
//! that were there took 37 MB, and whoever archived each commit while the rows were written 110 MB (without an
//! archive 104 MB); verifying took 29 MB, restoring 42 MB, exporting 39 MB and importing 55 MB. With a tenth of the
//! rows it was 33, 91, 29, 34, 33 and 54 MB. `examples/archive_memory.rs` measures that, each in a process of its own.
//!
//! Segments and rows are compressed with LZ4, each unless it gains nothing. It took 50 to 57 % off segments of
//! text (100 bytes, 1 KB and 64 KB), 73 % off lines of a table, and 31 % off random payloads of 100 bytes, for
//! what surrounds them; at 300 to 900 MB/s, and back at above 1 GB/s. DEFLATE took off 2 % more at its fastest
//! and half the speed, 10 to 18 % more at 25 MB/s: an archiver shares its processor with the writer.
//!
//! # What is not there yet
//!
//! * A writer of large payloads that loses less to the log.

mod archiver;
mod attach;
mod base;
mod catalog;
mod driver;
mod due;
mod election;
mod export;
mod format;
mod options;
mod progress;
mod prune;
mod reader;
mod restore;
mod resume;
mod scheduler;
mod settled;
mod shipper;
mod start;
mod store;

pub use archiver::{Archive, ArchiveWatch, Archiver};
pub use election::{Asked, Candidate, Election};
pub use export::{Export, Import};
pub use options::{ArchiveOptions, ArchiverOptions, CutPolicy};
pub use progress::{ArchiveProgress, ArchiveState};
pub use prune::Pruned;
pub use reader::{ArchiveReader, SegmentInfo, SegmentList, Verified};
pub use restore::{RestoreProgress, RestoreTo, Restored, restore};
pub use store::{FaultyStore, LIST_MAX, MemoryStore, Put, Store, StoreFault};

#[cfg(test)]
mod tests;
