//! A persistence that fails when it is told to: for tests of how a protocol takes failures.
//!
//! Never fails by itself: what is not injected comes from the persistence behind it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::memory::MemoryPersistence;
use super::persistence::{Persistence, SnapshotPersistence};
use super::types::{
    ChannelData, ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry,
    OutgoingRepairEntry, SdsMessage, UnacknowledgedMessage,
};
use crate::error::{Error, ErrorKind, Outcome, Result};

/// An operation of [`Persistence`] or [`SnapshotPersistence`], by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the methods of the same names have them")]
pub enum Operation {
    SaveLamport,
    AppendLogEntry,
    RemoveLogEntry,
    SetRetrievalHint,
    SaveOutgoing,
    RemoveOutgoing,
    SaveIncoming,
    RemoveIncoming,
    SaveOutgoingRepair,
    RemoveOutgoingRepair,
    SaveIncomingRepair,
    RemoveIncomingRepair,
    DropChannel,
    LoadAllForChannel,
    SaveChannelMeta,
    UpdateHistory,
    SaveChannel,
    LoadChannel,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// With an error of this kind, and nothing is applied.
    Refused(ErrorKind),
    /// It is carried out, and then answered with an error of this kind whose outcome is
    /// [`Outcome::Unknown`].
    AnswerLost(ErrorKind),
}

/// Makes chosen operations of another persistence fail, and counts all calls.
///
/// Clones share everything, so a test keeps one and gives the other to a protocol, and a protocol that is
/// started again on a clone finds what the first one stored.
///
/// [`save_channel`](SnapshotPersistence::save_channel) also fails with a fault of what it is made of:
/// `SaveChannelMeta`, and `UpdateHistory` if its update is not empty; then nothing of it is applied.
///
/// ```
/// use persistency::ErrorKind;
/// use persistency::sds::{Fault, FaultyPersistence, Operation, Persistence};
///
/// # futures_executor::block_on(async {
/// let store = FaultyPersistence::new();
/// store.inject(Operation::SaveLamport, Fault::Refused(ErrorKind::StorageFull));
/// assert_eq!(store.save_lamport("general", 7).await.unwrap_err().kind(), ErrorKind::StorageFull);
/// store.heal(Operation::SaveLamport);
/// store.save_lamport("general", 7).await.unwrap();
/// assert_eq!(store.calls(Operation::SaveLamport), 2);
/// # });
/// ```
#[derive(Clone)]
pub struct FaultyPersistence {
    inner: Arc<dyn SnapshotPersistence>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What fails, and how many times more; for ever without a number.
    faults: HashMap<Operation, (Fault, Option<u64>)>,
    calls: HashMap<Operation, u64>,
}

impl FaultyPersistence {
    /// Over a [`MemoryPersistence`] of its own.
    pub fn new() -> Self {
        Self::over(MemoryPersistence::new())
    }

    /// Over any other persistence.
    pub fn over(inner: impl SnapshotPersistence + 'static) -> Self {
        FaultyPersistence { inner: Arc::new(inner), state: Arc::default() }
    }

