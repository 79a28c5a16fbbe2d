//! Writes of a decision on their way to `engine.js`, which asks the database for each as it comes.
//!
//! Never holds more of them packed than a bound: a decision can be as large as a batch, and what wasm memory
//! has once grown to it stays.

use super::bridge::{Asked, Packed};
use super::layout::Area;
use crate::batch::Op;
use crate::engine::{Point, Space, Write};

/// Bytes that are packed before they are handed over.
const PACKED_BYTES_MAX: usize = 256 * 1024;
/// Bytes from which a payload is handed over from where it lies.
const APART_BYTES_MIN: usize = 16 * 1024;

// `format.js` has the same codes. The first three are of rows, and are stored as they are.
const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_RANGE: u8 = 2;
const PUT_APART: u8 = 3;
const PUT_VALUE: u8 = 4;
const DELETE_VALUES: u8 = 5;
const EMPTY: u8 = 6;

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
            Write::Put(Point { space, key }, value) => self.value(space, key, value),
            Write::Log(values) => values.iter().for_each(|(key, value)| self.value(&Space::Log, key, value)),
            Write::DeleteSpan(space, span) => {
                let area = Area::of(space);
                if let Some(bounds) = area.bounds(span) {
                    self.packed.byte(DELETE_VALUES).store(area.store).bounds(Some(&bounds));
                }
            }
            Write::Empty => drop(self.packed.byte(EMPTY)),
        }
    }

    fn value(&mut self, space: &Space, key: &[u8], value: &[u8]) {
        let area = Area::of(space);
        self.packed.byte(PUT_VALUE).store(area.store).key(&area, key).bytes(value);
        self.mind_bound();
    }

    fn row(&mut self, op: &Op) {
        let area = Area::of_category(op.category());
        match op {
            Op::Put { key, payload, .. } => {
                let key = key.as_bytes();
                let apart = payload.len() >= APART_BYTES_MIN;
                self.packed.byte(if apart { PUT_APART } else { PUT });
                self.packed.number(area.prefix.len() + key.len()).number(payload.len());
                self.packed.0.extend(&area.prefix);
                self.packed.0.extend(key);
                if apart {
                    return self.hand_over(payload);
                }
                self.packed.0.extend(payload);
            }
            Op::Delete { key, .. } => drop(self.packed.byte(DELETE).key(&area, key.as_bytes())),
            Op::DeleteRange { range, .. } => {
                if let Some(bounds) = area.bounds(&range.span()) {
                    self.packed.byte(DELETE_RANGE).bounds(Some(&bounds));
                }
            }
        }
        self.mind_bound();
    }

    fn mind_bound(&mut self) {
        if self.packed.0.len() >= PACKED_BYTES_MAX {
            self.hand_over(&[]);
        }
    }

    fn hand_over(&mut self, payload: &[u8]) {
        self.asked.write(&self.packed.0, payload);
        self.packed.0.clear();
    }
}
