//! The SQLite engine: a directory of jobs, each one a database file with a write-ahead log.
//!
//! Never runs on wasm32, never validates what is written, and is the only place that knows SQLite.
//!
//! A job's gets and writes run where they are called, on the worker's thread and its one connection;
//! long reads run beside them on a thread and a connection of their own, each in a view of its own; and
//! single rows can be read on any thread, from a few further connections. Small commits go to a journal
//! first, see [`journal`], and what it says lies over the tree of rows for all of them.
//!
//! Pages are 16 KiB and payloads up to an eighth of one stay in the key tree, since that measured best
//! among 4, 8 and 16 KiB. Bytes on disk per byte of rows (keys of 20 bytes, in random order), and
//! microseconds per inserted row, per get, and per scanned row on a development machine:
//!
//! | payload | 4 KiB | 8 KiB | 16 KiB |
//! |---|---|---|---|
//! | 100 B | 1.26; 70, 14, 0.49 | 1.23; 50, 9, 0.48 | 1.21; 52, 11, 0.52 |
//! | 1,000 B | 1.04; 33, 19, 3.69 (all out of the tree) | 1.36; 184, 16, 1.22 | 1.24; 163, 14, 0.68 |
//! | 64 KiB | 1.01; 570, 42, 34 | 1.02; 363, 39, 25 | 1.04; 231, 34, 21 |
//!
//! Measured again through the whole library with payloads of 100 bytes, as processor time of all threads,
//! so that what else ran did not count; more is better, 16 KiB is 1:
//!
//! | work | 4 KiB | 8 KiB |
//! |---|---|---|
//! | load in batches of 1,000 | 0.85 | 0.98 |
//! | the same in no order | 0.91 | 1.03 |
//! | puts accepted one by one | 0.85 | 0.91 |
//! | puts acknowledged to 64 callers | 0.80 | 0.91 |
//! | puts acknowledged one after another | 1.23 | 1.24 |
//! | get, hot | 0.79 | 0.89 |
//! | scan of 1,000 rows | 0.63 | 0.85 |
//!
//! Only a commit of a single row, which writes the journal's last page, would gain from smaller ones, and a
//! get outside of the cache. The cache of a connection for gets is 16 MiB: with 8 MiB gets among 100,000 rows
//! of 100 bytes take 1.9 times as long, with more they are no faster. One of them, which is lent first, has
//! 64 MiB: gets of 100,000 rows spread over 300,000 are twice as fast with it. Memory-mapped reads are not used,
//! since a medium that fails would end the process. Looking less often whether a checkpoint is due brought
//! nothing.
//!
//! What the journal is for: of 64 rows that are committed together in no order, each into a page of its own,
//! one costs SQLite 23 µs of processor, and as part of an entry 0.6 µs; loading rows in no order is five times
//! as fast, what the folds cost included.

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
compile_error!("the SQLite engine is native; in the browser jobs are kept by IndexedDB");

mod direct;
mod engine;
mod fault;
mod files;
mod fold;
mod journal;
mod log_table;
mod logged;
mod medium;
mod migrate;
#[cfg(test)]
pub(crate) mod mortal;
mod overlay;
mod owner;
mod read;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod write;
mod writing;

use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::engine::SqliteEngine;
use self::fault::{Result, refine};
use self::files::{Files, OpenFile, Stored, missing};
use self::migrate::Step;
use super::{Claim, Engine, EngineError, Fault, OpenMode, Site};
use crate::error::{Error, ErrorKind};

/// Whether there are [`Direct`](super::Direct) reads.
pub(crate) const READS_DIRECTLY: bool = true;

/// Whether writers come one by one from threads of their own, so that a group is worth waiting for.
pub(crate) const GATHERS: bool = true;

/// Whether engines give something back while their jobs have no work.
pub(crate) const RESTS: bool = true;

/// How long a call may take, unless the options say otherwise: as long as it takes.
pub(crate) const DEADLINE_DEFAULT: Option<Duration> = None;

/// A directory whose jobs are database files.
#[derive(Clone, Debug)]
pub(crate) struct SqliteSite {
    dir: PathBuf,
}

impl SqliteSite {
    /// The site of a directory, which need not be there; a relative one is of the present working
    /// directory, also when that changes.
    pub(crate) fn new(dir: impl AsRef<Path>) -> Self {
        let dir = dir.as_ref();
        SqliteSite { dir: absolute(dir).unwrap_or_else(|_| dir.to_owned()) }
    }

    /// The site of a root's path; `InvalidArgument` if no directory can be there. Changes nothing.
    pub(crate) fn of_root(root: &Path) -> Result<Self, Error> {
        let site = SqliteSite::new(root);
        // What is not there yet will be made below the nearest ancestor that is.
        let nearest = site.dir.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
        match nearest {
            Some(found) if !found.is_dir() => {
                let message = format!("root {}: {} is not a directory", root.display(), found.display());
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
            _ => Ok(site),
        }
    }

    /// Opens a job; `migrated` is told of each step of a migration.
    fn open_now(
        &self,
        id: &str,
        mode: OpenMode,
        first_record: &[u8],
        migrated: impl FnMut(Step) -> Result<()>,
    ) -> Result<SqliteEngine> {
        let files = Files::of(&self.dir, id)?;
        let (open, stored) = OpenFile::register(&files.db)?;
        if mode == OpenMode::ReadOnly {
            return match stored {
                Stored::Ours => SqliteEngine::reading(files, open),
                Stored::Nothing if files.old_db()?.is_none() => Err(missing()),
                Stored::Nothing | Stored::Unnamed => Err(EngineError::new(
                    Fault::Unsupported,
                    "the job is in an older library's file; open it for writing once",
                )),
            };
        }
        match stored {
            Stored::Ours => files.finish_migration()?,
            Stored::Unnamed => migrate::migrate(&files, &files.db, first_record, migrated)?,
            Stored::Nothing => match files.old_db()? {
                Some(old) => migrate::migrate(&files, &old, first_record, migrated)?,
                None if mode == OpenMode::MustExist => return Err(missing()),
                None => {
                    schema::build(&files.new_db(), first_record, |_| Ok(()))?;
                    files.install()?;
                }
            },
        }
        SqliteEngine::writing(files, open)
    }
}

#[async_trait(?Send)]
impl Site for SqliteSite {
    async fn claim(&self) -> Result<Arc<dyn Claim>> {
        Ok(Arc::new(owner::claim(&self.dir).await?))
    }

    async fn open(&self, id: &str, mode: OpenMode, first_record: Vec<u8>) -> Result<Box<dyn Engine>> {
        let opened = self.open_now(id, mode, &first_record, |_| Ok(()));
        Ok(Box::new(opened.map_err(|error| refine(error, &self.dir))?))
    }

    fn resting(&self, id: &str, _mode: OpenMode) -> Result<Box<dyn Engine>> {
        Ok(Box::new(SqliteEngine::resting(Files::of(&self.dir, id)?)))
    }

    async fn list(&self) -> Result<Vec<String>> {
        files::list(&self.dir)
    }

    async fn destroy(&self, id: &str) -> Result<()> {
        Files::of(&self.dir, id)?.remove()
    }
}
