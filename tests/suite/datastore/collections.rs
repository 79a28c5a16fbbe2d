//! Facts about collections: their sequence, records and tombstones.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use futures_util::FutureExt;
use futures_util::future::join_all;
use persistency::datastore::{
    Bytes, Change, Collection, CollectionOptions, Datastore, Json, PoolOptions, Since, When,
};
use persistency::{ErrorKind, Key, prefix_range};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::model::{Random, before_long};
use crate::common::{TestRoot, k, kind};

facts! {
    everywhere:
        every_change_takes_the_next_seq,
        a_record_needs_a_primary_field_that_is_a_string,
        a_refused_or_empty_change_uses_no_seq,
        a_set_replaces_the_whole_record,
        what_is_handed_in_is_not_shared,
        keys_of_bytes_are_any_bytes,
        a_snapshot_is_ascending_and_carries_its_seq_after_a_last_delete,
        changes_since_tell_deletions,
        changes_before_a_forgotten_deletion_lag,
        without_tombstones_every_earlier_seq_lags,
        pages_join_and_end_at_the_collections_seq,
        changes_further_back_than_the_recent_ones_are_read_from_the_records,
        a_collection_is_an_ordered_map_of_its_keys,
        conditional_sets_hold_or_conflict,
        an_update_changes_what_was_read,
        callers_at_one_time_get_one_seq_each,
        a_caller_who_gives_up_leaves_the_others_an_answer,
        a_caller_who_gives_up_leaves_the_others_room,
        a_row_that_cannot_be_read_is_an_error_of_its_own_callers_alone,
        numbers_that_nobody_could_count_on_from_are_corrupt,
        json_that_could_not_be_read_again_is_refused,
        numbers_in_json_come_back_as_they_were_set,
        records_and_bytes_are_bounded,
        a_number_that_json_cannot_hold_is_refused,
        a_set_of_many_is_all_or_nothing,
        typed_records_are_written_and_read;
    on_disk:
        seqs_go_on_after_reopening;
}

async fn todo(root: &TestRoot) -> Collection<Json> {
    let store = Datastore::new(root.job().await);
    store.collection("todo", CollectionOptions::permanent()).await.unwrap()
}

async fn blobs(root: &TestRoot, options: CollectionOptions) -> Collection<Bytes> {
    Datastore::new(root.job().await).collection("blobs", options).await.unwrap()
}

fn changes<K, V>(since: Since<K, V>) -> (Vec<Change<K, V>>, u64) {
    match since {
        Since::Changes(changes) => (changes.changes, changes.seq),
        _ => panic!("it lags"),
    }
}

fn lags<K, V>(since: Since<K, V>) -> Option<u64> {
    match since {
        Since::Lagged { oldest } => Some(oldest),
        _ => None,
    }
}

async fn every_change_takes_the_next_seq(root: &TestRoot) {
    let todo = todo(root).await;
    assert_eq!(todo.info().await.unwrap().seq, 0);
    let milk = todo.set(json!({ "id": "milk", "done": false })).await.unwrap();
    assert_eq!((&*milk.key, milk.seq), ("milk", 1));
    assert_eq!(todo.set(json!({ "id": "tea" })).await.unwrap().seq, 2);
    assert_eq!(todo.set(json!({ "id": "milk", "done": true })).await.unwrap().seq, 3);
    assert_eq!(todo.delete("tea").await.unwrap(), Some(4));
    let milk = todo.get("milk").await.unwrap().unwrap();
    assert_eq!((milk.seq, &milk.data["done"]), (3, &json!(true)));
    assert!(todo.get("tea").await.unwrap().is_none());
    let info = todo.info().await.unwrap();
    assert_eq!((info.seq, info.records, info.tombstones), (4, 1, 1));
}

