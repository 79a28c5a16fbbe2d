//! What a channel is made of, as it crosses: the types of the layer with names and bytes as pages have them.
//!
//! Maps cross as lists of pairs, since an id may be a name that objects in JavaScript cannot have.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::sds;

/// A value that stands for one of type `T` where it crosses.
pub trait Mirror<T>: Sized {
    fn of(value: T) -> Self;
    fn back(self) -> T;
}

macro_rules! same {
    ($($type:ty),*) => {
        $(impl Mirror<$type> for $type {
            fn of(value: $type) -> Self {
                value
            }

            fn back(self) -> $type {
                self
            }
        })*
    };
}

same!(String, i64, u64, u32, BTreeSet<String>);

impl Mirror<Vec<u8>> for ByteBuf {
    fn of(value: Vec<u8>) -> Self {
        ByteBuf::from(value)
    }

    fn back(self) -> Vec<u8> {
        self.into_vec()
    }
}

impl Mirror<sds::ParticipantId> for String {
    fn of(value: sds::ParticipantId) -> Self {
        value.0
    }

    fn back(self) -> sds::ParticipantId {
        sds::ParticipantId(self)
    }
}

impl<T, M: Mirror<T>> Mirror<Vec<T>> for Vec<M> {
    fn of(value: Vec<T>) -> Self {
        value.into_iter().map(M::of).collect()
    }

    fn back(self) -> Vec<T> {
        self.into_iter().map(M::back).collect()
    }
}

impl<T, M: Mirror<T>> Mirror<BTreeMap<String, T>> for Vec<(String, M)> {
    fn of(value: BTreeMap<String, T>) -> Self {
        value.into_iter().map(|(id, value)| (id, M::of(value))).collect()
    }

    fn back(self) -> BTreeMap<String, T> {
        self.into_iter().map(|(id, value)| (id, value.back())).collect()
    }
}

/// A struct that mirrors one of the same name: fields that have to be given, and those that may be left out.
macro_rules! mirror {
    ($name:ident { $($must:ident: $musts:ty),*; $($may:ident: $mays:ty),* }) => {
        #[derive(Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($must: $musts,)*
            $(#[serde(default)] $may: $mays,)*
        }

        impl Mirror<sds::$name> for $name {
            fn of(value: sds::$name) -> Self {
                $name { $($must: Mirror::of(value.$must),)* $($may: Mirror::of(value.$may),)* }
            }

            fn back(self) -> sds::$name {
                sds::$name { $($must: self.$must.back(),)* $($may: self.$may.back(),)* }
            }
        }
    };
}

mirror!(HistoryEntry { message_id: String; retrieval_hint: ByteBuf, sender_id: String });
mirror!(SdsMessage {
    message_id: String;
    lamport_timestamp: i64, causal_history: Vec<HistoryEntry>, channel_id: String, content: ByteBuf,
    bloom_filter: ByteBuf, sender_id: String, repair_request: Vec<HistoryEntry>
});
mirror!(UnacknowledgedMessage { message: SdsMessage; send_time_ms: u64, resend_attempts: u32 });
mirror!(IncomingMessage { message: SdsMessage; missing_deps: BTreeSet<String> });
mirror!(OutgoingRepairEntry { history_entry: HistoryEntry; min_time_request_ms: u64 });
mirror!(IncomingRepairEntry {
    history_entry: HistoryEntry; cached_message: ByteBuf, min_time_response_ms: u64
});
mirror!(ChannelMeta {
    ;
    lamport: i64, outgoing_buffer: Vec<UnacknowledgedMessage>, incoming_buffer: Vec<(String, IncomingMessage)>,
    outgoing_repair: Vec<(String, OutgoingRepairEntry)>, incoming_repair: Vec<(String, IncomingRepairEntry)>
});
mirror!(HistoryUpdate { ; append: Vec<SdsMessage>, evict: Vec<String> });
mirror!(ChannelData { meta: ChannelMeta; message_history: Vec<SdsMessage> });
mirror!(ChannelSnapshot {
    lamport: i64, message_history: Vec<SdsMessage>, outgoing_buffer: Vec<UnacknowledgedMessage>,
    incoming_buffer: Vec<(String, IncomingMessage)>, outgoing_repair: Vec<(String, OutgoingRepairEntry)>,
    incoming_repair: Vec<(String, IncomingRepairEntry)>, retrieval_hints: Vec<(String, ByteBuf)>;
});
