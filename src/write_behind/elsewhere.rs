//! Memory elsewhere: values that are not read but asked for, all of them at one moment.
//!
//! For a page, whose memory is on the other side of a worker. Marks are kept here, and nothing is written
//! that has none; never holds a value longer than its flush.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::dirty_set::{DirtySet, Mark};
use super::engine::Engine;
use super::flush::Values;
use super::options::Options;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::key::Key;

/// Milliseconds that memory has to answer where the job has no deadline.
const ANSWER_MS: u64 = 30_000;

/// How long an answer is waited for: as long as the job's deadline says.
pub(super) struct Patience {
    clock: Clock,
    answer_ms: u64,
}

impl Patience {
    pub(super) fn of(job: &Job, options: &Options) -> Self {
        let answer_ms = job.options().deadline_ms().unwrap_or(ANSWER_MS);
        Patience { clock: options.clock.clone(), answer_ms }
    }

    /// What is answered; `Timeout` if that takes too long, and `what` says what was asked.
    pub(super) async fn answer<T>(&self, what: &str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let deadline = self.clock.monotonic_ms().saturating_add(self.answer_ms);
        let late = || Err(Error::new(ErrorKind::Timeout, format!("memory has not said {what}")));
        self.clock.until(Some(deadline), answer).await.unwrap_or_else(late)
    }
}

/// What memory says of one moment.
pub(crate) struct Snapshot {
    /// Marks that had not been made here yet.
    pub(crate) marks: Vec<(usize, Key, Mark)>,
    /// Set, key and payload of what was wanted and of what else is dirty; without a payload it is gone.
    pub(crate) values: Vec<(usize, Key, Option<Vec<u8>>)>,
    /// Told when all of it has been flushed; dropped if it has not.
    pub(crate) through: oneshot::Sender<()>,
}

/// Asks memory for a snapshot: for each set what is wanted.
pub(crate) type Ask = Box<dyn Fn(Vec<Vec<Key>>) -> Asking + Send + Sync>;
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<Snapshot>> + Send>>;

impl Engine {
    pub(super) fn patience(&self) -> Patience {
        Patience::of(&self.core.job, &self.options)
    }

    /// Asks for what is dirty and takes the marks of it; none if nothing is.
    pub(super) async fn take_elsewhere(&self, ask: &Ask) -> Result<Option<(Values, oneshot::Sender<()>)>> {
        let wanted: Vec<Vec<Key>> = self.core.state().live.iter().map(upserts).collect();
        if self.core.state().live.iter().all(DirtySet::is_empty) {
            return Ok(None);
        }
        let snapshot = self.patience().answer("what is dirty", ask(wanted)).await?;
        for (set, key, mark) in snapshot.marks {
            self.core.mark(set, &key, mark)?;
        }
        let mut said: HashMap<(usize, Key), Option<Vec<u8>>> =
            snapshot.values.into_iter().map(|(set, key, payload)| ((set, key), payload)).collect();
        let mut state = self.core.state();
        let Some(drained) = state.drain() else { return Ok(None) };
        let mut values = Vec::with_capacity(drained.len());
        for (set, marks) in drained.into_iter().enumerate() {
            let mut of_set = Vec::with_capacity(marks.len());
            for (key, mark) in marks {
                let place = (set, key);
                match (mark, said.remove(&place)) {
                    (Mark::Delete, _) => of_set.push((place.1, None)),
                    (Mark::Upsert, Some(payload)) => of_set.push((place.1, payload)),
                    // A mark that came back from a strong write meanwhile: for the next flush.
                    (Mark::Upsert, None) => state.leave(set, &place.1),
                }
            }
            values.push(of_set);
        }
        Ok(Some((values, snapshot.through)))
    }
}

fn upserts(set: &DirtySet<Key>) -> Vec<Key> {
    let upserts = set.sorted().into_iter().filter(|(_, mark)| *mark == Mark::Upsert);
    upserts.map(|(key, _)| key).collect()
}
