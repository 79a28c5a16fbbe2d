//! A channel in memory with its durable half: changed freely, written by one call for each operation.
//!
//! Runs no protocol: it does not know when a message is delivered, only what is to be kept of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::history_queue::HistoryQueue;
use super::persistence::SnapshotPersistence;
use super::types::{ChannelMeta, HistoryUpdate, MessageId, SdsMessage};
use crate::error::{Error, ErrorKind, Outcome, Quoted, Result};

/// Changes of the history that wait while writing fails, for each message that the history holds; beyond
/// it the history is written as a whole.
const WAITING_PER_MESSAGE: usize = 4;
/// Bytes of messages that are saved in one batch at most, a single message excepted, and changes of the history.
const PORTION_BYTES_MAX: usize = 16 * 1024 * 1024;
const PORTION_CHANGES_MAX: usize = 10_000;

/// The state of one channel, kept in memory and written by [`save`](Channel::save).
///
/// Memory is the truth. A protocol operation changes the channel and then calls `save` once; that writes
/// what has changed in one atomic batch, and nothing if nothing has. If it fails, the protocol can go on:
/// what could not be written is written by the next `save` that succeeds. That needs a persistence that tells
/// failures: over a [`JobPersistence`](super::JobPersistence) one that resolves when committed or durable.
///
/// A stored channel has one such value at a time: two do not know of each other's changes, and each save
/// makes the stored state its own.
///
/// Nothing else is written. Dropping the value frees memory and leaves the stored channel as it was last
/// saved; [`remove`](Channel::remove) deletes it.
///
/// ```
/// use persistency::sds::{Channel, MemoryPersistence, SdsMessage};
///
/// # async fn example() -> persistency::Result<()> {
/// let store = MemoryPersistence::new();
/// let mut channel = Channel::open(store.clone(), "general", 1_000).await?;
/// channel.meta_mut().lamport = 1;
/// channel.append(SdsMessage { message_id: "m1".into(), ..SdsMessage::default() });
/// channel.save().await?;
///
/// let channel = Channel::open(store, "general", 1_000).await?;
/// assert_eq!((channel.meta().lamport, channel.history().count()), (1, 1));
/// # Ok(())
/// # }
/// # futures_executor::block_on(example()).unwrap();
/// ```
pub struct Channel {
    persistence: Arc<dyn SnapshotPersistence>,
    id: String,
    messages_max: usize,
    meta: ChannelMeta,
    /// Whether `meta` may be other than what is stored.
    dirty: bool,
    /// Whether what is stored may be anything: nobody knows what became of a removal.
    unsure: bool,
    history: History,
    queue: HistoryQueue,
}

/// Messages in the order of their insertion, found by id.
#[derive(Default)]
struct History {
    messages: BTreeMap<u64, SdsMessage>,
    places: HashMap<MessageId, u64>,
    next: u64,
}

impl Channel {
    /// Reads the channel; one that is not stored is empty. The history keeps at most `messages_max`
    /// messages; those beyond go, the oldest first, and are removed from the store by the next save.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if `messages_max` is 0; otherwise those of
    /// [`load_all_for_channel`](super::Persistence::load_all_for_channel): a channel that cannot be read
    /// must not start empty.
    pub async fn open(
        persistence: impl SnapshotPersistence + 'static,
        id: impl Into<String>,
        messages_max: usize,
    ) -> Result<Self> {
        let (persistence, id): (Arc<dyn SnapshotPersistence>, _) = (Arc::new(persistence), id.into());
        if messages_max == 0 {
            let message = format!("channel {}: a history keeps at least one message", Quoted(&id));
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let (meta, messages) = persistence.load_all_for_channel(&id).await?.into_parts();
        let queue = HistoryQueue::new(messages_max.saturating_mul(WAITING_PER_MESSAGE));
        let history = History::default();
        let (dirty, unsure) = (false, false);
        let mut channel = Channel { persistence, id, messages_max, meta, dirty, unsure, history, queue };
        messages.into_iter().for_each(|message| channel.history.insert(message));
        channel.evict_beyond();
        Ok(channel)
    }

    /// The channel's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Lamport time and buffers.
    pub fn meta(&self) -> &ChannelMeta {
        &self.meta
    }

    /// Lamport time and buffers, to be changed: the next [`save`](Channel::save) writes what differs.
    pub fn meta_mut(&mut self) -> &mut ChannelMeta {
        self.dirty = true;
        &mut self.meta
    }

    /// The history, oldest first.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &SdsMessage> {
        self.history.messages.values()
    }

