//! Reads: what an engine reads, as statements on one connection.
//!
//! Never writes, and never keeps a view open after it has answered. Statements are prepared once per
//! shape and connection.

use std::str;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};

use super::fault::Result;
use super::log_table;
use crate::engine::{
    EngineError, Fault, Found, Get, Got, Look, Page, PageRequest, Point, Query, RECORD_KEY, Seen, Space,
    Verify, Want, Wanted,
};
use crate::range::Span;

const ROW: &str = "SELECT payload, big FROM rows WHERE category = ?1 AND key = ?2";
const ROW_IS_THERE: &str = "SELECT 1 FROM rows WHERE category = ?1 AND key = ?2";
const BIG: &str = "SELECT payload FROM payloads WHERE id = ?1";
const BIG_LENGTH: &str = "SELECT length(payload) FROM payloads WHERE id = ?1";
const RECORD: &str = "SELECT value FROM meta WHERE key = ?1";

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

/// Answers a query from one view, together with the record if it is wanted.
pub(super) fn answer(conn: &Connection, query: &Query, verify: Verify) -> Result<Seen> {
    let view = Transaction::reading(conn)?;
    let found = match query {
        Query::Get(get) => Found::Got(payloads(conn, get)?),
        Query::Page(request) => Found::Page(read_page(conn, request)?),
        Query::Count { category, span } => Found::Count(count(conn, category, span)?),
        Query::Categories { bytes_max } => Found::Categories(read_categories(conn, *bytes_max)?),
        Query::Damage => Found::Damage(damage(conn)?),
        // What the files occupy no connection can tell.
        Query::Size => Found::Size(None),
    };
    let record = match verify.wants(&found) {
        true => Some(first_blob(conn, RECORD, [RECORD_KEY])?),
        false => None,
    };
    drop(view);
    Ok(Seen { found, record })
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
    if let Some(id) = row.get(1)?
        && big_length(conn, id)? > bytes_max
    {
        return Err(EngineError::new(Fault::TooLarge, "the payload is a large one"));
    }
    with_payload(conn, row, (0, 1), |bytes| Ok(Some(bytes.to_vec())))
}

/// Answers a read of points.
pub(super) fn get(conn: &Connection, get: &Get, verify: Verify) -> Result<Seen> {
    // A single statement is one view by itself.
    if let ([_], Verify::Never) = (&*get.points, verify) {
        return Ok(Seen::without_record(Found::Got(payloads(conn, get)?)));
    }
    answer(conn, &Query::Get(get.clone()), verify)
}

/// The values of points, for the decision of a transaction that is under way.
pub(super) fn values(conn: &Connection, looks: &[Look]) -> Result<Vec<Option<Vec<u8>>>> {
    looks.iter().map(|look| glance(conn, look)).collect()
}

/// As much of a point's value as a decision wants to see.
fn glance(conn: &Connection, look: &Look) -> Result<Option<Vec<u8>>> {
    match look.want {
        Want::Presence => Ok(is_present(conn, &look.point)?.then(Vec::new)),
        // One byte more than it wants tells that there is more.
        Want::Payload(max) => {
            value(conn, &look.point, |bytes| bytes[..bytes.len().min(max.saturating_add(1))].to_vec())
        }
    }
}

