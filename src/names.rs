//! A map from names as a sorted vector: for few names, or names that seldom come and go.
//!
//! Never hashes and has no nodes: a further kind of value costs a program next to no code.

/// Values by name, in the order of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names<V>(Vec<(String, V)>);

impl<V> Default for Names<V> {
    fn default() -> Self {
        Names(Vec::new())
    }
}

impl<V> Names<V> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    /// Sets the value of a name; returns the one that it had.
    pub(crate) fn insert(&mut self, name: &str, value: V) -> Option<V> {
        match self.place(name) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (name.to_owned(), value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names, ascending.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn pairs(&self) -> Vec<(String, V)>
    where
        V: Clone,
    {
        self.0.clone()
    }

    /// Where the name is, or where it would have to be.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test;

    #[test]
    fn names_are_kept_in_order_each_once() {
        let mut names = Names::default();
        for (name, value) in [("b", 1), ("", 2), ("a", 3), ("c", 4)] {
            assert_eq!(names.insert(name, value), None);
        }
        assert_eq!(names.insert("a", 5), Some(3));
        assert_eq!(names.iter().collect::<Vec<_>>(), [("", &2), ("a", &5), ("b", &1), ("c", &4)]);
        assert_eq!((names.get("a"), names.get("d")), (Some(&5), None));
        assert_eq!(names.get_mut("c"), Some(&mut 4));
    }

    #[test]
    fn a_name_that_was_removed_is_not_there() {
        let mut names = Names::default();
        names.insert("a", 1);
        names.insert("b", 2);
        assert_eq!((names.remove("a"), names.remove("a"), names.get("a")), (Some(1), None, None));
        assert_eq!((names.names(), names.len(), names.is_empty()), (vec!["b".to_owned()], 1, false));
        assert_eq!(names.pairs(), [("b".to_owned(), 2)]);
    }
}
