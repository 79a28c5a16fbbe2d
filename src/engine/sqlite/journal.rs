//! The journal: what small commits did to rows, one entry for each, as a table of its own.
//!
//! Never decides what goes into it and never begins or ends a transaction. A commit that puts its rows where
//! they belong in the tree writes a page for each of them; one that adds an entry writes the journal's last
//! page. What the entries say lies over the tree as the overlay, until a fold has put it there in the
//! order of the keys, with one write for many neighbours. **The newest entry's record is the job's**; with no
//! entry it is the one in `meta`, where under the key `folds` stands how often something has been folded.
//!
//! An entry has these columns:
//!
//! | column | what |
//! |---|---|
//! | `number` | one more than that of the entry before |
//! | `record` | the job's record as the commit left it; empty in all but the last entry of a commit of several |
//! | `key` | where `operations` is a value of the commit log, its key there; else that of the last entry which has one, with a minus, or 0 |
//! | `operations` | the value of the log, or the operations alone, as `commit_log::operations` has them |
//!
//! So while the log is wanted a commit is written once, and is in both; `logged` has what follows from that.
//! The value of `folds` is that number and the key from which on values of entries are the log's, 8 bytes
//! each, big-endian.

use std::borrow::Cow;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::fault::Result;
use super::log_table;
use super::logged::{self, Logged};
use super::overlay::{Overlay, Version};
use crate::batch::Op;
use crate::commit_log::{Assembler, decode_all, encode_all};
use crate::engine::{EngineError, Fault, LogValue, Point, RECORD_KEY, Space, Write};

/// Bytes of operations in an entry at most; what is more goes to the tree at once.
pub(super) const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Under this key in `meta` is the number of folds, 8 bytes.
const FOLDS_KEY: &[u8] = b"folds";
/// Bytes of an operation beside its category, key and payload, as those of an entry are counted.
const HEAD_BYTES: usize = 10;

/// All that the journal holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) overlay: Overlay,
    pub(super) version: Version,
    /// Bytes of its entries.
    pub(super) bytes: usize,
    pub(super) logged: Logged,
}

/// What stands beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// How often something has been folded.
    pub(super) folds: u64,
    /// The key from which on values of entries are the log's.
    pub(super) log_from: i64,
}

/// One of the entries that a commit comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'w> {
    /// The key in the log, if the operations are a value of it.
    pub(super) key: Option<i64>,
    pub(super) operations: Cow<'w, [u8]>,
}

impl<'w> Entry<'w> {
    /// The entry that a value of the log is.
    fn of((key, value): &'w LogValue) -> Option<Self> {
        Some(Entry { key: Some(log_table::number(key).ok()?), operations: Cow::Borrowed(value) })
    }
}

/// The operations of a decision's writes, one batch after another.
pub(super) fn batches(writes: &[Write]) -> impl Iterator<Item = &[Op]> {
    writes.iter().filter_map(|write| match write {
        Write::Rows(operations) => Some(&**operations),
        _ => None,
    })
}

/// The operations of these writes as entries; none if they belong into the tree at once, for there are too
/// many, or some that are not on single rows, or what they do to the log has another place.
pub(super) fn entries(writes: &[Write]) -> Option<Vec<Entry<'_>>> {
    let (mut bytes, mut values) = (0_usize, None);
    for write in writes {
        match write {
            Write::Rows(operations) => {
                for op in operations.iter() {
                    bytes += HEAD_BYTES + weight(op)?;
                    if bytes > ENTRY_BYTES_MAX {
                        return None;
                    }
                }
            }
            Write::Log(all) if values.is_none() => values = Some(all),
            // What is removed from the log is what was there before.
            Write::DeleteSpan(Space::Log, _) if values.is_some() => return None,
            Write::Log(_) | Write::Put(Point { space: Space::Log, .. }, _) | Write::Empty => return None,
            Write::Put(..) | Write::DeleteSpan(..) => {}
        }
    }
    match values {
        Some(values) => values.iter().map(Entry::of).collect(),
        None => {
            let mut operations = Vec::with_capacity(bytes);
            encode_all(batches(writes), &mut operations);
            Some(vec![Entry { key: None, operations: Cow::Owned(operations) }])
        }
    }
}

/// Bytes of an operation on one row; none if it is on a range.
fn weight(op: &Op) -> Option<usize> {
    match op {
        Op::Put { category, key, payload } => Some(category.len() + key.as_bytes().len() + payload.len()),
        Op::Delete { category, key } => Some(category.len() + key.as_bytes().len()),
        Op::DeleteRange { .. } => None,
    }
}

/// Says of the rows what operations say of them.
fn take(operations: &[Op], overlay: &mut Overlay) -> Result<()> {
    if operations.iter().any(|op| matches!(op, Op::DeleteRange { .. })) {
        return Err(corrupt("an entry of the journal is on a range"));
    }
    overlay.operate(operations);
    Ok(())
}

