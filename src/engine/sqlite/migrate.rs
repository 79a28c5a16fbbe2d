//! Migration: a file of the Nim library becomes one of ours, and is whole until ours is in its place.
//!
//! Never changes a row of the old file; it only takes in its own write-ahead log and gives that up.
//! Interrupted anywhere, the next opening does what is left.
//!
//! That library has one table, `kv(category, key, payload)`, all of them blobs, and marks its files
//! with `user_version` 1 and no application id.

use std::path::Path;
use std::str;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, DEFAULT_NAME, Row, wal::CheckpointMode};

use super::fault::Result;
use super::files::{self, Files, not_ours};
use super::{schema, write};
use crate::engine::{EngineError, Fault};

/// What the Nim library writes into `user_version` once it has made its table.
const NIM_FORMAT: u32 = 1;

/// What has been done when a step is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The old file holds everything itself and is closed.
    Settled,
    /// The new file is complete and on the medium, under a name that nobody opens.
    Built,
    /// The new file has its name.
    Installed,
    /// An old file of another name is gone.
    Removed,
}

/// Makes a database of ours out of the old one; `done` is told after each step, and can end it there.
pub(super) fn migrate(
    files: &Files,
    old: &Path,
    first_record: &[u8],
    mut done: impl FnMut(Step) -> Result<()>,
) -> Result<()> {
    settle(old)?;
    done(Step::Settled)?;
    let source = schema::open_immutable(old)?;
    let has_rows = is_nim(&source)?;
    schema::build(
        &files.new_db(),
        first_record,
        |target| {
            if has_rows { copy(&source, target) } else { Ok(()) }
        },
    )?;
    schema::close(source)?;
    done(Step::Built)?;
    files.install()?;
    done(Step::Installed)?;
    if old != files.db {
        files::remove_db(old)?;
        files::sync_dir(&files.dir)?;
    }
    done(Step::Removed)
}

/// Lets the old file take in its write-ahead log and be without one from then on, so that nothing of it
/// can be replayed over ours; `Busy` if somebody else has the file open.
fn settle(old: &Path) -> Result<()> {
    let conn = schema::open_foreign(old)?;
    // A file that turns out to be of somebody else is left as it is.
    schema::never_checkpoint(&conn)?;
    is_nim(&conn)?;
    conn.wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::TRUNCATE)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if mode != "delete" {
        return Err(EngineError::new(Fault::Busy, "somebody else has the old database open"));
    }
    schema::close(conn)
}

/// Whether the database has the Nim library's table; an error if it is not of that library.
///
/// One without tables is what that library leaves when it dies before it has made its own.
fn is_nim(conn: &Connection) -> Result<bool> {
    let format: u32 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let columns: Option<String> = conn.query_row(
        "SELECT group_concat(m.name || '.' || c.name ORDER BY m.name, c.cid)
         FROM sqlite_schema m, pragma_table_info(m.name) c WHERE substr(m.name, 1, 7) <> 'sqlite_'",
        (),
        |row| row.get(0),
    )?;
    match columns.as_deref() {
        Some("kv.category,kv.key,kv.payload") if format <= NIM_FORMAT => Ok(true),
        Some("kv.category,kv.key,kv.payload") => {
            let message = format!("the old database has format {format}, this library knows {NIM_FORMAT}");
            Err(EngineError::new(Fault::TooNew, message))
        }
        None if format <= NIM_FORMAT => Ok(false),
        _ => Err(not_ours()),
    }
}

fn copy(source: &Connection, target: &Connection) -> Result<()> {
    let mut statement = source.prepare("SELECT category, key, payload FROM kv ORDER BY category, key")?;
    let mut rows = statement.query(())?;
    let mut writer = write::Writer::new(target);
    while let Some(row) = rows.next()? {
        let category = bytes(row, 0)?;
        if str::from_utf8(category).is_err() {
            return Err(EngineError::new(Fault::Corrupt, "a category of the old database is not UTF-8"));
        }
        writer.put(category, bytes(row, 1)?, bytes(row, 2)?)?;
    }
    Ok(())
}

fn bytes<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r [u8]> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
        _ => Err(EngineError::new(Fault::Corrupt, "a value of the old database is not bytes")),
    }
}
