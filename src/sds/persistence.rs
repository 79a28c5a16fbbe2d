//! The contract: what a protocol asks of whatever keeps its channels.
//!
//! Says what the operations mean, never how they are stored.

use async_trait::async_trait;

use super::types::{
    ChannelData, ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry,
    OutgoingRepairEntry, SdsMessage, UnacknowledgedMessage,
};
use crate::error::Result;

/// Fourteen operations, one for each change that a protocol makes to a channel in memory.
///
/// Each is atomic. Saving is an upsert by id, removing what is not there is fine, and a channel begins to
/// exist with the first write to it. Whoever awaits one operation before calling the next has them applied
/// in that order. All can be called from any thread and on any executor.
///
/// # Errors
///
/// A failed write changed nothing, unless its [`outcome`](crate::Error::outcome) says otherwise, and can be
/// repeated. A failed [`load_all_for_channel`](Persistence::load_all_for_channel) or
/// [`drop_channel`](Persistence::drop_channel) is one that the caller must not go on from.
#[async_trait]
pub trait Persistence: Send + Sync {
    /// Sets the channel's Lamport time.
    async fn save_lamport(&self, channel: &str, lamport: i64) -> Result<()>;

    /// Puts a message at the end of the history; one whose id is there already is replaced and moves.
    async fn append_log_entry(&self, channel: &str, message: &SdsMessage) -> Result<()>;

    /// Removes a message from the history, with its retrieval hint.
    async fn remove_log_entry(&self, channel: &str, message_id: &str) -> Result<()>;

    /// Remembers where a message can be fetched, until the message leaves the history or the channel is
    /// dropped.
    async fn set_retrieval_hint(&self, channel: &str, message_id: &str, hint: &[u8]) -> Result<()>;

    /// Adds a message at the end of the outgoing buffer, or changes it in its place.
    async fn save_outgoing(&self, channel: &str, message: &UnacknowledgedMessage) -> Result<()>;

    /// Removes a message from the outgoing buffer.
    async fn remove_outgoing(&self, channel: &str, message_id: &str) -> Result<()>;

    /// Puts a message that waits for others into the incoming buffer.
    async fn save_incoming(&self, channel: &str, message: &IncomingMessage) -> Result<()>;

    /// Removes a message from the incoming buffer.
    async fn remove_incoming(&self, channel: &str, message_id: &str) -> Result<()>;

    /// Puts a repair that is to be asked for.
    async fn save_outgoing_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &OutgoingRepairEntry,
    ) -> Result<()>;

    /// Removes a repair that is not to be asked for any more.
    async fn remove_outgoing_repair(&self, channel: &str, message_id: &str) -> Result<()>;

    /// Puts a repair that is to be answered.
    async fn save_incoming_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &IncomingRepairEntry,
    ) -> Result<()>;

    /// Removes a repair that is not to be answered any more.
    async fn remove_incoming_repair(&self, channel: &str, message_id: &str) -> Result<()>;

    /// Removes everything of the channel at once, hints included; fine if there is nothing.
    ///
    /// A channel of this name that is written to afterwards is a new one.
    async fn drop_channel(&self, channel: &str) -> Result<()>;

    /// Reads everything of the channel; an unknown one is empty.
    ///
    /// # Errors
    ///
    /// `Corrupt` if anything of it cannot be read, which is never left out; `VersionTooNew` if it was
    /// written by a newer version of this library.
    async fn load_all_for_channel(&self, channel: &str) -> Result<ChannelSnapshot>;
}

/// The same state, written and read by whole protocol operations.
///
/// With [`Persistence::drop_channel`] these are the operations of protocols that keep the fast-changing
/// part of a channel as one value. Both traits speak of one state and can be mixed.
#[async_trait]
pub trait SnapshotPersistence: Persistence {
    /// Makes the Lamport time and the four buffers exactly those of `meta`; repeating it changes nothing,
    /// and the next one heals one that was missed.
    ///
    /// # Errors
    ///
    /// As [`save_channel`](SnapshotPersistence::save_channel).
    async fn save_channel_meta(&self, channel: &str, meta: &ChannelMeta) -> Result<()> {
        self.save_channel(channel, meta, &HistoryUpdate::default()).await
    }

    /// Applies what the history has gained and lost, at once; an empty update does nothing.
    async fn update_history(&self, channel: &str, update: &HistoryUpdate) -> Result<()>;

    /// Both of one protocol operation at once: [`save_channel_meta`](SnapshotPersistence::save_channel_meta)
    /// and [`update_history`](SnapshotPersistence::update_history).
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if an id stands twice in the outgoing buffer, or a message of the incoming buffer
    /// under another id than its own.
    async fn save_channel(&self, channel: &str, meta: &ChannelMeta, update: &HistoryUpdate) -> Result<()>;

    /// Reads everything of the channel but its hints; an unknown one is empty.
    ///
    /// # Errors
    ///
    /// As [`Persistence::load_all_for_channel`].
    async fn load_channel(&self, channel: &str) -> Result<ChannelData> {
        Ok(self.load_all_for_channel(channel).await?.into())
    }
}