/// Reads what stands beside the entries.
pub(super) fn notes(conn: &Connection) -> Result<Notes> {
    let mut statement = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let mut rows = statement.query([FOLDS_KEY])?;
    rows.next()?.map_or(Ok(Notes::default()), |row| parse(row.get_ref(0)?))
}

fn parse(value: ValueRef<'_>) -> Result<Notes> {
    let bytes = value.as_blob().ok().and_then(|bytes| <&[u8; 16]>::try_from(bytes).ok());
    let [folds, log_from] = match bytes.map(|bytes| bytes.as_chunks().0) {
        Some(&[folds, log_from]) => [folds, log_from].map(u64::from_be_bytes),
        _ => return Err(corrupt("the number of folds is damaged")),
    };
    let log_from = i64::try_from(log_from).map_err(|_| corrupt("the log's first key is damaged"))?;
    Ok(Notes { folds, log_from })
}

/// Reads which version a view is of; the first read of a transaction, which begins the view.
pub(super) fn version(conn: &Connection) -> Result<Version> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT max(number) FROM journal), (SELECT value FROM meta WHERE key = ?1)",
    )?;
    let mut rows = statement.query([FOLDS_KEY])?;
    let row = rows.next()?.ok_or_else(|| corrupt("a view without a version"))?;
    let notes = match row.get_ref(1)? {
        ValueRef::Null => Notes::default(),
        value => parse(value)?,
    };
    Ok(Version { last: row.get::<_, Option<u64>>(0)?.unwrap_or(0), folds: notes.folds })
}

/// Reads the whole journal, which is bounded by when it is folded.
pub(super) fn load(conn: &Connection) -> Result<Contents> {
    let mut contents = Contents { version: version(conn)?, ..Contents::default() };
    contents.bytes = read_after(conn, 0, &mut contents.overlay)?;
    contents.logged = logged::load(conn, notes(conn)?.log_from)?;
    Ok(contents)
}

/// Adds to the overlay what the entries behind this one say.
pub(super) fn load_after(conn: &Connection, mut overlay: Overlay, number: u64) -> Result<Overlay> {
    read_after(conn, number, &mut overlay)?;
    Ok(overlay)
}

/// The same; tells how many bytes these entries have.
fn read_after(conn: &Connection, number: u64, overlay: &mut Overlay) -> Result<usize> {
    let mut bytes = 0;
    let (mut values, mut commits) = (Assembler::default(), Vec::new());
    let sql = "SELECT record, key, operations FROM journal WHERE number > ?1 ORDER BY number";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([number])?;
    while let Some(row) = rows.next()? {
        let blob =
            |index| Ok::<_, EngineError>(row.get_ref(index)?.as_blob().map_err(rusqlite::Error::from)?);
        let (record, key, entry) = (blob(0)?, row.get::<_, i64>(1)?, blob(2)?);
        bytes += record.len() + entry.len();
        if key > 0 {
            values.push(&key.to_be_bytes(), entry, 0, &mut commits)?;
            commits.drain(..).try_for_each(|commit| take(&commit.operations, overlay))?;
        } else {
            let operations =
                decode_all(entry).ok_or_else(|| corrupt("an entry of the journal is damaged"))?;
            take(&operations, overlay)?;
        }
    }
    Ok(bytes)
}

/// How many entries are missing between the oldest and the newest one.
pub(super) fn missing(conn: &Connection) -> Result<u64> {
    let sql = "SELECT coalesce(max(number) - min(number) + 1 - count(*), 0) FROM journal";
    Ok(conn.query_row(sql, (), |row| row.get(0))?)
}

/// Adds an entry with the job's record.
pub(super) fn append(
    conn: &Connection,
    number: u64,
    record: &[u8],
    key: i64,
    operations: &[u8],
) -> Result<()> {
    conn.prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3, ?4)")?
        .execute((number, record, key, operations))?;
    Ok(())
}

