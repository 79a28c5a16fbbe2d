//! Plans: what a group of changes does to a collection, decided by pure functions.
//!
//! Nothing here awaits or reads a clock: the writer brings what is stored, and carries out the batch.
//! What it brings may be of different times; then the numbers are wrong, and so is the head that the batch
//! requires, which refuses it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::layout::{Change, DUE, Dated, Descriptor, Head, Place, ROWS, Record, What, due_key, name_key};
use super::wanted::{Done, Wanted, When};
use super::writer::Places;
use crate::batch::{Batch, Op};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;

/// Bytes of data up to which a change is among the recent ones.
const LOG_DATA_BYTES_MAX: usize = 16 * 1024;
/// Recent changes that are kept at least.
const LOG_CHANGES_MIN: u64 = 1024;

/// The batch of a group of changes while it grows.
pub(super) struct Plan<'a> {
    descriptor: &'a Descriptor,
    before: Vec<u8>,
    head: Head,
    /// When its changes happen; never before the last one.
    stamp_ms: u64,
    /// Keys that are looked at, with their places as the changes so far leave them.
    places: Places,
    /// The oldest tombstones, as many as may have to be forgotten.
    oldest: VecDeque<Dated>,
    ops: Vec<Op>,
    /// What has to be undone if a change of a set that belongs together is refused.
    undo: Vec<(Vec<u8>, Option<Place>)>,
    due_before: u64,
    /// Changes that are not among the recent ones any more: first and last.
    log_cleared: Option<(u64, u64)>,
    category: Arc<str>,
}

impl<'a> Plan<'a> {
    /// `head` is as it is stored; `places` has every key that will be changed.
    pub(super) fn new(
        descriptor: &'a Descriptor,
        head: Head,
        now_ms: u64,
        places: Places,
        oldest: VecDeque<Dated>,
    ) -> Self {
        Plan {
            descriptor,
            before: head.encode(),
            stamp_ms: now_ms.max(head.last_ms),
            due_before: head.due_ms,
            head,
            places,
            oldest,
            ops: Vec::new(),
            undo: Vec::new(),
            log_cleared: None,
            category: Arc::from(ROWS),
        }
    }

    /// Adds changes that belong together: all of them, or none and the reason.
    pub(super) fn apply(&mut self, changes: &[Wanted]) -> Result<Vec<Done>> {
        let (head, ops, tombstones) = (self.head.clone(), self.ops.len(), self.oldest.len());
        let log_cleared = self.log_cleared;
        self.undo.clear();
        let done: Result<Vec<Done>> = changes.iter().map(|change| self.change(change)).collect();
        // Dateds go only after what belongs together is through, so they need not be undone.
        match done {
            Ok(done) => {
                self.forget_oldest();
                Ok(done)
            }
            Err(error) => {
                self.head = head;
                self.ops.truncate(ops);
                self.oldest.truncate(tombstones);
                self.log_cleared = log_cleared;
                for (key, place) in self.undo.drain(..).rev() {
                    self.places.insert(key, place);
                }
                Err(error)
            }
        }
    }

    fn change(&mut self, change: &Wanted) -> Result<Done> {
        match change {
            Wanted::Set { key, data, when } => self.set(key, data, *when),
            Wanted::Delete { key, when } => self.delete(key, *when),
            Wanted::Touch => {
                self.slide();
                Ok(Done::Nothing)
            }
        }
    }

    fn set(&mut self, key: &[u8], data: &[u8], when: When) -> Result<Done> {
        let place = self.place(key);
        self.check(place, when)?;
        let old = place.filter(|place| !place.deleted);
        let bytes = key.len() + data.len();
        let records = self.head.records + u64::from(old.is_none());
        let total = self.head.bytes.saturating_sub(old.map_or(0, |old| u64::from(old.bytes))) + bytes as u64;
        let parameters = &self.descriptor.parameters;
        if records > parameters.records_max() && old.is_none() {
            return Err(full("records", records, parameters.records_max()));
        }
        if total > parameters.bytes_max() {
            return Err(full("bytes", total, parameters.bytes_max()));
        }
        self.displace(place);
        (self.head.records, self.head.bytes) = (records, total);
        self.slide();
        if parameters.record_ttl_ms() != 0 {
            self.look_after(self.stamp_ms.saturating_add(parameters.record_ttl_ms()));
        }
        let (seq, stamp_ms, rows) = (self.take_seq(), self.stamp_ms, self.descriptor.rows());
        if self.descriptor.parameters.record_ttl_ms() != 0 {
            self.put(rows.aging(seq), Dated { seq, stamp_ms, key: key.to_vec() }.encode());
        }
        self.log(seq, key, Some(data));
        self.put(rows.record(key), Record { seq, stamp_ms, data: Some(data) }.encode());
        // A record is smaller than 64 MiB.
        self.settle(key, Some(Place { seq, stamp_ms, deleted: false, bytes: bytes as u32 }));
        Ok(Done::Applied { seq, stamp_ms })
    }

