//! Reads of points, and of the pieces that long payloads are cut into.
//!
//! Never loads a long payload before the bound on the answer has admitted it.

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::IdbKeyRange;

use super::fault::corrupt;
use super::layout::{Area, CHUNKS_NOTE_KEY, INLINE_BYTES_MAX, Store, chunk_count, chunk_len};
use super::request::{OpenStore, Request, Tx, bytes_to_js, elements, range_of, value_to_bytes};
use crate::engine::{EngineError, Got, Look, Query, RECORD_KEY, Space, Verify, Want};

/// Points that are asked for before the first answer is taken.
const POINTS_PER_ROUND: usize = 1024;
/// Pieces of a long payload that are loaded by one request: 3 MiB.
pub(super) const CHUNKS_PER_REQUEST: usize = 64;

/// What a row holds.
pub(super) enum Stored {
    Inline(Vec<u8>),
    /// So many bytes in pieces.
    Long(usize),
}

impl Stored {
    pub(super) fn len(&self) -> usize {
        match self {
            Stored::Inline(payload) => payload.len(),
            Stored::Long(bytes) => *bytes,
        }
    }

    /// The value of a row; `None` where there is none.
    pub(super) fn from_value(value: &JsValue) -> Result<Option<Self>, EngineError> {
        let Some(number) = value.as_f64() else {
            return Ok(value_to_bytes(value)?.map(Stored::Inline));
        };
        let bytes = number as u32;
        if f64::from(bytes) != number || bytes as usize <= INLINE_BYTES_MAX {
            return Err(corrupt("the length of a long payload is impossible"));
        }
        Ok(Some(Stored::Long(bytes as usize)))
    }
}

/// The stores that a query works on.
pub(super) fn stores_of(query: &Query, verify: Verify) -> Vec<Store> {
    let mut stores = Vec::new();
    let mut add = |store| {
        if !stores.contains(&store) {
            stores.push(store);
        }
    };
    if verify != Verify::Never {
        add(Store::Meta);
    }
    let mut add_space = |space: &Space, with_payloads: bool| {
        add(store_of(space));
        if with_payloads && matches!(space, Space::Rows(_)) {
            add(Store::Chunks);
        }
    };
    match query {
        Query::Get(get) => get.points.iter().for_each(|point| add_space(&point.space, !get.presence_only)),
        Query::Page(request) => add_space(&request.space, !request.keys_only),
        Query::Count { .. } | Query::Categories { .. } => add(Store::Rows),
        Query::Damage | Query::Size => {}
    }
    stores
}

fn store_of(space: &Space) -> Store {
    match space {
        Space::Rows(_) => Store::Rows,
        Space::Log => Store::Log,
        Space::Meta => Store::Meta,
    }
}

/// Reads points in the order asked for; see [`Got`].
pub(super) async fn read_points(tx: &Tx, looks: &[Look], bytes_max: usize) -> Result<Got, EngineError> {
    let mut found = Vec::new();
    let mut bytes = 0usize;
    for round in looks.chunks(POINTS_PER_ROUND) {
        let mut requests = Vec::with_capacity(round.len());
        for Look { point, want } in round {
            let area = Area::of(&point.space);
            let (store, key) = (tx.store(area.store)?, bytes_to_js(&area.key(&point.key)));
            requests.push(match want {
                Want::Presence => store.get_key(&key)?,
                Want::Payload(_) => store.get(&key)?,
            });
        }
        for (request, look) in requests.into_iter().zip(round) {
            let stored = wanted(&request.await?, look.want)?;
            bytes = bytes.saturating_add(stored.as_ref().map_or(0, Stored::len));
            if bytes > bytes_max {
                found = Vec::new();
            } else {
                found.push(stored);
            }
        }
    }
    if bytes > bytes_max {
        return Ok(Got::TooLarge(bytes));
    }
    let mut payloads = Vec::with_capacity(looks.len());
    for (Look { point, .. }, stored) in looks.iter().zip(found) {
        payloads.push(match stored {
            None => None,
            Some(stored) => Some(load(tx, &Area::of(&point.space).key(&point.key), stored).await?),
        });
    }
    Ok(Got::Payloads(payloads))
}

