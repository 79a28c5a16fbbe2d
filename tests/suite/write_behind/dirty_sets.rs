//! Facts about dirty sets by themselves.

use std::cell::RefCell;

use futures_util::future::join_all;
use persistency::write_behind::{DirtySet, Mark, SetBounds};
use persistency::{ErrorKind, Key, KeyPart, Text, key_part};

use crate::common::{async_test, k, kind};

#[derive(Debug, PartialEq)]
struct Place {
    street: String,
    number: i64,
}
key_part!(Place { street, number });

fn set<K>() -> DirtySet<K> {
    DirtySet::new(SetBounds::default())
}

fn keys(set: &DirtySet<i64>) -> Vec<(i64, Mark)> {
    set.sorted().into_iter().map(|(key, mark)| (key.decode().unwrap(), mark)).collect()
}

#[async_test]
async fn what_is_marked_is_drained_once() {
    let mut dirty = set();
    dirty.mark(&2i64, Mark::Upsert).unwrap();
    dirty.mark(&1, Mark::Delete).unwrap();
    assert_eq!((dirty.len(), dirty.is_empty()), (2, false));
    let drained = dirty.drain();
    assert_eq!(keys(&drained), [(1, Mark::Delete), (2, Mark::Upsert)]);
    assert_eq!((dirty.len(), dirty.bytes(), dirty.is_empty()), (0, 0, true));
    dirty.mark(&3, Mark::Upsert).unwrap();
    assert_eq!((keys(&dirty), drained.len()), (vec![(3, Mark::Upsert)], 2));
}

#[async_test]
async fn the_last_mark_of_a_key_counts() {
    let mut dirty = set();
    dirty.mark(&1i64, Mark::Upsert).unwrap();
    dirty.mark(&1, Mark::Delete).unwrap();
    assert_eq!((dirty.len(), dirty.get(&1).unwrap()), (1, Some(Mark::Delete)));
    dirty.mark(&1, Mark::Upsert).unwrap();
    assert_eq!((dirty.len(), dirty.get(&1).unwrap()), (1, Some(Mark::Upsert)));
}

#[async_test]
async fn merging_restores_only_what_has_not_been_marked_since() {
    let mut dirty = set();
    for (key, mark) in [(1i64, Mark::Upsert), (2, Mark::Upsert), (3, Mark::Delete)] {
        dirty.mark(&key, mark).unwrap();
    }
    let bytes = dirty.bytes();
    let drained = dirty.drain();
    dirty.mark(&2, Mark::Delete).unwrap();
    dirty.mark(&3, Mark::Upsert).unwrap();
    dirty.merge(drained);
    assert_eq!(keys(&dirty), [(1, Mark::Upsert), (2, Mark::Delete), (3, Mark::Upsert)]);
    assert_eq!(dirty.bytes(), bytes, "it weighs what its marks weigh");
}

#[async_test]
async fn marks_of_many_between_drains_are_each_drained() {
    let dirty = RefCell::new(set());
    let drained = RefCell::new(set());
    let markers = (0..10i64).map(async |marker| {
        for number in 0..1000 {
            dirty.borrow_mut().mark(&(marker * 1000 + number), Mark::Upsert).unwrap();
            if number % 100 == marker {
                let taken: DirtySet<i64> = dirty.borrow_mut().drain();
                drained.borrow_mut().merge(taken);
                std::future::ready(()).await;
            }
        }
    });
    join_all(markers).await;
    drained.borrow_mut().merge(dirty.borrow_mut().drain());
    assert_eq!(keys(&drained.borrow()).len(), 10_000);
}

#[async_test]
async fn a_set_is_bounded_in_marks() {
    let mut dirty = DirtySet::new(SetBounds { marks: 2, ..SetBounds::default() });
    dirty.mark(&1i64, Mark::Upsert).unwrap();
    dirty.mark(&2, Mark::Upsert).unwrap();
    assert_eq!(kind(dirty.mark(&3, Mark::Delete)), ErrorKind::Overloaded);
    dirty.mark(&2, Mark::Delete).unwrap();
    assert_eq!(keys(&dirty), [(1, Mark::Upsert), (2, Mark::Delete)]);
    drop(dirty.drain());
    dirty.mark(&3, Mark::Upsert).unwrap();
}

#[async_test]
async fn a_set_is_bounded_in_bytes() {
    let bounds = SetBounds { bytes: 300, payload_bytes: 100, ..SetBounds::default() };
    let mut dirty = DirtySet::new(bounds);
    dirty.mark(&1i64, Mark::Upsert).unwrap();
    dirty.mark(&2, Mark::Upsert).unwrap();
    assert_eq!(dirty.bytes(), 2 * (8 + 100));
    assert_eq!(kind(dirty.mark(&3, Mark::Upsert)), ErrorKind::Overloaded);
    dirty.mark(&3, Mark::Delete).unwrap();
    assert_eq!(kind(dirty.mark(&3, Mark::Upsert)), ErrorKind::Overloaded, "an upsert weighs more");
    assert_eq!((dirty.get(&3).unwrap(), dirty.bytes()), (Some(Mark::Delete), 2 * 108 + 8));
    dirty.mark(&1, Mark::Delete).unwrap();
    dirty.mark(&3, Mark::Upsert).unwrap();
    assert_eq!(dirty.bytes(), 2 * 108 + 8);
}

#[async_test]
async fn a_key_that_cannot_be_one_is_refused_and_nothing_is_marked() {
    let mut dirty = set();
    assert_eq!(kind(dirty.mark(&"x".repeat(70_000), Mark::Upsert)), ErrorKind::TooLarge);
    let mut whole = set();
    assert_eq!(kind(whole.mark(&k([0; 128 * 1024 + 1]), Mark::Upsert)), ErrorKind::TooLarge);
    assert!(dirty.is_empty() && whole.is_empty());
}

#[async_test]
async fn keys_are_of_any_type_that_a_key_can_be_made_of() {
    fn once<K: KeyPart>(key: K) -> usize {
        let mut dirty = set();
        dirty.mark(&key, Mark::Upsert).unwrap();
        dirty.mark(&key, Mark::Upsert).unwrap();
        assert_eq!(dirty.get(&key).unwrap(), Some(Mark::Upsert));
        dirty.sorted()[0].0.len()
    }
    assert_eq!(once(7u8), 1);
    assert_eq!(once("ab".to_owned()), 4);
    assert_eq!(once((true, -1i64)), 9);
    assert_eq!(once(Text("ab".to_owned())), 4);
    assert_eq!(once(Key::empty()), 0);
    assert_eq!(once(Place { street: "a".to_owned(), number: 1 }), 11);
}
