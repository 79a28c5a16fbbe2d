//! The files of `tests/vectors` but for keys, as Rust values: texts, entries of batches, hexadecimal bytes.
//!
//! Never computes what a file says: each is the authority, for the npm package's page too.

use serde_json::Value;

use crate::batch::Batch;
use crate::key::Key;
use crate::range::KeyRange;

/// The entries of a section of the file whose text this is; there are some.
pub(crate) fn section(file: &str, name: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).unwrap();
    let entries = list(&file[name]).to_vec();
    assert!(!entries.is_empty(), "no vectors in {name}");
    entries
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

pub(crate) fn string(value: &Value) -> &str {
    value.as_str().unwrap()
}

pub(crate) fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// A string, or one that is repeated.
pub(crate) fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => string(&value["text"]).repeat(size(&value["times"])),
    }
}

pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    let digits = string(value);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The batch of these entries.
pub(crate) fn batch(entries: &Value) -> Batch {
    list(entries).iter().fold(Batch::new(), |batch, entry| {
        let times = entry.get("times").map_or(1, size);
        (0..times).fold(batch, |batch, _| add(batch, entry))
    })
}

fn add(batch: Batch, entry: &Value) -> Batch {
    let (method, arguments) = entry.as_object().unwrap().iter().find(|(name, _)| *name != "times").unwrap();
    let category = text(&arguments[0]);
    let key = |at: usize| Key::from(text(&arguments[at]).into_bytes());
    match method.as_str() {
        "put" => batch.put(category, key(1), text(&arguments[2])),
        "delete" => batch.delete(category, key(1)),
        "deletePrefix" => batch.delete_prefix(category, key(1)),
        "deleteRange" if arguments[2].is_null() => batch.delete_range(category, KeyRange::new(key(1)..)),
        "deleteRange" => batch.delete_range(category, KeyRange::new(key(1)..key(2))),
        "clear" => batch.clear(category),
        "requireAbsent" => batch.require_absent(category, key(1)),
        "requirePresent" => batch.require_present(category, key(1)),
        "requireEqual" => batch.require_equal(category, key(1), text(&arguments[2])),
        other => panic!("unknown entry {other}"),
    }
}