fn payloads(conn: &Connection, get: &Get) -> Result<Got> {
    let mut found = Vec::with_capacity(get.points.len());
    let mut bytes = 0;
    for point in &get.points {
        if get.presence_only {
            found.push(is_present(conn, point)?.then(Vec::new));
        } else if bytes > get.bytes_max {
            // There is too much already: sizes are enough, and what was read is of no use.
            found = Vec::new();
            bytes += length(conn, point)?;
        } else if let Some((payload, length)) =
            value(conn, point, |found| within(found, get.bytes_max - bytes))?
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
fn value<T>(conn: &Connection, point: &Point, take: impl Fn(&[u8]) -> T) -> Result<Option<T>> {
    let sql = match point.space {
        Space::Rows(_) => ROW,
        Space::Log => "SELECT value, NULL FROM log WHERE key = ?1",
        Space::Meta => "SELECT value, NULL FROM meta WHERE key = ?1",
    };
    first(conn, sql, point, |row| with_payload(conn, row, (0, 1), |bytes| Ok(take(bytes))))
}

fn is_present(conn: &Connection, point: &Point) -> Result<bool> {
    let sql = match point.space {
        Space::Rows(_) => ROW_IS_THERE,
        Space::Log => "SELECT 1 FROM log WHERE key = ?1",
        Space::Meta => "SELECT 1 FROM meta WHERE key = ?1",
    };
    Ok(first(conn, sql, point, |_| Ok(()))?.is_some())
}

fn length(conn: &Connection, point: &Point) -> Result<usize> {
    let sql = match point.space {
        Space::Rows(_) => "SELECT length(payload), big FROM rows WHERE category = ?1 AND key = ?2",
        Space::Log => "SELECT length(value), NULL FROM log WHERE key = ?1",
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
        Space::Log => statement.query([log_table::number(&point.key)?])?,
        Space::Meta => statement.query([&*point.key])?,
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

/// Shows a row's payload, from the row itself or from among the big ones.
fn with_payload<T>(
    conn: &Connection,
    row: &Row<'_>,
    (payload, big): (usize, usize),
    show: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<T> {
    match (row.get_ref(payload)?, row.get_ref(big)?) {
        (ValueRef::Blob(bytes), ValueRef::Null) => show(bytes),
        (ValueRef::Null, ValueRef::Integer(id)) => {
            let mut statement = conn.prepare_cached(BIG)?;
            let mut rows = statement.query([id])?;
            let row = rows.next()?.ok_or_else(lost_payload)?;
            show(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)
        }
        _ => Err(EngineError::new(Fault::Corrupt, "a row has not exactly one payload")),
    }
}

fn lost_payload() -> EngineError {
    EngineError::new(Fault::Corrupt, "a row's payload is not there")
}

fn read_page(conn: &Connection, request: &PageRequest) -> Result<Page> {
    let mut page = Page::default();
    if request.span.is_empty() {
        return Ok(page);
    }
    if request.space == Space::Log {
        return log_table::read_page(conn, request);
    }
    let sql = page_sql(request);
    let mut statement = conn.prepare_cached(&sql)?;
    // One row more than wanted tells whether there is more.
    let limit = i64::try_from(request.rows_max).unwrap_or(i64::MAX).saturating_add(1);
    let start = &*request.span.start;
    let mut rows = match (&request.space, request.span.end.as_deref()) {
        (Space::Rows(category), Some(end)) => statement.query((limit, start, category.as_bytes(), end))?,
        (Space::Rows(category), None) => statement.query((limit, start, category.as_bytes()))?,
        (Space::Log | Space::Meta, Some(end)) => statement.query((limit, start, end))?,
        (Space::Log | Space::Meta, None) => statement.query((limit, start))?,
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        if page.rows.len() >= request.rows_max {
            page.more = true;
            break;
        }
        let mut take = |payload: &[u8]| {
            bytes += key.len() + payload.len();
            let fits = page.rows.is_empty() || bytes <= request.bytes_max;
            if fits {
                page.rows.push(key, payload);
            }
            Ok(fits)
        };
        let fits = if request.keys_only { take(&[])? } else { with_payload(conn, row, (1, 2), take)? };
        if !fits {
            page.more = true;
            break;
        }
    }
    Ok(page)
}

fn page_sql(request: &PageRequest) -> String {
    let (columns, table, filter) = match (&request.space, request.keys_only) {
        (Space::Rows(_), false) => ("key, payload, big", "rows", " AND category = ?3"),
        (Space::Rows(_), true) => ("key", "rows", " AND category = ?3"),
        (Space::Log, false) => ("key, value, NULL", "log", ""),
        (Space::Log, true) => ("key", "log", ""),
        (Space::Meta, false) => ("key, value, NULL", "meta", ""),
        (Space::Meta, true) => ("key", "meta", ""),
    };
    let end = match (&request.span.end, &request.space) {
        (None, _) => "",
        (Some(_), Space::Rows(_)) => " AND key < ?4",
        (Some(_), Space::Log | Space::Meta) => " AND key < ?3",
    };
    let direction = if request.reverse { "DESC" } else { "ASC" };
    format!("SELECT {columns} FROM {table} WHERE key >= ?2{filter}{end} ORDER BY key {direction} LIMIT ?1")
}

fn count(conn: &Connection, category: &str, span: &Span) -> Result<u64> {
    if span.is_empty() {
        return Ok(0);
    }
    let category = category.as_bytes();
    let start = &*span.start;
    let count = match span.end.as_deref() {
        Some(end) => conn
            .prepare_cached("SELECT count(*) FROM rows WHERE category = ?1 AND key >= ?2 AND key < ?3")?
            .query_row((category, start, end), |row| row.get(0)),
        None => conn
            .prepare_cached("SELECT count(*) FROM rows WHERE category = ?1 AND key >= ?2")?
            .query_row((category, start), |row| row.get(0)),
    };
    Ok(count?)
}

/// Leaps from category to category, so that the rows between cost nothing.
fn read_categories(conn: &Connection, bytes_max: usize) -> Result<Vec<String>> {
    let mut categories = Vec::<String>::new();
    let mut bytes = 0;
    loop {
        let next = match categories.last() {
            None => first_blob(conn, "SELECT category FROM rows ORDER BY category LIMIT 1", ())?,
            Some(last) => first_blob(
                conn,
                "SELECT category FROM rows WHERE category > ?1 ORDER BY category LIMIT 1",
                [last.as_bytes()],
            )?,
        };
        let Some(next) = next else { return Ok(categories) };
        bytes += next.len();
        if bytes > bytes_max {
            let message = format!("the names of the categories have more than {bytes_max} bytes");
            return Err(EngineError::new(Fault::TooLarge, message));
        }
        let name = str::from_utf8(&next).map_err(|error| {
            EngineError::new(Fault::Corrupt, "a category is not UTF-8").with_source(error)
        })?;
        categories.push(name.to_owned());
    }
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
