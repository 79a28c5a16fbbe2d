//! Starts a worker: natively a thread of its own, in the browser a task of the caller's thread.
//!
//! The future is made where it runs, so what it owns need not be able to move between threads.

use std::future::Future;

/// Runs the future that `make` returns to its end; the platform's reason if that cannot be started.
///
/// A panic ends this worker alone: everything it held is dropped, which answers its callers.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub(crate) fn spawn<F: Future<Output = ()>>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> std::io::Result<()> {
    let work = move || futures_executor::block_on(make());
    // A job's id may hold NUL, which the name of a thread may not.
    let name = format!("persistency {}", name.escape_debug());
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

/// Runs the future that `make` returns to its end.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    _name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> std::io::Result<()> {
    wasm_bindgen_futures::spawn_local(make());
    Ok(())
}
