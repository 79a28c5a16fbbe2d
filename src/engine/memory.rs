//! The memory engine: jobs as ordered maps, for the root `:memory:` and as the tests' oracle.
//!
//! Never touches a medium: durable equals committed, and a job lives as long as its engine is open.
//!
//! A long walk lets others on its thread go on, and has one view all the same: a write waits until the
//! walks under way are through, then decides and writes without a pause. Gets wait for nothing.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::row_key::{Bounds, after_category, category_prefix, split_row_key};
use super::table::Table;
use super::{
    Change, Claim, Engine, EngineError, Fault, Found, Get, Got, Look, OpenMode, Page, PageRequest, Point,
    Query, RECORD_KEY, Seen, Sharing, Site, Space, Verify, Want, Write,
};
use crate::batch::Op;
use crate::names::Names;
use crate::pace::yield_now;
use crate::range::Span;
use crate::room::{Room, Size};

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Rows that a call walks over before it lets others on its thread go on.
const ROWS_PER_TURN: usize = 1024;
/// Walks that go on at the same time; further ones wait.
const WALKS_MAX: usize = crate::limits::READS_MAX;
/// What a write takes of the turn.
const ALONE: Size = Size { count: WALKS_MAX, bytes: 0 };

/// The jobs of one `:memory:` root; two sites that were made apart do not see each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySite {
    open: Arc<Mutex<Names<()>>>,
}

/// One job in memory.
#[derive(Debug)]
pub(crate) struct MemoryEngine {
    contents: RefCell<Contents>,
    /// Walks share it and a write has it alone.
    turn: Arc<Room>,
    listing: RefCell<Option<Listing>>,
}

/// The job's name on its site's list, taken off when this is dropped.
#[derive(Debug)]
struct Listing {
    site: MemorySite,
    id: String,
}

/// All that a job holds.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Contents {
    /// By row keys: the rows of all categories.
    rows: Table,
    log: Table,
    meta: Table,
    /// Keys and payloads of everything above.
    bytes: u64,
}

impl MemorySite {
    fn open_ids(&self) -> MutexGuard<'_, Names<()>> {
        // A set of names is whole whatever panicked while it was held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.site.open_ids().remove(&self.id);
    }
}

impl MemorySite {
    /// The root opens a job once, so one that is open already is `Busy`.
    pub(crate) fn open_now(&self, id: &str, mode: OpenMode, first_record: &[u8]) -> Result<MemoryEngine> {
        let mut open = self.open_ids();
        if open.get(id).is_some() {
            return Err(EngineError::new(Fault::Busy, "the job in memory is open already"));
        }
        if mode != OpenMode::Create {
            return Err(EngineError::new(Fault::Missing, "a job in memory exists only while it is open"));
        }
        open.insert(id, ());
        let mut contents = Contents::default();
        contents.put(&Space::Meta, RECORD_KEY, first_record);
        let listing = Listing { site: self.clone(), id: id.to_owned() };
        Ok(MemoryEngine {
            contents: RefCell::new(contents),
            turn: Room::new(WALKS_MAX, 0),
            listing: RefCell::new(Some(listing)),
        })
    }
}

#[async_trait(?Send)]
impl Site for MemorySite {
    fn is_private(&self) -> bool {
        true
    }

    async fn claim(&self) -> Result<Arc<dyn Claim>> {
        Ok(Arc::new(()))
    }

