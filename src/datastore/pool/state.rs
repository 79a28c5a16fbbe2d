//! What a pool knows of its members and items beside the items themselves, and when it has converged.
//!
//! Pure. Items have numbers in the order of their arrival, so what a member has is a few ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::layout::{
    DUE, Descriptor, Parameters, ROWS, Reader, Rows, What, corrupt, due_key, name_key,
};
use super::super::names::Lease;
use super::super::options::{NAME_BYTES_MAX, check_name};
use crate::batch::{Batch, Op};
use crate::error::{Error, ErrorKind, Result};
use crate::scan::Row;

/// Ranges of numbers that are kept of a member at most: so all members are read in one view. The first ones are
/// kept, so that whoever acknowledges what he is told, which begins with the first, gets through.
const RANGES_MAX: usize = 1024;

/// The pool's head. Every change of the pool changes it, and is checked against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// How often the pool has converged.
    pub(super) round: u64,
    /// Items up to this number went with earlier rounds.
    pub(super) base: u64,
    /// The number of the last item.
    pub(super) last: u64,
    /// Of the items that are there.
    pub(super) bytes: u64,
    /// How many members there were at one time in this round, at most.
    pub(super) peak: u64,
    /// Counts changes.
    pub(super) version: u64,
    pub(super) last_ms: u64,
    /// When the pool expires; 0 for never.
    pub(super) expires_ms: u64,
    /// Where its row in the index of what is due is; 0 for nowhere.
    pub(super) due_ms: u64,
}

impl Head {
    pub(super) fn new(lease: Lease, now_ms: u64) -> Self {
        Head { last_ms: now_ms, expires_ms: lease.expires_ms, due_ms: lease.due_ms, ..Head::default() }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Head { round, base, last, bytes, peak, version, last_ms, expires_ms, due_ms } = self;
        let numbers = [round, base, last, bytes, peak, version, last_ms, expires_ms, due_ms].into_iter();
        numbers.flat_map(|number| number.to_be_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let head = Head {
            round: reader.count()?,
            base: reader.count()?,
            last: reader.count()?,
            bytes: reader.count()?,
            peak: reader.count()?,
            version: reader.count()?,
            last_ms: reader.count()?,
            expires_ms: reader.count()?,
            due_ms: reader.count()?,
        };
        reader.end()?;
        if head.base > head.last { Err(corrupt()) } else { Ok(head) }
    }

    pub(super) fn expired(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && now_ms > self.expires_ms
    }
}

/// Numbers of items as ranges: from each key to its value, both included; neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    pub(super) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let above = number.checked_add(1).and_then(|next| self.0.remove(&next));
        let end = above.unwrap_or(number);
        match self.0.range_mut(..number).next_back() {
            Some((_, below)) if number.checked_sub(1) == Some(*below) => *below = end,
            _ => drop(self.0.insert(number, end)),
        }
    }

    /// Keeps so many ranges at most, the first ones.
    fn keep(&mut self, ranges: usize) {
        if let Some(beyond) = self.0.keys().nth(ranges).copied() {
            self.0.split_off(&beyond);
        }
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, end)| number <= *end)
    }

    /// The ranges after `base` up to `last` that are not in it.
    pub(super) fn gaps(&self, base: u64, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = base + 1;
        for (&start, &end) in self.0.range(..=last) {
            if start > next {
                gaps.push((next, start - 1));
            }
            next = next.max(end + 1);
        }
        if next <= last {
            gaps.push((next, last));
        }
        gaps
    }

    fn encode(&self) -> impl Iterator<Item = u8> {
        self.0.iter().flat_map(|(start, end)| [start.to_be_bytes(), end.to_be_bytes()]).flatten()
    }
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) seen_ms: u64,
    /// The pool's count of changes when it joined: another one if it has joined anew.
    pub(super) joined: u64,
    /// The items that it has.
    pub(super) has: Numbers,
}

