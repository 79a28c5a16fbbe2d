//! The engine contract as tests: what every `Site` and `Engine` must do, written once and stamped
//! for each technology by [`engine_laws!`].
//!
//! Never knows which engine it examines; what holds for one technology only is tested beside it.
//!
//! ```text
//! mod tests {
//!     // The expression makes a site of its own for each test, and what must outlive it.
//!     crate::engine::laws::engine_laws!(persistent, {
//!         let dir = tempfile::tempdir().unwrap();
//!         (SqliteSite::new(dir.path()), dir)
//!     });
//! }
//! ```

mod jobs;
mod reads;
mod writes;

use std::sync::Arc;

use super::{
    Change, Engine, EngineError, Found, Get, Got, LOG_KEY_BYTES, Look, OpenMode, Page, PageRequest, Point,
    Query, Seen, Site, Space, Verify, Want, Write,
};
use crate::batch::Batch;
use crate::key::Key;
use crate::range::Span;

pub(crate) use jobs::*;
pub(crate) use reads::*;
pub(crate) use writes::*;

/// Stamps every law as a test of the place where it stands.
///
/// `persistent` for jobs that outlive their engine, `kept` for those that do but are opened by one at
/// a time (no reader beside the owner), `volatile` for jobs that closing deletes. The expression gives a pair, a fresh empty site and something that lives as long as the test; it may
/// `await`.
macro_rules! engine_laws {
    (persistent, $make:expr) => {
        $crate::engine::laws::engine_laws!(kept, $make);
        $crate::engine::laws::engine_laws!(@stamp $make; read_only_reads_beside_the_owner);
    };
    (kept, $make:expr) => {
        $crate::engine::laws::engine_laws!(@common $make);
        $crate::engine::laws::engine_laws!(@stamp $make;
            rows_survive_reopen, first_record_is_written_once, closing_keeps_the_job,
            destroyed_job_is_created_anew);
    };
    (volatile, $make:expr) => {
        $crate::engine::laws::engine_laws!(@common $make);
        $crate::engine::laws::engine_laws!(@stamp $make; closing_deletes_the_job);
    };
    (@common $make:expr) => {
        $crate::engine::laws::engine_laws!(@stamp $make;
            get_answers_in_the_order_asked, get_too_large_says_size, presence_is_told_without_payloads,
            page_obeys_rows_bytes_and_direction, page_keys_only, page_takes_boundless_bounds,
            empty_spans_find_and_delete_nothing, empty_key_payload_and_category_are_rows,
            keys_order_as_unsigned_bytes, longest_keys_are_rows, categories_order_as_utf8_bytes,
            categories_too_large_is_said, count_counts, verify_returns_the_record,
            log_space_is_ordered, log_and_meta_are_not_rows);
        $crate::engine::laws::engine_laws!(@stamp $make;
            apply_reads_decides_and_writes_in_one_transaction, looks_see_as_much_as_they_want, overlapping_reads_see_whole_commits,
            deciding_none_writes_nothing, writes_apply_in_order, delete_range_stops_at_its_bounds,
            large_payloads_come_back, large_log_values_come_back,
            empty_removes_rows_and_log_but_not_record, random_writes_equal_a_map,
            compacting_keeps_everything);
        $crate::engine::laws::engine_laws!(@stamp $make;
            missing_job_is_missing, new_job_has_its_first_record, list_and_destroy,
            ids_keep_jobs_apart);
    };
    (@stamp $make:expr; $($law:ident),* $(,)?) => {
        $(
            #[$crate::testing::async_test]
            async fn $law() {
                let (site, _guard) = $make;
                let _claim = $crate::engine::Site::claim(&site).await.expect("a fresh site is free");
                $crate::engine::laws::$law(site).await;
            }
        )*
    };
}
pub(crate) use engine_laws;

/// What a query of one kind saw, see [`Ask`].
#[derive(Debug)]
pub(crate) struct Saw<T> {
    pub(crate) value: T,
    pub(crate) record: Option<Option<Vec<u8>>>,
}

/// Queries with answers of their own kind.
pub(crate) trait Ask: Engine {
    async fn get(&self, get: Get, verify: Verify) -> Result<Saw<Got>, EngineError> {
        saw(self.read(Query::Get(get), verify).await?, |found| match found {
            Found::Got(got) => Some(got),
            _ => None,
        })
    }

    async fn page(&self, page: PageRequest, verify: Verify) -> Result<Saw<Page>, EngineError> {
        saw(self.read(Query::Page(page), verify).await?, |found| match found {
            Found::Page(page) => Some(page),
            _ => None,
        })
    }

    async fn count(&self, category: Arc<str>, span: Span, verify: Verify) -> Result<Saw<u64>, EngineError> {
        saw(self.read(Query::Count { category, span }, verify).await?, |found| match found {
            Found::Count(rows) => Some(rows),
            _ => None,
        })
    }

    async fn categories(&self, bytes_max: usize, verify: Verify) -> Result<Saw<Vec<String>>, EngineError> {
        saw(self.read(Query::Categories { bytes_max }, verify).await?, |found| match found {
            Found::Categories(names) => Some(names),
            _ => None,
        })
    }

