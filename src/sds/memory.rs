//! A persistence that keeps everything in memory, for tests and as the plain statement of the contract.
//!
//! Never fails but for input that every persistence refuses.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::codec::check_meta;
use super::persistence::{Persistence, SnapshotPersistence};
use super::types::{
    ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry, OutgoingRepairEntry,
    SdsMessage, UnacknowledgedMessage,
};
use crate::error::Result;

/// Keeps channels in memory for as long as a clone of it lives.
///
/// Every operation is done when its future is first polled. Grows with what it is given; nothing bounds it.
#[derive(Clone, Default)]
pub struct MemoryPersistence {
    channels: Arc<Mutex<HashMap<String, ChannelSnapshot>>>,
}

impl MemoryPersistence {
    /// One without channels.
    pub fn new() -> Self {
        Self::default()
    }

    fn change(&self, channel: &str, change: impl FnOnce(&mut ChannelSnapshot)) -> Result<()> {
        change(self.channels().entry(channel.to_owned()).or_default());
        Ok(())
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, ChannelSnapshot>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn append(state: &mut ChannelSnapshot, message: &SdsMessage) {
    state.message_history.retain(|known| known.message_id != message.message_id);
    state.message_history.push(message.clone());
}

fn evict(state: &mut ChannelSnapshot, message_id: &str) {
    state.message_history.retain(|known| known.message_id != message_id);
    state.retrieval_hints.remove(message_id);
}

fn apply(state: &mut ChannelSnapshot, update: &HistoryUpdate) {
    update.append.iter().for_each(|message| append(state, message));
    update.evict.iter().for_each(|id| evict(state, id));
}

#[async_trait]
impl Persistence for MemoryPersistence {
    async fn save_lamport(&self, channel: &str, lamport: i64) -> Result<()> {
        self.change(channel, |state| state.lamport = lamport)
    }

    async fn append_log_entry(&self, channel: &str, message: &SdsMessage) -> Result<()> {
        self.change(channel, |state| append(state, message))
    }

    async fn remove_log_entry(&self, channel: &str, message_id: &str) -> Result<()> {
        self.change(channel, |state| evict(state, message_id))
    }

    async fn set_retrieval_hint(&self, channel: &str, message_id: &str, hint: &[u8]) -> Result<()> {
        self.change(channel, |state| {
            state.retrieval_hints.insert(message_id.to_owned(), hint.to_vec());
        })
    }

    async fn save_outgoing(&self, channel: &str, message: &UnacknowledgedMessage) -> Result<()> {
        self.change(channel, |state| {
            let id = &message.message.message_id;
            match state.outgoing_buffer.iter_mut().find(|known| known.message.message_id == *id) {
                Some(known) => *known = message.clone(),
                None => state.outgoing_buffer.push(message.clone()),
            }
        })
    }

    async fn remove_outgoing(&self, channel: &str, message_id: &str) -> Result<()> {
        self.change(channel, |state| {
            state.outgoing_buffer.retain(|known| known.message.message_id != message_id);
        })
    }

    async fn save_incoming(&self, channel: &str, message: &IncomingMessage) -> Result<()> {
        self.change(channel, |state| {
            state.incoming_buffer.insert(message.message.message_id.clone(), message.clone());
        })
    }

    async fn remove_incoming(&self, channel: &str, message_id: &str) -> Result<()> {
        self.change(channel, |state| {
            state.incoming_buffer.remove(message_id);
        })
    }

    async fn save_outgoing_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &OutgoingRepairEntry,
    ) -> Result<()> {
        self.change(channel, |state| {
            state.outgoing_repair.insert(message_id.to_owned(), entry.clone());
        })
    }

    async fn remove_outgoing_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        self.change(channel, |state| {
            state.outgoing_repair.remove(message_id);
        })
    }

    async fn save_incoming_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &IncomingRepairEntry,
    ) -> Result<()> {
        self.change(channel, |state| {
            state.incoming_repair.insert(message_id.to_owned(), entry.clone());
        })
    }

    async fn remove_incoming_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        self.change(channel, |state| {
            state.incoming_repair.remove(message_id);
        })
    }

    async fn drop_channel(&self, channel: &str) -> Result<()> {
        self.channels().remove(channel);
        Ok(())
    }

    async fn load_all_for_channel(&self, channel: &str) -> Result<ChannelSnapshot> {
        Ok(self.channels().get(channel).cloned().unwrap_or_default())
    }
}

#[async_trait]
impl SnapshotPersistence for MemoryPersistence {
    async fn update_history(&self, channel: &str, update: &HistoryUpdate) -> Result<()> {
        self.change(channel, |state| apply(state, update))
    }

    async fn save_channel(&self, channel: &str, meta: &ChannelMeta, update: &HistoryUpdate) -> Result<()> {
        check_meta(meta)?;
        let meta = meta.clone();
        self.change(channel, |state| {
            state.lamport = meta.lamport;
            state.outgoing_buffer = meta.outgoing_buffer;
            state.incoming_buffer = meta.incoming_buffer;
            state.outgoing_repair = meta.outgoing_repair;
            state.incoming_repair = meta.incoming_repair;
            apply(state, update);
        })
    }
}

impl fmt::Debug for MemoryPersistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPersistence").field("channels", &self.channels().len()).finish()
    }
}
