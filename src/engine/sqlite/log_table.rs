//! The commit log's table: a log's key is a number, which the table has as its own.
//!
//! Never knows what the values are. So a commit writes one page for its log, the last one of the table, where
//! keys of bytes would need another one for an index of them.

use rusqlite::Connection;

use super::fault::Result;
use crate::engine::{EngineError, Fault, LOG_KEY_BYTES, Page, PageRequest};
use crate::range::Span;

/// The number that a key is.
pub(super) fn number(key: &[u8]) -> Result<i64> {
    let mut bytes = [0; LOG_KEY_BYTES];
    if let Some(start) = bytes.get_mut(..key.len()) {
        start.copy_from_slice(key);
        if let Ok(number) = i64::try_from(u64::from_be_bytes(bytes)) {
            return Ok(number);
        }
    }
    Err(EngineError::new(Fault::Other, "no such key can be in the log"))
}

/// The number up to but without which a span goes; none if it goes on to the end.
fn end(span: &Span) -> Result<Option<i64>> {
    span.end.as_deref().map(number).transpose()
}

pub(super) fn put(conn: &Connection, key: &[u8], value: &[u8]) -> Result<()> {
    conn.prepare_cached("INSERT INTO log VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")?
        .execute((number(key)?, value))?;
    Ok(())
}

/// Deletes a span that is not empty.
pub(super) fn delete_span(conn: &Connection, span: &Span) -> Result<()> {
    let first = number(&span.start)?;
    match end(span)? {
        Some(end) => {
            conn.prepare_cached("DELETE FROM log WHERE key >= ?1 AND key < ?2")?.execute((first, end))?
        }
        None => conn.prepare_cached("DELETE FROM log WHERE key >= ?1")?.execute([first])?,
    };
    Ok(())
}

/// Reads values of a span that is not empty.
pub(super) fn read_page(conn: &Connection, request: &PageRequest) -> Result<Page> {
    let mut page = Page::default();
    let value = if request.keys_only { "x''" } else { "value" };
    let (before, direction) = match (&request.span.end, request.reverse) {
        (Some(_), false) => (" AND key < ?2", "ASC"),
        (Some(_), true) => (" AND key < ?2", "DESC"),
        (None, false) => ("", "ASC"),
        (None, true) => ("", "DESC"),
    };
    let sql = format!("SELECT key, {value} FROM log WHERE key >= ?1{before} ORDER BY key {direction}");
    let mut statement = conn.prepare_cached(&sql)?;
    let first = number(&request.span.start)?;
    let mut rows = match end(&request.span)? {
        Some(end) => statement.query((first, end))?,
        None => statement.query([first])?,
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let value = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        bytes += LOG_KEY_BYTES + value.len();
        let is_first = page.rows.is_empty();
        page.more = page.rows.len() >= request.rows_max || (bytes > request.bytes_max && !is_first);
        if page.more {
            break;
        }
        page.rows.push(&row.get::<_, i64>(0)?.to_be_bytes(), value);
    }
    Ok(page)
}
