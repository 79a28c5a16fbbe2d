//! The commit log's table: a log's key is a number, which the table has as its own.
//!
//! Never knows what the values are. So a commit writes one page for its log, the last one of the table, where
//! keys of bytes would need another one for an index of them.

use rusqlite::{Connection, Rows};

use super::fault::Result;
use super::logged;
use crate::engine::{EngineError, Fault, LOG_KEY_BYTES, Page, PageRequest, Space};
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
pub(super) fn end(span: &Span) -> Result<Option<i64>> {
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

/// The value of a key, in the table or in the journal.
pub(super) fn get(conn: &Connection, key: &[u8]) -> Result<Option<Vec<u8>>> {
    let span =
        Span { start: key.to_vec(), end: Some((number(key)?.saturating_add(1)).to_be_bytes().to_vec()) };
    let space = Space::Log;
    let one =
        PageRequest { space, span, reverse: false, rows_max: 1, bytes_max: usize::MAX, keys_only: false };
    Ok(read_page(conn, &one)?.rows.into_iter().next().map(|(_, value)| value.to_vec()))
}

/// Reads values of a span that is not empty. What the journal has of them is behind all that the table has.
pub(super) fn read_page(conn: &Connection, request: &PageRequest) -> Result<Page> {
    let mut filling = Filling { request, page: Page::default(), bytes: 0 };
    if !request.reverse {
        read_table(conn, &mut filling)?;
    }
    if !filling.page.more
        && let Some(mut journal) = logged::select(conn, &request.span, request.reverse)?
    {
        filling.take_all(journal.statement.query(journal.bounds)?)?;
    }
    if request.reverse && !filling.page.more {
        read_table(conn, &mut filling)?;
    }
    Ok(filling.page)
}

fn read_table(conn: &Connection, filling: &mut Filling<'_>) -> Result<()> {
    let request = filling.request;
    let (before, direction) = match (&request.span.end, request.reverse) {
        (Some(_), false) => (" AND key < ?2", "ASC"),
        (Some(_), true) => (" AND key < ?2", "DESC"),
        (None, false) => ("", "ASC"),
        (None, true) => ("", "DESC"),
    };
    let sql = format!("SELECT key, value FROM log WHERE key >= ?1{before} ORDER BY key {direction}");
    let mut statement = conn.prepare_cached(&sql)?;
    let first = number(&request.span.start)?;
    filling.take_all(match end(&request.span)? {
        Some(end) => statement.query((first, end))?,
        None => statement.query([first])?,
    })
}

/// A page that is being filled.
struct Filling<'r> {
    request: &'r PageRequest,
    page: Page,
    bytes: usize,
}

impl Filling<'_> {
    /// Takes keys and values until there are no more, or the page is full.
    fn take_all(&mut self, mut rows: Rows<'_>) -> Result<()> {
        while let Some(row) = rows.next()? {
            let value = match self.request.keys_only {
                true => &[],
                false => row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?,
            };
            self.bytes += LOG_KEY_BYTES + value.len();
            let page = &mut self.page;
            page.more = page.rows.len() >= self.request.rows_max
                || (self.bytes > self.request.bytes_max && !page.rows.is_empty());
            if page.more {
                break;
            }
            page.rows.push(&row.get::<_, i64>(0)?.to_be_bytes(), value);
        }
        Ok(())
    }
}