    fn delete(&mut self, key: &[u8], when: When) -> Result<Done> {
        let place = self.place(key);
        self.check(place, when)?;
        match place.filter(|place| self.is_alive(place)) {
            Some(place) => Ok(self.bury(key, place)),
            None => Ok(Done::Nothing),
        }
    }

    /// Deletes a record that is there, and leaves a tombstone.
    fn bury(&mut self, key: &[u8], place: Place) -> Done {
        self.displace(Some(place));
        self.head.records = self.head.records.saturating_sub(1);
        self.head.bytes = self.head.bytes.saturating_sub(u64::from(place.bytes));
        self.slide();
        let (seq, stamp_ms, rows) = (self.take_seq(), self.stamp_ms, self.descriptor.rows());
        let kept_ms = self.descriptor.parameters.tombstones_kept_ms();
        self.log(seq, key, None);
        if self.descriptor.parameters.tombstones_max() == 0 {
            self.head.floor = seq;
            self.delete_row(rows.record(key));
            self.settle(key, None);
            return Done::Applied { seq, stamp_ms };
        }
        self.look_after(stamp_ms.saturating_add(kept_ms));
        let tombstone = Dated { seq, stamp_ms, key: key.to_vec() };
        self.put(rows.tombstone(seq), tombstone.encode());
        self.put(rows.record(key), Record { seq, stamp_ms, data: None }.encode());
        self.settle(key, Some(Place { seq, stamp_ms, deleted: true, bytes: 0 }));
        self.head.tombstones += 1;
        self.oldest.push_back(tombstone);
        Done::Applied { seq, stamp_ms }
    }

    /// Buries a record that has expired, if it still is the one that was seen.
    pub(super) fn expire(&mut self, key: &[u8], seq: u64) -> bool {
        let place = self.place(key).filter(|place| place.seq == seq && !place.deleted);
        let expired = place.filter(|place| !self.is_alive(place));
        if let Some(place) = expired {
            self.bury(key, place);
            self.forget_oldest();
        }
        expired.is_some()
    }

    /// Forgets tombstones beyond their number.
    fn forget_oldest(&mut self) {
        while self.head.tombstones > self.descriptor.parameters.tombstones_max() {
            let Some(tombstone) = self.oldest.pop_front() else { break };
            self.forget(&tombstone);
        }
    }

    /// Forgets a tombstone, unless its key has been set since; changes before it cannot be told any more.
    pub(super) fn forget(&mut self, tombstone: &Dated) -> bool {
        let Dated { seq, key, .. } = tombstone;
        if let Some(place) = self.places.get(key)
            && place.is_none_or(|place| place.seq != *seq)
        {
            return false;
        }
        let rows = self.descriptor.rows();
        self.delete_row(rows.record(key));
        self.delete_row(rows.tombstone(*seq));
        self.settle(key, None);
        self.head.tombstones = self.head.tombstones.saturating_sub(1);
        self.head.floor = self.head.floor.max(*seq);
        true
    }

    /// Has the collection looked after next at `due_ms` and not before; at 0 never.
    pub(super) fn look_after_next(&mut self, due_ms: u64) {
        let generation = self.descriptor.generation;
        let due_ms = match (due_ms, self.head.expires_ms) {
            (0, 0) => 0,
            (0, expires_ms) => expires_ms + 1,
            (due_ms, 0) => due_ms,
            (due_ms, expires_ms) => due_ms.min(expires_ms + 1),
        };
        if due_ms == self.head.due_ms {
            return;
        }
        let category: Arc<str> = Arc::from(DUE);
        if self.head.due_ms != 0 {
            let key = due_key(self.head.due_ms, generation);
            self.ops.push(Op::Delete { category: Arc::clone(&category), key });
        }
        self.head.due_ms = due_ms;
    }

    /// The batch, and the head and the places that it leaves; `None` if nothing changes.
    pub(super) fn finish(mut self, id: &str) -> Option<(Batch, Head, Places)> {
        let rows = self.descriptor.rows();
        if !self.ops.is_empty() {
            self.head.last_ms = self.stamp_ms;
        }
        self.trim();
        let (before, after) = (std::mem::take(&mut self.before), self.head.encode());
        if before == after {
            return None;
        }
        self.put(rows.head(), after);
        let cleared = self.log_cleared;
        let mut batch = Batch::new().require_equal(ROWS, rows.head(), before);
        in_order_of_keys(self.ops).for_each(|op| batch.push(op));
        if let Some((first, last)) = cleared {
            batch = batch.delete_range(ROWS, rows.change(first)..=rows.change(last));
        }
        if self.head.due_ms != 0 && self.head.due_ms != self.due_before {
            let key = due_key(self.head.due_ms, self.descriptor.generation);
            batch = batch.put(DUE, key, name_key(What::Collection, id).into_bytes());
        }
        Some((batch, self.head, self.places))
    }

