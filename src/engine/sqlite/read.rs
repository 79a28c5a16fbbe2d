//! Reads: what an engine reads, as statements on one connection and what the overlay says beside them.
//!
//! Never writes, and never keeps a view open after it has answered. Statements are prepared once per
//! shape and connection.

use std::cmp::Ordering;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};

use super::fault::Result;
use super::journal;
use super::log_table;
use super::overlay::{Over, Overlay, Shared, Version};
use crate::engine::row_key::{after_category, category_prefix, split_row_key};
use crate::engine::{
    EngineError, Fault, Found, Get, Got, Look, Page, PageRequest, Point, Query, Seen, Space, Verify, Want,
    Wanted,
};
use crate::range::Span;

/// A row's payload: its bytes, or the number of a big one. As one column, since a scan of small rows is slower by
/// a tenth with both.
const ROW: &str = "SELECT coalesce(payload, big) FROM rows WHERE category = ?1 AND key = ?2";
const ROW_IS_THERE: &str = "SELECT 1 FROM rows WHERE category = ?1 AND key = ?2";
const BIG: &str = "SELECT payload FROM payloads WHERE id = ?1";
const BIG_LENGTH: &str = "SELECT length(payload) FROM payloads WHERE id = ?1";

/// How often a view is begun anew because a commit came between it and the overlay, before the view reads the
/// journal itself.
const VIEWS_MAX: usize = 8;

/// A transaction that is rolled back unless it is committed, also when a panic unwinds through it.
pub(super) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    /// Begins one that reads one view.
    pub(super) fn reading(conn: &'c Connection) -> Result<Self> {
        conn.prepare_cached("BEGIN")?.execute(())?;
        Ok(Transaction(conn))
    }

    /// Begins one that may write, waiting for another writer as long as the connection does.
    pub(super) fn writing(conn: &'c Connection) -> Result<Self> {
        conn.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        Ok(Transaction(conn))
    }

    pub(super) fn commit(&self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute(()).map(drop)
    }

    /// Ends it without effect; tells whether that is certain.
    pub(super) fn roll_back(&self) -> bool {
        let rolled_back = self.0.is_autocommit() || self.0.execute_batch("ROLLBACK").is_ok();
        rolled_back && self.0.is_autocommit()
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.roll_back() {
            log::error!("a transaction could not be rolled back");
        }
    }
}

/// What one state of the job looks like: the tree, and what lies over it.
pub(super) struct View<'c> {
    conn: &'c Connection,
    overlay: Overlay,
    /// Whose overlay it is, where the view had to read something of the journal for it.
    read: Option<Version>,
    _snapshot: Option<Transaction<'c>>,
}

impl<'c> View<'c> {
    /// What the connection that writes sees, on its own thread, for as long as it writes nothing.
    pub(super) fn of_writer(conn: &'c Connection, overlay: Overlay) -> Self {
        View { conn, overlay, read: None, _snapshot: None }
    }

    /// Begins a view beside a writer of this engine, which keeps the shared overlay.
    pub(super) fn beside_writer(conn: &'c Connection, shared: &Shared) -> Result<Self> {
        for _ in 0..VIEWS_MAX {
            let snapshot = Transaction::reading(conn)?;
            if let Some(overlay) = shared.at(journal::version(conn)?) {
                return Ok(View { conn, overlay, read: None, _snapshot: Some(snapshot) });
            }
        }
        let snapshot = Transaction::reading(conn)?;
        let overlay = journal::load(conn)?.overlay;
        Ok(View { conn, overlay, read: None, _snapshot: Some(snapshot) })
    }

    /// Begins a view beside a writer elsewhere; `known` is the overlay that an earlier such view has read.
    pub(super) fn beside_stranger(conn: &'c Connection, known: &Shared) -> Result<Self> {
        let snapshot = Transaction::reading(conn)?;
        let version = journal::version(conn)?;
        let (overlay, read) = match known.before(version) {
            Some((overlay, known)) if known == version => (overlay, None),
            // Entries have been added, and none has gone or been folded.
            Some((overlay, known)) => (journal::load_after(conn, overlay, known.last)?, Some(version)),
            None => (journal::load(conn)?.overlay, Some(version)),
        };
        Ok(View { conn, overlay, read, _snapshot: Some(snapshot) })
    }

