//! How far a job has come, and who waits for it to come further.
//!
//! Never goes back. Nobody is told each step: who waits looks at where it stands.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};
use crate::waiting::Waiting;

/// How far the job has come, as far as this root knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The generation that has been opened.
    pub(crate) opened: Option<[u8; 16]>,
    pub(crate) committed_seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) end: Option<End>,
}

/// How the worker ended; everything it held has been released.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What the call that ended it is answered.
    pub(crate) result: Result<()>,
    /// What every later call is answered.
    pub(crate) afterwards: Error,
    /// Whether the job's store has been deleted.
    pub(crate) dropped: bool,
}

/// A job's progress as its worker tells it and others see it.
#[derive(Debug, Default)]
pub(crate) struct Milestones(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    waiting: Waiting,
}

impl Milestones {
    /// Looks at where it stands.
    pub(crate) fn see<T>(&self, look: impl FnOnce(&Progress) -> T) -> T {
        look(&self.lock().progress)
    }

    /// Moves on, and has everybody who waits look if `change` says that there is news.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Progress) -> bool) {
        let mut state = self.lock();
        if !change(&mut state.progress) {
            return;
        }
        let wakers = state.waiting.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resolves when `look` finds what it looks for.
    pub(crate) fn reach<T, F: FnMut(&Progress) -> Option<T> + Unpin>(&self, look: F) -> Reach<'_, F> {
        Reach { milestones: self, look, number: None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future of progress, see [`Milestones::reach`].
pub(crate) struct Reach<'a, F> {
    milestones: &'a Milestones,
    look: F,
    number: Option<u64>,
}

impl<T, F: FnMut(&Progress) -> Option<T> + Unpin> Future for Reach<'_, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let mut state = this.milestones.lock();
        if let Some(found) = (this.look)(&state.progress) {
            return Poll::Ready(found);
        }
        state.waiting.note(&mut this.number, context);
        Poll::Pending
    }
}

impl<F> Drop for Reach<'_, F> {
    fn drop(&mut self) {
        self.milestones.lock().waiting.forget(self.number);
    }
}