    async fn open(&self, id: &str, mode: OpenMode, first_record: Vec<u8>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(self.open_now(id, mode, &first_record)?))
    }

    async fn list(&self) -> Result<Vec<String>> {
        Ok(self.open_ids().names())
    }

    async fn destroy(&self, _id: &str) -> Result<()> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl Engine for MemoryEngine {
    fn sharing(&self) -> Sharing {
        Sharing::Exclusive
    }

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen> {
        let found = match query {
            Query::Get(get) => Found::Got(self.contents.borrow().get_all(&get)),
            Query::Page(request) => Found::Page(self.read_page(&request).await),
            Query::Count { category, span } => Found::Count(self.count_rows(category, &span).await),
            Query::Categories { bytes_max } => {
                Found::Categories(self.contents.borrow().categories(bytes_max)?)
            }
            Query::Damage => Found::Damage(self.contents.borrow().damage()),
            // Keys and payloads of rows, log and record.
            Query::Size => Found::Size(Some(self.contents.borrow().bytes)),
        };
        let record = verify.wants(&found).then(|| self.contents.borrow().meta.get(RECORD_KEY).cloned());
        Ok(Seen { found, record })
    }

    /// Nothing is written before all is decided, and nothing can go wrong after that; whatever happens
    /// before, a panic of the decision or a dropped future, leaves the contents as they were.
    async fn apply(&self, change: Change) -> Result<()> {
        let _turn = self.turn.take(ALONE).await;
        let found = change.reads.iter().map(|look| self.contents.borrow().look(look)).collect();
        if let Some(writes) = (change.decide)(found) {
            let mut contents = self.contents.borrow_mut();
            writes.iter().for_each(|write| contents.write(write));
        }
        Ok(())
    }

    async fn compact(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.contents.take();
        self.listing.take();
        Ok(())
    }
}

impl MemoryEngine {
    /// What the job holds now; later commits do not change it.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Contents {
        self.contents.borrow().clone()
    }

    /// Makes the job hold what it held when the snapshot was taken.
    #[cfg(test)]
    pub(crate) fn restore(&self, contents: Contents) {
        self.contents.replace(contents);
    }

    async fn read_page(&self, request: &PageRequest) -> Page {
        let mut page = Page::default();
        let mut bytes = 0;
        let mut take = |key: &[u8], payload: &[u8]| {
            let payload = if request.keys_only { &[] } else { payload };
            bytes += key.len() + payload.len();
            let full = page.rows.len() >= request.rows_max || bytes > request.bytes_max;
            if full && !page.rows.is_empty() {
                page.more = true;
                return false;
            }
            page.rows.push(key, payload);
            true
        };
        self.walk(&request.space, &request.span, request.reverse, &mut take).await;
        page
    }

    async fn count_rows(&self, category: Arc<str>, span: &Span) -> u64 {
        let mut count = 0;
        let mut take = |_: &[u8], _: &[u8]| {
            count += 1;
            true
        };
        self.walk(&Space::Rows(category), span, false, &mut take).await;
        count
    }

    /// Shows the rows of a span in key order, from either end, until `take` has enough.
    async fn walk(
        &self,
        space: &Space,
        span: &Span,
        reverse: bool,
        take: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let _turn = self.turn.take(Size::ONE).await;
        let prefix = prefix_of(space);
        let Some(mut bounds) = Bounds::of(&prefix, span) else { return };
        loop {
            let last = {
                let contents = self.contents.borrow();
                let mut rows = contents.table(space).range(&bounds);
                let mut last = None;
                for _ in 0..ROWS_PER_TURN {
                    let Some((key, payload)) = (if reverse { rows.next_back() } else { rows.next() }) else {
                        return;
                    };
                    if !take(&key[prefix.len()..], payload) {
                        return;
                    }
                    last = Some(key);
                }
                last.cloned().unwrap_or_default()
            };
            if !bounds.narrow(last, reverse) {
                return;
            }
            yield_now().await;
        }
    }
}

impl Contents {
    /// A row's payload.
    #[cfg(test)]
    pub(crate) fn row(&self, category: &str, key: &[u8]) -> Option<&Vec<u8>> {
        self.rows.get(&super::row_key::row_key(category, key))
    }

    fn table(&self, space: &Space) -> &Table {
        match space {
            Space::Rows(_) => &self.rows,
            Space::Log => &self.log,
            Space::Meta => &self.meta,
        }
    }

    fn table_mut(&mut self, space: &Space) -> &mut Table {
        match space {
            Space::Rows(_) => &mut self.rows,
            Space::Log => &mut self.log,
            Space::Meta => &mut self.meta,
        }
    }

    fn get(&self, point: &Point) -> Option<&Vec<u8>> {
        self.table(&point.space).get(&key_of(&point.space, &point.key))
    }

    /// No more of a payload than the decision wants to see.
    fn look(&self, look: &Look) -> Option<Vec<u8>> {
        let bytes_max = match look.want {
            Want::Presence => 0,
            // One byte more tells that it is longer.
            Want::Payload(max) => max.saturating_add(1),
        };
        self.get(&look.point).map(|payload| payload[..payload.len().min(bytes_max)].to_vec())
    }

