//! Encoding and decoding of everything that has bytes outside a stored row, with its checks.
//!
//! Never panics: bytes that are no such value are `InvalidArgument`, newer ones `VersionTooNew`.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;

use super::types::{
    ChannelData, ChannelMeta, HistoryUpdate, IncomingMessage, IncomingRepairEntry, OutgoingRepairEntry,
    SdsMessage, UnacknowledgedMessage,
};
use super::wire::{
    ChannelDataHead, ChannelDataWire, ChannelMetaWire, HistoryUpdateWire, IncomingRepairWire, IncomingWire,
    Lacks, OutgoingRepairWire, SdsMessageWire, UnacknowledgedWire, VersionWire,
};
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::payload::{FromPayload, ToPayload};

/// The version that is written, and the newest one that is read.
pub const SCHEMA_VERSION: u32 = 1;

/// `InvalidArgument` if two rows would be needed for one id.
pub(super) fn check_meta(meta: &ChannelMeta) -> Result<()> {
    let mut ids = HashSet::new();
    for unacknowledged in &meta.outgoing_buffer {
        let id = unacknowledged.message.message_id.as_str();
        if !ids.insert(id) {
            let message = format!("message {} is twice in the outgoing buffer", Quoted(id));
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
    }
    for (id, incoming) in &meta.incoming_buffer {
        if *id != incoming.message.message_id {
            let (own, id) = (Quoted(&incoming.message.message_id), Quoted(id));
            let message = format!("message {own} is in the incoming buffer as {id}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
    }
    Ok(())
}

/// `VersionTooNew` for a newer version, whose other fields may be of types that are not known here.
pub(super) fn check_version(bytes: &[u8], what: &str) -> Result<()> {
    match read::<VersionWire>(bytes, what)?.version {
        SCHEMA_VERSION => Ok(()),
        0 => Err(Error::new(ErrorKind::InvalidArgument, format!("bytes that are no {what}: no version"))),
        newer => {
            let message = format!("version {newer} of the encoding, this library knows {SCHEMA_VERSION}");
            Err(Error::new(ErrorKind::VersionTooNew, message))
        }
    }
}

/// Reads a message of the wire.
pub(super) fn read<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M> {
    M::decode(bytes).map_err(|cause| {
        Error::new(ErrorKind::InvalidArgument, format!("bytes that are no {what}"))
            .with_source(Arc::new(cause))
    })
}

fn lacking(what: &str) -> impl Fn(Lacks) -> Error + '_ {
    move |Lacks(part)| {
        Error::new(ErrorKind::InvalidArgument, format!("bytes that are no {what}: it has no {part}"))
    }
}

macro_rules! payload {
    ($($Type:ident as $Wire:ident is $what:literal),* $(,)?) => {$(
        impl ToPayload for $Type {
            fn to_payload(&self) -> Result<Vec<u8>> {
                Ok($Wire::from(self).encode_to_vec())
            }
        }

        impl FromPayload for $Type {
            fn from_payload(payload: &[u8]) -> Result<Self> {
                let wire: $Wire = read(payload, $what)?;
                $Type::try_from(wire).map_err(|error| lacking($what)(error.into()))
            }
        }
    )*};
}

impl From<std::convert::Infallible> for Lacks {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

payload! {
    SdsMessage as SdsMessageWire is "message",
    UnacknowledgedMessage as UnacknowledgedWire is "unacknowledged message",
    IncomingMessage as IncomingWire is "incoming message",
    OutgoingRepairEntry as OutgoingRepairWire is "outgoing repair",
    IncomingRepairEntry as IncomingRepairWire is "incoming repair",
}

impl ToPayload for ChannelMeta {
    fn to_payload(&self) -> Result<Vec<u8>> {
        check_meta(self)?;
        Ok(ChannelMetaWire::from(self).encode_to_vec())
    }
}

impl FromPayload for ChannelMeta {
    fn from_payload(payload: &[u8]) -> Result<Self> {
        check_version(payload, "channel meta")?;
        meta_of(read(payload, "channel meta")?)
    }
}

impl ToPayload for ChannelData {
    fn to_payload(&self) -> Result<Vec<u8>> {
        check_meta(&self.meta)?;
        let meta = Some(ChannelMetaWire::from(&self.meta));
        let message_history = self.message_history.iter().map(Into::into).collect();
        Ok(ChannelDataWire { meta, message_history }.encode_to_vec())
    }
}

impl FromPayload for ChannelData {
    fn from_payload(payload: &[u8]) -> Result<Self> {
        let head: ChannelDataHead = read(payload, "channel data")?;
        check_version(&head.meta.unwrap_or_default(), "channel data")?;
        let wire: ChannelDataWire = read(payload, "channel data")?;
        let meta = meta_of(wire.meta.ok_or(Lacks("meta")).map_err(lacking("channel data"))?)?;
        let message_history = wire.message_history.into_iter().map(Into::into).collect();
        Ok(ChannelData { meta, message_history })
    }
}

impl ToPayload for HistoryUpdate {
    fn to_payload(&self) -> Result<Vec<u8>> {
        let append = self.append.iter().map(Into::into).collect();
        Ok(HistoryUpdateWire { append, evict: self.evict.clone() }.encode_to_vec())
    }
}

impl FromPayload for HistoryUpdate {
    fn from_payload(payload: &[u8]) -> Result<Self> {
        let wire: HistoryUpdateWire = read(payload, "history update")?;
        let append = wire.append.into_iter().map(Into::into).collect();
        Ok(HistoryUpdate { append, evict: wire.evict })
    }
}

fn meta_of(wire: ChannelMetaWire) -> Result<ChannelMeta> {
    let lacking = lacking("channel meta");
    let mut meta = ChannelMeta { lamport: wire.lamport, ..ChannelMeta::default() };
    for unacknowledged in wire.outgoing_buffer {
        meta.outgoing_buffer.push(unacknowledged.try_into().map_err(&lacking)?);
    }
    for incoming in wire.incoming_buffer {
        let incoming: IncomingMessage = incoming.try_into().map_err(&lacking)?;
        meta.incoming_buffer.insert(incoming.message.message_id.clone(), incoming);
    }
    for repair in wire.outgoing_repair {
        let entry = repair.entry.ok_or(Lacks("repair")).and_then(TryInto::try_into).map_err(&lacking)?;
        meta.outgoing_repair.insert(repair.message_id, entry);
    }
    for repair in wire.incoming_repair {
        let entry = repair.entry.ok_or(Lacks("repair")).and_then(TryInto::try_into).map_err(&lacking)?;
        meta.incoming_repair.insert(repair.message_id, entry);
    }
    check_meta(&meta)?;
    Ok(meta)
}

#[cfg(test)]
mod tests;
