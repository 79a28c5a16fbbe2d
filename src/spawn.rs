//! Starts a worker: natively a thread of its own, in the browser a task of the caller's thread.
//!
//! The future is made where it runs, so what it owns need not be able to move between threads.

#[cfg(all(feature = "web", target_family = "wasm", target_os = "unknown"))]
mod microtasks;

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

#[cfg(all(feature = "web", target_family = "wasm", target_os = "unknown"))]
pub(crate) use self::microtasks::{give_up, spawn_local};
use crate::error::Result;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
use crate::error::{Error, ErrorKind};
#[cfg(all(not(feature = "web"), target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_futures::spawn_local;

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

/// How often a thread without work gives way to others before it sleeps: some ten microseconds.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
const YIELDS_FEW: u32 = 64;
/// The same where patience has paid: the time that a caller takes who has to be woken before he comes with his
/// next call. Waking this thread too would take as long again.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
const YIELDS_MANY: u32 = 1024;
/// Of so many waits that ended in sleep one is tried with patience.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
const SLEEPS_PER_TRIAL: u32 = 16;

/// How long a thread that waits for work stays awake: long as long as work comes in that time, else short.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Waits that ended in sleep since one did not.
    sleeps: u32,
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
impl Patience {
    /// Gives way to other threads until there is work; false if it is time to sleep.
    pub(crate) fn await_work(&mut self, mut is_there: impl FnMut() -> bool) -> bool {
        let is_patient = self.sleeps.is_multiple_of(SLEEPS_PER_TRIAL);
        for _ in 0..if is_patient { YIELDS_MANY } else { YIELDS_FEW } {
            if is_there() {
                self.sleeps = 0;
                return true;
            }
            thread::yield_now();
        }
        self.sleeps = self.sleeps.wrapping_add(1);
        false
    }
}

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
    let mut patience = Patience::default();
    while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let rings = || alarm.rings.swap(false, Ordering::Acquire);
        if rings() {
            // Work that wakes itself gives way to others, and those are other threads too.
            thread::yield_now();
        } else if !patience.await_work(rings) {
            while !rings() {
                thread::park();
            }
        }
    }
}

/// Runs the future that `make` returns to its end.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    _name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<()> {
    spawn_local(make());
    Ok(())
}

#[cfg(test)]
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod tests {
    use super::*;
    use crate::testing::test;

    /// How often a wait looked for work that came at that look, or never.
    fn looks(patience: &mut Patience, comes_at: u32) -> (bool, u32) {
        let mut looks = 0;
        let came = patience.await_work(|| {
            looks += 1;
            looks == comes_at
        });
        (came, looks)
    }

    #[test]
    fn patience_lasts_as_long_as_it_pays() {
        let mut patience = Patience::default();
        for _ in 0..3 {
            assert_eq!(looks(&mut patience, YIELDS_FEW + 1), (true, YIELDS_FEW + 1));
        }
        assert_eq!(looks(&mut patience, u32::MAX), (false, YIELDS_MANY));
        assert_eq!(looks(&mut patience, u32::MAX), (false, YIELDS_FEW));
        assert_eq!(looks(&mut patience, 1), (true, 1));
        assert_eq!(looks(&mut patience, u32::MAX), (false, YIELDS_MANY));
    }

    #[test]
    fn patience_is_tried_again_now_and_then() {
        let mut patience = Patience::default();
        let waits = (0..3 * SLEEPS_PER_TRIAL).map(|_| looks(&mut patience, u32::MAX).1);
        assert_eq!(waits.filter(|looks| *looks == YIELDS_MANY).count(), 3);
    }
}
