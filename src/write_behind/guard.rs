//! Code that the program has given, run so that its panic is an error and no end of whoever runs it.
//!
//! In a browser a panic ends the instance, so there is nothing to catch.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Result};

/// Runs what the program has given; a panic of it is `Backend`.
pub(super) fn guarded<T>(what: &str, given: impl FnOnce() -> Result<T>) -> Result<T> {
    // Whatever it leaves behind half done is the program's own.
    catch_unwind(AssertUnwindSafe(given)).unwrap_or_else(|panic| {
        let said = said(&*panic);
        Err(Error::new(ErrorKind::Backend, format!("{what} has panicked: {said}")))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(said), _) => said,
        (None, Some(said)) => said,
        (None, None) => "without a word",
    }
}