    /// The overlay and its version, for views to come, if something had to be read for it. Of a view that turns
    /// out not to have been one it is nothing.
    pub(super) fn into_read(self) -> Option<(Overlay, Version)> {
        self.read.map(|version| (self.overlay, version))
    }

    /// What the overlay knows of a point; none if it knows nothing.
    fn over(&self, point: &Point) -> Option<&Over> {
        match &point.space {
            Space::Rows(category) => self.overlay.get(category, &point.key),
            Space::Log | Space::Meta => None,
        }
    }
}

/// Answers a query, together with the record if it is wanted.
pub(super) fn answer(view: &View<'_>, query: &Query, verify: Verify) -> Result<Seen> {
    let found = match query {
        Query::Get(get) => Found::Got(payloads(view, get)?),
        Query::Page(request) => Found::Page(read_page(view, request)?),
        Query::Count { category, span } => Found::Count(count(view, category, span)?),
        Query::Categories { bytes_max } => Found::Categories(read_categories(view, *bytes_max)?),
        Query::Damage => Found::Damage(damage(view.conn)?),
        // What the files occupy no connection can tell.
        Query::Size => Found::Size(None),
    };
    let record = match verify.wants(&found) {
        true => Some(journal::record(view.conn)?),
        false => None,
    };
    Ok(Seen { found, record })
}

/// A page of the log, and the record of the same view.
#[cfg(feature = "archive")]
pub(super) fn log_page(conn: &Connection, request: &PageRequest) -> Result<(Page, Vec<u8>)> {
    let _snapshot = Transaction::reading(conn)?;
    let page = log_table::read_page(conn, request)?;
    let record = journal::record(conn)?;
    Ok((page, record.ok_or_else(|| EngineError::new(Fault::Missing, "the job has no record"))?))
}

/// One row's payload, empty where only its presence is wanted; of one larger than `bytes_max` nothing is
/// read. The one statement, with what is asked while it stands, is a view by itself.
pub(super) fn row(conn: &Connection, wanted: &Wanted<'_>, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let sql = if wanted.presence_only { ROW_IS_THERE } else { ROW };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((wanted.category.as_bytes(), wanted.key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if wanted.presence_only {
        return Ok(Some(Vec::new()));
    }
    if let ValueRef::Integer(id) = row.get_ref(0)?
        && big_length(conn, id)? > bytes_max
    {
        return Err(EngineError::new(Fault::TooLarge, "the payload is a large one"));
    }
    with_payload(conn, row, 0, |bytes| Ok(Some(bytes.to_vec())))
}

/// The values of points, for the decision of a transaction that is under way.
pub(super) fn values(view: &View<'_>, looks: &[Look]) -> Result<Vec<Option<Vec<u8>>>> {
    looks.iter().map(|look| glance(view, look)).collect()
}

/// As much of a point's value as a decision wants to see.
fn glance(view: &View<'_>, look: &Look) -> Result<Option<Vec<u8>>> {
    match look.want {
        Want::Presence => Ok(is_present(view, &look.point)?.then(Vec::new)),
        // One byte more than it wants tells that there is more.
        Want::Payload(max) => {
            value(view, &look.point, |bytes| bytes[..bytes.len().min(max.saturating_add(1))].to_vec())
        }
    }
}

fn payloads(view: &View<'_>, get: &Get) -> Result<Got> {
    let mut found = Vec::with_capacity(get.points.len());
    let mut bytes = 0;
    for point in &get.points {
        if get.presence_only {
            found.push(is_present(view, point)?.then(Vec::new));
        } else if bytes > get.bytes_max {
            // There is too much already: sizes are enough, and what was read is of no use.
            found = Vec::new();
            bytes += length(view, point)?;
        } else if let Some((payload, length)) =
            value(view, point, |found| within(found, get.bytes_max - bytes))?
        {
            found.push(Some(payload));
            bytes += length;
        } else {
            found.push(None);
        }
    }
    Ok(if bytes > get.bytes_max { Got::TooLarge(bytes) } else { Got::Payloads(found) })
}

/// The bytes and their length; nothing of them if they are more than `room`.
fn within(bytes: &[u8], room: usize) -> (Vec<u8>, usize) {
    (if bytes.len() <= room { bytes.to_vec() } else { Vec::new() }, bytes.len())
}