    /// A message of the history.
    pub fn message(&self, message_id: &str) -> Option<&SdsMessage> {
        self.history.messages.get(self.history.places.get(message_id)?)
    }

    /// Puts a message at the end of the history, where one of its id moves to; the oldest beyond the
    /// bound go.
    ///
    /// One that cannot be stored, since it or its id is too large, fails each [`save`](Channel::save) until it is
    /// [evicted](Channel::evict).
    pub fn append(&mut self, message: SdsMessage) {
        self.queue.append(&message.message_id);
        self.history.insert(message);
        self.evict_beyond();
    }

    /// Takes a message out of the history; fine if there is none.
    pub fn evict(&mut self, message_id: &str) {
        if self.history.remove(message_id) {
            self.queue.evict(message_id);
        }
    }

    /// Whether everything is written.
    pub fn is_saved(&self) -> bool {
        !self.dirty && !self.unsure && self.queue.is_empty()
    }

    /// Writes what has changed since it was last written, all in one atomic batch; nothing if nothing has.
    ///
    /// Only where more of the history waits than one batch should hold (16 MiB, 10,000 messages), as after a time in
    /// which nothing could be written, several batches bring it up first, the oldest messages before the newer ones.
    ///
    /// # Errors
    ///
    /// Those of [`save_channel`](SnapshotPersistence::save_channel). The channel in memory stays as it is
    /// and the next save writes what this one could not: a protocol logs the error and goes on.
    pub async fn save(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unsure) {
            self.dirty = true;
            self.queue.lose_track();
        }
        let flush = self.queue.begin().await;
        if flush.is_empty() && !self.dirty {
            return Ok(());
        }
        let mut update = match flush.lost_track() {
            true => self.whole_history().await?,
            false => flush.update(|id| self.message(id).cloned()),
        };
        while let Some(portion) = portion(&mut update) {
            self.persistence.update_history(&self.id, &portion).await?;
        }
        match (self.dirty, update.is_empty()) {
            (true, true) => self.persistence.save_channel_meta(&self.id, &self.meta).await?,
            (true, false) => self.persistence.save_channel(&self.id, &self.meta, &update).await?,
            (false, _) => self.persistence.update_history(&self.id, &update).await?,
        }
        flush.succeeded();
        self.dirty = false;
        Ok(())
    }

    /// Deletes the stored channel, then empties the one in memory, which is a new channel from then on.
    ///
    /// # Errors
    ///
    /// Those of [`drop_channel`](super::Persistence::drop_channel). The channel in memory is kept then, and
    /// if what is stored is not known, as when this future is dropped, the next save writes all of it.
    pub async fn remove(&mut self) -> Result<()> {
        let unsure = std::mem::replace(&mut self.unsure, true);
        if let Err(error) = self.persistence.drop_channel(&self.id).await {
            self.unsure = unsure || error.outcome() != Outcome::NotApplied;
            return Err(error);
        }
        self.meta = ChannelMeta::default();
        self.history = History::default();
        self.queue = HistoryQueue::new(self.messages_max.saturating_mul(WAITING_PER_MESSAGE));
        self.dirty = false;
        self.unsure = false;
        Ok(())
    }

    fn evict_beyond(&mut self) {
        while self.history.messages.len() > self.messages_max {
            let Some(oldest) = self.history.remove_oldest() else { return };
            self.queue.evict(&oldest);
        }
    }

    /// What makes the stored history the one in memory, whatever it is.
    async fn whole_history(&self) -> Result<HistoryUpdate> {
        let stored = self.persistence.load_channel(&self.id).await?.message_history;
        let ids = stored.into_iter().map(|message| message.message_id);
        let evict = ids.filter(|id| !self.history.places.contains_key(id)).collect();
        Ok(HistoryUpdate { append: self.history().cloned().collect(), evict })
    }
}

