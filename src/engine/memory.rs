//! The memory engine: jobs as persistent ordered maps, for the root `:memory:` and as the tests' oracle.
//!
//! Never touches a medium: durable equals committed, and a job lives as long as its engine is open.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use imbl::OrdMap;

use super::{
    Change, Claim, Engine, EngineError, Fault, Get, Got, Look, OpenMode, Page, PageRequest, Point, Seen,
    Sharing, Site, Space, Verify, Want, Write,
};
use crate::batch::Op;
use crate::range::Span;

type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Rows that a call walks over before it lets others on its thread go on.
const ROWS_PER_TURN: usize = 1024;

/// The jobs of one `:memory:` root; two sites that were made apart do not see each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySite {
    open: Arc<Mutex<BTreeSet<String>>>,
}

/// One job in memory.
#[derive(Debug)]
pub(crate) struct MemoryEngine {
    contents: RefCell<Contents>,
    listing: RefCell<Option<Listing>>,
}

/// The job's name on its site's list, taken off when this is dropped.
#[derive(Debug)]
struct Listing {
    site: MemorySite,
    id: String,
}

/// One ordered key space; both sides shared, so that copying a path of the tree copies no bytes.
type Table = OrdMap<Arc<[u8]>, Arc<[u8]>>;

/// All that a job holds; a clone is a snapshot and costs the same whatever the job's size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// No category is empty.
    rows: OrdMap<Arc<str>, Table>,
    log: Table,
    meta: Table,
    /// Keys and payloads of everything above.
    bytes: u64,
}

impl MemorySite {
    fn open_ids(&self) -> MutexGuard<'_, BTreeSet<String>> {
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
        if open.contains(id) {
            return Err(EngineError::new(Fault::Busy, "the job in memory is open already"));
        }
        if mode != OpenMode::Create {
            return Err(EngineError::new(Fault::Missing, "a job in memory exists only while it is open"));
        }
        open.insert(id.to_owned());
        let mut contents = Contents::default();
        contents.put(&Point::record(), first_record);
        let listing = Listing { site: self.clone(), id: id.to_owned() };
        Ok(MemoryEngine { contents: RefCell::new(contents), listing: RefCell::new(Some(listing)) })
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
        Ok(self.open_ids().iter().cloned().collect())
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

    async fn get(&self, get: Get, verify: Verify) -> Result<Seen<Got>> {
        let contents = self.snapshot();
        let found: Vec<_> = get.points.iter().map(|point| contents.get(point)).collect();
        let found_none = found.iter().all(Option::is_none);
        let bytes: usize = match get.presence_only {
            true => 0,
            false => found.iter().flatten().map(|payload| payload.len()).sum(),
        };
        let got = if bytes > get.bytes_max {
            Got::TooLarge(bytes)
        } else {
            let payload = |payload: &Arc<[u8]>| if get.presence_only { Vec::new() } else { payload.to_vec() };
            Got::Payloads(found.into_iter().map(|row| row.map(payload)).collect())
        };
        Ok(contents.seen(got, found_none, verify))
    }

    async fn page(&self, page: PageRequest, verify: Verify) -> Result<Seen<Page>> {
        let contents = self.snapshot();
        let found = match contents.table(&page.space) {
            Some(table) => read_page(table, &page).await,
            None => Page::default(),
        };
        let found_none = found.rows.is_empty();
        Ok(contents.seen(found, found_none, verify))
    }

    async fn count(&self, category: Arc<str>, span: Span, verify: Verify) -> Result<Seen<u64>> {
        let contents = self.snapshot();
        let mut count = 0;
        if let Some(table) = contents.rows.get(&category) {
            let mut turn = Turn::default();
            for _row in rows_of(table, &span) {
                count += 1;
                turn.step().await;
            }
        }
        Ok(contents.seen(count, count == 0, verify))
    }

    async fn categories(&self, bytes_max: usize, verify: Verify) -> Result<Seen<Vec<String>>> {
        let contents = self.snapshot();
        let mut names = Vec::new();
        let mut bytes = 0;
        let mut turn = Turn::default();
        for name in contents.rows.keys() {
            bytes += name.len();
            if bytes > bytes_max {
                let message = format!("the categories' names are more than {bytes_max} bytes");
                return Err(EngineError::new(Fault::TooLarge, message));
            }
            names.push(name.to_string());
            turn.step().await;
        }
        let found_none = names.is_empty();
        Ok(contents.seen(names, found_none, verify))
    }

    /// Works on a copy that becomes the job's contents at once in the end; whatever happens before,
    /// a panic of the decision or a dropped future, leaves them as they were.
    async fn apply(&self, change: Change) -> Result<()> {
        let mut next = self.snapshot();
        let found = change.reads.iter().map(|look| next.look(look)).collect();
        if let Some(writes) = (change.decide)(found) {
            for write in &writes {
                next.write(write).await;
            }
            *self.contents.borrow_mut() = next;
        }
        Ok(())
    }

    async fn check(&self) -> Result<Vec<String>> {
        let contents = self.snapshot();
        let mut findings = Vec::new();
        let mut bytes = 0;
        let mut turn = Turn::default();
        for table in contents.rows.values().chain([&contents.log, &contents.meta]) {
            for (key, payload) in table {
                bytes += row_bytes(key, payload);
                turn.step().await;
            }
        }
        if bytes != contents.bytes {
            findings
                .push(format!("The job holds {bytes} bytes, not the {} that it counted.", contents.bytes));
        }
        if contents.rows.values().any(Table::is_empty) {
            findings.push("A category without rows is listed.".to_owned());
        }
        Ok(findings)
    }