/// What `take` makes of a point's value.
fn value<T>(view: &View<'_>, point: &Point, take: impl Fn(&[u8]) -> T) -> Result<Option<T>> {
    if let Some(over) = view.over(point) {
        return Ok(over.as_deref().map(take));
    }
    if *point == Point::record() {
        return Ok(journal::record(view.conn)?.as_deref().map(take));
    }
    let conn = view.conn;
    let sql = match point.space {
        Space::Rows(_) => ROW,
        Space::Log => return Ok(log_table::get(conn, &point.key)?.as_deref().map(take)),
        Space::Meta => "SELECT value FROM meta WHERE key = ?1",
    };
    first(conn, sql, point, |row| with_payload(conn, row, 0, |bytes| Ok(take(bytes))))
}

fn is_present(view: &View<'_>, point: &Point) -> Result<bool> {
    match view.over(point) {
        Some(over) => Ok(over.is_some()),
        None => is_stored(view.conn, point),
    }
}

/// Whether the tree, or one of the job's own spaces, has it.
fn is_stored(conn: &Connection, point: &Point) -> Result<bool> {
    let sql = match point.space {
        Space::Rows(_) => ROW_IS_THERE,
        Space::Log => return Ok(log_table::get(conn, &point.key)?.is_some()),
        Space::Meta => "SELECT 1 FROM meta WHERE key = ?1",
    };
    Ok(first(conn, sql, point, |_| Ok(()))?.is_some())
}

fn length(view: &View<'_>, point: &Point) -> Result<usize> {
    if let Some(over) = view.over(point) {
        return Ok(over.as_ref().map_or(0, |payload| payload.len()));
    }
    let conn = view.conn;
    let sql = match point.space {
        Space::Rows(_) => "SELECT length(payload), big FROM rows WHERE category = ?1 AND key = ?2",
        Space::Log => return Ok(log_table::get(conn, &point.key)?.map_or(0, |value| value.len())),
        Space::Meta => "SELECT length(value), NULL FROM meta WHERE key = ?1",
    };
    let length = first(conn, sql, point, |row| match row.get(1)? {
        Some(id) => big_length(conn, id),
        None => Ok(row.get(0)?),
    })?;
    Ok(length.unwrap_or(0))
}

/// The first row that a statement finds for a point.
fn first<T>(
    conn: &Connection,
    sql: &str,
    point: &Point,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = match &point.space {
        Space::Rows(category) => statement.query((category.as_bytes(), &*point.key))?,
        // The log has been read by `log_table`.
        Space::Log | Space::Meta => statement.query([&*point.key])?,
    };
    rows.next()?.map(read).transpose()
}

fn first_blob(conn: &Connection, sql: &str, params: impl Params) -> Result<Option<Vec<u8>>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    Ok(match rows.next()? {
        Some(row) => Some(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?.to_vec()),
        None => None,
    })
}

fn big_length(conn: &Connection, id: i64) -> Result<usize> {
    let mut statement = conn.prepare_cached(BIG_LENGTH)?;
    let mut rows = statement.query([id])?;
    Ok(rows.next()?.ok_or_else(lost_payload)?.get(0)?)
}

/// Shows a row's payload, which the column is or has the number of.
fn with_payload<T>(
    conn: &Connection,
    row: &Row<'_>,
    column: usize,
    show: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    match row.get_ref(column)? {
        ValueRef::Blob(bytes) => show(bytes),
        ValueRef::Integer(id) => {
            let mut statement = conn.prepare_cached(BIG)?;
            let mut rows = statement.query([id])?;
            let row = rows.next()?.ok_or_else(lost_payload)?;
            show(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)
        }
        _ => Err(EngineError::new(Fault::Corrupt, "a row has no payload")),
    }
}

fn lost_payload() -> EngineError {
    EngineError::new(Fault::Corrupt, "a row's payload is not there")
}

