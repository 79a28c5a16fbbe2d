//! The errors that a worker answers by itself, in words that are the same wherever they are said.

use crate::error::{Error, ErrorKind, Outcome};

/// The error that ends a job whose generation has gone.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::JobNotFound, "the job has been dropped or its database deleted")
}

/// The error of calls that come after the worker has stopped in a way that nobody foresaw.
pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Backend, "the job's worker stopped: open the job anew")
}

/// The error of a call whose deadline passed before anything of it was applied.
pub(crate) fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "the job's deadline passed").with_outcome(Outcome::NotApplied)
}

/// The answer to writes on a job whose medium failed to sync.
pub(crate) fn poisoned() -> Error {
    Error::new(ErrorKind::Backend, "an earlier sync failed: close the job and open it again before writing")
}
