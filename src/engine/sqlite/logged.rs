//! The part of the commit log that is still in the journal: entries which say what they say as values of the
//! log.
//!
//! Never knows what the values are, and never begins or ends a transaction. Whoever reads the log reads its
//! table first and then this; folds move the values into the table, and then the entries may go. Of the
//! entries' values those from one key on are the log's: what lies before it is in the table, or has been
//! trimmed. That key stands beside the number of folds, so moving and trimming rewrite no entry.

use std::ops::RangeInclusive;

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::fault::Result;
use super::journal;
use super::log_table;
use crate::range::Span;

/// How the log's part stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Logged {
    /// The key from which on values are the log's.
    pub(super) from: i64,
    /// The key of the newest value in the journal, 0 if there is none.
    pub(super) last: i64,
    /// The entry up to which values have been moved or trimmed.
    pub(super) moved: u64,
    /// Bytes of the values that are still to be moved, or more.
    pub(super) bytes: usize,
}

impl Logged {
    /// Takes note of an entry; the number that stands for it in the column `key`: of the value that it is, or
    /// the one before with a minus, so that an entry is found by its key.
    pub(super) fn note(&mut self, value: Option<i64>, bytes: usize) -> i64 {
        let Some(key) = value else { return -self.last };
        self.last = key;
        self.bytes += bytes;
        key
    }

    /// Whether the journal can take a value of this key.
    pub(super) fn takes(&self, key: i64) -> bool {
        key > self.last && key >= self.from
    }

    /// Whether no value is left.
    fn is_moved(&self) -> bool {
        self.last < self.from.max(1)
    }

    /// Leaves out the values of a span that is not empty, if it begins with the first of them or has none;
    /// whether it did.
    pub(super) fn trim(&mut self, conn: &Connection, span: &Span) -> Result<bool> {
        let (start, end) = (log_table::number(&span.start)?, log_table::end(span)?);
        if start > self.last {
            return Ok(true);
        }
        match first(conn, self)? {
            Some(first) if first < start => Ok(false),
            None => Ok(true),
            Some(_) => {
                self.from = self.from.max(end.unwrap_or(self.last.saturating_add(1)));
                Ok(true)
            }
        }
    }

    /// Moves values into the log's table until they have so many bytes, or up to this entry.
    pub(super) fn move_on(&mut self, conn: &Connection, to: u64, bytes_max: usize) -> Result<()> {
        if self.moved >= to {
            return Ok(());
        }
        if self.is_moved() {
            // There is nothing to be moved in any entry.
            self.moved = to;
            self.bytes = 0;
            return Ok(());
        }
        let mut statement = conn.prepare_cached(
            "SELECT number, key, length(operations) FROM journal WHERE number > ?1 AND number <= ?2
             ORDER BY number",
        )?;
        let mut rows = statement.query((self.moved, to))?;
        let (mut upto, mut bytes, mut next) = (to, 0, self.from);
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(1)?;
            if key >= self.from.max(1) {
                bytes += row.get::<_, usize>(2)?;
            }
            next = next.max(key.saturating_abs() + 1);
            if bytes >= bytes_max {
                upto = row.get(0)?;
                break;
            }
        }
        drop(rows);
        conn.prepare_cached(
            "INSERT INTO log SELECT key, operations FROM journal
             WHERE number > ?1 AND number <= ?2 AND key >= max(?3, 1) ORDER BY number",
        )?
        .execute((self.moved, upto, self.from))?;
        self.moved = upto;
        self.from = next;
        self.bytes = if self.is_moved() { 0 } else { self.bytes.saturating_sub(bytes) };
        Ok(())
    }
}

/// How the log's part stands in a journal of these entries, of which nothing is known.
pub(super) fn load(conn: &Connection, from: i64) -> Result<Logged> {
    let mut logged = Logged { from, ..Logged::default() };
    let Some(entries) = entries(conn)? else { return Ok(logged) };
    logged.last = key_of(conn, *entries.end())?;
    if logged.is_moved() {
        logged.moved = *entries.end();
        return Ok(logged);
    }
    let live = first_entry(conn, &entries, from)?;
    logged.moved = live - 1;
    logged.bytes = conn.query_row(
        "SELECT coalesce(sum(length(operations)), 0) FROM journal WHERE number >= ?1 AND key > 0",
        [live],
        |row| row.get(0),
    )?;
    Ok(logged)
}

/// The values of a span that is not empty, as keys and values in the order asked for.
pub(super) fn select<'c>(conn: &'c Connection, span: &Span, reverse: bool) -> Result<Option<Selected<'c>>> {
    let Some(entries) = entries(conn)? else { return Ok(None) };
    let start = log_table::number(&span.start)?.max(journal::notes(conn)?.log_from).max(1);
    let low = first_entry(conn, &entries, start)?;
    let high = match log_table::end(span)? {
        Some(end) => first_entry(conn, &entries, end)? - 1,
        None => *entries.end(),
    };
    let direction = if reverse { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT key, operations FROM journal WHERE number BETWEEN ?1 AND ?2 AND key >= ?3
         ORDER BY number {direction}"
    );
    Ok(Some(Selected { statement: conn.prepare_cached(&sql)?, bounds: (low, high, start) }))
}

/// Values that can be read: the statement, and what it is to be given.
pub(super) struct Selected<'c> {
    pub(super) statement: CachedStatement<'c>,
    pub(super) bounds: (u64, u64, i64),
}

/// The numbers of the journal's entries, which have no gap.
fn entries(conn: &Connection) -> Result<Option<RangeInclusive<u64>>> {
    let sql = "SELECT (SELECT min(number) FROM journal), (SELECT max(number) FROM journal)";
    let bounds: (Option<u64>, Option<u64>) =
        conn.prepare_cached(sql)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match bounds {
        (Some(first), Some(last)) => Some(first..=last),
        _ => None,
    })
}

/// The first entry whose value, or the one before it, is at or behind a key; the one behind the last if none.
fn first_entry(conn: &Connection, entries: &RangeInclusive<u64>, key: i64) -> Result<u64> {
    let (mut low, mut high) = (*entries.start(), *entries.end() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match key_of(conn, middle)? < key {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}

fn key_of(conn: &Connection, number: u64) -> Result<i64> {
    let mut statement = conn.prepare_cached("SELECT abs(key) FROM journal WHERE number = ?1")?;
    let key = statement.query_row([number], |row| row.get(0)).optional()?;
    key.ok_or_else(|| journal::corrupt("an entry of the journal is missing"))
}

/// The key of the first value that is the log's.
fn first(conn: &Connection, logged: &Logged) -> Result<Option<i64>> {
    if logged.is_moved() {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(
        "SELECT key FROM journal WHERE number > ?1 AND key >= max(?2, 1) ORDER BY number LIMIT 1",
    )?;
    Ok(statement.query_row((logged.moved, logged.from), |row| row.get(0)).optional()?)
}