    /// Whether the record of this place can still be handed out.
    fn is_alive(&self, place: &Place) -> bool {
        !place.deleted && !expired(self.descriptor, place.stamp_ms, self.stamp_ms)
    }

    fn check(&self, place: Option<Place>, when: When) -> Result<()> {
        let seq = place.filter(|place| self.is_alive(place)).map(|place| place.seq);
        let holds = match when {
            When::Always => true,
            When::Absent => seq.is_none(),
            When::Seq(wanted) => seq == Some(wanted),
        };
        match (holds, seq) {
            (true, _) => Ok(()),
            (false, Some(seq)) => Err(Error::conflict(0, format_args!("the record has seq {seq}"))),
            (false, None) => Err(Error::conflict(0, "there is no such record")),
        }
    }

    fn place(&self, key: &[u8]) -> Option<Place> {
        self.places.get(key).copied().flatten()
    }

    /// Keeps a change among the recent ones. One that is large ends them: what is before it is read from
    /// the records.
    fn log(&mut self, seq: u64, key: &[u8], data: Option<&[u8]>) {
        if data.is_some_and(|data| data.len() > LOG_DATA_BYTES_MAX) {
            self.clear_log(seq);
            return;
        }
        self.put(self.descriptor.rows().change(seq), Change::encode(self.stamp_ms, key, data));
    }

    /// Keeps as many recent changes as there are records, and some.
    fn trim(&mut self) {
        let kept = self.head.records.max(LOG_CHANGES_MIN);
        if self.head.seq - self.head.log_from > kept + kept / 4 {
            self.clear_log(self.head.seq - kept);
        }
    }

    fn clear_log(&mut self, to: u64) {
        let first = self.log_cleared.map_or(self.head.log_from + 1, |(first, _)| first);
        self.log_cleared = Some((first, to));
        self.head.log_from = to;
    }

    /// Removes what only belongs to a key's former change.
    fn displace(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        let rows = self.descriptor.rows();
        if !place.deleted && self.descriptor.parameters.record_ttl_ms() != 0 {
            self.delete_row(rows.aging(place.seq));
        }
        if place.deleted {
            self.delete_row(rows.tombstone(place.seq));
            self.head.tombstones = self.head.tombstones.saturating_sub(1);
        }
    }

    /// Takes note of what has become of a key.
    fn settle(&mut self, key: &[u8], place: Option<Place>) {
        let before = self.places.insert(key.to_vec(), place);
        self.undo.push((key.to_vec(), before.flatten()));
    }

    fn take_seq(&mut self) -> u64 {
        self.head.seq += 1;
        self.head.seq
    }

    fn slide(&mut self) {
        if self.descriptor.sliding() {
            self.head.expires_ms = self.head.expires_ms.max(self.descriptor.expires_ms(self.stamp_ms));
        }
    }

    /// Has the collection looked after once `at_ms` has passed, or earlier.
    fn look_after(&mut self, at_ms: u64) {
        if self.head.due_ms == 0 || at_ms < self.head.due_ms - 1 {
            self.look_after_next(at_ms + 1);
        }
    }

    fn put(&mut self, key: Key, payload: Vec<u8>) {
        self.ops.push(Op::Put { category: Arc::clone(&self.category), key, payload });
    }

    fn delete_row(&mut self, key: Key) {
        self.ops.push(Op::Delete { category: Arc::clone(&self.category), key });
    }
}

/// The last operation on each row, in the order of the rows: who writes them so touches each page once.
fn in_order_of_keys(mut ops: Vec<Op>) -> impl Iterator<Item = Op> {
    fn row(op: &Op) -> (&str, &[u8]) {
        match op {
            Op::Put { key, .. } | Op::Delete { key, .. } => (op.category(), key.as_bytes()),
            Op::DeleteRange { range, .. } => (op.category(), range.first()),
        }
    }
    ops.sort_by(|a, b| row(a).cmp(&row(b)));
    let mut ops = ops.into_iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let op = ops.next()?;
            if ops.peek().is_none_or(|next| row(next) != row(&op)) {
                return Some(op);
            }
        }
    })
}

/// Whether a record that was set at `stamp_ms` has expired at `now_ms`: strictly after its time.
pub(super) fn expired(descriptor: &Descriptor, stamp_ms: u64, now_ms: u64) -> bool {
    let ttl_ms = descriptor.parameters.record_ttl_ms();
    ttl_ms != 0 && now_ms > stamp_ms.saturating_add(ttl_ms)
}

fn full(what: &str, wanted: u64, bound: u64) -> Error {
    Error::new(ErrorKind::TooLarge, format!("{wanted} {what} in the collection, the bound is {bound}"))
}
