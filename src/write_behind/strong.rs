//! Strong writes: durable when acknowledged, decided on what is stored.
//!
//! Never awaits the medium while it keeps a flush from its place in the queue.

use std::sync::Arc;

use super::dirty_set::Mark;
use super::engine::{Core, State};
use super::fence;
use crate::batch::{Batch, Op};
use crate::error::{Error, ErrorKind, Outcome, Quoted, Result};
use crate::key::Key;
use crate::receipt::Receipt;

/// How often a strong write that decides on what it finds is tried at most.
pub const ATTEMPTS_MAX: usize = 16;

/// What a strong write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Saved {
    /// There was no row; now there is.
    Created,
    /// The row's payload was replaced.
    Updated,
    /// The row was removed.
    Removed,
    /// Nothing was written.
    Unchanged,
}

/// One row of a set.
pub(super) struct Row {
    pub(super) core: Arc<Core>,
    pub(super) category: Arc<str>,
    pub(super) key: Key,
}

/// What a decision needs to know of the row, and is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Whether it is there; its payload is given as empty.
    Presence,
    Payload,
}

/// What is to become of the row.
pub(super) enum Decision {
    Keep,
    Put(Vec<u8>),
    Remove,
}

pub(super) type Decide<'a> = &'a mut (dyn FnMut(Option<&[u8]>) -> Result<Decision> + Send);

/// Marks that a strong write has taken off; put back unless it succeeds.
struct Superseded<'a> {
    core: &'a Core,
    marks: Vec<(usize, Key, Mark)>,
}

impl Superseded<'_> {
    /// Gives back the room that was kept for the marks, and the marks themselves unless they are `through`.
    fn end(&mut self, through: bool) {
        if self.marks.is_empty() {
            return;
        }
        let mut state = self.core.state();
        let State { live, reserved, .. } = &mut *state;
        for (index, key, mark) in self.marks.drain(..) {
            let (Some(live), Some(reserved)) = (live.get_mut(index), reserved.get_mut(index)) else {
                continue;
            };
            *reserved = *reserved - live.weight_of(&key, mark);
            if !through {
                live.restore(key, mark);
            }
        }
        drop(state);
        self.core.less.notify_waiters();
    }
}

impl Drop for Superseded<'_> {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Applies a batch; resolves with its seq when it is durable.
pub(super) async fn write(core: &Core, batch: Batch) -> Result<u64> {
    let accepted = {
        let _order = core.order.lock().await;
        accept(core, batch).await?
    };
    settle(accepted).await
}

/// Reads the row, decides, and writes what was decided, again if somebody else was faster.
pub(super) async fn decide(row: &Row, look: Look, decide: Decide<'_>) -> Result<Saved> {
    let Row { core, category, key } = row;
    let mut conflict = None;
    for _attempt in 0..ATTEMPTS_MAX {
        let (accepted, saved) = {
            // Nobody else of this engine writes between the look and the place in the queue.
            let _order = core.order.lock().await;
            let found = match look {
                Look::Payload => core.job.get(category, key).await?,
                Look::Presence => core.job.exists(category, key).await?.then(Vec::new),
            };
            let decision = decide(found.as_deref())?;
            let saved = match (&decision, &found) {
                (Decision::Keep, _) => return Ok(Saved::Unchanged),
                (Decision::Remove, _) => Saved::Removed,
                (Decision::Put(_), None) => Saved::Created,
                (Decision::Put(_), Some(_)) => Saved::Updated,
            };
            let batch = match (look, found) {
                (_, None) => Batch::new().require_absent(category, key),
                (Look::Presence, Some(_)) => Batch::new().require_present(category, key),
                (Look::Payload, Some(found)) => Batch::new().require_equal(category, key, found),
            };
            let batch = match decision {
                Decision::Put(payload) => batch.put(category, key, payload),
                Decision::Keep | Decision::Remove => batch.delete(category, key),
            };
            (accept(core, batch).await?, saved)
        };
        match settle(accepted).await {
            Err(error) if error.kind() == ErrorKind::Conflict => conflict = Some(error),
            settled => return settled.map(|_seq| saved),
        }
    }
    let message =
        format!("job {}, category {}: others kept changing the row", Quoted(core.job.id()), Quoted(category));
    Err(conflict.unwrap_or_else(|| Error::new(ErrorKind::Conflict, message.clone())).with_remark(message))
}

/// Has a batch accepted and takes the marks off that it supersedes.
async fn accept(core: &Core, mut batch: Batch) -> Result<(Receipt, Superseded<'_>)> {
    fence::push(&mut batch)?;
    let operations: Vec<Op> = batch.operations().iter().map(without_payload).collect();
    let receipt = core.job.persist(batch).await?;
    let marks = core.state().supersede(core, &operations);
    Ok((receipt, Superseded { core, marks }))
}

async fn settle((receipt, mut superseded): (Receipt, Superseded<'_>)) -> Result<u64> {
    let settled = receipt.durable().await;
    let applied = settled.as_ref().map_or_else(|error| error.outcome() == Outcome::Applied, |_seq| true);
    superseded.end(applied);
    settled
}

fn without_payload(op: &Op) -> Op {
    match op {
        Op::Put { category, key, .. } => Op::Delete { category: Arc::clone(category), key: key.clone() },
        other => other.clone(),
    }
}

impl State {
    /// Takes off the marks of every row that the operations write or remove.
    fn supersede(&mut self, core: &Core, operations: &[Op]) -> Vec<(usize, Key, Mark)> {
        let mut taken = Vec::new();
        for op in operations {
            let weak = |set: &super::schema::Set| *set.category == *op.category();
            let Some(index) = core.sets.iter().position(weak) else { continue };
            // In this order, so that a newer mark is put back in place of an older one.
            for sets in [&mut self.live, &mut self.in_flight] {
                let Some(set) = sets.get_mut(index) else { continue };
                let marks: Vec<(Key, Mark)> = match op {
                    Op::Put { key, .. } | Op::Delete { key, .. } => set.take(key).into_iter().collect(),
                    Op::DeleteRange { .. } => set.take_off(|key| op.touches_key(key.as_bytes())),
                };
                for (key, mark) in marks {
                    self.reserved[index] = self.reserved[index] + set.weight_of(&key, mark);
                    taken.push((index, key, mark));
                }
            }
        }
        taken
    }
}
