//! Values by key, in the order of the keys: a sorted list of sorted lists.
//!
//! Pure: never touches a store. A balanced tree would do the same and be twenty times the code in every
//! program; here the rows that move when one comes or goes are bounded, and their own bytes stay where they are.
//! How the lists are held is a parameter: a clone of a table that shares them costs little, and stays as it is
//! while the original changes; one that owns them has less to do.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::row_key::Bounds;

/// Rows of a list at most; a longer one is split in two.
const LIST_ROWS_MAX: usize = 128;

type Row<V> = (Vec<u8>, V);

/// How a table holds its lists.
pub(crate) trait Hold {
    type Held<T: Clone>: Clone + Deref<Target = T>;

    fn hold<T: Clone>(it: T) -> Self::Held<T>;

    /// What is held, to be changed for this holder alone.
    fn own<T: Clone>(held: &mut Self::Held<T>) -> &mut T;
}

/// Each table owns its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned;

/// Tables that were cloned share them until one of them changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every platform has tables that are read while they change")]
pub(crate) struct Shared;

/// What only one table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Only<T>(T);

impl<T> Deref for Only<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Hold for Owned {
    type Held<T: Clone> = Only<T>;

    fn hold<T: Clone>(it: T) -> Only<T> {
        Only(it)
    }

    fn own<T: Clone>(held: &mut Only<T>) -> &mut T {
        &mut held.0
    }
}

impl Hold for Shared {
    type Held<T: Clone> = Arc<T>;

    fn hold<T: Clone>(it: T) -> Arc<T> {
        Arc::new(it)
    }

    fn own<T: Clone>(held: &mut Arc<T>) -> &mut T {
        Arc::make_mut(held)
    }
}

/// An ordered map from byte strings to values, byte strings as a rule.
#[derive(Clone)]
pub(crate) struct Table<V: Clone = Vec<u8>, H: Hold = Owned> {
    /// Each ends before the next begins.
    lists: Vec<H::Held<List<V>>>,
}

/// Rows by their keys, ascending; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List<V> {
    /// Not above the first key, and above every key of the list before; without meaning where there is
    /// none. A copy, so that a search looks into one list only.
    lower: Vec<u8>,
    rows: Vec<Row<V>>,
}

/// The rows of a part of a table in their order, from either end.
#[derive(Clone)]
pub(crate) struct Rows<'a, V: Clone = Vec<u8>, H: Hold = Owned> {
    lists: &'a [H::Held<List<V>>],
    /// The first row that is left.
    front: Place,
    /// The row behind the last that is left.
    back: Place,
}

/// A list, and a row in it.
type Place = (usize, usize);

impl<V: Clone, H: Hold> Default for Table<V, H> {
    fn default() -> Self {
        Table { lists: Vec::new() }
    }
}

impl<V: Clone, H: Hold> Table<V, H> {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let (list, row) = self.find(key).ok()?;
        Some(&self.lists[list].rows[row].1)
    }

    /// Sets the value of a key; returns the one that it had.
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: V) -> Option<V> {
        let (at, row) = match self.find(&key) {
            Ok((list, row)) => {
                return Some(std::mem::replace(&mut H::own(&mut self.lists[list]).rows[row].1, value));
            }
            Err(place) => place,
        };
        let is_last = at + 1 >= self.lists.len();
        match self.lists.get_mut(at) {
            // Rows that come in order fill their lists.
            Some(list) if !(is_last && row == LIST_ROWS_MAX) => {
                let rows = &mut H::own(list).rows;
                rows.insert(row, (key, value));
                if rows.len() > LIST_ROWS_MAX {
                    let rest = rows.split_off(LIST_ROWS_MAX / 2);
                    self.lists.insert(at + 1, H::hold(List::of(rest)));
                }
            }
            _ => self.lists.push(H::hold(List::of(vec![(key, value)]))),
        }
        None
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (at, row) = self.find(key).ok()?;
        let rows = &mut H::own(&mut self.lists[at]).rows;
        let (_, value) = rows.remove(row);
        if rows.is_empty() {
            self.lists.remove(at);
        }
        Some(value)
    }

    /// The rows within the bounds.
    pub(crate) fn range(&self, bounds: &Bounds) -> Rows<'_, V, H> {
        let back = bounds.upper.as_deref().map_or((self.lists.len(), 0), |upper| self.place(upper));
        Rows { lists: &self.lists, front: self.place(&bounds.lower), back }
    }

    /// All rows.
    #[allow(dead_code, reason = "not every build has roots in memory")]
    pub(crate) fn rows(&self) -> Rows<'_, V, H> {
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
        let list = first(self.lists.len(), |list| self.lists[list].lower.as_slice() > key).saturating_sub(1);
        let rows = self.lists.get(list).map_or(&[][..], |list| &list.rows);
        (list, first(rows.len(), |row| rows[row].0.as_slice() >= key))
    }
}

impl<V: Clone, H: Hold> PartialEq for Table<V, H>
where
    H::Held<List<V>>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.lists == other.lists
    }
}

impl<V: Clone, H: Hold> Eq for Table<V, H> where H::Held<List<V>>: Eq {}

impl<V: Clone, H: Hold> fmt::Debug for Table<V, H>
where
    H::Held<List<V>>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.lists).finish()
    }
}

impl<V: Clone> List<V> {
    fn of(rows: Vec<Row<V>>) -> Self {
        List { lower: rows.first().map(|(key, _)| key.clone()).unwrap_or_default(), rows }
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

impl<'a, V: Clone + 'a, H: Hold> Iterator for Rows<'a, V, H> {
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

impl<'a, V: Clone + 'a, H: Hold> DoubleEndedIterator for Rows<'a, V, H> {
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
