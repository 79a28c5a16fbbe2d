//! Writes: what a decision writes, as statements in a transaction that its caller began.
//!
//! Never begins or ends a transaction. The table of big payloads is kept in step by these statements
//! and not by triggers: a small payload that replaces a small one, the common case, costs one statement
//! and no further look.

use rusqlite::{CachedStatement, Connection, OptionalExtension};

use super::fault::Result;
use super::log_table;
use super::schema::INLINE_BYTES_MAX;
use crate::batch::Op;
use crate::engine::{EngineError, Fault, Point, Space, Write};
use crate::range::Span;

/// Writes in one transaction; keeps the statements of the common operations at hand.
pub(super) struct Writer<'c> {
    conn: &'c Connection,
    put: Option<Put<'c>>,
}

/// The statement that puts small payloads.
struct Put<'c> {
    statement: CachedStatement<'c>,
    /// The category that is bound to it.
    category: Vec<u8>,
}

impl<'c> Writer<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Writer { conn, put: None }
    }

    pub(super) fn write(&mut self, write: &Write) -> Result<()> {
        let conn = self.conn;
        match write {
            Write::Rows(operations) => operations.iter().try_for_each(|op| self.operate(op)),
            Write::Put(Point { space, key }, value) => {
                let sql = match space {
                    Space::Log => return log_table::put(conn, key, value),
                    Space::Meta => {
                        "INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value"
                    }
                    Space::Rows(_) => return Err(not_for_rows()),
                };
                conn.prepare_cached(sql)?.execute((&**key, &**value))?;
                Ok(())
            }
            Write::Log(values) => values.iter().try_for_each(|(key, value)| log_table::put(conn, key, value)),
            Write::DeleteSpan(space, span) => delete_span(conn, space, span),
            Write::Empty => {
                for table in ["rows", "payloads", "log"] {
                    conn.prepare_cached(&format!("DELETE FROM {table}"))?.execute(())?;
                }
                Ok(())
            }
        }
    }

    fn operate(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Put { category, key, payload } => self.put(category.as_bytes(), key.as_bytes(), payload),
            Op::Delete { category, key } => delete(self.conn, category.as_bytes(), key.as_bytes()),
            Op::DeleteRange { category, range } => delete_rows(self.conn, category.as_bytes(), &range.span()),
        }
    }

    /// Inserts a row or replaces its payload.
    pub(super) fn put(&mut self, category: &[u8], key: &[u8], payload: &[u8]) -> Result<()> {
        if payload.len() > INLINE_BYTES_MAX {
            return put_big(self.conn, category, key, payload);
        }
        if self.put_small(category, key, payload)? == 0 {
            // The row has a big payload, which goes before the small one comes.
            delete(self.conn, category, key)?;
            self.put_small(category, key, payload)?;
        }
        Ok(())
    }

    fn put_small(&mut self, category: &[u8], key: &[u8], payload: &[u8]) -> Result<usize> {
        let put = match self.put.take() {
            Some(put) => self.put.insert(put),
            None => self.put.insert(Put::prepare(self.conn, category)?),
        };
        if put.category != category {
            put.bind(category)?;
        }
        put.statement.raw_bind_parameter(2, key)?;
        put.statement.raw_bind_parameter(3, payload)?;
        Ok(put.statement.raw_execute()?)
    }
}

impl<'c> Put<'c> {
    fn prepare(conn: &'c Connection, category: &[u8]) -> Result<Self> {
        let statement = conn.prepare_cached(
            "INSERT INTO rows VALUES (?1, ?2, ?3, NULL)
             ON CONFLICT DO UPDATE SET payload = excluded.payload WHERE big IS NULL",
        )?;
        let mut put = Put { statement, category: Vec::new() };
        put.bind(category)?;
        Ok(put)
    }

    /// What is bound stays so from one execution to the next, and most write to one category over and over.
    fn bind(&mut self, category: &[u8]) -> Result<()> {
        self.statement.raw_bind_parameter(1, category)?;
        self.category = category.to_vec();
        Ok(())
    }
}

fn put_big(conn: &Connection, category: &[u8], key: &[u8], payload: &[u8]) -> Result<()> {
    let replaced = match big_of(conn, category, key)? {
        Some(id) => {
            conn.prepare_cached("UPDATE payloads SET payload = ?2 WHERE id = ?1")?.execute((id, payload))?
        }
        None => 0,
    };
    if replaced == 0 {
        conn.prepare_cached("INSERT INTO payloads (payload) VALUES (?1)")?.execute([payload])?;
        conn.prepare_cached(
            "INSERT INTO rows VALUES (?1, ?2, NULL, ?3)
             ON CONFLICT DO UPDATE SET payload = NULL, big = excluded.big",
        )?
        .execute((category, key, conn.last_insert_rowid()))?;
    }
    Ok(())
}

fn big_of(conn: &Connection, category: &[u8], key: &[u8]) -> Result<Option<i64>> {
    let mut statement = conn.prepare_cached("SELECT big FROM rows WHERE category = ?1 AND key = ?2")?;
    let big = statement.query_row((category, key), |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(big.flatten())
}

pub(super) fn delete(conn: &Connection, category: &[u8], key: &[u8]) -> Result<()> {
    let mut statement =
        conn.prepare_cached("DELETE FROM rows WHERE category = ?1 AND key = ?2 RETURNING big")?;
    let big = statement.query_row((category, key), |row| row.get::<_, Option<i64>>(0)).optional()?;
    if let Some(id) = big.flatten() {
        conn.prepare_cached("DELETE FROM payloads WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

fn delete_rows(conn: &Connection, category: &[u8], span: &Span) -> Result<()> {
    if span.is_empty() {
        return Ok(());
    }
    let start = &*span.start;
    if let Some(end) = span.end.as_deref() {
        conn.prepare_cached(
            "DELETE FROM payloads WHERE id IN (SELECT big FROM rows
             WHERE category = ?1 AND key >= ?2 AND key < ?3 AND big IS NOT NULL)",
        )?
        .execute((category, start, end))?;
        conn.prepare_cached("DELETE FROM rows WHERE category = ?1 AND key >= ?2 AND key < ?3")?
            .execute((category, start, end))?;
    } else {
        conn.prepare_cached(
            "DELETE FROM payloads WHERE id IN (SELECT big FROM rows
             WHERE category = ?1 AND key >= ?2 AND big IS NOT NULL)",
        )?
        .execute((category, start))?;
        conn.prepare_cached("DELETE FROM rows WHERE category = ?1 AND key >= ?2")?
            .execute((category, start))?;
    }
    Ok(())
}

fn delete_span(conn: &Connection, space: &Space, span: &Span) -> Result<()> {
    if span.is_empty() {
        return Ok(());
    }
    let table = match space {
        Space::Log => return log_table::delete_span(conn, span),
        Space::Meta => "meta",
        Space::Rows(_) => return Err(not_for_rows()),
    };
    let start = &*span.start;
    match span.end.as_deref() {
        Some(end) => conn
            .prepare_cached(&format!("DELETE FROM {table} WHERE key >= ?1 AND key < ?2"))?
            .execute((start, end))?,
        None => conn.prepare_cached(&format!("DELETE FROM {table} WHERE key >= ?1"))?.execute([start])?,
    };
    Ok(())
}

fn not_for_rows() -> EngineError {
    EngineError::new(Fault::Other, "rows are written by operations only")
}