impl Member {
    fn encode(&self) -> Vec<u8> {
        let numbers = [self.seen_ms, self.joined].into_iter().flat_map(u64::to_be_bytes);
        numbers.chain(self.has.encode()).collect()
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let (seen_ms, joined) = (reader.number()?, reader.number()?);
        let mut has = BTreeMap::new();
        while reader.end().is_err() {
            has.insert(reader.count()?, reader.count()?);
        }
        let member = Member { seen_ms, joined, has: Numbers(has) };
        Ok(member)
    }
}

/// A pool as one view shows it, and what a change makes of it.
pub(super) struct State {
    before: Vec<u8>,
    due_before: u64,
    pub(super) head: Head,
    pub(super) members: BTreeMap<String, Member>,
    /// Members that are to be written, or removed if they are no more.
    changed: BTreeSet<String>,
    ops: Vec<Op>,
    now_ms: u64,
    /// Whether a member is heard of by this change.
    heard: bool,
}

impl State {
    /// Reads the head and the members; `None` if there is no pool any more.
    pub(super) fn read(rows: &[Row], keys: Rows, now_ms: u64) -> Result<Option<Self>> {
        let Some((head, members)) = rows.split_first() else { return Ok(None) };
        let name_at = keys.member("").len();
        let mut state = State {
            before: head.payload.clone(),
            due_before: 0,
            head: Head::decode(&head.payload)?,
            members: BTreeMap::new(),
            changed: BTreeSet::new(),
            ops: Vec::new(),
            now_ms,
            heard: false,
        };
        state.due_before = state.head.due_ms;
        state.now_ms = now_ms.max(state.head.last_ms);
        for row in members {
            let name = row.key.as_bytes().get(name_at..).unwrap_or_default().to_vec();
            let name = String::from_utf8(name).map_err(|_| corrupt())?;
            state.members.insert(name, Member::decode(&row.payload)?);
        }
        Ok(Some(state))
    }

