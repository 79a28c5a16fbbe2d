//! A slot: where a queued task's result waits for whoever asks for it.
//!
//! The worker holds the [`Ticket`] end and settles it exactly once, also when it dies; receipts hold
//! the other end. The slot knows whether its error has been reported, so that no failure is lost.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use super::command::{Answered, Caller};
use super::turn::Answer;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::waiting::Waiting;

/// The result of one queued task, now or later.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    result: Option<Result<Answer>>,
    /// Whether a receipt has returned the result.
    reported: bool,
    /// Whether a flush or close has told the error.
    told: bool,
    conflicts: Conflicts,
    waiting: Waiting,
}

/// What a precondition that does not hold is to others than who holds the receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Conflicts {
    /// An error like any other, which a flush or close tells if the receipt does not.
    #[default]
    Errors,
    /// Part of how the caller works, who decides anew, and never told by a flush or close.
    #[cfg_attr(not(feature = "datastore"), allow(dead_code, reason = "for layers that decide anew"))]
    Own,
}

/// The worker's end of a slot; dropped unsettled it answers that the worker stopped.
pub(crate) struct Ticket(Option<To>);

/// Where a result goes.
enum To {
    Slot(Arc<Slot>),
    /// To somebody who keeps his errors himself.
    Caller(Box<dyn Caller>),
}

impl Slot {
    /// A new slot and its ticket.
    pub(crate) fn pair() -> (Arc<Slot>, Ticket) {
        let slot = Arc::new(Slot::default());
        (Arc::clone(&slot), Ticket(Some(To::Slot(slot))))
    }

    /// Resolves with the result and takes note that it has been reported.
    pub(crate) fn settled(&self) -> Settled<'_> {
        Settled { slot: self, number: None }
    }

    /// Says what a conflict is to others.
    pub(crate) fn treat(&self, conflicts: Conflicts) {
        self.lock().conflicts = conflicts;
    }

    /// Takes note that a flush or close has told its error; those that wait already tell it too.
    pub(crate) fn tell(&self) {
        self.lock().told = true;
    }

    /// Whether a flush or close has told its error.
    pub(crate) fn is_told(&self) -> bool {
        self.lock().told
    }

    /// The error, unless it has been reported or somebody is waiting for it.
    pub(crate) fn unreported(&self) -> Unreported {
        let state = self.lock();
        match &state.result {
            Some(Err(error)) if state.conflicts == Conflicts::Own && error.kind() == ErrorKind::Conflict => {
                Unreported::Nothing
            }
            Some(Err(error)) if !state.reported && state.waiting.is_empty() => {
                Unreported::Error(error.clone())
            }
            Some(Err(_)) if !state.reported => Unreported::Awaited,
            _ => Unreported::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a slot has an error to report, see [`Slot::unreported`].
pub(crate) enum Unreported {
    /// Nobody has seen this error.
    Error(Error),
    /// A receipt's future is about to take the error, unless it is dropped first.
    Awaited,
    /// There is no error, or it has been reported.
    Nothing,
}

impl Ticket {
    /// Settles the slot; returns it if the result is an error, which then has to be reported.
    pub(crate) fn settle(mut self, result: Result<Answer>) -> Option<Arc<Slot>> {
        let failed = result.is_err();
        self.0.take().and_then(|to| to.settle(result)).filter(|_| failed)
    }

    /// A ticket whose result goes to a caller.
    pub(crate) fn to(caller: Box<dyn Caller>) -> Self {
        Ticket(Some(To::Caller(caller)))
    }
}

impl To {
    fn settle(self, result: Result<Answer>) -> Option<Arc<Slot>> {
        match self {
            To::Slot(slot) => {
                settle(&slot, result);
                Some(slot)
            }
            To::Caller(caller) => {
                caller.answer(result.map(Answered::Task));
                None
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            let error = Error::new(ErrorKind::Backend, "the job's worker stopped before it could answer");
            to.settle(Err(error.with_outcome(Outcome::Unknown)));
        }
    }
}

fn settle(slot: &Slot, result: Result<Answer>) {
    let mut state = slot.lock();
    state.result = Some(result);
    let wakers = state.waiting.wakers();
    drop(state);
    for waker in wakers {
        waker.wake();
    }
}

/// A future of a slot's result, see [`Slot::settled`].
pub(crate) struct Settled<'a> {
    slot: &'a Slot,
    number: Option<u64>,
}

impl Future for Settled<'_> {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot;
        let mut state = slot.lock();
        if let Some(result) = &state.result {
            let result = result.clone();
            state.reported = true;
            return Poll::Ready(result);
        }
        state.waiting.note(&mut self.number, context);
        Poll::Pending
    }
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.slot.lock().waiting.forget(self.number);
    }
}