    async fn check(&self) -> Result<Vec<String>, EngineError> {
        let seen = saw(self.read(Query::Damage, Verify::Never).await?, |found| match found {
            Found::Damage(damage) => Some(damage),
            _ => None,
        });
        seen.map(|seen| seen.value)
    }

    async fn bytes(&self) -> Result<Option<u64>, EngineError> {
        let seen = saw(self.read(Query::Size, Verify::Never).await?, |found| match found {
            Found::Size(bytes) => Some(bytes),
            _ => None,
        });
        seen.map(|seen| seen.value)
    }
}

impl<E: Engine + ?Sized> Ask for E {}

fn saw<T>(seen: Seen, kind: impl Fn(Found) -> Option<T>) -> Result<Saw<T>, EngineError> {
    let Seen { found, record } = seen;
    Ok(Saw { value: kind(found).expect("an answer of the query's kind"), record })
}

/// The record that [`open`] gives to a new job.
const FIRST_RECORD: &[u8] = b"first record";
/// Room for everything that a law writes.
const BYTES_MAX: usize = 1 << 28;
/// More rows than any law writes.
const ROWS_MAX: usize = 1 << 16;

async fn open(site: &dyn Site, id: &str) -> Box<dyn Engine> {
    open_as(site, id, OpenMode::Create, FIRST_RECORD).await.expect("opens")
}

async fn open_as(
    site: &dyn Site,
    id: &str,
    mode: OpenMode,
    record: &[u8],
) -> Result<Box<dyn Engine>, EngineError> {
    site.open(id, mode, record.to_vec()).await
}

/// Closes the engine and deletes the job, so that a browser keeps nothing of the test.
async fn end(site: &dyn Site, engine: Box<dyn Engine>, id: &str) {
    engine.close().await.expect("closes");
    drop(engine);
    site.destroy(id).await.expect("is destroyed");
}

fn rows(category: &str) -> Space {
    Space::Rows(Arc::from(category))
}

fn point(category: &str, key: impl AsRef<[u8]>) -> Point {
    Point { space: rows(category), key: key.as_ref().to_vec() }
}

fn log_point(key: impl AsRef<[u8]>) -> Point {
    Point { space: Space::Log, key: log_key(key) }
}

/// A key that begins like this.
fn log_key(key: impl AsRef<[u8]>) -> Vec<u8> {
    let mut key = key.as_ref().to_vec();
    key.resize(LOG_KEY_BYTES, 0);
    key
}

/// A look at the whole payload.
fn look(point: Point) -> Look {
    Look { point, want: Want::Payload(usize::MAX) }
}

fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from_bytes(bytes.as_ref().to_vec())
}

fn span(start: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Span {
    Span { start: start.as_ref().to_vec(), end: Some(end.as_ref().to_vec()) }
}

fn batch_write(batch: Batch) -> Write {
    Write::Rows(Arc::from(batch.operations()))
}

async fn apply_writes(engine: &dyn Engine, writes: Vec<Write>) {
    let decide = Box::new(move |_: Vec<Option<Vec<u8>>>| Some(writes));
    engine.apply(Change { reads: Vec::new(), decide, durable: false }).await.expect("applies");
}

async fn apply_batch(engine: &dyn Engine, batch: Batch) {
    apply_writes(engine, vec![batch_write(batch)]).await;
}

async fn get_points(engine: &dyn Engine, points: Vec<Point>) -> Vec<Option<Vec<u8>>> {
    let get = Get { points, presence_only: false, bytes_max: BYTES_MAX };
    match engine.get(get, Verify::Never).await.expect("gets").value {
        Got::Payloads(payloads) => payloads,
        Got::TooLarge(bytes) => panic!("{bytes} bytes are no more than the bound"),
    }
}

async fn get_row(engine: &dyn Engine, category: &str, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    get_points(engine, vec![point(category, key)]).await.remove(0)
}

async fn record(engine: &dyn Engine) -> Option<Vec<u8>> {
    get_points(engine, vec![Point::record()]).await.remove(0)
}

/// A request for everything of a space, to be narrowed by the law.
fn whole(space: Space) -> PageRequest {
    PageRequest {
        space,
        span: Span::all(),
        reverse: false,
        rows_max: ROWS_MAX,
        bytes_max: BYTES_MAX,
        keys_only: false,
    }
}

async fn page(engine: &dyn Engine, request: PageRequest) -> Page {
    engine.page(request, Verify::Never).await.expect("reads a page").value
}

/// The keys of a whole space in order.
async fn keys(engine: &dyn Engine, space: Space) -> Vec<Vec<u8>> {
    let page = page(engine, PageRequest { keys_only: true, ..whole(space) }).await;
    assert!(!page.more, "no bound was met");
    page.rows.into_iter().map(|(key, _)| key).collect()
}

async fn count(engine: &dyn Engine, category: &str, span: Span) -> u64 {
    engine.count(Arc::from(category), span, Verify::Never).await.expect("counts").value
}

async fn categories(engine: &dyn Engine) -> Vec<String> {
    let seen: Saw<Vec<String>> = engine.categories(BYTES_MAX, Verify::Never).await.expect("lists");
    seen.value
}

async fn assert_undamaged(engine: &dyn Engine) {
    assert_eq!(engine.check().await.expect("checks"), Vec::<String>::new());
}