fn read_page(view: &View<'_>, request: &PageRequest) -> Result<Page> {
    let mut page = Page::default();
    if request.span.is_empty() {
        return Ok(page);
    }
    let conn = view.conn;
    if request.space == Space::Log {
        return log_table::read_page(conn, request);
    }
    let (prefix_bytes, mut over) = match &request.space {
        Space::Rows(category) if !view.overlay.is_empty() => {
            (category_prefix(category).len(), Some(view.overlay.span(category, &request.span)))
        }
        _ => (0, None),
    };
    let mut next_over = || {
        let over = over.as_mut()?;
        let (row, over) = if request.reverse { over.next_back() } else { over.next() }?;
        Some((&row[prefix_bytes..], over.as_deref()))
    };
    let mut above = next_over();
    let sql = page_sql(request);
    let mut statement = conn.prepare_cached(&sql)?;
    // One row more than wanted tells whether there is more; of those that are stored any number may be hidden.
    let limit = match above {
        None => i64::try_from(request.rows_max).unwrap_or(i64::MAX).saturating_add(1),
        Some(_) => i64::MAX,
    };
    let start = &*request.span.start;
    let mut rows = match (&request.space, request.span.end.as_deref()) {
        (Space::Rows(category), Some(end)) => statement.query((limit, start, category.as_bytes(), end))?,
        (Space::Rows(category), None) => statement.query((limit, start, category.as_bytes()))?,
        (Space::Log | Space::Meta, Some(end)) => statement.query((limit, start, end))?,
        (Space::Log | Space::Meta, None) => statement.query((limit, start))?,
    };
    let mut bytes = 0;
    let mut take = |key: &[u8], payload: &[u8]| {
        bytes += key.len() + payload.len();
        page.more =
            page.rows.len() >= request.rows_max || (bytes > request.bytes_max && !page.rows.is_empty());
        if !page.more {
            page.rows.push(key, payload);
        }
        Ok(!page.more)
    };
    let mut below = rows.next()?;
    loop {
        let stored = match below {
            Some(row) => Some(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?),
            None => None,
        };
        // Which of the two comes first; where both have the row, what lies above hides what lies below.
        let order = match (stored, above) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some((key, _))) if request.reverse => key.cmp(stored),
            (Some(stored), Some((key, _))) => stored.cmp(key),
        };
        let goes_on = match (order, below, stored, above) {
            (Ordering::Less, Some(_), Some(key), _) if request.keys_only => take(key, &[])?,
            (Ordering::Less, Some(row), Some(key), _) => {
                with_payload(conn, row, 1, |payload| take(key, payload))?
            }
            (_, _, _, Some((key, Some(payload)))) => {
                take(key, if request.keys_only { &[] } else { payload })?
            }
            _ => true,
        };
        if !goes_on {
            break;
        }
        if order != Ordering::Less {
            above = next_over();
        }
        if order != Ordering::Greater {
            below = rows.next()?;
        }
    }
    Ok(page)
}

fn page_sql(request: &PageRequest) -> String {
    let (columns, table, filter) = match (&request.space, request.keys_only) {
        (Space::Rows(_), false) => ("key, coalesce(payload, big)", "rows", " AND category = ?3"),
        (Space::Rows(_), true) => ("key", "rows", " AND category = ?3"),
        // The log has been read by `log_table`.
        (Space::Log | Space::Meta, false) => ("key, value", "meta", ""),
        (Space::Log | Space::Meta, true) => ("key", "meta", ""),
    };
    let end = match (&request.span.end, &request.space) {
        (None, _) => "",
        (Some(_), Space::Rows(_)) => " AND key < ?4",
        (Some(_), Space::Log | Space::Meta) => " AND key < ?3",
    };
    let direction = if request.reverse { "DESC" } else { "ASC" };
    format!("SELECT {columns} FROM {table} WHERE key >= ?2{filter}{end} ORDER BY key {direction} LIMIT ?1")
}

