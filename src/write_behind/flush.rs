//! Flushes: everything dirty of all sets in one batch, one flush at a time.
//!
//! Never loses a mark: whatever ends a flush early puts back what it had taken.

use std::pin::pin;
use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::core::Core;
use super::dirty_set::{DirtySet, Mark};
use super::engine::Engine;
use super::fence;
use super::guard::guarded;
use super::schema::Set;
use super::state::State;
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

/// For each set the keys that are dirty, with what memory has for them.
pub(super) type Values = Vec<Vec<(Key, Option<Vec<u8>>)>>;

/// A flush whose batch is accepted.
struct Sent {
    receipt: Receipt,
    flushed: Flushed,
    through: Option<oneshot::Sender<()>>,
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
    /// Forgets what was in flight: it has arrived.
    fn through(&self, flushed: Flushed) {
        let mut state = self.state();
        state.in_flight.clear();
        state.syncing = false;
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
}

impl Engine {
    pub(super) async fn flush(&self) -> Result<Flushed> {
        let _turn = self.turn.lock().await;
        self.core.hear_left().await;
        let order = self.core.order.lock().await;
        self.flush_in_order(order).await
    }

    /// Flushes, by somebody whose turn it is. `order` is given back when the batch has its place: it may be a lock,
    /// or nothing if the caller keeps it.
    pub(super) async fn flush_in_order(&self, order: impl Sized) -> Result<Flushed> {
        let flushed = self.flush_all(order).await.map_err(|error| self.explain(error));
        if let Err(error) = &flushed {
            self.core.state().failed(error);
        }
        flushed
    }

    async fn flush_all(&self, order: impl Sized) -> Result<Flushed> {
        let core = &*self.core;
        let in_flight = InFlight { core };
        let sent = self.send().await?;
        drop(order);
        let Some(Sent { receipt, flushed, through }) = sent else {
            core.through(Flushed::default());
            return Ok(Flushed::default());
        };
        let seq = match self.options.durability {
            Durability::Strict => receipt.durable().await?,
            Durability::Relaxed => receipt.committed().await?,
        };
        let flushed = Flushed { seq: Some(seq), ..flushed };
        core.through(flushed);
        drop(in_flight);
        if let Some(through) = through {
            // Whoever was asked may have gone.
            through.send(()).ok();
        }
        Ok(flushed)
    }

    /// Takes all marks, gets what they speak of, and has the batch accepted.
    async fn send(&self) -> Result<Option<Sent>> {
        let taken = match &self.ask {
            Some(ask) => self.take_elsewhere(ask).await?.map(|(values, through)| (values, Some(through))),
            None => self.take_here()?.map(|values| (values, None)),
        };
        let sync = self.options.durability == Durability::Strict && self.core.state().sync();
        let (values, through) = match taken {
            Some(taken) => taken,
            None if sync => Default::default(),
            None => return Ok(None),
        };
        let (batch, flushed) = self.batch(values)?;
        if flushed.rows() == 0 && !sync {
            return Ok(None);
        }
        Ok(Some(Sent { receipt: self.core.job.persist(batch).await?, flushed, through }))
    }

    /// Takes all marks and reads their values, while no change is under way.
    fn take_here(&self) -> Result<Option<Values>> {
        let _shut = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let Some(drained) = self.core.state().drain() else { return Ok(None) };
        let mut values = Vec::with_capacity(drained.len());
        for (set, marks) in self.sets.iter().zip(drained) {
            let value = |(key, mark)| match mark {
                Mark::Upsert => read(set, &key).map(|payload| (key, payload)),
                Mark::Delete => Ok((key, None)),
            };
            let read = guarded("a reader", || marks.into_iter().map(value).collect());
            let explain = |error: Error| error.in_context(format_args!("category {}", Quoted(&set.category)));
            values.push(read.map_err(explain)?);
        }
        Ok(Some(values))
    }

    /// Upserts in the order of the sets, then deletes in the reverse one.
    fn batch(&self, values: Values) -> Result<(Batch, Flushed)> {
        let mut upserts = Vec::new();
        let mut deletes = Vec::new();
        for (set, values) in self.sets.iter().zip(values) {
            let mut gone = Vec::new();
            for (key, payload) in values {
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
        Ok((batch, flushed))
    }

    fn explain(&self, error: Error) -> Error {
        error.in_context(format_args!("job {}, flush of what is dirty", Quoted(self.core.job.id())))
    }
}

/// The payload that memory has for a key.
fn read(set: &Set, key: &Key) -> Result<Option<Vec<u8>>> {
    let Some(reader) = &set.reader else {
        return Err(Error::new(ErrorKind::InvalidArgument, "a strong set has no reader"));
    };
    reader(key)
}

impl State {
    /// Takes all marks of all sets together, in the order of the keys; none if nothing is marked.
    pub(super) fn drain(&mut self) -> Option<Vec<Vec<(Key, Mark)>>> {
        if self.live.iter().all(DirtySet::is_empty) {
            return None;
        }
        self.in_flight = self.live.iter_mut().map(DirtySet::drain).collect();
        Some(self.in_flight.iter().map(DirtySet::sorted).collect())
    }

    /// Whether the flush has to reach the medium although it may have nothing to write: where a strong write has
    /// taken a mark along, and is applied, but its sync has failed.
    fn sync(&mut self) -> bool {
        self.syncing = std::mem::take(&mut self.unsynced);
        self.syncing
    }

    /// Leaves one key that was taken for the next flush.
    pub(super) fn leave(&mut self, set: usize, key: &Key) {
        let taken = self.in_flight.get_mut(set).and_then(|in_flight| in_flight.take(key.as_bytes()));
        if let (Some(mark), Some(live)) = (taken, self.live.get_mut(set)) {
            live.restore(key.as_bytes(), mark);
        }
    }

    /// Puts back what is in flight, but for keys that have been marked or strongly written since.
    fn put_back(&mut self) {
        self.unsynced |= std::mem::take(&mut self.syncing);
        for (live, older) in self.live.iter_mut().zip(self.in_flight.drain(..)) {
            live.merge(older);
        }
    }
}
