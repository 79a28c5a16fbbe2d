//! The layer `sds` for the page: a [`JobPersistence`] behind calls.
//!
//! Decides nothing: each method is the one of that name.

mod values;

use async_trait::async_trait;

use self::values::{
    ChannelData, ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry, Mirror,
    OutgoingRepairEntry, SdsMessage, UnacknowledgedMessage,
};
use super::{Answer, Args, Object, no_method};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Job;
use crate::sds::{JobPersistence, Persistence, Resolve, SnapshotPersistence};

/// Opens the layer over a job.
///
/// # Errors
///
/// `InvalidArgument` if there are arguments.
pub fn open(job: &Job, args: Args<'_>) -> Result<Answer> {
    args.none()?;
    Ok(Answer::nothing().with(Store(JobPersistence::new(job.clone()))))
}

struct Store(JobPersistence);

#[async_trait(?Send)]
impl Object for Store {
    async fn call(&self, method: &str, args: Args<'_>) -> Result<Answer> {
        let Store(store) = self;
        let ids = || args.read::<(&str, &str)>();
        match method {
            "resolving" => {
                let (resolve,): (&str,) = args.read()?;
                return Ok(Answer::nothing().with(Store(store.resolving(resolve_of(resolve)?))));
            }
            "flush" => {
                args.none()?;
                store.flush().await?;
            }
            "channels" => {
                args.none()?;
                return Answer::value(&store.channels().await?);
            }
            "saveLamport" => {
                let (channel, lamport): (&str, i64) = args.read()?;
                store.save_lamport(channel, lamport).await?;
            }
            "appendLogEntry" => {
                let (channel, message): (&str, SdsMessage) = args.read()?;
                store.append_log_entry(channel, &message.back()).await?;
            }
            "removeLogEntry" => {
                let (channel, id) = ids()?;
                store.remove_log_entry(channel, id).await?;
            }
            "setRetrievalHint" => {
                let (channel, id, hint): (&str, &str, &[u8]) = args.read()?;
                store.set_retrieval_hint(channel, id, hint).await?;
            }
            "saveOutgoing" => {
                let (channel, message): (&str, UnacknowledgedMessage) = args.read()?;
                store.save_outgoing(channel, &message.back()).await?;
            }
            "removeOutgoing" => {
                let (channel, id) = ids()?;
                store.remove_outgoing(channel, id).await?;
            }
            "saveIncoming" => {
                let (channel, message): (&str, IncomingMessage) = args.read()?;
                store.save_incoming(channel, &message.back()).await?;
            }
            "removeIncoming" => {
                let (channel, id) = ids()?;
                store.remove_incoming(channel, id).await?;
            }
            "saveOutgoingRepair" => {
                let (channel, id, entry): (&str, &str, OutgoingRepairEntry) = args.read()?;
                store.save_outgoing_repair(channel, id, &entry.back()).await?;
            }
            "removeOutgoingRepair" => {
                let (channel, id) = ids()?;
                store.remove_outgoing_repair(channel, id).await?;
            }
            "saveIncomingRepair" => {
                let (channel, id, entry): (&str, &str, IncomingRepairEntry) = args.read()?;
                store.save_incoming_repair(channel, id, &entry.back()).await?;
            }
            "removeIncomingRepair" => {
                let (channel, id) = ids()?;
                store.remove_incoming_repair(channel, id).await?;
            }
            "saveChannelMeta" => {
                let (channel, meta): (&str, ChannelMeta) = args.read()?;
                store.save_channel_meta(channel, &meta.back()).await?;
            }
            "updateHistory" => {
                let (channel, update): (&str, HistoryUpdate) = args.read()?;
                store.update_history(channel, &update.back()).await?;
            }
            "saveChannel" => {
                let (channel, meta, update): (&str, ChannelMeta, HistoryUpdate) = args.read()?;
                store.save_channel(channel, &meta.back(), &update.back()).await?;
            }
            "dropChannel" => {
                let (channel,): (&str,) = args.read()?;
                store.drop_channel(channel).await?;
            }
            "loadAllForChannel" => {
                let (channel,): (&str,) = args.read()?;
                return Answer::value(&ChannelSnapshot::of(store.load_all_for_channel(channel).await?));
            }
            "loadChannel" => {
                let (channel,): (&str,) = args.read()?;
                return Answer::value(&ChannelData::of(store.load_channel(channel).await?));
            }
            _ => return Err(no_method(method)),
        }
        Ok(Answer::nothing())
    }
}

fn resolve_of(name: &str) -> Result<Resolve> {
    match name {
        "accepted" => Ok(Resolve::Accepted),
        "committed" => Ok(Resolve::Committed),
        "durable" => Ok(Resolve::Durable),
        _ => {
            let message = "an operation resolves when accepted, committed or durable";
            Err(Error::new(ErrorKind::InvalidArgument, message))
        }
    }
}