async fn a_record_needs_a_primary_field_that_is_a_string(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let options = CollectionOptions::permanent().primary("name");
    let list: Collection<Json> = store.collection("list", options).await.unwrap();
    assert_eq!(list.primary(), "name");
    for bad in
        [json!({}), json!({ "name": "" }), json!({ "name": 1 }), json!({ "id": "a" }), json!([1]), json!("a")]
    {
        assert_eq!(kind(list.set(bad.clone()).await), ErrorKind::InvalidArgument, "{bad}");
        let many = [json!({ "name": "a" }), bad];
        assert_eq!(kind(list.set_many(many).await), ErrorKind::InvalidArgument);
    }
    assert_eq!(list.set(json!({ "name": "a" })).await.unwrap().seq, 1);
    let other: Collection<Json> = store.collection("other", CollectionOptions::permanent()).await.unwrap();
    assert_eq!(other.primary(), "id");
}

async fn a_refused_or_empty_change_uses_no_seq(root: &TestRoot) {
    let todo = todo(root).await;
    assert_eq!(todo.delete("a").await.unwrap(), None);
    todo.set(json!({ "id": "a" })).await.unwrap();
    assert_eq!(todo.delete("a").await.unwrap(), Some(2));
    assert_eq!(todo.delete("a").await.unwrap(), None);
    assert_eq!(kind(todo.set(json!({})).await), ErrorKind::InvalidArgument);
    assert!(todo.set_many(Vec::<Value>::new()).await.unwrap().is_empty());
    todo.touch().await.unwrap();
    assert_eq!(todo.set(json!({ "id": "a" })).await.unwrap().seq, 3);
}

async fn a_set_replaces_the_whole_record(root: &TestRoot) {
    let todo = todo(root).await;
    todo.set(json!({ "id": "a", "text": "milk", "done": true })).await.unwrap();
    todo.set(json!({ "id": "a", "text": "tea" })).await.unwrap();
    assert_eq!(todo.get("a").await.unwrap().unwrap().data, json!({ "id": "a", "text": "tea" }));
}

async fn what_is_handed_in_is_not_shared(root: &TestRoot) {
    let todo = todo(root).await;
    let mut milk = json!({ "id": "a", "n": 1 });
    todo.set(milk.clone()).await.unwrap();
    milk["n"] = json!(2);
    let mut read = todo.get("a").await.unwrap().unwrap();
    read.data["n"] = json!(3);
    assert_eq!(todo.get("a").await.unwrap().unwrap().data["n"], json!(1));
}

async fn keys_of_bytes_are_any_bytes(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent()).await;
    let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"a", b"\xff", b"\xff\xff"];
    for key in keys {
        blobs.set(k(key), key).await.unwrap();
    }
    for key in keys {
        assert_eq!(blobs.get(key).await.unwrap().unwrap().data, key);
    }
    assert_eq!(blobs.delete(b"\0").await.unwrap(), Some(7));
    assert!(blobs.get(b"\0").await.unwrap().is_none());
    assert!(blobs.get(b"\0\0").await.unwrap().is_some());
    let longest = vec![b'x'; persistency::limits().key_bytes - 9];
    blobs.set(longest.clone(), "").await.unwrap();
    assert!(blobs.get(&longest).await.unwrap().is_some());
    assert_eq!(kind(blobs.set([&*longest, b"x"].concat(), "").await), ErrorKind::TooLarge);
    assert!(blobs.get([&*longest, b"x"].concat()).await.unwrap().is_none());
}

async fn a_snapshot_is_ascending_and_carries_its_seq_after_a_last_delete(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent()).await;
    let empty = blobs.snapshot().await.unwrap();
    assert_eq!((empty.records.len(), empty.seq), (0, 0));
    for key in ["c", "a", "b", "c"] {
        blobs.set(k(key), key).await.unwrap();
    }
    blobs.delete("b").await.unwrap();
    let snapshot = blobs.snapshot().await.unwrap();
    let records: Vec<_> = snapshot.records.iter().map(|record| (record.key.as_bytes(), record.seq)).collect();
    assert_eq!(records, [(&b"a"[..], 2), (b"c", 4)]);
    assert_eq!(snapshot.seq, 5);
    let (later, seq) = changes(blobs.changes_since(snapshot.seq).await.unwrap());
    assert_eq!((later.len(), seq), (0, 5));
}

