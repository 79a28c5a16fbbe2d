//! A persistence that keeps nothing.
//!
//! Never fails and never waits, so a protocol runs on it as without persistence.

use async_trait::async_trait;

use super::persistence::{Persistence, SnapshotPersistence};
use super::types::{
    ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry, OutgoingRepairEntry,
    SdsMessage, UnacknowledgedMessage,
};
use crate::error::Result;

/// Discards every write, and loads every channel as empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOpPersistence;

#[async_trait]
impl Persistence for NoOpPersistence {
    async fn save_lamport(&self, _: &str, _: i64) -> Result<()> {
        Ok(())
    }

    async fn append_log_entry(&self, _: &str, _: &SdsMessage) -> Result<()> {
        Ok(())
    }

    async fn remove_log_entry(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn set_retrieval_hint(&self, _: &str, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }

    async fn save_outgoing(&self, _: &str, _: &UnacknowledgedMessage) -> Result<()> {
        Ok(())
    }

    async fn remove_outgoing(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn save_incoming(&self, _: &str, _: &IncomingMessage) -> Result<()> {
        Ok(())
    }

    async fn remove_incoming(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn save_outgoing_repair(&self, _: &str, _: &str, _: &OutgoingRepairEntry) -> Result<()> {
        Ok(())
    }

    async fn remove_outgoing_repair(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn save_incoming_repair(&self, _: &str, _: &str, _: &IncomingRepairEntry) -> Result<()> {
        Ok(())
    }

    async fn remove_incoming_repair(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }

    async fn drop_channel(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn load_all_for_channel(&self, _: &str) -> Result<ChannelSnapshot> {
        Ok(ChannelSnapshot::default())
    }
}

#[async_trait]
impl SnapshotPersistence for NoOpPersistence {
    async fn update_history(&self, _: &str, _: &HistoryUpdate) -> Result<()> {
        Ok(())
    }

    async fn save_channel(&self, _: &str, _: &ChannelMeta, _: &HistoryUpdate) -> Result<()> {
        Ok(())
    }
}
