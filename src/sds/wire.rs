//! The protobuf messages, by the field numbers that the module's documentation lists.
//!
//! Never decides what a message means: that is `codec`.

use super::types::{
    ChannelMeta, HistoryEntry, IncomingMessage, IncomingRepairEntry, OutgoingRepairEntry, ParticipantId,
    SdsMessage, UnacknowledgedMessage,
};

/// What every versioned message begins with.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionWire {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
}

/// A [`ChannelDataWire`] whose meta has not been read yet.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChannelDataHead {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) meta: Option<Vec<u8>>,
}

/// A stored row around its entry.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RowWire {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint64, tag = "2")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(super) number: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) entry: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) writer: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistoryEntryWire {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(bytes = "vec", tag = "2")]
    retrieval_hint: Vec<u8>,
    #[prost(string, tag = "3")]
    sender_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SdsMessageWire {
    #[prost(string, tag = "1")]
    message_id: String,
    #[prost(int64, tag = "2")]
    lamport_timestamp: i64,
    #[prost(message, repeated, tag = "3")]
    causal_history: Vec<HistoryEntryWire>,
    #[prost(string, tag = "4")]
    channel_id: String,
    #[prost(bytes = "vec", tag = "5")]
    content: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    bloom_filter: Vec<u8>,
    #[prost(string, tag = "7")]
    sender_id: String,
    #[prost(message, repeated, tag = "13")]
    repair_request: Vec<HistoryEntryWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnacknowledgedWire {
    #[prost(message, optional, tag = "1")]
    message: Option<SdsMessageWire>,
    #[prost(uint64, tag = "2")]
    send_time_ms: u64,
    #[prost(uint32, tag = "3")]
    resend_attempts: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IncomingWire {
    #[prost(message, optional, tag = "1")]
    message: Option<SdsMessageWire>,
    #[prost(string, repeated, tag = "2")]
    missing_deps: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutgoingRepairWire {
    #[prost(message, optional, tag = "1")]
    history_entry: Option<HistoryEntryWire>,
    #[prost(uint64, tag = "2")]
    min_time_request_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IncomingRepairWire {
    #[prost(message, optional, tag = "1")]
    history_entry: Option<HistoryEntryWire>,
    #[prost(bytes = "vec", tag = "2")]
    cached_message: Vec<u8>,
    #[prost(uint64, tag = "3")]
    min_time_response_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct OutgoingRepairOfWire {
    #[prost(string, tag = "1")]
    pub(super) message_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) entry: Option<OutgoingRepairWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct IncomingRepairOfWire {
    #[prost(string, tag = "1")]
    pub(super) message_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) entry: Option<IncomingRepairWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChannelMetaWire {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(int64, tag = "2")]
    pub(super) lamport: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) outgoing_buffer: Vec<UnacknowledgedWire>,
    #[prost(message, repeated, tag = "4")]
    pub(super) incoming_buffer: Vec<IncomingWire>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outgoing_repair: Vec<OutgoingRepairOfWire>,
    #[prost(message, repeated, tag = "6")]
    pub(super) incoming_repair: Vec<IncomingRepairOfWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChannelDataWire {
    #[prost(message, optional, tag = "1")]
    pub(super) meta: Option<ChannelMetaWire>,
    #[prost(message, repeated, tag = "2")]
    pub(super) message_history: Vec<SdsMessageWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistoryUpdateWire {
    #[prost(message, repeated, tag = "1")]
    pub(super) append: Vec<SdsMessageWire>,
    #[prost(string, repeated, tag = "2")]
    pub(super) evict: Vec<String>,
}

/// What a message lacks that it cannot be without.
pub(super) struct Lacks(pub(super) &'static str);

impl From<&HistoryEntry> for HistoryEntryWire {
    fn from(entry: &HistoryEntry) -> Self {
        HistoryEntryWire {
            message_id: entry.message_id.clone(),
            retrieval_hint: entry.retrieval_hint.clone(),
            sender_id: entry.sender_id.0.clone(),
        }
    }
}

impl From<HistoryEntryWire> for HistoryEntry {
    fn from(wire: HistoryEntryWire) -> Self {
        HistoryEntry {
            message_id: wire.message_id,
            retrieval_hint: wire.retrieval_hint,
            sender_id: ParticipantId(wire.sender_id),
        }
    }
}

impl From<&SdsMessage> for SdsMessageWire {
    fn from(message: &SdsMessage) -> Self {
        SdsMessageWire {
            message_id: message.message_id.clone(),
            lamport_timestamp: message.lamport_timestamp,
            causal_history: message.causal_history.iter().map(Into::into).collect(),
            channel_id: message.channel_id.clone(),
            content: message.content.clone(),
            bloom_filter: message.bloom_filter.clone(),
            sender_id: message.sender_id.0.clone(),
            repair_request: message.repair_request.iter().map(Into::into).collect(),
        }
    }
}

impl From<SdsMessageWire> for SdsMessage {
    fn from(wire: SdsMessageWire) -> Self {
        SdsMessage {
            message_id: wire.message_id,
            lamport_timestamp: wire.lamport_timestamp,
            causal_history: wire.causal_history.into_iter().map(Into::into).collect(),
            channel_id: wire.channel_id,
            content: wire.content,
            bloom_filter: wire.bloom_filter,
            sender_id: ParticipantId(wire.sender_id),
            repair_request: wire.repair_request.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&UnacknowledgedMessage> for UnacknowledgedWire {
    fn from(message: &UnacknowledgedMessage) -> Self {
        UnacknowledgedWire {
            message: Some((&message.message).into()),
            send_time_ms: message.send_time_ms,
            resend_attempts: message.resend_attempts,
        }
    }
}

impl TryFrom<UnacknowledgedWire> for UnacknowledgedMessage {
    type Error = Lacks;

    fn try_from(wire: UnacknowledgedWire) -> Result<Self, Lacks> {
        Ok(UnacknowledgedMessage {
            message: wire.message.ok_or(Lacks("message"))?.into(),
            send_time_ms: wire.send_time_ms,
            resend_attempts: wire.resend_attempts,
        })
    }
}

impl From<&IncomingMessage> for IncomingWire {
    fn from(message: &IncomingMessage) -> Self {
        IncomingWire {
            message: Some((&message.message).into()),
            missing_deps: message.missing_deps.iter().cloned().collect(),
        }
    }
}

impl TryFrom<IncomingWire> for IncomingMessage {
    type Error = Lacks;

    fn try_from(wire: IncomingWire) -> Result<Self, Lacks> {
        Ok(IncomingMessage {
            message: wire.message.ok_or(Lacks("message"))?.into(),
            missing_deps: wire.missing_deps.into_iter().collect(),
        })
    }
}

impl From<&OutgoingRepairEntry> for OutgoingRepairWire {
    fn from(entry: &OutgoingRepairEntry) -> Self {
        OutgoingRepairWire {
            history_entry: Some((&entry.history_entry).into()),
            min_time_request_ms: entry.min_time_request_ms,
        }
    }
}

impl TryFrom<OutgoingRepairWire> for OutgoingRepairEntry {
    type Error = Lacks;

    fn try_from(wire: OutgoingRepairWire) -> Result<Self, Lacks> {
        Ok(OutgoingRepairEntry {
            history_entry: wire.history_entry.ok_or(Lacks("history entry"))?.into(),
            min_time_request_ms: wire.min_time_request_ms,
        })
    }
}

impl From<&IncomingRepairEntry> for IncomingRepairWire {
    fn from(entry: &IncomingRepairEntry) -> Self {
        IncomingRepairWire {
            history_entry: Some((&entry.history_entry).into()),
            cached_message: entry.cached_message.clone(),
            min_time_response_ms: entry.min_time_response_ms,
        }
    }
}

impl TryFrom<IncomingRepairWire> for IncomingRepairEntry {
    type Error = Lacks;

    fn try_from(wire: IncomingRepairWire) -> Result<Self, Lacks> {
        Ok(IncomingRepairEntry {
            history_entry: wire.history_entry.ok_or(Lacks("history entry"))?.into(),
            cached_message: wire.cached_message,
            min_time_response_ms: wire.min_time_response_ms,
        })
    }
}

impl From<&ChannelMeta> for ChannelMetaWire {
    fn from(meta: &ChannelMeta) -> Self {
        let outgoing_repair = meta
            .outgoing_repair
            .iter()
            .map(|(id, entry)| OutgoingRepairOfWire { message_id: id.clone(), entry: Some(entry.into()) });
        let incoming_repair = meta
            .incoming_repair
            .iter()
            .map(|(id, entry)| IncomingRepairOfWire { message_id: id.clone(), entry: Some(entry.into()) });
        ChannelMetaWire {
            version: super::codec::SCHEMA_VERSION,
            lamport: meta.lamport,
            outgoing_buffer: meta.outgoing_buffer.iter().map(Into::into).collect(),
            incoming_buffer: meta.incoming_buffer.values().map(Into::into).collect(),
            outgoing_repair: outgoing_repair.collect(),
            incoming_repair: incoming_repair.collect(),
        }
    }
}