async fn changes_since_tell_deletions(root: &TestRoot) {
    let todo = todo(root).await;
    for id in ["a", "b", "c"] {
        todo.set(json!({ "id": id })).await.unwrap();
    }
    todo.delete("a").await.unwrap();
    todo.set(json!({ "id": "b", "again": true })).await.unwrap();
    todo.delete("c").await.unwrap();
    todo.set(json!({ "id": "c" })).await.unwrap();
    let told = async |since| {
        let (changes, seq) = changes(todo.changes_since(since).await.unwrap());
        assert_eq!(seq, 7);
        let tell = |change: Change<String, Value>| match change {
            Change::Set(record) => format!("{}+{}", record.key, record.seq),
            Change::Deleted { key, seq, .. } => format!("{key}-{seq}"),
            _ => panic!("neither"),
        };
        changes.into_iter().map(tell).collect::<Vec<_>>().join(" ")
    };
    // Of each key the newest change, in the order of the seqs.
    assert_eq!(told(0).await, "a-4 b+5 c+7");
    assert_eq!(told(3).await, "a-4 b+5 c+7");
    assert_eq!(told(4).await, "b+5 c+7");
    assert_eq!(told(7).await, "");
    assert_eq!(kind(todo.changes_since(8).await), ErrorKind::InvalidArgument);
    assert_eq!(kind(todo.changes_since(u64::MAX).await), ErrorKind::InvalidArgument);
}

async fn changes_before_a_forgotten_deletion_lag(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent().max_tombstones(2)).await;
    for key in ["a", "b", "c", "d"] {
        blobs.set(k(key), key).await.unwrap();
    }
    for key in ["a", "b"] {
        blobs.delete(key).await.unwrap();
    }
    assert_eq!(changes(blobs.changes_since(4).await.unwrap()).0.len(), 2);
    blobs.delete("c").await.unwrap();
    let info = blobs.info().await.unwrap();
    assert_eq!((info.tombstones, info.floor, info.seq), (2, 5, 7));
    assert_eq!(lags(blobs.changes_since(4).await.unwrap()), Some(5), "that a was deleted is forgotten");
    assert_eq!(changes(blobs.changes_since(5).await.unwrap()).0.len(), 2);
    // Who has nothing misses no deletion.
    assert_eq!(changes(blobs.changes_since(0).await.unwrap()).0.len(), 3);
    // A key that is set again needs no tombstone.
    blobs.set(k("b"), "again").await.unwrap();
    blobs.delete("d").await.unwrap();
    let info = blobs.info().await.unwrap();
    assert_eq!((info.tombstones, info.floor), (2, 5));
    blobs.delete("b").await.unwrap();
    assert_eq!(blobs.info().await.unwrap().floor, 7);
    assert_eq!(blobs.info().await.unwrap().records, 0);
}

async fn without_tombstones_every_earlier_seq_lags(root: &TestRoot) {
    let options = CollectionOptions::permanent().keep_tombstones(std::time::Duration::ZERO);
    let blobs = blobs(root, options).await;
    blobs.set(k("a"), "").await.unwrap();
    blobs.set(k("b"), "").await.unwrap();
    blobs.delete("a").await.unwrap();
    assert_eq!(lags(blobs.changes_since(2).await.unwrap()), Some(3));
    assert_eq!(changes(blobs.changes_since(0).await.unwrap()).0.len(), 1);
    assert_eq!(changes(blobs.changes_since(3).await.unwrap()).0.len(), 0);
    assert_eq!(blobs.set(k("a"), "").await.unwrap().seq, 4);
}

