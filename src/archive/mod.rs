//! Layer `archive`: ships a job's history to an object store, and restores it from there. Never keeps a
//! write waiting, and lets nothing leave that is not durable.

mod archiver;
mod attach;
mod base;
mod catalog;
mod driver;
mod export;
mod format;
mod options;
mod progress;
mod prune;
mod reader;
mod restore;
mod scheduler;
mod shipper;
mod store;

pub use archiver::{Archive, ArchiveWatch, Archiver};
pub use export::{Export, Import};
pub use options::{ArchiveOptions, ArchiverOptions, CutPolicy};
pub use progress::{ArchiveProgress, ArchiveState};
pub use prune::Pruned;
pub use reader::{ArchiveReader, SegmentInfo, SegmentList, Verified};
pub use restore::{RestoreProgress, RestoreTo, Restored, restore};
pub use store::{FaultyStore, LIST_MAX, MemoryStore, Put, Store, StoreFault};

#[cfg(test)]
mod tests;
