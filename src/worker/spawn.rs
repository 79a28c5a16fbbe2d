//! Starts a worker: natively a thread of its own, in the browser a task of the caller's thread.
//!
//! The future is made where it runs, so what it owns need not be able to move between threads.

use std::future::Future;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::sync::Arc;

use crate::error::Result;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use crate::error::{Error, ErrorKind};

/// Runs the future that `make` returns to its end; an error if that cannot be started.
///
/// A panic ends this worker alone: everything it held is dropped, which answers its callers.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) fn spawn<F: Future<Output = ()>>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<()> {
    let work = move || futures_executor::block_on(make());
    // A job's id may hold NUL, which the name of a thread may not.
    let name = format!("persistency {}", name.escape_debug());
    match std::thread::Builder::new().name(name).spawn(work) {
        Ok(_running) => Ok(()),
        Err(error) => {
            let message = "no worker could be started";
            Err(Error::new(ErrorKind::Backend, message).with_source(Arc::new(error)))
        }
    }
}

/// Runs the future that `make` returns to its end.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    _name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<()> {
    wasm_bindgen_futures::spawn_local(make());
    Ok(())
}