async fn pages_join_and_end_at_the_collections_seq(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent().max_tombstones(0)).await;
    let records = (0..300u32).map(|number| (Key::from(number.to_be_bytes()), vec![0; 8 * 1024]));
    blobs.set_many(records).await.unwrap();
    blobs.delete(7u32.to_be_bytes()).await.unwrap();
    let (mut pages, mut seen, mut last) = (blobs.pages_since(0), Vec::new(), 0);
    let mut count = 0;
    while let Some(page) = pages.next().await {
        let (page, seq) = changes(page.unwrap());
        assert!(page.iter().map(|change| change.seq()).is_sorted_by(|a, b| a < b));
        assert!(page.iter().all(|change| change.seq() > last) && seq >= last);
        seen.extend(page.iter().map(|change| change.seq()));
        last = seq;
        count += 1;
        if count == 1 {
            // Behind the position: it comes again at the end.
            blobs.set(k(0u32.to_be_bytes()), "new").await.unwrap();
        }
    }
    assert!(count > 2, "{count} pages");
    assert_eq!((seen.len(), last), (300, 302));
    assert!(seen.is_sorted() && seen.ends_with(&[300, 302]) && !seen.contains(&8));
    // A deletion that is forgotten while one reads makes it lag.
    let mut pages = blobs.pages_since(0);
    pages.next().await.unwrap().unwrap();
    blobs.delete(9u32.to_be_bytes()).await.unwrap();
    assert_eq!(lags(pages.next().await.unwrap().unwrap()), Some(303));
    assert!(pages.next().await.is_none());
}

async fn changes_further_back_than_the_recent_ones_are_read_from_the_records(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent()).await;
    for round in 0..8u32 {
        // Of 300 keys each is set eight times: 2,400 changes, of which about 1,100 are recent.
        blobs.set_many((0..300u32).map(|key| (k(key.to_be_bytes()), vec![round as u8]))).await.unwrap();
    }
    blobs.delete(7u32.to_be_bytes()).await.unwrap();
    for since in [0, 1, 299, 1_000, 1_400, 2_099, 2_100, 2_250, 2_400, 2_401] {
        let (told, seq) = changes(blobs.changes_since(since).await.unwrap());
        let newest = (2_101..=2_401).filter(|seq| *seq > since && *seq != 2_108);
        assert!(told.iter().map(|change| change.seq()).eq(newest), "since {since}");
        assert_eq!(seq, 2_401);
        let (mut pages, mut paged) = (blobs.pages_since(since), Vec::new());
        while let Some(page) = pages.next().await {
            paged.extend(changes(page.unwrap()).0);
        }
        assert_eq!(paged.len(), told.len(), "since {since}");
    }
    // A large change is read from its record.
    blobs.set(k("large"), vec![1; 20_000]).await.unwrap();
    blobs.set(k("small"), "").await.unwrap();
    let (told, _) = changes(blobs.changes_since(2_400).await.unwrap());
    assert_eq!(told.iter().map(|change| change.seq()).collect::<Vec<_>>(), [2_401, 2_402, 2_403]);
}

async fn a_collection_is_an_ordered_map_of_its_keys(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let blobs: Collection<Bytes> = store.collection("blobs", CollectionOptions::permanent()).await.unwrap();
    let hurting: [&[u8]; 9] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\xff"];
    let mut model = BTreeMap::new();
    for (number, key) in [6, 2, 8, 0, 4, 1, 7, 3, 5].map(|at| (at, hurting[at])) {
        blobs.set(k(key), [number as u8]).await.unwrap();
        model.insert(k(key), vec![number as u8]);
    }
    blobs.delete("b").await.unwrap();
    model.remove(&k("b"));
    let bounds = || {
        let at = hurting.into_iter().flat_map(|key| [Bound::Included(k(key)), Bound::Excluded(k(key))]);
        at.chain([Bound::Unbounded])
    };
    for start in bounds() {
        for end in bounds() {
            let range = (start.clone(), end);
            let found = blobs.range(range.clone()).await.unwrap();
            let found = found.into_iter().map(|record| (record.key, record.data));
            let expected = model.iter().filter(|(key, _)| range.contains(*key));
            assert!(found.eq(expected.map(|(key, data)| (key.clone(), data.clone()))), "{range:?}");
        }
    }
    assert_eq!(blobs.range(prefix_range(&k("a"))).await.unwrap().len(), 3);
    // A neighbour's records are its own.
    let other: Collection<Bytes> = store.collection("other", CollectionOptions::permanent()).await.unwrap();
    assert!(other.range(..).await.unwrap().is_empty());
}