    /// From now on the operation fails in this way, until it is [healed](FaultyPersistence::heal).
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.state().faults.insert(operation, (fault, None));
    }

    /// The next `times` calls of the operation fail in this way.
    pub fn inject_times(&self, operation: Operation, fault: Fault, times: u64) {
        match times {
            0 => self.heal(operation),
            _ => drop(self.state().faults.insert(operation, (fault, Some(times)))),
        }
    }

    /// The operation does not fail any more.
    pub fn heal(&self, operation: Operation) {
        self.state().faults.remove(&operation);
    }

    /// No operation fails any more.
    pub fn heal_all(&self) {
        self.state().faults.clear();
    }

    /// How often the operation has been called, failed calls included. One call of
    /// [`save_channel`](SnapshotPersistence::save_channel) counts as that alone.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.state().calls.get(&operation).copied().unwrap_or(0)
    }

    /// Runs the call, unless one of `operations`, the first of which is its own, is to fail.
    async fn run<T>(&self, operations: &[Operation], call: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next_fault(operations) {
            None => call.await,
            Some(Fault::Refused(kind)) => Err(injected(kind)),
            Some(Fault::AnswerLost(kind)) => {
                call.await?;
                Err(injected(kind).with_outcome(Outcome::Unknown))
            }
        }
    }

    fn next_fault(&self, operations: &[Operation]) -> Option<Fault> {
        let mut state = self.state();
        if let Some(own) = operations.first() {
            *state.calls.entry(*own).or_default() += 1;
        }
        let failing = operations.iter().find(|operation| state.faults.contains_key(operation))?;
        let (fault, times) = state.faults.get_mut(failing)?;
        let fault = *fault;
        if let Some(times) = times {
            *times -= 1;
            if *times == 0 {
                state.faults.remove(failing);
            }
        }
        Some(fault)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn injected(kind: ErrorKind) -> Error {
    Error::new(kind, "an injected fault")
}

impl Default for FaultyPersistence {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Persistence for FaultyPersistence {
    async fn save_lamport(&self, channel: &str, lamport: i64) -> Result<()> {
        self.run(&[Operation::SaveLamport], self.inner.save_lamport(channel, lamport)).await
    }

    async fn append_log_entry(&self, channel: &str, message: &SdsMessage) -> Result<()> {
        self.run(&[Operation::AppendLogEntry], self.inner.append_log_entry(channel, message)).await
    }

    async fn remove_log_entry(&self, channel: &str, message_id: &str) -> Result<()> {
        self.run(&[Operation::RemoveLogEntry], self.inner.remove_log_entry(channel, message_id)).await
    }

    async fn set_retrieval_hint(&self, channel: &str, message_id: &str, hint: &[u8]) -> Result<()> {
        let call = self.inner.set_retrieval_hint(channel, message_id, hint);
        self.run(&[Operation::SetRetrievalHint], call).await
    }

    async fn save_outgoing(&self, channel: &str, message: &UnacknowledgedMessage) -> Result<()> {
        self.run(&[Operation::SaveOutgoing], self.inner.save_outgoing(channel, message)).await
    }

    async fn remove_outgoing(&self, channel: &str, message_id: &str) -> Result<()> {
        self.run(&[Operation::RemoveOutgoing], self.inner.remove_outgoing(channel, message_id)).await
    }

    async fn save_incoming(&self, channel: &str, message: &IncomingMessage) -> Result<()> {
        self.run(&[Operation::SaveIncoming], self.inner.save_incoming(channel, message)).await
    }

    async fn remove_incoming(&self, channel: &str, message_id: &str) -> Result<()> {
        self.run(&[Operation::RemoveIncoming], self.inner.remove_incoming(channel, message_id)).await
    }

    async fn save_outgoing_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &OutgoingRepairEntry,
    ) -> Result<()> {
        let call = self.inner.save_outgoing_repair(channel, message_id, entry);
        self.run(&[Operation::SaveOutgoingRepair], call).await
    }

    async fn remove_outgoing_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        let call = self.inner.remove_outgoing_repair(channel, message_id);
        self.run(&[Operation::RemoveOutgoingRepair], call).await
    }

    async fn save_incoming_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &IncomingRepairEntry,
    ) -> Result<()> {
        let call = self.inner.save_incoming_repair(channel, message_id, entry);
        self.run(&[Operation::SaveIncomingRepair], call).await
    }

    async fn remove_incoming_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        let call = self.inner.remove_incoming_repair(channel, message_id);
        self.run(&[Operation::RemoveIncomingRepair], call).await
    }

    async fn drop_channel(&self, channel: &str) -> Result<()> {
        self.run(&[Operation::DropChannel], self.inner.drop_channel(channel)).await
    }

    async fn load_all_for_channel(&self, channel: &str) -> Result<ChannelSnapshot> {
        self.run(&[Operation::LoadAllForChannel], self.inner.load_all_for_channel(channel)).await
    }
}

#[async_trait]
impl SnapshotPersistence for FaultyPersistence {
    async fn save_channel_meta(&self, channel: &str, meta: &ChannelMeta) -> Result<()> {
        self.run(&[Operation::SaveChannelMeta], self.inner.save_channel_meta(channel, meta)).await
    }

    async fn update_history(&self, channel: &str, update: &HistoryUpdate) -> Result<()> {
        self.run(&[Operation::UpdateHistory], self.inner.update_history(channel, update)).await
    }

    async fn save_channel(&self, channel: &str, meta: &ChannelMeta, update: &HistoryUpdate) -> Result<()> {
        let made_of = [Operation::SaveChannel, Operation::SaveChannelMeta, Operation::UpdateHistory];
        let made_of = if update.is_empty() { &made_of[..2] } else { &made_of[..] };
        self.run(made_of, self.inner.save_channel(channel, meta, update)).await
    }

    async fn load_channel(&self, channel: &str) -> Result<ChannelData> {
        self.run(&[Operation::LoadChannel], self.inner.load_channel(channel)).await
    }
}

impl fmt::Debug for FaultyPersistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPersistence").field("faults", &self.state().faults).finish_non_exhaustive()
    }
}
