//! What a channel is made of: plain values, equal when they mean the same.
//!
//! Never reads a clock and never checks the protocol: what is given is what is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The id of a message, unique within its channel.
pub type MessageId = String;

/// Messages that a history keeps unless told otherwise; the oldest go first.
pub const HISTORY_DEFAULT: usize = 1_000;
/// Entries of the causal history that a message carries by default.
pub const CAUSAL_HISTORY_DEFAULT: usize = 10;
/// Repair requests that a message carries by default.
pub const REPAIR_REQUESTS_DEFAULT: usize = 3;
/// Bytes that protocols allow a message by default. A larger one is kept all the same, up to
/// [`Limits::payload_bytes`](crate::Limits::payload_bytes).
pub const MESSAGE_BYTES_DEFAULT: usize = 1024 * 1024;

/// Who sends messages; not to be mistaken for any other string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantId(
    /// The id itself.
    pub String,
);

/// A message that another one refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistoryEntry {
    /// The message's id.
    pub message_id: MessageId,
    /// Where the message can be fetched; empty if that is not known.
    pub retrieval_hint: Vec<u8>,
    /// Who sent it.
    pub sender_id: ParticipantId,
}

/// A message of a channel.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SdsMessage {
    /// The message's id.
    pub message_id: MessageId,
    /// Its Lamport time.
    pub lamport_timestamp: i64,
    /// What it depends on, in the order in which its sender knew it.
    pub causal_history: Vec<HistoryEntry>,
    /// The channel it was sent to.
    pub channel_id: String,
    /// What it says.
    pub content: Vec<u8>,
    /// The sender's bloom filter.
    pub bloom_filter: Vec<u8>,
    /// Who sent it.
    pub sender_id: ParticipantId,
    /// What the sender asks others to repair.
    pub repair_request: Vec<HistoryEntry>,
}

/// A message of our own that nobody has acknowledged yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnacknowledgedMessage {
    /// The message.
    pub message: SdsMessage,
    /// When it was sent last, in milliseconds since the Unix epoch.
    pub send_time_ms: u64,
    /// How often it has been sent again.
    pub resend_attempts: u32,
}

/// A received message that waits for what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IncomingMessage {
    /// The message.
    pub message: SdsMessage,
    /// The ids of the messages that it waits for.
    pub missing_deps: BTreeSet<MessageId>,
}

/// A message that we are to ask others for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OutgoingRepairEntry {
    /// What is missing.
    pub history_entry: HistoryEntry,
    /// When it may be asked for at the earliest, in milliseconds since the Unix epoch.
    pub min_time_request_ms: u64,
}

/// A message that others have asked for and that we have.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct IncomingRepairEntry {
    /// What was asked for.
    pub history_entry: HistoryEntry,
    /// The message, as it is sent.
    pub cached_message: Vec<u8>,
    /// When it may be answered at the earliest, in milliseconds since the Unix epoch.
    pub min_time_response_ms: u64,
}

/// Everything of a channel but its history: small, and changed by nearly every protocol operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelMeta {
    /// The channel's Lamport time.
    pub lamport: i64,
    /// What awaits an acknowledgement. The order is kept; an id stands here once.
    pub outgoing_buffer: Vec<UnacknowledgedMessage>,
    /// What awaits its dependencies, each by the id of its own message.
    pub incoming_buffer: BTreeMap<MessageId, IncomingMessage>,
    /// Repairs to ask for, by the id of the missing message.
    pub outgoing_repair: BTreeMap<MessageId, OutgoingRepairEntry>,
    /// Repairs to answer, by the id of the wanted message.
    pub incoming_repair: BTreeMap<MessageId, IncomingRepairEntry>,
}

/// What one protocol operation has done to the history. An empty update is no change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryUpdate {
    /// Messages that have been delivered, in this order. One whose id is there already takes its place
    /// at the end.
    pub append: Vec<SdsMessage>,
    /// Messages that go. An id that is in both lists is appended first, so it is gone.
    pub evict: Vec<MessageId>,
}

/// A channel as [`SnapshotPersistence::load_channel`](super::SnapshotPersistence::load_channel) reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelData {
    /// Everything but the history.
    pub meta: ChannelMeta,
    /// The history by (Lamport time, message id), ascending.
    pub message_history: Vec<SdsMessage>,
}

/// A channel as [`Persistence::load_all_for_channel`](super::Persistence::load_all_for_channel) reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSnapshot {
    /// The channel's Lamport time.
    pub lamport: i64,
    /// The history, oldest first by insertion: what is evicted next comes first.
    pub message_history: Vec<SdsMessage>,
    /// What awaits an acknowledgement, in order.
    pub outgoing_buffer: Vec<UnacknowledgedMessage>,
    /// What awaits its dependencies, each by the id of its own message.
    pub incoming_buffer: BTreeMap<MessageId, IncomingMessage>,
    /// Repairs to ask for, by the id of the missing message.
    pub outgoing_repair: BTreeMap<MessageId, OutgoingRepairEntry>,
    /// Repairs to answer, by the id of the wanted message.
    pub incoming_repair: BTreeMap<MessageId, IncomingRepairEntry>,
    /// Where messages can be fetched, by message id.
    pub retrieval_hints: BTreeMap<MessageId, Vec<u8>>,
}

impl HistoryUpdate {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.append.is_empty() && self.evict.is_empty()
    }
}

impl ChannelSnapshot {
    /// Everything but the history and the hints, and the history.
    pub fn into_parts(self) -> (ChannelMeta, Vec<SdsMessage>) {
        let meta = ChannelMeta {
            lamport: self.lamport,
            outgoing_buffer: self.outgoing_buffer,
            incoming_buffer: self.incoming_buffer,
            outgoing_repair: self.outgoing_repair,
            incoming_repair: self.incoming_repair,
        };
        (meta, self.message_history)
    }
}

/// The same state, its history in the other order; hints are no part of it.
impl From<ChannelSnapshot> for ChannelData {
    fn from(snapshot: ChannelSnapshot) -> Self {
        let (meta, mut message_history) = snapshot.into_parts();
        message_history
            .sort_by(|a, b| (a.lamport_timestamp, &a.message_id).cmp(&(b.lamport_timestamp, &b.message_id)));
        ChannelData { meta, message_history }
    }
}

impl From<&str> for ParticipantId {
    fn from(id: &str) -> Self {
        ParticipantId(id.to_owned())
    }
}

impl From<String> for ParticipantId {
    fn from(id: String) -> Self {
        ParticipantId(id)
    }
}

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SdsMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The content is user data, and may be large.
        f.debug_struct("SdsMessage")
            .field("message_id", &self.message_id)
            .field("lamport_timestamp", &self.lamport_timestamp)
            .field("content_bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IncomingRepairEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingRepairEntry")
            .field("history_entry", &self.history_entry)
            .field("cached_bytes", &self.cached_message.len())
            .field("min_time_response_ms", &self.min_time_response_ms)
            .finish()
    }
}
