//! Channels in a job: each operation one atomic batch.
//!
//! Keeps no state of channels in memory, so that several handles, roots and tabs may write beside each
//! other; what it does keep are the places that it gives to entries, and turns of the channels.

mod changes;
mod order;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use async_trait::async_trait;

use self::order::Order;
use self::rows::{Loaded, Stamp, Table, head};
use super::persistence::{Persistence, SnapshotPersistence};
use super::types::{
    ChannelMeta, ChannelSnapshot, HistoryUpdate, IncomingMessage, IncomingRepairEntry, OutgoingRepairEntry,
    SdsMessage, UnacknowledgedMessage,
};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Quoted, Result};
use crate::job::Job;
use crate::key;
use crate::key::Key;
use crate::payload::ToPayload;
use crate::receipt::Receipt;
use crate::scan::Row;
use crate::sds::codec::check_meta;

/// The category of a job in which all channels are. Leave it to this layer; all others are yours.
pub const CATEGORY: &str = "sds";

/// Channels that take turns with one another: a bound on what is remembered of them.
const TURNS: usize = 64;
/// How often a whole save is made anew because somebody else changed the channel meanwhile.
const CONFLICTS_MAX: usize = 16;

/// When an operation that writes resolves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resolve {
    /// When it has its place in the job's queue: every later read on this root sees it. It can be lost
    /// with the process; its failure is reported by [`JobPersistence::flush`] or by closing the job.
    Accepted,
    /// When it is committed: the death of the process cannot undo it, and a failure is the operation's own.
    #[default]
    Committed,
    /// When it survives a loss of power as far as the platform can promise.
    Durable,
}

/// Channels in a [`Job`], any number of them.
///
/// Clones share everything; the job may be shared with other users, who leave [`CATEGORY`] alone. Closing
/// the job is the caller's: handles answer `Closed` afterwards.
///
/// Keeps nothing of a channel in memory. Each operation is one atomic batch of point writes, and a dropped
/// channel is one range.
///
/// # Errors
///
/// Those of [`Job::persist_acked`] for what writes, with the channel and the operation in the message;
/// `TooLarge` for a channel or message id beyond 65,535 bytes. For loads those of
/// [`Persistence::load_all_for_channel`] and of reads.
#[derive(Clone)]
pub struct JobPersistence {
    job: Job,
    writer: Arc<Writer>,
    resolve: Resolve,
}

/// What the clones of a handle share.
struct Writer {
    order: Order,
    id: [u8; 8],
    /// Held from the reading of a channel to the acceptance of what that led to.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl JobPersistence {
    /// Channels in this job; writes resolve when they are committed.
    ///
    /// One for each job and process is enough; several are like several tabs.
    pub fn new(job: Job) -> Self {
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        let id = getrandom::u64().unwrap_or_default().to_be_bytes();
        let writer = Writer { order: Order::default(), id, turns };
        JobPersistence { job, writer: Arc::new(writer), resolve: Resolve::default() }
    }

    /// A handle of the same state whose writes resolve as `resolve` says. Dropping a channel is committed
    /// at least, whatever it says.
    pub fn resolving(&self, resolve: Resolve) -> Self {
        JobPersistence { resolve, ..self.clone() }
    }

    /// The job that the channels are in.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Waits until everything written before is durable; see [`Job::flush`].
    pub async fn flush(&self) -> Result<()> {
        self.job.flush().await
    }

    /// The names of the channels that have anything stored, ascending by length, then bytewise.
    ///
    /// Reads one row for each.
    pub async fn channels(&self) -> Result<Vec<String>> {
        let (mut channels, mut rest) = (Vec::new(), Key::empty());
        loop {
            let row = self.job.scan(CATEGORY, rest..).limit(1).keys_only().await?;
            let Some(row) = row.first() else { return Ok(channels) };
            let (channel, ..) = row.key.decode::<(String, u8, String)>().map_err(|error| {
                Error::new(ErrorKind::Corrupt, error.message().to_owned())
                    .in_context("sds, a row whose key cannot be read")
            })?;
            // No table has this number, so everything of the channel lies before it.
            rest = key!(channel, u8::MAX)?;
            channels.push(channel);
        }
    }

