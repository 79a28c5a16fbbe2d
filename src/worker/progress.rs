//! How far a job has come, and who waits for it to come further.
//!
//! Never goes back. Nobody is told each step: who waits looks at where it stands.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// How far the job has come, as far as this root knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) opened: bool,
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
    /// Futures that wait, by their number, so that each keeps just its newest waker.
    waiting: Vec<(u64, Waker)>,
    next_waiting: u64,
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
        let wakers: Vec<Waker> = state.waiting.iter().map(|(_, waker)| waker.clone()).collect();
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
        let number = *this.number.get_or_insert_with(|| {
            state.next_waiting += 1;
            state.next_waiting
        });
        match state.waiting.iter_mut().find(|(of, _)| *of == number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => state.waiting.push((number, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl<F> Drop for Reach<'_, F> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.milestones.lock().waiting.retain(|(of, _)| *of != number);
        }
    }
}
