//! Writes of a decision on their way to `engine.js`, which asks the database for each as it comes.
//!
//! Never holds more of them packed than a bound: a decision can be as large as a batch, and what wasm memory
//! has once grown to it stays.

use super::bridge::{Asked, Packed};
use super::layout::{Area, Store};
use crate::batch::Op;
use crate::engine::{Point, Write};
use crate::range::Span;

/// Bytes that are packed before they are handed over.
const PACKED_BYTES_MAX: usize = 256 * 1024;
/// Bytes from which a payload is handed over from where it lies.
const APART_BYTES_MIN: usize = 16 * 1024;

// `engine.js` has the same codes.
const PUT: u8 = 0;
const PUT_APART: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const CLEAR: u8 = 4;

/// Hands all writes over.
pub(super) fn write(asked: &Asked, writes: Vec<Write>) {
    let mut writer = Writer { asked, packed: Packed::default() };
    for write in writes {
        writer.write(&write);
    }
    writer.hand_over(&[]);
}

struct Writer<'a> {
    asked: &'a Asked,
    packed: Packed,
}

impl Writer<'_> {
    fn write(&mut self, write: &Write) {
        match write {
            Write::Rows(ops) => ops.iter().for_each(|op| self.row(op)),
            Write::Put(Point { space, key }, value) => self.put(&Area::of(space), key, value),
            Write::DeleteSpan(space, span) => self.delete_span(&Area::of(space), span),
            Write::Empty => {
                for store in [Store::Rows, Store::Chunks, Store::Log] {
                    self.packed.byte(CLEAR).store(store);
                }
            }
        }
    }

    fn row(&mut self, op: &Op) {
        let area = Area::of_category(op.category());
        match op {
            Op::Put { key, payload, .. } => self.put(&area, key.as_bytes(), payload),
            Op::Delete { key, .. } => {
                self.packed.byte(DELETE).store(area.store).key(&area, key.as_bytes());
            }
            Op::DeleteRange { range, .. } => self.delete_span(&area, &range.span()),
        }
    }

    fn put(&mut self, area: &Area, key: &[u8], payload: &[u8]) {
        let apart = payload.len() >= APART_BYTES_MIN;
        self.packed.byte(if apart { PUT_APART } else { PUT }).store(area.store).key(area, key);
        if apart {
            self.hand_over(payload);
            return;
        }
        self.packed.bytes(payload);
        if self.packed.0.len() >= PACKED_BYTES_MAX {
            self.hand_over(&[]);
        }
    }

    fn delete_span(&mut self, area: &Area, span: &Span) {
        if let Some(bounds) = area.bounds(span) {
            self.packed.byte(DELETE_RANGE).store(area.store).bounds(Some(&bounds));
        }
    }

    fn hand_over(&mut self, payload: &[u8]) {
        self.asked.write(&self.packed.0, payload);
        self.packed.0.clear();
    }
}
