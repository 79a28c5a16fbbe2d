//! The engine of one open job: the contract's primitives as calls to `engine.js`.
//!
//! Never connects again by itself: a lost connection is an answer, and the worker decides.

use std::sync::Arc;

use async_trait::async_trait;

use super::bridge::{Answer, Call, Database, Packed, code};
use super::layout::Area;
use crate::engine::{
    Change, Engine, EngineError, Fault, Get, Got, Look, OpenMode, Page, PageRequest, Seen, Sharing, Verify,
    Want,
};
use crate::range::Span;

/// An open job. All its calls belong to one thread and may overlap.
pub(crate) struct IndexedDbEngine {
    database: Database,
    mode: OpenMode,
}

impl IndexedDbEngine {
    /// The job in the database of this name, not connected yet.
    pub(super) fn new(name: &str, mode: OpenMode) -> Self {
        IndexedDbEngine { database: Database::new(name), mode }
    }

    /// Connects to an existing database of our version; `Missing` if there is none.
    pub(super) async fn connect(&self) -> Result<(), EngineError> {
        self.ask(code::CONNECT, Packed::default()).await.map(drop)
    }

    /// Makes sure that the job has its record; writes the first one into a database that is empty.
    pub(super) async fn ensure_record(&self, first_record: &[u8]) -> Result<(), EngineError> {
        let mut request = Packed::default();
        request.byte(self.mode == OpenMode::Create).bytes(first_record);
        self.ask(code::ENSURE, request).await.map(drop)
    }

    fn ask(&self, code: u8, request: Packed) -> Call {
        Call::begin(&self.database, code, request, None)
    }
}

impl Drop for IndexedDbEngine {
    fn drop(&mut self) {
        self.database.close();
    }
}

impl Packed {
    fn look(&mut self, Look { point, want }: &Look) {
        let area = Area::of(&point.space);
        // One byte more than may be seen tells that there are more.
        let want = match want {
            Want::Presence => 0,
            Want::Payload(bytes) => bytes.saturating_add(1),
        };
        self.number(want).store(area.store).key(&area, &point.key);
    }
}

#[async_trait(?Send)]
impl Engine for IndexedDbEngine {
    fn sharing(&self) -> Sharing {
        match self.mode {
            OpenMode::ReadOnly => Sharing::ReadOnly,
            OpenMode::Create | OpenMode::MustExist => Sharing::Shared,
        }
    }

    async fn get(&self, get: Get, verify: Verify) -> Result<Seen<Got>, EngineError> {
        let Get { points, presence_only, bytes_max } = get;
        if points.is_empty() && verify == Verify::Never {
            return Ok(Seen { value: Got::Payloads(Vec::new()), record: None });
        }
        let want = if presence_only { Want::Presence } else { Want::Payload(usize::MAX) };
        let mut request = Packed::default();
        request.verify(verify).number(bytes_max);
        points.into_iter().for_each(|point| request.look(&Look { point, want }));
        let Answer { number, items, record } = self.ask(code::GET, request).await?;
        let value = if number == 0 { Got::Payloads(items) } else { Got::TooLarge(number as usize) };
        Ok(Seen { value, record })
    }

    async fn page(&self, page: PageRequest, verify: Verify) -> Result<Seen<Page>, EngineError> {
        let area = Area::of(&page.space);
        let bounds = area.bounds(&page.span);
        let mut request = Packed::default();
        request.verify(verify).store(area.store).number(area.prefix.len());
        request.number(page.rows_max).number(page.bytes_max);
        request.byte(page.reverse).byte(page.keys_only).bounds(bounds.as_ref());
        let Answer { number, items, record } = self.ask(code::PAGE, request).await?;
        let mut items = items.into_iter().map(Option::unwrap_or_default);
        let mut rows = Vec::new();
        while let Some(key) = items.next() {
            let payload = if page.keys_only { None } else { items.next() };
            rows.push((key, payload.unwrap_or_default()));
        }
        Ok(Seen { value: Page { rows, more: number == 1 }, record })
    }

    async fn count(&self, category: Arc<str>, span: Span, verify: Verify) -> Result<Seen<u64>, EngineError> {
        let mut request = Packed::default();
        request.verify(verify).bounds(Area::of_category(&category).bounds(&span).as_ref());
        let Answer { number, record, .. } = self.ask(code::COUNT, request).await?;
        Ok(Seen { value: number.into(), record })
    }

    async fn categories(&self, bytes_max: usize, verify: Verify) -> Result<Seen<Vec<String>>, EngineError> {
        let mut request = Packed::default();
        request.verify(verify).number(bytes_max);
        let Answer { items, record, .. } = self.ask(code::CATEGORIES, request).await?;
        Ok(Seen { value: texts(items)?, record })
    }

    async fn apply(&self, change: Change) -> Result<(), EngineError> {
        let Change { reads, decide, durable } = change;
        let mut request = Packed::default();
        request.byte(durable);
        reads.iter().for_each(|look| request.look(look));
        Call::begin(&self.database, code::APPLY, request, Some(decide)).await.map(drop)
    }

    fn abort(&self) {
        self.database.abort();
    }

    async fn reconnect(&self) -> Result<(), EngineError> {
        self.connect().await
    }

    async fn changed(&self) {
        // Nobody refuses to listen.
        let _ = self.ask(code::LISTEN, Packed::default()).await;
    }

    fn announce(&self, generation: [u8; 16], seq: u64) {
        self.database.announce([&generation[..], &seq.to_be_bytes()].concat());
    }

    async fn check(&self) -> Result<Vec<String>, EngineError> {
        texts(self.ask(code::CHECK, Packed::default()).await?.items)
    }

    async fn compact(&self) -> Result<(), EngineError> {
        self.ask(code::COMPACT, Packed::default()).await.map(drop)
    }

    async fn bytes(&self) -> Result<Option<u64>, EngineError> {
        Ok(None)
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.database.close();
        Ok(())
    }
}

/// Items that are UTF-8.
fn texts(items: Vec<Option<Vec<u8>>>) -> Result<Vec<String>, EngineError> {
    let text = |item: Option<Vec<u8>>| String::from_utf8(item.unwrap_or_default()).ok();
    let texts: Option<Vec<String>> = items.into_iter().map(text).collect();
    texts.ok_or_else(|| EngineError::new(Fault::Corrupt, "a row's key begins with no category"))
}