async fn conditional_sets_hold_or_conflict(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent()).await;
    assert_eq!(kind(blobs.set_if(k("a"), "", When::Seq(1)).await), ErrorKind::Conflict);
    assert_eq!(blobs.set_if(k("a"), "1", When::Absent).await.unwrap().seq, 1);
    assert_eq!(kind(blobs.set_if(k("a"), "", When::Absent).await), ErrorKind::Conflict);
    assert_eq!(kind(blobs.set_if(k("a"), "", When::Seq(2)).await), ErrorKind::Conflict);
    assert_eq!(blobs.set_if(k("a"), "2", When::Seq(1)).await.unwrap().seq, 2);
    assert_eq!(kind(blobs.delete_if("a", 1).await), ErrorKind::Conflict);
    assert_eq!(blobs.delete_if("a", 2).await.unwrap(), Some(3));
    assert_eq!(blobs.set_if(k("a"), "3", When::Absent).await.unwrap().seq, 4);
}

async fn an_update_changes_what_was_read(root: &TestRoot) {
    let todo = todo(root).await;
    let count = |old: Option<Value>| {
        let n = old.map_or(0, |old| old["n"].as_i64().unwrap());
        Some(json!({ "id": "a", "n": n + 1 }))
    };
    join_all((0..10).map(|_| todo.update("a", count))).await.into_iter().for_each(|done| drop(done.unwrap()));
    assert_eq!(todo.get("a").await.unwrap().unwrap().data["n"], json!(10));
    assert_eq!(kind(todo.update("b", |_| Some(json!({ "id": "c" }))).await), ErrorKind::InvalidArgument);
    assert!(todo.update("a", |_| None).await.unwrap().is_none());
    assert!(todo.update("a", |old| old).await.unwrap().is_none());
    assert!(todo.get("a").await.unwrap().is_none());
    assert_eq!(todo.info().await.unwrap().seq, 11);
}

async fn callers_at_one_time_get_one_seq_each(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let open = async || store.collection::<Bytes>("a", CollectionOptions::permanent()).await.unwrap();
    let (one, two) = (open().await, open().await);
    let before = store.job().stats().batches_committed;
    let writes = (0..200u8).map(async |number| {
        let side = if number % 2 == 0 { &one } else { &two };
        side.set(k([number % 10]), [number]).await.unwrap().seq
    });
    let mut seqs = join_all(writes).await;
    seqs.sort_unstable();
    assert_eq!(seqs, Vec::from_iter(1..=200));
    let batches = store.job().stats().batches_committed - before;
    assert!(batches < 20, "{batches} batches: those who wait share one");
    // The last arrival has won everywhere.
    let snapshot = one.snapshot().await.unwrap();
    assert_eq!(snapshot.records.len(), 10);
    for record in snapshot.records {
        assert_eq!(two.get(&record.key).await.unwrap().unwrap(), record);
    }
}

async fn a_caller_who_gives_up_leaves_the_others_an_answer(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent()).await;
    for polls in 1..6 {
        let mut first = Box::pin(blobs.set(k("first"), "1"));
        let mut second = Box::pin(blobs.set(k([polls]), "2"));
        let mut answered = (None, None);
        for _ in 0..polls {
            answered.0 = answered.0.or_else(|| (&mut first).now_or_never());
            answered.1 = answered.1.or_else(|| (&mut second).now_or_never());
        }
        drop(first);
        match answered.1 {
            Some(set) => set.unwrap(),
            None => second.await.unwrap(),
        };
    }
    let snapshot = blobs.snapshot().await.unwrap();
    assert!(snapshot.records.len() >= 5);
    assert_eq!(blobs.set(k("last"), "").await.unwrap().seq, snapshot.seq + 1);
}

async fn records_and_bytes_are_bounded(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent().max_records(2).max_bytes(20)).await;
    blobs.set(k("a"), "123456789").await.unwrap();
    assert_eq!(kind(blobs.set(k("b"), "1234567890").await), ErrorKind::TooLarge);
    blobs.set(k("b"), "1").await.unwrap();
    assert_eq!(kind(blobs.set(k("c"), "").await), ErrorKind::TooLarge);
    let refused = blobs.set_many([(k("a"), vec![]), (k("c"), vec![])]).await;
    assert_eq!(kind(refused), ErrorKind::TooLarge);
    blobs.set(k("a"), "").await.unwrap();
    blobs.delete("b").await.unwrap();
    blobs.set(k("c"), "").await.unwrap();
    let info = blobs.info().await.unwrap();
    assert_eq!((info.seq, info.records, info.bytes), (5, 2, 2));
    let many = (0..12_001).map(|number: u32| (Key::from(number.to_be_bytes()), vec![]));
    assert_eq!(kind(blobs.set_many(many).await), ErrorKind::TooLarge);
}