    /// The turn of a channel, and of others that share it.
    async fn turn(&self, channel: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(channel);
        self.writer.turns[(hash % TURNS as u64) as usize].lock().await
    }

    /// Learns where the job stands, before the first place is given.
    async fn know_order(&self) -> Result<()> {
        if !self.writer.order.is_known() {
            self.writer.order.advance(self.job.position().await?.seq, Stamp::default());
        }
        Ok(())
    }

    async fn settled(&self, receipt: Receipt) -> Result<()> {
        match self.resolve {
            Resolve::Accepted => Ok(()),
            Resolve::Committed => receipt.committed().await.map(drop),
            Resolve::Durable => receipt.durable().await.map(drop),
        }
    }

    async fn write(&self, batch: Batch) -> Result<()> {
        self.settled(self.job.persist(batch).await?).await
    }

    /// Puts an entry that has no order.
    async fn put(&self, channel: &str, table: Table, id: &str, entry: Result<Vec<u8>>) -> Result<()> {
        self.write(Batch::new().put(CATEGORY, table.key(channel, id)?, table.payload(entry?))).await
    }

    async fn delete(&self, channel: &str, table: Table, id: &str) -> Result<()> {
        self.write(Batch::new().delete(CATEGORY, table.key(channel, id)?)).await
    }

    async fn update(&self, channel: &str, update: &HistoryUpdate) -> Result<()> {
        self.know_order().await?;
        self.write(changes::history(Batch::new(), channel, update, &self.writer)?).await
    }

    async fn save(&self, channel: &str, meta: &ChannelMeta, update: &HistoryUpdate) -> Result<()> {
        check_meta(meta)?;
        self.know_order().await?;
        let mut conflicts = 0;
        loop {
            let receipt = {
                let _turn = self.turn(channel).await;
                let buffers = Table::Head.prefix(channel)?..Table::Hint.prefix(channel)?;
                let stored = self.job.scan(CATEGORY, buffers).await?;
                let batch = changes::save(channel, &stored, meta, update, &self.writer)?;
                self.job.persist(batch).await?
            };
            match self.settled(receipt).await {
                Err(error) if error.kind() == ErrorKind::Conflict && conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                }
                settled => return settled,
            }
        }
    }

    async fn load(&self, channel: &str) -> Result<ChannelSnapshot> {
        let prefix = key!(channel)?;
        let mut loaded = Loaded::default();
        let take = |loaded: &mut Loaded, rows: Vec<Row>| rows.iter().try_for_each(|row| loaded.take(row));
        match self.job.scan_prefix(CATEGORY, &prefix).await {
            Ok(rows) => take(&mut loaded, rows)?,
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let mut pages = self.job.scan_prefix(CATEGORY, &prefix).stream();
                while let Some(rows) = pages.next().await {
                    take(&mut loaded, rows?)?;
                }
            }
            Err(error) => return Err(error),
        }
        let (snapshot, last) = loaded.finish();
        // What this handle appends from now on lies behind everything that was loaded.
        self.writer.order.advance(self.job.position().await?.seq, last);
        Ok(snapshot)
    }
}

#[async_trait]
impl Persistence for JobPersistence {
    async fn save_lamport(&self, channel: &str, lamport: i64) -> Result<()> {
        let save = async {
            self.know_order().await?;
            let head = head(lamport, self.writer.order.next(), &self.writer.id);
            self.write(Batch::new().put(CATEGORY, Table::Head.key(channel, "")?, head)).await
        };
        named(channel, "save_lamport", save).await
    }

    async fn append_log_entry(&self, channel: &str, message: &SdsMessage) -> Result<()> {
        let update = HistoryUpdate { append: vec![message.clone()], evict: Vec::new() };
        named(channel, "append_log_entry", self.update(channel, &update)).await
    }

    async fn remove_log_entry(&self, channel: &str, message_id: &str) -> Result<()> {
        let remove = async { self.write(changes::evict(Batch::new(), channel, message_id)?).await };
        named(channel, "remove_log_entry", remove).await
    }

    async fn set_retrieval_hint(&self, channel: &str, message_id: &str, hint: &[u8]) -> Result<()> {
        named(channel, "set_retrieval_hint", self.put(channel, Table::Hint, message_id, Ok(hint.to_vec())))
            .await
    }

