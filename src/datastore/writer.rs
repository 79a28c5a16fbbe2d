//! The writer of an open collection: what callers want at the same time is one batch of the job.
//!
//! Starts no task: whoever has the turn does the work of all who wait. What is accepted is kept where
//! the next one finds it, so that a caller who gives up leaves nobody without an answer. Each batch is
//! checked against the head it was decided by; if another tab was faster it is decided anew.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures_util::future::{Either, select};
use tokio::sync::{Mutex as Turns, oneshot};

use super::layout::{Dated, Head, Place, ROWS, Record, What};
use super::names::too_often;
use super::options::ATTEMPTS_MAX;
use super::plan::Plan;
use super::purge::Purged;
use super::shelf::Shelf;
use super::store::lock;
use super::wanted::{Done, Wanted};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::receipt::Receipt;
use crate::room::{Room, Share, Size, Taking};
use crate::worker::Conflicts;

/// Changes that wait for their turn; further callers wait in their own future.
const QUEUE_CHANGES_MAX: usize = 16 * 1024;
/// Bytes that wait for their turn.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Changes of one batch at most, those that belong together excepted.
const GROUP_CHANGES_MAX: usize = 4096;
/// Bytes of one batch at most, those that belong together excepted.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Keys whose places a writer remembers; beyond it all are forgotten, and begun anew.
const KNOWN_MAX: usize = 128 * 1024;
/// Bytes that these keys may have.
const KNOWN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Who writes a collection on this side.
pub(super) struct Writer {
    room: Arc<Room>,
    queue: Mutex<VecDeque<Entry>>,
    turn: Turns<Turn>,
}

impl Default for Writer {
    fn default() -> Self {
        Writer {
            room: Room::new(QUEUE_CHANGES_MAX, QUEUE_BYTES_MAX),
            queue: Mutex::default(),
            turn: Turns::default(),
        }
    }
}

/// What one caller wants; all or nothing.
struct Entry {
    wanted: Arc<[Wanted]>,
    reply: oneshot::Sender<Result<Vec<Done>>>,
    attempts: usize,
    _share: Share,
}

/// What only who has the turn looks at.
#[derive(Default)]
pub(super) struct Turn {
    /// As our last batch left it; none if that is not known.
    head: Option<Head>,
    /// Where the newest changes of keys are, as long as the head is `head`. Whatever is decided by this
    /// holds only if a batch that requires that head is applied.
    known: Places,
    /// Of its keys, at most.
    known_bytes: usize,
    under_way: Option<UnderWay>,
}

/// Where the newest changes of keys are; none of a key that has none.
pub(super) type Places = HashMap<Vec<u8>, Option<Place>>;

/// A batch that has been accepted.
struct UnderWay {
    receipt: Receipt,
    head: Head,
    places: Places,
    entries: Vec<(Entry, Result<Vec<Done>>)>,
}

impl Turn {
    fn forget(&mut self) {
        self.known.clear();
        self.known_bytes = 0;
    }

    fn remember(&mut self, places: Places) {
        let bytes = places.keys().map(Vec::len).sum::<usize>();
        if self.known.len() + places.len() > KNOWN_MAX || self.known_bytes + bytes > KNOWN_BYTES_MAX {
            self.forget();
        }
        self.known_bytes += bytes;
        self.known.extend(places);
    }
}

impl Shelf {
    /// Carries out changes that belong together; resolves when they are committed.
    pub(super) async fn write(&self, wanted: Vec<Wanted>) -> Result<Vec<Done>> {
        let size = Size { count: wanted.len(), bytes: wanted.iter().map(Wanted::bytes).sum() };
        let mut taking = self.writer.room.take(size);
        let share = self.share(&mut taking).await;
        let share = share.ok_or_else(|| Error::new(ErrorKind::Closed, "the collection is closed"))?;
        let (reply, mut answer) = oneshot::channel();
        let entry = Entry { wanted: wanted.into(), reply, attempts: 0, _share: share };
        lock(&self.writer.queue).push_back(entry);
        // Who waits for room next looks now, and finds the entry: nobody else may, if this caller gives up.
        drop(taking);
        loop {
            let turn = self.writer.turn.lock();
            let mut turn = match select(answer, pin!(turn)).await {
                Either::Left((answer, _)) => return answer.unwrap_or_else(|_| Err(self.gone())),
                Either::Right((turn, waiting)) => {
                    answer = waiting;
                    turn
                }
            };
            if let Ok(answer) = answer.try_recv() {
                return answer;
            }
            self.take_turn(&mut turn).await;
        }
    }