async fn a_number_that_json_cannot_hold_is_refused(root: &TestRoot) {
    type Point = BTreeMap<String, Option<Vec<f64>>>;
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Place {
        id: String,
        points: Point,
    }
    let store = Datastore::new(root.job().await);
    let list: Collection<Json<Place>> =
        store.collection("places", CollectionOptions::permanent()).await.unwrap();
    let place = |number| Place { id: "a".into(), points: [("x".into(), Some(vec![1.5, number]))].into() };
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(kind(list.set(place(number)).await), ErrorKind::InvalidArgument);
        assert_eq!(kind(list.set_many([place(0.0), place(number)]).await), ErrorKind::InvalidArgument);
    }
    assert_eq!(list.set(place(f64::MAX)).await.unwrap().seq, 1);
    assert_eq!(list.get("a").await.unwrap().unwrap().data, place(f64::MAX));
    let pool = store.pool::<Json<f64>>("pool", PoolOptions::permanent()).await.unwrap();
    let ada = pool.join("ada").await.unwrap();
    assert_eq!(kind(ada.merge(&[1.0, f64::NAN]).await), ErrorKind::InvalidArgument);
}

async fn a_set_of_many_is_all_or_nothing(root: &TestRoot) {
    let blobs = blobs(root, CollectionOptions::permanent().max_records(3)).await;
    blobs.set(k("a"), "old").await.unwrap();
    blobs.delete("a").await.unwrap();
    let four = ["a", "b", "c", "d"].map(|key| (k(key), vec![]));
    let (refused, set) = futures_util::join!(blobs.set_many(four), blobs.set(k("x"), "1"));
    assert_eq!(kind(refused), ErrorKind::TooLarge);
    assert_eq!(set.unwrap().seq, 3);
    let records = blobs.set_many([(k("a"), vec![1]), (k("a"), vec![2])]).await.unwrap();
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [4, 5]);
    let snapshot = blobs.snapshot().await.unwrap();
    let seqs: Vec<_> = snapshot.records.iter().map(|record| (record.seq, record.data.clone())).collect();
    assert_eq!((seqs, snapshot.seq), (vec![(3, b"1".to_vec()), (5, vec![2])], 5));
    assert_eq!(blobs.info().await.unwrap().tombstones, 0);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Todo {
    id: String,
    done: bool,
    huge: u64,
}

async fn typed_records_are_written_and_read(root: &TestRoot) {
    let store = Datastore::new(root.job().await);
    let list: Collection<Json<Todo>> =
        store.collection("todo", CollectionOptions::permanent()).await.unwrap();
    let milk = Todo { id: "milk".to_owned(), done: false, huge: u64::MAX };
    let set = list.set(milk.clone()).await.unwrap();
    assert_eq!(list.get("milk").await.unwrap().unwrap(), set);
    assert_eq!(set.data, milk);
    let plain: Collection<Json> = store.find_collection("todo").await.unwrap().unwrap();
    assert_eq!(plain.get("milk").await.unwrap().unwrap().data["huge"], json!(u64::MAX));
    plain.set(json!({ "id": "other" })).await.unwrap();
    assert_eq!(kind(list.get("other").await), ErrorKind::InvalidArgument);
}