/// The job's record.
pub(super) fn record(conn: &Connection) -> Result<Option<Vec<u8>>> {
    let mut newest = conn.prepare_cached("SELECT record FROM journal ORDER BY number DESC LIMIT 1")?;
    let mut rows = newest.query(())?;
    if let Some(row) = rows.next()? {
        return Ok(Some(row.get(0)?));
    }
    let mut at_rest = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    let mut rows = at_rest.query([RECORD_KEY])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

/// Removes the entries up to this one, which have all been folded; with the last of them the record goes to
/// its place at rest.
pub(super) fn remove_to(conn: &Connection, number: u64, last: u64) -> Result<()> {
    if number < last {
        conn.prepare_cached("DELETE FROM journal WHERE number <= ?1")?.execute([number])?;
        return Ok(());
    }
    if let Some(record) = record(conn)? {
        set_meta(conn, RECORD_KEY, &record)?;
    }
    clear(conn)
}

/// Removes every entry, whatever they say.
pub(super) fn clear(conn: &Connection) -> Result<()> {
    conn.prepare_cached("DELETE FROM journal")?.execute(())?;
    Ok(())
}

/// Writes what stands beside the entries.
pub(super) fn set_notes(conn: &Connection, notes: Notes) -> Result<()> {
    let Notes { folds, log_from } = notes;
    set_meta(conn, FOLDS_KEY, &[folds.to_be_bytes(), log_from.to_be_bytes()].concat())
}

fn set_meta(conn: &Connection, key: &[u8], value: &[u8]) -> Result<()> {
    conn.prepare_cached("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")?
        .execute((key, value))?;
    Ok(())
}

pub(super) fn corrupt(message: &str) -> EngineError {
    EngineError::new(Fault::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::key::Key;
    use crate::range::Span;

    fn key(bytes: &[u8]) -> Key {
        Key::from_bytes(bytes.to_vec())
    }

    fn rows_of(overlay: &Overlay) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let rows = overlay.after(b"", usize::MAX).into_iter();
        rows.map(|(row, over)| (row, over.map(|payload| payload.to_vec()))).collect()
    }

    fn sample() -> Batch {
        Batch::new()
            .put("c", key(b"a"), "1")
            .put("", key(b""), "")
            .delete("c", key(b"b"))
            .put("c\0", key(&[0; 300]), vec![7; 5000])
            .put("c", key(b"a"), "2")
    }

    fn written(writes: &[Write]) -> Vec<u8> {
        match <[Entry<'_>; 1]>::try_from(entries(writes).unwrap()).unwrap() {
            [Entry { key: None, operations }] => operations.into_owned(),
            [logged] => panic!("{logged:?}"),
        }
    }

    #[test]
    fn an_entry_says_what_its_operations_say() {
        let rows = |batch: &Batch| Write::Rows(batch.operations().into());
        let other = Batch::new().delete("c", key(b"x"));
        let (mut told, mut read) = (Overlay::default(), Overlay::default());
        told.operate(sample().operations());
        told.operate(other.operations());
        let entry = written(&[rows(&sample()), rows(&other)]);
        take(&decode_all(&entry).unwrap(), &mut read).unwrap();
        assert_eq!(rows_of(&told).len(), 5);
        assert_eq!(rows_of(&told), rows_of(&read));
        assert_eq!(told.bytes(), read.bytes());
    }

    #[test]
    fn ranges_emptying_and_much_belong_into_the_tree() {
        let rows = |batch: Batch| Write::Rows(batch.operations().into());
        let put = |bytes: usize| rows(Batch::new().put("c", key(b"k"), vec![0; bytes]));
        let most = ENTRY_BYTES_MAX - HEAD_BYTES - 2;
        assert_eq!(entries(&[put(most)]).unwrap().len(), 1);
        assert_eq!(entries(&[put(most + 1)]), None);
        assert_eq!(entries(&[put(most / 2), put(most / 2), put(1)]), None);
        assert_eq!(entries(&[rows(Batch::new().put("c", key(b"k"), "1").clear("c"))]), None);
        assert_eq!(entries(&[put(1), Write::Empty]), None);
        assert!(written(&[]).is_empty());
    }

    #[test]
    fn values_of_the_log_are_entries_unless_something_else_happens_to_the_log_behind_them() {
        let rows = || Write::Rows(Batch::new().put("c", key(b"k"), "1").operations().into());
        let value = |number: u64| (number.to_be_bytes().to_vec(), vec![1]);
        let log = || Write::Log(vec![value(5), value(6)]);
        let trim = || Write::DeleteSpan(Space::Log, Span::all());
        let keys = |writes: &[Write]| {
            entries(writes).map(|entries| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>())
        };
        let both = Some(vec![Some(5), Some(6)]);
        assert_eq!(keys(&[rows(), log()]), both);
        assert_eq!(keys(&[rows(), trim(), log()]), both);
        assert_eq!(keys(&[rows(), log(), trim()]), None);
        assert_eq!(keys(&[rows(), log(), log()]), None);
        let (at, bytes) = value(5);
        assert_eq!(keys(&[rows(), Write::Put(Point { space: Space::Log, key: at }, bytes)]), None);
        assert_eq!(keys(&[trim()]), Some(vec![None]));
    }

    #[test]
    fn every_entry_that_is_cut_short_or_on_a_range_is_corrupt() {
        let whole = written(&[Write::Rows(sample().operations().into())]);
        for length in 1..whole.len() {
            assert!(decode_all(&whole[..length]).is_none(), "{length}");
        }
        let range = Batch::new().clear("c");
        let refused = take(range.operations(), &mut Overlay::default());
        assert_eq!(refused.unwrap_err().fault, Fault::Corrupt);
    }
}
