//! The core of an engine: its job and its marks, which is all that the handles of sets need.
//!
//! Knows nothing that the program has given, so that what a program gives may hold sets: nothing leads back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::dirty_set::{Mark, encoded};
use super::flusher::Runner;
use super::state::State;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key::KeyPart;

/// What the handles of an engine and of its sets share.
pub(super) struct Core {
    pub(super) job: Job,
    /// Those of the sets, in the order of their declaration.
    pub(super) categories: Vec<Arc<str>>,
    state: Mutex<State>,
    /// Whoever is about to have a batch accepted: from what it is made of to its place in the queue.
    pub(super) order: tokio::sync::Mutex<()>,
    /// Told when marks have gone.
    pub(super) less: Notify,
    pub(super) runner: Mutex<Option<Arc<Runner>>>,
}

impl Core {
    pub(super) fn new(job: Job, categories: Vec<Arc<str>>, state: State) -> Self {
        Core {
            job,
            categories,
            state: Mutex::new(state),
            order: tokio::sync::Mutex::default(),
            less: Notify::new(),
            runner: Mutex::default(),
        }
    }

    /// The marks. Nobody else's code runs and nothing is awaited while they are held.
    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a key of the set of this number.
    #[inline]
    pub(super) fn mark(&self, index: usize, key: &(impl KeyPart + ?Sized), mark: Mark) -> Result<()> {
        let marked = encoded(key, |key| {
            let mut state = self.state();
            // Most marks are on keys that have them; these cost no more than to find that.
            if state.is_marked(index, key, mark) { Ok(()) } else { state.mark(index, key, mark) }
        });
        marked.map_err(|error| self.not_marked(index, error))
    }

    #[cold]
    fn not_marked(&self, index: usize, error: Error) -> Error {
        if error.kind() == ErrorKind::Overloaded {
            self.flush_full();
        }
        let category = self.categories.get(index).map_or("", |category| &**category);
        let (job, category) = (Quoted(self.job.id()), Quoted(category));
        error.in_context(format_args!("job {job}, category {category}, mark"))
    }
}