/// What an answer is worth to whoever wants so much of it.
fn wanted(answer: &JsValue, want: Want) -> Result<Option<Stored>, EngineError> {
    match want {
        Want::Presence => Ok((!answer.is_undefined()).then(|| Stored::Inline(Vec::new()))),
        Want::Payload(bytes_max) => Ok(match Stored::from_value(answer)? {
            // Too long is all that is to be seen of it, so its pieces stay where they are.
            Some(Stored::Long(bytes)) if bytes > bytes_max => Some(Stored::Inline(vec![0; bytes_max + 1])),
            stored => stored,
        }),
    }
}

/// The payload of the row with this key of `rows`.
pub(super) async fn load(tx: &Tx, row: &[u8], stored: Stored) -> Result<Vec<u8>, EngineError> {
    let bytes = match stored {
        Stored::Inline(payload) => return Ok(payload),
        Stored::Long(bytes) => bytes,
    };
    let chunks = tx.store(Store::Chunks)?;
    // Reserved piece by piece: a wrong length must not become a huge allocation.
    let mut payload = Vec::new();
    for first in (0..chunk_count(bytes)).step_by(CHUNKS_PER_REQUEST) {
        for piece in pieces(&chunks, row, first).await?.iter() {
            payload.extend(value_to_bytes(&piece)?.unwrap_or_default());
        }
        let expected: usize = (0..first + CHUNKS_PER_REQUEST).map(|index| chunk_len(bytes, index)).sum();
        if payload.len() != expected {
            return Err(corrupt("a long payload lacks pieces or has wrong ones"));
        }
    }
    Ok(payload)
}

async fn pieces(chunks: &OpenStore, row: &[u8], first: usize) -> Result<Array, EngineError> {
    let (lower, upper) = (chunk_key(row, first), chunk_key(row, first + CHUNKS_PER_REQUEST));
    let range = range_of(&lower, Some(&upper))?;
    elements(chunks.get_all(&range, CHUNKS_PER_REQUEST as u32, false)?.await?)
}

/// The key of one piece.
pub(super) fn chunk_key(row: &[u8], index: usize) -> JsValue {
    Array::of2(&bytes_to_js(row), &JsValue::from_f64(index as f64)).into()
}

/// The keys of all pieces of one row: an array sorts behind every number.
pub(super) fn chunks_of_row(row: &[u8]) -> Result<IdbKeyRange, EngineError> {
    let row = bytes_to_js(row);
    range_of(&Array::of1(&row), Some(&Array::of2(&row, &Array::new())))
}

/// The keys of all pieces of the rows from `lower` up to, but without, `upper`.
pub(super) fn chunks_of_rows(lower: &[u8], upper: Option<&[u8]>) -> Result<IdbKeyRange, EngineError> {
    range_of(&chunks_before(lower), upper.map(chunks_before).as_ref())
}

/// The bound before all pieces of the rows from `row` on, and behind those of the rows before it.
pub(super) fn chunks_before(row: &[u8]) -> JsValue {
    Array::of1(&bytes_to_js(row)).into()
}

/// The row's key and the index of a piece's key.
pub(super) fn split_chunk_key(key: &JsValue) -> Result<(Vec<u8>, usize), EngineError> {
    let wrong = || corrupt("the key of a piece is not a row's key and an index");
    let parts = key.dyn_ref::<Array>().ok_or_else(wrong)?;
    let index = parts.get(1).as_f64().ok_or_else(wrong)?;
    if parts.length() != 2 || f64::from(index as u32) != index {
        return Err(wrong());
    }
    Ok((super::request::key_to_bytes(&parts.get(0))?, index as usize))
}

/// How many bytes a piece has.
pub(super) fn piece_len(value: &JsValue) -> Option<usize> {
    value.dyn_ref::<Uint8Array>().map(|bytes| bytes.length() as usize)
}

/// The job's record, if there is one.
pub(super) async fn read_record(tx: &Tx) -> Result<Option<Vec<u8>>, EngineError> {
    value_to_bytes(&tx.store(Store::Meta)?.get(&bytes_to_js(RECORD_KEY))?.await?)
}

/// Asks whether there may be chunks: the answer is undefined if there are none.
pub(super) fn ask_chunks_note(tx: &Tx) -> Result<Request, EngineError> {
    tx.store(Store::Meta)?.get_key(&bytes_to_js(CHUNKS_NOTE_KEY))
}