    /// The member, made if it is not there; it has been seen now.
    pub(super) fn join(&mut self, name: &str, parameters: &Parameters) -> Result<()> {
        check_name("member", name, NAME_BYTES_MAX)?;
        if !self.members.contains_key(name) && self.members.len() as u64 >= parameters.members_max() {
            let message = format!("more than {} members of a pool", parameters.members_max());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let anew = Member { joined: self.head.version, ..Member::default() };
        self.members.entry(name.to_owned()).or_insert(anew).seen_ms = self.now_ms;
        self.changed.insert(name.to_owned());
        self.heard = true;
        self.head.peak = self.head.peak.max(self.members.len() as u64);
        Ok(())
    }

    pub(super) fn leave(&mut self, name: &str) -> bool {
        self.changed.insert(name.to_owned());
        self.members.remove(name).is_some()
    }

    /// Members that have not been seen for too long have left.
    ///
    /// Unless nobody at all has been seen for so long, as after the machine was suspended: that says nothing
    /// about any of them, and each has as long again to be heard of.
    pub(super) fn drop_silent(&mut self, timeout_ms: u64) {
        let heard_ms = self.members.values().map(|member| member.seen_ms).max().unwrap_or_default();
        if self.now_ms > heard_ms.saturating_add(timeout_ms) {
            for (name, member) in &mut self.members {
                member.seen_ms = self.now_ms;
                self.changed.insert(name.clone());
            }
        }
        let silent = |member: &Member| self.now_ms > member.seen_ms.saturating_add(timeout_ms);
        let gone: Vec<String> =
            self.members.iter().filter(|(_, member)| silent(member)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.leave(&name);
        }
    }

    /// The member has the items of these numbers.
    pub(super) fn has(&mut self, name: &str, numbers: impl IntoIterator<Item = u64>) {
        if let Some(member) = self.members.get_mut(name) {
            numbers.into_iter().for_each(|number| member.has.insert(number));
            member.has.keep(RANGES_MAX);
            self.changed.insert(name.to_owned());
        }
    }

    /// Adds an item that is not there yet; returns its number.
    pub(super) fn add(
        &mut self,
        keys: Rows,
        hash: &[u8],
        data: &[u8],
        parameters: &Parameters,
    ) -> Result<u64> {
        let items = self.head.last - self.head.base + 1;
        let bytes = self.head.bytes + data.len() as u64;
        for (what, wanted, bound) in
            [("items", items, parameters.records_max()), ("bytes", bytes, parameters.bytes_max())]
        {
            if wanted > bound {
                let message = format!("{wanted} {what} in the pool, the bound is {bound}");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
        }
        self.head.last += 1;
        self.head.bytes = bytes;
        let number = self.head.last;
        let category: Arc<str> = Arc::from(ROWS);
        let payload = number.to_be_bytes().to_vec();
        self.ops.push(Op::Put { category: Arc::clone(&category), key: keys.hash(hash), payload });
        let payload = [hash, data].concat();
        self.ops.push(Op::Put { category, key: keys.item(number), payload });
        Ok(number)
    }

    /// Whether every member has every item, and enough members have been there.
    pub(super) fn converged(&self, parameters: &Parameters) -> bool {
        let Head { base, last, peak, .. } = self.head;
        last > base
            && peak >= parameters.members_needed()
            && !self.members.is_empty()
            && self.members.values().all(|member| member.has.gaps(base, last).is_empty())
    }

    /// The batch of the change; a pool that has converged is emptied in it.
    pub(super) fn finish(mut self, descriptor: &Descriptor, id: &str) -> (Batch, Head) {
        let (keys, parameters) = (descriptor.rows(), &descriptor.parameters);
        let mut batch = Batch::new().require_equal(ROWS, keys.pool(), std::mem::take(&mut self.before));
        let emptied = self.converged(parameters);
        if emptied {
            self.head.round += 1;
            self.head.base = self.head.last;
            self.head.bytes = 0;
            self.head.peak = self.members.len() as u64;
            for (name, member) in &mut self.members {
                member.has = Numbers::default();
                self.changed.insert(name.clone());
            }
        }
        self.head.version += 1;
        self.head.last_ms = self.now_ms;
        if self.heard && descriptor.sliding() {
            self.head.expires_ms = self.head.expires_ms.max(descriptor.expires_ms(self.now_ms));
        }
        self.ops.into_iter().for_each(|op| batch.push(op));
        if emptied {
            batch = batch.delete_range(ROWS, keys.items_and_hashes());
        }
        for name in &self.changed {
            batch = match self.members.get(name) {
                Some(member) => batch.put(ROWS, keys.member(name), member.encode()),
                None => batch.delete(ROWS, keys.member(name)),
            };
        }
        if self.head.due_ms != self.due_before {
            let generation = descriptor.generation;
            batch = batch.delete(DUE, due_key(self.due_before, generation)).put(
                DUE,
                due_key(self.head.due_ms, generation),
                name_key(What::Pool, id).into_bytes(),
            );
        }
        (batch.put(ROWS, keys.pool(), self.head.encode()), self.head)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::{Random, test};

    #[test]
    fn numbers_are_a_set_of_ranges_that_do_not_touch() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut numbers, mut model) = (Numbers::default(), BTreeSet::new());
            for _ in 0..random.below(60) {
                let number = 1 + random.below(40) as u64;
                numbers.insert(number);
                model.insert(number);
                assert!((1..45).all(|number| numbers.contains(number) == model.contains(&number)));
                let ranges: Vec<_> = numbers.0.iter().collect();
                assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0), "{ranges:?}");
                let base = random.below(20) as u64;
                let missing: Vec<u64> = (base + 1..=40).filter(|number| !model.contains(number)).collect();
                let gaps = numbers.gaps(base, 40).into_iter().flat_map(|(from, to)| from..=to);
                assert_eq!(gaps.collect::<Vec<_>>(), missing, "seed {seed}");
            }
            let member = Member { seen_ms: 7, joined: 3, has: numbers };
            assert_eq!(Member::decode(&member.encode()).unwrap(), member);
        }
    }

    #[test]
    fn a_row_that_ends_early_is_corrupt() {
        let head = Head { round: 1, base: 2, last: 3, ..Head::default() };
        assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        assert_eq!(Head::decode(&head.encode()[1..]).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(Member::decode(&[0; 17]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