async fn seqs_go_on_after_reopening(root: &TestRoot) {
    for round in 0..3u64 {
        let p = root.open();
        let store = Datastore::new(p.open_job("alpha").await.unwrap());
        let list: Collection<Bytes> = store.collection("list", CollectionOptions::permanent()).await.unwrap();
        assert_eq!(list.info().await.unwrap().seq, round * 3);
        list.set(k("a"), [round as u8]).await.unwrap();
        list.set(k("b"), "").await.unwrap();
        assert_eq!(list.delete("b").await.unwrap(), Some(round * 3 + 3));
        assert_eq!(list.get("a").await.unwrap().unwrap().seq, round * 3 + 1);
        p.close().await.unwrap();
    }
    let list: Option<Collection<Bytes>> =
        Datastore::new(root.job().await).find_collection("list").await.unwrap();
    let (changes, seq) = changes(list.unwrap().changes_since(6).await.unwrap());
    assert_eq!((changes.len(), seq), (2, 9));
}

async fn a_caller_who_gives_up_leaves_the_others_room(root: &TestRoot) {
    let job = root.job().await;
    let store = Datastore::new(job.clone());
    let blobs = store.collection::<Bytes>("blobs", CollectionOptions::permanent()).await.unwrap();
    for polls in 1..4 {
        // It takes all there is where callers wait.
        let mut large = Box::pin(blobs.set(k("large"), vec![polls; 9 * 1024 * 1024]));
        for _ in 0..polls {
            if (&mut large).now_or_never().is_some() {
                break;
            }
        }
        drop(large);
        let others = join_all((0..3).map(|number| blobs.set(k([polls, number]), "")));
        for set in before_long(&job, others).await {
            set.unwrap();
        }
    }
}

async fn a_row_that_cannot_be_read_is_an_error_of_its_own_callers_alone(root: &TestRoot) {
    let job = root.job().await;
    let store = Datastore::new(job.clone());
    let blobs = store.collection::<Bytes>("blobs", CollectionOptions::permanent()).await.unwrap();
    job.put_acked("datastore", k([&blobs.generation()[..], &[2], b"bad"].concat()), "?").await.unwrap();
    // The first one goes alone, and the others together.
    let sets = ["first", "a", "bad", "b"].map(|key| blobs.set(k(key), ""));
    let kinds = join_all(sets).await.into_iter().map(|set| set.map_err(|error| error.kind()).err());
    assert_eq!(Vec::from_iter(kinds), [None, None, Some(ErrorKind::Corrupt), None]);
}

async fn numbers_that_nobody_could_count_on_from_are_corrupt(root: &TestRoot) {
    let job = root.job().await;
    let store = Datastore::new(job.clone());
    let blobs = store.collection::<Bytes>("blobs", CollectionOptions::permanent()).await.unwrap();
    job.put_acked("datastore", k([&blobs.generation()[..], &[1]].concat()), [0xff; 72]).await.unwrap();
    assert_eq!(kind(blobs.set(k("a"), "").await), ErrorKind::Corrupt);
    assert_eq!(kind(blobs.snapshot().await), ErrorKind::Corrupt);
    let pool = store.pool::<Bytes>("pool", PoolOptions::permanent()).await.unwrap();
    job.put_acked("datastore", k([&pool.generation()[..], &[0x10]].concat()), [0xff; 72]).await.unwrap();
    assert_eq!(kind(pool.join("ada").await), ErrorKind::Corrupt);
}

async fn json_that_could_not_be_read_again_is_refused(root: &TestRoot) {
    let todo = todo(root).await;
    let nested = |levels| json!({ "id": "a", "deep": (1..levels).fold(json!(0), |value, _| json!([value])) });
    assert_eq!(kind(todo.set(nested(128)).await), ErrorKind::InvalidArgument);
    todo.set(nested(127)).await.unwrap();
    assert_eq!(todo.snapshot().await.unwrap().records[0].data, nested(127));
}

async fn numbers_in_json_come_back_as_they_were_set(root: &TestRoot) {
    let todo = todo(root).await;
    let mut random = Random::new(1);
    let mut number = || f64::from_bits((random.below(1 << 31) as u64) << 32 | random.below(1 << 31) as u64);
    let records = (0..500).map(|id| json!({ "id": id.to_string(), "n": number() }));
    let records: Vec<Value> = records.filter(|record| !record["n"].is_null()).collect();
    todo.set_many(records.clone()).await.unwrap();
    for (read, set) in todo.snapshot().await.unwrap().records.into_iter().zip(records) {
        assert_eq!(read.data, set);
    }
}
