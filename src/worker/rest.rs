//! Rest: a job without work gives its thread and its connection back, and keeps what it knows.
//!
//! Never loses anything: a worker rests only when everything accepted is settled, and whatever is sent
//! to it has it started again. Engines say whether resting gives anything back.

use std::sync::Arc;

use super::machine::Machine;
use super::{End, Serving, spawn};
use crate::error::Result;

/// A worker at rest.
pub(crate) struct Resting {
    pub(crate) machine: Machine,
    pub(crate) serving: Serving,
}

impl Resting {
    /// Starts a worker that takes this out of the inbox and goes on.
    pub(crate) fn start(&self) -> Result<()> {
        let link = Arc::clone(self.serving.link());
        let name = link.id.clone();
        spawn(&name, move || async move {
            if let Some(resting) = link.inbox.wake() {
                let Resting { machine, serving } = *resting;
                serving.wake(machine).await;
            }
        })
    }

    /// Ends a worker that cannot be started any more, and tells why.
    pub(crate) fn give_up(self, end: End) {
        self.serving.end(end);
    }
}
