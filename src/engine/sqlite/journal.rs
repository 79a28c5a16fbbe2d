//! The journal: what small commits did to rows, one entry for each, as a table of its own.
//!
//! Never decides what goes into it and never begins or ends a transaction. A commit that puts its rows where
//! they belong in the tree writes a page for each of them; one that adds an entry writes the journal's last
//! page. What the entries say lies over the tree as the overlay, until a fold has put it there in the
//! order of the keys, with one write for many neighbours. **The newest entry's record is the job's**; with no
//! entry it is the one in `meta`, where under the key `folds` stands how often something has been folded.
//!
//! An entry's operations one behind the other; numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0 a delete, 1 a put |
//! | 1 | bytes of the category |
//! | 4 | bytes of the key |
//! | 4 | bytes of the payload, 0 for a delete |
//! | the rest | category, key, payload |

use rusqlite::Connection;

use super::fault::Result;
use super::overlay::{Overlay, Version};
use crate::batch::Op;
use crate::engine::row_key::row_key;
use crate::engine::{EngineError, Fault, RECORD_KEY, Write};

/// Bytes of operations in an entry at most; what is more goes to the tree at once.
pub(super) const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Under this key in `meta` is the number of folds, 8 bytes.
const FOLDS_KEY: &[u8] = b"folds";
/// Bytes of an operation beside its category, key and payload.
const HEAD_BYTES: usize = 10;
const DELETE: u8 = 0;
const PUT: u8 = 1;

/// All that the journal holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) overlay: Overlay,
    pub(super) version: Version,
    /// Bytes of its entries.
    pub(super) bytes: usize,
}

/// The operations of a decision's writes, one batch after another.
pub(super) fn batches(writes: &[Write]) -> impl Iterator<Item = &[Op]> {
    writes.iter().filter_map(|write| match write {
        Write::Rows(operations) => Some(&**operations),
        _ => None,
    })
}

/// The operations of these writes as an entry; none if they belong into the tree at once, for there are too
/// many, or some that are not on single rows.
pub(super) fn entry(writes: &[Write]) -> Option<Vec<u8>> {
    let mut bytes = 0_usize;
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
            Write::Empty => return None,
            Write::Put(..) | Write::DeleteSpan(..) => {}
        }
    }
    let mut entry = Vec::with_capacity(bytes);
    batches(writes).flatten().for_each(|op| encode(op, &mut entry));
    Some(entry)
}

/// Bytes of an operation on one row; none if it is on a range.
fn weight(op: &Op) -> Option<usize> {
    match op {
        Op::Put { category, key, payload } => Some(category.len() + key.as_bytes().len() + payload.len()),
        Op::Delete { category, key } => Some(category.len() + key.as_bytes().len()),
        Op::DeleteRange { .. } => None,
    }
}

fn encode(op: &Op, entry: &mut Vec<u8>) {
    let (kind, category, key, payload) = match op {
        Op::Put { category, key, payload } => (PUT, category, key.as_bytes(), payload.as_slice()),
        Op::Delete { category, key } => (DELETE, category, key.as_bytes(), &[][..]),
        Op::DeleteRange { .. } => return,
    };
    entry.push(kind);
    entry.push(category.len() as u8);
    entry.extend((key.len() as u32).to_be_bytes());
    entry.extend((payload.len() as u32).to_be_bytes());
    entry.extend(category.as_bytes());
    entry.extend(key);
    entry.extend(payload);
}

/// Says of the rows what an entry says of them.
fn decode(mut entry: &[u8], overlay: &mut Overlay) -> Result<()> {
    while !entry.is_empty() {
        entry = decode_one(entry, overlay).ok_or_else(|| corrupt("an entry of the journal is damaged"))?;
    }
    Ok(())
}

/// Takes one operation; the rest of the entry.
fn decode_one<'e>(entry: &'e [u8], overlay: &mut Overlay) -> Option<&'e [u8]> {
    let ([kind, category_bytes], rest) = entry.split_first_chunk()?;
    let (key_bytes, rest) = rest.split_first_chunk()?;
    let (payload_bytes, rest) = rest.split_first_chunk()?;
    let (category, rest) = rest.split_at_checked(usize::from(*category_bytes))?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*key_bytes) as usize)?;
    let (payload, rest) = rest.split_at_checked(u32::from_be_bytes(*payload_bytes) as usize)?;
    let over = match *kind {
        PUT => Some(payload.into()),
        DELETE if payload.is_empty() => None,
        _ => return None,
    };
    overlay.set(row_key(str::from_utf8(category).ok()?, key), over);
    Some(rest)
}

