//! Reads of ranges: pages of rows in either direction, and the list of categories.
//!
//! Never holds a cursor over many rows, and never has more than a slice of rows beyond its bounds in
//! memory: IndexedDB knows a limit of rows but none of bytes, so a page is read in slices.

use js_sys::Array;

use super::fault::corrupt;
use super::layout::{Area, Store};
use super::points::{Stored, load};
use super::request::{OpenStore, Tx, elements, key_to_bytes};
use crate::engine::row_key::{Bounds, after_category, split_row_key};
use crate::engine::{EngineError, Fault, Page, PageRequest};

/// Rows of the first slice, of which nothing is known: 8 MiB at most, long keys excepted.
const SLICE_ROWS_FIRST: usize = 256;
/// Rows of a slice at most.
const SLICE_ROWS_MAX: usize = 1024;
/// How much larger than the one before a slice can be: sizes seen so far can mislead.
const SLICE_GROWTH_MAX: usize = 4;

/// Rows as the database gave them: keys, and the values unless only keys were asked for.
struct Slice {
    keys: Array,
    values: Option<Array>,
}

/// Reads a page; `direction` says whether the browser reads ranges from their end.
pub(super) async fn read_page(tx: &Tx, request: PageRequest, direction: bool) -> Result<Page, EngineError> {
    let area = Area::of(&request.space);
    let mut page = Page::default();
    let Some(mut bounds) = area.bounds(&request.span) else { return Ok(page) };
    let store = tx.store(area.store)?;
    let mut bytes = 0usize;
    let mut slice_rows = SLICE_ROWS_FIRST;
    loop {
        // One more than wanted tells whether there is a further row.
        let limit = slice_rows.min(request.rows_max.saturating_sub(page.rows.len()).saturating_add(1));
        let slice = read_slice(&store, &bounds, limit, &request, direction).await?;
        let rows = slice.keys.length();
        let mut last = Vec::new();
        for index in 0..rows {
            let row = key_to_bytes(&slice.keys.get(index))?;
            let key = row.get(area.prefix.len()..).ok_or_else(|| corrupt("a row's key is too short"))?;
            let stored = match &slice.values {
                None => Stored::Inline(Vec::new()),
                Some(values) => {
                    Stored::from_value(&values.get(index))?.ok_or_else(|| corrupt("a row has no value"))?
                }
            };
            let total = bytes.saturating_add(key.len()).saturating_add(stored.len());
            let full = page.rows.len() >= request.rows_max || total > request.bytes_max;
            if full && !page.rows.is_empty() {
                page.more = true;
                return Ok(page);
            }
            bytes = total;
            page.rows.push((key.to_vec(), load(tx, &row, stored).await?));
            last = row;
        }
        let exhausted = (rows as usize) < limit;
        if exhausted || !bounds.narrow(last, request.reverse) {
            return Ok(page);
        }
        slice_rows = next_slice(slice_rows, page.rows.len(), bytes, request.bytes_max);
    }
}

/// Rows for the next slice: what still fits if the rows go on as they were, but not much more than before.
fn next_slice(before: usize, rows: usize, bytes: usize, bytes_max: usize) -> usize {
    let average = (bytes / rows.max(1)).max(1);
    let fitting = (bytes_max.saturating_sub(bytes) / average).saturating_add(1);
    fitting.min(before * SLICE_GROWTH_MAX).min(SLICE_ROWS_MAX)
}

async fn read_slice(
    store: &OpenStore,
    bounds: &Bounds,
    limit: usize,
    request: &PageRequest,
    direction: bool,
) -> Result<Slice, EngineError> {
    let mut range = bounds.range()?;
    // Within u32: a slice is small.
    let rows = limit as u32;
    // Where ranges cannot be read from their end: find where the slice begins, then read it forwards.
    let forwards = request.reverse && !direction;
    if forwards && let Some(first) = store.key_from_end(&range, rows - 1).await? {
        range = Bounds { lower: key_to_bytes(&first)?, upper: bounds.upper.clone() }.range()?;
    }
    let reverse = request.reverse && direction;
    let keys = store.get_all_keys(&range, rows, reverse)?;
    let values = match request.keys_only {
        true => None,
        false => Some(store.get_all(&range, rows, reverse)?),
    };
    let keys = elements(keys.await?)?;
    let values = match values {
        Some(values) => Some(elements(values.await?)?),
        None => None,
    };
    if values.as_ref().is_some_and(|values| values.length() != keys.length()) {
        return Err(corrupt("a range has not as many values as keys"));
    }
    if forwards {
        keys.reverse();
        values.iter().for_each(|values| drop(values.reverse()));
    }
    Ok(Slice { keys, values })
}

/// The categories that hold rows, in order; jumps from one to the next whatever they hold.
pub(super) async fn read_categories(tx: &Tx, bytes_max: usize) -> Result<Vec<String>, EngineError> {
    let store = tx.store(Store::Rows)?;
    let mut categories = Vec::new();
    let mut bytes = 0usize;
    let mut bounds = Bounds { lower: Vec::new(), upper: None };
    loop {
        let key = store.get_key(&bounds.range()?.into())?.await?;
        if key.is_undefined() {
            return Ok(categories);
        }
        let key = key_to_bytes(&key)?;
        let (category, prefix) =
            split_row_key(&key).ok_or_else(|| corrupt("a row's key begins with no category"))?;
        bytes = bytes.saturating_add(category.len());
        if bytes > bytes_max {
            let message = format!("the names of the categories have more than {bytes_max} bytes");
            return Err(EngineError::new(Fault::TooLarge, message));
        }
        bounds.lower = after_category(&key[..prefix]).unwrap_or_default();
        categories.push(category);
    }
}