    fn get_all(&self, get: &Get) -> Got {
        let found: Vec<_> = get.points.iter().map(|point| self.get(point)).collect();
        if get.presence_only {
            return Got::Payloads(found.into_iter().map(|row| row.map(|_| Vec::new())).collect());
        }
        let bytes = found.iter().flatten().map(|payload| payload.len()).sum();
        match bytes > get.bytes_max {
            true => Got::TooLarge(bytes),
            false => Got::Payloads(found.into_iter().map(Option::<&Vec<u8>>::cloned).collect()),
        }
    }

    /// Goes from one category to the next, whatever they hold.
    fn categories(&self, bytes_max: usize) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut bytes = 0;
        let mut bounds = Bounds { lower: Vec::new(), upper: None };
        while let Some((row, _)) = self.rows.range(&bounds).next() {
            let (name, prefix) = split_row_key(row).ok_or_else(misplaced)?;
            bytes += name.len();
            if bytes > bytes_max {
                let message = format!("the categories' names are more than {bytes_max} bytes");
                return Err(EngineError::new(Fault::TooLarge, message));
            }
            bounds.lower = after_category(&row[..prefix]).unwrap_or_default();
            names.push(name);
        }
        Ok(names)
    }

    fn damage(&self) -> Vec<String> {
        let mut damage = Vec::new();
        let mut bytes = bytes_of(&self.rows) + bytes_of(&self.log) + bytes_of(&self.meta);
        for (row, _) in self.rows.rows() {
            match split_row_key(row) {
                // What a row weighs does not count how its category is written.
                Some((_, prefix)) => bytes -= prefix as u64,
                None => damage.push(misplaced().message.clone()),
            }
        }
        if bytes != self.bytes {
            damage.push(format!("The job holds {bytes} bytes, not the {} that it counted.", self.bytes));
        }
        damage
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Rows(operations) => operations.iter().for_each(|op| self.operate(op)),
            Write::Put(Point { space, key }, value) => self.put(space, key, value),
            Write::Log(values) => values.iter().for_each(|(key, value)| self.put(&Space::Log, key, value)),
            Write::DeleteSpan(space, span) => self.delete_span(space, span),
            Write::Empty => {
                let meta = std::mem::take(&mut self.meta);
                let bytes = bytes_of(&meta);
                *self = Contents { meta, bytes, ..Contents::default() };
            }
        }
    }

    fn operate(&mut self, op: &Op) {
        let space = Space::Rows(Arc::clone(op.category_shared()));
        match op {
            Op::Put { key, payload, .. } => self.put(&space, key.as_bytes(), payload),
            Op::Delete { key, .. } => self.delete(&space, &key_of(&space, key.as_bytes())),
            Op::DeleteRange { range, .. } => self.delete_span(&space, &range.span()),
        }
    }

    fn put(&mut self, space: &Space, key: &[u8], payload: &[u8]) {
        let old = self.table_mut(space).insert(key_of(space, key), payload.to_vec());
        self.bytes += payload.len() as u64;
        match old {
            Some(old) => self.bytes -= old.len() as u64,
            None => self.bytes += key.len() as u64,
        }
    }

    /// Removes what lies under a key of the table.
    fn delete(&mut self, space: &Space, key: &[u8]) {
        if let Some(old) = self.table_mut(space).remove(key) {
            self.bytes -= (key.len() - prefix_of(space).len() + old.len()) as u64;
        }
    }

    fn delete_span(&mut self, space: &Space, span: &Span) {
        let Some(bounds) = Bounds::of(&prefix_of(space), span) else { return };
        let keys: Vec<_> = self.table(space).range(&bounds).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.delete(space, key));
    }
}

/// What the keys of a space begin with in their table.
fn prefix_of(space: &Space) -> Vec<u8> {
    match space {
        Space::Rows(category) => category_prefix(category),
        Space::Log | Space::Meta => Vec::new(),
    }
}

fn key_of(space: &Space, key: &[u8]) -> Vec<u8> {
    [&prefix_of(space), key].concat()
}

fn bytes_of(table: &Table) -> u64 {
    table.rows().map(|(key, payload)| (key.len() + payload.len()) as u64).sum()
}

fn misplaced() -> EngineError {
    EngineError::new(Fault::Corrupt, "a row's key begins with no category")
}
