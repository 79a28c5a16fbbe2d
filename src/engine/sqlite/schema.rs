//! Schema: the SQLite form of format 1, the making of new databases, and how connections are set up.
//!
//! Never reads or writes rows.
//!
//! | table | holds |
//! |---|---|
//! | `rows` | (category, key) in key order, each with its payload, or with the number of a big one |
//! | `payloads` | payloads of more than [`INLINE_BYTES_MAX`] bytes |
//! | `journal` | what small commits did to rows, and the job's record, until they are folded |
//! | `log` | the commit log, but for what of it is still in the journal |
//! | `meta` | the job's record and the engine's notes |

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, DEFAULT_NAME, FileControl, MAIN_DB, OpenFlags};

use super::fault::Result;
use super::files::{self, Stored};
use crate::engine::{EngineError, Fault, RECORD_KEY};

/// "PSTY": marks a database as one of this library.
pub(super) const APPLICATION_ID: u32 = 0x5053_5459;
/// The format that this library writes, SQLite's `user_version`.
pub(super) const FORMAT: u32 = 1;
/// Bytes of a page; the module's documentation has the measurements.
pub(super) const PAGE_BYTES: usize = 16 * 1024;
/// Bytes of a payload that is kept in the key tree at most.
pub(super) const INLINE_BYTES_MAX: usize = PAGE_BYTES / 8;
/// Frames of the write-ahead log from which a commit is followed by a checkpoint.
pub(super) const CHECKPOINT_FRAMES: i32 = 1000;

/// Bytes by which a database's file grows, in steps.
const GROWTH_BYTES: i32 = 4 * PAGE_BYTES as i32;
/// How long a statement waits for another connection's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(5000);
/// Prepared statements that a connection keeps, more than there are shapes.
const STATEMENTS_MAX: usize = 64;
/// KiB of pages that a connection keeps, unless it is told otherwise.
pub(super) const CACHE_KIB: i32 = 8 * 1024;
/// Bytes to which a write-ahead log is cut when it starts over.
const WAL_KEPT_BYTES: usize = CHECKPOINT_FRAMES as usize * PAGE_BYTES;

