//! The engine of one open job: the contract's primitives as calls to `engine.js`.
//!
//! Never connects again by itself: a lost connection is an answer, and the worker decides.

use async_trait::async_trait;

use super::bridge::{Answer, Call, Database, Packed, code};
use super::layout::Area;
use crate::engine::{
    Change, Engine, EngineError, Fault, Found, Got, OpenMode, Page, Point, Query, Seen, Sharing, Verify, Want,
};

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
    pub(super) fn connect(&self) -> Call {
        self.ask(code::CONNECT, Packed::default())
    }

    /// Makes sure that the job has its record; writes the first one into a database that is empty.
    pub(super) fn ensure_record(&self, first_record: &[u8]) -> Call {
        let mut request = Packed::default();
        request.byte(self.mode == OpenMode::Create).bytes(first_record);
        self.ask(code::ENSURE, request)
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
    fn look(&mut self, point: &Point, want: Want) {
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

    async fn read(&self, query: Query, verify: Verify) -> Result<Seen, EngineError> {
        let mut request = Packed::default();
        request.verify(verify);
        let code = match &query {
            Query::Get(get) => {
                if get.points.is_empty() && verify == Verify::Never {
                    return Ok(Seen::without_record(Found::Got(Got::Payloads(Vec::new()))));
                }
                let want = if get.presence_only { Want::Presence } else { Want::Payload(usize::MAX) };
                request.number(get.bytes_max);
                get.points.iter().for_each(|point| request.look(point, want));
                code::GET
            }
            Query::Page(page) => {
                let area = Area::of(&page.space);
                request.store(area.store).number(area.prefix.len());
                request.number(page.rows_max).number(page.bytes_max);
                request.byte(page.reverse).byte(page.keys_only).bounds(area.bounds(&page.span).as_ref());
                code::PAGE
            }
            Query::Count { category, span } => {
                request.bounds(Area::of_category(category).bounds(span).as_ref());
                code::COUNT
            }
            Query::Categories { bytes_max } => {
                request.number(*bytes_max);
                code::CATEGORIES
            }
            Query::Damage => code::CHECK,
            Query::Size => return Ok(Seen::without_record(Found::Size(None))),
        };
        let Answer { number, items, rows, record } = self.ask(code, request).await?;
        let found = match query {
            Query::Get(_) if number == 0 => Found::Got(Got::Payloads(items)),
            Query::Get(_) => Found::Got(Got::TooLarge(number as usize)),
            Query::Page(_) => Found::Page(Page { rows, more: number == 1 }),
            Query::Count { .. } => Found::Count(number.into()),
            Query::Categories { .. } => Found::Categories(texts(items)?),
            Query::Damage | Query::Size => Found::Damage(texts(items)?),
        };
        Ok(Seen { found, record })
    }

    async fn apply(&self, change: Change) -> Result<(), EngineError> {
        let Change { reads, decide, durable } = change;
        let mut request = Packed::default();
        request.byte(durable);
        reads.iter().for_each(|look| request.look(&look.point, look.want));
        Call::begin(&self.database, code::APPLY, request, Some(decide)).await.map(drop)
    }

    fn abort(&self) {
        self.database.abort();
    }

    async fn reconnect(&self) -> Result<(), EngineError> {
        self.connect().await.map(drop)
    }

    async fn changed(&self) {
        // Nobody refuses to listen.
        let _ = self.ask(code::LISTEN, Packed::default()).await;
    }

    fn has_others(&self) -> bool {
        self.database.has_others()
    }

    fn announce(&self, generation: [u8; 16], seq: u64) {
        self.database.announce([&generation[..], &seq.to_be_bytes()].concat());
    }

    async fn compact(&self) -> Result<(), EngineError> {
        self.ask(code::COMPACT, Packed::default()).await.map(drop)
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
