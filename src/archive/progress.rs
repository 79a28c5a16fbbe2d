//! How far a job's archive has come, as everybody who holds it sees it. Never decides anything.

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// What an archive is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ArchiveState {
    /// It ships, or waits for something to ship.
    Shipping,
    /// Somebody else ships the job, as an [`Election`](super::Election) has it: another tab, in a browser. Goes
    /// on by itself when that one goes, or stalls.
    Following,
    /// It failed, and tries again by itself.
    Retrying {
        /// How often in a row.
        failures: u32,
        /// The last failure.
        error: Error,
    },
    /// It failed too often, and waits for [`Archive::resume`](super::Archive::resume).
    Stalled {
        /// The last failure.
        error: Error,
    },
    /// It has ended: it was closed or stopped, the job was, or (`Conflict`) somebody else ships the job.
    /// What is not archived stays in the job's log.
    Ended {
        /// Why, unless it was asked to.
        error: Option<Error>,
    },
}

/// How far an archive has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArchiveProgress {
    /// The job can be restored as it was at this seq, if it can be restored at all.
    pub archived_seq: u64,
    /// Whether it can: the first base, and what was committed while it was taken, are in the store.
    pub restorable: bool,
    /// What the archive is doing.
    pub state: ArchiveState,
    /// Why pruning by [`ArchiveOptions::keep`](super::ArchiveOptions::keep) has failed, if it last has; it is
    /// tried again with the next base.
    pub pruning_error: Option<Error>,
}

/// What handles and loop share of one archive.
#[derive(Debug)]
pub(super) struct Shared {
    progress: watch::Sender<ArchiveProgress>,
    /// The highest seq that somebody waits for.
    asked: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(archived: Option<u64>, state: ArchiveState) -> Self {
        let (archived_seq, restorable) = (archived.unwrap_or(0), archived.is_some());
        let progress = ArchiveProgress { archived_seq, restorable, state, pruning_error: None };
        Shared { progress: watch::Sender::new(progress), asked: watch::Sender::new(0) }
    }

    pub(super) fn now(&self) -> ArchiveProgress {
        self.progress.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<ArchiveProgress> {
        self.progress.subscribe()
    }

    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    pub(super) fn ask(&self, seq: u64) {
        self.asked.send_if_modified(|asked| {
            let more = seq > *asked;
            *asked = seq.max(*asked);
            more
        });
    }

    /// Tells how far it has come; it never goes back, and nothing follows the end.
    pub(super) fn publish(&self, archived: Option<u64>, state: ArchiveState) {
        self.progress.send_if_modified(|progress| {
            if progress.has_ended() {
                return false;
            }
            progress.archived_seq = progress.archived_seq.max(archived.unwrap_or(0));
            progress.restorable |= archived.is_some();
            progress.state = state;
            true
        });
    }

    /// Tells how far it has come, whatever it does.
    pub(super) fn advance(&self, archived: Option<u64>) {
        self.publish(archived, self.now().state);
    }

    /// It is to go on: who waits from now on is not told of what had stalled it.
    pub(super) fn resumes(&self) {
        self.progress.send_if_modified(|progress| {
            let stalled = matches!(progress.state, ArchiveState::Stalled { .. });
            if stalled {
                progress.state = ArchiveState::Shipping;
            }
            stalled
        });
    }

    /// Tells how pruning went, if that has changed.
    pub(super) fn publish_pruning(&self, error: Option<&Error>) {
        self.progress.send_if_modified(|progress| {
            let changes = progress.pruning_error.is_some() || error.is_some();
            progress.pruning_error = error.cloned();
            changes
        });
    }

    pub(super) fn end(&self, error: Option<Error>) {
        self.publish(None, ArchiveState::Ended { error });
    }
}

impl ArchiveProgress {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, ArchiveState::Ended { .. })
    }

    pub(super) fn is_following(&self) -> bool {
        matches!(self.state, ArchiveState::Following)
    }

    /// Whether it has come to `seq`; an error if it does not go on by itself.
    pub(super) fn reached(&self, seq: u64) -> Option<Result<u64>> {
        if self.restorable && self.archived_seq >= seq {
            return Some(Ok(self.archived_seq));
        }
        let error = match &self.state {
            ArchiveState::Shipping | ArchiveState::Following | ArchiveState::Retrying { .. } => return None,
            ArchiveState::Stalled { error } | ArchiveState::Ended { error: Some(error) } => error.clone(),
            ArchiveState::Ended { error: None } => {
                Error::new(ErrorKind::Closed, "the archive has been closed")
            }
        };
        let (at, missing) = (self.archived_seq, seq.saturating_sub(self.archived_seq));
        Some(Err(error.with_remark(format_args!("archived is seq {at}, {missing} less than waited for"))))
    }
}
