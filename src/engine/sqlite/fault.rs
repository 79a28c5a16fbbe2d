//! Faults: the one place where errors of SQLite and of the file system become engine errors.
//!
//! Never retries and never decides what follows from a fault.

use std::io;
use std::path::Path;

use rusqlite::ffi::{self, ErrorCode};

use crate::engine::{EngineError, Fault};
use crate::error::Outcome;

pub(super) type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error outside a commit: nothing has been applied, unless a sync was refused.
impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        let fault = fault_of(&error);
        let outcome = if fault == Fault::SyncFailed { Outcome::Unknown } else { Outcome::NotApplied };
        EngineError::new(fault, error.to_string()).with_outcome(outcome).with_source(error)
    }
}

impl EngineError {
    /// The same error, its message led by what was being done.
    pub(super) fn while_doing(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// The error of a commit that failed, with what is known of its outcome.
///
/// The frame that makes a transaction count is the last one written to the write-ahead log. A medium
/// that runs full cuts it short, and every failure that is not one of input and output comes before it
/// is written: then the transaction is still open, is rolled back, and no recovery finds it. After any
/// other failure of the medium the frame may be there, and a later recovery may apply it.
pub(super) fn of_commit(error: rusqlite::Error, rolled_back: bool) -> EngineError {
    let certain = rolled_back && error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure);
    let outcome = if certain { Outcome::NotApplied } else { Outcome::Unknown };
    EngineError::from(error).with_outcome(outcome).while_doing("committing")
}

/// An error of the file system, while doing what the message says.
pub(super) fn of_io(error: io::Error, what: &str) -> EngineError {
    EngineError::new(fault_of_io(error.kind()), format!("{what}: {error}")).with_source(error)
}

/// Names the cause where SQLite only knows that it could not write or open: the medium may be full, by
/// space or by quota, or read-only, which a small file tells.
pub(super) fn refine(mut error: EngineError, dir: &Path) -> EngineError {
    let code = error.source.as_deref().and_then(|source| source.downcast_ref::<rusqlite::Error>());
    let vague = matches!(
        code.and_then(rusqlite::Error::sqlite_extended_error_code),
        Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_CANTOPEN)
    );
    if vague
        && let Err(cause) = probe(dir)
        && let fault @ (Fault::StorageFull | Fault::Unsupported) = fault_of_io(cause.kind())
    {
        error.fault = fault;
        error.message = format!("{} ({cause})", error.message);
    }
    error
}

fn fault_of(error: &rusqlite::Error) -> Fault {
    let Some(failure) = error.sqlite_error() else {
        let unreadable = matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
        );
        return if unreadable { Fault::Corrupt } else { Fault::Other };
    };
    match failure.code {
        ErrorCode::DiskFull => Fault::StorageFull,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::Corrupt,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Busy,
        ErrorCode::OperationInterrupted => Fault::Aborted,
        ErrorCode::ReadOnly if failure.extended_code == ffi::SQLITE_READONLY_DBMOVED => Fault::Missing,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Fault::Unsupported,
        _ => match failure.extended_code {
            ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => Fault::SyncFailed,
            ffi::SQLITE_IOERR_CORRUPTFS => Fault::Corrupt,
            _ => Fault::Other,
        },
    }
}

fn fault_of_io(kind: io::ErrorKind) -> Fault {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::StorageFull,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            Fault::Unsupported
        }
        _ => Fault::Other,
    }
}

/// Writes and removes a file of one large page.
fn probe(dir: &Path) -> io::Result<()> {
    const PROBE_BYTES: usize = 64 * 1024;
    let path = dir.join(".probe");
    let written = std::fs::write(&path, vec![0; PROBE_BYTES]);
    match std::fs::remove_file(&path) {
        Err(error) if written.is_ok() => Err(error),
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of_code(code: i32) -> Fault {
        EngineError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).fault
    }

    #[test]
    fn codes_become_faults() {
        let cases = [
            (ffi::SQLITE_FULL, Fault::StorageFull),
            (ffi::SQLITE_CORRUPT, Fault::Corrupt),
            (ffi::SQLITE_CORRUPT_INDEX, Fault::Corrupt),
            (ffi::SQLITE_NOTADB, Fault::Corrupt),
            (ffi::SQLITE_BUSY, Fault::Busy),
            (ffi::SQLITE_BUSY_SNAPSHOT, Fault::Busy),
            (ffi::SQLITE_LOCKED, Fault::Busy),
            (ffi::SQLITE_READONLY, Fault::Unsupported),
            (ffi::SQLITE_READONLY_DBMOVED, Fault::Missing),
            (ffi::SQLITE_INTERRUPT, Fault::Aborted),
            (ffi::SQLITE_IOERR_FSYNC, Fault::SyncFailed),
            (ffi::SQLITE_IOERR_DIR_FSYNC, Fault::SyncFailed),
            (ffi::SQLITE_IOERR_READ, Fault::Other),
            (ffi::SQLITE_NOMEM, Fault::Other),
            (ffi::SQLITE_CANTOPEN, Fault::Other),
        ];
        for (code, fault) in cases {
            assert_eq!(fault_of_code(code), fault, "{code}");
        }
    }

    #[test]
    fn a_failed_commit_is_certain_only_when_rolled_back_without_a_failing_medium() {
        let outcome = |code, rolled_back| {
            of_commit(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), rolled_back).outcome
        };
        assert_eq!(outcome(ffi::SQLITE_FULL, true), Outcome::NotApplied);
        assert_eq!(outcome(ffi::SQLITE_BUSY, true), Outcome::NotApplied);
        assert_eq!(outcome(ffi::SQLITE_FULL, false), Outcome::Unknown);
        assert_eq!(outcome(ffi::SQLITE_IOERR_WRITE, true), Outcome::Unknown);
        assert_eq!(outcome(ffi::SQLITE_IOERR_FSYNC, true), Outcome::Unknown);
    }

    #[test]
    fn a_vague_failure_stays_what_it_is_where_writing_works() {
        let dir = tempfile::tempdir().unwrap();
        let vague = || {
            let error = ffi::Error::new(ffi::SQLITE_IOERR_WRITE);
            EngineError::from(rusqlite::Error::SqliteFailure(error, None))
        };
        assert_eq!(refine(vague(), dir.path()).fault, Fault::Other);
        assert_eq!(refine(vague(), Path::new("/proc")).fault, Fault::Other);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
