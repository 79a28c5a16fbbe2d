//! Strong writes: durable when acknowledged, decided on what is stored.
//!
//! Never awaits the medium while it keeps a flush from its place in the queue.

use std::sync::Arc;

use super::core::Core;
use super::dirty_set::Mark;
use super::fence;
use super::held::Left;
use super::pending::Pending;
use super::state::State;
use crate::batch::{Batch, Op};
use crate::error::{Error, ErrorKind, Outcome, Quoted, Result};
use crate::key::Key;
use crate::receipt::Receipt;

/// How often a strong write that decides on what it finds is tried at most.
pub const ATTEMPTS_MAX: usize = 16;
/// Strong writes whose callers have gone, of which the next one first learns what became of them.
const LEFT_MAX: usize = 256;

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

/// A strong write from when it is asked for, for as long as it may be accepted.
struct Asked<'a> {
    core: &'a Core,
    number: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.core.state().pending.retain(|pending| pending.number != self.number);
    }
}

/// A strong write that is accepted, and the keys whose marks it has taken off.
struct Accepted<'a> {
    core: &'a Core,
    number: u64,
    receipt: Arc<Receipt>,
    keys: Vec<(usize, Key)>,
}

impl Drop for Accepted<'_> {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        if !keys.is_empty() {
            let receipt = Arc::clone(&self.receipt);
            self.core.state().left.push(Left { number: self.number, receipt, keys });
        }
    }
}

/// Applies a batch; resolves with its seq when it is durable.
pub(super) async fn write(core: &Core, batch: Batch) -> Result<u64> {
    let accepted = {
        let asked = ask(core, &batch.operations().iter().map(without_payload).collect::<Vec<_>>());
        core.bound_left().await;
        let _order = core.order.lock().await;
        accept(&asked, batch).await?
    };
    settle(accepted).await
}

/// Reads the row, decides, and writes what was decided, again if somebody else was faster.
pub(super) async fn decide(row: &Row, look: Look, decide: Decide<'_>) -> Result<Saved> {
    let Row { core, category, key } = row;
    let mut conflict = None;
    let asked = ask(core, &[Op::Delete { category: Arc::clone(category), key: key.clone() }]);
    core.bound_left().await;
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
            (accept(&asked, batch).await?, saved)
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

/// Begins a strong write: what is marked from now on is newer than it.
fn ask<'a>(core: &'a Core, operations: &[Op]) -> Asked<'a> {
    let mut state = core.state();
    let number = state.writes;
    state.writes += 1;
    state.pending.push(Pending::new(number, &core.categories, operations));
    Asked { core, number }
}

/// Has a batch accepted and takes the marks off that it supersedes.
async fn accept<'a>(asked: &Asked<'a>, mut batch: Batch) -> Result<Accepted<'a>> {
    let Asked { core, number } = *asked;
    fence::push(&mut batch)?;
    let operations: Vec<Op> = batch.operations().iter().map(without_payload).collect();
    let receipt = Arc::new(core.job.persist(batch).await?);
    let keys = core.state().supersede(core, &operations, number);
    Ok(Accepted { core, number, receipt, keys })
}

async fn settle(mut accepted: Accepted<'_>) -> Result<u64> {
    let settled = accepted.receipt.durable().await;
    let keys = std::mem::take(&mut accepted.keys);
    accepted.core.settled(accepted.number, keys, &settled);
    settled
}

fn without_payload(op: &Op) -> Op {
    match op {
        Op::Put { category, key, .. } => Op::Delete { category: Arc::clone(category), key: key.clone() },
        other => other.clone(),
    }
}

impl Core {
    /// Learns what became of the strong writes whose callers have gone.
    pub(super) async fn hear_left(&self) {
        loop {
            let left = self.state().left.pop();
            let Some(Left { number, receipt, keys }) = left else { return };
            // Goes back to where it was if this is given up.
            let left = Accepted { core: self, number, receipt, keys };
            if let Err(error) = settle(left).await {
                log::warn!("write_behind: a write whose caller has gone: {error}");
            }
        }
    }

    /// Keeps what [`hear_left`](Core::hear_left) has to do within its bound.
    async fn bound_left(&self) {
        let many = self.state().left.len() >= LEFT_MAX;
        if many {
            self.hear_left().await;
        }
    }

    fn settled(&self, number: u64, keys: Vec<(usize, Key)>, settled: &Result<u64>) {
        if keys.is_empty() {
            return;
        }
        let through = settled.as_ref().map_or_else(|error| error.outcome() == Outcome::Applied, |_seq| true);
        let mut state = self.state();
        state.unsynced |= through && settled.is_err();
        state.settled(number, keys, through);
        drop(state);
        self.less.notify_waiters();
    }
}

impl State {
    /// Takes off the marks of every row that the operations write or remove; answers whose they were.
    fn supersede(&mut self, core: &Core, operations: &[Op], number: u64) -> Vec<(usize, Key)> {
        let mut keys = Vec::new();
        for op in operations {
            let of = |category: &Arc<str>| **category == *op.category();
            let Some(index) = core.categories.iter().position(of) else { continue };
            // In this order, so that of two marks the newer one is held.
            for sets in [&mut self.live, &mut self.in_flight] {
                let Some(set) = sets.get_mut(index) else { continue };
                let marks: Vec<(Key, Mark)> = match op {
                    Op::Put { key, .. } | Op::Delete { key, .. } => {
                        set.take(key.as_bytes()).map(|mark| (key.clone(), mark)).into_iter().collect()
                    }
                    Op::DeleteRange { .. } => set.take_off(|key| op.touches_key(key)),
                };
                for (key, mark) in marks {
                    let weight = set.weight_of(&key, mark);
                    self.held[index].hold(key, mark, weight);
                }
            }
            let held = &mut self.held[index];
            let claimed = match op {
                Op::Put { key, .. } | Op::Delete { key, .. } => {
                    held.claim(key, number).then(|| key.clone()).into_iter().collect()
                }
                Op::DeleteRange { .. } => held.claim_all(|key| op.touches_key(key.as_bytes()), number),
            };
            keys.extend(claimed.into_iter().map(|key: Key| (index, key)));
        }
        self.mark_noted(number);
        keys
    }

    /// Marks again what has been marked since a strong write was asked for, which has its place only now.
    fn mark_noted(&mut self, number: u64) {
        let Some(pending) = self.pending.iter().find(|pending| pending.number == number) else { return };
        for (index, key, mark) in pending.noted() {
            self.held[index].forget(key.as_bytes());
            self.live[index].restore(key.as_bytes(), mark);
        }
    }

    /// A strong write has ended: what it held is done with if it is `through`, and otherwise put back if nobody
    /// else holds it.
    fn settled(&mut self, number: u64, keys: Vec<(usize, Key)>, through: bool) {
        for (index, key) in keys {
            if let Some(mark) = self.held[index].release(&key, number, through) {
                self.live[index].restore(key.as_bytes(), mark);
            }
        }
    }
}
