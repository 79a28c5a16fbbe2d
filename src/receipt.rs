//! Receipts: what an accepted batch came to.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::worker::{Answer, Link, Slot};

/// The receipt of an accepted batch.
///
/// Dropping it changes nothing: the batch is committed all the same, and an error that no receipt
/// returned goes to the next [`Job::flush`](crate::Job::flush) or close.
pub struct Receipt {
    slot: Arc<Slot>,
    link: Arc<Link>,
}

impl Receipt {
    pub(crate) fn new(slot: Arc<Slot>, link: Arc<Link>) -> Self {
        Receipt { slot, link }
    }

    /// Waits until the batch is committed: other connections see it, and the death of this process
    /// or tab cannot undo it.
    ///
    /// Returns its seq; that of a batch without operations is the job's seq at its turn.
    ///
    /// # Errors
    ///
    /// The batch's own: `Conflict`, `StorageFull`, `Timeout`, `JobNotFound`, `Corrupt` or `Backend`.
    /// The neighbours of a failed batch are committed all the same.
    pub async fn committed(&self) -> Result<u64> {
        match self.slot.settled().await? {
            Answer::Done { seq, .. } => Ok(seq),
            // Every other answer has become an error where the group was committed.
            Answer::Conflict(_) | Answer::NoHolder | Answer::HoldersFull => Ok(0),
        }
    }

    /// Waits until the batch is durable: it survives a loss of power as far as the platform can
    /// promise. Asking for it is what makes a relaxed job sync.
    ///
    /// # Errors
    ///
    /// The batch's own as for [`Receipt::committed`]; or that of the sync, whose outcome is `Applied`.
    pub async fn durable(&self) -> Result<u64> {
        let seq = self.committed().await?;
        self.link.durable(seq).await?;
        Ok(seq)
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("job", &self.link.id).finish_non_exhaustive()
    }
}
