//! Channels in a job: each operation one atomic batch.
//!
//! Believes nothing that it has in memory: several handles, roots and tabs may write beside each other.

mod changes;
mod order;
mod remembered;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use self::order::Order;
use self::remembered::{Buffers, Remembered};
use self::rows::{Loaded, Stamp, Table, head, mark};
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
/// Each operation is one atomic batch of point writes, and a dropped channel is one range. A few MiB of
/// what was written last are remembered, so that a whole save need not read what it compares with; whether
/// that is still so is a condition of its batch.
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
    /// Counts the marks.
    marks: AtomicU64,
    remembered: Remembered,
    /// Held from the reading of a channel to the acceptance of what that led to.
    turns: [tokio::sync::Mutex<()>; TURNS],
}

impl Writer {
    /// The payload of a mark that nobody has left before.
    fn mark(&self) -> Vec<u8> {
        mark(&self.id, self.marks.fetch_add(1, Ordering::Relaxed))
    }
}

impl JobPersistence {
    /// Channels in this job; writes resolve when they are committed.
    ///
    /// One for each job and process is enough; several are like several tabs.
    pub fn new(job: Job) -> Self {
        let turns = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        let id = getrandom::u64().unwrap_or_default().to_be_bytes();
        let (order, marks, remembered) = (Order::default(), AtomicU64::default(), Remembered::default());
        let writer = Writer { order, id, marks, remembered, turns };
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
    /// Reads two keys for each.
    pub async fn channels(&self) -> Result<Vec<String>> {
        let (mut channels, mut rest) = (Vec::new(), Key::empty());
        loop {
            let rows = self.job.scan(CATEGORY, rest..).limit(2).keys_only().await?;
            let rows = rows.iter().map(|row| row.key.decode::<(String, u8, String)>());
            let rows = rows.collect::<Result<Vec<_>>>().map_err(|error| {
                let message = error.message().to_owned();
                Error::new(ErrorKind::Corrupt, message).in_context("sds, a row whose key cannot be read")
            })?;
            let Some((channel, table, _)) = rows.first() else { return Ok(channels) };
            // A mark alone is what is left of removing something where there was nothing.
            let more = rows.get(1).is_some_and(|(next, ..)| next == channel);
            if more || *table != Table::Mark as u8 {
                channels.push(channel.clone());
            }
            // No table has this number, so everything of the channel lies before it.
            rest = key!(channel, u8::MAX)?;
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

    /// Writes a batch that changes one buffer.
    async fn change(&self, channel: &str, batch: Batch) -> Result<()> {
        self.writer.remembered.take(channel);
        self.write(changes::marked(batch, channel, &self.writer)?).await
    }

    /// Puts an entry of a buffer that has no order.
    async fn put(&self, channel: &str, table: Table, id: &str, entry: Result<Vec<u8>>) -> Result<()> {
        let batch = Batch::new().put(CATEGORY, table.key(channel, id)?, table.payload(entry?));
        self.change(channel, batch).await
    }

    async fn delete(&self, channel: &str, table: Table, id: &str) -> Result<()> {
        self.change(channel, Batch::new().delete(CATEGORY, table.key(channel, id)?)).await
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
                let stored = match self.writer.remembered.take(channel) {
                    // Who does not wait for the commit would not learn that it was not so any more.
                    Some(remembered) if self.resolve != Resolve::Accepted => remembered,
                    _ => self.buffers(channel).await?,
                };
                let (batch, after) = changes::save(channel, stored, meta, update, &self.writer)?;
                let receipt = self.job.persist(batch).await?;
                if self.resolve != Resolve::Accepted {
                    self.writer.remembered.put(channel, after);
                }
                receipt
            };
            let settled = self.settled(receipt).await;
            let Err(error) = settled else { return Ok(()) };
            self.writer.remembered.take(channel);
            if error.kind() != ErrorKind::Conflict || conflicts == CONFLICTS_MAX {
                return Err(error);
            }
            conflicts += 1;
        }
    }

    /// The rows of the channel's mark, head and buffers.
    async fn buffers(&self, channel: &str) -> Result<Buffers> {
        let range = Table::Mark.prefix(channel)?..Table::Hint.prefix(channel)?;
        let mut buffers = Buffers::new();
        let mut take = |rows: Vec<Row>| buffers.extend(rows.into_iter().map(|row| (row.key, row.payload)));
        match self.job.scan(CATEGORY, range.clone()).await {
            Ok(rows) => take(rows),
            // The mark is on the first page, and a batch that is made of this requires it: so nobody has
            // changed anything between the pages.
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let mut pages = self.job.scan(CATEGORY, range).stream();
                while let Some(rows) = pages.next().await {
                    take(rows?);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(buffers)
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
            let batch = Batch::new().put(CATEGORY, Table::Head.key(channel, "")?, head(lamport));
            self.change(channel, batch).await
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
                let batch = Batch::new().put(CATEGORY, key, stamp.payload(message.to_payload()?));
                self.writer.remembered.take(channel);
                self.job.persist(changes::marked(batch, channel, &self.writer)?).await?
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

    /// Writes what differs from what is stored, which it remembers or reads. If somebody else has changed
    /// the buffers meanwhile, it is done again, up to 16 times, then `Conflict`. Where the handle resolves when
    /// accepted, that conflict is reported by [`flush`](JobPersistence::flush): the next save heals the meta, and
    /// what of the history was to be changed has to be changed again.
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
