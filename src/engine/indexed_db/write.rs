//! Writes of a decision, all asked for at once in the last callback of their transaction.
//!
//! Never waits for one of them: what fails aborts the transaction, and its end is all the answer.

use wasm_bindgen::JsValue;

use super::layout::{Area, CHUNK_BYTES, CHUNKS_NOTE_KEY, INLINE_BYTES_MAX, Store};
use super::points::{chunk_key, chunks_of_row, chunks_of_rows};
use super::request::{OpenStore, Tx, bytes_to_js};
use crate::batch::Op;
use crate::engine::row_key::{Bounds, category_prefix};
use crate::engine::{EngineError, Point, Space, Write};
use crate::range::Span;

/// The stores of a transaction that writes.
pub(super) struct Writer {
    meta: OpenStore,
    rows: OpenStore,
    chunks: OpenStore,
    log: OpenStore,
    /// Whether there may be chunks, so that they must go with their rows.
    has_chunks: bool,
}

impl Writer {
    pub(super) fn new(tx: &Tx, has_chunks: bool) -> Result<Self, EngineError> {
        let (meta, rows) = (tx.store(Store::Meta)?, tx.store(Store::Rows)?);
        let (chunks, log) = (tx.store(Store::Chunks)?, tx.store(Store::Log)?);
        Ok(Writer { meta, rows, chunks, log, has_chunks })
    }

    pub(super) fn write(&mut self, write: Write) -> Result<(), EngineError> {
        match write {
            Write::Rows(ops) => ops.iter().try_for_each(|op| self.row(op)),
            Write::Put(Point { space, key }, value) => {
                self.own(&space).put(&bytes_to_js(&key), &bytes_to_js(&value))
            }
            Write::DeleteSpan(space, span) => {
                let note = space == Space::Meta && self.has_chunks && span.contains(CHUNKS_NOTE_KEY);
                self.delete_span(&Area::of(&space), &span)?;
                if note { self.note_chunks() } else { Ok(()) }
            }
            Write::Empty => {
                self.rows.clear()?;
                self.chunks.clear()?;
                self.log.clear()
            }
        }
    }

    fn own(&self, space: &Space) -> &OpenStore {
        match space {
            Space::Log => &self.log,
            Space::Meta => &self.meta,
            Space::Rows(_) => &self.rows,
        }
    }

    fn row(&mut self, op: &Op) -> Result<(), EngineError> {
        let area = Area { store: Store::Rows, prefix: category_prefix(op.category()) };
        match op {
            Op::Put { key, payload, .. } => self.put(&area.key(key.as_bytes()), payload),
            Op::Delete { key, .. } => {
                let row = area.key(key.as_bytes());
                self.delete_chunks(&row)?;
                self.rows.delete(&bytes_to_js(&row))
            }
            Op::DeleteRange { range, .. } => self.delete_span(&area, &range.span()),
        }
    }

    fn put(&mut self, row: &[u8], payload: &[u8]) -> Result<(), EngineError> {
        self.delete_chunks(row)?;
        if payload.len() <= INLINE_BYTES_MAX {
            return self.rows.put(&bytes_to_js(row), &bytes_to_js(payload));
        }
        if !self.has_chunks {
            self.note_chunks()?;
        }
        for (index, piece) in payload.chunks(CHUNK_BYTES).enumerate() {
            self.chunks.put(&chunk_key(row, index), &bytes_to_js(piece))?;
        }
        self.rows.put(&bytes_to_js(row), &JsValue::from_f64(payload.len() as f64))
    }

    fn note_chunks(&mut self) -> Result<(), EngineError> {
        self.has_chunks = true;
        self.meta.put(&bytes_to_js(CHUNKS_NOTE_KEY), &bytes_to_js(&[]))
    }

    fn delete_chunks(&self, row: &[u8]) -> Result<(), EngineError> {
        if self.has_chunks { self.chunks.delete(&chunks_of_row(row)?.into()) } else { Ok(()) }
    }

    fn delete_span(&self, area: &Area, span: &Span) -> Result<(), EngineError> {
        let Some(bounds) = area.bounds(span) else { return Ok(()) };
        let store = match area.store {
            Store::Rows => &self.rows,
            Store::Log => &self.log,
            Store::Meta | Store::Chunks => &self.meta,
        };
        if area.store == Store::Rows && self.has_chunks {
            let Bounds { lower, upper } = &bounds;
            self.chunks.delete(&chunks_of_rows(lower, upper.as_deref())?.into())?;
        }
        store.delete(&bounds.range()?.into())
    }
}
