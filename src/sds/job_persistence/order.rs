//! Places for entries that have an order: each given once, ascending, behind all that were loaded.
//!
//! Never reads a job: it is told where the job stands.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::rows::Stamp;

/// Gives stamps. Two writers that began at the same commit can give the same one; then the message id
/// decides, everywhere alike.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<Option<Stamp>>);

impl Order {
    /// Whether it knows where the job stands.
    pub(super) fn is_known(&self) -> bool {
        self.last().is_some()
    }

    /// Goes on behind commit `seq` and behind `last`; never back.
    pub(super) fn advance(&self, seq: u64, last: Stamp) {
        let began = Stamp { epoch: seq, number: 0 };
        let mut own = self.last();
        *own = Some(own.unwrap_or_default().max(began).max(last));
    }

    /// The next place.
    pub(super) fn next(&self) -> Stamp {
        self.next_after(Stamp::default())
    }

    /// The next place, one behind `last`.
    pub(super) fn next_after(&self, last: Stamp) -> Stamp {
        let mut own = self.last();
        let Stamp { epoch, number } = own.unwrap_or_default().max(last);
        *own.insert(match number.checked_add(1) {
            Some(number) => Stamp { epoch, number },
            None => Stamp { epoch: epoch.saturating_add(1), number: 0 },
        })
    }

    fn last(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