const TABLES: &str = "
    CREATE TABLE rows (
        category BLOB NOT NULL,
        key BLOB NOT NULL,
        payload BLOB,
        big INTEGER,
        PRIMARY KEY (category, key),
        CHECK ((payload IS NULL) <> (big IS NULL))
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE payloads (id INTEGER PRIMARY KEY, payload BLOB NOT NULL) STRICT;
    CREATE TABLE journal (
        number INTEGER PRIMARY KEY,
        record BLOB NOT NULL,
        key INTEGER NOT NULL,
        operations BLOB NOT NULL
    ) STRICT;
    CREATE TABLE log (key INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE meta (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

/// Builds a whole database at `path` and puts it on the medium; `fill` runs in the transaction that
/// makes the schema.
///
/// Until somebody gives it its name it is nobody's, so it needs no journal, and what a crash leaves
/// of it is deleted by the next one.
pub(super) fn build(
    path: &Path,
    first_record: &[u8],
    fill: impl FnOnce(&Connection) -> Result<()>,
) -> Result<()> {
    files::remove_db(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | common_flags();
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    set(&conn, "page_size", PAGE_BYTES)?;
    set(&conn, "auto_vacuum", "INCREMENTAL")?;
    set(&conn, "journal_mode", "OFF")?;
    set(&conn, "synchronous", "OFF")?;
    give_spare_pages_back(&conn)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    set(&conn, "application_id", APPLICATION_ID)?;
    set_cache(&conn, CACHE_KIB)?;
    set(&conn, "user_version", FORMAT)?;
    conn.execute_batch(TABLES)?;
    conn.execute("INSERT INTO meta VALUES (?1, ?2)", (RECORD_KEY, first_record))?;
    fill(&conn)?;
    conn.execute_batch("COMMIT")?;
    set_wal(&conn)?;
    close(conn)?;
    files::sync_file(path)
}

/// Opens an existing database for reading and writing.
pub(super) fn open_writer(db: &Path) -> Result<Connection> {
    let conn = open_writable(db)?;
    verify(&conn)?;
    set_wal(&conn)?;
    set(&conn, "synchronous", "NORMAL")?;
    // A failed sync of a checkpoint must be noticed, and SQLite's own checkpoints keep silent about it.
    set(&conn, "wal_autocheckpoint", 0)?;
    set(&conn, "journal_size_limit", WAL_KEPT_BYTES)?;
    set(&conn, "fullfsync", true)?;
    set(&conn, "checkpoint_fullfsync", true)?;
    let mut growth = GROWTH_BYTES;
    conn.file_control(DEFAULT_NAME, FileControl::ChunkSize(&mut growth))?;
    Ok(conn)
}

/// Opens a database for reading, in the way that its write-ahead log is read.
pub(super) fn open_reader(db: &Path) -> Result<Connection> {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_ONLY | common_flags())?;
    never_checkpoint(&conn)?;
    verify(&conn)?;
    Ok(conn)
}

/// Opens a database that nobody changes; needs nothing beside it and creates nothing.
pub(super) fn open_at_rest(db: &Path) -> Result<Connection> {
    let conn = open_immutable(db)?;
    verify(&conn)?;
    Ok(conn)
}

/// The same for a database that need not be ours.
pub(super) fn open_immutable(db: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | common_flags();
    Ok(Connection::open_with_flags(immutable_uri(db), flags)?)
}

/// Opens a database of another library for reading and writing, as it is.
pub(super) fn open_foreign(db: &Path) -> Result<Connection> {
    let conn = open_writable(db)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

fn open_writable(db: &Path) -> Result<Connection> {
    let conn = Connection::open_with_flags(db, OpenFlags::SQLITE_OPEN_READ_WRITE | common_flags())?;
    // SQLite is content with less than it was asked for.
    if conn.is_readonly(MAIN_DB)? {
        return Err(EngineError::new(Fault::Unsupported, "the database cannot be written here"));
    }
    Ok(conn)
}

/// Closes a connection and says if that fails.
pub(super) fn close(conn: Connection) -> Result<()> {
    conn.close().map_err(|(_, error)| EngineError::from(error).while_doing("closing"))
}

/// Leaves the write-ahead log alone when the connection closes.
pub(super) fn never_checkpoint(conn: &Connection) -> Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Sets up a connection, and refuses a database that is not ours, its write-ahead log included.
fn verify(conn: &Connection) -> Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    set(conn, "trusted_schema", false)?;
    set(conn, "cell_size_check", true)?;
    set(conn, "temp_store", "MEMORY")?;
    give_spare_pages_back(conn)?;
    let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let judged = files::judge(number("application_id")?, number("user_version")?);
    set_cache(conn, CACHE_KIB)?;
    match judged {
        Ok(Stored::Ours) => Ok(()),
        Ok(_) => Err(files::not_ours()),
        Err(error) => {
            never_checkpoint(conn)?;
            Err(error)
        }
    }
}

/// Gives back what SQLite has taken for the first 20 pages of the cache at once, a third of a MiB: most jobs
/// need a few pages, and of many that are opened together the process would keep what they do not need.
///
/// It is taken again when a cache has no page and may have three. So a page has to be read before the cache
/// gets its size, which is to follow.
fn give_spare_pages_back(conn: &Connection) -> Result<()> {
    set(conn, "cache_size", 2)?;
    set(conn, "shrink_memory", 0)
}

/// Lets a connection keep so many KiB of pages.
pub(super) fn set_cache(conn: &Connection, kib: i32) -> Result<()> {
    set(conn, "cache_size", -kib)
}

fn set_wal(conn: &Connection) -> Result<()> {
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode == "wal" {
        return Ok(());
    }
    Err(EngineError::new(Fault::Unsupported, format!("no write-ahead log here, only journal mode {mode}")))
}

/// Sets a pragma, whether or not it answers.
fn set(conn: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<()> {
    conn.pragma_update(None, name, value)?;
    Ok(())
}

fn common_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE
}

/// A path as the URI that tells SQLite that the file does not change.
fn immutable_uri(db: &Path) -> String {
    let mut uri = String::from("file:");
    if cfg!(windows) {
        uri.push('/');
    }
    for &byte in db.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b':' => {
                uri.push(char::from(byte))
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}
