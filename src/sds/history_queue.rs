//! What of a history is still to be written: ids only, the latest mark of each wins.
//!
//! Does no I/O and keeps no messages: they are looked up in the history when it is flushed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::warn;

use super::types::{HistoryUpdate, MessageId, SdsMessage};
use crate::error::Quoted;

/// The changes of one channel's history that have not been written yet.
///
/// A protocol marks what it appends and evicts, and flushes at the end of each operation, also of one
/// that changed no history. Marking an append cancels a waiting evict of the same id, and the reverse. A
/// flush that fails gives its marks back, behind those made meanwhile in rank and before them in order; one
/// that is dropped has failed. Clones share the queue.
///
/// Ids that wait are bounded. Beyond the bound the queue keeps none and says so in
/// [`HistoryFlush::lost_track`]: then the whole history is to be written, see there.
///
/// ```
/// use persistency::sds::{HistoryQueue, SdsMessage};
///
/// # futures_executor::block_on(async {
/// let queue = HistoryQueue::new(1_000);
/// queue.append("m1");
/// let flush = queue.begin().await;
/// queue.append("m2"); // marked while the flush is under way
/// let message = |id: &str| Some(SdsMessage { message_id: id.to_owned(), ..SdsMessage::default() });
/// assert_eq!(flush.update(message).append.len(), 1);
/// drop(flush); // it failed
///
/// let flush = queue.begin().await;
/// let update = flush.update(message);
/// assert_eq!(update.append.iter().map(|m| &*m.message_id).collect::<Vec<_>>(), ["m1", "m2"]);
/// flush.succeeded();
/// assert!(queue.is_empty());
/// # });
/// ```
#[derive(Clone)]
pub struct HistoryQueue {
    pending: Arc<Mutex<Pending>>,
    /// Held by the flush under way, so that two never overtake each other.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Pending {
    ids_max: usize,
    marks: HashMap<MessageId, Mark>,
    /// The ids to append, in order.
    appends: BTreeMap<u64, MessageId>,
    next: u64,
    lost_track: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Append(u64),
    Evict,
}

/// A flush under way: what it is about to write, given back to the queue unless it
/// [succeeded](HistoryFlush::succeeded).
#[must_use = "a flush that is dropped has failed"]
pub struct HistoryFlush {
    queue: HistoryQueue,
    appends: BTreeMap<u64, MessageId>,
    evicts: Vec<MessageId>,
    lost_track: bool,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl HistoryQueue {
    /// An empty queue in which at most `ids_max` ids wait.
    pub fn new(ids_max: usize) -> Self {
        let pending = Pending { ids_max, ..Pending::default() };
        HistoryQueue { pending: Arc::new(Mutex::new(pending)), turn: Arc::default() }
    }

    /// Marks a message as appended, behind all that are.
    pub fn append(&self, message_id: &str) {
        let mut pending = self.pending();
        let place = pending.next;
        pending.next += 1;
        pending.mark(message_id.to_owned(), Mark::Append(place));
    }

    /// Marks a message as evicted.
    pub fn evict(&self, message_id: &str) {
        self.pending().mark(message_id.to_owned(), Mark::Evict);
    }

    /// Says that what is stored is not known any more: the next flush is to write the whole history.
    pub fn lose_track(&self) {
        self.pending().lose_track();
    }

    /// How many ids wait, without those of a flush under way.
    pub fn len(&self) -> usize {
        self.pending().marks.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let pending = self.pending();
        pending.marks.is_empty() && !pending.lost_track
    }

    /// Takes what waits, once the flush under way has ended.
    pub async fn begin(&self) -> HistoryFlush {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let mut pending = self.pending();
        let appends = std::mem::take(&mut pending.appends);
        let marks = std::mem::take(&mut pending.marks);
        let mut evicts: Vec<MessageId> =
            marks.into_iter().filter(|(_, mark)| *mark == Mark::Evict).map(|(id, _)| id).collect();
        evicts.sort_unstable();
        let lost_track = std::mem::take(&mut pending.lost_track);
        drop(pending);
        HistoryFlush { queue: self.clone(), appends, evicts, lost_track, _turn: turn }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Marks an id anew; the former mark is gone.
    fn mark(&mut self, id: MessageId, mark: Mark) {
        if self.lost_track {
            return;
        }
        if let Mark::Append(place) = mark {
            self.appends.insert(place, id.clone());
        }
        if let Some(Mark::Append(place)) = self.marks.insert(id, mark) {
            self.appends.remove(&place);
        }
        if self.marks.len() > self.ids_max {
            warn!("more than {} changes of a history wait: it will be written as a whole", self.ids_max);
            self.lose_track();
        }
    }

    fn lose_track(&mut self) {
        self.lost_track = true;
        self.marks.clear();
        self.appends.clear();
    }
}

impl HistoryFlush {
    /// What is to be written: the messages as `find` has them now, in the order of their marks.
    ///
    /// A message that is not found is left out, with a warning: it is no part of the history any more.
    pub fn update(&self, find: impl Fn(&str) -> Option<SdsMessage>) -> HistoryUpdate {
        let find = |id: &MessageId| {
            let found = find(id);
            if found.is_none() {
                warn!("message {} is to be written and not in the history", Quoted(id));
            }
            found
        };
        HistoryUpdate { append: self.appends.values().filter_map(find).collect(), evict: self.evicts.clone() }
    }

    /// Whether more waited than the queue keeps: [`update`](HistoryFlush::update) is then not all.
    ///
    /// Load the channel, append the whole history as it is in memory, and evict what is stored beside it.
    pub fn lost_track(&self) -> bool {
        self.lost_track
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.evicts.is_empty() && !self.lost_track
    }

    /// Ends the flush: all of it has been written. What was marked meanwhile still waits.
    pub fn succeeded(mut self) {
        self.appends.clear();
        self.evicts.clear();
        self.lost_track = false;
    }
}

/// Gives back what has not been written, except for ids that have been marked since.
impl Drop for HistoryFlush {
    fn drop(&mut self) {
        let mut pending = self.queue.pending();
        if self.lost_track {
            pending.lose_track();
        }
        let appends =
            std::mem::take(&mut self.appends).into_iter().map(|(place, id)| (id, Mark::Append(place)));
        let evicts = std::mem::take(&mut self.evicts).into_iter().map(|id| (id, Mark::Evict));
        for (id, mark) in appends.chain(evicts) {
            if !pending.marks.contains_key(&id) {
                pending.mark(id, mark);
            }
        }
    }
}

impl fmt::Debug for HistoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.pending();
        f.debug_struct("HistoryQueue")
            .field("waiting", &pending.marks.len())
            .field("lost_track", &pending.lost_track)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HistoryFlush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryFlush")
            .field("appends", &self.appends.len())
            .field("evicts", &self.evicts.len())
            .field("lost_track", &self.lost_track)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
