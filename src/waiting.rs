//! Who waits: the wakers of futures, each under a number, so that only its newest one is kept.
//!
//! Wakes nobody: its owner does, once nothing is locked any more. There are no more of them than futures.

use std::task::{Context, Waker};

/// The futures that wait for one thing.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    wakers: Vec<(u64, Waker)>,
    last: u64,
}

impl Waiting {
    /// Takes note that the future of this number waits; gives it one when it has none.
    pub(crate) fn note(&mut self, number: &mut Option<u64>, context: &Context<'_>) {
        let number = *number.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        match self.wakers.iter_mut().find(|(of, _)| *of == number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => self.wakers.push((number, context.waker().clone())),
        }
    }

    /// The future has gone, if it ever waited.
    pub(crate) fn forget(&mut self, number: Option<u64>) {
        if let Some(at) = self.wakers.iter().position(|(of, _)| Some(*of) == number) {
            self.wakers.remove(at);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Who has waited for longest.
    pub(crate) fn first(&self) -> Option<&(u64, Waker)> {
        self.wakers.first()
    }

    /// Whom to wake; each still waits until it has gone.
    pub(crate) fn wakers(&self) -> Vec<Waker> {
        self.wakers.iter().map(|(_, waker)| waker.clone()).collect()
    }
}
