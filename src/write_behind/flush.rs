//! Flushes: everything dirty of all sets in one batch, one flush at a time.
//!
//! Never loses a mark: whatever ends a flush early puts back what it had taken.

use std::pin::pin;
use std::sync::{Arc, PoisonError};

use super::dirty_set::{DirtySet, Mark};
use super::engine::{Core, State};
use super::fence;
use super::schema::Set;
use crate::batch::{Batch, Op};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::key::Key;
use crate::options::Durability;
use crate::receipt::Receipt;

/// What a flush has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Rows that were written.
    pub upserts: usize,
    /// Rows that were removed, those that memory had no longer included.
    pub deletes: usize,
    /// The commit; `None` if nothing was dirty.
    pub seq: Option<u64>,
}

impl Flushed {
    /// Rows that were written or removed.
    pub fn rows(&self) -> usize {
        self.upserts + self.deletes
    }
}

/// Puts the marks of a flush back unless it has been told that they are through.
struct InFlight<'a> {
    core: &'a Core,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.core.state().put_back();
    }
}

impl Core {
    pub(super) async fn flush(&self) -> Result<Flushed> {
        let _turn = self.turn.lock().await;
        let flushed = self.flush_in_turn().await;
        if let Err(error) = &flushed {
            let mut state = self.state();
            state.failures = state.failures.saturating_add(1);
            state.error = Some(error.clone());
        }
        flushed
    }

    async fn flush_in_turn(&self) -> Result<Flushed> {
        let in_flight = InFlight { core: self };
        let Some((receipt, flushed)) = self.send().await.map_err(|error| self.explain(error))? else {
            self.through(Flushed::default());
            return Ok(Flushed::default());
        };
        let seq = match self.options.durability {
            Durability::Strict => receipt.durable().await,
            Durability::Relaxed => receipt.committed().await,
        };
        let flushed = Flushed { seq: Some(seq.map_err(|error| self.explain(error))?), ..flushed };
        self.through(flushed);
        drop(in_flight);
        Ok(flushed)
    }

    /// Forgets what was in flight: it has arrived.
    fn through(&self, flushed: Flushed) {
        let mut state = self.state();
        state.in_flight.clear();
        state.flushes += u64::from(flushed.seq.is_some());
        state.rows += flushed.rows() as u64;
        state.failures = 0;
        state.error = None;
        drop(state);
        self.less.notify_waiters();
    }

    /// Resolves when nothing is dirty.
    pub(super) async fn clean(&self) {
        loop {
            let mut less = pin!(self.less.notified());
            // From now on it hears of what happens, also before it is waited for.
            less.as_mut().enable();
            if self.state().dirty().marks == 0 {
                return;
            }
            less.await;
        }
    }

    /// Takes all marks, reads what they speak of, and has the batch accepted.
    async fn send(&self) -> Result<Option<(Receipt, Flushed)>> {
        let _order = self.order.lock().await;
        let Some((batch, flushed)) = self.collect()? else { return Ok(None) };
        Ok(Some((self.job.persist(batch).await?, flushed)))
    }

    fn collect(&self) -> Result<Option<(Batch, Flushed)>> {
        let _shut = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let Some(drained) = self.state().drain() else { return Ok(None) };
        let mut upserts = Vec::new();
        let mut deletes = Vec::new();
        for (set, marks) in self.sets.iter().zip(drained) {
            let mut gone = Vec::new();
            for (key, mark) in marks {
                let payload = match mark {
                    Mark::Upsert => read(set, &key)?,
                    Mark::Delete => None,
                };
                let category = Arc::clone(&set.category);
                match payload {
                    Some(payload) => upserts.push(Op::Put { category, key, payload }),
                    None => gone.push(Op::Delete { category, key }),
                }
            }
            deletes.push(gone);
        }
        let written = upserts.len();
        let operations: Vec<Op> = upserts.into_iter().chain(deletes.into_iter().rev().flatten()).collect();
        let flushed = Flushed { upserts: written, deletes: operations.len() - written, seq: None };
        let mut batch = Batch::from(operations);
        fence::push(&mut batch)?;
        Ok(Some((batch, flushed)))
    }

    fn explain(&self, error: Error) -> Error {
        error.in_context(format_args!("job {}, flush of what is dirty", Quoted(self.job.id())))
    }
}

/// The payload that memory has for a key.
fn read(set: &Set, key: &Key) -> Result<Option<Vec<u8>>> {
    let Some(reader) = &set.reader else {
        return Err(Error::new(ErrorKind::InvalidArgument, "a strong set has no reader"));
    };
    reader(key).map_err(|error| error.in_context(format_args!("category {}", Quoted(&set.category))))
}

impl State {
    /// Takes all marks of all sets together, in the order of the keys; none if nothing is marked.
    fn drain(&mut self) -> Option<Vec<Vec<(Key, Mark)>>> {
        if self.live.iter().all(DirtySet::is_empty) {
            return None;
        }
        self.in_flight = self.live.iter_mut().map(DirtySet::drain).collect();
        let sorted = |set: &DirtySet<Key>| {
            set.sorted().into_iter().map(|(key, mark)| (key.clone(), mark)).collect::<Vec<_>>()
        };
        Some(self.in_flight.iter().map(sorted).collect())
    }

    /// Puts back what is in flight, but for keys that have been marked or strongly written since.
    fn put_back(&mut self) {
        for (live, older) in self.live.iter_mut().zip(self.in_flight.drain(..)) {
            live.merge(older);
        }
    }
}
