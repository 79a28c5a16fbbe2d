//! Memory elsewhere: values that are not read but asked for, all of them at one moment.
//!
//! For a page, whose memory is on the other side of a worker. Marks are kept here, and nothing is written
//! that has none; never holds a value longer than its flush.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;

use super::dirty_set::{DirtySet, Mark};
use super::engine::Core;
use super::flush::Values;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Milliseconds that memory has to answer.
const ANSWER_MS_MAX: u64 = 30_000;

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

impl Core {
    /// Asks for what is dirty and takes the marks of it; none if nothing is.
    pub(super) async fn take_elsewhere(&self, ask: &Ask) -> Result<Option<(Values, oneshot::Sender<()>)>> {
        let wanted: Vec<Vec<Key>> = self.state().live.iter().map(upserts).collect();
        if self.state().live.iter().all(DirtySet::is_empty) {
            return Ok(None);
        }
        let clock = &self.options.clock;
        let deadline = clock.monotonic_ms().saturating_add(ANSWER_MS_MAX);
        let late = || Err(Error::new(ErrorKind::Timeout, "memory has not said what is dirty"));
        let snapshot = clock.until(Some(deadline), ask(wanted)).await.unwrap_or_else(late)?;
        for (set, key, mark) in snapshot.marks {
            self.mark(set, &key, mark)?;
        }
        let mut said: HashMap<(usize, Key), Option<Vec<u8>>> =
            snapshot.values.into_iter().map(|(set, key, payload)| ((set, key), payload)).collect();
        let mut state = self.state();
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
    upserts.map(|(key, _)| key.clone()).collect()
}
