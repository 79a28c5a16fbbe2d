//! Time: the only module that reads a clock or sleeps.
//!
//! Everything that waits for a time or stamps one is given a [`Clock`], so tests drive time by hand.

// Where the platform's own time comes from is chosen here.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
#[path = "clock/native.rs"]
mod platform;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
#[path = "clock/web.rs"]
mod platform;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A source of time: the system's, or one that a test moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<Mutex<Manual>>),
}

struct Manual {
    unix_ms: u64,
    elapsed_ms: u64,
    sleepers: Vec<(u64, Waker)>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `unix_ms` until [`Clock::advance`] moves it; clones move together.
    pub fn manual(unix_ms: u64) -> Self {
        Clock(Source::Manual(Arc::new(Mutex::new(Manual { unix_ms, elapsed_ms: 0, sleepers: Vec::new() }))))
    }

    /// Moves a manual clock on by `duration`, at least a millisecond's worth, and wakes who slept
    /// until then; does nothing to the system's clock.
    pub fn advance(&self, duration: Duration) {
        let Source::Manual(manual) = &self.0 else { return };
        let mut manual = lock(manual);
        let ms = whole_ms(duration);
        manual.unix_ms = manual.unix_ms.saturating_add(ms);
        manual.elapsed_ms = manual.elapsed_ms.saturating_add(ms);
        let now = manual.elapsed_ms;
        let (due, later) = std::mem::take(&mut manual.sleepers).into_iter().partition(|(at, _)| *at <= now);
        manual.sleepers = later;
        drop(manual);
        for (_, waker) in Vec::<(u64, Waker)>::into_iter(due) {
            waker.wake();
        }
    }

    /// Milliseconds since the Unix epoch; can jump when somebody sets the system's clock.
    pub fn unix_ms(&self) -> u64 {
        match &self.0 {
            Source::System => whole_ms(platform::unix()),
            Source::Manual(manual) => lock(manual).unix_ms,
        }
    }

    /// Milliseconds on a scale that never goes back; only differences mean something.
    pub(crate) fn monotonic_ms(&self) -> u64 {
        match &self.0 {
            Source::System => whole_ms(platform::monotonic()),
            Source::Manual(manual) => lock(manual).elapsed_ms,
        }
    }

    /// Resolves when the monotonic scale has reached `at_ms`.
    pub(crate) fn sleep_until(&self, at_ms: u64) -> Sleep {
        Sleep { clock: self.clone(), at_ms, timer: None }
    }
}

impl Clock {
    /// The operation's result, or `None` if `deadline` on the monotonic scale comes first.
    pub(crate) async fn until<T>(
        &self,
        deadline: Option<u64>,
        operation: impl Future<Output = T>,
    ) -> Option<T> {
        let mut operation = pin!(operation);
        let mut sleep = deadline.map(|at| self.sleep_until(at));
        // The operation is polled in one place, so that it is in a program once.
        poll_fn(|context| {
            if let Poll::Ready(done) = operation.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            match &mut sleep {
                Some(sleep) => Pin::new(sleep).poll(context).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// Browsers take a timeout beyond 2^31 - 1 milliseconds for none at all; a sleep that is cut here
/// looks at the clock and goes on.
const SLEEP_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A sleep, see [`Clock::sleep_until`].
pub(crate) struct Sleep {
    clock: Clock,
    at_ms: u64,
    /// Set when it is first waited for: most deadlines guard what is done at once.
    timer: Option<platform::Delay>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Sleep { clock, at_ms, timer } = &mut *self;
        loop {
            if let Source::Manual(manual) = &clock.0 {
                let mut manual = lock(manual);
                if manual.elapsed_ms >= *at_ms {
                    return Poll::Ready(());
                }
                // Polled again it is the same sleeper, unless somebody else waits for it now.
                let known = |(at, waker): &(u64, Waker)| at == at_ms && waker.will_wake(context.waker());
                if !manual.sleepers.iter().any(known) {
                    manual.sleepers.push((*at_ms, context.waker().clone()));
                }
                return Poll::Pending;
            }
            let now = clock.monotonic_ms();
            if now >= *at_ms {
                return Poll::Ready(());
            }
            let wait = Duration::from_millis((*at_ms - now).min(SLEEP_MS_MAX));
            let delay = timer.get_or_insert_with(|| platform::Delay::new(wait));
            if Pin::new(delay).poll(context).is_pending() {
                return Poll::Pending;
            }
            // It may have been early, or one of several.
            *timer = None;
        }
    }
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manual")
            .field("unix_ms", &self.unix_ms)
            .field("elapsed_ms", &self.elapsed_ms)
            .finish()
    }
}

/// The earlier of two times, of which there may be one or none.
pub(crate) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock(manual: &Mutex<Manual>) -> MutexGuard<'_, Manual> {
    // A panic while it was held cannot have left half a time behind.
    manual.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