    /// Waits for a share of the queue. What is left of callers who gave up holds theirs, so who waits here takes
    /// turns too.
    async fn share(&self, taking: &mut Taking<'_>) -> Option<Share> {
        loop {
            let found_work = match select(&mut *taking, pin!(self.writer.turn.lock())).await {
                Either::Left((share, _)) => return share,
                Either::Right((mut turn, _)) => self.take_turn(&mut turn).await,
            };
            if found_work {
                continue;
            }
            // Nobody holds a share but who is about to queue; this caller is woken by that.
            let mut woken = false;
            let share = poll_fn(|context| match Pin::new(&mut *taking).poll(context) {
                Poll::Ready(share) => Poll::Ready(Some(share)),
                Poll::Pending if woken => Poll::Ready(None),
                Poll::Pending => {
                    woken = true;
                    Poll::Pending
                }
            });
            if let Some(share) = share.await {
                return share;
            }
        }
    }

    /// Has the turn, with nothing under way.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, Turn> {
        let mut turn = self.writer.turn.lock().await;
        self.settle(&mut turn).await;
        turn
    }

    /// One batch of what waits; whether there was anything to do.
    async fn take_turn(&self, turn: &mut Turn) -> bool {
        let settles = turn.under_way.is_some();
        self.settle(turn).await;
        let mut group = self.group();
        if group.is_empty() {
            return settles;
        }
        loop {
            match self.accept(turn, &group).await {
                Ok(()) => self.settle(turn).await,
                // It may be of one of them, or of all together, and is answered to one alone.
                Err(error)
                    if group.len() > 1
                        && matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Corrupt) =>
                {
                    group.truncate(group.len() / 2);
                    continue;
                }
                Err(error) => {
                    turn.head = None;
                    for entry in self.taken(group.len()) {
                        entry.reply.send(Err(error.clone())).ok();
                    }
                }
            }
            return true;
        }
    }

    /// What the first callers that still wait want, within the bounds of a batch. They stay in the queue.
    fn group(&self) -> Vec<Arc<[Wanted]>> {
        let mut queue = lock(&self.writer.queue);
        queue.retain(|entry| !entry.reply.is_closed());
        let (mut changes, mut bytes) = (0, 0);
        let fits = |entry: &&Entry| {
            let first = changes == 0;
            changes += entry.wanted.len().max(1);
            bytes += entry.wanted.iter().map(Wanted::bytes).sum::<usize>();
            first || (changes <= GROUP_CHANGES_MAX && bytes <= GROUP_BYTES_MAX)
        };
        queue.iter().take_while(fits).map(|entry| Arc::clone(&entry.wanted)).collect()
    }

    /// Decides a group and has the job accept its batch.
    async fn accept(&self, turn: &mut Turn, group: &[Arc<[Wanted]>]) -> Result<()> {
        let (mut swept, mut idle) = (Purged::default(), 0);
        loop {
            // One that seems to have expired may have slid on in another tab.
            let remembered = turn.head.take().filter(|head| !head.expired(self.now_ms()));
            let is_remembered = remembered.is_some();
            let head = match remembered {
                Some(head) => head,
                None => {
                    turn.forget();
                    self.head().await?
                }
            };
            // Nobody sees what has expired, so it takes nobody's room.
            let is_due = head.due_ms != 0 && self.now_ms() >= head.due_ms;
            if is_due && self.may_be_full(&head, group) && idle < ATTEMPTS_MAX {
                if is_remembered {
                    // Another tab may have made room.
                    continue;
                }
                let before = swept;
                self.sweep(turn, &mut swept).await?;
                idle = if swept == before { idle + 1 } else { 0 };
                continue;
            }
            let places = self.places(&turn.known, group).await?;
            let oldest = self.oldest(&head, group).await?;
            let mut plan = Plan::new(&self.descriptor, head.clone(), self.now_ms(), places, oldest);
            let results: Vec<Result<Vec<Done>>> = group.iter().map(|wanted| plan.apply(wanted)).collect();
            let Some((batch, after, places)) = plan.finish(&self.id) else {
                if is_remembered {
                    // No batch will tell whether what is remembered still holds.
                    continue;
                }
                turn.head = Some(head);
                for (entry, result) in self.taken(group.len()).into_iter().zip(results) {
                    entry.reply.send(result).ok();
                }
                return Ok(());
            };
            let receipt = self.shared.job.persist_as(batch, Conflicts::Own).await?;
            // Nothing is awaited from here on.
            let entries = self.taken(group.len()).into_iter().zip(results).collect();
            turn.under_way = Some(UnderWay { receipt, head: after, places, entries });
            return Ok(());
        }
    }

    /// Whether the bounds may keep something of the group out.
    fn may_be_full(&self, head: &Head, group: &[Arc<[Wanted]>]) -> bool {
        let parameters = &self.descriptor.parameters;
        let sets = group.iter().flat_map(|wanted| wanted.iter()).filter_map(Wanted::set_bytes);
        let (records, bytes) = sets.fold((head.records, head.bytes), |(records, bytes), set| {
            (records + 1, bytes.saturating_add(set as u64))
        });
        parameters.record_ttl_ms() != 0
            && (records > parameters.records_max() || bytes > parameters.bytes_max())
    }

    fn taken(&self, entries: usize) -> Vec<Entry> {
        lock(&self.writer.queue).drain(..entries).collect()
    }

    /// Waits for the batch under way, if there is one, and answers its callers.
    async fn settle(&self, turn: &mut Turn) {
        let Some(under_way) = &turn.under_way else { return };
        let result = under_way.receipt.committed().await;
        let Some(UnderWay { head, places, entries, .. }) = turn.under_way.take() else { return };
        match result {
            Ok(_) => {
                self.slid_to(&head);
                turn.remember(places);
                turn.head = Some(head);
                entries.into_iter().for_each(|(entry, result)| drop(entry.reply.send(result)));
            }
            Err(error) if error.kind() == ErrorKind::Conflict => self.try_again(entries),
            Err(error) => {
                entries.into_iter().for_each(|(entry, _)| drop(entry.reply.send(Err(error.clone()))))
            }
        }
    }

    /// Puts callers whose batch came too late before all others.
    fn try_again(&self, entries: Vec<(Entry, Result<Vec<Done>>)>) {
        let mut queue = lock(&self.writer.queue);
        for (mut entry, _) in entries.into_iter().rev() {
            entry.attempts += 1;
            match entry.attempts < ATTEMPTS_MAX {
                true => queue.push_front(entry),
                false => {
                    entry.reply.send(Err(too_often(What::Collection, &self.id))).ok();
                }
            }
        }
    }

    /// Where the newest changes of all keys of a group are; those that are not known are read.
    async fn places(&self, known: &Places, group: &[Arc<[Wanted]>]) -> Result<Places> {
        let mut places = Places::new();
        let mut unknown = Vec::new();
        for key in group.iter().flat_map(|wanted| wanted.iter()).filter_map(Wanted::key) {
            match known.get(key) {
                Some(place) => drop(places.insert(key.to_vec(), *place)),
                None => unknown.push(key),
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        places.extend(self.places_of(unknown).await?);
        Ok(places)
    }

    /// Reads where the newest changes of keys are.
    pub(super) async fn places_of(&self, keys: Vec<&[u8]>) -> Result<Places> {
        let job = &self.shared.job;
        let mut together = Err(Error::new(ErrorKind::TooLarge, "one at a time"));
        if keys.len() > 1 {
            together = job.get_many(ROWS, keys.iter().map(|key| self.rows().record(key))).await;
        }
        let found = match together {
            // Records may be too large to be read at once, and one is read by the caller's thread itself.
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let mut places = Places::new();
                for key in keys {
                    let stored = job.get(ROWS, self.rows().record(key)).await?;
                    let place = stored.map(|stored| Record::place(key, &stored)).transpose()?;
                    places.insert(key.to_vec(), place);
                }
                return Ok(places);
            }
            found => found?,
        };
        let place = |(key, stored): (&[u8], Option<Vec<u8>>)| {
            Ok((key.to_vec(), stored.map(|stored| Record::place(key, &stored)).transpose()?))
        };
        keys.into_iter().zip(found).map(place).collect()
    }

    /// The tombstones that the deletions of a group may push out.
    async fn oldest(&self, head: &Head, group: &[Arc<[Wanted]>]) -> Result<VecDeque<Dated>> {
        let deletes =
            group.iter().flat_map(|wanted| wanted.iter()).filter(|wanted| wanted.is_delete()).count();
        let max = self.descriptor.parameters.tombstones_max();
        let beyond = (head.tombstones + deletes as u64).saturating_sub(max).min(head.tombstones);
        if deletes == 0 || beyond == 0 {
            return Ok(VecDeque::new());
        }
        self.oldest_tombstones(beyond as usize).await
    }

    /// So many tombstones in the order of their seqs.
    pub(super) async fn oldest_tombstones(&self, limit: usize) -> Result<VecDeque<Dated>> {
        self.dated(self.rows().tombstones(), limit).await
    }

    /// So many rows of what has a date, in the order of their seqs.
    pub(super) async fn dated(&self, range: RangeInclusive<Key>, limit: usize) -> Result<VecDeque<Dated>> {
        let mut pages = self.shared.job.scan(ROWS, range).limit(limit).stream();
        let mut oldest = VecDeque::new();
        while let Some(page) = pages.next().await {
            for row in page? {
                oldest.push_back(Dated::decode(&row.key, &row.payload)?);
            }
        }
        Ok(oldest)
    }

    /// Has the job commit a plan that was made with the turn; whether it was applied.
    pub(super) async fn commit(&self, turn: &mut Turn, plan: Plan<'_>) -> Result<bool> {
        turn.head = None;
        let Some((batch, ..)) = plan.finish(&self.id) else { return Ok(true) };
        self.shared.try_batch(batch).await
    }
}