    async fn compact(&self) -> Result<()> {
        Ok(())
    }

    /// Keys and payloads of rows, log and record.
    async fn bytes(&self) -> Result<Option<u64>> {
        Ok(Some(self.contents.borrow().bytes))
    }

    async fn close(&self) -> Result<()> {
        self.contents.take();
        self.listing.take();
        Ok(())
    }
}

impl MemoryEngine {
    /// What the job holds now; later commits do not change it.
    pub(crate) fn snapshot(&self) -> Contents {
        self.contents.borrow().clone()
    }

    /// Makes the job hold what it held when the snapshot was taken.
    #[cfg(test)]
    pub(crate) fn restore(&self, contents: Contents) {
        self.contents.replace(contents);
    }
}

impl Contents {
    fn table(&self, space: &Space) -> Option<&Table> {
        match space {
            Space::Rows(category) => self.rows.get(category),
            Space::Log => Some(&self.log),
            Space::Meta => Some(&self.meta),
        }
    }

    fn table_mut(&mut self, space: &Space) -> &mut Table {
        match space {
            Space::Rows(category) => self.rows.entry(Arc::clone(category)).or_default(),
            Space::Log => &mut self.log,
            Space::Meta => &mut self.meta,
        }
    }

    fn get(&self, point: &Point) -> Option<&Arc<[u8]>> {
        self.table(&point.space)?.get(point.key.as_slice())
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

    /// What a read found, with the record of the same snapshot where it is wanted.
    fn seen<T>(&self, value: T, found_none: bool, verify: Verify) -> Seen<T> {
        let wanted = match verify {
            Verify::Never => false,
            Verify::WhenEmpty => found_none,
            Verify::Always => true,
        };
        let record = wanted.then(|| self.get(&Point::record()).map(|record| record.to_vec()));
        Seen { value, record }
    }

    async fn write(&mut self, write: &Write) {
        match write {
            Write::Rows(operations) => {
                let mut turn = Turn::default();
                for op in operations.iter() {
                    self.operate(op).await;
                    turn.step().await;
                }
            }
            Write::Put(point, value) => self.put(point, value),
            Write::DeleteSpan(space, span) => self.delete_span(space, span).await,
            Write::Empty => {
                let meta = std::mem::take(&mut self.meta);
                let bytes = meta.iter().map(|(key, payload)| row_bytes(key, payload)).sum();
                *self = Contents { meta, bytes, ..Contents::default() };
            }
        }
    }

    async fn operate(&mut self, op: &Op) {
        let space = Space::Rows(Arc::clone(op.category_shared()));
        match op {
            Op::Put { key, payload, .. } => {
                self.put(&Point { space, key: key.as_bytes().to_vec() }, payload);
            }
            Op::Delete { key, .. } => self.delete(&space, key.as_bytes()),
            Op::DeleteRange { range, .. } => self.delete_span(&space, &range.span()).await,
        }
    }

    fn put(&mut self, point: &Point, payload: &[u8]) {
        let old = self.table_mut(&point.space).insert(Arc::from(point.key.as_slice()), Arc::from(payload));
        self.bytes += row_bytes(&point.key, payload);
        if let Some(old) = old {
            self.bytes -= row_bytes(&point.key, &old);
        }
    }

    fn delete(&mut self, space: &Space, key: &[u8]) {
        // Asked first, since a category must not come into being by a deletion.
        if self.table(space).is_none_or(|table| !table.contains_key(key)) {
            return;
        }
        let table = self.table_mut(space);
        let old = table.remove(key);
        let emptied = table.is_empty();
        if let Some(old) = old {
            self.bytes -= row_bytes(key, &old);
        }
        if let (true, Space::Rows(category)) = (emptied, space) {
            self.rows.remove(category);
        }
    }

    async fn delete_span(&mut self, space: &Space, span: &Span) {
        let Some(table) = self.table(space).cloned() else { return };
        let mut turn = Turn::default();
        for (key, _) in rows_of(&table, span) {
            self.delete(space, key);
            turn.step().await;
        }
    }
}

async fn read_page(table: &Table, request: &PageRequest) -> Page {
    let mut rows = rows_of(table, &request.span);
    let mut page = Page::default();
    let mut bytes = 0;
    let mut turn = Turn::default();
    while let Some((key, payload)) = if request.reverse { rows.next_back() } else { rows.next() } {
        let payload: &[u8] = if request.keys_only { &[] } else { payload };
        bytes += key.len() + payload.len();
        let first = page.rows.is_empty();
        if !first && (page.rows.len() >= request.rows_max || bytes > request.bytes_max) {
            page.more = true;
            break;
        }
        page.rows.push((key.to_vec(), payload.to_vec()));
        turn.step().await;
    }
    page
}

/// The rows of a span in key order, from either end; none where it is empty or inverted.
fn rows_of<'a>(
    table: &'a Table,
    span: &'a Span,
) -> impl DoubleEndedIterator<Item = (&'a Arc<[u8]>, &'a Arc<[u8]>)> {
    let end = span.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(span.start.as_slice()), end);
    // What an inverted range means is not left to the map.
    let rows = (!span.is_empty()).then(|| table.range::<_, [u8]>(bounds));
    rows.into_iter().flatten()
}

fn row_bytes(key: &[u8], payload: &[u8]) -> u64 {
    (key.len() + payload.len()) as u64
}

/// Counts a walk's steps and lets others on the thread go on after every [`ROWS_PER_TURN`].
#[derive(Default)]
struct Turn(usize);

impl Turn {
    async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(ROWS_PER_TURN) {
            yield_now().await;
        }
    }
}

/// Lets the other tasks of the thread that are ready go on once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
