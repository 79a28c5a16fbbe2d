//! Values by key, in the order of the keys: a sorted list of sorted lists.
//!
//! Pure: never touches a store. A balanced tree would do the same and be twenty times the code in every
//! program; here the rows that move when one comes or goes are bounded, and their own bytes stay where they are.
//! A clone shares the lists, so that it costs little and stays as it is while the original changes.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::row_key::Bounds;

/// Rows of a list at most; a longer one is split in two.
const LIST_ROWS_MAX: usize = 128;

type Row<V> = (Vec<u8>, V);

/// An ordered map from byte strings to values, byte strings as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table<V = Vec<u8>> {
    /// Each ends before the next begins.
    lists: Vec<List<V>>,
}

/// Rows by their keys, ascending; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List<V> {
    /// Not above the first key, and above every key of the list before; without meaning where there is
    /// none. A copy, so that a search looks into one list only.
    lower: Arc<[u8]>,
    rows: Arc<Vec<Row<V>>>,
}

/// The rows of a part of a table in their order, from either end.
#[derive(Clone, Debug)]
pub(crate) struct Rows<'a, V = Vec<u8>> {
    lists: &'a [List<V>],
    /// The first row that is left.
    front: Place,
    /// The row behind the last that is left.
    back: Place,
}

/// A list, and a row in it.
type Place = (usize, usize);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { lists: Vec::new() }
    }
}

impl<V: Clone> Table<V> {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let (list, row) = self.find(key).ok()?;
        Some(&self.lists[list].rows[row].1)
    }

    /// Sets the value of a key; returns the one that it had.
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: V) -> Option<V> {
        let (at, row) = match self.find(&key) {
            Ok((list, row)) => {
                let rows = Arc::make_mut(&mut self.lists[list].rows);
                return Some(std::mem::replace(&mut rows[row].1, value));
            }
            Err(place) => place,
        };
        let is_last = at + 1 >= self.lists.len();
        match self.lists.get_mut(at) {
            // Rows that come in order fill their lists.
            Some(list) if !(is_last && row == LIST_ROWS_MAX) => {
                let rows = Arc::make_mut(&mut list.rows);
                rows.insert(row, (key, value));
                if rows.len() > LIST_ROWS_MAX {
                    let rest = rows.split_off(LIST_ROWS_MAX / 2);
                    self.lists.insert(at + 1, List::of(rest));
                }
            }
            _ => self.lists.push(List::of(vec![(key, value)])),
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (at, row) = self.find(key).ok()?;
        let (_, value) = Arc::make_mut(&mut self.lists[at].rows).remove(row);
        if self.lists[at].rows.is_empty() {
            self.lists.remove(at);
        }
        Some(value)
    }

    /// The rows within the bounds.
    pub(crate) fn range(&self, bounds: &Bounds) -> Rows<'_, V> {
        let back = bounds.upper.as_deref().map_or((self.lists.len(), 0), |upper| self.place(upper));
        Rows { lists: &self.lists, front: self.place(&bounds.lower), back }
    }

    /// All rows.
    pub(crate) fn rows(&self) -> Rows<'_, V> {
        Rows { lists: &self.lists, front: (0, 0), back: (self.lists.len(), 0) }
    }

    /// Where the key is, or where it would have to be.
    fn find(&self, key: &[u8]) -> Result<Place, Place> {
        let (list, row) = self.place(key);
        match self.lists.get(list).and_then(|list| list.rows.get(row)) {
            Some((of, _)) if of == key => Ok((list, row)),
            _ => Err((list, row)),
        }
    }

    /// The list that the key belongs to, and its first row, or the end, whose key is not below this one.
    fn place(&self, key: &[u8]) -> Place {
        let list = first(self.lists.len(), |list| &*self.lists[list].lower > key).saturating_sub(1);
        let rows = self.lists.get(list).map_or(&[][..], |list| list.rows.as_slice());
        (list, first(rows.len(), |row| rows[row].0.as_slice() >= key))
    }
}

impl<V> List<V> {
    fn of(rows: Vec<Row<V>>) -> Self {
        let lower = rows.first().map(|(key, _)| key.as_slice()).unwrap_or_default().into();
        List { lower, rows: Arc::new(rows) }
    }
}

/// The first of so many places that is beyond, where all that follow it are too. Branches, which a
/// processor can foresee, where the standard library's search waits for each key.
fn first(count: usize, is_beyond: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if is_beyond(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl<'a, V> Iterator for Rows<'a, V> {
    type Item = (&'a Vec<u8>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        while self.front < self.back {
            let (list, row) = self.front;
            if let Some((key, value)) = self.lists[list].rows.get(row) {
                self.front = (list, row + 1);
                return Some((key, value));
            }
            self.front = (list + 1, 0);
        }
        None
    }
}

impl<V> DoubleEndedIterator for Rows<'_, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        while self.front < self.back {
            let (list, row) = self.back;
            if row > 0 {
                self.back = (list, row - 1);
                let (key, value) = &self.lists[list].rows[row - 1];
                return Some((key, value));
            }
            self.back = (list - 1, self.lists[list - 1].rows.len());
        }
        None
    }
}