fn count(view: &View<'_>, category: &Arc<str>, span: &Span) -> Result<u64> {
    if span.is_empty() {
        return Ok(0);
    }
    let conn = view.conn;
    let name = category.as_bytes();
    let start = &*span.start;
    let mut count: u64 = match span.end.as_deref() {
        Some(end) => conn
            .prepare_cached("SELECT count(*) FROM rows WHERE category = ?1 AND key >= ?2 AND key < ?3")?
            .query_row((name, start, end), |row| row.get(0))?,
        None => conn
            .prepare_cached("SELECT count(*) FROM rows WHERE category = ?1 AND key >= ?2")?
            .query_row((name, start), |row| row.get(0))?,
    };
    if view.overlay.is_empty() {
        return Ok(count);
    }
    let prefix_bytes = category_prefix(category).len();
    for (row, over) in view.overlay.span(category, span) {
        let point = Point { space: Space::Rows(Arc::clone(category)), key: row[prefix_bytes..].to_vec() };
        match (over.is_some(), is_stored(conn, &point)?) {
            (true, false) => count += 1,
            (false, true) => count -= 1,
            _ => {}
        }
    }
    Ok(count)
}

/// Leaps from category to category, so that the rows between cost nothing.
fn read_categories(view: &View<'_>, bytes_max: usize) -> Result<Vec<String>> {
    let mut categories = Vec::<String>::new();
    let mut bytes = 0;
    let mut last = None;
    while let Some(name) = next_category(view, last.as_deref())? {
        if has_rows(view, &name)? {
            bytes += name.len();
            if bytes > bytes_max {
                let message = format!("the names of the categories have more than {bytes_max} bytes");
                return Err(EngineError::new(Fault::TooLarge, message));
            }
            categories.push(name.clone());
        }
        last = Some(name);
    }
    Ok(categories)
}

/// The category behind this one of which the tree or the overlay says something.
fn next_category(view: &View<'_>, last: Option<&str>) -> Result<Option<String>> {
    let conn = view.conn;
    let stored = match last {
        None => first_blob(conn, "SELECT category FROM rows ORDER BY category LIMIT 1", ())?,
        Some(last) => first_blob(
            conn,
            "SELECT category FROM rows WHERE category > ?1 ORDER BY category LIMIT 1",
            [last.as_bytes()],
        )?,
    };
    let stored = stored
        .map(String::from_utf8)
        .transpose()
        .map_err(|error| EngineError::new(Fault::Corrupt, "a category is not UTF-8").with_source(error))?;
    let from = last.map_or(Some(Vec::new()), |last| after_category(&category_prefix(last)));
    let over = from.and_then(|from| view.overlay.first_from(from)).and_then(split_row_key);
    Ok(match (stored, over) {
        (Some(stored), Some((over, _))) => Some(stored.min(over)),
        (stored, over) => stored.or(over.map(|(name, _)| name)),
    })
}

/// Whether rows of a category are left; where the overlay says nothing of it there are some.
fn has_rows(view: &View<'_>, category: &str) -> Result<bool> {
    let span = Span { start: Vec::new(), end: None };
    if view.overlay.span(category, &span).next().is_none() {
        return Ok(true);
    }
    let space = Space::Rows(category.into());
    let first = PageRequest { space, span, reverse: false, rows_max: 1, bytes_max: 0, keys_only: true };
    Ok(!read_page(view, &first)?.rows.is_empty())
}

/// Looks for damage in SQLite's structures, and for payloads that do not belong to exactly one row.
fn damage(conn: &Connection) -> Result<Vec<String>> {
    match find_damage(conn) {
        Err(error) if error.fault == Fault::Corrupt => Ok(vec![format!("Unreadable: {}.", error.message)]),
        found => found,
    }
}

fn find_damage(conn: &Connection) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    match journal::missing(conn)? {
        0 => drop(journal::load(conn)?),
        missing => findings.push(format!("{missing} entries of the journal are missing.")),
    }
    let mut statement = conn.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let finding: String = row.get(0)?;
        if finding != "ok" {
            findings.push(format!("SQLite: {finding}."));
        }
    }
    let counts = [
        (
            "rows have lost their payload",
            "SELECT count(*) FROM rows WHERE big IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM payloads WHERE id = big)",
        ),
        (
            "payloads belong to no row",
            "SELECT count(*) FROM payloads WHERE id NOT IN (SELECT big FROM rows WHERE big IS NOT NULL)",
        ),
        ("rows share their payload with another row", "SELECT count(big) - count(DISTINCT big) FROM rows"),
    ];
    for (what, sql) in counts {
        let count: u64 = conn.query_row(sql, (), |row| row.get(0))?;
        if count > 0 {
            findings.push(format!("{count} {what}."));
        }
    }
    Ok(findings)
}
