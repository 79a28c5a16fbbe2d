//! Starts a worker: natively a thread of its own, in the browser a task of the caller's thread.
//!
//! The future is made where it runs, so what it owns need not be able to move between threads.

use std::future::Future;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::pin::pin;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::sync::Arc;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::task::{Context, Wake};
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use std::thread::{self, Thread};

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
    let work = move || block_on(make());
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

/// How often a worker without work gives way to other threads before it sleeps: some ten microseconds, in
/// which a caller that was answered just now comes with his next call. Waking a thread takes longer.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
const YIELDS_BEFORE_SLEEP: usize = 64;

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
struct Alarm {
    rings: AtomicBool,
    worker: Thread,
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rings.store(true, Ordering::Release);
        self.worker.unpark();
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
fn block_on(work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let alarm = Arc::new(Alarm { rings: AtomicBool::new(false), worker: thread::current() });
    let waker = Arc::clone(&alarm).into();
    while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let rings = || alarm.rings.swap(false, Ordering::Acquire);
        let mut yields = 0;
        while !rings() {
            match yields < YIELDS_BEFORE_SLEEP {
                true => thread::yield_now(),
                false => thread::park(),
            }
            yields += 1;
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