/// Takes off what one batch should hold; none if it should hold all that is left.
fn portion(update: &mut HistoryUpdate) -> Option<HistoryUpdate> {
    let (mut messages, mut bytes) = (0, 0);
    for message in update.append.iter().take(PORTION_CHANGES_MAX) {
        bytes += weight(message);
        if messages > 0 && bytes > PORTION_BYTES_MAX {
            break;
        }
        messages += 1;
    }
    let evicted = update.evict.len().min(PORTION_CHANGES_MAX - messages);
    if messages == update.append.len() && evicted == update.evict.len() {
        return None;
    }
    let append = update.append.drain(..messages).collect();
    Some(HistoryUpdate { append, evict: update.evict.drain(..evicted).collect() })
}

/// About as many bytes as the message is stored in.
fn weight(message: &SdsMessage) -> usize {
    let entries = message.causal_history.iter().chain(&message.repair_request);
    let entries =
        entries.map(|entry| entry.message_id.len() + entry.retrieval_hint.len() + entry.sender_id.0.len());
    message.message_id.len() + message.content.len() + message.bloom_filter.len() + entries.sum::<usize>()
}

impl History {
    fn insert(&mut self, message: SdsMessage) {
        self.remove(&message.message_id);
        self.places.insert(message.message_id.clone(), self.next);
        self.messages.insert(self.next, message);
        self.next += 1;
    }

    fn remove(&mut self, message_id: &str) -> bool {
        self.places.remove(message_id).and_then(|place| self.messages.remove(&place)).is_some()
    }

    fn remove_oldest(&mut self) -> Option<MessageId> {
        let (_, message) = self.messages.pop_first()?;
        self.places.remove(&message.message_id);
        Some(message.message_id)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("id", &self.id)
            .field("messages", &self.history.messages.len())
            .field("saved", &self.is_saved())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    fn message(id: usize, bytes: usize) -> SdsMessage {
        SdsMessage { message_id: id.to_string(), content: vec![0; bytes], ..SdsMessage::default() }
    }

    /// How many messages and evictions the portions of an update have, the last one included.
    fn portions(mut update: HistoryUpdate) -> Vec<(usize, usize)> {
        let mut portions = Vec::new();
        let mut next = 0;
        loop {
            let (portion, is_last) = match portion(&mut update) {
                Some(portion) => (portion, false),
                None => (std::mem::take(&mut update), true),
            };
            for message in &portion.append {
                assert_eq!(message.message_id, next.to_string(), "the oldest first");
                next += 1;
            }
            portions.push((portion.append.len(), portion.evict.len()));
            if is_last {
                return portions;
            }
        }
    }

    #[test]
    fn more_than_one_batch_should_hold_is_saved_in_several() {
        let of = |sizes: &[usize], evicted: usize| HistoryUpdate {
            append: sizes.iter().enumerate().map(|(id, bytes)| message(id, *bytes)).collect(),
            evict: (0..evicted).map(|id| format!("old {id}")).collect(),
        };
        let half = PORTION_BYTES_MAX / 2 - 9;
        assert_eq!(portions(of(&[], 0)), [(0, 0)]);
        assert_eq!(portions(of(&[half, half], 3)), [(2, 3)]);
        assert_eq!(portions(of(&[half, half, 1000, 2 * half], 3)), [(2, 3), (1, 0), (1, 0)]);
        assert_eq!(portions(of(&[3 * half, 1], 0)), [(1, 0), (1, 0)], "a larger one goes alone");
        let max = PORTION_CHANGES_MAX;
        assert_eq!(portions(of(&vec![0; max + 1], max)), [(max, 0), (1, max - 1), (0, 1)]);
    }
}
