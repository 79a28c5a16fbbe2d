//! The table against the standard library's tree.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;
use crate::testing::{Random, test};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn bounds(lower: &[u8], upper: Option<&[u8]>) -> Bounds {
    Bounds { lower: lower.to_vec(), upper: upper.map(<[u8]>::to_vec) }
}

/// Whether the lists are what the table says of them.
fn check(table: &Table) {
    let mut before: Option<&Vec<u8>> = None;
    for List { lower, rows } in table.lists.iter().map(|list| &**list) {
        assert!((1..=LIST_ROWS_MAX).contains(&rows.len()));
        assert!(before.is_none_or(|before| before < lower && *lower <= rows[0].0));
        assert!(rows.is_sorted_by(|(a, _), (b, _)| a < b), "in order, each once");
        before = rows.last().map(|(key, _)| key);
    }
}

fn compare(table: &Table, model: &Model, random: &mut Random) {
    check(table);
    assert!(table.rows().eq(model.iter()));
    let (a, b) = (random.bytes(5), random.bytes(5));
    let (lower, upper) = if a <= b { (a, b) } else { (b, a) };
    let range = (Bound::Included(lower.clone()), Bound::Excluded(upper.clone()));
    let within = table.range(&bounds(&lower, Some(&upper)));
    assert!(within.clone().eq(model.range(range.clone())));
    assert!(within.rev().eq(model.range(range).rev()));
    let above = table.range(&bounds(&lower, None));
    assert!(above.rev().eq(model.range(lower..).rev()));
}

#[test]
fn a_table_holds_what_a_tree_holds() {
    let mut random = Random::new(5);
    let (mut table, mut model) = (Table::default(), Model::default());
    // It grows to many lists, shrinks to nothing, and grows again.
    for phase in 0..4 {
        for step in 0..4_000 {
            let key = random.bytes(5);
            if random.below(10) < if phase % 2 == 0 { 8 } else { 2 } {
                let value = random.bytes(4);
                assert_eq!(table.insert(key.clone(), value.clone()), model.insert(key, value));
            } else {
                // Mostly one that is there.
                let there = model.range(key.clone()..).next().map(|(key, _)| key.clone());
                let key = there.unwrap_or(key);
                assert_eq!(table.get(&key), model.get(&key));
                assert_eq!(table.remove(&key), model.remove(&key));
                assert_eq!(table.get(&key), None);
                assert_eq!(table.remove(&key), None);
            }
            if step % 400 == 0 {
                compare(&table, &model, &mut random);
            }
        }
        if phase == 0 {
            assert!(table.lists.len() > 4, "lists have been split");
        }
    }
    for (key, value) in &model {
        assert_eq!(table.remove(key).as_ref(), Some(value));
    }
    assert_eq!(table, Table::default());
}

#[test]
fn rows_that_come_in_order_fill_their_lists() {
    let mut table = Table::default();
    for number in 0..10 * LIST_ROWS_MAX as u32 {
        table.insert(number.to_be_bytes().to_vec(), Vec::new());
    }
    check(&table);
    assert_eq!(table.lists.len(), 10);
    assert_eq!(table.rows().count(), 10 * LIST_ROWS_MAX);
}

#[test]
fn the_two_ends_of_rows_meet() {
    let mut table = Table::<Vec<u8>>::default();
    for number in 0..2 * LIST_ROWS_MAX as u32 {
        table.insert(number.to_be_bytes().to_vec(), Vec::new());
    }
    let mut rows = table.rows();
    for _ in 0..LIST_ROWS_MAX {
        assert!(rows.next().is_some() && rows.next_back().is_some());
    }
    assert_eq!((rows.next(), rows.next_back()), (None, None));
    let empty = Table::<Vec<u8>>::default();
    assert_eq!((empty.rows().next(), empty.rows().next_back()), (None, None));
    assert_eq!(empty.range(&bounds(b"a", Some(b"b"))).next_back(), None);
}

#[test]
fn a_clone_that_shares_its_lists_stays_as_it_is() {
    let mut random = Random::new(6);
    let (mut table, mut model) = (Table::<Vec<u8>, Shared>::default(), Model::default());
    let mut before = Vec::new();
    for step in 0..6_000 {
        let key = random.bytes(5);
        if random.below(10) < 7 {
            let value = random.bytes(4);
            assert_eq!(table.insert(key.clone(), value.clone()), model.insert(key, value));
        } else {
            assert_eq!(table.remove(&key), model.remove(&key));
        }
        if step % 1_000 == 0 {
            before.push((table.clone(), model.clone()));
        }
    }
    before.push((table, model));
    for (table, model) in before {
        assert!(table.rows().eq(model.iter()));
    }
}