    async fn save_outgoing(&self, channel: &str, message: &UnacknowledgedMessage) -> Result<()> {
        let save = async {
            self.know_order().await?;
            let key = Table::Outgoing.key(channel, &message.message.message_id)?;
            let receipt = {
                let _turn = self.turn(channel).await;
                let stored = self.job.get(CATEGORY, &key).await?;
                let stamp = stored.and_then(|row| Stamp::of(&row));
                let stamp = stamp.unwrap_or_else(|| self.writer.order.next());
                self.job
                    .persist(Batch::new().put(CATEGORY, key, stamp.payload(message.to_payload()?)))
                    .await?
            };
            self.settled(receipt).await
        };
        named(channel, "save_outgoing", save).await
    }

    async fn remove_outgoing(&self, channel: &str, message_id: &str) -> Result<()> {
        let delete = self.delete(channel, Table::Outgoing, message_id);
        named(channel, "remove_outgoing", delete).await
    }

    async fn save_incoming(&self, channel: &str, message: &IncomingMessage) -> Result<()> {
        let put = self.put(channel, Table::Incoming, &message.message.message_id, message.to_payload());
        named(channel, "save_incoming", put).await
    }

    async fn remove_incoming(&self, channel: &str, message_id: &str) -> Result<()> {
        let delete = self.delete(channel, Table::Incoming, message_id);
        named(channel, "remove_incoming", delete).await
    }

    async fn save_outgoing_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &OutgoingRepairEntry,
    ) -> Result<()> {
        let put = self.put(channel, Table::OutgoingRepair, message_id, entry.to_payload());
        named(channel, "save_outgoing_repair", put).await
    }

    async fn remove_outgoing_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        let delete = self.delete(channel, Table::OutgoingRepair, message_id);
        named(channel, "remove_outgoing_repair", delete).await
    }

    async fn save_incoming_repair(
        &self,
        channel: &str,
        message_id: &str,
        entry: &IncomingRepairEntry,
    ) -> Result<()> {
        let put = self.put(channel, Table::IncomingRepair, message_id, entry.to_payload());
        named(channel, "save_incoming_repair", put).await
    }

    async fn remove_incoming_repair(&self, channel: &str, message_id: &str) -> Result<()> {
        let delete = self.delete(channel, Table::IncomingRepair, message_id);
        named(channel, "remove_incoming_repair", delete).await
    }

    /// Resolves when it is committed, or durable if the handle says so.
    async fn drop_channel(&self, channel: &str) -> Result<()> {
        let drop_all = async {
            let receipt = self.job.persist(Batch::new().delete_prefix(CATEGORY, key!(channel)?)).await?;
            receipt.committed().await?;
            self.settled(receipt).await
        };
        named(channel, "drop_channel", drop_all).await
    }

    /// One view of the channel; where it is larger than a whole scan may be, it is read by pages, each one
    /// view, and what others write meanwhile can be seen in part.
    async fn load_all_for_channel(&self, channel: &str) -> Result<ChannelSnapshot> {
        named(channel, "load_all_for_channel", self.load(channel)).await
    }
}

#[async_trait]
impl SnapshotPersistence for JobPersistence {
    async fn update_history(&self, channel: &str, update: &HistoryUpdate) -> Result<()> {
        named(channel, "update_history", self.update(channel, update)).await
    }

    /// Reads the channel's buffers and writes what differs. If somebody else changes the channel in
    /// between, it is done again, up to 16 times, then `Conflict`; where the handle resolves when accepted,
    /// that conflict is reported by [`flush`](JobPersistence::flush), and the next save heals it.
    async fn save_channel(&self, channel: &str, meta: &ChannelMeta, update: &HistoryUpdate) -> Result<()> {
        named(channel, "save_channel", self.save(channel, meta, update)).await
    }
}

/// The operation's result, its error with the words that say which channel it was about.
async fn named<T>(channel: &str, operation: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    work.await.map_err(|error| error.in_context(format_args!("sds channel {}, {operation}", Quoted(channel))))
}

impl fmt::Debug for JobPersistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobPersistence")
            .field("job", &self.job)
            .field("resolve", &self.resolve)
            .finish_non_exhaustive()
    }
}