/// Reads which version a view is of; the first read of a transaction, which begins the view.
pub(super) fn version(conn: &Connection) -> Result<Version> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT max(number) FROM journal), (SELECT value FROM meta WHERE key = ?1)",
    )?;
    let (last, folds): (Option<u64>, Option<Vec<u8>>) =
        statement.query_row([FOLDS_KEY], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let folds = match folds {
        None => 0,
        Some(bytes) => match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => u64::from_be_bytes(bytes),
            Err(_) => return Err(corrupt("the number of folds is damaged")),
        },
    };
    Ok(Version { last: last.unwrap_or(0), folds })
}

/// Reads the whole journal, which is bounded by when it is folded.
pub(super) fn load(conn: &Connection) -> Result<Contents> {
    let mut contents = Contents { version: version(conn)?, ..Contents::default() };
    contents.bytes = read_after(conn, 0, &mut contents.overlay)?;
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
    let sql = "SELECT record, operations FROM journal WHERE number > ?1 ORDER BY number";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([number])?;
    while let Some(row) = rows.next()? {
        let blob =
            |index| Ok::<_, EngineError>(row.get_ref(index)?.as_blob().map_err(rusqlite::Error::from)?);
        let (record, entry) = (blob(0)?, blob(1)?);
        bytes += record.len() + entry.len();
        decode(entry, overlay)?;
    }
    Ok(bytes)
}

/// How many entries are missing between the oldest and the newest one.
pub(super) fn missing(conn: &Connection) -> Result<u64> {
    let sql = "SELECT coalesce(max(number) - min(number) + 1 - count(*), 0) FROM journal";
    Ok(conn.query_row(sql, (), |row| row.get(0))?)
}

/// Adds an entry with the job's record.
pub(super) fn append(conn: &Connection, number: u64, record: &[u8], entry: &[u8]) -> Result<()> {
    conn.prepare_cached("INSERT INTO journal VALUES (?1, ?2, ?3)")?.execute((number, record, entry))?;
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

/// Says how often there has been a fold.
pub(super) fn set_folds(conn: &Connection, folds: u64) -> Result<()> {
    set_meta(conn, FOLDS_KEY, &folds.to_be_bytes())
}

fn set_meta(conn: &Connection, key: &[u8], value: &[u8]) -> Result<()> {
    conn.prepare_cached("INSERT INTO meta VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value")?
        .execute((key, value))?;
    Ok(())
}

fn corrupt(message: &str) -> EngineError {
    EngineError::new(Fault::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::key::Key;

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

    #[test]
    fn an_entry_says_what_its_operations_say() {
        let writes = [Write::Rows(sample().operations().into())];
        let (mut told, mut read) = (Overlay::default(), Overlay::default());
        told.operate(sample().operations());
        decode(&entry(&writes).unwrap(), &mut read).unwrap();
        assert_eq!(rows_of(&told).len(), 4);
        assert_eq!(rows_of(&told), rows_of(&read));
        assert_eq!(told.bytes(), read.bytes());
    }

    #[test]
    fn ranges_emptying_and_much_belong_into_the_tree() {
        let rows = |batch: Batch| Write::Rows(batch.operations().into());
        let put = |bytes: usize| rows(Batch::new().put("c", key(b"k"), vec![0; bytes]));
        let most = ENTRY_BYTES_MAX - HEAD_BYTES - 2;
        assert_eq!(entry(&[put(most)]).unwrap().len(), ENTRY_BYTES_MAX);
        assert_eq!(entry(&[put(most + 1)]), None);
        assert_eq!(entry(&[put(most / 2), put(most / 2), put(1)]), None);
        assert_eq!(entry(&[rows(Batch::new().put("c", key(b"k"), "1").clear("c"))]), None);
        assert_eq!(entry(&[put(1), Write::Empty]), None);
        assert_eq!(entry(&[]), Some(Vec::new()));
    }

    #[test]
    fn every_entry_that_is_cut_short_or_of_another_kind_is_corrupt() {
        let whole = entry(&[Write::Rows(sample().operations().into())]).unwrap();
        let mut ends = Vec::new();
        for length in 0..whole.len() {
            if decode(&whole[..length], &mut Overlay::default()).is_ok() {
                ends.push(length);
            }
        }
        assert_eq!(ends.len(), sample().operations().len(), "only where an operation ends: {ends:?}");
        let mut other = whole.clone();
        other[0] = 2;
        assert_eq!(decode(&other, &mut Overlay::default()).unwrap_err().fault, Fault::Corrupt);
        let mut name = whole;
        name[HEAD_BYTES] = 0xFF;
        assert_eq!(decode(&name, &mut Overlay::default()).unwrap_err().fault, Fault::Corrupt);
    }
}
